//! Whether the clock can be believed, and when somebody sets it.
//!
//! A router without a battery boots with a file's date, and opens no port until it knows better:
//! nobody could compute the port of a wrong minute. A clock that is set later moves the ports at
//! once, and bans nobody for a window's time, because whoever was right until then is wrong now.

use super::Daemon;
use super::event::{Event, Warning};
use super::host::Host;
use super::state::Loaded;
use crate::config::Common;
use crate::limits::{CLOCK_CHECK_MS, CLOCK_REMINDER_MS, CLOCK_STEP_MS, RELEASE_UNIX};
use crate::proto::{Instant, Now};
use crate::rfc3339::Rfc3339;
use crate::terms::ClockTrust;
use std::rc::Rc;

/// What is known of the clock.
pub struct ClockWatch {
    offset_ms: i64,
    /// Somebody keeps the clock right, or nobody has to.
    is_kept: bool,
    looked: Instant,
    /// Since when the clock keeps ports closed, as the log was told last.
    told_closed: Option<Instant>,
}

impl ClockWatch {
    /// Begins to watch.
    pub fn new(common: &Common, now: Now, is_kept: bool) -> Self {
        Self {
            offset_ms: now.offset_ms(),
            is_kept: is_kept || common.clock == ClockTrust::Trust,
            looked: now.boot,
            told_closed: None,
        }
    }

    /// Seconds since 1970; None while the clock can't be believed.
    pub fn believed(&self, now: Now) -> Option<u64> {
        let unix = now.unix();
        (self.is_kept && unix >= RELEASE_UNIX).then_some(unix)
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

    /// When it has to be looked at again, or spoken of again.
    pub fn next_look(&self) -> Option<Instant> {
        let look = (!self.is_kept).then(|| self.looked.after(CLOCK_CHECK_MS));
        let tell = self.told_closed.map(|told| told.after(CLOCK_REMINDER_MS));
        super::sooner(look, tell)
    }
}

impl<H: Host> Daemon<H> {
    /// Notices a step, and a clock that has come right.
    pub(super) fn watch_clock(&mut self) {
        let now = self.now;
        if let Some(step) = self.clock.step(now) {
            self.log.write(&Event::ClockStep { ms: step });
            for mirage in &mut self.mirages {
                mirage.settled_at = now.boot.after(mirage.period_ms());
            }
        }
        if !self.clock.is_kept && self.clock.looked.after(CLOCK_CHECK_MS) <= now.boot {
            self.look_at_clock();
        }
        if self.saved.is_none() && self.clock.believed(now).is_some() {
            self.load_state();
        }
    }

    /// Asks whether somebody keeps the clock right. Once that is so it stays so.
    pub(super) fn look_at_clock(&mut self) {
        self.clock.looked = self.now.boot;
        self.clock.is_kept |= self.common.clock == ClockTrust::Trust || self.host.clock_is_kept();
    }

    /// Says that the clock keeps ports closed: at once, every hour, and when it is over.
    pub(super) fn tell_of_closed_ports(&mut self) {
        let now = self.now;
        let closed = self
            .mirages
            .iter()
            .find(|mirage| mirage.schedule.is_some() && mirage.plan.ports().is_empty());
        let Some(closed) = closed else {
            if self.clock.told_closed.take().is_some() {
                self.log.write(&Event::ClockRight);
            }
            return;
        };
        let told = self.clock.told_closed;
        if told.is_some_and(|told| now.boot < told.after(CLOCK_REMINDER_MS)) {
            return;
        }
        self.clock.told_closed = Some(now.boot);
        let unix_ms = now.real_ms;
        let why = if now.unix() < RELEASE_UNIX {
            "it is before this release"
        } else if self.clock.believed(now).is_none() {
            "nobody has set it yet; NTP would, or touch /var/run/shimmer/clock"
        } else {
            "these minutes were served before it was set back"
        };
        self.log.write(&Event::ClockKeepsClosed {
            mirage: Rc::clone(&closed.label),
            time: Rfc3339 { unix_ms },
            why,
        });
    }

    fn load_state(&mut self) {
        let Some(state) = &self.state else { return };
        // Bans from before a change of the file are not in the new one yet.
        let has_news = !self.bans.is_empty();
        let loaded = state.load(&mut self.bans, self.now);
        let path = state.path().to_path_buf();
        self.saved = Some(if has_news {
            u64::MAX
        } else {
            self.bans.changes()
        });
        self.saved_at = self.now.boot;
        let warning = match loaded {
            Loaded::Bans(0) => return,
            Loaded::Bans(bans) => return self.log.write(&Event::BansLoaded { bans }),
            Loaded::Unreadable(error) => Warning::StateUnread(path, error),
            Loaded::Damaged(aside, Ok(())) => Warning::StateSetAside(path, aside),
            Loaded::Damaged(_, Err(error)) => Warning::StateDamaged(path, error),
        };
        self.log.write(&Event::Warning(warning));
    }
}
