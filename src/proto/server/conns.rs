//! The connections, and what is counted of them: by source, by mirage, and all together. Nothing here costs
//! more because there are more sessions.

use crate::proto::conn::{Conn, ConnId, Stage};
use crate::proto::ids::MirageId;
use crate::proto::source::Source;
use crate::proto::table::Table;
use crate::proto::tally::Tally;
use crate::proto::time::Instant;
use crate::proto::timers::Timers;

/// What a source has in all its connections together.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Its sessions.
    pub sessions: usize,
    /// Its connections in traps.
    held: u16,
    /// Touches of traps that it was forgiven since the first of its sessions began.
    pub forgiven: u8,
}

/// All connections.
pub struct Conns {
    table: Table<Conn>,
    timers: Timers<Conn>,
    /// Those in traps that are not about to leave, in the order of their coming.
    held: Vec<ConnId>,
    most_held: usize,
    sources: Tally<Source, Share>,
    sessions: usize,
    sessions_by_mirage: Tally<MirageId, usize>,
}

impl Conns {
    /// None yet, and places for so many in traps.
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

    /// Makes room for so many sessions and other connections beside those in traps. Never for fewer.
    pub fn grow(&mut self, sessions: usize, others: usize) {
        // Whoever is about to leave a trap has a place for a moment longer.
        self.table.grow(sessions + others + 2 * self.most_held + 1);
    }

    /// Adds one, unless there is no place.
    pub fn insert(&mut self, conn: Conn) -> Option<ConnId> {
        let (source, mirage, stage) = (conn.source, conn.mirage, conn.stage);
        let id = self.table.vacancy()?.insert(conn);
        self.count(id, source, mirage, None, Some(stage));
        Some(id)
    }

    /// One of them.
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        self.table.get(id)
    }

    /// What becomes of one from now on, and when that is over.
    pub fn enter(&mut self, id: ConnId, stage: Stage, deadline: Option<Instant>) {
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        let before = core::mem::replace(&mut conn.stage, stage);
        let (source, mirage) = (conn.source, conn.mirage);
        self.count(id, source, mirage, Some(before), Some(stage));
        self.timers.set(id, deadline);
    }

    /// Counts its time from now on: it was held until then.
    pub fn begin_at(&mut self, id: ConnId, now: Instant) {
        if let Some(conn) = self.table.get_mut(id) {
            conn.since = now;
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let conn = self.table.remove(id)?;
        self.timers.set(id, None);
        self.count(id, conn.source, conn.mirage, Some(conn.stage), None);
        Some(conn)
    }

    /// One whose time is over, soonest first.
    pub fn next_due(&mut self, now: Instant) -> Option<ConnId> {
        self.timers.next_due(now)
    }

    /// The soonest deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.soonest()
    }

    /// What a source has.
    pub fn share(&self, source: Source) -> Share {
        self.sources.get(&source)
    }

    /// Forgives a source one touch more.
    pub fn forgive(&mut self, source: Source) {
        self.sources.change(source, |share| share.forgiven += 1);
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// How many sessions a mirage has.
    pub fn sessions_of(&self, mirage: MirageId) -> usize {
        self.sessions_by_mirage.get(&mirage)
    }

    /// How many are held in traps, and how many can be.
    pub fn held(&self) -> (usize, usize) {
        (self.held.len(), self.most_held)
    }

    /// All connections from this slot on.
    pub fn iter_from(&self, slot: usize) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.table.iter_from(slot)
    }

    /// Who has to go for another: one who was judged before one who was not; of those one of the source that
    /// holds most, and of that the oldest.
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
