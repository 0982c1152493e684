//! What the shell keeps of each connection: a trap, a link, a process, or just the socket.
//!
//! A connection has one id and one registration for its whole life. The core decides what happens to it;
//! immediate results become answers.

use super::own_address::is_own_address;
use super::relay::{Link, Pipes, Progress, Ready};
use super::trap::{Received, Trap};
use super::wake::{Side, Wake};
use crate::limits::PIPES_PER_SOURCE;
use crate::proto::Instant;
use crate::proto::conn::{Conn, ConnId};
use crate::proto::effect::Introduction;
use crate::proto::input::{End, Examined, Fault, Input};
use crate::proto::proxy;
use crate::proto::source::Source;
use crate::proto::table::Beside;
use crate::proto::tally::Tally;
use crate::proto::timers::Timers;
use crate::sys::child::{self, Exit, Pid, Streams};
use crate::sys::socket;
use core::net::{Ipv4Addr, SocketAddr};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The immediate results of effects, oldest first.
pub type Answers = VecDeque<Input>;

enum Body {
    /// A trap holds it.
    Trap(Trap),
    /// It is joined to the service, or about to be.
    Link(Box<Link>),
    /// A process has it.
    Process,
    /// Nothing reads from it.
    Waiting(OwnedFd),
}

/// All connections that effects have kept.
pub struct Sockets {
    bodies: Beside<Conn, Body>,
    /// The deadlines of links that are idle or reset.
    timers: Timers<Conn>,
    /// Shared by all links.
    pub pipes: Pipes,
    pipes_by_source: Tally,
    processes: Vec<(Pid, ConnId)>,
    /// A socket was closed since this was last asked, so a descriptor is free.
    has_closed: bool,
    /// Links that have more to do than one turn allows.
    due: Vec<ConnId>,
    /// Why a service could not be dialled from this address of 127/8, until the log is told. It is told once.
    pub no_client_address: Option<(Ipv4Addr, io::Error)>,
    lacks_client_addresses: bool,
}

/// The parameters of a dial.
#[derive(Clone, Copy)]
pub struct Dial {
    pub conn: ConnId,
    pub to: SocketAddr,
    pub source: Source,
    pub idle_ms: Option<u64>,
    pub introduction: Introduction,
}

impl Sockets {
    /// Without connections.
    pub fn new() -> Self {
        Self {
            bodies: Beside::default(),
            timers: Timers::new(),
            pipes: Pipes::new(),
            pipes_by_source: Tally::default(),
            processes: Vec::new(),
            has_closed: false,
            due: Vec::new(),
            no_client_address: None,
            lacks_client_addresses: false,
        }
    }

    /// Whether a socket was closed since the last call.
    pub fn take_has_closed(&mut self) -> bool {
        core::mem::take(&mut self.has_closed)
    }

    /// Bytes from the visitor and to the visitor. A process's bytes are unknown: 0.
    pub fn moved(&self, id: ConnId) -> (u64, u64) {
        match self.bodies.get(id) {
            Some(Body::Link(link)) => link.moved(),
            _ => (0, 0),
        }
    }

    /// Holds a visitor in a trap.
    pub fn hold(
        &mut self,
        id: ConnId,
        visitor: Option<OwnedFd>,
        listens: bool,
        registry: &Registry,
        answers: &mut Answers,
    ) {
        let registered = visitor.ok_or_else(no_socket).and_then(|visitor| {
            let token = Wake::Conn(id, Side::Client).into();
            let descriptor = visitor.as_raw_fd();
            registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
            Ok(visitor)
        });
        match registered {
            Ok(visitor) => self
                .bodies
                .insert(id, Body::Trap(Trap::new(visitor, listens))),
            Err(_) => answers.push_back(Input::Gone { conn: id }),
        }
    }

    /// Discards what a visitor has sent and will send.
    pub fn mute(&mut self, id: ConnId, answers: &mut Answers) {
        if let Some(Body::Trap(trap)) = self.bodies.get_mut(id) {
            let received = trap.mute();
            self.answer(id, received, answers);
        }
    }

