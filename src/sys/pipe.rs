//! Pipes (pipe(7)), and splice(2), which moves bytes between sockets without copying them to us.

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Opens a non-blocking pipe: its read end, and its write end.
///
/// # Errors
/// What pipe2(2) says.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

/// Whether there is a splice(2): an emulator may lack it, or a seccomp filter forbid it.
///
/// # Errors
/// What it says to a call for no bytes, for which every kernel returns 0.
pub fn can_splice() -> io::Result<()> {
    let (read, write) = pipe()?;
    splice(read.as_fd(), write.as_fd(), 0).map(drop)
}

/// Moves up to this many bytes between a pipe and a socket, in either direction. 0 is the end of the stream.
///
/// # Errors
/// What splice(2) says. `WouldBlock` can mean that there is nothing to read or no room to write. To tell them
/// apart, read only into an empty pipe.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::pipe::splice(from, None, to, None, bytes, flags)?)
}
