//! Every sequence of a few steps, with three places, four sources and clocks that step, beside a plain list. Seven
//! are as many as fit into some minutes and gigabytes: which proofs have counted is part of a state, so each step
//! makes five times as many.

use super::{known, later, minute, nonce, noon, read, source, window, *};
use crate::limits::NONCE_SHARES;
use crate::proto::tests::explore::explore;
use std::collections::{BTreeMap, BTreeSet};

const PLACES: usize = 3;

fn shrink(memory: &mut Memory) {
    for book in memory.books.iter_mut().flatten() {
        book.shrink(PLACES);
    }
}

#[derive(Clone, Copy, Debug)]
enum Small {
    /// A source sends this nonce for the window so many before the clock's.
    Use(u8, u32, u64),
    /// The same, but the daemon is killed before the file has it, and starts again.
    UseAndDie(u8, u32, u64),
    /// The time of a window passes.
    Pass,
    /// The clock is set, by so many windows.
    Set(i64),
    Restart,
}

/// The memory with its file, and what it should be.
#[derive(Clone)]
struct Both {
    memory: Memory,
    /// The records of the file.
    file: BTreeMap<u64, [u8; RECORD]>,
    now: Now,
    /// Source 0 is nobody's: after a restart nobody knows whose nonces they were.
    used: Vec<(u64, u32, u8)>,
    closed: BTreeSet<u64>,
    /// All that ever counted.
    counted: Vec<(u64, u32)>,
}

impl Both {
    fn new() -> Self {
        let mut both = Self {
            memory: known(),
            file: BTreeMap::new(),
            now: noon(),
            used: Vec::new(),
            closed: BTreeSet::new(),
            counted: Vec::new(),
        };
        both.write();
        shrink(&mut both.memory);
        both
    }

    fn is_live(&self, window: u64) -> bool {
        let current = minute(self.now);
        (current - 2..=current + 1).contains(&window)
    }

    /// What becomes of a proof, by the list.
    fn expected(&self, (window, number): (u64, u32), source: u8) -> Use {
        let live = || self.used.iter().filter(|it| self.is_live(it.0));
        let own = live().filter(|it| it.2 == source).count();
        if self.used.iter().any(|it| it.1 == number) {
            Use::Again
        } else if self.closed.contains(&window) {
            Use::Forgotten
        } else if own * (NONCE_SHARES - 1) >= PLACES - live().count() {
            Use::Full
        } else {
            Use::First
        }
    }

    fn spend(&mut self, source_number: u8, number: u32, ago: u64, is_killed: bool) {
        let proof = (minute(self.now) - ago, number);
        let expected = self.expected(proof, source_number);
        let source = source(source_number);
        let used = self
            .memory
            .spend(window(proof.0), &nonce(number), source, self.now);
        assert_eq!(used, expected);
        if is_killed || used != Use::First {
            return;
        }
        assert!(!self.counted.contains(&proof), "it counts twice");
        self.counted.push(proof);
        if self.used.len() == PLACES {
            let over = self
                .used
                .iter()
                .map(|it| it.0)
                .filter(|it| !self.is_live(*it));
            let lowest = over.min().expect("one is over");
            self.closed.insert(lowest);
            self.used.retain(|it| it.0 != lowest);
        }
        self.used.push((proof.0, number, source_number));
        self.write();
    }

    fn write(&mut self) {
        let unwritten = self.memory.unwritten();
        let changes = unwritten.changes();
        self.file
            .extend(unwritten.iter().map(|write| (write.at, write.bytes)));
        self.memory.written(changes);
    }

    fn restart(&mut self) {
        let mut file = vec![0; self.memory.size() as usize];
        for (at, bytes) in &self.file {
            file[*at as usize..][..RECORD].copy_from_slice(bytes);
        }
        let hasher = self.memory.hasher.clone();
        let past;
        (self.memory, past) = read(&file, self.now);
        assert_eq!(past, Past::Known);
        shrink(&mut self.memory);
        self.memory.hasher = hasher;
        for used in &mut self.used {
            used.2 = 0;
        }
    }

    fn step(&mut self, step: Small) {
        match step {
            Small::Use(source, number, ago) => self.spend(source, number, ago, false),
            Small::UseAndDie(source, number, ago) => {
                self.spend(source, number, ago, true);
                self.restart();
            }
            Small::Pass => self.now = later(self.now, u64::from(PERIOD)),
            Small::Set(windows) => self.now.real_ms += windows * i64::from(PERIOD) * 1_000,
            Small::Restart => self.restart(),
        }
        // Whatever was asked, a look changes nothing and agrees.
        for number in 1..=2 {
            let proof = (minute(self.now), number);
            let look = self
                .memory
                .look_up(window(proof.0), &nonce(number), self.now);
            let expected = self.expected(proof, 0);
            assert!(look == expected || expected == Use::Full && look == Use::First);
        }
        let live = self.used.iter().filter(|it| self.is_live(it.0)).count();
        assert_eq!(self.memory.count(key(1), PERIOD, self.now), live);
    }

    /// All that its future depends on: what the file has, whose it is, and the clock.
    fn key(&self) -> impl Eq + core::hash::Hash + use<> {
        let book = self.memory.books[0].as_ref().expect("it is served");
        let mut counted = self.counted.clone();
        counted.sort_unstable();
        (book.anatomy(), counted, minute(self.now))
    }
}

/// Takes all sequences of so many steps.
fn agree(depth: usize) {
    let mut steps = vec![
        Small::Pass,
        Small::Set(-1),
        Small::Set(-4),
        Small::Set(1),
        Small::Restart,
    ];
    for ago in 0..2 {
        // Each has a nonce of their own, and one sends another's again.
        steps.extend((1..=4).map(|who| Small::Use(who, who.into(), ago)));
        steps.push(Small::Use(2, 1, ago));
    }
    steps.push(Small::UseAndDie(1, 1, 0));
    let states = explore(Both::new(), &steps, depth, Both::key, Both::step);
    assert!(states > 1_000);
}

#[test]
fn any_few_steps_agree_with_a_list() {
    agree(5);
}

#[test]
#[ignore = "takes minutes: tests/simulate/run"]
fn any_seven_steps_agree_with_a_list() {
    agree(7);
}
