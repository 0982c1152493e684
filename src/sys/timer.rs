//! A descriptor that wakes the loop when somebody sets the clock.

use super::check;
use core::ffi::c_long;
use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A moment that never comes, in seconds since 1970: the year 2255. The kernel counts nanoseconds
/// in 64 bits, so this is about as far as it sees.
const NEVER: i64 = 9_000_000_000;

/// Readable once the real clock has been set, by whomever, or the machine has been asleep.
#[derive(Debug)]
pub struct ClockSet(OwnedFd);

impl ClockSet {
    /// Begins to watch (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let watch = Self(timerfd_create(TimerfdClockId::Realtime, flags)?);
        arm(watch.as_fd())?;
        Ok(watch)
    }

    /// Takes note that the loop has woken, and watches on.
    pub fn acknowledge(&self) {
        // It fails with ECANCELED, which is the news; the clocks are compared at every turn anyhow.
        let read = rustix::io::read(&self.0, &mut [0; 8]);
        if read != Err(rustix::io::Errno::AGAIN) {
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
    arm_for(timer, NEVER)
}

/// The number of timerfd_settime64 (uapi/asm/unistd.h).
#[cfg(target_pointer_width = "32")]
pub(super) const TIMERFD_SETTIME64: c_long = if cfg!(target_arch = "mips") {
    4_411
} else {
    411
};

/// The seconds of the C library's call have 32 bits with musl, which would make "never" 2038. libc has the
/// number of the kernel's for some targets only.
#[cfg(target_pointer_width = "32")]
fn arm(timer: BorrowedFd<'_>) -> io::Result<()> {
    let times = [0, 0, NEVER, 0];
    let (timer_fd, old) = (timer.as_raw_fd(), core::ptr::null::<u8>());
    // SAFETY: the call reads four numbers of 64 bits, and null stands for no interest in the old times.
    match unsafe { libc::syscall(TIMERFD_SETTIME64, timer_fd, FLAGS, times.as_ptr(), old) } {
        0 => Ok(()),
        // Kernels before 5.1 have the usual call only, and end in 2038 themselves.
        _ => arm_for(timer, c_long::MAX),
    }
}

const FLAGS: i32 = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;

/// By the C library's call, for which libc's time_t is a long: libc has deprecated that name with musl, because
/// musl's own has 64 bits. (rustix 1.1 can't be used: on mips it takes the struct for one with 64 bits.)
fn arm_for(timer: BorrowedFd<'_>, seconds: c_long) -> io::Result<()> {
    let at = |tv_sec| libc::timespec { tv_sec, tv_nsec: 0 };
    let times = libc::itimerspec {
        it_interval: at(0),
        it_value: at(seconds),
    };
    let (timer, old) = (timer.as_raw_fd(), core::ptr::null_mut());
    // SAFETY: the call reads the struct, and null stands for no interest in the old times.
    check(unsafe { libc::timerfd_settime(timer, FLAGS, &raw const times, old) }).map(drop)
}
