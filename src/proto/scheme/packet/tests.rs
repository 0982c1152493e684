use super::*;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::time::Instant;
use proptest::prelude::*;
use std::sync::OnceLock;

const NOON: u64 = 1_794_000_000;
const NOW: Instant = Instant(1_000);

fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Key::stretch(b"password", "ssh"))
}

/// A schedule at noon: minutes 29,899,999 to 29,900,001 are live.
fn schedule() -> Schedule {
    let range = Range::new(10_000, 10_999).unwrap();
    let mut schedule = Schedule::new(key().clone(), Pattern::new(range, 0, 60).unwrap());
    schedule.turn(Some(NOON), NOW).unwrap();
    schedule
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn good() -> Shown {
    Shown::Good {
        address: sender(),
        minute: NOON / 60,
    }
}

fn sender() -> IpAddr {
    address("198.51.100.9")
}

fn packet(unix: u64, address: Option<IpAddr>) -> [u8; PACKET] {
    make(key(), unix, address, &[7; NONCE])
}

fn shown(unix: u64, address: Option<IpAddr>, admits: Admits) -> Shown {
    let packet = packet(unix, address);
    verify(&schedule(), &packet, sender(), admits)
}

#[test]
fn a_datagram_is_for_the_address_inside_or_for_its_sender() {
    let inside = address("192.0.2.7");
    let good = |address| Shown::Good {
        address,
        minute: NOON / 60,
    };
    let wrong = |address| Shown::WrongAddress { address };
    for (of, admits, expected) in [
        (None, Admits::Any, good(sender())),
        (None, Admits::Sender, good(sender())),
        (None, Admits::Inside, Shown::NoAddress),
        (Some(sender()), Admits::Any, good(sender())),
        (Some(sender()), Admits::Sender, good(sender())),
        (Some(sender()), Admits::Inside, good(sender())),
        (Some(inside), Admits::Any, good(inside)),
        (Some(inside), Admits::Sender, wrong(inside)),
        (Some(inside), Admits::Inside, good(inside)),
    ] {
        assert_eq!(shown(NOON, of, admits), expected, "{of:?} {admits:?}");
    }
}

#[test]
fn a_sender_that_comes_mapped_is_the_ipv4_host_that_it_is() {
    let packet = packet(NOON, Some(sender()));
    let mapped = address("::ffff:198.51.100.9");
    let shown = verify(&schedule(), &packet, mapped, Admits::Sender);
    assert_eq!(shown, good());
}

/// Bans count a /64 as one source, but a datagram is for one address.
#[test]
fn a_neighbour_in_the_same_network_is_not_the_sender() {
    let packet = packet(NOON, Some(address("2001:db8::7")));
    let neighbour = address("2001:db8::8");
    let shown = verify(&schedule(), &packet, neighbour, Admits::Sender);
    let address = address("2001:db8::7");
    assert_eq!(shown, Shown::WrongAddress { address });
}

#[test]
fn an_address_that_no_host_has_is_let_in_nowhere() {
    for text in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "ff02::1"] {
        let address = address(text);
        for admits in [Admits::Any, Admits::Inside] {
            let shown = shown(NOON, Some(address), admits);
            assert_eq!(shown, Shown::WrongAddress { address });
        }
    }
    // All zeros are not an address.
    let shown = shown(NOON, Some(address("::")), Admits::Any);
    assert_eq!(shown, good());
}

#[test]
fn a_datagram_counts_in_the_live_minutes_to_the_second() {
    let first = NOON - 60;
    let last = NOON + 119;
    let is_stale = |unix| shown(unix, None, Admits::Any) == Shown::Stale { unix };
    for unix in [first - 1, last + 1, 0, u64::MAX, NOON - 86_400] {
        assert!(is_stale(unix), "{unix}");
    }
    for unix in [first, NOON, last] {
        assert!(!is_stale(unix), "{unix}");
    }
}

#[test]
fn a_clock_that_is_not_believed_or_set_back_lets_none_in() {
    let mut schedule = schedule();
    let packet = packet(NOON, None);
    let stale = Shown::Stale { unix: NOON };
    for (unix, boot) in [(None, 2_000), (Some(NOON), 3_000)] {
        schedule.turn(unix, Instant(boot)).unwrap();
        let shown = verify(&schedule, &packet, sender(), Admits::Any);
        assert_eq!(shown, stale, "{unix:?}");
    }
}

#[test]
fn another_mirages_key_opens_nothing() {
    let packet = packet(NOON, None);
    for other in [
        Key::stretch(b"password", "web"),
        Key::stretch(b"Password", "ssh"),
    ] {
        assert_eq!(open(&other, &packet), None);
    }
}

/// Each byte takes all its values about equally often: nothing distinguishes a datagram from noise.
#[test]
fn a_datagram_looks_random() {
    const PACKETS: u64 = 20_000;
    let mut ones = [0u64; PACKET * 8];
    for number in 0..PACKETS {
        // The nonce is left out: how random the system's bytes are is not tested here.
        let nonce = u128::from(number).to_be_bytes();
        let packet = make(key(), NOON, Some(sender()), &nonce);
        for (bit, ones) in ones.iter_mut().enumerate().skip(NONCE * 8) {
            *ones += u64::from(packet[bit / 8] >> (bit % 8) & 1);
        }
    }
    // Fair coins: half of them, within five times their deviation of 71.
    for (bit, ones) in ones.into_iter().enumerate().skip(NONCE * 8) {
        assert!(ones.abs_diff(PACKETS / 2) < 355, "bit {bit}: {ones}");
    }
}

/// The addresses that a datagram returns: a v4-mapped one comes out as IPv4.
fn any_address() -> impl Strategy<Value = Option<IpAddr>> {
    prop_oneof![
        Just(None),
        any::<[u8; 4]>().prop_map(|bytes| Some(IpAddr::from(bytes))),
        any::<[u8; 16]>().prop_map(|bytes| Some(IpAddr::from(bytes).to_canonical())),
    ]
}

proptest! {
    #[test]
    fn what_is_made_is_opened(nonce: Nonce, unix: u64, address in any_address()) {
        let packet = make(key(), unix, address, &nonce);
        prop_assert_eq!(open(key(), &packet), Some(Content { unix, address }));
        prop_assert_eq!(super::nonce(&packet), nonce);
    }

    #[test]
    fn a_changed_bit_makes_it_worthless(nonce: Nonce, bit in 0..PACKET * 8) {
        let mut packet = make(key(), NOON, None, &nonce);
        let schedule = schedule();
        let tried = |packet: &[u8; PACKET]| verify(&schedule, packet, sender(), Admits::Any);
        packet[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(tried(&packet), Shown::NotOurs);
        packet[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(tried(&packet), good());
    }

    #[test]
    fn any_bytes_are_not_ours(
        head in any::<[u8; 32]>(), body in any::<[u8; 32]>(), end in any::<[u8; 8]>(),
    ) {
        let bytes: [u8; PACKET] = [&head[..], &body, &end].concat().try_into().unwrap();
        prop_assert_eq!(open(key(), &bytes), None);
        let shown = verify(&schedule(), &bytes, sender(), Admits::Any);
        prop_assert_eq!(shown, Shown::NotOurs);
    }
}
