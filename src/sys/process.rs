//! What belongs to the process as a whole.

use super::{check, file};
use core::mem::MaybeUninit;
use core::ptr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Raises the limit of open descriptors to what the administrator allows, and says what it is.
///
/// # Errors
/// What prlimit(2) says. (setrlimit(3) does the same, and brings the locks of all threads.)
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let mut limit = MaybeUninit::<libc::rlimit64>::uninit();
    let none = ptr::null_mut::<libc::rlimit64>();
    let call = libc::SYS_prlimit64;
    // SAFETY: the kernel fills in the struct, and reads none.
    check(unsafe { libc::syscall(call, 0, libc::RLIMIT_NOFILE, none, limit.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so it is filled in.
    let mut limit = unsafe { limit.assume_init() };
    let soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads the struct, and fills in none.
    let raised = unsafe { libc::syscall(call, 0, libc::RLIMIT_NOFILE, &raw const limit, none) };
    let now = if raised == 0 { limit.rlim_cur } else { soft };
    Ok(usize::try_from(now).unwrap_or(usize::MAX))
}

/// Makes the open file behind stderr one of our own, where that can be had by opening it anew: who gives
/// up his rights can't open it later, and what we set on it must not hold for all who share it. What
/// can't be opened, or fails, stays as it is.
pub fn own_stderr() {
    let anew = file::open(
        "/proc/self/fd/2".as_ref(),
        libc::O_WRONLY | libc::O_NOCTTY,
        0,
    );
    // A regular file has one end that all who share it write at.
    if let Ok(file) = anew
        && !file::is_regular(file.as_fd()).unwrap_or(true)
    {
        // SAFETY: no pointers. Whoever has fd 2 goes on with the same file.
        unsafe { libc::dup2(file.as_raw_fd(), libc::STDERR_FILENO) };
    }
}

/// Takes leave of every child that has ended: until then it keeps its place in the kernel's table.
/// (One SIGCHLD may stand for many.)
pub fn reap_children() {
    const ANY: libc::pid_t = -1;
    // SAFETY: no status is asked for, so nothing is written.
    while unsafe { libc::waitpid(ANY, ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// Makes files that only their owner may use (umask(2)). It holds for all threads meanwhile.
pub fn with_private_files<T>(make: impl FnOnce() -> T) -> T {
    // SAFETY: no pointers; it can't fail.
    let before = unsafe { libc::umask(0o177) };
    let made = make();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    made
}
