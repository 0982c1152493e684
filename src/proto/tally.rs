//! Counts per source: looked up, never searched for.

use super::source::Source;
use std::collections::HashMap;

/// A count for each source; a missing one is 0. It grows no larger than the table it counts for: a source whose
/// count is 0 again is removed.
#[derive(Default)]
pub struct Tally {
    // std's hasher has a random key, so outsiders can't choose sources that collide.
    counts: HashMap<Source, usize>,
}

impl Tally {
    /// The count of a source.
    pub fn get(&self, source: Source) -> usize {
        self.counts.get(&source).copied().unwrap_or_default()
    }

    /// Sets the count of a source.
    pub fn set(&mut self, source: Source, count: usize) {
        if count == 0 {
            self.counts.remove(&source);
        } else {
            self.counts.insert(source, count);
        }
    }

    /// Counts one more for a source.
    pub fn add(&mut self, source: Source) {
        self.set(source, self.get(source) + 1);
    }

    /// Counts one less for a source.
    pub fn take(&mut self, source: Source) {
        self.set(source, self.get(source) - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_nothing_is_not_remembered() {
        let source = |number: u8| Source::of([192, 0, 2, number].into());
        let mut tally = Tally::default();
        tally.set(source(1), 2);
        tally.add(source(2));
        tally.take(source(1));
        assert_eq!((tally.get(source(1)), tally.get(source(3))), (1, 0));
        tally.take(source(1));
        assert_eq!((tally.get(source(1)), tally.counts.len()), (0, 1));
    }
}