    /// Gives up a visitor in a trap, unless they turn out to have sent a complete token.
    pub fn give_up(&mut self, id: ConnId, answers: &mut Answers) {
        let received = match self.bodies.get_mut(id) {
            Some(Body::Trap(trap)) => trap.receive(),
            _ => Received::Gone,
        };
        let received = match received {
            Received::Said(Some(_)) => received,
            Received::Said(None) | Received::Nothing | Received::Gone => Received::Gone,
        };
        self.answer(id, received, answers);
    }

    fn answer(&mut self, conn: ConnId, received: Received, answers: &mut Answers) {
        match received {
            Received::Nothing => {}
            Received::Said(token) => answers.push_back(Input::Said { conn, token }),
            Received::Gone => {
                self.close(conn);
                answers.push_back(Input::Gone { conn });
            }
        }
    }

    /// Keeps a socket and reads nothing.
    pub fn wait(&mut self, id: ConnId, in_hand: Option<OwnedFd>, registry: &Registry) {
        if let Some(socket) = self.take_unwatched(id, registry).or(in_hand) {
            self.bodies.insert(id, Body::Waiting(socket));
        }
    }

    /// Closes a connection.
    pub fn close(&mut self, id: ConnId) {
        if let Some(body) = self.bodies.remove(id) {
            self.has_closed = true;
            if let Body::Link(link) = body {
                self.close_link(id, *link, None);
            }
        }
    }

    /// Closes a session with a reset: what was sent last may be lost, and an end would not tell.
    pub fn cut(&mut self, id: ConnId) {
        match self.bodies.remove(id) {
            Some(Body::Link(link)) => self.close_link(id, *link, Some(End::Reset)),
            body => self.has_closed |= body.is_some(),
        }
    }

    /// What the kernel knows about the clients of these sessions.
    pub fn examine(&self, sessions: &[ConnId]) -> Vec<Examined> {
        let examine = |&conn: &ConnId| {
            let client = match self.bodies.get(conn)? {
                Body::Link(link) => &link.client,
                Body::Waiting(client) => client,
                // The programs have theirs.
                Body::Trap(_) | Body::Process => return None,
            };
            let (bytes_in, bytes_out) = self.moved(conn);
            Some(Examined {
                conn,
                unanswered_ms: socket::unanswered_ms(client.as_fd()),
                bytes_in,
                bytes_out,
            })
        };
        sessions.iter().filter_map(examine).collect()
    }

    fn close_link(&mut self, id: ConnId, link: Link, end: Option<End>) {
        self.timers.set(id, None);
        let pipes = self.pipes_by_source.get(link.source) - link.pipes();
        self.pipes_by_source.set(link.source, pipes);
        link.close(end, &mut self.pipes);
        self.has_closed = true;
    }

    /// Takes the socket of a visitor who is not joined to anything.
    fn take_socket(&mut self, id: ConnId) -> Option<OwnedFd> {
        match self.bodies.remove(id)? {
            Body::Trap(trap) => Some(trap.into_visitor()),
            Body::Waiting(socket) => Some(socket),
            body @ (Body::Link(_) | Body::Process) => {
                self.bodies.insert(id, body);
                None
            }
        }
    }

    /// The same, but the poll no longer watches the socket. Otherwise it would for as long as a child has it,
    /// because closing it here does not end that.
    fn take_unwatched(&mut self, id: ConnId, registry: &Registry) -> Option<OwnedFd> {
        let socket = self.take_socket(id)?;
        // It may not have been registered.
        let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        Some(socket)
    }

