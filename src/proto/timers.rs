//! At most one deadline per entry of a table, the earliest first.
//!
//! A binary heap that knows the place of each slot: setting, clearing and taking a due entry take time
//! logarithmic in the number of deadlines. A heap that keeps stale entries would be shorter, but a flood at
//! traps would leave 30 s of them behind.

use super::table::Id;
use super::time::Instant;

/// The place of a slot without a deadline.
const NOWHERE: u32 = u32::MAX;

/// The deadlines of a table of `T`.
pub struct Timers<T> {
    /// A heap: no deadline is earlier than the one at half its place.
    heap: Vec<(Instant, Id<T>)>,
    /// The place in the heap, by slot.
    places: Vec<u32>,
}

impl<T> Timers<T> {
    /// Without deadlines.
    pub fn new() -> Self {
        Self {
            heap: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Sets an entry's deadline, replacing the old one; None removes it.
    pub fn set(&mut self, id: Id<T>, deadline: Option<Instant>) {
        match (deadline, self.place(id)) {
            (Some(deadline), Some(place)) => {
                self.heap[place] = (deadline, id);
                self.restore(place);
            }
            (Some(deadline), None) => {
                if self.places.len() <= id.slot() {
                    self.places.resize(id.slot() + 1, NOWHERE);
                }
                self.heap.push((deadline, id));
                self.restore(self.heap.len() - 1);
            }
            (None, Some(place)) => {
                self.heap.swap_remove(place);
                self.places[id.slot()] = NOWHERE;
                if place < self.heap.len() {
                    self.restore(place);
                }
            }
            (None, None) => {}
        }
    }

    /// Sets an entry's deadline if it has none or a later one. Postponing a deadline then costs nothing: when
    /// the old one is over, its owner checks for the current one.
    pub fn bring_forward(&mut self, id: Id<T>, deadline: Instant) {
        let known = self.place(id).map(|place| self.heap[place].0);
        if known.is_none_or(|known| deadline < known) {
            self.set(id, Some(deadline));
        }
    }

    /// The earliest deadline.
    pub fn soonest(&self) -> Option<Instant> {
        self.heap.first().map(|&(deadline, _)| deadline)
    }

    /// An entry whose deadline is over, earliest first. The deadline is removed.
    pub fn next_due(&mut self, now: Instant) -> Option<Id<T>> {
        let &(deadline, id) = self.heap.first()?;
        (deadline <= now).then(|| {
            self.set(id, None);
            id
        })
    }

    fn place(&self, id: Id<T>) -> Option<usize> {
        let place = *self.places.get(id.slot())?;
        (place != NOWHERE).then_some(place as usize)
    }

    /// Moves the one entry that may be out of order to its place.
    fn restore(&mut self, mut place: usize) {
        while place > 0 && self.comes_first(place, (place - 1) / 2) {
            self.heap.swap(place, (place - 1) / 2);
            self.note(place);
            place = (place - 1) / 2;
        }
        while let Some(child) = self.first_child(place)
            && self.comes_first(child, place)
        {
            self.heap.swap(place, child);
            self.note(place);
            place = child;
        }
        self.note(place);
    }

    fn note(&mut self, place: usize) {
        let slot = self.heap[place].1.slot();
        self.places[slot] = place as u32;
    }

    fn first_child(&self, place: usize) -> Option<usize> {
        let (left, right) = (2 * place + 1, 2 * place + 2);
        if right < self.heap.len() && self.comes_first(right, left) {
            return Some(right);
        }
        (left < self.heap.len()).then_some(left)
    }

    /// Equal deadlines are ordered by slot.
    fn comes_first(&self, one: usize, other: usize) -> bool {
        let key = |place: usize| {
            let (deadline, id) = self.heap[place];
            (deadline, id.slot())
        };
        key(one) < key(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(slot: usize) -> Id<()> {
        Id::from_bits(slot as u32)
    }

    /// The same as a list that is searched from end to end.
    #[derive(Default)]
    struct Oracle(Vec<(Instant, usize)>);

    impl Oracle {
        fn set(&mut self, slot: usize, deadline: Option<Instant>) {
            self.0.retain(|&(_, other)| other != slot);
            self.0.extend(deadline.map(|deadline| (deadline, slot)));
        }

        fn next_due(&mut self, now: Instant) -> Option<usize> {
            let soonest = *self.0.iter().min()?;
            (soonest.0 <= now).then(|| {
                self.set(soonest.1, None);
                soonest.1
            })
        }
    }

    #[test]
    fn the_soonest_is_due_first_and_only_once() {
        let mut timers = Timers::new();
        for (slot, deadline) in [(0, 30), (1, 10), (2, 20), (3, 10)] {
            timers.set(id(slot), Some(Instant(deadline)));
        }
        timers.set(id(2), None);
        timers.set(id(0), Some(Instant(5)));
        assert_eq!(timers.next_due(Instant(4)), None);
        let due: Vec<usize> = core::iter::from_fn(|| timers.next_due(Instant(100)))
            .map(Id::slot)
            .collect();
        assert_eq!(due, [0, 1, 3]);
        assert_eq!(timers.soonest(), None);
    }

    proptest! {
        #[test]
        fn it_does_what_a_list_does(
            steps in prop::collection::vec((0..12usize, prop::option::of(0..40u64), 0..40u64), 0..200),
        ) {
            let (mut timers, mut oracle) = (Timers::new(), Oracle::default());
            for (slot, deadline, now) in steps {
                let deadline = deadline.map(Instant);
                timers.set(id(slot), deadline);
                oracle.set(slot, deadline);
                let soonest = oracle.0.iter().min().map(|&(deadline, _)| deadline);
                prop_assert_eq!(timers.soonest(), soonest);
                let due = timers.next_due(Instant(now)).map(Id::slot);
                prop_assert_eq!(due, oracle.next_due(Instant(now)));
            }
        }
    }
}
