//! The banned sources: a fixed number of them, each at the same cost.
//!
//! A ban ends a fixed time after its source's last touch of a trap. Every touch restarts it, so bans
//! end in the order of their last touches. A ring keeps that order: its head ends first. When the list is
//! full, the ban that would end first makes room.

use super::ring::Ring;
use super::source::Source;
use super::time::Instant;
use core::hash::BuildHasher;

/// What a ban stores besides its source and its last touch.
#[derive(Clone, Copy)]
struct Mark {
    attempts: u32,
    why: Why,
}

/// The reason for a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The source touched a trap.
    Trap,
    /// The source sent no good token.
    Token,
    /// `shimmer ban` was run.
    Hand,
    /// It was loaded from the state file.
    State,
}

impl Why {
    /// Its word in `shimmer status`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Token => "token",
            Self::Hand => "hand",
            Self::State => "state",
        }
    }
}

/// A ban: its source, its last touch, and the number of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The banned source.
    pub source: Source,
    /// When the source last touched a trap.
    pub last: Instant,
    /// Connections since the ban began, the first one included.
    pub attempts: u32,
    /// The reason of the last touch.
    pub why: Why,
}

/// What a touch did to the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// The source is banned from now on.
    Banned,
    /// The source is banned from now on, and this ban, which would have ended first, had to make room.
    BannedInsteadOf(Ban),
    /// The source was banned already; its ban restarts.
    Renewed,
}

/// The list of banned sources.
#[cfg_attr(test, derive(Clone))]
pub struct Blacklist<H> {
    ring: Ring<H>,
    /// Indexed by the ring's entry numbers.
    marks: Vec<Mark>,
    changes: u64,
    ban_ms: u64,
}

impl<H: BuildHasher> Blacklist<H> {
    /// An empty list for `capacity` sources (1 to 32,767), whose bans last `ban_ms` milliseconds.
    ///
    /// All memory is allocated here, but is not resident before it is used.
    #[must_use]
    pub fn new(capacity: usize, ban_ms: u64, hasher: H) -> Self {
        let ring = Ring::new(capacity, hasher);
        Self {
            marks: Vec::with_capacity(ring.capacity()),
            ring,
            changes: 0,
            ban_ms,
        }
    }

    /// The number of banned sources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether no source is banned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A counter that changes whenever a ban begins, is renewed, or ends.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Sets the duration of all bans, in ms. It holds for current bans too.
    pub fn set_ban_ms(&mut self, ban_ms: u64) {
        self.ban_ms = ban_ms;
    }

    /// How long a ban lasts from its last touch, in ms.
    #[must_use]
    pub fn ban_ms(&self) -> u64 {
        self.ban_ms
    }

    /// Whether the source is banned now.
    #[must_use]
    pub fn is_banned(&self, source: Source, now: Instant) -> bool {
        self.get(source, now).is_some()
    }

    /// Counts a connection of a banned source, without renewing its ban.
    pub fn count_attempt(&mut self, source: Source) {
        if let Some(entry) = self.ring.find(source) {
            let attempts = &mut self.marks[usize::from(entry)].attempts;
            *attempts = attempts.saturating_add(1);
        }
    }

    /// Bans a source, or restarts its ban.
    pub fn touch(&mut self, source: Source, why: Why, now: Instant) -> Touch {
        if self.is_banned(source, now) {
            if let Some(entry) = self.ring.find(source) {
                self.ring.touch(entry, now);
                self.marks[usize::from(entry)].why = why;
            }
            self.changes += 1;
            self.count_attempt(source);
            return Touch::Renewed;
        }
        // It may have a ban that is over but has not been removed yet.
        self.lift(source);
        let evicted = if self.ring.is_full() {
            self.remove_head()
        } else {
            None
        };
        self.insert(Ban {
            source,
            last: now,
            attempts: 1,
            why,
        });
        match evicted {
            Some(ban) => Touch::BannedInsteadOf(ban),
            None => Touch::Banned,
        }
    }

    /// Puts back a ban from the state file. It counts as no earlier than the ban restored before it.
    pub fn restore(&mut self, ban: Ban) {
        let last = match self.ring.tail() {
            Some((_, tail)) => ban.last.max(tail),
            None => ban.last,
        };
        self.insert(Ban { last, ..ban });
    }

    /// Lifts the ban of a source and returns it, if there is one.
    pub fn lift(&mut self, source: Source) -> Option<Ban> {
        let last = self.ring.find(source).and_then(|at| self.ring.last(at))?;
        let entry = self.ring.remove(source)?;
        self.changes += 1;
        Some(self.ban(entry, source, last))
    }

