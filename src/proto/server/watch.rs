//! What each turn checks: the clock, and the saved bans, which wait for the clock.

use super::tables::{Core, log};
use crate::limits::RELEASE_UNIX;
use crate::proto::bans::{Ban, Why};
use crate::proto::effect::{Effect, Effects};
use crate::proto::event::Event;
use crate::proto::input::SavedBan;
use crate::proto::time::Instant;
use crate::rfc3339::Rfc3339;

impl Core {
    /// Notices a step of the clock, and a clock that may be right now.
    pub(super) fn watch_clock(&mut self, effects: &mut Effects) {
        let now = self.now;
        if let Some(ms) = self.clock.step(now) {
            log(effects, Event::ClockStep { ms });
            for place in 0..self.mirages.ids().len() {
                let id = self.mirages.ids()[place];
                if let Some(mirage) = self.mirages.get_mut(id) {
                    mirage.settled_at = now.boot.after(mirage.period_ms());
                }
            }
        }
        if self.clock.is_time_to_look(now.boot) {
            self.look_at_clock(effects);
        } else {
            self.load_if_trusted(effects);
        }
    }

    /// Asks whether something keeps the clock right.
    pub(super) fn look_at_clock(&mut self, effects: &mut Effects) {
        self.clock.look(self.now.boot);
        effects.push_back(Effect::AskClock);
    }

    /// Handles the answer.
    pub(super) fn clock_kept(&mut self, is_kept: bool, effects: &mut Effects) {
        self.clock.keep(is_kept);
        self.load_if_trusted(effects);
    }

    /// The saved bans have times of the real clock, so they are loaded once it is trusted.
    pub(super) fn load_if_trusted(&mut self, effects: &mut Effects) {
        // A configuration that is taking over sets the length of bans first, and asks for this then.
        let is_time = self.saved.changes.is_none() && self.transaction.is_none();
        if is_time && self.clock.trusted(self.now).is_some() {
            effects.push_back(Effect::Load);
        }
    }

    /// Restores the saved bans that have not ended. A touch in the future is not trusted: it counts as now, so
    /// no ban lasts longer than a full one.
    pub(super) fn loaded(&mut self, saved: Vec<SavedBan>, effects: &mut Effects) {
        let now = self.now;
        // Bans from before the state file was changed are not in the new one yet.
        let has_unsaved = !self.bans.is_empty();
        let is_empty = saved.is_empty();
        for SavedBan {
            source,
            unix,
            attempts,
        } in saved
        {
            let age_ms = now.unix().saturating_sub(unix).saturating_mul(1_000);
            if age_ms < self.bans.ban_ms() {
                self.bans.restore(Ban {
                    source,
                    last: Instant(now.boot.0.saturating_sub(age_ms)),
                    attempts,
                    why: Why::State,
                });
            }
        }
        let changes = self.bans.changes();
        self.saved.changes = Some(if has_unsaved { u64::MAX } else { changes });
        self.saved.at = now.boot;
        let bans = self.bans.len();
        if bans > 0 && !is_empty {
            log(effects, Event::BansLoaded { bans });
        }
    }

    /// Logs that the clock keeps the ports closed: at once, every hour, and when it is over.
    pub(super) fn log_closed_ports(&mut self, effects: &mut Effects) {
        let now = self.now;
        let mut mirages = self.mirages.iter();
        let closed =
            mirages.find(|(_, mirage)| mirage.schedule.is_some() && mirage.plan.ports().is_empty());
        let Some((id, _)) = closed else {
            drop(mirages);
            if self.clock.tells_right() {
                log(effects, Event::ClockRight);
            }
            return;
        };
        drop(mirages);
        if !self.clock.tells_closed(now.boot) {
            return;
        }
        let unix_ms = now.real_ms;
        let why = if now.unix() < RELEASE_UNIX {
            "it is before this release"
        } else if self.clock.trusted(now).is_none() {
            "nobody has set it yet; NTP would, or touch /var/run/shimmer/clock"
        } else {
            "these minutes were served before it was set back"
        };
        let event = Event::ClockKeepsClosed {
            mirage: self.section(id),
            time: Rfc3339 { unix_ms },
            why,
        };
        log(effects, event);
    }
}
