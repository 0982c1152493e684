//! The simulator: long walks of whatever can happen, each from a seed. Clocks step, packets are lost, doubled and
//! reordered, descriptors run out, disks are full, commands fail, and the daemon is killed between any two effects.
//! Its files outlive it, and so does what its commands have opened.
//!
//! After each step both sides agree (check.rs), and what visitors and members were promised holds (promises.rs).
//! Once all sessions have ended and all time has passed, nothing is left. Flaws are put into the shell one by one, and
//! each has to be found.
//!
//! `tests/simulate/run MINUTES` walks for longer. A failure prints its seed, and the command that repeats it.

mod configurations;
mod promises;
mod walk;

use super::flaw::Flaw;
use crate::proto::tests::simulation::{Simulator, find};
use walk::Walk;

const SIMULATOR: Simulator = Simulator {
    module: "server::tests::simulate",
    seeds: 200,
    walk: |seed| simulate(seed, None),
};

/// The most seeds that it takes to find a flaw.
const FLAW_SEEDS: u32 = 50;

/// Steps of a walk.
const STEPS: usize = 300;

/// A walk to its end. Every third is stopped instead.
fn simulate(seed: u32, flaw: Option<Flaw>) {
    let mut walk = Walk::new(seed.into(), flaw);
    walk.world.turn();
    walk.reload();
    if seed % 3 == 2 {
        for _ in 0..STEPS / 3 {
            walk.step();
        }
        walk.stop();
    } else {
        for _ in 0..STEPS {
            walk.step();
        }
        walk.end();
    }
}

#[test]
fn whatever_happens_the_promises_hold_and_nothing_is_left() {
    SIMULATOR.walk_all();
}

#[test]
fn every_flaw_is_found() {
    for flaw in Flaw::ALL {
        let name = format!("{flaw:?}");
        find(&name, flaw.sign(), FLAW_SEEDS, |seed| {
            simulate(seed, Some(flaw))
        });
    }
}

#[test]
fn once_more() {
    SIMULATOR.walk_once_more();
}

#[test]
#[ignore = "for as long as one likes: tests/simulate/run"]
fn on_and_on() {
    SIMULATOR.walk_on();
}
