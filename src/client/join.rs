//! stdin and stdout joined to the service: what comes from the one goes to the other, both ways at once,
//! until the service closes.
//!
//! stdin's end is the socket's half-close, and no more; the socket's end is the end. On Linux both ways
//! take turns at a poll, because a thread is 5 KB of a router's C library. macOS can't poll a terminal,
//! and Windows no stdin, so there stdin has a thread.

use crate::limits::BUFFER;
use crate::sys::{clock, output};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

/// What a connection came to that did not go well.
pub enum End {
    /// It was closed before a byte had come, after so many seconds.
    Mute(u64),
    /// It broke off in the middle.
    Broken(io::Error),
    /// stdout could not be written.
    Unwritten(io::Error),
}

/// Joins stdin and stdout to the service, until that has closed.
///
/// # Errors
/// The connection ended in another way.
pub fn join(stream: TcpStream) -> Result<(), End> {
    let began = clock::real_ms();
    match platform::join(stream)? {
        Outcome::Mute => Err(End::Mute((clock::real_ms() - began).max(0) as u64 / 1_000)),
        // Nobody minds what could not be said to a service that had closed.
        Outcome::Over(Some(error)) if error.kind() != ErrorKind::BrokenPipe => {
            Err(End::Broken(error))
        }
        Outcome::Over(_) => Ok(()),
    }
}

/// Waits until the service closes, whatever it says, and however it ends.
pub fn drain(stream: &TcpStream) {
    platform::drain(stream);
}

/// How the service's way ended.
enum Outcome {
    /// Before a byte had come.
    Mute,
    /// Behind some, and why if not by the service's last word.
    Over(Option<io::Error>),
}

#[cfg(target_os = "linux")]
mod platform {
    use super::{BUFFER, End, ErrorKind, Outcome, Read, Shutdown, TcpStream, Write, io, output};
    use crate::sys::wait::{self, Want};
    use std::os::fd::AsFd;

    /// Bytes for stdout at once. A pipe that has room has room for so many (pipe(7), PIPE_BUF), so
    /// nothing waits although stdout may block, and it is not ours alone to change that.
    const PIECE: usize = 4_096;

    /// What one way has read and not written yet.
    struct Bytes {
        buffer: [u8; BUFFER],
        unwritten: core::ops::Range<usize>,
    }

    impl Bytes {
        fn new() -> Self {
            Self {
                buffer: [0; BUFFER],
                unwritten: 0..0,
            }
        }

        fn are_none(&self) -> bool {
            self.unwritten.is_empty()
        }

        /// Reads, and says whether there may be more to come; to be asked when there are none.
        fn read(&mut self, from: &mut dyn Read) -> io::Result<bool> {
            self.unwritten = 0..0;
            match from.read(&mut self.buffer) {
                Ok(count) => {
                    self.unwritten.end = count;
                    Ok(count > 0)
                }
                Err(error) => unless_early(error).map(|()| true),
            }
        }

        fn write(&mut self, to: &mut dyn Write, most: usize) -> io::Result<()> {
            let bytes = &self.buffer[self.unwritten.clone()];
            match to.write(&bytes[..bytes.len().min(most)]) {
                Ok(count) => {
                    self.unwritten.start += count;
                    Ok(())
                }
                Err(error) => unless_early(error),
            }
        }
    }

