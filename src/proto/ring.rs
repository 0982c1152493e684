//! Sources in the order of their last touch: a fixed number of them, each at the same cost.
//!
//! Whatever lasts a fixed time from its last touch ends in the order of touching. So the list itself is
//! the timer: a touch moves an entry to the tail, and the head ends first.
//!
//! ```text
//!   index  │ 7 │   │ 0 │ 3 │  …   keyed hash, linear probing: source, or source and port → entry
//!            │
//!   entries  0 ⇄ 3 ⇄ 7            by last touch: the head ends first, a touch moves to the tail
//! ```
//!
//! Look-up, touch and end take constant time. The hash is keyed at random, because attackers choose the
//! addresses. Entries are allocated once. The ring's owner keeps its own data under an entry's number, so
//! the binary has only one ring, whatever it is used for.

use super::source::Source;
use super::time::Instant;
use core::hash::BuildHasher;

/// No entry: the end of the list, or an empty slot of the index.
const NONE: u16 = u16::MAX;

/// Whom an entry is for: a source, or what it sends from one of its ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RingKey {
    source: Source,
    port: u16,
}

impl RingKey {
    /// A source and one of its ports.
    pub fn at_port(source: Source, port: u16) -> Self {
        Self { source, port }
    }
}

impl From<Source> for RingKey {
    fn from(source: Source) -> Self {
        Self { source, port: 0 }
    }
}

#[derive(Clone, Copy)]
struct Entry {
    key: RingKey,
    last: Instant,
    before: u16,
    behind: u16,
}

/// Sources in the order of their last touch.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Ring<H> {
    hasher: H,
    entries: Vec<Entry>,
    capacity: usize,
    free: u16,
    head: u16,
    tail: u16,
    index: Vec<u16>,
    count: usize,
}

