//! Who is in the middle of which sequence.
//!
//! ```text
//!   knock ─▶ locked? ─▶ the next of a sequence? ─▶ waiting, or passed
//!               │        one that it has behind it? ─▶ again: a doubled packet, a SYN sent anew
//!               │        else, at a port that is watched ─▶ wrong: all begins again
//!               └▶ ignored
//! ```
//!
//! A source is at a place in each sequence that counts, and its places move independently: what is
//! right for one sequence is wrong for none. What completes one ends the others, and begins none.
//! Whoever has not hit a first knock takes no memory. One who has does so until a sequence's time is
//! over, in a ring like that of the bans; where all entries are taken, the one that would end first
//! makes room.

use super::{Hop, Sequence, Sequences, Which};
use crate::limits::LIVE_WINDOWS;
use crate::proto::ring::Ring;
use crate::proto::scheme::schedule::Range;
use crate::proto::source::Source;
use crate::proto::time::{Instant, sooner};
use core::hash::BuildHasher;
use heapless::Vec as Few;

/// Whom a wrong knock locks out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Its source.
    Source,
    /// Everybody.
    All,
}

/// How long nobody is listened to after a wrong knock, and who is that nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Milliseconds from the wrong knock on.
    pub ms: u64,
    /// Whom it locks out.
    pub scope: Scope,
}

/// What a mirage's owner wants of its knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A sequence is complete within so many milliseconds of its first knock, or begins again.
    pub timeout_ms: u64,
    /// For so long after its last knock, each of a sequence's knocks may be the network's echo.
    pub echo_ms: u64,
    /// What a wrong knock within a sequence does beside.
    pub lock: Option<Lock>,
    /// The sequence of a minute opens the door once, whoever knocks.
    pub is_once: bool,
    /// The ports that can be wrong, beside those of the sequences.
    pub range: Option<Range>,
}

/// What a knock was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnockAnswer {
    /// Nothing to us: its source is in no sequence, or its port is none that is watched.
    Nothing,
    /// The source or everybody is locked out.
    Ignored,
    /// It was right, and so many are right now.
    Waiting {
        /// Right knocks so far, in the sequence that has come farthest by this one.
        position: usize,
    },
    /// It was right before: a doubled packet, or a SYN that was sent anew. Nothing has changed.
    Again,
    /// A sequence is complete.
    Passed(Which),
    /// A sequence is complete that had opened the door before, and does so once.
    Used(Which),
    /// It fits no sequence that the source is in: they begin again, and what [`Rules::lock`] says
    /// holds from now on.
    Wrong {
        /// Right knocks that were there, in the sequence that had come farthest.
        position: usize,
    },
}

/// How far a source is in one sequence.
#[derive(Clone, Copy)]
struct Position {
    which: Which,
    /// Right knocks so far: all of them, once it has passed.
    position: u8,
    /// When it is over.
    end: Instant,
}

type Positions = Few<Position, LIVE_WINDOWS>;

/// The sources in the middle of a mirage's sequences.
pub struct Tracker<H> {
    rules: Rules,
    knockers: Ring<H>,
    /// By the entries' numbers.
    places: Vec<Positions>,
    /// The sources that are locked out.
    locked: Ring<H>,
    /// The wrong knock since which everybody is.
    all_since: Option<Instant>,
    /// The sequences that opened the door, of those that count.
    used: Few<Which, LIVE_WINDOWS>,
}

impl<H: BuildHasher + Clone> Tracker<H> {
    /// Nobody, and room for `capacity` sources (1 to 32,767).
    ///
    /// All memory is allocated here, and not resident before it is used.
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
    /// Until when everybody is locked out.
    #[must_use]
    pub fn all_locked_until(&self) -> Option<Instant> {
        self.all_since.map(|since| since.after(self.lock_ms()))
    }

    /// Takes a knock; the sequences are those that count now.
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
        // A minute that is left is not served again before the schedule has forgotten it.
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

    /// Moves a source on in each sequence of which this is its next knock.
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
                // One that does not open the door any more gives way to one that does.
                if !matches!(step, KnockStep::Complete(which) if !self.used.contains(&which)) {
                    step = KnockStep::Complete(*which);
                }
                continue;
            }
            let begins = place.is_none();
            match place {
                Some(place) => place.position = position as u8,
                None => {
                    // There is room: what does not count any more was taken out.
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
        // There is room: of those that count, this one was not there.
        let _ = self.used.push(which);
        KnockAnswer::Passed(which)
    }

    /// A knock that fits nothing: wrong, if its source was within a sequence and its port is watched.
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

    /// Remembers where a source is, or forgets a source that is nowhere.
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

    /// Forgets the sources and locks whose time is over.
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

    /// When there is something to expire.
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

    /// How long an entry is kept from the last sequence on that it began or completed.
    fn knock_ms(&self) -> u64 {
        self.rules.timeout_ms.max(self.rules.echo_ms)
    }

    fn lock_ms(&self) -> u64 {
        self.rules.lock.map_or(0, |lock| lock.ms)
    }
}

/// Keeps some, in whatever order. heapless has one that keeps the order, which is longer, once for each
/// question.
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

/// How many knocks a sequence has.
fn length(sequences: &Sequences, which: Which) -> usize {
    let mut all = sequences.iter();
    let found = all.find(|sequence| sequence.which == which);
    found.map_or(0, |sequence| sequence.hops.len())
}

/// What a knock is to the sequences.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KnockStep {
    /// The next of one or more, and whether one of them begins with it.
    Ahead { position: usize, begins: bool },
    /// The last of one.
    Complete(Which),
    /// One that was right before.
    Behind,
    /// None of these.
    Unexpected,
}

#[cfg(test)]
mod tests;