    /// Lifts all bans.
    pub fn clear(&mut self) {
        while self.remove_head().is_some() {}
    }

    /// The ban of a source, if it has one.
    #[must_use]
    pub fn get(&self, source: Source, now: Instant) -> Option<Ban> {
        let entry = self.ring.find(source)?;
        let last = self.ring.last(entry)?;
        (!self.is_over(last, now)).then(|| self.ban(entry, source, last))
    }

    /// Seconds until a ban ends, rounded up.
    #[must_use]
    pub fn seconds_left(&self, ban: &Ban, now: Instant) -> u64 {
        ban.last.after(self.ban_ms).since(now).div_ceil(1_000)
    }

    /// The bans from this place of the table on, each with the place after it, for a caller that takes them
    /// in portions. The order means nothing, but a ban keeps its place.
    pub fn from(&self, place: usize) -> impl Iterator<Item = (usize, Ban)> {
        (place..self.marks.len()).filter_map(|place| {
            let entry = place as u16;
            let (source, last) = self.ring.get(entry)?;
            Some((place + 1, self.ban(entry, source, last)))
        })
    }

    /// Removes one ban whose time is over; None when all remaining bans go on.
    pub fn expire(&mut self, now: Instant) -> Option<Ban> {
        let (_, last) = self.ring.head()?;
        if self.is_over(last, now) {
            self.remove_head()
        } else {
            None
        }
    }

    /// When the next ban ends.
    #[must_use]
    pub fn next_end(&self) -> Option<Instant> {
        self.ring.head().map(|(_, last)| last.after(self.ban_ms))
    }

    /// All bans; the one that ends first comes first.
    pub fn iter(&self) -> impl Iterator<Item = Ban> {
        let entries = self.ring.iter();
        entries.map(|(entry, source, last)| self.ban(entry, source, last))
    }

    fn ban(&self, entry: u16, source: Source, last: Instant) -> Ban {
        let Mark { attempts, why } = self.marks[usize::from(entry)];
        Ban {
            source,
            last,
            attempts,
            why,
        }
    }

    fn is_over(&self, last: Instant, now: Instant) -> bool {
        last.after(self.ban_ms) <= now
    }

    fn insert(&mut self, ban: Ban) {
        let Some(entry) = self.ring.add(ban.source, ban.last) else {
            return;
        };
        self.changes += 1;
        let mark = Mark {
            attempts: ban.attempts,
            why: ban.why,
        };
        match self.marks.get_mut(usize::from(entry)) {
            Some(old) => *old = mark,
            None => self.marks.push(mark),
        }
    }

