use super::*;
use crate::limits::{KNOCK_ECHO_MS, KNOCK_TIMES, KNOCKERS, MAX_KNOCKS};
use crate::proto::scheme::knock::{Protocol, fixed, parse_sequence};
use core::net::{IpAddr, Ipv4Addr};
use std::hash::{BuildHasher, RandomState};

mod odds;
mod oracle;
mod small;

impl<H: BuildHasher> Tracker<H> {
    /// The number of sources in the middle of a sequence.
    fn len(&self) -> usize {
        self.by_source.ring.len()
    }

    /// The number of sources that are locked out.
    fn locked(&self) -> usize {
        self.locked.len()
    }
}

const TIMEOUT_MS: u64 = 15_000;

/// The port that a source knocks from, where that does not matter.
const PORT: u16 = 40_000;
const LOCK_MS: u64 = 300_000;

const RULES: Rules = Rules {
    timeout_ms: TIMEOUT_MS,
    echo_ms: KNOCK_ECHO_MS,
    lock: None,
    is_once: false,
    range: None,
};

fn tracker(rules: Rules) -> Tracker<RandomState> {
    Tracker::new(8, rules, RandomState::new())
}

fn locking(scope: Scope) -> Tracker<RandomState> {
    let lock = Some(Lock { ms: LOCK_MS, scope });
    tracker(Rules { lock, ..RULES })
}

fn source(number: u32) -> Source {
    Source::of(IpAddr::V4(Ipv4Addr::from(number)))
}

fn tcp(port: u16) -> Hop {
    Hop {
        port,
        protocol: Protocol::Tcp,
    }
}

fn opens(text: &str) -> Sequences {
    fixed(&parse_sequence(text).unwrap(), None)
}

/// The sequences of minutes 0, 1, …, one for each text.
fn minutes(texts: &[&str]) -> Sequences {
    let minute = |(minute, text): (u64, &&str)| Sequence {
        which: Which::Minute(minute),
        hops: parse_sequence(text).unwrap(),
    };
    (0..).zip(texts).map(minute).collect()
}

/// The answers to these SYNs of source 1, sent every 100 ms from `start` on.
fn answers(
    tracker: &mut Tracker<RandomState>,
    sequences: &Sequences,
    from: u64,
    ports: &[u16],
) -> Vec<KnockAnswer> {
    let moments = (from..).step_by(100).zip(ports);
    moments
        .map(|(at, &port)| tracker.knock(source(1), PORT, tcp(port), sequences, Instant(at)))
        .collect()
}

fn waiting(position: usize) -> KnockAnswer {
    KnockAnswer::Waiting { position }
}

fn wrong(position: usize) -> KnockAnswer {
    KnockAnswer::Wrong { position }
}

const OPEN: KnockAnswer = KnockAnswer::Passed(Which::Open);

#[test]
fn a_sequence_passes_in_its_order() {
    let mut tracker = tracker(RULES);
    let all = opens("7000,8000,9000");
    let got = answers(&mut tracker, &all, 0, &[7000, 8000, 9000]);
    assert_eq!(got, [waiting(1), waiting(2), OPEN]);
    for ports in [[7000, 9000, 8000], [9000, 8000, 7000], [8000, 7000, 9000]] {
        let mut tracker = self::tracker(RULES);
        assert!(!answers(&mut tracker, &all, 0, &ports).contains(&OPEN));
    }
}

#[test]
fn a_sequence_of_one_knock_passes_at_once() {
    let mut tracker = tracker(RULES);
    assert_eq!(answers(&mut tracker, &opens("7000"), 0, &[7000]), [OPEN]);
}

#[test]
fn the_protocol_is_a_part_of_the_knock() {
    let mut tracker = tracker(RULES);
    let all = opens("7000:tcp,8000:udp");
    let got = answers(&mut tracker, &all, 0, &[7000, 8000]);
    assert_eq!(got, [waiting(1), wrong(1)]);
    let udp = Hop {
        port: 8000,
        protocol: Protocol::Udp,
    };
    answers(&mut tracker, &all, 1_000, &[7000]);
    let got = tracker.knock(source(1), PORT, udp, &all, Instant(1_100));
    assert_eq!(got, OPEN);
}

