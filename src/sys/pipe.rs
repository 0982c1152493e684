//! Pipes, and splice(2): bytes that go from socket to socket without ever coming to us.

use rustix::io::write as write_to;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, pipe_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Both ends of a pipe that never blocks: read, write.
///
/// # Errors
/// What pipe2(2) says.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

/// Bytes that an empty pipe takes in one write. Less than usual once a user has many.
///
/// # Errors
/// What fcntl(2) says.
pub fn capacity(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(fcntl_getpipe_size(pipe)?)
}

/// Writes what there is room for.
///
/// # Errors
/// What write(2) says.
pub fn write(pipe: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(write_to(pipe, bytes)?)
}

/// Whether there is a splice(2) at all: an emulator, or a filter around us, may lack it.
///
/// # Errors
/// What it says to a call for no bytes, which every kernel answers with 0.
pub fn can_splice() -> io::Result<()> {
    let (read, write) = pipe()?;
    splice(read.as_fd(), write.as_fd(), 0).map(drop)
}

/// Moves at most this many bytes between a pipe and a socket. 0 is the end of what it reads from.
///
/// # Errors
/// What splice(2) says. `WouldBlock` has two meanings: nothing to read, or no room to write; so
/// only an empty pipe may be filled.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::pipe::splice(from, None, to, None, bytes, flags)?)
}
