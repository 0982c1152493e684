//! The banned sources: a fixed number of them, none of which costs more than another.
//!
//! A ban is a source's last touch; it ends a ban's time after that. Every touch starts it anew, so
//! the order of ending is the order of touching, and a list in that order is the timer: a touch
//! moves its entry to the tail, the head ends first.
//!
//! ```text
//!   index  │ 7 │   │ 0 │ 3 │  …   keyed hash, linear probing: source → entry
//!            │
//!   entries  0 ⇄ 3 ⇄ 7            by last touch: the head ends first, a touch moves to the tail
//! ```
//!
//! Look-up, touch, and end are constant in time. The hash is keyed at random, because addresses are
//! chosen by attackers. Entries are allocated once; when all are taken, the one that would end first
//! makes room.

use super::Instant;
use super::source::Source;
use core::hash::BuildHasher;

/// Nobody: the end of the list, or an empty place in the index.
const NONE: u16 = u16::MAX;

#[derive(Clone, Copy)]
struct Entry {
    ban: Ban,
    before: u16,
    behind: u16,
}

/// What a ban is for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
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
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
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
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
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
    hasher: H,
    entries: Vec<Entry>,
    capacity: usize,
    free: u16,
    head: u16,
    tail: u16,
    index: Vec<u16>,
    count: usize,
    changes: u64,
    ban_ms: u64,
}

impl<H: BuildHasher> Blacklist<H> {
    /// An empty list for `capacity` sources (1 to 32,767) whose bans last `ban_ms` milliseconds.
    ///
    /// All memory is allocated here. Entries are touched when they are first used, so a list that
    /// nobody is on is not resident.
    #[must_use]
    pub fn new(capacity: usize, ban_ms: u64, hasher: H) -> Self {
        let capacity = capacity.clamp(1, usize::from(NONE / 2));
        Self {
            hasher,
            entries: Vec::with_capacity(capacity),
            capacity,
            free: NONE,
            head: NONE,
            tail: NONE,
            index: vec![0; (capacity * 2).next_power_of_two()],
            count: 0,
            changes: 0,
            ban_ms,
        }
    }

