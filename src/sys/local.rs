//! Unix sockets: the client, which blocks, but not for ever, and the next one who comes to a server.

use super::check;
use super::socket::set;
use core::mem;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Connects to a socket in the file system. Connecting, and each reading and writing behind it, ends
/// after so many milliseconds as `WouldBlock`. std's connecting has no end while the queue there is
/// full, and a daemon that hangs lets it fill.
///
/// # Errors
/// What socket(2), setsockopt(2) and connect(2) say.
pub fn connect(path: &Path, milliseconds: u64) -> io::Result<File> {
    // SAFETY: all zeros is an address of this kind.
    let mut raw: libc::sockaddr_un = unsafe { mem::zeroed() };
    raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let path = path.as_os_str().as_bytes();
    // A NUL ends it.
    if path.len() >= raw.sun_path.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, byte) in raw.sun_path.iter_mut().zip(path) {
        *to = *byte as libc::c_char;
    }

    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let socket = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: the descriptor is new, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zeros is a time. It has padding on some machines.
    let mut timeout: libc::timeval = unsafe { mem::zeroed() };
    timeout.tv_sec = (milliseconds / 1_000) as _;
    timeout.tv_usec = (milliseconds % 1_000 * 1_000) as _;
    for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        set(&socket, libc::SOL_SOCKET, option, timeout)?;
    }
    let length = mem::size_of_val(&raw) as libc::socklen_t;
    // SAFETY: raw is a socket address of this length.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const raw).cast(), length) })?;
    Ok(File::from(socket))
}

/// Takes the next client from a socket's queue. The stream never blocks.
///
/// # Errors
/// What accept4(2) says; `WouldBlock` when nobody waits.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<UnixStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let nobody = core::ptr::null_mut::<u8>();
    let listener = listener.as_raw_fd();
    // SAFETY: nothing is written where the address would go.
    let socket =
        check(unsafe { libc::syscall(libc::SYS_accept4, listener, nobody, nobody, flags) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(UnixStream::from(unsafe {
        OwnedFd::from_raw_fd(socket as i32)
    }))
}
