//! Properties of the whole process.

use super::check;
use core::mem::MaybeUninit;
use std::io;

/// Raises the limit of open descriptors as far as the administrator allows, and returns the limit.
///
/// rustix's getrlimit ignores the call's error (as of 1.1), and a seccomp filter may forbid prlimit(2).
///
/// # Errors
/// What prlimit(2) says.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let mut limit = MaybeUninit::<libc::rlimit64>::uninit();
    let (number, none) = (libc::RLIMIT_NOFILE, core::ptr::null());
    // SAFETY: with null the call sets no limit; it writes the present one to `limit`.
    check(unsafe { libc::prlimit64(0, number, none, limit.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so it has initialised `limit`.
    let mut limit = unsafe { limit.assume_init() };
    let soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the call reads `limit`; with null it does not write the old one.
    let raised = unsafe { libc::prlimit64(0, number, &raw const limit, core::ptr::null_mut()) };
    let now = if raised == 0 { limit.rlim_cur } else { soft };
    Ok(usize::try_from(now).unwrap_or(usize::MAX))
}