#[test]
fn sources_do_not_help_each_other() {
    let mut tracker = tracker(RULES);
    let all = opens("7000,8000");
    tracker.knock(source(1), PORT, tcp(7000), &all, Instant(0));
    let got = tracker.knock(source(2), PORT, tcp(8000), &all, Instant(1));
    assert_eq!(got, KnockAnswer::Nothing);
    let got = tracker.knock(source(1), PORT, tcp(8000), &all, Instant(2));
    assert_eq!(got, OPEN);
}

#[test]
fn a_sequence_is_complete_in_time_from_its_first_knock_or_not() {
    let all = opens("7000,8000,9000");
    for (last, expected) in [
        (TIMEOUT_MS - 1, OPEN),
        (TIMEOUT_MS, KnockAnswer::Nothing),
        (TIMEOUT_MS + 1, KnockAnswer::Nothing),
    ] {
        let mut tracker = tracker(RULES);
        answers(&mut tracker, &all, 0, &[7000]);
        // The second knock, and the first one again, give no more time.
        answers(&mut tracker, &all, TIMEOUT_MS - 200, &[8000, 7000]);
        let got = answers(&mut tracker, &all, last, &[9000]);
        assert_eq!(got, [expected], "{last}");
    }
}

#[test]
fn a_sequence_whose_time_is_over_begins_again() {
    let mut tracker = tracker(RULES);
    let all = opens("7000,8000");
    answers(&mut tracker, &all, 0, &[7000]);
    let got = answers(&mut tracker, &all, TIMEOUT_MS, &[7000, 8000]);
    assert_eq!(got, [waiting(1), OPEN]);
}

#[test]
fn a_doubled_packet_changes_nothing() {
    let mut tracker = tracker(RULES);
    let all = opens("7000,8000,9000");
    let got = answers(&mut tracker, &all, 0, &[7000, 7000, 8000, 8000, 9000, 9000]);
    let again = KnockAnswer::Again;
    assert_eq!(got, [waiting(1), again, waiting(2), again, OPEN, again]);
}

/// A SYN that nobody answers is sent again after one second, and once more after three. By then the next
/// knocks may have arrived.
#[test]
fn a_syn_sent_again_changes_nothing_even_late_and_under_lock() {
    let mut tracker = locking(Scope::Source);
    let all = opens("7000,8000,9000");
    for (at, port, expected) in [
        (0, 7000, waiting(1)),
        (900, 8000, waiting(2)),
        (1_000, 7000, KnockAnswer::Again),
        (1_900, 8000, KnockAnswer::Again),
        (2_000, 9000, OPEN),
        (3_000, 7000, KnockAnswer::Again),
        (3_900, 8000, KnockAnswer::Again),
        (5_000, 9000, KnockAnswer::Again),
        // After the echo's time, a knock starts over.
        (6_000, 7000, waiting(1)),
    ] {
        let got = tracker.knock(source(1), PORT, tcp(port), &all, Instant(at));
        assert_eq!(got, expected, "at {at}");
    }
}

/// All orders of packets in which some have been swapped with a neighbour.
fn shuffled(packets: &[u16]) -> Vec<Vec<u16>> {
    let before = |first: &[u16], rest: &[u16]| -> Vec<Vec<u16>> {
        let rests = shuffled(rest).into_iter();
        rests.map(|rest| [first, &rest].concat()).collect()
    };
    match packets {
        [] => vec![Vec::new()],
        [first] => vec![vec![*first]],
        [first, second, rest @ ..] => {
            let (kept, swapped) = (&packets[..1], &[*second, *first]);
            [before(kept, &packets[1..]), before(swapped, rest)].concat()
        }
    }
}

