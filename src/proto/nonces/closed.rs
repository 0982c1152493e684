//! Closed windows: a few runs of numbers, each in a place of its own, so that one change is one write.

use crate::limits::CLOSED_RUNS;

/// Windows from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub first: u64,
    pub last: u64,
}

impl Run {
    /// One window.
    pub fn of(window: u64) -> Self {
        Self {
            first: window,
            last: window,
        }
    }

    fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    fn joined(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// How many windows lie between two runs; none if they touch.
    fn gap(self, other: Self) -> u64 {
        let (low, high) = if self.first <= other.first {
            (self, other)
        } else {
            (other, self)
        };
        high.first.saturating_sub(low.last).saturating_sub(1)
    }
}

/// Closed windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed(pub [Option<Run>; CLOSED_RUNS]);

impl Closed {
    pub fn contains(&self, window: u64) -> bool {
        let mut runs = self.0.iter().flatten();
        runs.any(|run| run.first <= window && window <= run.last)
    }

    /// Closes windows. Tells each place that has changed, in the order in which a file may have them: no window is
    /// open in between that was closed before.
    pub fn insert(&mut self, mut run: Run, mut changed: impl FnMut(usize, Option<Run>)) {
        if self.0.iter().flatten().any(|known| known.contains(run)) {
            return;
        }
        let touching = |known: &Option<Run>| known.is_some_and(|known| known.gap(run) == 0);
        let touched: heapless::Vec<usize, CLOSED_RUNS> = (0..CLOSED_RUNS)
            .filter(|&at| touching(&self.0[at]))
            .collect();
        if let Some((&place, others)) = touched.split_first() {
            run = touched
                .iter()
                .filter_map(|&at| self.0[at])
                .fold(run, Run::joined);
            self.0[place] = Some(run);
            changed(place, Some(run));
            for &other in others {
                self.0[other] = None;
                changed(other, None);
            }
            return;
        }
        let free = self.0.iter().position(Option::is_none);
        if let Some(place) = free.or_else(|| self.join_nearest(run, &mut changed)) {
            self.0[place] = Some(run);
            changed(place, Some(run));
        }
    }

    /// Makes one run of two that are nearest to each other, where all places are taken. Returns the place that
    /// this frees, or None if the new run itself is part of another now.
    fn join_nearest(
        &mut self,
        new: Run,
        changed: &mut impl FnMut(usize, Option<Run>),
    ) -> Option<usize> {
        let runs = || {
            self.0
                .iter()
                .enumerate()
                .filter_map(|(at, run)| Some((at, (*run)?)))
        };
        let pairs = runs().flat_map(|(one, run)| {
            let others = runs().filter(move |(other, _)| one < *other);
            others.map(move |(other, known)| (run.gap(known), one, Some(other), run.joined(known)))
        });
        let with_new = runs().map(|(one, run)| (run.gap(new), one, None, run.joined(new)));
        let (_, one, other, joined) = pairs.chain(with_new).min_by_key(|(gap, ..)| *gap)?;
        self.0[one] = Some(joined);
        changed(one, Some(joined));
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn closed(windows: &[u64]) -> Closed {
        let mut closed = Closed::default();
        for &window in windows {
            closed.insert(Run::of(window), |_, _| {});
        }
        closed
    }

    #[test]
    fn windows_in_a_row_are_one_run() {
        let closed = closed(&[5, 7, 6, 8, 4]);
        assert_eq!(closed.0.iter().flatten().count(), 1);
        assert!((4..=8).all(|window| closed.contains(window)));
        assert!(!closed.contains(3) && !closed.contains(9));
    }

    #[test]
    fn where_there_is_no_place_the_nearest_become_one_and_the_far_ones_stay_apart() {
        let year = 525_600;
        let mut windows: Vec<u64> = (0..2 * CLOSED_RUNS as u64)
            .map(|day| 1_000 + day * 10)
            .collect();
        windows.insert(3, year);
        let closed = closed(&windows);
        assert!(windows.iter().all(|&window| closed.contains(window)));
        let now = windows.last().unwrap() + 1;
        assert!((now..year).all(|window| !closed.contains(window)));
    }

    proptest! {
        /// Whatever of the changes has reached the file, what was closed before is closed in it.
        #[test]
        fn nothing_opens_again(windows in proptest::collection::vec(0u64..200, 1..60)) {
            let mut closed = Closed::default();
            let mut file = Closed::default();
            for (count, &window) in windows.iter().enumerate() {
                let before = &windows[..count];
                closed.insert(Run::of(window), |place, run| {
                    file.0[place] = run;
                    assert!(before.iter().all(|&window| file.contains(window)));
                });
                prop_assert_eq!(closed, file);
                prop_assert!(closed.contains(window));
            }
        }
    }
}
