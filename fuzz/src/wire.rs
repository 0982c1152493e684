//! What strangers send: IP packets as the sensor sees them, tokens, datagrams. What has to be signed is signed, so
//! the fuzzer gets behind the MAC; and one bit may be flipped, which has to make it worthless.

use crate::bytes::Bytes;
use shimmer::daemon::fuzzing::packet;
use shimmer::proto::Instant;
use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::knock::Protocol;
use shimmer::proto::scheme::packet::{self, Admits, PACKET, Shown};
use shimmer::proto::scheme::schedule::{Pattern, Plan, Range, Role, Schedule};
use shimmer::proto::scheme::token::{self, NONCE, TOKEN};
use shimmer::proto::source::canonical;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// Bytes of a packet that the sensor keeps.
const SNAP: usize = 140;

/// The moment at which everything comes, in Unix seconds.
const NOW: u64 = 1_794_000_030;

/// A mirage's ports at that moment.
struct Mirage {
    schedule: Schedule,
    plan: Plan,
}

static MIRAGE: LazyLock<Mirage> = LazyLock::new(|| {
    let range = Range::new(10_000, 10_099).unwrap();
    let pattern = Pattern::new(range, 3, 60).unwrap();
    let mut schedule = Schedule::new(Key::stretch(b"password", "home"), pattern);
    let plan = schedule.turn(Some(NOW), Instant(1_000_000)).unwrap();
    Mirage { schedule, plan }
});

/// A packet, a token or a datagram.
pub fn wire(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    match bytes.below(5) {
        0 => any_packet(false, bytes.rest()),
        1 => any_packet(true, bytes.rest()),
        2 => whole_packet(&mut bytes),
        3 => a_token(&mut bytes),
        _ => a_datagram(&mut bytes),
    }
}

fn any_packet(is_v6: bool, bytes: &[u8]) {
    let read = packet(is_v6, bytes);
    // The kernel cuts a packet, and pads a short frame.
    assert!(packet(is_v6, &bytes[..bytes.len().min(SNAP)]) == read);
    let Some(read) = read else { return };
    assert_eq!(
        (read.from, read.to),
        (canonical(read.from), canonical(read.to))
    );
    let shortest = if is_v6 { 40 } else { 20 } + 8;
    if let Some(said) = read.said {
        assert!(read.protocol == Protocol::Udp && bytes.len() >= shortest + PACKET);
        assert!(bytes.windows(PACKET).any(|part| part == said));
    }
    // It is long enough for what it says that it is.
    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    if !is_v6 && length <= bytes.len() {
        assert!(packet(is_v6, &bytes[..length]) == Some(read));
    }
}

/// A packet that is as it should be is read as it was written.
fn whole_packet(bytes: &mut Bytes<'_>) {
    let (is_v6, is_udp) = (bytes.bool(), bytes.bool());
    let (from, to) = match is_v6 {
        false => (
            IpAddr::V4(Ipv4Addr::from(bytes.u32())),
            IpAddr::V4(Ipv4Addr::from(bytes.u32())),
        ),
        true => (
            IpAddr::V6(Ipv6Addr::from(bytes.array::<16>())),
            IpAddr::V6(Ipv6Addr::from(bytes.array::<16>())),
        ),
    };
    let (from_port, port) = (bytes.u16(), bytes.u16());
    let options = if is_v6 { 0 } else { bytes.below(11) * 4 };
    let flags = bytes.u8();
    let joined = bytes.below(4);
    let payload = bytes.take(joined * PACKET);
    let mut all = [0u8; 60 + 20 + 3 * PACKET];
    let header = if is_v6 { 40 } else { 20 + options };
    let length = if is_udp { 8 + payload.len() } else { 20 };
    let (start, said) = all.split_at_mut(header);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            start[0] = 0x40 | (header / 4) as u8;
            start[2..4].copy_from_slice(&((header + length) as u16).to_be_bytes());
            start[9] = if is_udp { 17 } else { 6 };
            start[12..16].copy_from_slice(&from.octets());
            start[16..20].copy_from_slice(&to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            start[0] = 0x60;
            start[4..6].copy_from_slice(&(length as u16).to_be_bytes());
            start[6] = if is_udp { 17 } else { 6 };
            start[8..24].copy_from_slice(&from.octets());
            start[24..40].copy_from_slice(&to.octets());
        }
        _ => unreachable!("both are of one family"),
    }
    said[..2].copy_from_slice(&from_port.to_be_bytes());
    said[2..4].copy_from_slice(&port.to_be_bytes());
    if is_udp {
        said[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        said[8..length].copy_from_slice(payload);
    } else {
        said[13] = flags;
    }
    let whole = &all[..header + length];
    any_packet(is_v6, whole);
    let read = packet(is_v6, whole);
    // SYN alone, of the flags that begin and end a connection.
    let is_first = is_udp || flags & 0x17 == 0x02;
    assert_eq!(read.is_some(), is_first);
    let Some(read) = read else { return };
    assert_eq!((read.from, read.to), (canonical(from), canonical(to)));
    assert_eq!((read.from_port, read.port), (from_port, port));
    assert_eq!(read.protocol == Protocol::Udp, is_udp);
    let is_said = is_udp && !payload.is_empty() && payload.len().is_multiple_of(PACKET);
    let expected = payload.first_chunk().filter(|_| is_said);
    assert!(read.said == expected);
}

