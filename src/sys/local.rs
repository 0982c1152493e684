//! Unix sockets with timeouts (unix(7)).

use core::time::Duration;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Connects to a socket in the file system. Connecting and each later read or write fails with `WouldBlock`
/// after this many milliseconds. std's connect has no timeout, and waits while the queue of a daemon that hangs
/// is full.
///
/// # Errors
/// What socket(2), setsockopt(2) and connect(2) say.
pub fn connect(path: &Path, milliseconds: u64) -> io::Result<UnixStream> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let timeout = Some(Duration::from_millis(milliseconds));
    socket.set_read_timeout(timeout)?;
    socket.set_write_timeout(timeout)?;
    socket.connect(&address)?;
    Ok(OwnedFd::from(socket).into())
}
