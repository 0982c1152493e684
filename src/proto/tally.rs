//! Counts per source, mirage or process: looked up, never searched for.

use core::hash::Hash;
use std::collections::HashMap;

/// A value for each key; a missing key has the default value. It grows no larger than the tables it counts
/// for: a key whose value is the default again is removed.
pub struct Tally<K, V> {
    // std's hasher has a random key, so outsiders can't choose sources that collide.
    values: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Copy + Default + PartialEq> Tally<K, V> {
    /// Empty: every key has the default value.
    pub fn new() -> Self {
        Self {
            values: HashMap::new(),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> V {
        self.values.get(key).copied().unwrap_or_default()
    }

    /// Changes the value of a key.
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