#[test]
fn a_network_that_swaps_neighbours_and_doubles_packets_breaks_nothing() {
    for knocks in 1..=MAX_KNOCKS as u16 {
        let ports: Vec<String> = (1..=knocks).map(|port| port.to_string()).collect();
        let all = opens(&ports.join(","));
        // As the client sends them.
        let sent: Vec<u16> = (1..=knocks).flat_map(|port| [port; KNOCK_TIMES]).collect();
        for order in shuffled(&sent) {
            for copies in 1..=2 {
                let copied = |&port: &u16| vec![port; copies];
                let came: Vec<u16> = order.iter().flat_map(copied).collect();
                let got = answers(&mut locking(Scope::Source), &all, 0, &came);
                let is_wrong = |answer: &KnockAnswer| matches!(answer, KnockAnswer::Wrong { .. });
                assert!(!got.iter().any(is_wrong), "{came:?}: {got:?}");
                let passed = got.iter().filter(|&&answer| answer == OPEN).count();
                assert_eq!(passed, 1, "{came:?}: {got:?}");
            }
        }
    }
}

#[test]
fn after_the_echo_the_same_sequence_passes_again() {
    let all = opens("7000");
    for echo_ms in [KNOCK_ECHO_MS, 500] {
        let mut tracker = tracker(Rules { echo_ms, ..RULES });
        for (at, expected) in [
            (0, OPEN),
            (echo_ms - 1, KnockAnswer::Again),
            (echo_ms, OPEN),
        ] {
            assert_eq!(answers(&mut tracker, &all, at, &[7000]), [expected]);
        }
    }
}

#[test]
fn a_wrong_knock_starts_all_over() {
    let mut tracker = tracker(RULES);
    let all = opens("7000,8000,9000,7500");
    let got = answers(&mut tracker, &all, 0, &[7000, 8000, 7500, 9000, 7500]);
    let nothing = KnockAnswer::Nothing;
    assert_eq!(got, [waiting(1), waiting(2), wrong(2), nothing, nothing]);
    assert_eq!(tracker.len(), 0);
    let got = answers(&mut tracker, &all, 600, &[7000, 8000, 9000, 7500]);
    assert_eq!(got, [waiting(1), waiting(2), waiting(3), OPEN]);
}

#[test]
fn wrong_are_the_ports_of_the_sequences_and_of_the_range_and_no_others() {
    let all = opens("7000,8000,9000");
    let after_first = |range, hop: Hop| {
        let mut tracker = tracker(Rules { range, ..RULES });
        tracker.knock(source(1), PORT, tcp(7000), &all, Instant(0));
        tracker.knock(source(1), PORT, hop, &all, Instant(1))
    };
    let range = Range::new(8_500, 8_599);
    assert_eq!(after_first(None, tcp(9000)), wrong(1));
    assert_eq!(after_first(None, tcp(8_500)), KnockAnswer::Nothing);
    assert_eq!(after_first(range, tcp(8_500)), wrong(1));
    assert_eq!(after_first(range, tcp(8_599)), wrong(1));
    assert_eq!(after_first(range, tcp(8_499)), KnockAnswer::Nothing);
    assert_eq!(after_first(range, tcp(8_600)), KnockAnswer::Nothing);
    assert_eq!(after_first(range, tcp(9000)), wrong(1));
}

#[test]
fn what_is_not_watched_leaves_a_sequence_as_it_is() {
    let mut tracker = tracker(RULES);
    let all = opens("7000,8000");
    let got = answers(&mut tracker, &all, 0, &[443, 7000, 443, 8000]);
    assert_eq!(
        got,
        [KnockAnswer::Nothing, waiting(1), KnockAnswer::Nothing, OPEN]
    );
}

#[test]
fn sequences_that_share_ports_move_on_independently() {
    let mut tracker = tracker(RULES);
    let open = parse_sequence("7000,8000,9000").unwrap();
    let close = parse_sequence("7000,9000,8000").unwrap();
    let all = fixed(&open, Some(&close));
    let got = answers(&mut tracker, &all, 0, &[7000, 8000, 9000]);
    assert_eq!(got, [waiting(1), waiting(2), OPEN]);
    let got = answers(&mut tracker, &all, 1_000, &[7000, 9000, 8000]);
    let closed = KnockAnswer::Passed(Which::Close);
    assert_eq!(got, [waiting(1), waiting(2), closed]);
    // It opens again at once: the echo is only that of the last sequence.
    let got = answers(&mut tracker, &all, 2_000, &[7000, 8000, 9000]);
    assert_eq!(got, [waiting(1), waiting(2), OPEN]);
}

