//! The operating system: the only place with `unsafe`.
//!
//! What std has is std's, and most of the rest that of socket2 and rustix; a comment says why where a call is
//! made by hand. Errors are [`std::io::Error`], and descriptors are owned from the moment they exist,
//! close-on-exec and non-blocking from birth.

#[cfg(target_os = "linux")]
pub mod child;
pub mod clock;
#[cfg(target_os = "linux")]
pub mod filter;
#[cfg(target_os = "linux")]
pub mod local;
#[cfg(target_os = "linux")]
pub mod packet;
pub mod patient;
#[cfg(target_os = "linux")]
pub mod pipe;
#[cfg(target_os = "linux")]
pub mod privileges;
#[cfg(target_os = "linux")]
pub mod process;
#[cfg(target_os = "linux")]
pub mod signal;
#[cfg(unix)]
mod signal_set;
#[cfg(target_os = "linux")]
pub mod socket;
pub mod stdio;
#[cfg(any(unix, windows))]
pub mod terminal;
#[cfg(target_os = "linux")]
pub mod timer;

/// The result of a system call that answers -1 when it fails.
#[cfg(target_os = "linux")]
fn check<T: PartialOrd + From<i8>>(result: T) -> std::io::Result<T> {
    if result < T::from(0) {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
