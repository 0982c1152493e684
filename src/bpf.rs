//! Programs of classic BPF, which decide in the kernel which packets a socket gets (linux/filter.h).
//!
//! There are two. [`arrivals`] is for the packet sockets of the sensor, which would otherwise get all that a
//! router forwards: it keeps what begins a TCP connection and the UDP datagrams, to certain ports. [`sources`]
//! is for the listener of a door: it keeps what certain addresses send, and for everybody else the port is as
//! silent as a firewall makes the others.
//!
//! Every kernel runs classic BPF, and it needs no privilege. A jump leads forward, over at most 255
//! instructions.

use crate::limits::{ADMITTED, SENSED_RANGES};
use core::net::IpAddr;
use core::ops::RangeInclusive;
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT,
    BPF_JMP, BPF_JSET, BPF_LD, BPF_LDX, BPF_MEM, BPF_MSH, BPF_RET, BPF_ST, BPF_W, sock_filter,
};

/// The kernel runs it for each packet. It returns how many bytes of the packet to keep; 0 drops it.
pub type Program = Vec<sock_filter>;

/// Drops the packet. As a program of its own it drops all of them.
pub const NOTHING: sock_filter = statement(BPF_RET, 0);

/// Keeps the whole packet.
const EVERYTHING: sock_filter = statement(BPF_RET, u32::MAX);

const FIN: u8 = 0x01;
/// The TCP flag that begins a connection (RFC 9293, section 3.1).
pub const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// The TCP flags of which the first packet of a connection has SYN alone.
pub const FLAGS: u8 = FIN | SYN | RST | ACK;

/// The offset at which the kernel shows a packet's type, which is not one of its bytes (linux/filter.h).
const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
/// The offset of the IP header, wherever the data of the socket begin.
const IP_HEADER: u32 = libc::SKF_NET_OFF as u32;

/// The type of a packet that was sent to this host (linux/if_packet.h, PACKET_HOST).
const TO_THIS_HOST: u32 = 0;

/// The bits of IPv4 that a fragment has: "more fragments" or an offset (RFC 791).
const IS_FRAGMENT: u32 = 0x3fff;

const TCP: u32 = libc::IPPROTO_TCP as u32;
const UDP: u32 = libc::IPPROTO_UDP as u32;

/// The first word of an IPv6 address that NAT64 makes of an IPv4 address; two words of zeros follow (RFC 6052).
const NAT64: u32 = 0x0064_ff9b;

/// The length of an IPv6 header without extensions, in bytes.
const IPV6_HEADER: u32 = 40;

/// The instructions for one admitted IPv6 address.
const SIX: usize = 9;

const fn statement(code: u32, value: u32) -> sock_filter {
    jump(code, value, 0, 0)
}

/// Skips `yes` or `no` instructions after this one.
const fn jump(code: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k: value,
    }
}

/// The IP version of packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpVersion {
    /// IPv4, with or without options.
    V4,
    /// IPv6 without extension headers.
    V6,
}

