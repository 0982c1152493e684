//! The control socket, which answers `shimmer status`, `ban` and `unban`.
//!
//! A client sends one line and gets one JSON object; then the connection is closed. A few clients are served at
//! once, and each has some seconds. A long answer is made and sent one piece per turn, so that no session waits
//! for it. What changes meanwhile may or may not be in it.
//!
//! ```text
//!   status                     everything except current and future ports
//!   status ports               the same with the ports
//!   status ADDRESS             what would happen to this address
//!   ban ADDRESS, unban ADDRESS, unban all
//! ```
//!
//! The answers' format is defined in [`crate::status`].

pub(super) mod answer;

pub use answer::View;

use self::answer::{Answer, Question, Rest};
use super::failure::{ControlError, Failure};
use super::files::{self, Folder};
use super::sockets::is_out_of_descriptors;
use super::wake::Wake;
use crate::config::{Common, DEFAULT_CONTROL, Location};
use crate::limits::{ASK_MS, ASKED_BYTES, ASKERS, RETRY_MS};
use crate::proto::effect::Reply;
use crate::proto::event::{Event, Warning};
use crate::proto::input::Order;
use crate::proto::table::{Id, Table, Vacant};
use crate::proto::{Instant, sooner};
use crate::sys::local;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use rustix::fs::Mode;
use rustix::process::umask;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A client of the control socket.
struct ControlClient {
    stream: UnixStream,
    until: Instant,
    asked: heapless::Vec<u8, ASKED_BYTES>,
    answer: Option<Answer>,
}

/// The control socket and its clients.
pub struct Control {
    listener: Option<(UnixListener, PathBuf)>,
    clients: Table<ControlClient>,
    /// A client's answer continues in the next turn, or a client may wait at the socket without an event.
    is_due: bool,
    /// When to look again for clients that could not be accepted.
    again: Option<Instant>,
    /// The client whose order is being carried out.
    in_hand: Option<Id<ControlClient>>,
}

/// The result of accepting clients.
#[derive(Debug, PartialEq, Eq)]
pub enum Accept {
    /// No client waits any more, or that can't be known for a while.
    Done,
    /// A client waits, but there is no descriptor left.
    Short,
}

impl Control {
    /// Without a socket.
    pub fn new() -> Self {
        Self {
            listener: None,
            clients: Table::new(ASKERS),
            is_due: false,
            again: None,
            in_hand: None,
        }
    }

    /// Opens the control socket of a configuration, in place of the current one.
    ///
    /// # Errors
    /// The socket can't be created at the configured path. At the default path, a warning is logged instead.
    pub fn take(
        &mut self,
        common: &Common,
        registry: &Registry,
        warn: impl FnOnce(Event),
    ) -> Result<(), Failure> {
        let path = common.control.path(DEFAULT_CONTROL);
        // If the socket's file has been removed, the operator wants a new one.
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        // Compares the names; comparing their parts takes a kilobyte of code.
        let is_ours = path.map(Path::as_os_str) == self.path().map(Path::as_os_str);
        if is_ours && path.is_none_or(is_there) {
            return Ok(());
        }
        if is_ours {
            self.listener = None;
        }
        let Some(path) = path else {
            self.close();
            return Ok(());
        };
        match bind(path) {
            Ok(listener) => {
                self.close();
                let descriptor = listener.as_raw_fd();
                let mut source = SourceFd(&descriptor);
                registry
                    .register(&mut source, Wake::Control.into(), Interest::READABLE)
                    .map_err(Failure::Host)?;
                self.listener = Some((listener, path.to_path_buf()));
                Ok(())
            }
            Err(why) if common.control == Location::Default && common.user.is_none() => {
                let warning = Warning::NoControl(path.to_path_buf(), why.at(path));
                warn(Event::Warning(warning));
                Ok(())
            }
            Err(why) => Err(Failure::Control(path.to_path_buf(), why)),
        }
    }

    /// Removes the socket from the file system.
    pub fn close(&mut self) {
        if let Some((_, path)) = self.listener.take() {
            let _ = files::remove(&path);
        }
    }

    fn path(&self) -> Option<&Path> {
        self.listener.as_ref().map(|(_, path)| path.as_path())
    }