/// As with knockd: a client that knocks at 7000 next begins to open again; it does not close what it has
/// just opened.
#[test]
fn the_knock_that_completes_a_sequence_begins_no_other() {
    let open = parse_sequence("7000,8000,9000").unwrap();
    let (opened, closed) = (OPEN, KnockAnswer::Passed(Which::Close));
    for (close, rest) in [
        ("9000,7000", &[7000][..]),
        ("9000,8000,7000", &[8000, 7000]),
    ] {
        let close_hops = parse_sequence(close).unwrap();
        let all = fixed(&open, Some(&close_hops));
        let mut tracker = tracker(RULES);
        assert_eq!(
            answers(&mut tracker, &all, 0, &[7000, 8000, 9000])[2],
            opened
        );
        let got = answers(&mut tracker, &all, 300, rest);
        assert!(!got.contains(&closed), "{close}: {got:?}");
        // The complete sequence does, at once, and begins nothing in turn.
        let got = answers(&mut tracker, &all, 1_000, &[&[9000], rest].concat());
        assert_eq!(got.last(), Some(&closed), "{close}");
        let got = answers(&mut tracker, &all, 2_000, &[8000, 9000]);
        assert!(!got.contains(&opened), "{close}: {got:?}");
    }
}

#[test]
fn what_is_right_for_one_live_minute_is_wrong_for_none() {
    let mut tracker = tracker(RULES);
    let all = minutes(&["10,20,30", "40,50,60", "70,80,90"]);
    let got = answers(&mut tracker, &all, 0, &[10, 40, 20, 50, 30]);
    let passed = KnockAnswer::Passed(Which::Minute(0));
    assert_eq!(
        got,
        [waiting(1), waiting(1), waiting(2), waiting(2), passed]
    );
    // The sequence that has passed ends the others.
    let got = answers(&mut tracker, &all, 1_000, &[60]);
    assert_eq!(got, [KnockAnswer::Nothing]);
}

#[test]
fn a_knock_that_fits_no_live_minute_resets_all_of_them() {
    let mut tracker = tracker(RULES);
    let all = minutes(&["10,20,30", "40,50,60"]);
    let got = answers(&mut tracker, &all, 0, &[10, 20, 40, 60, 30, 50]);
    let nothing = KnockAnswer::Nothing;
    assert_eq!(
        got,
        [
            waiting(1),
            waiting(2),
            waiting(1),
            wrong(2),
            nothing,
            nothing
        ]
    );
}

#[test]
fn a_minute_that_has_ended_is_within_no_sequence_any_more() {
    let mut tracker = locking(Scope::Source);
    answers(&mut tracker, &minutes(&["10,20,30"]), 0, &[10, 20]);
    let mut next = minutes(&["70,80,90"]);
    next[0].which = Which::Minute(1);
    let got = answers(&mut tracker, &next, 1_000, &[80]);
    assert_eq!(got, [KnockAnswer::Nothing]);
    assert_eq!((tracker.len(), tracker.locked()), (0, 0));
}

#[test]
fn once_means_once_whoever_knocks() {
    let is_once = true;
    let mut tracker = tracker(Rules { is_once, ..RULES });
    let all = minutes(&["10,20", "40,50"]);
    let mut by = |who, port, at| tracker.knock(source(who), PORT, tcp(port), &all, Instant(at));
    by(1, 10, 0);
    by(2, 10, 0);
    assert_eq!(by(1, 20, 1), KnockAnswer::Passed(Which::Minute(0)));
    assert_eq!(by(2, 20, 2), KnockAnswer::Used(Which::Minute(0)));
    // The client goes on to the sequence of the next live minute.
    assert_eq!(by(2, 40, 3), waiting(1));
    assert_eq!(by(2, 50, 4), KnockAnswer::Passed(Which::Minute(1)));
    by(1, 40, KNOCK_ECHO_MS + 10);
    let got = by(1, 50, KNOCK_ECHO_MS + 11);
    assert_eq!(got, KnockAnswer::Used(Which::Minute(1)));
}