    /// The error, unless it says that it is not time yet.
    fn unless_early(error: io::Error) -> io::Result<()> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        }
    }

    /// The stream is one of ours, and never blocks.
    pub fn drain(mut stream: &TcpStream) {
        let mut bytes = Bytes::new();
        while wait::for_any([Some((stream.as_fd(), Want::Read))]).is_ok()
            && bytes.read(&mut stream).unwrap_or(false)
        {}
    }

    /// The stream is one of ours, and never blocks.
    pub fn join(stream: TcpStream) -> Result<Outcome, End> {
        let mut stream = &stream;
        let mut stdin = output::stdin().ok();
        let mut stdout = output::stdout().map_err(End::Unwritten)?;
        let (mut inward, mut outward) = (Bytes::new(), Bytes::new());
        let mut is_mute = true;
        // Why stdin could not be passed on.
        let mut broken = None;
        let end = loop {
            let reads = stdin.as_ref().filter(|_| inward.are_none());
            let service = match (outward.are_none(), inward.are_none()) {
                (true, true) => Some(Want::Read),
                (true, false) => Some(Want::Either),
                (false, false) => Some(Want::Write),
                (false, true) => None,
            };
            let writes = Some(&stdout).filter(|_| !outward.are_none());
            let [may_read, _, may_write] = wait::for_any([
                reads.map(|stdin| (stdin.as_fd(), Want::Read)),
                service.map(|want| (stream.as_fd(), want)),
                writes.map(|stdout| (stdout.as_fd(), Want::Write)),
            ])
            .map_err(End::Broken)?;

            if let Some(input) = stdin.as_mut().filter(|_| may_read) {
                // What can't be read any more is at its end.
                if !inward.read(input).unwrap_or(false) {
                    stdin = None;
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
            if !inward.are_none()
                && let Err(error) = inward.write(&mut stream, BUFFER)
            {
                inward.unwritten = 0..0;
                stdin = None;
                broken = Some(error);
            }
            if outward.are_none() {
                match outward.read(&mut stream) {
                    Ok(true) => is_mute &= outward.are_none(),
                    Ok(false) => break None,
                    Err(error) => break Some(error),
                }
            } else if may_write {
                outward.write(&mut stdout, PIECE).map_err(End::Unwritten)?;
            }
        };
        Ok(match is_mute {
            true => Outcome::Mute,
            false => Outcome::Over(end.or(broken)),
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::{BUFFER, End, ErrorKind, Outcome, Read, Shutdown, TcpStream, Write, io, output};
    use crate::sys::patient::Patient;
    use crate::sys::thread;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// What both ways share.
    struct Session {
        stream: TcpStream,
        /// Why stdin could not be passed on. Locked while it is, for a reset is told to one way alone,
        /// and is an ordinary end to the other.
        broken: Mutex<Option<io::Error>>,
    }

    pub fn join(stream: TcpStream) -> Result<Outcome, End> {
        // The thread may be in a read that nobody ever answers. So nobody waits for it, and it outlives
        // this function, by nothing but the end of the process.
        let session: &Session = Box::leak(Box::new(Session {
            stream,
            broken: Mutex::new(None),
        }));
        thread::spawn(|| send(session)).map_err(End::Broken)?;
        let mut stdout = Patient(output::stdout().map_err(End::Unwritten)?);
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
            return Ok(Outcome::Mute);
        }
        // A write that still waits ends by this.
        let _ = session.stream.shutdown(Shutdown::Both);
        // Windows tells a reset to both ways. What else the thread meets there is how late it was, in
        // words of its own, and a write that waits may go on to.
        if cfg!(unix) && end.is_none() {
            return Ok(Outcome::Over(session.broken().take()));
        }
        Ok(Outcome::Over(end))
    }

    pub fn drain(mut stream: &TcpStream) {
        while let Ok(1..) = read(&mut stream, &mut [0; BUFFER]) {}
    }

    /// Passes stdin on. What can't be read any more is at its end.
    fn send(session: &Session) {
        if let Ok(stdin) = output::stdin() {
            let mut stdin = Patient(stdin);
            let mut buffer = [0; BUFFER];
            while let Ok(count @ 1..) = read(&mut stdin, &mut buffer) {
                let mut broken = session.broken();
                if let Err(error) = (&session.stream).write_all(&buffer[..count]) {
                    *broken = Some(error);
                    return;
                }
            }
        }
        let _ = session.stream.shutdown(Shutdown::Write);
    }

    impl Session {
        fn broken(&self) -> MutexGuard<'_, Option<io::Error>> {
            self.broken.lock().unwrap_or_else(PoisonError::into_inner)
        }
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
}
