//! Pipes, and splice(2): bytes that go from socket to socket without ever coming to us.

use super::{check, control};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Both ends of a pipe that never blocks: read, write.
///
/// # Errors
/// What pipe2(2) says.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0 as libc::c_int; 2];
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // The system call itself: the C library's has another way for kernels before 2.6.27.
    // SAFETY: the kernel writes two descriptors, for which there is room.
    check(unsafe { libc::syscall(libc::SYS_pipe2, ends.as_mut_ptr(), flags) })?;
    // SAFETY: the descriptors are new and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Bytes that an empty pipe takes in one write. Less than usual once a user has many.
///
/// # Errors
/// What fcntl(2) says.
pub fn capacity(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    let bytes = control::of_file(pipe.as_raw_fd(), libc::F_GETPIPE_SZ, 0)?;
    Ok(bytes as usize)
}

/// Writes what there is room for.
///
/// # Errors
/// What write(2) says.
pub fn write(pipe: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads the bytes, no more than there are.
    let written =
        check(unsafe { libc::write(pipe.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })?;
    Ok(written as usize)
}

/// Whether there is a splice(2) at all: an emulator, or a filter around us, may lack it.
///
/// # Errors
/// What it says to a call for no bytes, which every kernel answers with 0.
pub fn can_splice() -> io::Result<()> {
    let nowhere = core::ptr::null_mut();
    // SAFETY: no bytes are asked for, so the call looks at nothing and moves nothing.
    check(unsafe { libc::splice(-1, nowhere, -1, nowhere, 0, 0) }).map(drop)
}

/// Moves at most so many bytes between a pipe and a socket. 0 is the end of what it reads from.
///
/// # Errors
/// What splice(2) says. `WouldBlock` has two meanings: nothing to read, or no room to write; so
/// only an empty pipe may be filled.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    // SAFETY: neither end has an offset, so both pointers may be null.
    let moved = check(unsafe {
        libc::splice(
            from.as_raw_fd(),
            core::ptr::null_mut(),
            to.as_raw_fd(),
            core::ptr::null_mut(),
            bytes,
            libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK,
        )
    })?;
    Ok(moved as usize)
}