#[test]
fn once_is_for_minutes_and_not_for_a_fixed_sequence() {
    let is_once = true;
    let mut tracker = tracker(Rules { is_once, ..RULES });
    let all = opens("7000,8000");
    for round in 0..3 {
        let got = answers(&mut tracker, &all, round * 10_000, &[7000, 8000]);
        assert_eq!(got, [waiting(1), OPEN]);
    }
}

/// By the schedule a minute is live only once. Used minutes are remembered while they are live, and there is
/// always room for the three that are.
#[test]
fn used_minutes_are_remembered_while_they_are_live() {
    let is_once = true;
    let mut tracker = tracker(Rules { is_once, ..RULES });
    for first in 0..1_000u64 {
        let all: Sequences = (first..first + 3)
            .map(|minute| Sequence {
                which: Which::Minute(minute),
                hops: parse_sequence(&(10 + minute).to_string()).unwrap(),
            })
            .collect();
        for (place, one) in (0u64..).zip(&all) {
            let now = Instant(first * 60_000 + place * 10_000);
            let got = tracker.knock(source(1), PORT, one.hops[0], &all, now);
            let which = one.which;
            // But in the first round, the first two of the three were live before.
            let expected = if first == 0 || place == 2 {
                KnockAnswer::Passed(which)
            } else {
                KnockAnswer::Used(which)
            };
            assert_eq!(got, expected, "{first}, {place}");
        }
        assert_eq!(tracker.used.len(), 3);
    }
}

#[test]
fn where_two_sequences_end_alike_the_one_that_still_opens_counts() {
    let is_once = true;
    for (used, other) in [(0, 1), (1, 0)] {
        let mut tracker = tracker(Rules { is_once, ..RULES });
        let all = minutes(&["10,30", "20,30"]);
        let first = [10, 20];
        answers(&mut tracker, &all, 0, &[first[used], 30]);
        let got = answers(&mut tracker, &all, 10_000, &[10, 20, 30]);
        let passed = KnockAnswer::Passed(Which::Minute(other));
        assert_eq!(got[2], passed, "{used} was used");
    }
}

#[test]
fn a_lock_ignores_the_source_until_its_time_is_over() {
    let mut tracker = locking(Scope::Source);
    let all = opens("7000,8000,9000");
    assert_eq!(
        answers(&mut tracker, &all, 0, &[7000, 9000]),
        [waiting(1), wrong(1)]
    );
    assert_eq!((tracker.len(), tracker.locked()), (0, 1));
    let end = 100 + LOCK_MS;
    // The right sequence is ignored too, and trying does not renew the lock.
    let got = answers(&mut tracker, &all, end - 301, &[7000, 8000, 9000, 7000]);
    assert_eq!(got, [KnockAnswer::Ignored; 4]);
    let other = tracker.knock(source(2), PORT, tcp(7000), &all, Instant(end - 1));
    assert_eq!(other, waiting(1));
    let got = answers(&mut tracker, &all, end, &[7000, 8000, 9000]);
    assert_eq!(got, [waiting(1), waiting(2), OPEN]);
    assert_eq!(tracker.locked(), 0);
}

#[test]
fn a_lock_for_all_ignores_everybody() {
    let mut tracker = locking(Scope::All);
    let all = opens("7000,8000,9000");
    answers(&mut tracker, &all, 0, &[7000, 9000]);
    let end = Instant(100 + LOCK_MS);
    assert_eq!(tracker.all_locked_until(), Some(end));
    let mut at = |now| tracker.knock(source(2), PORT, tcp(7000), &all, now);
    assert_eq!(at(Instant(101)), KnockAnswer::Ignored);
    assert_eq!(at(Instant(end.0 - 1)), KnockAnswer::Ignored);
    assert_eq!(at(end), waiting(1));
    assert_eq!(tracker.all_locked_until(), None);
}

