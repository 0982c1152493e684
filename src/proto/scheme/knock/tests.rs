use super::*;
use proptest::prelude::*;
use std::string::ToString;
use std::sync::OnceLock;
use std::vec::Vec as List;

fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Key::stretch(b"password", "ssh"))
}

fn range(low: u16, high: u16) -> Range {
    Range::new(low, high).unwrap()
}

const MINUTE: u64 = 29_900_000;

#[test]
fn a_text_is_a_sequence_and_tcp_is_the_default() {
    let hops = parse_sequence("7000:tcp,8000:udp,9000").unwrap();
    let text: List<_> = hops.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["7000:tcp", "8000:udp", "9000:tcp"]);
    assert_eq!(parse_sequence("7000, 8000:udp").unwrap().len(), 2);
    assert_eq!(parse_sequence("7000 8000:udp").unwrap().len(), 2);
    assert_eq!(parse_sequence("1,65535").unwrap()[1].port, 65_535);
    // Not twice in a row: a port again, and a port by the other protocol.
    assert_eq!(parse_sequence("7000,8000,7000").unwrap().len(), 3);
    assert_eq!(parse_sequence("7000,7000:udp").unwrap().len(), 2);
}

#[test]
fn what_is_no_sequence_says_which_knock_and_what_would_be_right() {
    for (text, what) in [
        (
            "",
            "has an empty place where a knock belongs, such as 7000:tcp",
        ),
        (
            "7000,,9000",
            "has an empty place where a knock belongs, such as 7000:tcp",
        ),
        (
            "7000,ssh",
            "ssh is no port from 1 to 65535, with :tcp or :udp behind it, such as 7000:tcp",
        ),
        (
            "0:udp",
            "0:udp is no port from 1 to 65535, with :tcp or :udp behind it, such as 7000:tcp",
        ),
        (
            "65536",
            "65536 is no port from 1 to 65535, with :tcp or :udp behind it, such as 7000:tcp",
        ),
        (
            "+7000",
            "+7000 is no port from 1 to 65535, with :tcp or :udp behind it, such as 7000:tcp",
        ),
        (
            ":tcp",
            ":tcp is no port from 1 to 65535, with :tcp or :udp behind it, such as 7000:tcp",
        ),
        ("7000:TCP,8000", "7000:TCP ends in neither :tcp nor :udp"),
        ("7000:", "7000: ends in neither :tcp nor :udp"),
        ("7000:tcp:udp", "7000:tcp:udp ends in neither :tcp nor :udp"),
        (
            "7000:tcp, 7000",
            "7000 comes twice in a row, and could not be told from a doubled packet",
        ),
    ] {
        assert_eq!(parse_sequence(text).unwrap_err().to_string(), what);
    }
}

#[test]
fn a_sequence_has_32_knocks_at_most() {
    let text = |count: u16| {
        let hops: List<_> = (1..=count).map(|port| port.to_string()).collect();
        hops.join(",")
    };
    assert_eq!(parse_sequence(&text(32)).unwrap().len(), MAX_SEQUENCE);
    let long = text(33);
    assert_eq!(parse_sequence(&long), Err(SequenceError::Long));
    let what = SequenceError::Long.to_string();
    assert_eq!(what, "has more than 32 knocks");
}

#[test]
fn a_rotating_sequence_has_one_to_six_knocks_and_no_more_than_its_range() {
    let length =
        |high, knocks| sequence(key(), range(100, high), MINUTE, knocks, Protocols::Tcp).len();
    assert_eq!(length(199, 0), 1);
    for knocks in 1..=MAX_KNOCKS {
        assert_eq!(length(199, knocks), knocks);
    }
    assert_eq!(length(199, 7), MAX_KNOCKS);
    assert_eq!(length(100, 6), 1);
    assert_eq!(length(103, 6), 4);
}

#[test]
fn a_shorter_sequence_is_the_start_of_a_longer_one() {
    let of = |knocks| sequence(key(), range(1, 65_535), MINUTE, knocks, Protocols::Mixed);
    for knocks in 1..MAX_KNOCKS {
        assert_eq!(of(knocks), of(MAX_KNOCKS)[..knocks]);
    }
}