impl<H: BuildHasher> Ring<H> {
    /// An empty ring for `capacity` sources, 1 to 32,767.
    ///
    /// All memory is allocated here. An entry's memory is first touched when it is used, so an unused ring is
    /// not resident.
    pub fn new(capacity: usize, hasher: H) -> Self {
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
        }
    }

    /// The number of sources it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The number of sources it holds.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has no room for another source.
    pub fn is_full(&self) -> bool {
        self.count == self.capacity
    }

    /// The entry of a source.
    pub fn find(&self, source: impl Into<RingKey>) -> Option<u16> {
        self.look(source.into()).ok().map(|(_, entry)| entry)
    }

    /// The source of an entry and its last touch; None if the entry is free.
    pub fn get(&self, entry: u16) -> Option<(Source, Instant)> {
        let Entry { key, last, .. } = *self.entry(entry)?;
        (self.find(key) == Some(entry)).then_some((key.source, last))
    }

    /// The entry that ends first, and its last touch.
    pub fn head(&self) -> Option<(u16, Instant)> {
        self.entry(self.head).map(|entry| (self.head, entry.last))
    }

    /// The entry that ends last, and its last touch.
    pub fn tail(&self) -> Option<(u16, Instant)> {
        self.entry(self.tail).map(|entry| (self.tail, entry.last))
    }

    /// An entry's last touch.
    pub fn last(&self, entry: u16) -> Option<Instant> {
        self.entry(entry).map(|entry| entry.last)
    }

    /// All entries; the one that ends first comes first.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Source, Instant)> {
        let of = |at: u16| self.entry(at).map(|entry| (at, entry));
        core::iter::successors(of(self.head), move |(_, entry)| of(entry.behind))
            .map(|(at, entry)| (at, entry.key.source, entry.last))
    }

    /// Moves an entry to the tail.
    pub fn touch(&mut self, entry: u16, now: Instant) {
        self.unlink(entry);
        self.append(entry, now);
    }

    /// Adds a source at the tail. None if it is there already or the ring is full.
    pub fn add(&mut self, source: impl Into<RingKey>, now: Instant) -> Option<u16> {
        let key = source.into();
        let Err(place) = self.look(key) else {
            return None;
        };
        if self.is_full() {
            return None;
        }
        let fresh = Entry {
            key,
            last: now,
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
        self.append(entry, now);
        self.index[place] = entry + 1;
        self.count += 1;
        Some(entry)
    }

    /// Removes a source and returns the entry it had.
    pub fn remove(&mut self, source: impl Into<RingKey>) -> Option<u16> {
        let (gap, entry) = self.look(source.into()).ok()?;
        self.unlink(entry);
        self.entries[usize::from(entry)].behind = self.free;
        self.free = entry;
        self.count -= 1;
        self.close(gap);
        Some(entry)
    }

    /// Removes the head.
    pub fn remove_head(&mut self) -> Option<(u16, Source, Instant)> {
        let Entry { key, last, .. } = *self.entry(self.head)?;
        Some((self.remove(key)?, key.source, last))
    }

    /// Bytes of one source, without its two slots in the index.
    #[cfg(all(test, target_pointer_width = "64"))]
    pub const ENTRY_BYTES: usize = size_of::<Entry>();

    /// Whether every slot of the index is free.
    #[cfg(test)]
    pub fn has_empty_index(&self) -> bool {
        self.index.iter().all(|&place| place == 0)
    }

    /// All that its future depends on. It does not look at times.
    #[cfg(test)]
    pub fn anatomy(&self) -> impl Eq + core::hash::Hash + use<H> {
        let entry = |it: &Entry| (it.key, it.before, it.behind);
        let entries: Vec<_> = self.entries.iter().map(entry).collect();
        let ends = (self.head, self.tail, self.free, self.count);
        (entries, self.index.clone(), ends)
    }

    fn entry(&self, entry: u16) -> Option<&Entry> {
        self.entries.get(usize::from(entry))
    }

    fn home(&self, key: RingKey) -> usize {
        self.hasher.hash_one(key) as usize & (self.index.len() - 1)
    }

    /// The index slot and the entry of a source; or the slot it would take.
    fn look(&self, key: RingKey) -> Result<(usize, u16), usize> {
        let mut place = self.home(key);
        // Half of the index stays empty, so this ends.
        loop {
            match self.index[place].checked_sub(1) {
                None => return Err(place),
                Some(entry) if self.entries[usize::from(entry)].key == key => {
                    return Ok((place, entry));
                }
                Some(_) => place = (place + 1) & (self.index.len() - 1),
            }
        }
    }

    /// Closes the gap that a removed entry leaves in the index.
    fn close(&mut self, mut gap: usize) {
        let mask = self.index.len() - 1;
        let mut place = gap;
        loop {
            place = (place + 1) & mask;
            let Some(other) = self.index[place].checked_sub(1) else {
                break;
            };
            let home = self.home(self.entries[usize::from(other)].key);
            let from_home = place.wrapping_sub(home) & mask;
            let from_gap = place.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                self.index[gap] = other + 1;
                gap = place;
            }
        }
        self.index[gap] = 0;
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
        let tail = self.tail;
        let appended = &mut self.entries[usize::from(entry)];
        appended.last = now;
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
    use crate::proto::tests::explore::{HOMES, Homes, explore};

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Add(u8),
        Touch(u8),
        Remove(u8),
        RemoveHead,
    }

    fn source(number: u8) -> Source {
        Source::of([192, 0, 2, number].into())
    }

    /// The ring, and what it should be: a list with the head first. The clock counts the steps.
    #[derive(Clone)]
    struct Both {
        ring: Ring<Homes>,
        plain: Vec<(u8, u64)>,
        now: u64,
    }

    impl Both {
        fn step(&mut self, step: Step) {
            self.now += 1;
            let (now, count) = (Instant(self.now), self.plain.len());
            let place = |number| self.plain.iter().position(|it| it.0 == number);
            match step {
                Step::Add(number) => {
                    let is_free = place(number).is_none() && count < 3;
                    assert_eq!(self.ring.add(source(number), now).is_some(), is_free);
                    self.plain.extend(is_free.then_some((number, self.now)));
                }
                Step::Touch(number) => {
                    let entry = self.ring.find(source(number));
                    assert_eq!(entry.is_some(), place(number).is_some());
                    if let (Some(entry), Some(place)) = (entry, place(number)) {
                        self.ring.touch(entry, now);
                        self.plain.remove(place);
                        self.plain.push((number, self.now));
                    }
                }
                Step::Remove(number) => {
                    let place = place(number);
                    let entry = self.ring.find(source(number));
                    assert_eq!(self.ring.remove(source(number)), entry);
                    assert_eq!(entry.is_some(), place.is_some());
                    place.map(|place| self.plain.remove(place));
                }
                Step::RemoveHead => {
                    let removed = self.ring.remove_head();
                    let removed = removed.map(|(_, source, last)| (source, last));
                    let head = (count > 0).then(|| self.plain.remove(0));
                    assert_eq!(removed, head.map(|it| (source(it.0), Instant(it.1))));
                }
            }
            self.compare();
        }

        fn compare(&self) {
            let (ring, plain) = (&self.ring, &self.plain);
            let plain: Vec<_> = plain
                .iter()
                .map(|it| (source(it.0), Instant(it.1)))
                .collect();
            let all: Vec<_> = ring
                .iter()
                .map(|(_, source, last)| (source, last))
                .collect();
            assert_eq!(all, plain);
            assert_eq!(
                (ring.len(), ring.is_full()),
                (plain.len(), plain.len() == 3)
            );
            let ends = (ring.head(), ring.tail());
            let ends = (ends.0.map(|it| it.1), ends.1.map(|it| it.1));
            let last = |it: Option<&(Source, Instant)>| it.map(|it| it.1);
            assert_eq!(ends, (last(plain.first()), last(plain.last())));
            for (source, last) in plain {
                let entry = ring.find(source).expect("it is there");
                assert_eq!(ring.get(entry), Some((source, last)));
                assert_eq!(ring.last(entry), Some(last));
            }
            assert!(ring.len() > 0 || ring.has_empty_index());
        }
    }

    #[test]
    fn any_eight_steps_agree_with_a_list() {
        let mut steps = vec![Step::RemoveHead];
        for number in 0..4 {
            steps.extend([Step::Add(number), Step::Touch(number), Step::Remove(number)]);
        }
        for homes in HOMES {
            let ring = Ring::new(3, homes);
            let start = Both {
                ring,
                plain: Vec::new(),
                now: 0,
            };
            let key = |both: &Both| both.ring.anatomy();
            let states = explore(start, &steps, 8, key, Both::step);
            assert!(states > 1_000, "{states} states");
        }
    }
}
