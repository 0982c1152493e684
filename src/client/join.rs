//! stdin and stdout joined to the service: each passes on what comes from the other, until the service
//! closes.
//!
//! The end of stdin is a half-close of the socket; the end of the socket is the end of all. stdin has a
//! thread of its own, because macOS can't poll a terminal, and Windows can't poll stdin at all.

use crate::cli;
use crate::limits::BUFFER;
use crate::sys::clock;
use crate::sys::patient::Patient;
use core::fmt;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Why a connection did not end as it should.
#[derive(Debug)]
pub enum JoinError {
    /// The server hung up before it had sent a byte, after this many seconds.
    HungUp {
        /// Whole seconds since the connection was made.
        after_s: u64,
    },
    /// It broke off later.
    BrokeOff(io::Error),
    /// stdout could not be written.
    Stdout(io::Error),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp { after_s: 0 } => f.write_str("hung up at once"),
            Self::HungUp { after_s } => write!(f, "hung up after {after_s} s without a byte"),
            Self::BrokeOff(error) => write!(f, "broke off: {error}"),
            Self::Stdout(error) => write!(f, "stdout: {error}"),
        }
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::HungUp { .. } => None,
            Self::BrokeOff(error) | Self::Stdout(error) => Some(error),
        }
    }
}

/// What the two directions share.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// Why stdin could not be passed on. It is locked while a write goes on: the kernel reports a reset to
    /// one direction alone, and to the other it looks like an ordinary end.
    send_error: Mutex<Option<io::Error>>,
}

impl Connection {
    fn send_error(&self) -> MutexGuard<'_, Option<io::Error>> {
        let lock = self.send_error.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins stdin and stdout to the service, until it closes.
///
/// # Errors
/// The connection ended in another way.
pub fn join(stream: TcpStream) -> Result<(), JoinError> {
    let began_ms = clock::real_ms();
    // The thread may hang in a read from stdin that never returns, so it is never joined. It ends with the
    // process, and until then needs the connection.
    let connection: &Connection = Box::leak(Box::new(Connection {
        stream,
        send_error: Mutex::new(None),
    }));
    let sender = thread::Builder::new().spawn(|| send(connection));
    sender.map_err(JoinError::BrokeOff)?;
    let mut stdout = Patient(cli::stdout().map_err(JoinError::Stdout)?);
    let mut buffer = [0; BUFFER];
    let mut has_received = false;
    let receive_error = loop {
        match read(&mut &connection.stream, &mut buffer) {
            Ok(0) => break None,
            Ok(count) => {
                has_received = true;
                let written = stdout.write_all(&buffer[..count]);
                written
                    .and_then(|()| stdout.flush())
                    .map_err(JoinError::Stdout)?;
            }
            Err(error) => break Some(error),
        }
    };
    if !has_received {
        let waited_ms = (clock::real_ms() - began_ms).max(0);
        return Err(JoinError::HungUp {
            after_s: waited_ms.unsigned_abs() / 1_000,
        });
    }
    // This ends a write of the thread's that still waits.
    let _ = connection.stream.shutdown(Shutdown::Both);
    // Windows reports a reset to both directions. The thread's own error there only says that it was late,
    // and its lock may be held by a write that goes on waiting.
    let error = if cfg!(unix) && receive_error.is_none() {
        connection.send_error().take()
    } else {
        receive_error
    };
    match error {
        // The service closed first; what was sent afterwards is lost, as with any close.
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(JoinError::BrokeOff(error)),
        _ => Ok(()),
    }
}

/// Reads until the service closes or the connection breaks, and drops what it says.
pub fn drain(mut stream: &TcpStream) {
    while let Ok(1..) = read(&mut stream, &mut [0; BUFFER]) {}
}

/// Passes stdin on. An error of stdin counts as its end.
fn send(connection: &Connection) {
    let mut stdin = Patient(io::stdin());
    let mut buffer = [0; BUFFER];
    while let Ok(count @ 1..) = read(&mut stdin, &mut buffer) {
        let mut send_error = connection.send_error();
        if let Err(error) = (&connection.stream).write_all(&buffer[..count]) {
            *send_error = Some(error);
            return;
        }
    }
    let _ = connection.stream.shutdown(Shutdown::Write);
}

/// Reads once; 0 is the end. A signal is no reason to stop.
fn read(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
