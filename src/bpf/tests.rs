use super::*;
use core::net::{Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;

/// What a program answers for a packet whose IP header begins at `network`, in bytes of it that are
/// kept. The kernel's own machine, as far as these programs need it.
fn run(program: &[sock_filter], packet: &[u8], network: usize, packet_type: u32) -> u32 {
    let load = |at: u32, bytes: usize| -> Option<u32> {
        let at = match at {
            PACKET_TYPE => return Some(packet_type),
            at if at >= IP_HEADER => (at - IP_HEADER) as usize,
            at => network + at as usize,
        };
        let bytes = packet.get(at..at + bytes)?;
        Some(
            bytes
                .iter()
                .fold(0, |all, &byte| all << 8 | u32::from(byte)),
        )
    };
    let (mut a, mut x, mut memory, mut at) = (0u32, 0u32, [0u32; 16], 0usize);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let size = match u32::from(code) & 0x18 {
            BPF_W => 4,
            BPF_H => 2,
            _ => 1,
        };
        let mut leap = |condition| at += usize::from(if condition { jt } else { jf });
        let code = u32::from(code);
        match code & 0x07 {
            BPF_RET => return k,
            BPF_LD => {
                let loaded = match code & 0xe0 {
                    BPF_ABS => load(k, size),
                    BPF_IND => load(x + k, size),
                    BPF_MEM => Some(memory[k as usize]),
                    _ => unreachable!("{code:#x}"),
                };
                // The kernel drops what is too short.
                let Some(loaded) = loaded else { return 0 };
                a = loaded;
            }
            BPF_LDX if code & 0xe0 == BPF_IMM => x = k,
            BPF_LDX => {
                let Some(loaded) = load(k, 1) else { return 0 };
                x = 4 * (loaded & 0xf);
            }
            BPF_ST => memory[k as usize] = a,
            BPF_ALU => a &= k,
            _ => match code & 0xf0 {
                BPF_JA => at += k as usize,
                BPF_JEQ => leap(a == k),
                BPF_JGT => leap(a > k),
                BPF_JGE => leap(a >= k),
                BPF_JSET => leap(a & k != 0),
                _ => unreachable!("{code:#x}"),
            },
        }
    }
}

/// What a program answers for a system call, whose data are numbers of this machine and not of the network.
fn run_for_call(
    program: &[sock_filter],
    architecture: u32,
    number: u32,
    arguments: [u64; 6],
) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_be_bytes());
    data.extend(architecture.to_be_bytes());
    data.extend(0u64.to_be_bytes());
    for argument in arguments {
        let (high, low) = ((argument >> 32) as u32, argument as u32);
        let halves = if cfg!(target_endian = "big") {
            [high, low]
        } else {
            [low, high]
        };
        data.extend(halves.map(u32::to_be_bytes).concat());
    }
    run(program, &data, 0, 0)
}

#[test]
fn a_call_is_allowed_refused_or_fatal() {
    let (allow, trap, kill) = (
        libc::SECCOMP_RET_ALLOW,
        libc::SECCOMP_RET_TRAP,
        libc::SECCOMP_RET_KILL_PROCESS,
    );
    let checked = |number, argument, values| Checked {
        number,
        argument,
        values,
    };
    let checked = [checked(20, 0, &[2, 10]), checked(21, 5, &[7])];
    let program = calls(0xc0, &[1, 3], &checked, &[59]);
    let run = |number, arguments| run_for_call(&program, 0xc0, number, arguments);
    for (number, expected) in [(1, allow), (2, trap), (3, allow), (59, kill), (60, trap)] {
        assert_eq!(run(number, [0; 6]), expected, "{number}");
    }
    // What has another bit set is another call.
    assert_eq!(run(1 | 1 << 30, [0; 6]), trap);
    for (first, expected) in [
        (2, allow),
        (10, allow),
        (1, trap),
        (0, trap),
        (1 << 32 | 2, allow),
    ] {
        assert_eq!(run(20, [first, 2, 2, 2, 2, 2]), expected, "{first}");
    }
    assert_eq!(run(21, [0, 0, 0, 0, 0, 7]), allow);
    assert_eq!(run(21, [7, 7, 7, 7, 7, 0]), trap);
    for number in [1, 2, 59] {
        assert_eq!(run_for_call(&program, 0xc1, number, [0; 6]), kill);
    }
}

