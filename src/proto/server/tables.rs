//! All of the core's tables.

use super::arrival::Newcomer;
use super::clock::Clock;
use super::conns::Conns;
use super::mirages::{Mirage, Mirages};
use super::transaction::{Proven, Transaction};
use crate::limits::BANS;
use crate::proto::bans::Blacklist;
use crate::proto::client_address::LastClients;
use crate::proto::doors::{Elements, OpenFor, Openings};
use crate::proto::effect::{Effect, Effects};
use crate::proto::event::{Event, SectionName};
use crate::proto::ids::{JobId, MirageId};
use crate::proto::nonces::{BootId, Memory};
use crate::proto::settings::CommonSettings;
use crate::proto::time::{Instant, Now};
use std::collections::VecDeque;
use std::hash::RandomState;

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Completed handshakes.
    pub visitors: u64,
    /// Sessions.
    pub accepted: u64,
    /// Bans that began.
    pub banned: u64,
    /// Connections of banned sources that were closed at once.
    pub refused: u64,
    /// Visitors who were held but not banned.
    pub held: u64,
    /// Good tokens.
    pub good_tokens: u64,
    /// Bad tokens, including missing ones.
    pub bad_tokens: u64,
    /// Visitors who were turned away because a limit was reached.
    pub turned_away: u64,
    /// Addresses for which a door was opened.
    pub passed: u64,
}

/// When the log was last told that a table is full.
#[derive(Default)]
pub struct ToldFull {
    pub bans: Option<Instant>,
    pub nonces: Option<Instant>,
}

/// What the state file holds, and what the journal lacks.
pub struct SavedState {
    /// The saved bans, by their count of changes; None until the file was read.
    pub changes: Option<u64>,
    /// When the file was last written or read.
    pub at: Instant,
    /// When to write the journal again, if that has failed.
    pub journal_again: Option<Instant>,
}

/// Until when nothing is due.
#[derive(Clone, Copy)]
pub struct Idle {
    /// None: for ever.
    pub until: Option<Instant>,
    /// How far the real clock was ahead of the boot clock, in ms. When it drifts, a minute turns earlier or later.
    pub offset_ms: i64,
}

/// The state of everything that decides about visitors, doors, ports and time.
pub struct Core {
    pub(super) now: Now,
    /// A mirage has turned in this turn of the loop, so another may have to.
    pub(super) has_turned: bool,
    /// Nothing is due before, unless something happens. None: something has.
    pub(super) idle: Option<Idle>,
    pub(super) common: CommonSettings,
    pub(super) mirages: Mirages,
    /// Used tokens and datagrams. They are remembered for longer than their mirage.
    pub(super) memory: Memory,
    /// Who waits until `memory` is recorded: one for each answer that is to come.
    pub(super) recording: VecDeque<Option<Proven>>,
    pub(super) conns: Conns,
    /// Those for whom a session of their source may have to make room, in the order of the questions.
    pub(super) newcomers: VecDeque<Newcomer>,
    pub(super) bans: Blacklist<RandomState>,
    pub(super) openings: Openings,
    pub(super) elements: Elements,
    pub(super) next_job: u32,
    pub(super) clock: Clock,
    pub(super) transaction: Option<Transaction>,
    /// The daemon ends when everything is closed, or at this moment. None: it goes on.
    pub(super) stop_by: Option<Instant>,
    pub(super) counters: Counters,
    pub(super) last_clients: LastClients,
    pub(super) told_full: ToldFull,
    pub(super) saved: SavedState,
}

impl Core {
    /// A core that serves nothing yet. `is_kept`: something keeps the machine's clock right. `most_held`: the
    /// most visitors that traps hold at once.
    #[must_use]
    pub fn new(common: CommonSettings, now: Now, is_kept: bool, most_held: usize) -> Self {
        let ban_ms = u64::from(common.ban_s) * 1_000;
        Self {
            now,
            has_turned: false,
            idle: None,
            clock: Clock::new(common.clock, now, is_kept),
            common,
            mirages: Mirages::default(),
            memory: Memory::new(BootId::default(), now.boot),
            recording: VecDeque::new(),
            conns: Conns::new(most_held),
            newcomers: VecDeque::new(),
            bans: Blacklist::new(BANS, ban_ms, RandomState::new()),
            openings: Openings::default(),
            elements: Elements::default(),
            next_job: 0,
            transaction: None,
            stop_by: None,
            counters: Counters::default(),
            last_clients: LastClients::default(),
            told_full: ToldFull::default(),
            saved: SavedState {
                changes: None,
                at: now.boot,
                journal_again: None,
            },
        }
    }

    /// A new job's id.
    pub(super) fn new_job(&mut self) -> JobId {
        self.next_job = self.next_job.wrapping_add(1);
        JobId(self.next_job)
    }

    pub(super) fn mirage(&self, id: MirageId) -> Option<&Mirage> {
        self.mirages.get(id)
    }

    /// A mirage's section name, for the log.
    pub(super) fn section(&self, id: MirageId) -> SectionName {
        self.mirages.name(id)
    }

    /// Counts a door that has opened.
    pub(super) fn count_open_door(
        &mut self,
        mirage: MirageId,
        open_for: OpenFor,
        seconds: u64,
        effects: &mut Effects,
    ) {
        self.counters.passed += 1;
        log(
            effects,
            Event::Open {
                mirage: self.section(mirage),
                open_for,
                seconds,
            },
        );
    }
}

/// Writes a line to the log.
pub fn log(effects: &mut Effects, event: Event) {
    effects.push_back(Effect::Log(event));
}
