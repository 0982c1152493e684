//! Sets of signals, and the mask of the thread that calls (signal(7)). rustix has neither.

use core::mem::MaybeUninit;
use libc::{c_int, sigset_t};
use std::io;

/// Some signals.
#[derive(Clone, Copy)]
pub struct SignalSet(sigset_t);

impl SignalSet {
    /// None.
    #[must_use]
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: the call fills in the set that it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: it can't fail, so the set is filled in.
        Self(unsafe { set.assume_init() })
    }

    /// These. A number that is not a signal is left out.
    #[must_use]
    pub fn of(signals: &[c_int]) -> Self {
        let mut set = Self::empty();
        for &signal in signals {
            // SAFETY: the set is an initialised one.
            unsafe { libc::sigaddset(&raw mut set.0, signal) };
        }
        set
    }

    /// Those that were sent while they were blocked.
    #[must_use]
    pub fn pending() -> Self {
        let mut set = Self::empty();
        // SAFETY: the call writes to the set that it is given, and nowhere else.
        unsafe { libc::sigpending(&raw mut set.0) };
        set
    }

    /// Whether it has this signal.
    #[must_use]
    pub fn contains(&self, signal: c_int) -> bool {
        // SAFETY: the set is an initialised one.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }

    /// Blocks these in this thread, besides those that are blocked: which were is the answer.
    ///
    /// # Errors
    /// None that sigprocmask(2) lists can come.
    pub fn block(&self) -> io::Result<Self> {
        self.change_mask(libc::SIG_BLOCK)
    }

    /// Blocks these in this thread and no others: which were blocked is the answer.
    ///
    /// # Errors
    /// None that sigprocmask(2) lists can come.
    pub fn set_mask(&self) -> io::Result<Self> {
        self.change_mask(libc::SIG_SETMASK)
    }

    fn change_mask(&self, how: c_int) -> io::Result<Self> {
        let mut before = Self::empty();
        // SAFETY: the one set is read, the other written, and both are initialised ones.
        match unsafe { libc::pthread_sigmask(how, &raw const self.0, &raw mut before.0) } {
            0 => Ok(before),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// The C library's own, for its other calls.
    #[cfg(target_os = "linux")]
    pub(super) fn as_raw(&self) -> &sigset_t {
        &self.0
    }
}
