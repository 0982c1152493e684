//! What the loop needs from the system around it: the time, and the signals.
//!
//! It is passed to the loop as a value, so that a test can run the real loop and set its clock without touching
//! the machine's.

use crate::proto::{Instant, Now};
use crate::sys::signal::{Signal, Signals};
use crate::sys::timer::ClockSet;
use crate::sys::{child, clock, signal};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// The system around the loop.
pub trait Host {
    /// The time on both clocks. Read once a turn.
    fn now(&mut self) -> Now;

    /// Whether something keeps the machine's clock right.
    fn clock_is_kept(&self) -> bool;

    /// Becomes readable when there is a signal.
    fn signal_waker(&self) -> BorrowedFd<'_>;

    /// Becomes readable when the clock was set. An error if the kernel can't tell.
    fn clock_waker(&self) -> Result<BorrowedFd<'_>, &io::Error>;

    /// Takes the next signal. None if there are no more; then a new one wakes the loop again.
    fn next_signal(&mut self) -> Option<Signal>;
}

/// This machine, with its signals and its clock.
pub struct Machine {
    signals: Signals,
    clock_set: io::Result<ClockSet>,
}

impl Machine {
    /// Takes over the signals and watches the clock.
    ///
    /// # Errors
    /// The kernel can't deliver the signals: it is out of descriptors or memory.
    pub fn take_over() -> io::Result<Self> {
        signal::report_crashes();
        child::keep_ended();
        Ok(Self {
            signals: Signals::open()?,
            clock_set: ClockSet::watch(),
        })
    }
}

/// Where the boot clock starts here, so that moments before the boot have a number too: a ban that is restored
/// after a restart may have begun there.
const BEFORE_BOOT_MS: u64 = 1 << 40;

/// A router's ntp hook touches this file once the clock is right.
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