/// An IPv4 packet with `options` times four bytes of options, to a port.
fn four(protocol: u32, options: u8, port: u16, flags: u8) -> Vec<u8> {
    let mut packet = vec![0; 20 + 4 * usize::from(options)];
    packet[0] = 0x45 + options;
    packet[9] = protocol as u8;
    packet[12..16].copy_from_slice(&[192, 0, 2, 7]);
    packet.extend(segment(port, flags));
    packet
}

fn six(next: u32, from: &str, port: u16, flags: u8) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[6] = next as u8;
    let from: Ipv6Addr = from.parse().unwrap();
    packet[8..24].copy_from_slice(&from.octets());
    packet.extend(segment(port, flags));
    packet
}

fn segment(port: u16, flags: u8) -> [u8; 20] {
    let mut segment = [0; 20];
    segment[2..4].copy_from_slice(&port.to_be_bytes());
    segment[13] = flags;
    segment
}

fn ranges(ends: &[(u16, u16)]) -> Vec<RangeInclusive<u16>> {
    ends.iter().map(|&(low, high)| low..=high).collect()
}

fn arrivals(version: IpVersion, ranges: &[RangeInclusive<u16>]) -> Program {
    super::arrivals(version, ranges, None, SNAPPED)
}

const SNAPPED: u32 = 140;
const SYN_ECN: u8 = 0xc2;

#[test]
fn beginnings_and_datagrams_to_the_ranges_arrive() {
    let ranges = ranges(&[(10_000, 10_002), (7, 7)]);
    let v4 = arrivals(IpVersion::V4, &ranges);
    let v6 = arrivals(IpVersion::V6, &ranges);
    for (port, kept) in [
        (9_999, 0),
        (10_000, SNAPPED),
        (10_002, SNAPPED),
        (10_003, 0),
        (6, 0),
        (7, SNAPPED),
        (8, 0),
        (0, 0),
        (65_535, 0),
    ] {
        for options in [0, 1, 10] {
            assert_eq!(
                run(&v4, &four(TCP, options, port, 0x02), 0, 0),
                kept,
                "{port}"
            );
            assert_eq!(
                run(&v4, &four(UDP, options, port, 0xff), 0, 0),
                kept,
                "{port}"
            );
        }
        assert_eq!(
            run(&v6, &six(TCP, "::1", port, SYN_ECN), 0, 0),
            kept,
            "{port}"
        );
        assert_eq!(run(&v6, &six(UDP, "::1", port, 0xff), 0, 0), kept, "{port}");
    }
}

#[test]
fn only_a_syn_begins_a_connection() {
    let ranges = ranges(&[(1, 65_535)]);
    for flags in 0..=u8::MAX {
        let is_beginning = flags & 0x17 == 0x02;
        let v4 = run(
            &arrivals(IpVersion::V4, &ranges),
            &four(TCP, 0, 7, flags),
            0,
            0,
        );
        let v6 = run(
            &arrivals(IpVersion::V6, &ranges),
            &six(TCP, "::1", 7, flags),
            0,
            0,
        );
        assert_eq!((v4 > 0, v6 > 0), (is_beginning, is_beginning), "{flags:#x}");
    }
}

