//! What is counted for each source, mirage or process that has something of ours: looked up, never searched
//! for.

use core::hash::Hash;
use std::collections::HashMap;

/// A value for each key; a key that is not there has the default one. It is as large as the tables that it
/// counts for, because whoever has no entry in those is not in it.
pub struct Tally<K, V> {
    // std's hasher has a random key, so nobody outside can choose sources that collide.
    values: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Copy + Default + PartialEq> Tally<K, V> {
    /// Nobody has anything.
    pub fn new() -> Self {
        Self {
            values: HashMap::new(),
        }
    }

    /// What a key has.
    pub fn get(&self, key: &K) -> V {
        self.values.get(key).copied().unwrap_or_default()
    }

    /// Changes what a key has.
    pub fn change(&mut self, key: K, change: impl FnOnce(&mut V)) {
        let mut value = self.values.remove(&key).unwrap_or_default();
        change(&mut value);
        if value != V::default() {
            self.values.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::source::Source;

    #[test]
    fn whoever_has_nothing_is_not_remembered() {
        let source = |number: u8| Source::of([192, 0, 2, number].into());
        let mut tally = Tally::<Source, u8>::new();
        tally.change(source(1), |count| *count += 2);
        tally.change(source(2), |count| *count += 1);
        tally.change(source(1), |count| *count -= 1);
        assert_eq!((tally.get(&source(1)), tally.get(&source(3))), (1, 0));
        tally.change(source(1), |count| *count -= 1);
        assert_eq!((tally.get(&source(1)), tally.values.len()), (0, 1));
    }
}
