//! How often a stranger passes by chance, compared with theory.

use super::*;
use crate::proto::scheme::key::Key;
use crate::proto::scheme::knock::{Protocols, rotating, sequence};

/// The number of passes of a prober who sends a SYN to each port from 1 to `ports`, in order.
fn scan(sequences: &Sequences, ports: u16) -> usize {
    let range = Range::new(1, ports);
    let mut tracker = tracker(Rules { range, ..RULES });
    (1..=ports)
        .filter(|&port| {
            let answer = tracker.knock(source(1), PORT, tcp(port), sequences, Instant(0));
            matches!(answer, KnockAnswer::Passed(_))
        })
        .count()
}

fn three(a: u16, b: u16, c: u16) -> Sequences {
    minutes(&[&format!("{a},{b},{c}")])
}

/// A scan in order passes only if the three ports are neighbours in order. That holds for n - 2 of
/// n (n - 1) (n - 2) sequences, so for one in n (n - 1). With nine ports, all sequences are tried.
#[test]
fn a_scan_in_order_passes_one_sequence_of_72_with_nine_ports() {
    let (mut all, mut passed) = (0, 0);
    for a in 1..=9 {
        for b in (1..=9).filter(|&b| b != a) {
            for c in (1..=9).filter(|&c| c != a && c != b) {
                all += 1;
                passed += scan(&three(a, b, c), 9);
            }
        }
    }
    assert_eq!((all, passed), (504, 7));
    assert_eq!(all / passed, 9 * 8);
}

/// The same with 1,000 ports, where one sequence in 999,000 passes: of all sequences in ascending order
/// and close together, only the 998 without a gap.
#[test]
fn a_scan_of_1000_ports_passes_one_sequence_of_999_000() {
    let mut passed = 0;
    for a in (1..=997).step_by(7) {
        assert_eq!(scan(&three(a, a + 1, a + 2), 1_000), 1, "{a}");
        passed += scan(&three(a, a + 1, a + 3), 1_000);
        passed += scan(&three(a, a + 2, a + 3), 1_000);
        passed += scan(&three(a + 1, a, a + 2), 1_000);
        passed += scan(&three(a, a + 2, a + 1), 1_000);
    }
    assert_eq!(passed, 0);
}

/// With real draws: one scan in 1,000 passes each sequence of two knocks, and none passes a sequence of
/// three.
#[test]
fn scans_of_three_live_minutes_pass_as_often_as_computed() {
    const SCANS: u64 = 10_000;
    let key = Key::stretch(b"password", "ssh");
    let range = Range::new(1, 1_000).unwrap();
    let passes = |knocks| -> usize {
        let of = |scan: u64| {
            let live = [3 * scan, 3 * scan + 1, 3 * scan + 2];
            rotating(&key, range, &live, knocks, Protocols::Tcp)
        };
        (0..SCANS).map(|number| scan(&of(number), 1_000)).sum()
    };
    // 30 expected, within three times their deviation of 5.5.
    let two = passes(2);
    assert!((14..=46).contains(&two), "{two} passes");
    assert_eq!(passes(3), 0);
}

/// How many of so many random knocks pass, one sequence of three ports of six: `port` says where the knock with a
/// number comes from.
fn count_passes(knocks: u64, port: impl Fn(u64) -> u16) -> u64 {
    let range = Range::new(1, 6);
    let timeout_ms = u64::MAX;
    let mut tracker = tracker(Rules {
        timeout_ms,
        range,
        ..RULES
    });
    let key = Key::stretch(b"password", "ssh");
    let all = minutes(&["2,5,3"]);
    let mut passes = 0;
    for draw in 0..knocks {
        let hop = sequence(&key, range.unwrap(), draw, 1, Protocols::Tcp)[0];
        // Far enough apart that the echo of a pass is over.
        let now = Instant(draw * KNOCK_ECHO_MS);
        let answer = tracker.knock(source(1), port(draw), hop, &all, now);
        passes += u64::from(matches!(answer, KnockAnswer::Passed(_)));
    }
    passes
}

/// A prober who knocks at random for ever. With n ports and a source at position s (0 to 2), one port of n
/// leads on, s ports change nothing, and the others lead back. With n = 6 the source is at position 2 for
/// 4 % of the time, and one knock in 150 passes.
#[test]
fn random_knocks_pass_as_often_as_computed() {
    const KNOCKS: u64 = 300_000;
    let passes = count_passes(KNOCKS, |_| PORT);
    // 2,000 expected, within five times their deviation of 45.
    assert!(passes.abs_diff(KNOCKS / 150) < 224, "{passes} passes");
}

/// Knocks from several ports count for each port as well, so they pass up to twice as often, and no more often,
/// whatever the ports.
#[test]
fn knocks_from_several_ports_pass_at_most_twice_as_often() {
    const KNOCKS: u64 = 300_000;
    let most = 2 * KNOCKS / 150;
    let alternating = count_passes(KNOCKS, |draw| (draw % 2) as u16);
    // Nearly all of that: within five times the deviation of 63.
    assert!(alternating.abs_diff(most) < 316, "{alternating} passes");
    let ways: [fn(u64) -> u16; 5] = [
        |draw| (draw % 3) as u16,
        |draw| (draw % 1_000) as u16,
        |draw| (draw / 2) as u16,
        |draw| (draw / 3 % 7) as u16,
        |draw| (draw * draw / 5 % 4) as u16,
    ];
    for (number, port) in ways.into_iter().enumerate() {
        let passes = count_passes(KNOCKS, port);
        assert!(passes < most + 316, "{number}: {passes} passes");
    }
}