    /// Accepts waiting clients.
    pub fn accept(&mut self, registry: &Registry, now: Instant) -> Accept {
        // No more than can be served; clients behind them make the socket readable again.
        for _ in 0..ASKERS {
            match self.accept_one(registry, now) {
                Ok(()) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Accept::Done,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // An operator's question is urgent when there are no descriptors left.
                    _ if is_out_of_descriptors(&error) => return Accept::Short,
                    _ => {
                        self.look_again(now);
                        return Accept::Done;
                    }
                },
            }
        }
        self.is_due = true;
        Accept::Done
    }

    /// Looks at the socket again in a while: the kernel will not report its clients again.
    pub fn look_again(&mut self, now: Instant) {
        self.again = Some(now.after(RETRY_MS));
    }

    fn accept_one(&mut self, registry: &Registry, now: Instant) -> io::Result<()> {
        let (listener, _) = self.listener.as_ref().ok_or(io::ErrorKind::WouldBlock)?;
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        let vacant = self.vacate().ok_or(io::ErrorKind::ConnectionAborted)?;
        let token = Wake::ControlClient(vacant.id().bits()).into();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let descriptor = stream.as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), token, interest)?;
        vacant.insert(ControlClient {
            stream,
            until: now.after(ASK_MS),
            asked: heapless::Vec::new(),
            answer: None,
        });
        Ok(())
    }

    /// A free place for the next client. If all are taken, the oldest client is dropped.
    fn vacate(&mut self) -> Option<Vacant<'_, ControlClient>> {
        if self.clients.len() >= ASKERS {
            let oldest = self.clients.iter().min_by_key(|(_, client)| client.until);
            let oldest = oldest.map(|(id, _)| id);
            oldest.map(|id| self.clients.remove(id));
        }
        self.clients.vacancy()
    }

    /// The clients to look at again, by number. None if no answer continues and no client may be waiting
    /// unseen.
    pub fn take_due(&mut self) -> Option<heapless::Vec<u32, ASKERS>> {
        let is_due = core::mem::take(&mut self.is_due);
        is_due.then(|| self.clients.iter().map(|(id, _)| id.bits()).collect())
    }

    /// Whether an answer continues.
    pub fn is_due(&self) -> bool {
        self.is_due
    }

    /// Reads a client's question, and sends as much of the answer as one turn may. An order has to be carried
    /// out, and then answered by [`Control::reply`].
    pub fn drive(&mut self, number: u32, view: &View<'_>) -> Option<Order> {
        let id = Id::from_bits(number);
        let client = self.clients.get_mut(id)?;
        if client.answer.is_none() {
            let line = client.read_line()?;
            match Question::parse(&line) {
                Question::Order(order) => {
                    self.in_hand = Some(id);
                    return Some(order);
                }
                question => client.answer = Some(view.answer(&question)),
            }
        }
        self.tell(id, view);
        None
    }

    /// Answers the order in hand, which was carried out.
    pub fn reply(&mut self, reply: Reply, view: &View<'_>) {
        if let Some(id) = self.in_hand.take()
            && let Some(client) = self.clients.get_mut(id)
        {
            client.answer = Some(Answer::to(reply));
            self.tell(id, view);
        }
    }

    fn tell(&mut self, id: Id<ControlClient>, view: &View<'_>) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        match client.send() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) | Ok(None | Some(Rest::Nothing)) => drop(self.clients.remove(id)),
            Ok(Some(rest)) => {
                client.answer = Some(view.next_piece(rest));
                self.is_due = true;
            }
        }
    }

    /// When a client's time is over, or the socket has to be looked at again.
    pub fn next_deadline(&self) -> Option<Instant> {
        let clients = self.clients.iter();
        clients.fold(self.again, |soonest, (_, client)| {
            sooner(soonest, Some(client.until))
        })
    }

    /// Drops clients whose time is over.
    pub fn expire(&mut self, now: Instant) {
        if self.again.take_if(|again| *again <= now).is_some() {
            self.is_due = true;
        }
        loop {
            let over = self.clients.iter().find(|(_, client)| client.until <= now);
            let Some((id, _)) = over else { break };
            self.clients.remove(id);
        }
    }
}

/// Creates the socket, for its owner only. A socket that a killed daemon has left there is removed. Nobody else can
/// change the way to it, so its name leads to the same folder each time.
fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    if let Some(folder) = path.parent() {
        // If this fails, walking there says why.
        let _ = files::make_folder(folder, 0o755, None);
    }
    let folder = Folder::of(path).map_err(ControlError::Io)?;
    if let Ok(about) = fs::symlink_metadata(path) {
        if !about.file_type().is_socket() {
            return Err(ControlError::NoSocket);
        }
        // A full queue means that the socket is in use, and the loop must not wait for its owner.
        match local::connect(path, 1) {
            Ok(_) => return Err(ControlError::Taken),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(ControlError::Taken);
            }
            Err(_) => {}
        }
        let _ = folder.remove(path);
    }
    let listener = with_private_files(|| UnixListener::bind(path));
    let listener = listener.map_err(ControlError::Io)?;
    listener.set_nonblocking(true).map_err(ControlError::Io)?;
    Ok(listener)
}

/// Calls `make` with a umask by which only the owner can use new files (umask(2)).
fn with_private_files<T>(make: impl FnOnce() -> T) -> T {
    let before = umask(Mode::from_raw_mode(0o177));
    let made = make();
    umask(before);
    made
}

impl ControlClient {
    /// The question, once its line is complete. Bytes beyond the limit are skipped: such a line is not a
    /// question, and the answer will say so.
    fn read_line(&mut self) -> Option<String> {
        let mut heard = [0; 4 * ASKED_BYTES];
        // No question needs more bytes.
        for _ in 0..ASKED_BYTES {
            let heard = match self.stream.read(&mut heard) {
                Ok(length) => &heard[..length],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => &[],
            };
            let line = heard.split(|&byte| byte == b'\n').next().unwrap_or(heard);
            let is_whole = line.len() < heard.len() || heard.is_empty();
            for &byte in line {
                // The last byte of room marks a line that is too long.
                let _ = self.asked.push(byte);
            }
            if is_whole {
                break;
            }
        }
        let line = str::from_utf8(&self.asked).unwrap_or_default();
        Some(if self.asked.is_full() { "" } else { line }.to_owned())
    }

    /// Sends what is made of the answer. Returns how to continue, once that is sent.
    fn send(&mut self) -> io::Result<Option<Rest>> {
        let Some(answer) = &mut self.answer else {
            return Ok(None);
        };
        while let Some(unsent) = answer.unsent() {
            match self.stream.write(unsent) {
                Ok(sent) => answer.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(answer.rest))
    }
}
