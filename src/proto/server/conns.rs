//! The connections, and counts of them by source, by mirage and in total. No operation costs more because there
//! are more sessions.

use crate::proto::conn::{Conn, ConnId, Stage};
use crate::proto::ids::MirageId;
use crate::proto::source::Source;
use crate::proto::table::Table;
use crate::proto::tally::Tally;
use crate::proto::time::Instant;
use crate::proto::timers::Timers;

/// The counts of one source over all its connections.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// The number of its sessions.
    pub sessions: usize,
    /// The number of its connections in traps.
    held: u16,
    /// Touches of traps that were forgiven since the first of its live sessions began.
    pub forgiven: u8,
}

/// All connections.
pub struct Conns {
    table: Table<Conn>,
    timers: Timers<Conn>,
    /// Connections in traps that do not have to leave, oldest first.
    held: Vec<ConnId>,
    most_held: usize,
    sources: Tally<Source, Share>,
    sessions: usize,
    sessions_by_mirage: Tally<MirageId, usize>,
}

impl Conns {
    /// Empty, with room for `most_held` connections in traps.
    pub fn new(most_held: usize) -> Self {
        Self {
            table: Table::new(0),
            timers: Timers::new(),
            held: Vec::new(),
            most_held,
            sources: Tally::new(),
            sessions: 0,
            sessions_by_mirage: Tally::new(),
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

    /// The counts of a source.
    pub fn share(&self, source: Source) -> Share {
        self.sources.get(&source)
    }

    /// Forgives a source one more touch.
    pub fn forgive(&mut self, source: Source) {
        self.sources.change(source, |share| share.forgiven += 1);
    }

    /// The number of sessions.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// The number of a mirage's sessions.
    pub fn sessions_of(&self, mirage: MirageId) -> usize {
        self.sessions_by_mirage.get(&mirage)
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
            let places = self.share(conn.source).held;
            (is_unheard, u16::MAX - places, conn.since)
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
                self.sources.change(source, |share| share.held += 1);
            }
            (true, false) => {
                self.held.retain(|&other| other != id);
                self.sources.change(source, |share| share.held -= 1);
            }
            _ => {}
        }
        let is_session = |stage: Option<Stage>| stage.is_some_and(Stage::is_session);
        match (is_session(before), is_session(after)) {
            (false, true) => {
                self.sessions += 1;
                self.sources.change(source, |share| share.sessions += 1);
                self.sessions_by_mirage.change(mirage, |count| *count += 1);
            }
            (true, false) => {
                self.sessions -= 1;
                self.sources.change(source, |share| {
                    share.sessions -= 1;
                    if share.sessions == 0 {
                        share.forgiven = 0;
                    }
                });
                self.sessions_by_mirage.change(mirage, |count| *count -= 1);
            }
            _ => {}
        }
    }
}
