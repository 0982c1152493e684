//! What outlives the daemon: its files, and what its commands have opened.

use super::flaw::Flaw;
use super::shell::Shell;
use crate::proto::Core;
use crate::proto::doors::OpenFor;
use crate::proto::ids::JobId;
use crate::proto::input::SavedBan;
use crate::proto::nonces::{Memory, RECORD};
use std::rc::Rc;

/// What a restart has to close, as the journal has it.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub section: Rc<str>,
    pub open_for: OpenFor,
    pub close: Option<Rc<[String]>>,
    pub stays_ms: u64,
}

impl Shell {
    pub fn write_journal(&mut self, core: &Core) {
        let openings = core.openings().iter();
        let recorded = openings.filter_map(|opening| {
            let close = opening.to_close()?;
            Some(Recorded {
                section: core.name(opening.mirage),
                open_for: opening.open_for,
                close: Some(Rc::clone(close)),
                stays_ms: opening.stays_ms(core.now().boot),
            })
        });
        self.recorded = recorded.collect();
        let words = self.recorded.iter().filter_map(|it| it.close.as_ref());
        self.journal = words.map(|words| words.join(" ")).collect();
    }

    /// The command that was started first ends. If it was killed, it may have opened something, but not closed it.
    pub fn end_child(&mut self, failure: Option<&str>) -> JobId {
        let was_killed = failure.is_some_and(|why| why.starts_with("killed"));
        let (job, words) = self.jobs.remove(0);
        let what = words[1..].join(" ");
        match &*words[0] {
            "/bin/open" if failure.is_none() || was_killed => drop(self.house.insert(what)),
            "/bin/close" if failure.is_none() => drop(self.house.remove(&what)),
            _ => {}
        }
        job
    }

    /// Writes what was used.
    pub fn remember(&mut self, memory: &Memory) {
        self.remembered += 1;
        // A file without its whole size would be found damaged.
        let is_whole = self.used.len() as u64 == memory.size();
        if is_whole && self.flaw == Some(Flaw::UsedNotWritten) {
            return;
        }
        self.used.resize(memory.size() as usize, 0);
        for write in memory.unwritten().iter() {
            let at = write.at as usize;
            self.used[at..at + RECORD].copy_from_slice(&write.bytes);
        }
    }
}

/// The bans as a state file has them.
pub fn saved(core: &Core) -> Vec<SavedBan> {
    let now = core.now();
    let bans = core.bans().iter().map(|ban| SavedBan {
        source: ban.source,
        unix: now.unix() - now.boot.since(ban.last) / 1_000,
        attempts: ban.attempts,
    });
    bans.collect()
}
