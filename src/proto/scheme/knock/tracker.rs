//! Who is in the middle of which sequence.
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
//!
//! Anybody can send a wrong knock in somebody else's name. So each knock counts twice: for its source, and for its
//! source and source port together. A member's client sends all of a sequence from one port, which others don't
//! know. A sequence that is complete by either count passes, so whoever knocks from many ports, or behind a NAT
//! that changes them, passes by the source's. No knock counts more than twice, so guessing is at most twice as
//! likely to succeed.

use super::{Hop, Sequence, Sequences, Which};
use crate::limits::LIVE_WINDOWS;
use crate::proto::ring::{Ring, RingKey};
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

/// How far somebody is in one sequence.
#[derive(Clone, Copy)]
struct Position {
    which: Which,
    /// The number of right knocks so far: all of them once it has passed.
    position: u8,
    /// When it is forgotten.
    end: Instant,
}

type Positions = Few<Position, LIVE_WINDOWS>;

/// Everybody in the middle of a mirage's sequences.
#[cfg_attr(test, derive(Clone))]
pub struct Tracker<H> {
    rules: Rules,
    by_source: Knockers<H>,
    by_port: Knockers<H>,
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
        Self {
            rules,
            by_source: Knockers::new(capacity, hasher.clone()),
            by_port: Knockers::new(capacity, hasher.clone()),
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

    /// Handles a knock that comes from this port of a source. `sequences` are those that are valid now.
    pub fn knock(
        &mut self,
        source: Source,
        port: u16,
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

        let knock = Knock {
            hop,
            sequences,
            rules: &self.rules,
            used: &self.used,
            now,
        };
        let by_source = self.by_source.knock(source.into(), &knock);
        let by_port = self.by_port.knock(RingKey::at_port(source, port), &knock);
        let answer = self.answer(by_source).or(self.answer(by_port));
        if let KnockAnswer::Wrong { .. } = answer {
            self.lock(source, now);
        }
        answer
    }

    fn answer(&mut self, step: KnockStep) -> KnockAnswer {
        match step {
            KnockStep::Ahead { position, .. } => KnockAnswer::Waiting { position },
            KnockStep::Complete(which) => self.complete(which),
            KnockStep::Behind => KnockAnswer::Again,
            KnockStep::Wrong { position } => KnockAnswer::Wrong { position },
            KnockStep::Unexpected => KnockAnswer::Nothing,
        }
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

    /// Locks out whom a wrong knock locks out.
    fn lock(&mut self, source: Source, now: Instant) {
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
    }

    /// Forgets sources and locks whose time is over.
    pub fn expire(&mut self, now: Instant) {
        if self.all_locked_until().is_some_and(|until| until <= now) {
            self.all_since = None;
        }
        let knock_ms = self.knock_ms();
        expire(&mut self.by_source.ring, knock_ms, now);
        expire(&mut self.by_port.ring, knock_ms, now);
        let lock_ms = self.lock_ms();
        expire(&mut self.locked, lock_ms, now);
    }

    /// When to call `expire`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let (knock_ms, lock_ms) = (self.knock_ms(), self.lock_ms());
        let rings = [
            (&self.by_source.ring, knock_ms),
            (&self.by_port.ring, knock_ms),
            (&self.locked, lock_ms),
        ];
        let mut soonest = self.all_locked_until();
        for (ring, ms) in rings {
            let end = ring.head().map(|(_, last)| last.after(ms));
            soonest = sooner(soonest, end);
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

impl KnockAnswer {
    /// What a knock means that means this by one count and `other` by the other: whatever leads farther.
    fn or(self, other: Self) -> Self {
        let rank = |answer: Self| match answer {
            Self::Nothing | Self::Ignored => (0, 0),
            Self::Again => (1, 0),
            Self::Wrong { position } => (2, position),
            Self::Waiting { position } => (3, position),
            Self::Used(_) => (4, 0),
            Self::Passed(_) => (5, 0),
        };
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }
}

/// Forgets entries whose last touch was so long ago.
fn expire<H: BuildHasher>(ring: &mut Ring<H>, ms: u64, now: Instant) {
    while ring.head().is_some_and(|(_, last)| last.after(ms) <= now) {
        ring.remove_head();
    }
}

/// A knock, and what it depends on whether it is right.
struct Knock<'a> {
    hop: Hop,
    sequences: &'a Sequences,
    rules: &'a Rules,
    used: &'a [Which],
    now: Instant,
}

/// Those in the middle of sequences, by one of the two counts.
#[cfg_attr(test, derive(Clone))]
struct Knockers<H> {
    ring: Ring<H>,
    /// Indexed by the ring's entry numbers.
    places: Vec<Positions>,
}

impl<H: BuildHasher> Knockers<H> {
    fn new(capacity: usize, hasher: H) -> Self {
        let ring = Ring::new(capacity, hasher);
        Self {
            places: Vec::with_capacity(ring.capacity()),
            ring,
        }
    }

    fn knock(&mut self, who: RingKey, knock: &Knock<'_>) -> KnockStep {
        let entry = self.ring.find(who);
        let mut places = match entry.and_then(|entry| self.places.get(usize::from(entry))) {
            Some(places) => places.clone(),
            None => Positions::new(),
        };
        keep_if(&mut places, &mut |place| {
            let mut valid = knock.sequences.iter();
            knock.now < place.end && valid.any(|sequence| sequence.which == place.which)
        });
        let mut step = knock.step(&mut places);
        if step == KnockStep::Unexpected {
            step = knock.unexpected(&mut places);
        }
        let renews = matches!(
            step,
            KnockStep::Ahead { begins: true, .. } | KnockStep::Complete(_)
        );
        self.keep(who, entry, places, renews, knock.now);
        step
    }

    /// Stores the positions of a key, or forgets a key that has none.
    fn keep(
        &mut self,
        who: RingKey,
        entry: Option<u16>,
        places: Positions,
        renews: bool,
        now: Instant,
    ) {
        if let Some(entry) = entry {
            if places.is_empty() {
                self.ring.remove(who);
                return;
            }
            if renews {
                self.ring.touch(entry, now);
            }
            self.places[usize::from(entry)] = places;
            return;
        }
        if places.is_empty() {
            return;
        }
        if self.ring.is_full() {
            self.ring.remove_head();
        }
        let Some(entry) = self.ring.add(who, now) else {
            return;
        };
        match self.places.get_mut(usize::from(entry)) {
            Some(old) => *old = places,
            None => self.places.push(places),
        }
    }
}

impl Knock<'_> {
    /// Moves positions on in each sequence whose next knock this is.
    fn step(&self, places: &mut Positions) -> KnockStep {
        let mut step = KnockStep::Unexpected;
        for Sequence { which, hops } in self.sequences {
            let place = places.iter_mut().find(|place| place.which == *which);
            let position = place
                .as_ref()
                .map_or(0, |place| usize::from(place.position));
            if hops.get(position) != Some(&self.hop) {
                if step == KnockStep::Unexpected
                    && hops.iter().take(position).any(|&done| done == self.hop)
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
                        end: self.now.after(self.rules.timeout_ms),
                    });
                }
            }
            step = match step {
                KnockStep::Ahead {
                    position: other,
                    begins: also,
                } => KnockStep::Ahead {
                    position: position.max(other),
                    begins: begins || also,
                },
                KnockStep::Behind | KnockStep::Unexpected => KnockStep::Ahead { position, begins },
                KnockStep::Complete(_) | KnockStep::Wrong { .. } => step,
            };
        }
        if let KnockStep::Complete(which) = step {
            places.clear();
            let _ = places.push(Position {
                which,
                position: length(self.sequences, which) as u8,
                end: self.now.after(self.rules.echo_ms),
            });
        }
        step
    }

    /// A knock that fits nothing is wrong within a sequence and at a watched port. Then all that are not complete
    /// start over.
    fn unexpected(&self, places: &mut Positions) -> KnockStep {
        let port = self.hop.port;
        let mut all = self.sequences.iter().flat_map(|sequence| &sequence.hops);
        let in_range = |range: Range| range.contains(port);
        if !self.rules.range.is_some_and(in_range) && !all.any(|other| other.port == port) {
            return KnockStep::Unexpected;
        }
        let mut farthest = 0;
        keep_if(places, &mut |place| {
            let position = usize::from(place.position);
            let is_complete = position >= length(self.sequences, place.which);
            if !is_complete {
                farthest = farthest.max(position);
            }
            is_complete
        });
        match farthest {
            0 => KnockStep::Unexpected,
            position => KnockStep::Wrong { position },
        }
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
    /// A wrong one, after so many right ones.
    Wrong { position: usize },
    /// None of these.
    Unexpected,
}

#[cfg(test)]
mod tests;
