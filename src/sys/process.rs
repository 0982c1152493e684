//! What belongs to the process as a whole.

use super::check;
use core::mem::MaybeUninit;
use rustix::process::umask;
use std::io;

/// Raises the limit of open descriptors to what the administrator allows, and says what it is.
///
/// rustix has prlimit(2) too, but takes it for granted when it asks for a limit (as of 1.1).
///
/// # Errors
/// What prlimit(2) says.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let mut limit = MaybeUninit::<libc::rlimit64>::uninit();
    let (number, none) = (libc::RLIMIT_NOFILE, core::ptr::null());
    // SAFETY: null stands for no new limit, and the old one is written into a struct that is made for it.
    check(unsafe { libc::prlimit64(0, number, none, limit.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so the limit is filled in.
    let mut limit = unsafe { limit.assume_init() };
    let soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads a whole struct, and null stands for no interest in the old limit.
    let raised = unsafe { libc::prlimit64(0, number, &raw const limit, core::ptr::null_mut()) };
    let now = if raised == 0 { limit.rlim_cur } else { soft };
    Ok(usize::try_from(now).unwrap_or(usize::MAX))
}

/// Makes files that only their owner may use (umask(2)). It holds for all threads meanwhile.
pub fn with_private_files<T>(make: impl FnOnce() -> T) -> T {
    let before = umask(rustix::fs::Mode::from_raw_mode(0o177));
    let made = make();
    umask(before);
    made
}