#[test]
fn other_hosts_other_protocols_and_fragments_do_not_arrive() {
    let ranges = ranges(&[(1, 65_535)]);
    let v4 = arrivals(IpVersion::V4, &ranges);
    let v6 = arrivals(IpVersion::V6, &ranges);
    let packet = four(UDP, 0, 7, 0);
    assert_eq!(run(&v4, &packet, 0, 0), SNAPPED);
    // To all, to a group, to another host, from this one.
    for packet_type in 1..5 {
        assert_eq!(run(&v4, &packet, 0, packet_type), 0);
        assert_eq!(run(&v6, &six(UDP, "::1", 7, 0), 0, packet_type), 0);
    }
    for protocol in (0..=255).filter(|protocol| ![TCP, UDP].contains(protocol)) {
        assert_eq!(run(&v4, &four(protocol, 0, 7, 0x02), 0, 0), 0);
        // An extension header, of which fragments have one, is another protocol.
        assert_eq!(run(&v6, &six(protocol, "::1", 7, 0x02), 0, 0), 0);
    }
    for (fragment, kept) in [(0x4000u16, SNAPPED), (0x2000, 0), (0x0001, 0), (0x1000, 0)] {
        let mut packet = packet.clone();
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        assert_eq!(run(&v4, &packet, 0, 0), kept, "{fragment:#x}");
    }
    assert_eq!(run(&arrivals(IpVersion::V4, &[]), &packet, 0, 0), 0);
}

#[test]
fn more_ranges_than_there_is_room_for_become_one() {
    let few: Vec<_> = (0..SENSED_RANGES as u16)
        .map(|range| (range * 10 + 5, range * 10 + 6))
        .collect();
    let mut more = few.clone();
    more.push((9_000, 9_001));
    let sees = |ends: &[(u16, u16)], port| {
        run(
            &arrivals(IpVersion::V4, &ranges(ends)),
            &four(UDP, 0, port, 0),
            0,
            0,
        ) > 0
    };
    for (ends, between) in [(&few, false), (&more, true)] {
        assert!(!sees(ends, 4));
        assert!(sees(ends, 5));
        assert_eq!(sees(ends, 7), between);
        let last = ends[ends.len() - 1].1;
        assert!(sees(ends, last));
        assert!(!sees(ends, last + 1));
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Whether a listener's segment from there comes through. The socket's data begin behind the IP header.
fn passes(admitted: &[IpAddr], from: &str) -> bool {
    let program = sources(admitted);
    let (packet, network) = match from.parse().unwrap() {
        IpAddr::V4(v4) => {
            let mut packet = four(TCP, 0, 7, 0x02);
            packet[12..16].copy_from_slice(&v4.octets());
            (packet, 20)
        }
        IpAddr::V6(_) => (six(TCP, from, 7, 0x02), 40),
    };
    match run(&program, &packet, network, 0) {
        0 => false,
        u32::MAX => true,
        cut => unreachable!("{cut}"),
    }
}

#[test]
fn a_listener_hears_those_who_are_admitted() {
    let some = addresses(&["192.0.2.7", "2001:db8::1", "192.0.2.8", "fe80::1:2:3:4"]);
    for admitted in ["192.0.2.7", "192.0.2.8", "2001:db8::1", "fe80::1:2:3:4"] {
        assert!(passes(&some, admitted), "{admitted}");
    }
    for other in [
        "192.0.2.6",
        "192.0.2.9",
        "2001:db8::",
        "2001:db8::2",
        "2001:db8:0:1::1",
        "2001:db8::1:0:1",
        "2001:db9::1",
        "::1",
        "fe80::",
    ] {
        assert!(!passes(&some, other), "{other}");
        assert!(!passes(&[], other), "{other}");
    }
}

#[test]
fn an_ipv4_address_may_come_through_nat64() {
    let some = addresses(&["192.0.2.7", "192.0.2.8"]);
    assert!(passes(&some, "64:ff9b::192.0.2.7"));
    assert!(passes(&some, "64:ff9b::192.0.2.8"));
    assert!(!passes(&some, "64:ff9b::192.0.2.9"));
    assert!(!passes(&some, "64:ff9b:0:1::192.0.2.7"));
    assert!(!passes(&some, "64:ff9b:1::192.0.2.7"));
}

#[test]
fn all_who_can_be_admitted_fit_and_more_are_left_out() {
    let six = |number| {
        IpAddr::V6(Ipv6Addr::new(
            0xffff, number, 0xfffe, number, 0, number, 0xfffd, number,
        ))
    };
    let full: Vec<IpAddr> = (0..=ADMITTED as u16).map(six).collect();
    assert!(sources(&full).len() < libc::BPF_MAXINSNS as usize / 4);
    assert!(passes(&full, &full[0].to_string()));
    assert!(passes(&full, &full[ADMITTED - 1].to_string()));
    assert!(!passes(&full, &full[ADMITTED].to_string()));
}

proptest! {
    #[test]
    fn a_listener_hears_nobody_but_these(
        fours in proptest::collection::vec(any::<u32>(), 0..40),
        sixes in proptest::collection::vec(any::<u128>(), 0..24),
        other in any::<u128>(),
        bit in 0..128,
    ) {
        let fours = fours.iter().map(|&bits| IpAddr::V4(bits.into()));
        let sixes = sixes.iter().map(|&bits| IpAddr::V6(bits.into()));
        let all: Vec<IpAddr> = fours.chain(sixes).collect();
        for address in &all {
            prop_assert!(passes(&all, &address.to_string()));
            let near: IpAddr = match address {
                IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() ^ 1u32 << (bit % 32)).into(),
                IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() ^ 1u128 << bit).into(),
            };
            prop_assert_eq!(passes(&all, &near.to_string()), all.contains(&near));
        }
        let other = IpAddr::V6(other.into());
        prop_assert_eq!(passes(&all, &other.to_string()), all.contains(&other));
    }
}

