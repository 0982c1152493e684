//! What the loop asks of the world around it: the time, and what somebody told it to do.
//!
//! It is a value that the loop is given, so that a test runs the real loop and steps the clock under
//! it without touching the machine's.

use crate::proto::{Instant, Now};
use crate::sys::signal::{Signal, Signals};
use crate::sys::timer::ClockSet;
use crate::sys::{child, clock, signal};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// The world around the loop.
pub trait Host {
    /// What time it is. Asked once a turn.
    fn now(&mut self) -> Now;

    /// Whether somebody keeps the machine's clock right.
    fn clock_is_kept(&self) -> bool;

    /// What wakes the loop: readable when there is a signal.
    fn signal_waker(&self) -> BorrowedFd<'_>;

    /// The same: readable when the clock was set. Where the kernel can't tell, the reason.
    fn clock_waker(&self) -> Result<BorrowedFd<'_>, &io::Error>;

    /// Takes the next signal. Answers None once there are no more, and is then ready to wake again.
    fn next_signal(&mut self) -> Option<Signal>;
}

/// This machine.
pub struct Machine {
    signals: Signals,
    clock_set: io::Result<ClockSet>,
}

impl Machine {
    /// Takes over the signals, and watches the clock.
    ///
    /// # Errors
    /// What the kernel says of the signals: it is out of descriptors, or of memory.
    pub fn take_over() -> io::Result<Self> {
        signal::report_crashes();
        child::keep_ended();
        Ok(Self {
            signals: Signals::open()?,
            clock_set: ClockSet::watch(),
        })
    }
}

/// What the boot clock starts with here, so that moments before the boot have a number too: a
/// ban that a restart has brought back may have begun there.
const BEFORE_BOOT_MS: u64 = 1 << 40;

/// The ntp hook of a router touches it once the clock has come right.
const CLOCK_FILE: &str = "/var/run/shimmer/clock";

impl Host for Machine {
    fn now(&mut self) -> Now {
        let clocks = clock::now();
        Now {
            boot: Instant(BEFORE_BOOT_MS + clocks.boot_ms),
            real_ms: clocks.real_ms,
        }
    }

    fn clock_is_kept(&self) -> bool {
        clock::is_synchronised() || Path::new(CLOCK_FILE).exists()
    }

    fn signal_waker(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    fn clock_waker(&self) -> Result<BorrowedFd<'_>, &io::Error> {
        self.clock_set.as_ref().map(ClockSet::as_fd)
    }

    fn next_signal(&mut self) -> Option<Signal> {
        let signal = self.signals.next();
        if signal.is_none()
            && let Ok(clock_set) = &self.clock_set
        {
            clock_set.acknowledge();
        }
        signal
    }
}
