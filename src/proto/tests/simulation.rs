//! What simulators share: each walk has a seed, and a failure prints it. `tests/simulate/run` walks for longer.

use core::sync::atomic::{AtomicU32, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Says how a walk is repeated, if it fails.
struct Told<'a>(&'a str, u32);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(module, seed) = self;
            eprintln!(
                "seed {seed}; once more: SHIMMER_SEED={seed} cargo test --lib {module}::once_more"
            );
        }
    }
}

/// A kind of walks.
pub struct Simulator {
    /// The module of its tests.
    pub module: &'static str,
    /// The seeds below this are walked by each run of the tests.
    pub seeds: u32,
    /// A walk.
    pub walk: fn(u32),
}

impl Simulator {
    fn tell_and_walk(&self, seed: u32) {
        let told = Told(self.module, seed);
        (self.walk)(seed);
        drop(told);
    }

    /// Walks a few seeds.
    pub fn walk_all(&self) {
        (0..self.seeds).for_each(|seed| self.tell_and_walk(seed));
    }

    /// Walks the seed that the environment names.
    pub fn walk_once_more(&self) {
        if let Some(seed) = variable("SHIMMER_SEED") {
            self.tell_and_walk(seed);
        }
    }

    /// Walks further seeds for as many minutes as the environment says.
    pub fn walk_on(&self) {
        let minutes = variable("SHIMMER_MINUTES").unwrap_or(1);
        let first = variable("SHIMMER_SEED").unwrap_or(self.seeds);
        let next = AtomicU32::new(first);
        let begun = Instant::now();
        let end = begun + Duration::from_secs(60 * u64::from(minutes));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while Instant::now() < end {
                        self.tell_and_walk(next.fetch_add(1, Ordering::Relaxed));
                    }
                });
            }
        });
        let seeds = next.load(Ordering::Relaxed) - first;
        let rate = f64::from(seeds) / begun.elapsed().as_secs_f64();
        println!(
            "{}: {seeds} seeds from {first} on, {rate:.1} a second",
            self.module
        );
    }
}

/// A walk with a flaw has to fail by one of so many seeds, and to show this sign.
pub fn find(flaw: &str, sign: &str, seeds: u32, walk: impl Fn(u32)) {
    let failure = |seed| {
        let panic = catch_unwind(AssertUnwindSafe(|| walk(seed))).err()?;
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
    };
    let Some((seed, text)) = (0..seeds).find_map(|seed| Some((seed, failure(seed)?))) else {
        panic!("{flaw} is not found in {seeds} seeds");
    };
    println!("{flaw}: found by seed {seed}");
    assert!(text.contains(sign), "{flaw} shows otherwise: {text}");
}

/// A number from the environment.
fn variable(name: &str) -> Option<u32> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}
