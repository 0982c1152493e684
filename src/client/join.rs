//! stdin and stdout joined to the service: what comes from the one goes to the other, both ways at once,
//! until the service closes.
//!
//! stdin's end is the socket's half-close, and no more; the socket's end is the end. stdin has a thread,
//! because macOS can't poll a terminal, and Windows no stdin.

use crate::limits::BUFFER;
use crate::sys::clock;
use crate::sys::patient::Patient;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// What a connection came to that did not go well.
pub enum End {
    /// It was closed before a byte had come, after so many seconds.
    Mute(u64),
    /// It broke off in the middle.
    Broken(io::Error),
    /// stdout could not be written.
    Unwritten(io::Error),
}

/// What both ways share.
struct Session {
    stream: TcpStream,
    /// Why stdin could not be passed on. Locked while it is, because a reset is told to one way alone,
    /// and is an ordinary end to the other.
    broken: Mutex<Option<io::Error>>,
}

impl Session {
    fn broken(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins stdin and stdout to the service, until that has closed.
///
/// # Errors
/// The connection ended in another way.
pub fn join(stream: TcpStream) -> Result<(), End> {
    let began = clock::real_ms();
    // The thread may be in a read that nobody ever answers. So nobody waits for it, and it outlives
    // this function, by nothing but the end of the process.
    let session: &Session = Box::leak(Box::new(Session {
        stream,
        broken: Mutex::new(None),
    }));
    let sender = thread::Builder::new().spawn(|| send(session));
    sender.map_err(End::Broken)?;
    let mut stdout = Patient(stdout().map_err(End::Unwritten)?);
    let mut buffer = [0; BUFFER];
    let mut is_mute = true;
    let end = loop {
        match read(&mut &session.stream, &mut buffer) {
            Ok(0) => break None,
            Ok(count) => {
                is_mute = false;
                let written = stdout.write_all(&buffer[..count]);
                written
                    .and_then(|()| stdout.flush())
                    .map_err(End::Unwritten)?;
            }
            Err(error) => break Some(error),
        }
    };
    if is_mute {
        let waited_ms = (clock::real_ms() - began).max(0);
        return Err(End::Mute(waited_ms.unsigned_abs() / 1_000));
    }
    // A write that still waits ends by this.
    let _ = session.stream.shutdown(Shutdown::Both);
    // Windows tells a reset to both ways. What else the thread meets there is how late it was, in
    // words of its own, and a write that waits may go on to.
    let end = if cfg!(unix) && end.is_none() {
        session.broken().take()
    } else {
        end
    };
    match end {
        // Nobody minds what could not be said to a service that had closed.
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(End::Broken(error)),
        _ => Ok(()),
    }
}

/// Waits until the service closes, whatever it says, and however it ends.
pub fn drain(mut stream: &TcpStream) {
    while let Ok(1..) = read(&mut stream, &mut [0; BUFFER]) {}
}

/// Passes stdin on. What can't be read any more is at its end.
fn send(session: &Session) {
    let mut stdin = Patient(io::stdin());
    let mut buffer = [0; BUFFER];
    while let Ok(count @ 1..) = read(&mut stdin, &mut buffer) {
        let mut broken = session.broken();
        if let Err(error) = (&session.stream).write_all(&buffer[..count]) {
            *broken = Some(error);
            return;
        }
    }
    let _ = session.stream.shutdown(Shutdown::Write);
}

/// stdout without the lines that std's looks for: it would write most pieces in two.
#[cfg(unix)]
fn stdout() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

#[cfg(not(unix))]
fn stdout() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}

/// Reads what there is, 0 bytes at the end.
fn read(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