/// Keeps `kept` bytes of each first packet of a TCP connection and of each UDP datagram to one of the ports, if it
/// was sent to this host and is not a fragment: only the first fragment has a port. It is for a socket whose
/// packets begin with the IP header.
///
/// More than [`SENSED_RANGES`] ranges become one, from the lowest port to the highest.
#[must_use]
pub fn arrivals(version: IpVersion, ranges: &[RangeInclusive<u16>], kept: u32) -> Program {
    let mut program = Program::new();
    program.push(statement(BPF_LD | BPF_B | BPF_ABS, PACKET_TYPE));
    // The index register becomes the length of the IP header.
    match version {
        IpVersion::V4 => program.extend_from_slice(&[
            jump(BPF_JMP | BPF_JEQ, TO_THIS_HOST, 0, 9),
            statement(BPF_LD | BPF_H | BPF_ABS, 6),
            jump(BPF_JMP | BPF_JSET, IS_FRAGMENT, 7, 0),
            statement(BPF_LDX | BPF_B | BPF_MSH, 0),
            statement(BPF_LD | BPF_B | BPF_ABS, 9),
        ]),
        IpVersion::V6 => program.extend_from_slice(&[
            jump(BPF_JMP | BPF_JEQ, TO_THIS_HOST, 0, 7),
            statement(BPF_LDX | BPF_W | BPF_IMM, IPV6_HEADER),
            statement(BPF_LD | BPF_B | BPF_ABS, 6),
        ]),
    }
    program.extend_from_slice(&[
        jump(BPF_JMP | BPF_JEQ, UDP, 5, 0),
        jump(BPF_JMP | BPF_JEQ, TCP, 0, 3),
        statement(BPF_LD | BPF_B | BPF_IND, 13),
        statement(BPF_ALU | BPF_AND, FLAGS.into()),
        jump(BPF_JMP | BPF_JEQ, SYN.into(), 1, 0),
        NOTHING,
        // The destination port.
        statement(BPF_LD | BPF_H | BPF_IND, 2),
    ]);
    let mut add = |low: u16, high: u16| {
        program.extend_from_slice(&[
            jump(BPF_JMP | BPF_JGE, low.into(), 0, 2),
            jump(BPF_JMP | BPF_JGT, high.into(), 1, 0),
            statement(BPF_RET, kept),
        ]);
    };
    if ranges.len() <= SENSED_RANGES {
        for range in ranges {
            add(*range.start(), *range.end());
        }
    } else {
        let ends = ranges.iter().fold((u16::MAX, 0), |(low, high), range| {
            (low.min(*range.start()), high.max(*range.end()))
        });
        add(ends.0, ends.1);
    }
    program.push(NOTHING);
    program
}

/// Keeps what one of the addresses sends. IPv4 addresses may come through NAT64 as well, and are given as IPv4.
/// Only the first [`ADMITTED`] count, because the kernel limits the memory of a socket's filter.
#[must_use]
pub fn sources(admitted: &[IpAddr]) -> Program {
    let admitted = &admitted[..admitted.len().min(ADMITTED)];
    let mut fours = admitted.iter().filter(|address| address.is_ipv4()).count();
    let sixes = admitted.len() - fours;
    // The IPv4 addresses come last, after those of IPv6 and the instruction that drops all others.
    let to_fours = (sixes * SIX + 1) as u32;

    let mut program = Program::from([
        statement(BPF_LD | BPF_B | BPF_ABS, IP_HEADER),
        statement(BPF_ALU | BPF_AND, 0xf0),
        jump(BPF_JMP | BPF_JEQ, 0x60, 2, 0),
        statement(BPF_LD | BPF_W | BPF_ABS, IP_HEADER + 12),
        statement(BPF_JMP | BPF_JA, 15 + to_fours),
    ]);
    // IPv6: the source is copied to the program's memory. A load from the packet takes the processor eight
    // instructions, a load from memory takes one.
    for word in (0..4).rev() {
        program.extend_from_slice(&[
            statement(BPF_LD | BPF_W | BPF_ABS, IP_HEADER + 8 + 4 * word),
            statement(BPF_ST, word),
        ]);
    }
    program.extend_from_slice(&[
        jump(BPF_JMP | BPF_JEQ, NAT64, 0, 6),
        statement(BPF_LD | BPF_MEM, 1),
        jump(BPF_JMP | BPF_JEQ, 0, 0, 4),
        statement(BPF_LD | BPF_MEM, 2),
        jump(BPF_JMP | BPF_JEQ, 0, 0, 2),
        statement(BPF_LD | BPF_MEM, 3),
        statement(BPF_JMP | BPF_JA, to_fours),
    ]);
    for &address in admitted {
        if let IpAddr::V6(v6) = address {
            // Its end first, because neighbours have the beginning in common.
            for word in (0..4).rev() {
                let wanted = (u128::from(v6) >> (96 - 32 * word)) as u32;
                program.extend_from_slice(&[
                    statement(BPF_LD | BPF_MEM, word),
                    jump(BPF_JMP | BPF_JEQ, wanted, 0, 2 * word as u8 + 1),
                ]);
            }
            program.push(EVERYTHING);
        }
    }
    program.push(NOTHING);
    for &address in admitted {
        if let IpAddr::V4(v4) = address {
            program.push(jump(BPF_JMP | BPF_JEQ, v4.into(), fours as u8, 0));
            fours -= 1;
        }
    }
    program.extend_from_slice(&[NOTHING, EVERYTHING]);
    program
}

#[cfg(test)]
mod tests {
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
        super::arrivals(version, ranges, SNAPPED)
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
}
