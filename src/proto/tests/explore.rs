//! Small scope, exhaustively: every sequence of a few operations, for the tests beside small structures.
//!
//! A state that was seen before has no other future the second time. So it is followed once, and a depth that would
//! take 10^11 steps takes some hundred thousand. That is sound as long as the key of a state has all of it.

use core::fmt::Debug;
use core::hash::{BuildHasher, Hash, Hasher};
use std::collections::HashSet;

/// The operations that led to a state. They are printed if the test fails.
struct Path<'a, O: Debug>(&'a [O], O);

impl<O: Debug> Drop for Path<'_, O> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {:?}, then {:?}", self.0, self.1);
        }
    }
}

/// Takes every sequence of up to `depth` operations from a state on. Returns how many states there are.
pub fn explore<S: Clone, K: Eq + Hash, O: Copy + Debug>(
    start: S,
    operations: &[O],
    depth: usize,
    key: impl Fn(&S) -> K,
    step: impl Fn(&mut S, O),
) -> usize {
    let mut known = HashSet::from([key(&start)]);
    let mut level = vec![(start, Vec::new())];
    for left in (0..depth).rev() {
        let mut next = Vec::new();
        for (state, path) in level {
            for &operation in operations {
                let failing = Path(&path, operation);
                let mut state = state.clone();
                step(&mut state, operation);
                drop(failing);
                if known.insert(key(&state)) && left > 0 {
                    let mut path = path.clone();
                    path.push(operation);
                    next.push((state, path));
                }
            }
        }
        println!("{left} to go: {} states", known.len());
        level = next;
    }
    known.len()
}

/// Chooses the place in an index for each of four sources, so that they are in each other's way: apart, all at
/// one, around the end, and in pairs.
pub const HOMES: [Homes; 4] = [
    Homes([0, 2, 4, 6]),
    Homes([7, 7, 7, 7]),
    Homes([6, 7, 0, 6]),
    Homes([7, 0, 7, 0]),
];

/// Hashes a source by the last byte of its address.
#[derive(Clone, Copy, Debug)]
pub struct Homes([u64; 4]);

pub struct Home {
    homes: [u64; 4],
    last: u8,
}

impl BuildHasher for Homes {
    type Hasher = Home;

    fn build_hasher(&self) -> Home {
        Home {
            homes: self.0,
            last: 0,
        }
    }
}

impl Hasher for Home {
    fn write(&mut self, bytes: &[u8]) {
        // The address, not its length or a port.
        if let [.., last] = bytes
            && bytes.len() == 16
        {
            self.last = *last;
        }
    }

    fn finish(&self) -> u64 {
        self.homes[usize::from(self.last) % self.homes.len()]
    }
}