#[test]
fn the_protocols_are_the_wanted_ones_and_the_ports_do_not_depend_on_them() {
    let of = |minute, protocols| sequence(key(), range(1, 999), minute, 6, protocols);
    let mut udp = 0;
    for minute in 0..1_000 {
        let mixed = of(minute, Protocols::Mixed);
        let all_tcp = of(minute, Protocols::Tcp);
        let all_udp = of(minute, Protocols::Udp);
        assert!(all_tcp.iter().all(|hop| hop.protocol == Protocol::Tcp));
        assert!(all_udp.iter().all(|hop| hop.protocol == Protocol::Udp));
        for ((mixed, tcp), also) in mixed.iter().zip(&all_tcp).zip(&all_udp) {
            assert!(mixed.port == tcp.port && mixed.port == also.port);
        }
        let is_udp = |hop: &&Hop| hop.protocol == Protocol::Udp;
        udp += mixed.iter().filter(is_udp).count();
    }
    // 6,000 fair coins: 3,000, within five times their deviation of 39.
    assert!((2_806..=3_194).contains(&udp), "{udp} of 6,000");
}

/// Pearson's statistic over every port of a range, for the first knock and for all.
#[test]
fn knocks_are_uniform_over_the_range() {
    for (low, high) in [(10_000, 10_099), (1, 37), (1, 65_535)] {
        let cells = usize::from(high - low) + 1;
        let (mut first, mut all) = (vec![0u32; cells], vec![0u32; cells]);
        for minute in 0..20_000 {
            let hops = sequence(key(), range(low, high), minute, 3, Protocols::Tcp);
            first[usize::from(hops[0].port - low)] += 1;
            for hop in hops {
                all[usize::from(hop.port - low)] += 1;
            }
        }
        for counts in [first, all] {
            let expected = f64::from(counts.iter().sum::<u32>()) / cells as f64;
            let chi: f64 = counts
                .iter()
                .map(|&count| (f64::from(count) - expected).powi(2) / expected)
                .sum();
            let freedom = (cells - 1) as f64;
            let sigmas = (chi - freedom) / (2.0 * freedom).sqrt();
            assert!(sigmas < 5.0, "{low}-{high}: {sigmas} sigma");
        }
    }
}

#[test]
fn the_live_minutes_have_a_sequence_each() {
    let live = [MINUTE - 1, MINUTE, MINUTE + 1];
    let all = rotating(key(), range(1_000, 1_999), &live, 3, Protocols::Mixed);
    assert_eq!(all.len(), 3);
    for (one, minute) in all.iter().zip(live) {
        assert_eq!(one.which, Which::Minute(minute));
        let hops = sequence(key(), range(1_000, 1_999), minute, 3, Protocols::Mixed);
        assert_eq!(one.hops, hops);
    }
    let none = rotating(key(), range(1_000, 1_999), &[], 3, Protocols::Mixed);
    assert!(none.is_empty());
}

#[test]
fn a_fixed_sequence_opens_and_another_may_close() {
    let open = parse_sequence("7000,8000").unwrap();
    let close = parse_sequence("8000,7000").unwrap();
    let which = |all: &Sequences| all.iter().map(|one| one.which).collect::<List<_>>();
    assert_eq!(which(&fixed(&open, None)), [Which::Open]);
    let both = fixed(&open, Some(&close));
    assert_eq!(which(&both), [Which::Open, Which::Close]);
    assert!(both[0].hops == open && both[1].hops == close);
}

proptest! {
    #[test]
    fn a_minutes_knocks_differ_and_lie_in_the_range(
        low in 1u16..65_535, width in 0u16..2_000, knocks in 1usize..=6, minute: u64,
    ) {
        let range = range(low, low.saturating_add(width));
        let hops = sequence(key(), range, minute, knocks, Protocols::Mixed);
        prop_assert_eq!(hops.len(), knocks.min(range.count() as usize));
        for (place, hop) in hops.iter().enumerate() {
            prop_assert!(range.contains(hop.port));
            prop_assert!(hops[..place].iter().all(|other| other.port != hop.port));
        }
    }

    #[test]
    fn any_text_is_a_sequence_or_says_why_not(text in "[0-9:,a-z +-]{0,40}|\\PC{0,20}") {
        match parse_sequence(&text) {
            Ok(hops) => {
                let again: List<_> = hops.iter().map(ToString::to_string).collect();
                let again = again.join(",");
                prop_assert_eq!(parse_sequence(&again), Ok(hops));
            }
            Err(what) => prop_assert!(!what.to_string().is_empty()),
        }
    }
}
