//! Sets of signals, and the signal mask of the calling thread (signal(7)). rustix has neither.

use core::mem::MaybeUninit;
use libc::{c_int, sigset_t};
use std::io;

/// A set of signals.
#[derive(Clone, Copy)]
pub struct SignalSet(sigset_t);

impl SignalSet {
    /// A set without signals.
    #[must_use]
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: the call initialises the set and can't fail.
        Self(unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        })
    }

    /// A set of these. A number that is not a signal is left out.
    #[must_use]
    pub fn of(signals: &[c_int]) -> Self {
        let mut set = Self::empty();
        for &signal in signals {
            // SAFETY: the set is initialised.
            unsafe { libc::sigaddset(&raw mut set.0, signal) };
        }
        set
    }

    /// Whether one of these signals has come while it was blocked (sigpending(2)).
    #[must_use]
    pub fn is_any_pending(signals: &[c_int]) -> bool {
        let mut pending = Self::empty();
        // SAFETY: the call writes one set, to `pending`.
        unsafe { libc::sigpending(&raw mut pending.0) };
        let is_pending = |&signal: &c_int| {
            // SAFETY: the set is initialised.
            unsafe { libc::sigismember(&raw const pending.0, signal) == 1 }
        };
        signals.iter().any(is_pending)
    }

    /// Adds these to the thread's mask (pthread_sigmask(3)), and returns the mask before.
    ///
    /// # Errors
    /// None of those that sigprocmask(2) lists can occur.
    pub fn block(&self) -> io::Result<Self> {
        self.change_mask(libc::SIG_BLOCK)
    }

    /// Makes these the thread's mask, and returns the mask before.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    pub fn set_mask(&self) -> io::Result<Self> {
        self.change_mask(libc::SIG_SETMASK)
    }

    fn change_mask(&self, how: c_int) -> io::Result<Self> {
        let mut before = Self::empty();
        // SAFETY: both sets are initialised; the call reads the first and writes the second.
        match unsafe { libc::pthread_sigmask(how, &raw const self.0, &raw mut before.0) } {
            0 => Ok(before),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// For other calls of the C library.
    #[cfg(target_os = "linux")]
    pub(super) fn as_raw(&self) -> &sigset_t {
        &self.0
    }
}
