//! Which source is in the middle of which sequence.
//!
//! ```text
//!   knock ─▶ locked? ─▶ the next of a sequence? ─▶ waiting, or passed
//!               │        one that it has behind it? ─▶ again: a duplicate packet, or a SYN sent again
//!               │        else, at a watched port ─▶ wrong: start over
//!               └▶ ignored
//! ```
//!
//! A source has a position in each valid sequence, and its positions move independently: a knock that is
//! right for one sequence is wrong for none. A knock that completes a sequence ends the others and begins
//! none. A source takes memory only after it has hit a first knock, and until the sequence's time is over.
//! Sources are kept in a ring like that of the bans; when all entries are taken, the one that would end
//! first makes room.

use super::{Hop, Sequence, Sequences, Which};
use crate::limits::LIVE_WINDOWS;
use crate::proto::ring::Ring;
use crate::proto::scheme::schedule::Range;
use crate::proto::source::Source;
use crate::proto::time::{Instant, sooner};
use core::hash::BuildHasher;
use heapless::Vec as Few;

/// Who is locked out by a wrong knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The source of the wrong knock.
    Source,
    /// Everybody.
    All,
}

/// How long a wrong knock locks out, and whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Time from the wrong knock on, in ms.
    pub ms: u64,
    /// Who is locked out.
    pub scope: Scope,
}

/// A mirage's settings for its knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long after its first knock a sequence has to be complete, in ms; otherwise it starts over.
    pub timeout_ms: u64,
    /// How long after its last knock each knock of a sequence may be a retransmission, in ms.
    pub echo_ms: u64,
    /// What else a wrong knock within a sequence does.
    pub lock: Option<Lock>,
    /// Whether the sequence of a minute opens the door only once, whoever knocks.
    pub is_once: bool,
    /// The ports where a knock can be wrong, besides those of the sequences.
    pub range: Option<Range>,
}

/// The result of a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnockAnswer {
    /// Of no interest: its source is in no sequence, or its port is not watched.
    Nothing,
    /// The source or everybody is locked out.
    Ignored,
    /// It was right.
    Waiting {
        /// The number of right knocks so far, in the sequence that this knock brought farthest.
        position: usize,
    },
    /// It was right before: a duplicate packet, or a SYN that was sent again. Nothing has changed.
    Again,
    /// A sequence is complete.
    Passed(Which),
    /// A sequence is complete, but it opens the door only once and already has.
    Used(Which),
    /// It fits no sequence that the source is in. They start over, and [`Rules::lock`] applies from now on.
    Wrong {
        /// The number of right knocks before it, in the sequence that had come farthest.
        position: usize,
    },
}

/// How far a source is in one sequence.
#[derive(Clone, Copy)]
struct Position {
    which: Which,
    /// The number of right knocks so far: all of them once it has passed.
    position: u8,
    /// When it is forgotten.
    end: Instant,
}

type Positions = Few<Position, LIVE_WINDOWS>;

/// The sources in the middle of a mirage's sequences.
pub struct Tracker<H> {
    rules: Rules,
    knockers: Ring<H>,
    /// Indexed by the ring's entry numbers.
    places: Vec<Positions>,
    /// The sources that are locked out.
    locked: Ring<H>,
    /// The wrong knock that locked everybody out.
    all_since: Option<Instant>,
    /// The valid sequences that have opened the door.
    used: Few<Which, LIVE_WINDOWS>,
}

impl<H: BuildHasher + Clone> Tracker<H> {
    /// An empty tracker with room for `capacity` sources (1 to 32,767).
    ///
    /// All memory is allocated here, but is not resident before it is used.
    #[must_use]
    pub fn new(capacity: usize, rules: Rules, hasher: H) -> Self {
        let knockers = Ring::new(capacity, hasher.clone());
        Self {
            rules,
            places: Vec::with_capacity(knockers.capacity()),
            knockers,
            locked: Ring::new(capacity, hasher),
            all_since: None,
            used: Few::new(),
        }
    }
}

