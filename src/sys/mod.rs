//! What we need of the operating system and std does not have. All `unsafe` code is here.
//!
//! Most calls are made by socket2 and rustix; where one is made by libc, a comment says why. Errors are
//! [`std::io::Error`]. New descriptors are owned at once, and close-on-exec; except for [`local`]'s, they are
//! non-blocking too.

#[cfg(target_os = "linux")]
pub mod child;
pub mod clock;
#[cfg(target_os = "linux")]
pub mod filter;
#[cfg(target_os = "linux")]
pub mod local;
#[cfg(target_os = "linux")]
pub mod netlink;
#[cfg(target_os = "linux")]
pub mod own_networks;
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
pub mod sandbox;
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

/// The result of a call, or errno for -1.
#[cfg(target_os = "linux")]
fn check<T: PartialOrd + From<i8>>(result: T) -> std::io::Result<T> {
    if result < T::from(0) {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
