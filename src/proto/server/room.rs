//! A source whose places are all taken, and another visitor of it who would be admitted.
//!
//! ```text
//!   admit ─▶ Examine ──Examined──▶ a session's client has not answered for long ─▶ Cut ─▶ admit
//!                            └───▶ all answer, or owe no answer ─▶ the newcomer is turned away
//! ```

use super::arrival::{Arrival, Newcomer};
use super::tables::Core;
use crate::limits::DEAD_MS;
use crate::proto::effect::{Effect, Effects};
use crate::proto::event::Limit;
use crate::proto::input::Examined;
use crate::proto::source::Source;

impl Core {
    pub(super) fn is_source_full(&self, source: Source) -> bool {
        self.conns.sessions_from(source) >= self.common.max_sessions_per_source
    }

    /// Asks whether a session of the newcomer's source is dead.
    pub(super) fn ask_for_room(&mut self, newcomer: Newcomer, effects: &mut Effects) {
        let source = newcomer.arrival.source;
        let all = self.sessions_from(0);
        let of_source = all.filter(|(_, conn)| conn.source == source);
        let sessions = of_source.map(|(id, _)| id).collect();
        self.newcomers.push_back(newcomer);
        effects.push_back(Effect::Examine(sessions));
    }

    /// Handles what is known about the sessions of a newcomer's source.
    pub(super) fn examined(&mut self, found: &[Examined], effects: &mut Effects) {
        let Some(Newcomer { arrival, held }) = self.newcomers.pop_front() else {
            return;
        };
        // Whoever was held may be gone by now.
        if held.is_some_and(|held| self.conns.get(held).is_none()) {
            return;
        }
        if self.is_source_full(arrival.source) && !self.make_room(arrival, found, effects) {
            self.turn_away_full(arrival.peer, arrival.port, Limit::Source, effects);
            return self.let_go(held, effects);
        }
        self.admit(arrival, held, effects);
    }

    /// Ends the session whose client has not answered for longest. False if all clients answer, or if it would
    /// not help the newcomer.
    fn make_room(&mut self, arrival: Arrival, found: &[Examined], effects: &mut Effects) -> bool {
        let dead = found.iter().filter(|it| {
            let conn = self.conns.get(it.conn);
            it.unanswered_ms >= DEAD_MS && conn.is_some_and(|conn| conn.stage.is_session())
        });
        let Some(dead) = dead.max_by_key(|it| it.unanswered_ms) else {
            return false;
        };
        // After a reload the source may have more than it may have now.
        let has_one_too_many =
            self.conns.sessions_from(arrival.source) == self.common.max_sessions_per_source;
        let leaving = self.conns.get(dead.conn).map(|conn| conn.mirage);
        let mirage = self.mirage(arrival.mirage);
        let has_place =
            mirage.is_some_and(|it| self.limit_of(arrival.mirage, it, leaving).is_none());
        if !has_one_too_many || !has_place {
            return false;
        }
        if let Some(conn) = self.conns.remove(dead.conn) {
            let bytes = (dead.bytes_in, dead.bytes_out);
            self.end(&conn, "dead", bytes, effects);
            effects.push_back(Effect::Cut(dead.conn));
        }
        true
    }
}
