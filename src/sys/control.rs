//! What is asked of a descriptor as such, by the system calls themselves: the C library's translate
//! structures for kernels before 5.1, whatever they are asked, 2 KB.

use super::check;
use core::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Asks a device or a socket something that answers into memory (ioctl(2)).
///
/// # Errors
/// What it says.
///
/// # Safety
/// The memory is as large as the request asks for, and holds what it reads.
pub(super) unsafe fn ask<T>(
    descriptor: c_int,
    request: c_int,
    memory: *mut T,
) -> io::Result<c_long> {
    let request = request as libc::c_uint;
    // SAFETY: as the caller says.
    check(unsafe { libc::syscall(libc::SYS_ioctl, descriptor, request, memory) })
}

/// Asks the file behind a descriptor something (fcntl(2)) without a pointer.
///
/// # Errors
/// What it says.
pub(super) fn of_file(descriptor: c_int, command: c_int, argument: c_int) -> io::Result<c_int> {
    // SAFETY: no pointers.
    let answer = unsafe { libc::syscall(libc::SYS_fcntl, descriptor, command, argument) };
    check(answer as c_int)
}

/// Makes an open file one that never blocks, for all who share it.
///
/// # Errors
/// What fcntl(2) says.
pub fn never_block(file: BorrowedFd<'_>) -> io::Result<()> {
    let flags = of_file(file.as_raw_fd(), libc::F_GETFL, 0)?;
    of_file(file.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK).map(drop)
}
