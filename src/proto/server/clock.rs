//! Whether the clock can be believed, and when somebody sets it.
//!
//! A router without a battery boots with a file's date, and opens no port until it knows better:
//! nobody could compute the port of a wrong minute. A clock that is set later moves the ports at
//! once, and bans nobody for a window's time, because whoever was right until then is wrong now.

use crate::limits::{CLOCK_CHECK_MS, CLOCK_REMINDER_MS, CLOCK_STEP_MS, RELEASE_UNIX};
use crate::proto::time::{Instant, Now, sooner};
use crate::terms::ClockTrust;

/// What is known of the clock.
pub struct Clock {
    offset_ms: i64,
    trust: ClockTrust,
    /// Somebody keeps the clock right, or nobody has to.
    is_kept: bool,
    /// When that was looked at.
    looked: Instant,
    /// Since when the clock keeps ports closed, as the log was told last.
    told_closed: Option<Instant>,
}

impl Clock {
    /// Begins to watch.
    pub fn new(trust: ClockTrust, now: Now, is_kept: bool) -> Self {
        Self {
            offset_ms: now.offset_ms(),
            trust,
            is_kept: is_kept || trust == ClockTrust::Trust,
            looked: now.boot,
            told_closed: None,
        }
    }

    /// Seconds since 1970; None while the clock can't be believed.
    pub fn trusted(&self, now: Now) -> Option<u64> {
        let unix = now.unix();
        (self.is_kept && unix >= RELEASE_UNIX).then_some(unix)
    }

    /// Takes over another configuration's word on it.
    pub fn set_trust(&mut self, trust: ClockTrust) {
        self.trust = trust;
        self.is_kept |= trust == ClockTrust::Trust;
    }

    /// By how many milliseconds the clock was set since the last turn, if it was. The real clock and
    /// the boot clock run at one pace, so their distance changes with a step and with nothing else.
    pub fn step(&mut self, now: Now) -> Option<i64> {
        let step = now.offset_ms() - self.offset_ms;
        (step.abs() >= CLOCK_STEP_MS).then(|| {
            self.offset_ms = now.offset_ms();
            step
        })
    }

    /// Whether it is time to look whether somebody keeps it right.
    pub fn is_time_to_look(&self, now: Instant) -> bool {
        !self.is_kept && self.looked.after(CLOCK_CHECK_MS) <= now
    }

    /// It is being looked at.
    pub fn look(&mut self, now: Instant) {
        self.looked = now;
    }

    /// It was looked at. Once somebody keeps it right it stays so.
    pub fn keep(&mut self, is_kept: bool) {
        self.is_kept |= is_kept;
    }

    /// Whether the log is to be told that it keeps ports closed: at once and every hour.
    pub fn tells_closed(&mut self, now: Instant) -> bool {
        let is_due = self
            .told_closed
            .is_none_or(|told| told.after(CLOCK_REMINDER_MS) <= now);
        if is_due {
            self.told_closed = Some(now);
        }
        is_due
    }

    /// Whether the log is to be told that it keeps ports closed no longer.
    pub fn tells_right(&mut self) -> bool {
        self.told_closed.take().is_some()
    }

    /// When it has to be looked at again, or spoken of again.
    pub fn next_look(&self) -> Option<Instant> {
        let look = (!self.is_kept).then(|| self.looked.after(CLOCK_CHECK_MS));
        let tell = self.told_closed.map(|told| told.after(CLOCK_REMINDER_MS));
        sooner(look, tell)
    }
}
