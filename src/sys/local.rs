//! Unix sockets of the client, who waits for the daemon, but not for ever.

use core::time::Duration;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Connects to a socket in the file system. Connecting, and each reading and writing behind it, ends
/// after this many milliseconds as `WouldBlock`. std's connecting has no end while the queue there is
/// full, and a daemon that hangs lets it fill.
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
