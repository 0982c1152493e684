//! The core: it decides about visitors, doors, ports and time.
//!
//! It is told what has happened ([`Input`]) and says what to do ([`Effect`]). It has no descriptor, no file and
//! no clock: a whole turn of the loop happens at the moment given to [`Core::begin_turn`].
//!
//! ```text
//!   begin_turn(now) ─▶ watch.rs: a step of the clock, a state file to be read
//!   handle(input)   ─▶ visitors.rs, proofs.rs, sessions.rs, doors.rs, silent.rs, orders.rs,
//!                       turns.rs and adoption.rs, which take more than one step (transaction.rs),
//!                       and stop.rs, the end
//!   tick()          ─▶ one due thing per call: a connection, the end of an admission, ban or opening,
//!                      the state file, a minute's turn
//!   deadline()      ─▶ when something will be due
//! ```
//!
//! Three rules keep it simple. Performing an effect never calls the core: its immediate result is an *answer*,
//! handled before anything from outside. What no effect keeps is closed: a visitor's connection in the shell's
//! hand is closed unless an effect names it. And one input has a bounded number of effects: what could be many
//! becomes due, and [`Core::tick`] does it one by one.

mod adoption;
mod arrival;
mod clock;
mod conns;
mod doors;
mod mirages;
mod orders;
mod places;
mod proofs;
mod queries;
mod room;
mod sessions;
mod silent;
mod stop;
mod tables;
mod transaction;
mod turns;
mod visitors;
mod watch;

pub use mirages::Mirage;
pub use queries::{ClientSessions, MirageForecast, TableUse, Wanted};
pub use tables::{Core, Counters};

use super::effect::{Effect, Effects};
use super::event::{Event, Limit, UnbanCause};
use super::input::Input;
use super::time::Now;
use tables::Idle;

impl Core {
    /// Begins a turn of the loop: everything until the next one happens at `now`.
    pub fn begin_turn(&mut self, now: Now, effects: &mut Effects) {
        self.now = now;
        self.has_turned = false;
        self.idle.take_if(|idle| idle.offset_ms != now.offset_ms());
        self.watch_clock(effects);
    }

    /// Handles what has happened.
    pub fn handle(&mut self, input: Input, effects: &mut Effects) {
        self.idle = None;
        if self.is_too_late(&input) {
            return;
        }
        match input {
            Input::Accepted { mirage, peer, port } => self.accepted(mirage, peer, port, effects),
            Input::Short => {
                self.give_up_one(effects);
            }
            Input::TurnedAway { peer, port } => {
                let peer = super::source::canonical(peer);
                self.turn_away_full(peer, port, Limit::Descriptors, effects);
            }
            Input::Said { conn, token } => self.said(conn, token, effects),
            Input::Gone { conn } => self.gone(conn),
            Input::Started { conn, result } => self.started(conn, result, effects),
            Input::Dialled { conn } => self.dialled(conn),
            Input::DialFailed { conn, error } => self.dial_failed(conn, &error, effects),
            Input::Over {
                conn,
                end,
                bytes_in,
                bytes_out,
            } => self.over(conn, end, (bytes_in, bytes_out), effects),
            Input::Examined(found) => self.examined(&found, effects),
            Input::Sensed(sensed) => self.sensed(&sensed, effects),
            Input::Drained => self.drained(effects),
            Input::Listening { mirage, open } => self.listening(mirage, open, effects),
            Input::JobEnded { job, failure } => self.job_ended(job, failure, effects),
            Input::ElementEnded { job, outcome } => self.element_ended(job, outcome, effects),
            Input::Saved { changes } => {
                self.saved.at = self.now.boot;
                self.saved.changes = changes.or(self.saved.changes);
            }
            Input::Loaded(bans) => self.loaded(bans, effects),
            Input::Restored(openings) => {
                self.restore(openings);
                self.memory.rewrite();
                self.record_changes(effects);
                if self.is_stopping() {
                    self.openings.close_all(None, self.now.boot);
                }
                self.openings.record();
                effects.push_back(Effect::Journal);
                self.saved.changes = None;
            }
            Input::Journalled { is_written } => self.journalled(is_written, effects),
            Input::Remembered { changes } => self.remembered(changes, effects),
            Input::ClockKept(is_kept) => self.clock_kept(is_kept, effects),
            Input::Configuration(settings) => self.adopt(settings, effects),
            Input::Operator(order) => self.carry_out(order, effects),
            Input::Stop => self.stop(effects),
        }
    }

    /// Does one thing that is due. False if nothing more is due in this turn of the loop.
    pub fn tick(&mut self, effects: &mut Effects) -> bool {
        // The bytes of sessions wake the loop most of the time, and change nothing here.
        let now = self.now.boot;
        if let Some(idle) = self.idle
            && idle.until.is_none_or(|until| now < until)
        {
            return false;
        }
        if self.is_stopping() {
            return self.run_openings(effects);
        }
        self.expire_conn(effects)
            || self.shut_a_mirage(effects)
            || self.expire_ban(effects)
            || self.run_openings(effects)
            || self.save(effects)
            || self.turn_a_mirage(effects)
            || self.rest(effects)
    }

    fn expire_ban(&mut self, effects: &mut Effects) -> bool {
        let ban = self.bans.expire(self.now.boot);
        let by = UnbanCause::Time;
        effects.extend(ban.map(|ban| Effect::Log(Event::Unban { ban, by })));
        ban.is_some()
    }

    fn save(&mut self, effects: &mut Effects) -> bool {
        let is_due = self.save_is_due().is_some_and(|due| due <= self.now.boot);
        effects.extend(is_due.then_some(Effect::Save));
        is_due
    }

    /// What comes last in a turn, and makes nothing else due.
    fn rest(&mut self, effects: &mut Effects) -> bool {
        self.expire_trackers();
        if !self.has_turned {
            self.log_closed_ports(effects);
        }
        self.idle = Some(Idle {
            until: self.next_due(),
            offset_ms: self.now.offset_ms(),
        });
        false
    }
}

#[cfg(test)]
mod tests;
