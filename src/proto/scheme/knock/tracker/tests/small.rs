//! Every sequence of a few knocks of four sources, where there is room for three, beside the plain lists: eight
//! knocks of one sequence, and fewer of two that share ports, for each of those makes eleven times as many states.

use super::oracle::Oracle;
use super::*;
use crate::proto::tests::explore::{HOMES, Homes, explore};

/// A knock by a source, from a port, at a port; or the time of a sequence passes by half.
#[derive(Clone, Copy, Debug)]
enum Small {
    Knock(u32, u16, u16),
    Wait,
}

#[derive(Clone)]
struct Both {
    tracker: Tracker<Homes>,
    oracle: Oracle,
    now: u64,
}

impl Both {
    fn step(&mut self, step: Small, all: &Sequences) {
        let Small::Knock(number, from, port) = step else {
            self.now += TIMEOUT_MS / 2;
            return;
        };
        let got = self
            .tracker
            .knock(source(number), from, tcp(port), all, Instant(self.now));
        let expected = self.oracle.knock((number, from), tcp(port), all, self.now);
        assert_eq!(got, expected);
        assert_eq!(self.tracker.locked(), self.oracle.locked.len());
        let rings = [&self.tracker.by_source.ring, &self.tracker.by_port.ring];
        for (ring, plain) in rings.into_iter().zip(&self.oracle.knockers) {
            let order = ring.iter().map(|(_, who, _)| who);
            assert!(order.eq(plain.iter().map(|plain| source(plain.who.0))));
        }
    }

    /// All that its future depends on. Of times, how long ago they are.
    fn key(&self) -> impl Eq + core::hash::Hash + use<> {
        let now = Instant(self.now);
        let knockers = [&self.tracker.by_source, &self.tracker.by_port].map(|it| {
            let of = |(entry, _, last): (u16, _, Instant)| {
                let places = it.places[usize::from(entry)].iter();
                let places = places.map(|it| (it.which, it.position, it.end.since(now)));
                (now.since(last), places.collect::<Vec<_>>())
            };
            let all: Vec<_> = it.ring.iter().map(of).collect();
            (it.ring.anatomy(), all, it.places.len())
        });
        let Tracker {
            locked,
            all_since,
            used,
            ..
        } = &self.tracker;
        let ages: Vec<_> = locked.iter().map(|(_, _, last)| now.since(last)).collect();
        let all_since = all_since.map(|since| now.since(since));
        (knockers, (locked.anatomy(), ages), all_since, used.to_vec())
    }
}

/// Takes all sequences of so many knocks of four sources, which come from so many ports and go to the ports of these
/// sequences.
fn agree(sequences: &[&str], from_ports: u16, depth: usize) {
    let all = minutes(sequences);
    let mut to_ports: Vec<u16> = all
        .iter()
        .flat_map(|it| &it.hops)
        .map(|hop| hop.port)
        .collect();
    to_ports.sort_unstable();
    to_ports.dedup();
    let mut steps = vec![Small::Wait];
    for number in 0..4 {
        for from in 1..=from_ports {
            steps.extend(
                to_ports
                    .iter()
                    .map(|&port| Small::Knock(number, from, port)),
            );
        }
    }
    let lock = |scope| {
        Some(Lock {
            ms: TIMEOUT_MS,
            scope,
        })
    };
    let locks = [
        (lock(Scope::Source), false),
        (None, true),
        (lock(Scope::All), false),
    ];
    for (homes, (lock, is_once)) in HOMES.into_iter().zip(locks) {
        let rules = Rules {
            lock,
            is_once,
            ..RULES
        };
        let start = Both {
            tracker: Tracker::new(3, rules, homes),
            oracle: Oracle::new(rules, 3),
            now: 0,
        };
        let states = explore(start, &steps, depth, Both::key, |both, step| {
            both.step(step, &all)
        });
        assert!(states > 1_000);
    }
}

#[test]
fn any_few_knocks_agree_with_plain_lists() {
    agree(&["1,2"], 1, 8);
    agree(&["1,2", "2,1,3"], 2, 3);
}

#[test]
#[ignore = "takes minutes: tests/simulate/run"]
fn any_four_knocks_of_two_sequences_agree_with_plain_lists() {
    agree(&["1,2", "2,1,3"], 2, 4);
}
