//! What is counted for each source that has something of ours: looked up, never searched for.

use crate::scheme::source::Source;
use std::collections::HashMap;

/// A value for each source; whoever is not there has the default one. As large as the tables that it counts
/// for, because a source without a session or a trap is not in it.
pub struct Sources<V> {
    // std's hasher has a random key, so nobody outside can choose sources that collide.
    values: HashMap<Source, V>,
}

impl<V: Copy + Default + PartialEq> Sources<V> {
    /// Nobody has anything.
    pub fn new() -> Self {
        Self {
            values: HashMap::new(),
        }
    }

    /// What a source has.
    pub fn get(&self, source: Source) -> V {
        self.values.get(&source).copied().unwrap_or_default()
    }

    /// Changes what a source has.
    pub fn change(&mut self, source: Source, change: impl FnOnce(&mut V)) {
        let value = self.values.entry(source).or_default();
        change(value);
        if *value == V::default() {
            self.values.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_nothing_is_not_remembered() {
        let source = |number: u8| Source::of([192, 0, 2, number].into());
        let mut sources = Sources::<u8>::new();
        sources.change(source(1), |count| *count += 2);
        sources.change(source(2), |count| *count += 1);
        sources.change(source(1), |count| *count -= 1);
        assert_eq!((sources.get(source(1)), sources.get(source(3))), (1, 0));
        sources.change(source(1), |count| *count -= 1);
        assert_eq!((sources.get(source(1)), sources.values.len()), (0, 1));
    }
}