proptest! {
    /// What is kept is what is addressed to one of the networks.
    #[test]
    fn only_what_is_addressed_to_the_networks_is_kept(
        // Few bits differ, so that many match.
        networks in proptest::collection::vec((0u128..4, 0u128..4, 0u8..=128), 0..6),
        (high, low) in (0u128..4, 0u128..4),
        port in 6u16..9,
    ) {
        let six_of = |high: u128, low: u128| Ipv6Addr::from(high << 64 | low << 30);
        let four_of = |high: u128, low: u128| Ipv4Addr::from((high << 30 | low << 7) as u32);
        let ranges = ranges(&[(7, 7), (8, 8)]);
        let run_to = |version, address: IpAddr, networks: &[OwnNetwork]| {
            let (mut packet, at) = match version {
                IpVersion::V4 => (four(UDP, 0, port, 0), 16),
                IpVersion::V6 => (six(UDP, "::1", port, 0), 24),
            };
            let octets = match address {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            packet[at..at + octets.len()].copy_from_slice(&octets);
            let program = super::arrivals(version, &ranges, Some(networks), SNAPPED);
            run(&program, &packet, 0, 0) != 0
        };
        let sixes: Vec<OwnNetwork> = networks.iter().map(|&(high, low, bits)| OwnNetwork {
            address: six_of(high, low).into(),
            bits,
        }).collect();
        let to = six_of(high, low);
        let differs = |address: u128, bits: u8| (address ^ u128::from(to)).leading_zeros() < bits.into();
        let is_in = networks.iter().any(|&(high, low, bits)| !differs(six_of(high, low).into(), bits));
        prop_assert_eq!(run_to(IpVersion::V6, to.into(), &sixes), is_in && port != 6);

        let fours: Vec<OwnNetwork> = networks.iter().map(|&(high, low, bits)| OwnNetwork {
            address: four_of(high, low).into(),
            bits: bits / 4,
        }).collect();
        let to = four_of(high, low);
        let differs = |address: u32, bits: u8| (address ^ u32::from(to)).leading_zeros() < bits.into();
        let is_in = networks.iter().any(|&(high, low, bits)| !differs(four_of(high, low).into(), bits / 4));
        prop_assert_eq!(run_to(IpVersion::V4, to.into(), &fours), is_in && port != 6);
        // Those of the other version count for nothing.
        prop_assert!(!run_to(IpVersion::V4, to.into(), &sixes));
    }
}
