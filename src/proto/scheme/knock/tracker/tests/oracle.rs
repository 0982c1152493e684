//! Compares the tracker with a slow and plain one.

use super::*;
use proptest::prelude::*;

/// Somebody whom the oracle knows: when they last began or completed a sequence, and their positions.
#[derive(Clone)]
pub struct Plain {
    pub who: (u32, u16),
    last: u64,
    places: Vec<(Which, usize, u64)>,
}

/// The tracker again, slow and plain: lists that are searched from end to end.
#[derive(Clone)]
pub struct Oracle {
    rules: Rules,
    capacity: usize,
    /// By source, where the port is 0; and by source and port.
    pub knockers: [Vec<Plain>; 2],
    pub locked: Vec<(u32, u64)>,
    all_since: Option<u64>,
    used: Vec<Which>,
}

impl Oracle {
    pub fn new(rules: Rules, capacity: usize) -> Self {
        Self {
            rules,
            capacity,
            knockers: [Vec::new(), Vec::new()],
            locked: Vec::new(),
            all_since: None,
            used: Vec::new(),
        }
    }

    fn expire(&mut self, now: u64) {
        let keep = self.rules.timeout_ms.max(self.rules.echo_ms);
        let lock = self.rules.lock.map_or(0, |lock| lock.ms);
        for knockers in &mut self.knockers {
            knockers.retain(|plain| now < plain.last + keep);
        }
        self.locked.retain(|(_, since)| now < since + lock);
        self.all_since = self.all_since.filter(|since| now < since + lock);
    }

    pub fn knock(
        &mut self,
        (source, port): (u32, u16),
        hop: Hop,
        sequences: &Sequences,
        now: u64,
    ) -> KnockAnswer {
        self.expire(now);
        if self.all_since.is_some() || self.locked.iter().any(|(other, _)| *other == source) {
            return KnockAnswer::Ignored;
        }
        let used = self.used.clone();
        let answers = [
            self.count(0, (source, 0), &used, hop, sequences, now),
            self.count(1, (source, port), &used, hop, sequences, now),
        ];
        let best = [
            |answer: &KnockAnswer| matches!(answer, KnockAnswer::Passed(_)),
            |answer: &KnockAnswer| matches!(answer, KnockAnswer::Used(_)),
            |answer: &KnockAnswer| matches!(answer, KnockAnswer::Waiting { .. }),
            |answer: &KnockAnswer| matches!(answer, KnockAnswer::Wrong { .. }),
            |answer: &KnockAnswer| matches!(answer, KnockAnswer::Again),
        ];
        let of = |is_it: fn(&KnockAnswer) -> bool| answers.iter().filter(move |it| is_it(it));
        let found = best.into_iter().find(|&is_it| of(is_it).next().is_some());
        let answer = match found {
            None => KnockAnswer::Nothing,
            Some(is_it) => {
                let farther = |answer: &&KnockAnswer| match answer {
                    KnockAnswer::Waiting { position } | KnockAnswer::Wrong { position } => {
                        *position
                    }
                    _ => 0,
                };
                // Of two alike the first.
                *of(is_it).rev().max_by_key(farther).unwrap()
            }
        };
        if let KnockAnswer::Wrong { .. } = answer {
            match self.rules.lock.map(|lock| lock.scope) {
                None => {}
                Some(Scope::All) => self.all_since = Some(now),
                Some(Scope::Source) => {
                    if self.locked.len() == self.capacity {
                        self.locked.remove(0);
                    }
                    self.locked.push((source, now));
                }
            }
        }
        answer
    }

    /// Counts a knock in one of the lists. `used` are the sequences that had opened the door before it.
    fn count(
        &mut self,
        list: usize,
        who: (u32, u16),
        used: &[Which],
        hop: Hop,
        sequences: &Sequences,
        now: u64,
    ) -> KnockAnswer {
        let knockers = &mut self.knockers[list];
        let of = |which: Which| sequences.iter().find(|one| one.which == which);
        let at = knockers.iter().position(|one| one.who == who);
        let mut plain = match at {
            Some(at) => knockers.remove(at),
            None => Plain {
                who,
                last: now,
                places: Vec::new(),
            },
        };
        plain
            .places
            .retain(|&(which, _, end)| now < end && of(which).is_some());
        let done = |which: Which| {
            let place = plain.places.iter().find(|place| place.0 == which);
            place.map_or(0, |place| place.1)
        };
        let nexts: Vec<&Sequence> = sequences
            .iter()
            .filter(|one| one.hops.get(done(one.which)) == Some(&hop))
            .collect();
        let completes: Vec<Which> = nexts
            .iter()
            .filter(|one| done(one.which) + 1 == one.hops.len())
            .map(|one| one.which)
            .collect();
        let is_behind = sequences
            .iter()
            .any(|one| one.hops[..done(one.which)].contains(&hop));
        // Among several that are complete, one that has not opened the door before.
        let first = completes.iter().find(|which| !used.contains(which));

        let mut renews = false;
        let answer;
        if let Some(&which) = first.or(completes.last()) {
            answer = if self.rules.is_once && self.used.contains(&which) {
                KnockAnswer::Used(which)
            } else {
                KnockAnswer::Passed(which)
            };
            if self.rules.is_once {
                self.used.push(which);
            }
            let length = of(which).unwrap().hops.len();
            plain.places = vec![(which, length, now + self.rules.echo_ms)];
            renews = true;
        } else if !nexts.is_empty() {
            let mut farthest = 0;
            for next in nexts {
                let found = plain.places.iter_mut().find(|place| place.0 == next.which);
                let position = match found {
                    Some(place) => {
                        place.1 += 1;
                        place.1
                    }
                    None => {
                        let end = now + self.rules.timeout_ms;
                        plain.places.push((next.which, 1, end));
                        renews = true;
                        1
                    }
                };
                farthest = farthest.max(position);
            }
            answer = waiting(farthest);
        } else if is_behind {
            answer = KnockAnswer::Again;
        } else {
            let within = |place: &(Which, usize, u64)| place.1 < of(place.0).unwrap().hops.len();
            let is_watched = self.rules.range.is_some_and(|all| all.contains(hop.port))
                || sequences
                    .iter()
                    .any(|one| one.hops.iter().any(|other| other.port == hop.port));
            let farthest = plain
                .places
                .iter()
                .filter(|place| within(place))
                .map(|place| place.1)
                .max();
            match farthest.filter(|_| is_watched) {
                None => answer = KnockAnswer::Nothing,
                Some(position) => {
                    answer = wrong(position);
                    plain.places.retain(|place| !within(place));
                }
            }
        }

        if plain.places.is_empty() {
            return answer;
        }
        match at.filter(|_| !renews) {
            Some(at) => knockers.insert(at, plain),
            None => {
                if knockers.len() == self.capacity {
                    knockers.remove(0);
                }
                plain.last = now;
                knockers.push(plain);
            }
        }
        answer
    }
}