#[test]
fn only_a_wrong_knock_within_a_sequence_locks() {
    for scope in [Scope::Source, Scope::All] {
        let mut tracker = locking(scope);
        let all = opens("7000,8000,9000");
        let got = answers(&mut tracker, &all, 0, &[9000, 8000, 443]);
        assert_eq!(got, [KnockAnswer::Nothing; 3]);
        assert!(tracker.next_deadline().is_none());
    }
}

/// A client that has passed connects next, perhaps to a port of the range: that locks nobody out.
#[test]
fn what_comes_after_the_last_knock_is_not_wrong() {
    let lock = Some(Lock {
        ms: LOCK_MS,
        scope: Scope::Source,
    });
    let range = Range::new(1, 100);
    let mut tracker = tracker(Rules {
        lock,
        range,
        ..RULES
    });
    let all = minutes(&["10,20,30", "20,50,60"]);
    let got = answers(&mut tracker, &all, 0, &[10, 20, 30, 44, 10, 44]);
    let (passed, nothing) = (KnockAnswer::Passed(Which::Minute(0)), KnockAnswer::Nothing);
    assert_eq!(got[2..], [passed, nothing, KnockAnswer::Again, nothing]);
    assert_eq!(tracker.locked(), 0);
}

#[test]
fn the_next_deadline_is_the_first_end() {
    let mut tracker = locking(Scope::Source);
    let all = opens("7000,8000,9000");
    assert_eq!(tracker.next_deadline(), None);
    answers(&mut tracker, &all, 0, &[7000, 9000]);
    assert_eq!(tracker.next_deadline(), Some(Instant(100 + LOCK_MS)));
    tracker.knock(source(2), PORT, tcp(7000), &all, Instant(500));
    let end = Instant(500 + TIMEOUT_MS);
    assert_eq!(tracker.next_deadline(), Some(end));
    tracker.expire(Instant(end.0 - 1));
    assert_eq!((tracker.len(), tracker.locked()), (1, 1));
    tracker.expire(end);
    assert_eq!((tracker.len(), tracker.locked()), (0, 1));
    tracker.expire(Instant(100 + LOCK_MS));
    assert_eq!((tracker.len(), tracker.locked()), (0, 0));
    assert_eq!(tracker.next_deadline(), None);
}

#[test]
fn where_all_are_taken_the_oldest_makes_room() {
    let mut tracker = Tracker::new(2, RULES, RandomState::new());
    let all = opens("7000,8000,9000");
    for (number, at) in [(1, 0), (2, 1), (3, 2)] {
        tracker.knock(source(number), PORT, tcp(7000), &all, Instant(at));
    }
    assert_eq!(tracker.len(), 2);
    let mut second = |number| tracker.knock(source(number), PORT, tcp(8000), &all, Instant(3));
    assert_eq!(second(1), KnockAnswer::Nothing);
    assert_eq!(second(2), waiting(2));
    assert_eq!(second(3), waiting(2));
    // An entry whose time is over makes room without a loss.
    tracker.knock(source(4), PORT, tcp(7000), &all, Instant(TIMEOUT_MS + 2));
    assert_eq!(tracker.len(), 1);
}

#[test]
fn who_has_passed_makes_room_without_a_loss() {
    let mut tracker = Tracker::new(1, RULES, RandomState::new());
    let all = opens("7000,8000");
    answers(&mut tracker, &all, 0, &[7000, 8000]);
    let later = Instant(100 + KNOCK_ECHO_MS);
    tracker.knock(source(2), PORT, tcp(7000), &all, later);
    assert_eq!(tracker.len(), 1);
}