    /// Dials a service for a visitor: one in hand, one who is held, or one whose dial has failed.
    pub fn dial(
        &mut self,
        dial: Dial,
        in_hand: Option<OwnedFd>,
        (registry, now): (&Registry, Instant),
        answers: &mut Answers,
    ) {
        let Dial { conn: id, to, .. } = dial;
        let service = loop {
            match socket::stream(to) {
                Err(error) if is_out_of_descriptors(&error) && self.pipes.shed() => {}
                other => break other,
            }
        };
        let client = self.take_socket(id).or(in_hand);
        let service = match service {
            Ok(service) => service,
            Err(error) => {
                // The visitor keeps their place until it is known whether a descriptor can be freed.
                if let Some(client) = client {
                    self.bodies.insert(id, Body::Waiting(client));
                }
                return refuse(id, error, answers);
            }
        };
        let from = self.set_source(service.as_fd(), dial);
        let dialled = socket::connect(service.as_fd(), to);
        let joined = register(registry, service.as_fd(), id, Side::Service).and_then(|()| {
            match (client, self.bodies.get_mut(id)) {
                (Some(client), _) => {
                    let header = header(client.as_fd(), dial.introduction)?;
                    register(registry, client.as_fd(), id, Side::Client)?;
                    let mut link = Link::new(client, service, dial.source, dial.idle_ms, now);
                    link.introduce(header);
                    self.bodies.insert(id, Body::Link(Box::new(link)));
                    Ok(())
                }
                (None, Some(Body::Link(link))) => {
                    link.dial_again(service);
                    Ok(())
                }
                (None, _) => Err(no_socket()),
            }
        });
        if let Err(error) = joined {
            return refuse(id, error, answers);
        }
        answers.push_back(Input::Started {
            conn: id,
            result: Ok(from),
        });
        match dialled {
            // It may have been accepted already.
            Ok(()) => self.drive(id, None, now, answers),
            Err(error) => {
                if let Some(Body::Link(link)) = self.bodies.get_mut(id) {
                    link.part();
                }
                answers.push_back(Input::DialFailed { conn: id, error });
            }
        }
    }

    /// Sets the address from which a service is dialled, if it is to be one of 127/8 and can be.
    fn set_source(&mut self, service: BorrowedFd<'_>, dial: Dial) -> Option<Ipv4Addr> {
        let Introduction::From(address) = dial.introduction else {
            return None;
        };
        // Whoever is elsewhere can't answer to it.
        let host = dial.to.ip();
        if !host.is_loopback() && !is_own_address(host, 0) {
            return None;
        }
        match socket::set_source(service, address) {
            Ok(()) => Some(address),
            Err(error) => {
                if !core::mem::replace(&mut self.lacks_client_addresses, true) {
                    self.no_client_address = Some((address, error));
                }
                None
            }
        }
    }

    /// Starts a program with the visitor's connection. The connection was just accepted, or is in a trap.
    pub fn exec(
        &mut self,
        id: ConnId,
        words: &[String],
        in_hand: Option<OwnedFd>,
        registry: &Registry,
        answers: &mut Answers,
    ) {
        let spawned = match self.take_unwatched(id, registry).or(in_hand) {
            None => Err(no_socket()),
            Some(socket) => {
                let spawned = child::spawn(words, Streams::Socket(socket.as_fd()));
                if spawned.is_err() {
                    self.bodies.insert(id, Body::Waiting(socket));
                }
                spawned
            }
        };
        match spawned {
            Ok(pid) => {
                self.bodies.insert(id, Body::Process);
                self.processes.push((pid, id));
                answers.push_back(Input::Started {
                    conn: id,
                    result: Ok(None),
                });
            }
            Err(error) => refuse(id, error, answers),
        }
    }

    /// Handles the end of a child. False if it is not one of these.
    pub fn child_ended(&mut self, pid: Pid, exit: Exit, answers: &mut Answers) -> bool {
        let mut known = self.processes.iter();
        let Some(place) = known.position(|(known, _)| *known == pid) else {
            return false;
        };
        let (_, conn) = self.processes.swap_remove(place);
        self.close(conn);
        answers.push_back(Input::Over {
            conn,
            end: if exit.is_success() {
                End::Closed
            } else {
                End::Failed
            },
            bytes_in: 0,
            bytes_out: 0,
        });
        true
    }

    /// Handles an event at one end of a connection, or (None) continues after the turn's share was used up.
    pub fn handle(
        &mut self,
        id: ConnId,
        ready: Option<Ready>,
        now: Instant,
        answers: &mut Answers,
    ) {
        match self.bodies.get_mut(id) {
            Some(Body::Trap(trap)) => {
                let received = trap.receive();
                self.answer(id, received, answers);
            }
            Some(Body::Link(link)) => {
                link.is_due &= ready.is_some();
                self.drive(id, ready, now, answers);
            }
            Some(Body::Process | Body::Waiting(_)) | None => {}
        }
    }

