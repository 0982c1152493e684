//! The connections, and counts of them by source, by mirage and in total. No operation costs more because there
//! are more sessions.

use crate::proto::conn::{Conn, ConnId, Stage};
use crate::proto::ids::MirageId;
use crate::proto::source::Source;
use crate::proto::table::Table;
use crate::proto::tally::Tally;
use crate::proto::time::Instant;
use crate::proto::timers::Timers;
use core::cmp::Reverse;
use core::net::Ipv4Addr;

/// All connections.
pub struct Conns {
    table: Table<Conn>,
    timers: Timers<Conn>,
    /// Connections in traps that do not have to leave, oldest first.
    held: Vec<ConnId>,
    most_held: usize,
    held_by_source: Tally,
    sessions: usize,
    sessions_by_source: Tally,
    /// By the number of the id.
    sessions_by_mirage: Vec<usize>,
    /// Touches of traps that were forgiven since the first of a source's live sessions began.
    forgiven: Tally,
}

impl Conns {
    /// Empty, with room for `most_held` connections in traps.
    pub fn new(most_held: usize) -> Self {
        Self {
            table: Table::new(0),
            timers: Timers::new(),
            held: Vec::new(),
            most_held,
            held_by_source: Tally::default(),
            sessions: 0,
            sessions_by_source: Tally::default(),
            sessions_by_mirage: Vec::new(),
            forgiven: Tally::default(),
        }
    }

    /// Makes room for more sessions and other connections, beside those in traps. It never shrinks.
    pub fn grow(&mut self, sessions: usize, others: usize) {
        // A connection that has to leave a trap keeps its place for a moment.
        self.table.grow(sessions + others + 2 * self.most_held + 1);
    }

    /// Adds a connection; None if there is no place.
    pub fn insert(&mut self, conn: Conn) -> Option<ConnId> {
        let (source, mirage, stage) = (conn.source, conn.mirage, conn.stage);
        let id = self.table.vacancy()?.insert(conn);
        self.count(id, source, mirage, None, Some(stage));
        Some(id)
    }

    /// The connection with this id.
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        self.table.get(id)
    }

    /// Moves a connection to its next stage, and sets that stage's deadline.
    pub fn enter(&mut self, id: ConnId, stage: Stage, deadline: Option<Instant>) {
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        let before = core::mem::replace(&mut conn.stage, stage);
        let (source, mirage) = (conn.source, conn.mirage);
        self.count(id, source, mirage, Some(before), Some(stage));
        self.timers.set(id, deadline);
    }

    /// Restarts the duration of a connection that was held until now.
    pub fn begin_at(&mut self, id: ConnId, now: Instant) {
        if let Some(conn) = self.table.get_mut(id) {
            conn.since = now;
        }
    }

    /// Notes the address of 127/8 from which a connection's service is dialled.
    pub fn dialled_from(&mut self, id: ConnId, address: Option<Ipv4Addr>) {
        if let Some(conn) = self.table.get_mut(id) {
            conn.client_address = address;
        }
    }

    /// Removes a connection.
    pub fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let conn = self.table.remove(id)?;
        self.timers.set(id, None);
        self.count(id, conn.source, conn.mirage, Some(conn.stage), None);
        Some(conn)
    }

    /// A connection whose deadline is over, earliest first.
    pub fn next_due(&mut self, now: Instant) -> Option<ConnId> {
        self.timers.next_due(now)
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.soonest()
    }

    /// The number of a source's sessions.
    pub fn sessions_from(&self, source: Source) -> usize {
        self.sessions_by_source.get(source)
    }

    /// Touches of traps that a source with a live session was forgiven; None without one.
    pub fn forgiven(&self, source: Source) -> Option<usize> {
        (self.sessions_from(source) > 0).then(|| self.forgiven.get(source))
    }

    /// Whether a source has something.
    #[cfg(test)]
    pub fn knows(&self, source: Source) -> bool {
        let counts = [
            &self.held_by_source,
            &self.sessions_by_source,
            &self.forgiven,
        ];
        counts.into_iter().any(|count| count.get(source) > 0)
    }

    /// Forgives a source one more touch.
    pub fn forgive(&mut self, source: Source) {
        self.forgiven.add(source);
    }

    /// The number of sessions.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// The number of a mirage's sessions.
    pub fn sessions_of(&self, mirage: MirageId) -> usize {
        let count = self.sessions_by_mirage.get(mirage.0 as usize);
        count.copied().unwrap_or_default()
    }

    fn count_of(&mut self, mirage: MirageId) -> &mut usize {
        let (place, counts) = (mirage.0 as usize, &mut self.sessions_by_mirage);
        counts.resize(counts.len().max(place + 1), 0);
        &mut counts[place]
    }

    /// The number of connections in traps, and its limit.
    pub fn held(&self) -> (usize, usize) {
        (self.held.len(), self.most_held)
    }

    /// All connections from this slot on.
    pub fn iter_from(&self, slot: usize) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.table.iter_from(slot)
    }

    /// The connection in a trap that should make room: a judged one before one that is not judged. Among those,
    /// one of the source that holds the most, and of its connections the oldest.
    pub fn most_dispensable(&self) -> Option<ConnId> {
        let held = self.held.iter().filter_map(|&id| Some((id, self.get(id)?)));
        let least = held.min_by_key(|(_, conn)| {
            let is_unheard = matches!(conn.stage, Stage::Listening { .. });
            let places = self.held_by_source.get(conn.source);
            (is_unheard, Reverse(places), conn.since)
        });
        least.map(|(id, _)| id)
    }

    fn count(
        &mut self,
        id: ConnId,
        source: Source,
        mirage: MirageId,
        before: Option<Stage>,
        after: Option<Stage>,
    ) {
        let is_held = |stage: Option<Stage>| {
            matches!(stage, Some(Stage::Listening { .. } | Stage::Muted { .. }))
        };
        match (is_held(before), is_held(after)) {
            (false, true) => {
                self.held.push(id);
                self.held_by_source.add(source);
            }
            (true, false) => {
                self.held.retain(|&other| other != id);
                self.held_by_source.take(source);
            }
            _ => {}
        }
        let is_session = |stage: Option<Stage>| stage.is_some_and(Stage::is_session);
        match (is_session(before), is_session(after)) {
            (false, true) => {
                self.sessions += 1;
                self.sessions_by_source.add(source);
                *self.count_of(mirage) += 1;
            }
            (true, false) => {
                self.sessions -= 1;
                self.sessions_by_source.take(source);
                if self.sessions_from(source) == 0 {
                    self.forgiven.set(source, 0);
                }
                *self.count_of(mirage) -= 1;
            }
            _ => {}
        }
    }
}
