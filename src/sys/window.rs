//! How much of the terminal there is to draw on.

use super::check;
use core::mem::MaybeUninit;

/// The columns and rows of the terminal that stdout is. None if it is none, or does not know: a
/// serial line has no size.
#[must_use]
pub fn size() -> Option<(u16, u16)> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    let request = libc::TIOCGWINSZ;
    // SAFETY: the kernel fills in the struct that it is given, which lives on this stack.
    check(unsafe { libc::ioctl(libc::STDOUT_FILENO, request, size.as_mut_ptr()) }).ok()?;
    // SAFETY: all zeros is a valid winsize, and the call has succeeded.
    let size = unsafe { size.assume_init() };
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}