    fn remove_head(&mut self) -> Option<Ban> {
        let (entry, source, last) = self.ring.remove_head()?;
        self.changes += 1;
        Some(self.ban(entry, source, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tests::explore::{HOMES, Homes, explore};
    use core::net::{IpAddr, Ipv4Addr};
    use proptest::prelude::*;
    use std::hash::RandomState;

    const BAN_MS: u64 = 900_000;

    fn list(capacity: usize) -> Blacklist<RandomState> {
        Blacklist::new(capacity, BAN_MS, RandomState::new())
    }

    fn source(number: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from(number)))
    }

    #[test]
    fn a_touch_bans_until_its_time_is_over() {
        let mut bans = list(4);
        assert_eq!(bans.touch(source(1), Why::Trap, Instant(5)), Touch::Banned);
        assert!(bans.is_banned(source(1), Instant(BAN_MS + 4)));
        assert!(!bans.is_banned(source(1), Instant(BAN_MS + 5)));
        assert!(!bans.is_banned(source(2), Instant(5)));
    }

    #[test]
    fn a_further_touch_starts_the_time_again() {
        let mut bans = list(4);
        bans.touch(source(1), Why::Trap, Instant(0));
        assert_eq!(
            bans.touch(source(1), Why::Trap, Instant(BAN_MS - 1)),
            Touch::Renewed
        );
        assert!(bans.is_banned(source(1), Instant(2 * BAN_MS - 2)));
        assert!(!bans.is_banned(source(1), Instant(2 * BAN_MS - 1)));
    }

    #[test]
    fn a_touch_after_the_end_is_a_new_ban() {
        let mut bans = list(4);
        bans.touch(source(1), Why::Trap, Instant(0));
        bans.count_attempt(source(1));
        assert_eq!(
            bans.touch(source(1), Why::Trap, Instant(BAN_MS)),
            Touch::Banned
        );
        assert_eq!(bans.iter().next().unwrap().attempts, 1);
    }

    #[test]
    fn an_attempt_is_counted_and_renews_nothing() {
        let mut bans = list(4);
        bans.touch(source(1), Why::Trap, Instant(0));
        bans.count_attempt(source(1));
        bans.count_attempt(source(2));
        let ban = bans.expire(Instant(BAN_MS)).unwrap();
        assert_eq!((ban.source, ban.attempts), (source(1), 2));
        assert_eq!(bans.expire(Instant(BAN_MS)), None);
    }

    #[test]
    fn a_full_list_lets_go_of_the_ban_that_ends_first() {
        let mut bans = list(2);
        bans.touch(source(1), Why::Trap, Instant(0));
        bans.touch(source(2), Why::Trap, Instant(1));
        bans.touch(source(1), Why::Trap, Instant(2));
        let Touch::BannedInsteadOf(ban) = bans.touch(source(3), Why::Trap, Instant(3)) else {
            panic!("the list was full");
        };
        assert_eq!(ban.source, source(2));
        assert!(bans.is_banned(source(1), Instant(3)) && bans.is_banned(source(3), Instant(3)));
        assert_eq!(bans.len(), 2);
    }

    #[test]
    fn a_new_time_holds_for_all() {
        let mut bans = list(2);
        bans.touch(source(1), Why::Trap, Instant(0));
        bans.set_ban_ms(10);
        assert_eq!(bans.next_end(), Some(Instant(10)));
        assert!(bans.expire(Instant(9)).is_none());
        assert!(bans.expire(Instant(10)).is_some());
        assert!(bans.is_empty());
    }

    #[test]
    fn restored_bans_keep_their_order() {
        let mut bans = list(2);
        let ban = |number, last| Ban {
            source: source(number),
            last: Instant(last),
            attempts: 7,
            why: Why::State,
        };
        bans.restore(ban(1, 50));
        bans.restore(ban(2, 20));
        bans.restore(ban(3, 60));
        let all: Vec<Ban> = bans.iter().collect();
        assert_eq!(all, [ban(1, 50), ban(2, 50)]);
    }

    /// The same list, slow and plain.
    #[derive(Default)]
    struct Plain(Vec<Ban>);

    impl Plain {
        fn touch(&mut self, source: Source, now: Instant, capacity: usize) {
            let old = self.0.iter().position(|ban| ban.source == source);
            let attempts = match old.map(|place| self.0.remove(place)) {
                Some(ban) if ban.last.after(BAN_MS) > now => ban.attempts + 1,
                _ => 1,
            };
            if self.0.len() == capacity {
                self.0.remove(0);
            }
            self.0.push(Ban {
                source,
                last: now,
                attempts,
                why: Why::Trap,
            });
        }
    }

    proptest! {
        /// After any sequence of calls, the list agrees with a plain one; a long wait leaves nothing behind.
        #[test]
        fn agrees_with_a_plain_list(
            steps in prop::collection::vec((0u32..12, 0u64..BAN_MS / 3, 0u8..5), 1..400),
            capacity in 1usize..9,
        ) {
            let mut bans = list(capacity);
            let mut plain = Plain::default();
            let mut now = Instant(0);
            for (number, wait, step) in steps {
                now = now.after(wait);
                if step < 3 {
                    bans.touch(source(number), Why::Trap, now);
                    plain.touch(source(number), now, capacity);
                } else if step == 3 {
                    let place = plain.0.iter().position(|ban| ban.source == source(number));
                    let lifted = place.map(|place| plain.0.remove(place));
                    prop_assert_eq!(bans.lift(source(number)), lifted);
                } else {
                    while bans.expire(now).is_some() {}
                    plain.0.retain(|ban| ban.last.after(BAN_MS) > now);
                }
                prop_assert_eq!(bans.iter().collect::<Vec<_>>(), plain.0.clone());
                let by_source = |bans: &mut Vec<Ban>| bans.sort_by_key(|ban| ban.source);
                let mut at_places: Vec<Ban> = bans.from(0).map(|(_, ban)| ban).collect();
                let mut all = plain.0.clone();
                by_source(&mut at_places);
                by_source(&mut all);
                prop_assert_eq!(at_places, all);
                for number in 0..12 {
                    let banned = plain.0.iter().any(|ban| {
                        ban.source == source(number) && ban.last.after(BAN_MS) > now
                    });
                    prop_assert_eq!(bans.is_banned(source(number), now), banned);
                }
            }
            while bans.expire(now.after(BAN_MS)).is_some() {}
            prop_assert!(bans.is_empty());
            prop_assert_eq!(bans.next_end(), None);
            prop_assert!(bans.ring.has_empty_index());
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Touch(u8),
        Attempt(u8),
        Lift(u8),
        Restore(u8),
        Wait,
        Expire,
        Shorten,
        Clear,
    }

    /// The list, and what it should be.
    #[derive(Clone)]
    struct Both {
        bans: Blacklist<Homes>,
        plain: Vec<Ban>,
        ban_ms: u64,
        now: u64,
    }

    impl Both {
        fn step(&mut self, step: Step) {
            let (now, ban_ms) = (Instant(self.now), self.ban_ms);
            let is_over = |ban: &Ban| ban.last.after(ban_ms) <= now;
            let place = |number: u8| {
                let number = u32::from(number);
                self.plain
                    .iter()
                    .position(|ban| ban.source == source(number))
            };
            match step {
                Step::Touch(number) => {
                    let old = place(number).map(|place| self.plain.remove(place));
                    let old = old.filter(|ban| !is_over(ban));
                    let makes_room = old.is_none() && self.plain.len() == 3;
                    let evicted = makes_room.then(|| self.plain.remove(0));
                    let source = source(number.into());
                    let attempts = old.map_or(0, |ban| ban.attempts) + 1;
                    self.plain.push(Ban {
                        source,
                        last: now,
                        attempts,
                        why: Why::Trap,
                    });
                    let expected = match (old, evicted) {
                        (Some(_), _) => Touch::Renewed,
                        (None, Some(ban)) => Touch::BannedInsteadOf(ban),
                        (None, None) => Touch::Banned,
                    };
                    assert_eq!(self.bans.touch(source, Why::Trap, now), expected);
                }
                Step::Attempt(number) => {
                    self.bans.count_attempt(source(number.into()));
                    if let Some(place) = place(number) {
                        self.plain[place].attempts += 1;
                    }
                }
                Step::Lift(number) => {
                    let lifted = place(number).map(|place| self.plain.remove(place));
                    assert_eq!(self.bans.lift(source(number.into())), lifted);
                }
                Step::Restore(number) => {
                    let ban = Ban {
                        source: source(number.into()),
                        last: Instant(self.now - 1),
                        attempts: 7,
                        why: Why::State,
                    };
                    self.bans.restore(ban);
                    if place(number).is_none() && self.plain.len() < 3 {
                        let tail = self.plain.last().map_or(ban.last, |tail| tail.last);
                        self.plain.push(Ban {
                            last: ban.last.max(tail),
                            ..ban
                        });
                    }
                }
                Step::Wait => self.now += BAN_MS / 2,
                Step::Expire => {
                    let is_due = self.plain.first().is_some_and(is_over);
                    let ended = is_due.then(|| self.plain.remove(0));
                    assert_eq!(self.bans.expire(now), ended);
                }
                Step::Shorten => {
                    self.ban_ms = BAN_MS / 2;
                    self.bans.set_ban_ms(self.ban_ms);
                }
                Step::Clear => {
                    self.bans.clear();
                    self.plain.clear();
                }
            }
            self.compare();
        }

        fn compare(&self) {
            let (bans, now) = (&self.bans, Instant(self.now));
            assert!(bans.iter().eq(self.plain.iter().copied()));
            assert_eq!(bans.from(0).count(), self.plain.len());
            let end = self.plain.first().map(|ban| ban.last.after(self.ban_ms));
            assert_eq!(bans.next_end(), end);
            for number in 0..4 {
                let is_banned = self
                    .plain
                    .iter()
                    .any(|ban| ban.source == source(number) && ban.last.after(self.ban_ms) > now);
                assert_eq!(bans.is_banned(source(number), now), is_banned);
            }
        }
    }

    #[test]
    fn any_eight_steps_agree_with_a_list() {
        let mut steps = vec![Step::Wait, Step::Expire, Step::Shorten, Step::Clear];
        for number in 0..4 {
            steps.extend([Step::Touch(number), Step::Attempt(number)]);
            steps.extend([Step::Lift(number), Step::Restore(number)]);
        }
        for homes in [HOMES[1], HOMES[2]] {
            let bans = Blacklist::new(3, BAN_MS, homes);
            let start = Both {
                bans,
                plain: Vec::new(),
                ban_ms: BAN_MS,
                now: 1_000,
            };
            // Only how long ago a touch was matters, and to nothing how many there were.
            let age = |both: &Both, last: Instant| Instant(both.now).since(last).min(BAN_MS);
            let key = |both: &Both| {
                let ages: Vec<_> = both.plain.iter().map(|ban| age(both, ban.last)).collect();
                (
                    both.bans.ring.anatomy(),
                    both.bans.marks.len(),
                    ages,
                    both.ban_ms,
                )
            };
            let states = explore(start, &steps, 8, key, Both::step);
            assert!(states > 1_000, "{states} states");
        }
    }
}
