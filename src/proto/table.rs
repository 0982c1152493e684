//! A table of fixed size, with ids that never name the wrong entry.
//!
//! The kernel reports many events at once. While they are handled, one may end the entry that another is about.
//! An id consists of a slot and of how often the slot was used before. So the later event finds nothing, and
//! the slot can be reused at once. If a generation wraps within one batch of events, the new owner gets one
//! spurious event, which is legal.

use core::fmt;
use core::marker::PhantomData;

const SLOT_BITS: u32 = 17;
const GENERATION_BITS: u32 = 11;

/// The number of bits in an id.
pub const ID_BITS: u32 = SLOT_BITS + GENERATION_BITS;

/// The most slots that a table can have.
pub const MOST_SLOTS: usize = 1 << SLOT_BITS;

/// Names one entry of a table of `T` for as long as it exists.
pub struct Id<T> {
    bits: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    fn new(slot: usize, generation: u32) -> Self {
        Self::from_bits((generation << SLOT_BITS) | slot as u32)
    }

    /// The inverse of [`Id::bits`].
    pub fn from_bits(bits: u32) -> Self {
        Self {
            bits: bits & ((1 << ID_BITS) - 1),
            of: PhantomData,
        }
    }

    /// The id as [`ID_BITS`] bits.
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// Its slot, which other entries may use before and after it.
    pub fn slot(self) -> usize {
        (self.bits & ((1 << SLOT_BITS) - 1)) as usize
    }

    fn generation(self) -> u32 {
        self.bits >> SLOT_BITS
    }
}

// Derived, these would require the same of `T`.
impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl<T> Eq for Id<T> {}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Id")
            .field("slot", &self.slot())
            .field("generation", &self.generation())
            .finish()
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A table of fixed size.
pub struct Table<T> {
    slots: Vec<Slot<T>>,
    /// Last in, first out, so that the used memory stays small.
    free: Vec<usize>,
    capacity: usize,
}

/// A free slot of a table.
pub struct Vacant<'table, T> {
    table: &'table mut Table<T>,
    id: Id<T>,
}

impl<T> Table<T> {
    /// An empty table of at most [`MOST_SLOTS`] slots. Memory is allocated here, but first touched when used.
    pub fn new(capacity: usize) -> Self {
        let mut table = Self {
            slots: Vec::new(),
            free: Vec::new(),
            capacity: 0,
        };
        table.grow(capacity);
        table
    }

    /// Makes room for more entries. It never shrinks.
    pub fn grow(&mut self, capacity: usize) {
        let capacity = capacity.min(MOST_SLOTS);
        if capacity > self.capacity {
            self.slots.reserve_exact(capacity - self.slots.len());
            self.free.reserve_exact(capacity - self.free.len());
            self.capacity = capacity;
        }
    }

    /// A free slot; None if all are taken.
    pub fn vacancy(&mut self) -> Option<Vacant<'_, T>> {
        let (slot, generation) = match self.free.last() {
            Some(&slot) => (slot, self.slots[slot].generation),
            None if self.slots.len() < self.capacity => (self.slots.len(), 0),
            None => return None,
        };
        let id = Id::new(slot, generation);
        Some(Vacant { table: self, id })
    }

    /// The entry with this id.
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        let slot = self.slots.get(id.slot())?;
        slot.value
            .as_ref()
            .filter(|_| slot.generation == id.generation())
    }

    /// The entry with this id, mutable.
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.slot())?;
        slot.value
            .as_mut()
            .filter(|_| slot.generation == id.generation())
    }

    /// Removes an entry. Its id names nothing from now on.
    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        let slot = self.slots.get_mut(id.slot())?;
        if slot.generation != id.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & ((1 << GENERATION_BITS) - 1);
        self.free.push(id.slot());
        Some(value)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All entries, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.iter_from(0)
    }

    /// The entries from this slot on.
    pub fn iter_from(&self, first: usize) -> impl Iterator<Item = (Id<T>, &T)> {
        let slots = self.slots.iter().enumerate().skip(first);
        slots.filter_map(|(number, slot)| {
            let id = Id::new(number, slot.generation);
            Some((id, slot.value.as_ref()?))
        })
    }

    /// All entries, mutable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id<T>, &mut T)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(number, slot)| {
            let id = Id::new(number, slot.generation);
            Some((id, slot.value.as_mut()?))
        })
    }
}

