//! What belongs to the process as a whole.

use super::check;
use core::mem::MaybeUninit;
use core::ptr;
use std::io;

/// Raises the limit of open descriptors to what the administrator allows, and says what it is.
///
/// # Errors
/// What prlimit(2) says. (setrlimit(3) does the same, and brings the locks of all threads.)
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the kernel fills in the struct, and reads none.
    check(unsafe { libc::prlimit(0, libc::RLIMIT_NOFILE, ptr::null(), limit.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so it is filled in.
    let mut limit = unsafe { limit.assume_init() };
    let soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads the struct, and fills in none.
    let raised =
        unsafe { libc::prlimit(0, libc::RLIMIT_NOFILE, &raw const limit, ptr::null_mut()) };
    let now = if raised == 0 { limit.rlim_cur } else { soft };
    Ok(usize::try_from(now).unwrap_or(usize::MAX))
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