impl<H: BuildHasher> Tracker<H> {
    /// When the lock of everybody ends; None if there is none.
    #[must_use]
    pub fn all_locked_until(&self) -> Option<Instant> {
        self.all_since.map(|since| since.after(self.lock_ms()))
    }

    /// Handles a knock. `sequences` are those that are valid now.
    pub fn knock(
        &mut self,
        source: Source,
        hop: Hop,
        sequences: &Sequences,
        now: Instant,
    ) -> KnockAnswer {
        self.expire(now);
        if self.all_since.is_some() || self.locked.find(source).is_some() {
            return KnockAnswer::Ignored;
        }
        let counts = |which: Which| sequences.iter().any(|sequence| sequence.which == which);
        // The schedule does not serve a minute that was left again before it has forgotten it.
        keep_if(&mut self.used, &mut |&which| counts(which));

        let entry = self.knockers.find(source);
        let mut places = match entry.and_then(|entry| self.places.get(usize::from(entry))) {
            Some(places) => places.clone(),
            None => Positions::new(),
        };
        keep_if(&mut places, &mut |place| {
            now < place.end && counts(place.which)
        });
        let step = self.step(&mut places, hop, sequences, now);
        let answer = match step {
            KnockStep::Ahead { position, .. } => KnockAnswer::Waiting { position },
            KnockStep::Complete(which) => self.complete(which),
            KnockStep::Behind => KnockAnswer::Again,
            KnockStep::Unexpected => self.unexpected(&mut places, source, hop, sequences, now),
        };
        let renews = matches!(
            step,
            KnockStep::Ahead { begins: true, .. } | KnockStep::Complete(_)
        );
        self.keep(source, entry, places, renews, now);
        answer
    }

    /// Moves a source on in each sequence whose next knock this is.
    fn step(
        &self,
        places: &mut Positions,
        hop: Hop,
        sequences: &Sequences,
        now: Instant,
    ) -> KnockStep {
        let mut step = KnockStep::Unexpected;
        for Sequence { which, hops } in sequences {
            let place = places.iter_mut().find(|place| place.which == *which);
            let position = place
                .as_ref()
                .map_or(0, |place| usize::from(place.position));
            if hops.get(position) != Some(&hop) {
                if step == KnockStep::Unexpected
                    && hops.iter().take(position).any(|&done| done == hop)
                {
                    step = KnockStep::Behind;
                }
                continue;
            }
            let position = position + 1;
            if position == hops.len() {
                // A sequence that no longer opens the door gives way to one that does.
                if !matches!(step, KnockStep::Complete(which) if !self.used.contains(&which)) {
                    step = KnockStep::Complete(*which);
                }
                continue;
            }
            let begins = place.is_none();
            match place {
                Some(place) => place.position = position as u8,
                None => {
                    // There is room: positions in sequences that are no longer valid were removed.
                    let _ = places.push(Position {
                        which: *which,
                        position: position as u8,
                        end: now.after(self.rules.timeout_ms),
                    });
                }
            }
            step = match step {
                KnockStep::Complete(_) => step,
                KnockStep::Ahead {
                    position: other,
                    begins: also,
                } => KnockStep::Ahead {
                    position: position.max(other),
                    begins: begins || also,
                },
                KnockStep::Behind | KnockStep::Unexpected => KnockStep::Ahead { position, begins },
            };
        }
        if let KnockStep::Complete(which) = step {
            places.clear();
            let _ = places.push(Position {
                which,
                position: length(sequences, which) as u8,
                end: now.after(self.rules.echo_ms),
            });
        }
        step
    }

    fn complete(&mut self, which: Which) -> KnockAnswer {
        if !self.rules.is_once || !matches!(which, Which::Minute(_)) {
            return KnockAnswer::Passed(which);
        }
        if self.used.contains(&which) {
            return KnockAnswer::Used(which);
        }
        // There is room: of the valid sequences, this one was missing.
        let _ = self.used.push(which);
        KnockAnswer::Passed(which)
    }