    /// Ends links that are idle, or that have had their time after a reset.
    pub fn expire(&mut self, now: Instant, answers: &mut Answers) {
        while let Some(id) = self.timers.next_due(now) {
            let Some(Body::Link(link)) = self.bodies.get_mut(id) else {
                continue;
            };
            match link.expire(now) {
                // Its deadline was postponed in the meantime.
                None => self.timers.set(id, link.deadline()),
                Some(end) => self.end(id, end, answers),
            }
        }
    }

    /// When to call [`Sockets::expire`].
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.soonest()
    }

    /// Whether a link has more to do than one turn allows.
    pub fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Takes the links that have more to do than one turn allows.
    pub fn take_due(&mut self) -> Vec<ConnId> {
        core::mem::take(&mut self.due)
    }

    fn end(&mut self, conn: ConnId, end: End, answers: &mut Answers) {
        let (bytes_in, bytes_out) = self.moved(conn);
        if let Some(Body::Link(link)) = self.bodies.remove(conn) {
            self.close_link(conn, *link, Some(end));
            answers.push_back(Input::Over {
                conn,
                end,
                bytes_in,
                bytes_out,
            });
        }
    }

    fn drive(&mut self, id: ConnId, ready: Option<Ready>, now: Instant, answers: &mut Answers) {
        let Some(Body::Link(link)) = self.bodies.get_mut(id) else {
            return;
        };
        let source = link.source;
        let may_borrow =
            !self.pipes.are_scarce() || self.pipes_by_source.get(source) < PIPES_PER_SOURCE;
        let (was_dialling, had) = (link.is_dialling(), link.pipes());
        let progress = link.drive(ready, now, &mut self.pipes, may_borrow);
        let has = link.pipes();
        if had != has {
            let pipes = self.pipes_by_source.get(source) + has - had;
            self.pipes_by_source.set(source, pipes);
        }
        if let Some(deadline) = link.deadline() {
            self.timers.bring_forward(id, deadline);
        }
        if was_dialling && !link.is_dialling() && !matches!(progress, Progress::DialFailed(_)) {
            answers.push_back(Input::Dialled { conn: id });
        }
        match progress {
            Progress::Wait => {}
            Progress::Again => {
                if !core::mem::replace(&mut link.is_due, true) {
                    self.due.push(id);
                }
            }
            Progress::DialFailed(error) => answers.push_back(Input::DialFailed { conn: id, error }),
            Progress::Over(end) => self.end(id, end, answers),
        }
    }
}

/// What the service is told before the visitor's first byte. It is never left out: the service would take the
/// visitor for this host.
fn header(visitor: BorrowedFd<'_>, introduction: Introduction) -> io::Result<Vec<u8>> {
    let Introduction::Header(version) = introduction else {
        return Ok(Vec::new());
    };
    let (from, to) = socket::ends(visitor)?;
    Ok(proxy::header(version, from, to))
}

/// Reports something that could not be started.
fn refuse(conn: ConnId, error: io::Error, answers: &mut Answers) {
    let fault = match is_out_of_descriptors(&error) {
        true => Fault::Short(error),
        false => Fault::Other(error),
    };
    let result = Err(fault);
    answers.push_back(Input::Started { conn, result });
}

/// Registers one end of a connection with the poll. A held connection is registered again, for more events.
fn register(registry: &Registry, socket: BorrowedFd<'_>, id: ConnId, side: Side) -> io::Result<()> {
    let token = Wake::Conn(id, side).into();
    let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    let descriptor = socket.as_raw_fd();
    let mut source = SourceFd(&descriptor);
    match registry.register(&mut source, token, interest) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            registry.reregister(&mut source, token, interest)
        }
        registered => registered,
    }
}

/// The error for a connection that was not kept.
fn no_socket() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// Whether the process or the system has run out of descriptors.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
