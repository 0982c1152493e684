//! The banned sources: a fixed number of them, none of which costs more than another.
//!
//! A ban is a source's last touch; it ends a ban's time after that. Every touch starts it anew, so
//! the order of ending is the order of touching, which is what a ring keeps: the head ends first.
//! When all entries are taken, the one that would end first makes room.

use super::ring::Ring;
use super::source::Source;
use super::time::Instant;
use core::hash::BuildHasher;

/// What a ban has beside its source and its last touch.
#[derive(Clone, Copy)]
struct Mark {
    attempts: u32,
    why: Why,
}

/// What a ban is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A trap was touched.
    Trap,
    /// There was no good token.
    Token,
    /// Somebody wanted it.
    Hand,
    /// It was there before the daemon was.
    State,
}

impl Why {
    /// The word that `shimmer status` has for it.
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

/// A ban: who, since when it runs, and how often he came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Whom it shuts out.
    pub source: Source,
    /// When he touched a trap last.
    pub last: Instant,
    /// Connections since the ban began, the first one included.
    pub attempts: u32,
    /// What the last touch was.
    pub why: Why,
}

/// What a touch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// The source is banned from now on.
    Banned,
    /// The same, and this ban, which would have ended first, had to make room.
    BannedInsteadOf(Ban),
    /// It was banned; its time starts anew.
    Renewed,
}

/// The ring of banned sources.
pub struct Blacklist<H> {
    ring: Ring<H>,
    /// By the entries' numbers.
    marks: Vec<Mark>,
    changes: u64,
    ban_ms: u64,
}

impl<H: BuildHasher> Blacklist<H> {
    /// An empty list for `capacity` sources (1 to 32,767) whose bans last `ban_ms` milliseconds.
    ///
    /// All memory is allocated here, and not resident before it is used.
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

    /// How many are banned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether nobody is banned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number that is another once a ban has begun, was renewed, or has ended.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// A new ban's time in milliseconds; it holds for all.
    pub fn set_ban_ms(&mut self, ban_ms: u64) {
        self.ban_ms = ban_ms;
    }

    /// Milliseconds that a ban lasts from its last touch.
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

    /// Bans a source, or starts its ban anew.
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
        // It may have one that is over and was not taken off yet.
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

    /// Puts back a ban that was remembered elsewhere. It counts as no earlier than the one before it.
    pub fn restore(&mut self, ban: Ban) {
        let last = match self.ring.tail() {
            Some((_, tail)) => ban.last.max(tail),
            None => ban.last,
        };
        self.insert(Ban { last, ..ban });
    }

    /// Takes the ban off a source, if it has one.
    pub fn lift(&mut self, source: Source) -> Option<Ban> {
        let last = self.ring.find(source).and_then(|at| self.ring.last(at))?;
        let entry = self.ring.remove(source)?;
        self.changes += 1;
        Some(self.ban(entry, source, last))
    }

    /// Takes all bans off.
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

    /// Seconds that a ban goes on from now, a begun one counted whole.
    #[must_use]
    pub fn seconds_left(&self, ban: &Ban, now: Instant) -> u64 {
        ban.last.after(self.ban_ms).since(now).div_ceil(1_000)
    }

    /// The bans from a place of the table on, each with the place behind it: for who can't take them
    /// all at once. The order means nothing, and a ban keeps its place.
    pub fn from(&self, place: usize) -> impl Iterator<Item = (usize, Ban)> {
        (place..self.marks.len()).filter_map(|place| {
            let entry = place as u16;
            let (source, last) = self.ring.get(entry)?;
            Some((place + 1, self.ban(entry, source, last)))
        })
    }

    /// Takes one ban off that has ended; None when all that remain go on.
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

    /// All bans, the one that ends first at the front.
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
        /// Whatever happens, the ring says what a plain list says; a long wait leaves nothing behind.
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
}