    /// How many are banned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody is banned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
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
        self.find(source)
            .is_ok_and(|(_, entry)| !self.is_over(entry, now))
    }

    /// Counts a connection of a banned source, without renewing its ban.
    pub fn count_attempt(&mut self, source: Source) {
        if let Ok((_, entry)) = self.find(source) {
            let attempts = &mut self.entries[usize::from(entry)].ban.attempts;
            *attempts = attempts.saturating_add(1);
        }
    }

    /// Bans a source, or starts its ban anew.
    pub fn touch(&mut self, source: Source, why: Why, now: Instant) -> Touch {
        if let Ok((place, entry)) = self.find(source) {
            if self.is_over(entry, now) {
                self.remove(place, entry);
            } else {
                self.unlink(entry);
                self.entries[usize::from(entry)].ban.why = why;
                self.append(entry, now);
                self.count_attempt(source);
                return Touch::Renewed;
            }
        }
        let evicted = (self.count == self.capacity).then(|| self.remove_head());
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
        if self.count == self.capacity || self.find(ban.source).is_ok() {
            return;
        }
        let last = match self.entry(self.tail) {
            Some(tail) => ban.last.max(tail.ban.last),
            None => ban.last,
        };
        self.insert(Ban { last, ..ban });
    }

    /// Takes the ban off a source, if it has one.
    pub fn lift(&mut self, source: Source) -> Option<Ban> {
        let (place, entry) = self.find(source).ok()?;
        Some(self.remove(place, entry))
    }

    /// Takes all bans off.
    pub fn clear(&mut self) {
        while self.head != NONE {
            self.remove_head();
        }
    }

    /// The ban of a source, if it has one.
    #[must_use]
    pub fn get(&self, source: Source, now: Instant) -> Option<Ban> {
        let (_, entry) = self.find(source).ok()?;
        self.entry(entry)
            .map(|entry| entry.ban)
            .filter(|_| !self.is_over(entry, now))
    }

    /// Seconds that a ban goes on from now, a begun one counted whole.
    #[must_use]
    pub fn seconds_left(&self, ban: &Ban, now: Instant) -> u64 {
        ban.last.after(self.ban_ms).since(now).div_ceil(1_000)
    }

    /// The bans from a place of the table on, each with the place behind it: for who can't take them
    /// all at once. The order means nothing, and a ban keeps its place.
    pub fn from(&self, place: usize) -> impl Iterator<Item = (usize, Ban)> {
        let entries = self.entries.iter().enumerate().skip(place);
        entries.filter_map(|(place, entry)| {
            let is_taken = |(_, found): (usize, u16)| usize::from(found) == place;
            let is_taken = self.find(entry.ban.source).is_ok_and(is_taken);
            is_taken.then_some((place + 1, entry.ban))
        })
    }

    /// Takes one ban off that has ended; None when all that remain go on.
    pub fn expire(&mut self, now: Instant) -> Option<Ban> {
        let is_over = self.head != NONE && self.is_over(self.head, now);
        is_over.then(|| self.remove_head())
    }

    /// When the next ban ends.
    #[must_use]
    pub fn next_end(&self) -> Option<Instant> {
        self.entry(self.head)
            .map(|entry| entry.ban.last.after(self.ban_ms))
    }

    /// All bans, the one that ends first at the front.
    pub fn iter(&self) -> impl Iterator<Item = Ban> {
        core::iter::successors(self.entry(self.head), |entry| self.entry(entry.behind))
            .map(|entry| entry.ban)
    }

    fn entry(&self, entry: u16) -> Option<&Entry> {
        self.entries.get(usize::from(entry))
    }

    fn is_over(&self, entry: u16, now: Instant) -> bool {
        self.entry(entry)
            .is_some_and(|entry| entry.ban.last.after(self.ban_ms) <= now)
    }

    fn home(&self, source: Source) -> usize {
        self.hasher.hash_one(source) as usize & (self.index.len() - 1)
    }

    /// The place in the index and the entry of a source, or else the place that it would take.
    fn find(&self, source: Source) -> Result<(usize, u16), usize> {
        let mut place = self.home(source);
        // Half of the index stays empty, so this ends.
        loop {
            match self.index[place].checked_sub(1) {
                None => return Err(place),
                Some(entry) if self.entries[usize::from(entry)].ban.source == source => {
                    return Ok((place, entry));
                }
                Some(_) => place = (place + 1) & (self.index.len() - 1),
            }
        }
    }

    fn insert(&mut self, ban: Ban) {
        let Err(place) = self.find(ban.source) else {
            return;
        };
        let fresh = Entry {
            ban,
            before: NONE,
            behind: NONE,
        };
        let entry = self.free;
        let entry = if entry == NONE {
            self.entries.push(fresh);
            (self.entries.len() - 1) as u16
        } else {
            self.free = self.entries[usize::from(entry)].behind;
            self.entries[usize::from(entry)] = fresh;
            entry
        };
        self.append(entry, ban.last);
        self.index[place] = entry + 1;
        self.count += 1;
    }

    fn remove_head(&mut self) -> Ban {
        let ban = self.entries[usize::from(self.head)].ban;
        self.lift(ban.source);
        ban
    }

    /// Takes an entry off the list and out of the index, and closes the gap that it leaves there.
    fn remove(&mut self, mut gap: usize, entry: u16) -> Ban {
        let ban = self.entries[usize::from(entry)].ban;
        self.unlink(entry);
        self.changes += 1;
        self.entries[usize::from(entry)].behind = self.free;
        self.free = entry;
        self.count -= 1;

        let mask = self.index.len() - 1;
        let mut place = gap;
        loop {
            place = (place + 1) & mask;
            let Some(other) = self.index[place].checked_sub(1) else {
                break;
            };
            let home = self.home(self.entries[usize::from(other)].ban.source);
            let from_home = place.wrapping_sub(home) & mask;
            let from_gap = place.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                self.index[gap] = other + 1;
                gap = place;
            }
        }
        self.index[gap] = 0;
        ban
    }

    fn unlink(&mut self, entry: u16) {
        let Entry { before, behind, .. } = self.entries[usize::from(entry)];
        match self.entries.get_mut(usize::from(before)) {
            Some(before) => before.behind = behind,
            None => self.head = behind,
        }
        match self.entries.get_mut(usize::from(behind)) {
            Some(behind) => behind.before = before,
            None => self.tail = before,
        }
    }

    fn append(&mut self, entry: u16, now: Instant) {
        self.changes += 1;
        let tail = self.tail;
        let appended = &mut self.entries[usize::from(entry)];
        appended.ban.last = now;
        appended.before = tail;
        appended.behind = NONE;
        match self.entries.get_mut(usize::from(tail)) {
            Some(tail) => tail.behind = entry,
            None => self.head = entry,
        }
        self.tail = entry;
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
            prop_assert!(bans.index.iter().all(|&place| place == 0));
        }
    }
}