impl<T> Vacant<'_, T> {
    /// The id that the new entry will have.
    pub fn id(&self) -> Id<T> {
        self.id
    }

    /// Fills the slot.
    pub fn insert(self, value: T) -> Id<T> {
        let Self { table, id } = self;
        match table.slots.get_mut(id.slot()) {
            Some(slot) => {
                table.free.pop();
                slot.value = Some(value);
            }
            None => table.slots.push(Slot {
                generation: id.generation(),
                value: Some(value),
            }),
        }
        id
    }
}

/// Values that a caller stores for entries of a table of `T`, by their ids.
#[derive(Debug)]
pub struct Beside<T, V> {
    slots: Vec<Option<(Id<T>, V)>>,
}

impl<T, V> Default for Beside<T, V> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<T, V> Beside<T, V> {
    /// Stores a value for an entry. It replaces what was stored for this or an earlier entry of the slot.
    pub fn insert(&mut self, id: Id<T>, value: V) {
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, || None);
        }
        self.slots[id.slot()] = Some((id, value));
    }

    /// The value stored for an entry.
    pub fn get(&self, id: Id<T>) -> Option<&V> {
        let (owner, value) = self.slots.get(id.slot())?.as_ref()?;
        (*owner == id).then_some(value)
    }

    /// The value stored for an entry, mutable.
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut V> {
        let (owner, value) = self.slots.get_mut(id.slot())?.as_mut()?;
        (*owner == id).then_some(value)
    }

    /// Removes and returns the value stored for an entry.
    pub fn remove(&mut self, id: Id<T>) -> Option<V> {
        let slot = self.slots.get_mut(id.slot())?;
        slot.take_if(|(owner, _)| *owner == id)
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(table: &mut Table<char>, value: char) -> Option<Id<char>> {
        Some(table.vacancy()?.insert(value))
    }

    #[test]
    fn a_freed_slot_is_used_again_at_once_and_its_old_id_names_nothing() {
        let mut table = Table::new(2);
        let first = put(&mut table, 'a').unwrap();
        put(&mut table, 'b').unwrap();
        assert_eq!(put(&mut table, 'c'), None);
        assert_eq!(table.remove(first), Some('a'));
        assert_eq!(table.remove(first), None);
        let again = put(&mut table, 'c').unwrap();
        assert_eq!(again.slot(), first.slot());
        assert_ne!(again, first);
        assert_eq!(table.get(first), None);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(again), Some(&'c'));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_vacancy_that_is_not_used_takes_nothing() {
        let mut table = Table::new(1);
        let id = table.vacancy().unwrap().id();
        assert_eq!((table.len(), table.get(id)), (0, None));
        assert_eq!(put(&mut table, 'a'), Some(id));
        table.remove(id);
        let next = table.vacancy().unwrap().id();
        assert_eq!(put(&mut table, 'b'), Some(next));
    }

    #[test]
    fn an_id_is_the_one_that_its_bits_were_taken_of() {
        let mut table = Table::new(1);
        for _ in 0..3 << GENERATION_BITS {
            let id = put(&mut table, 'a').unwrap();
            assert!(id.bits() < 1 << ID_BITS);
            assert_eq!(Id::from_bits(id.bits()), id);
            table.remove(id);
        }
    }

    #[test]
    fn what_is_kept_beside_an_entry_ends_with_its_id() {
        let mut table = Table::new(1);
        let mut beside = Beside::default();
        let first = put(&mut table, 'a').unwrap();
        beside.insert(first, 1);
        table.remove(first);
        let next = put(&mut table, 'b').unwrap();
        assert_eq!(beside.get(next), None);
        assert_eq!(beside.get_mut(next), None);
        assert_eq!(beside.remove(next), None);
        beside.insert(next, 2);
        assert_eq!((beside.get(first), beside.get(next)), (None, Some(&2)));
        assert_eq!(beside.remove(first), None);
        assert_eq!(beside.remove(next), Some(2));
    }

    #[test]
    fn it_grows_and_keeps_what_it_has() {
        let mut table = Table::new(1);
        put(&mut table, 'a');
        table.grow(2);
        table.grow(1);
        assert!(put(&mut table, 'b').is_some() && put(&mut table, 'c').is_none());
        let slots: Vec<usize> = table.iter().map(|(id, _)| id.slot()).collect();
        assert_eq!(slots, [0, 1]);
        let behind: Vec<char> = table.iter_from(1).map(|(_, &value)| value).collect();
        assert_eq!(behind, ['b']);
    }
}