    /// Handles a knock that fits nothing: it is wrong if its source is within a sequence and its port is
    /// watched.
    fn unexpected(
        &mut self,
        places: &mut Positions,
        source: Source,
        hop: Hop,
        sequences: &Sequences,
        now: Instant,
    ) -> KnockAnswer {
        let mut all = sequences.iter().flat_map(|sequence| &sequence.hops);
        let in_range = |range: Range| range.contains(hop.port);
        if !self.rules.range.is_some_and(in_range) && !all.any(|other| other.port == hop.port) {
            return KnockAnswer::Nothing;
        }
        let mut farthest = 0;
        keep_if(places, &mut |place| {
            let position = usize::from(place.position);
            let is_complete = position >= length(sequences, place.which);
            if !is_complete {
                farthest = farthest.max(position);
            }
            is_complete
        });
        if farthest == 0 {
            return KnockAnswer::Nothing;
        }
        match self.rules.lock.map(|lock| lock.scope) {
            None => {}
            Some(Scope::All) => self.all_since = Some(now),
            Some(Scope::Source) => {
                if self.locked.is_full() {
                    self.locked.remove_head();
                }
                self.locked.add(source, now);
            }
        }
        KnockAnswer::Wrong { position: farthest }
    }

    /// Stores the positions of a source, or forgets a source that has none.
    fn keep(
        &mut self,
        source: Source,
        entry: Option<u16>,
        places: Positions,
        renews: bool,
        now: Instant,
    ) {
        if let Some(entry) = entry {
            if places.is_empty() {
                self.knockers.remove(source);
                return;
            }
            if renews {
                self.knockers.touch(entry, now);
            }
            self.places[usize::from(entry)] = places;
            return;
        }
        if places.is_empty() {
            return;
        }
        if self.knockers.is_full() {
            self.knockers.remove_head();
        }
        let Some(entry) = self.knockers.add(source, now) else {
            return;
        };
        match self.places.get_mut(usize::from(entry)) {
            Some(old) => *old = places,
            None => self.places.push(places),
        }
    }

    /// Forgets sources and locks whose time is over.
    pub fn expire(&mut self, now: Instant) {
        if self.all_locked_until().is_some_and(|until| until <= now) {
            self.all_since = None;
        }
        let knock_ms = self.knock_ms();
        while self
            .knockers
            .head()
            .is_some_and(|(_, last)| last.after(knock_ms) <= now)
        {
            self.knockers.remove_head();
        }
        let lock_ms = self.lock_ms();
        while self
            .locked
            .head()
            .is_some_and(|(_, last)| last.after(lock_ms) <= now)
        {
            self.locked.remove_head();
        }
    }

    /// When to call `expire`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let mut soonest = self.all_locked_until();
        if let Some((_, last)) = self.knockers.head() {
            soonest = sooner(soonest, Some(last.after(self.knock_ms())));
        }
        if let Some((_, last)) = self.locked.head() {
            soonest = sooner(soonest, Some(last.after(self.lock_ms())));
        }
        soonest
    }

    /// How long an entry is kept after the last sequence that it began or completed, in ms.
    fn knock_ms(&self) -> u64 {
        self.rules.timeout_ms.max(self.rules.echo_ms)
    }

    fn lock_ms(&self) -> u64 {
        self.rules.lock.map_or(0, |lock| lock.ms)
    }
}

/// Retains some elements, in any order. heapless's `retain` keeps the order, which takes more code, once
/// for each closure.
fn keep_if<T>(few: &mut Few<T, LIVE_WINDOWS>, is_kept: &mut dyn FnMut(&T) -> bool) {
    let mut place = 0;
    while let Some(one) = few.get(place) {
        if is_kept(one) {
            place += 1;
        } else {
            few.swap_remove(place);
        }
    }
}

/// The number of knocks in a sequence.
fn length(sequences: &Sequences, which: Which) -> usize {
    let mut all = sequences.iter();
    let found = all.find(|sequence| sequence.which == which);
    found.map_or(0, |sequence| sequence.hops.len())
}

/// What a knock means to the sequences.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KnockStep {
    /// The next knock of one or more sequences, and whether it begins one of them.
    Ahead { position: usize, begins: bool },
    /// The last knock of one.
    Complete(Which),
    /// A knock that was right before.
    Behind,
    /// None of these.
    Unexpected,
}

#[cfg(test)]
mod tests;