/// Perhaps changes one bit.
fn flip(bytes: &mut Bytes<'_>, proof: &mut [u8]) -> bool {
    let is_flipped = bytes.below(4) == 0;
    if is_flipped {
        let bit = usize::from(bytes.u16()) % (proof.len() * 8);
        proof[bit / 8] ^= 1 << (bit % 8);
    }
    is_flipped
}

fn a_token(bytes: &mut Bytes<'_>) {
    let Mirage { schedule, plan } = &*MIRAGE;
    let key = schedule.key();
    let minute = schedule.pattern().minute(NOW);
    let made_for = (minute - 6).wrapping_add(u64::from(bytes.u8() % 12));
    let port = match bytes.below(3) {
        0 => schedule.pattern().real(key, made_for),
        1 => 10_000 + u16::from(bytes.u8() % 100),
        _ => bytes.u16(),
    };
    let (shown_at, nonce) = (
        if bytes.below(4) == 0 {
            bytes.u16()
        } else {
            port
        },
        bytes.array::<NONCE>(),
    );
    let mut token = token::make(key, made_for, port, &nonce);
    let is_flipped = flip(bytes, &mut token);
    let claims = plan.claims(shown_at);
    let shown = token::verify(key, &claims, shown_at, &token);
    let window = made_for.checked_sub(claims.first);
    let role = window.and_then(|window| claims.roles.get(window as usize));
    let expected = match role {
        Some(&role) if !is_flipped && shown_at == port => (role, made_for),
        _ => (Role::Trap, 0),
    };
    assert_eq!(shown, expected);
    let is_real_now = schedule
        .live()
        .iter()
        .any(|&live| live == made_for && schedule.pattern().real(key, live) == port);
    assert_eq!(
        shown.0 == Role::Real,
        is_real_now && !is_flipped && shown_at == port
    );
    assert!(is_flipped || token::nonce(&token) == nonce);
    let forged = bytes.array::<TOKEN>();
    assert_eq!(
        token::verify(key, &claims, shown_at, &forged),
        (Role::Trap, 0)
    );
}

fn an_address(bytes: &mut Bytes<'_>) -> IpAddr {
    match bytes.below(4) {
        0 => IpAddr::V4(Ipv4Addr::from(bytes.u32())),
        1 => IpAddr::V6(Ipv6Addr::from(bytes.array::<16>())),
        2 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, bytes.u8())),
        _ => IpAddr::V6(Ipv4Addr::new(192, 0, 2, bytes.u8()).to_ipv6_mapped()),
    }
}

fn a_datagram(bytes: &mut Bytes<'_>) {
    let schedule = &MIRAGE.schedule;
    let unix = match bytes.bool() {
        true => NOW - 300 + u64::from(bytes.u16() % 600),
        false => bytes.u64(),
    };
    let sender = an_address(bytes);
    let inside = bytes.bool().then(|| an_address(bytes));
    let admits = bytes
        .pick(&[Admits::Any, Admits::Sender, Admits::Inside])
        .unwrap();
    let nonce = bytes.array::<NONCE>();
    let mut datagram = packet::make(schedule.key(), unix, inside, &nonce);
    let is_flipped = flip(bytes, &mut datagram);
    let shown = packet::verify(schedule, &datagram, sender, admits);
    if is_flipped {
        return assert_eq!(shown, Shown::NotOurs);
    }
    assert_eq!(packet::nonce(&datagram), nonce);
    let is_live = schedule.live().contains(&schedule.pattern().minute(unix));
    match shown {
        Shown::Good { address, minute } => {
            assert!(is_live && minute == schedule.pattern().minute(unix));
            assert!(admits != Admits::Sender || address == canonical(sender));
            let inside = inside.filter(|inside| !inside.is_unspecified());
            let allowed = canonical(inside.unwrap_or(sender));
            assert_eq!(address, allowed);
            assert!(!address.is_unspecified() && !address.is_multicast());
        }
        Shown::Stale { unix: of } => assert!(!is_live && of == unix),
        Shown::WrongAddress { .. } | Shown::NoAddress => assert!(is_live),
        Shown::NotOurs => panic!("it is ours"),
    }
}
