//! A table of fixed size whose places are not given away again within the turn that freed them.
//!
//! The kernel tells of many events at once. While they are worked off, one may end what another is
//! about; if its place went to something new at once, the stale event would reach that.

/// The table. A place is its number.
pub struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
    dead: Vec<u32>,
    capacity: usize,
}

impl<T> Slab<T> {
    /// An empty table with so many places. Memory is allocated here and touched when it is used.
    pub fn new(capacity: usize) -> Self {
        Self {
            places: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            dead: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// Makes a place for more; never for fewer.
    pub fn grow(&mut self, capacity: usize) {
        if capacity > self.capacity {
            self.places.reserve_exact(capacity - self.places.len());
            self.free.reserve_exact(capacity - self.free.len());
            self.dead.reserve_exact(capacity - self.dead.len());
            self.capacity = capacity;
        }
    }

    /// The place that the next insertion takes. None when all are taken.
    pub fn vacancy(&self) -> Option<u32> {
        let fresh = (self.places.len() < self.capacity).then_some(self.places.len() as u32);
        self.free.last().copied().or(fresh)
    }

    /// Takes the place that [`Slab::vacancy`] has named.
    pub fn insert(&mut self, place: u32, value: T) {
        if self.free.last() == Some(&place) {
            self.free.pop();
            self.places[place as usize] = Some(value);
        } else {
            self.places.push(Some(value));
        }
    }

    /// What has this place.
    pub fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    /// Takes it out. The place is free after the next [`Slab::sweep`].
    pub fn remove(&mut self, place: u32) -> Option<T> {
        let value = self.places.get_mut(place as usize)?.take()?;
        self.dead.push(place);
        Some(value)
    }

    /// Gives the places away again that were freed in this turn.
    pub fn sweep(&mut self) {
        self.free.append(&mut self.dead);
    }

    /// How many places are taken.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len() - self.dead.len()
    }

    /// Everything in it.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..)
            .zip(&self.places)
            .filter_map(|(place, value)| Some((place, value.as_ref()?)))
    }

    /// Everything in it, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        (0..)
            .zip(&mut self.places)
            .filter_map(|(place, value)| Some((place, value.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(slab: &mut Slab<char>, value: char) -> Option<u32> {
        let place = slab.vacancy()?;
        slab.insert(place, value);
        Some(place)
    }

    #[test]
    fn a_freed_place_is_given_away_in_the_next_turn_only() {
        let mut slab = Slab::new(2);
        let first = put(&mut slab, 'a').unwrap();
        put(&mut slab, 'b').unwrap();
        assert_eq!(put(&mut slab, 'c'), None);
        assert_eq!(slab.remove(first), Some('a'));
        assert_eq!(slab.remove(first), None);
        assert_eq!(put(&mut slab, 'c'), None);
        slab.sweep();
        assert_eq!(put(&mut slab, 'c'), Some(first));
        assert_eq!(slab.len(), 2);
        assert_eq!(slab.get_mut(first), Some(&mut 'c'));
    }

    #[test]
    fn it_grows_and_keeps_what_it_has() {
        let mut slab = Slab::new(1);
        put(&mut slab, 'a').unwrap();
        slab.grow(2);
        slab.grow(1);
        assert_eq!(put(&mut slab, 'b'), Some(1));
        assert_eq!(
            slab.iter().map(|(place, _)| place).collect::<Vec<_>>(),
            [0, 1]
        );
    }
}