/// Sequences of two or three knocks at six ports, so that they share ports; minutes end.
fn any_sequences(minute: u64) -> Sequences {
    let texts = [
        "1,2,3",
        "4,2:udp,1",
        "2,3",
        "5,1,5",
        "3,4,6",
        "1,6",
        "6,5:udp,4",
        "2,6:udp,1",
        "5,2,3",
    ];
    (minute..minute + 3)
        .map(|minute| Sequence {
            which: Which::Minute(minute),
            hops: parse_sequence(texts[minute as usize % texts.len()]).unwrap(),
        })
        .collect()
}

proptest! {
    /// After any knocks the tracker agrees with plain lists; a long wait leaves nothing behind.
    #[test]
    fn agrees_with_plain_lists(
        steps in prop::collection::vec(
            (0u32..7, 1u16..8, any::<bool>(), prop_oneof![0u64..500, 0u64..6_000], 0u8..30, 1u16..4),
            1..600,
        ),
        capacity in 1usize..6,
        timeout_ms in 1_000u64..16_000,
        echo_ms in 500u64..=KNOCK_ECHO_MS,
        lock in prop::option::weighted(0.6, (500u64..20_000, any::<bool>())),
        is_once: bool,
        is_ranged: bool,
        ports in 1u16..4,
    ) {
        let lock = lock.map(|(ms, all)| Lock {
            ms,
            scope: if all { Scope::All } else { Scope::Source },
        });
        let range = if is_ranged { Range::new(1, 7) } else { None };
        let rules = Rules { timeout_ms, echo_ms, lock, is_once, range };
        let mut tracker = Tracker::new(capacity, rules, RandomState::new());
        let mut oracle = Oracle::new(rules, capacity);
        let (mut now, mut minute) = (0, 0);
        for (number, port, is_udp, wait, event, from) in steps {
            let from = from.min(ports);
            now += wait;
            if event == 0 {
                minute += 1;
            }
            let all = any_sequences(minute);
            // Half of the knocks are right for a source that is on the way.
            let protocol = if is_udp && event % 2 == 1 { Protocol::Udp } else { Protocol::Tcp };
            let mut hop = Hop { port, protocol };
            if event > 14 {
                let one = &all[usize::from(event) % 3];
                // By either count.
                let who = (number, if is_udp { 0 } else { from });
                let mut plain = oracle.knockers.iter().flatten();
                let plain = plain.find(|plain| plain.who == who);
                let place = plain.and_then(|plain| {
                    plain.places.iter().find(|place| place.0 == one.which)
                });
                let done = place.map_or(0, |place| place.1);
                hop = *one.hops.get(done).unwrap_or(&hop);
            }
            let got = tracker.knock(source(number), from, hop, &all, Instant(now));
            prop_assert_eq!(got, oracle.knock((number, from), hop, &all, now), "at {}", now);
            prop_assert_eq!(tracker.locked(), oracle.locked.len());
            let rings = [&tracker.by_source.ring, &tracker.by_port.ring];
            for (ring, plain) in rings.into_iter().zip(&oracle.knockers) {
                let order: Vec<Source> = ring.iter().map(|(_, who, _)| who).collect();
                let plain: Vec<Source> = plain.iter().map(|plain| source(plain.who.0)).collect();
                prop_assert_eq!(order, plain);
            }
        }
        // Each reported deadline ends something, until nothing is left.
        let mut ends = 0;
        while let Some(next) = tracker.next_deadline() {
            prop_assert!(next > Instant(now));
            let count = |tracker: &Tracker<RandomState>| {
                let counted = (tracker.len(), tracker.by_port.ring.len());
                (counted, tracker.locked(), tracker.all_locked_until())
            };
            let before = count(&tracker);
            tracker.expire(next);
            prop_assert_ne!(before, count(&tracker));
            now = next.0;
            ends += 1;
        }
        prop_assert!(ends <= 3 * capacity + 1);
        for ring in [&tracker.by_source.ring, &tracker.by_port.ring, &tracker.locked] {
            prop_assert!(ring.len() == 0 && ring.has_empty_index());
        }
    }
}
