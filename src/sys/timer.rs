//! A descriptor that wakes the loop when somebody sets the clock.

use super::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A moment that never comes, in seconds since 1970: the year 2255. The kernel counts nanoseconds
/// in 64 bits, so this is about as far as it sees.
const NEVER: i64 = 9_000_000_000;

/// Readable once the real clock has been set, by whomever, or the machine has been asleep.
pub struct ClockSet(OwnedFd);

impl ClockSet {
    /// Begins to watch (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: no pointers.
        let descriptor = check(unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, flags) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let watch = Self(unsafe { OwnedFd::from_raw_fd(descriptor) });
        arm(watch.as_fd())?;
        Ok(watch)
    }

    /// Takes note that the loop has woken, and watches on.
    pub fn acknowledge(&self) {
        let mut expirations = [0u8; 8];
        // SAFETY: the kernel writes eight bytes, for which there is room. It fails with ECANCELED,
        // which is the news; the clocks are compared at every turn anyhow.
        let read = unsafe { libc::read(self.0.as_raw_fd(), expirations.as_mut_ptr().cast(), 8) };
        if read >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock {
            let _ = arm(self.as_fd());
        }
    }
}

impl AsFd for ClockSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(target_pointer_width = "64")]
fn arm(timer: BorrowedFd<'_>) -> io::Result<()> {
    set(timer, libc::SYS_timerfd_settime, [0, 0, NEVER, 0])
}

/// The seconds of the usual call have 32 bits here, which would make "never" 2038.
#[cfg(target_pointer_width = "32")]
fn arm(timer: BorrowedFd<'_>) -> io::Result<()> {
    match set(timer, TIMERFD_SETTIME64, [0, 0, NEVER, 0]) {
        // Kernels before 5.1 have the usual call only, and end in 2038 themselves.
        Err(_) => set(timer, libc::SYS_timerfd_settime, [0, 0, i32::MAX, 0]),
        armed => armed,
    }
}

/// The number of timerfd_settime64 (uapi/asm/unistd.h).
#[cfg(all(target_pointer_width = "32", target_arch = "mips"))]
const TIMERFD_SETTIME64: libc::c_long = 4_411;
#[cfg(all(target_pointer_width = "32", not(target_arch = "mips")))]
const TIMERFD_SETTIME64: libc::c_long = 411;

/// Sets a timer to its interval and its first time, both in seconds and nanoseconds.
fn set<T>(timer: BorrowedFd<'_>, call: libc::c_long, times: [T; 4]) -> io::Result<()> {
    let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
    let old = core::ptr::null::<u8>();
    // SAFETY: the call reads four numbers of the size that it is known for, and writes nothing
    // where the old times would go.
    let set = unsafe { libc::syscall(call, timer.as_raw_fd(), flags, times.as_ptr(), old) };
    check(set).map(drop)
}