#[test]
fn no_peer_can_make_it_grow() {
    let lock = Some(Lock {
        ms: LOCK_MS,
        scope: Scope::Source,
    });
    let rules = Rules { lock, ..RULES };
    let mut tracker = Tracker::new(KNOCKERS, rules, RandomState::new());
    let all = opens("7000,8000,9000");
    let room = tracker.by_source.places.capacity();
    let mut number = 0;
    for _ in 0..5 * KNOCKERS {
        number += 1;
        tracker.knock(source(number), PORT, tcp(7000), &all, Instant(0));
    }
    assert_eq!(tracker.len(), KNOCKERS);
    for _ in 0..5 * KNOCKERS {
        number += 1;
        for port in [7000, 9000] {
            tracker.knock(source(number), PORT, tcp(port), &all, Instant(1));
        }
    }
    assert_eq!(tracker.locked(), KNOCKERS);
    assert!(tracker.len() <= KNOCKERS);
    assert_eq!(tracker.by_source.places.capacity(), room);
    // A source that hits no first knock takes no memory and pushes nobody out.
    let before = tracker.len();
    for number in 1_000_000..1_010_000 {
        tracker.knock(source(number), PORT, tcp(8000), &all, Instant(2));
    }
    assert_eq!(tracker.len(), before);
}

/// The memory that `limits` documents, on a 64-bit machine.
#[test]
#[cfg(target_pointer_width = "64")]
fn it_takes_the_memory_that_is_said() {
    let entry = Ring::<RandomState>::ENTRY_BYTES;
    let index = 2 * 2 * KNOCKERS;
    let knockers = KNOCKERS * (entry + size_of::<Positions>()) + index;
    assert_eq!(knockers, 140 << 10);
    assert_eq!(KNOCKERS * entry + index, 36 << 10);
}

/// A source knocks from one port, and others send wrong knocks in its name from every other port.
#[test]
fn forged_knocks_keep_out_nobody_who_knocks_from_one_port() {
    let all = opens("7000,8000,9000");
    let mut tracker = tracker(RULES);
    let mut forged = (1..PORT).cycle();
    let mut forge = |tracker: &mut Tracker<RandomState>, at: u64| {
        for (port, from) in [7000, 9000, 7000, 8000].into_iter().zip(&mut forged) {
            tracker.knock(source(1), from, tcp(port), &all, Instant(at));
        }
    };
    for round in 0..5 {
        let at = round * 20_000;
        forge(&mut tracker, at);
        let got = [7000, 8000, 9000].map(|port| {
            let got = tracker.knock(source(1), PORT, tcp(port), &all, Instant(at + 1));
            forge(&mut tracker, at + 2);
            got
        });
        assert_eq!(got[2], OPEN, "{got:?}");
    }
}

#[test]
fn whoever_knocks_from_many_ports_passes_too_unless_a_knock_is_forged() {
    let all = opens("7000,8000,9000");
    let mut tracker = tracker(RULES);
    let mut by = |at, from, port| tracker.knock(source(1), from, tcp(port), &all, Instant(at));
    let got = [by(0, 1, 7000), by(0, 2, 8000), by(0, 3, 9000)];
    assert_eq!(got, [waiting(1), waiting(2), OPEN]);
    let got = [by(20_000, 4, 7000), by(20_000, 5, 9000)];
    assert_eq!(got, [waiting(1), wrong(1)]);
    assert_eq!(
        [by(20_000, 6, 8000), by(20_000, 7, 9000)],
        [KnockAnswer::Nothing; 2]
    );
}

/// No wrong knock is forgiven: a port's own ends what it has begun.
#[test]
fn a_wrong_knock_resets_the_port_that_it_comes_from() {
    let all = opens("7000,8000,9000");
    let mut tracker = tracker(RULES);
    let mut by = |from, port| tracker.knock(source(1), from, tcp(port), &all, Instant(0));
    by(1, 7000);
    assert_eq!(by(1, 9000), wrong(1));
    assert_eq!([by(1, 8000), by(1, 9000)], [KnockAnswer::Nothing; 2]);
}

#[test]
fn a_forged_knock_can_lock_a_source_out_where_that_is_configured() {
    let all = opens("7000,8000,9000");
    let mut tracker = locking(Scope::Source);
    let mut by = |from, port| tracker.knock(source(1), from, tcp(port), &all, Instant(0));
    by(1, 7000);
    assert_eq!(by(2, 9000), wrong(1));
    assert_eq!(by(1, 8000), KnockAnswer::Ignored);
}
