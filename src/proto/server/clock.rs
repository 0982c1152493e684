//! Whether the clock can be trusted, and when it was set.
//!
//! A router without a battery boots with the date of some file. It opens no port until its clock is right: no
//! client could compute the ports of a wrong minute. When the clock is set later, the ports move at once, and
//! nobody is banned for the length of a window, because a visitor whose port was right until then has a wrong
//! one now.

use crate::limits::{CLOCK_CHECK_MS, CLOCK_REMINDER_MS, CLOCK_STEP_MS, RELEASE_UNIX};
use crate::proto::time::{Instant, Now, sooner};
use crate::terms::ClockTrust;

pub struct Clock {
    offset_ms: i64,
    trust: ClockTrust,
    /// Something keeps the clock right, or nothing has to.
    is_kept: bool,
    /// When that was last checked.
    looked: Instant,
    /// When the log was last told that the clock keeps the ports closed; None while they are open.
    told_closed: Option<Instant>,
}

impl Clock {
    /// Begins to watch the clock.
    pub fn new(trust: ClockTrust, now: Now, is_kept: bool) -> Self {
        Self {
            offset_ms: now.offset_ms(),
            trust,
            is_kept: is_kept || trust == ClockTrust::Trust,
            looked: now.boot,
            told_closed: None,
        }
    }

    /// Seconds since 1970; None while the clock can't be trusted.
    pub fn trusted(&self, now: Now) -> Option<u64> {
        let unix = now.unix();
        (self.is_kept && unix >= RELEASE_UNIX).then_some(unix)
    }

    /// Takes the setting of another configuration.
    pub fn set_trust(&mut self, trust: ClockTrust) {
        self.trust = trust;
        self.is_kept |= trust == ClockTrust::Trust;
    }

    /// By how many milliseconds the clock was set since the last turn, if it was. The real clock and the boot
    /// clock run at the same pace, so only a step changes their distance.
    pub fn step(&mut self, now: Now) -> Option<i64> {
        let step = now.offset_ms() - self.offset_ms;
        (step.abs() >= CLOCK_STEP_MS).then(|| {
            self.offset_ms = now.offset_ms();
            step
        })
    }

    /// Whether to check now that something keeps the clock right.
    pub fn is_time_to_look(&self, now: Instant) -> bool {
        !self.is_kept && self.looked.after(CLOCK_CHECK_MS) <= now
    }

    /// Records that a check has begun.
    pub fn look(&mut self, now: Instant) {
        self.looked = now;
    }

    /// Records the result of a check. A clock that is kept right once stays so.
    pub fn keep(&mut self, is_kept: bool) {
        self.is_kept |= is_kept;
    }

    /// Whether to log that the clock keeps the ports closed: at once, and then every hour.
    pub fn tells_closed(&mut self, now: Instant) -> bool {
        let is_due = self
            .told_closed
            .is_none_or(|told| told.after(CLOCK_REMINDER_MS) <= now);
        if is_due {
            self.told_closed = Some(now);
        }
        is_due
    }

    /// Whether to log that the clock no longer keeps the ports closed.
    pub fn tells_right(&mut self) -> bool {
        self.told_closed.take().is_some()
    }

    /// When to check the clock or to log again.
    pub fn next_look(&self) -> Option<Instant> {
        let look = (!self.is_kept).then(|| self.looked.after(CLOCK_CHECK_MS));
        let tell = self.told_closed.map(|told| told.after(CLOCK_REMINDER_MS));
        sooner(look, tell)
    }
}
