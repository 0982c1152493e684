//! Programs of classic BPF, which decide in the kernel which packets a socket gets, or what becomes of a process's
//! system calls (linux/filter.h).
//!
//! There are two for packets. [`arrivals`] is for the packet sockets of the sensor, which would otherwise get all
//! that a router forwards: it keeps what begins a TCP connection and the UDP datagrams, to certain ports.
//! [`sources`] is for the listener of a door: it keeps what certain addresses send, and for everybody else the port
//! is as silent as a firewall makes the others. A third one, [`calls`], is for the system calls of a process.
//!
//! Every kernel runs classic BPF, and it needs no privilege. A jump leads forward, over at most 255
//! instructions.

mod calls;

pub use calls::{Checked, calls};

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

/// Addresses that have their first bits in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnNetwork {
    /// One of them.
    pub address: IpAddr,
    /// How many bits they have in common.
    pub bits: u8,
}

/// Keeps `kept` bytes of each first packet of a TCP connection and of each UDP datagram to one of the ports, if it
/// was sent to this host and is not a fragment: only the first fragment has a port. It is for a socket whose
/// packets begin with the IP header.
///
/// A router is sent what it passes on, too. With networks, only what is addressed to one of them is kept; those of
/// the other IP version are ignored.
///
/// More than [`SENSED_RANGES`] ranges become one, from the lowest port to the highest.
#[must_use]
pub fn arrivals(
    version: IpVersion,
    ranges: &[RangeInclusive<u16>],
    networks: Option<&[OwnNetwork]>,
    kept: u32,
) -> Program {
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
    let all;
    let ranges = if ranges.len() <= SENSED_RANGES {
        ranges
    } else {
        let (low, high) = ranges.iter().fold((u16::MAX, 0), |(low, high), range| {
            (low.min(*range.start()), high.max(*range.end()))
        });
        all = [low..=high];
        &all
    };
    for (number, range) in ranges.iter().enumerate() {
        // What is done with a right port stands behind the last range.
        let to_end = 3 * (ranges.len() - 1 - number) + 1;
        program.extend_from_slice(&[
            jump(BPF_JMP | BPF_JGE, u32::from(*range.start()), 0, 2),
            jump(BPF_JMP | BPF_JGT, u32::from(*range.end()), 1, 0),
            statement(BPF_JMP | BPF_JA, to_end as u32),
        ]);
    }
    program.push(NOTHING);
    match networks {
        None => program.push(statement(BPF_RET, kept)),
        Some(networks) => keep_destinations(&mut program, version, networks, kept),
    }
    program
}

/// Keeps what is addressed to one of these networks.
fn keep_destinations(
    program: &mut Program,
    version: IpVersion,
    networks: &[OwnNetwork],
    kept: u32,
) {
    let (first, words) = match version {
        IpVersion::V4 => (16, 1),
        IpVersion::V6 => (24, 4),
    };
    // As in `sources`: a load from memory is shorter than one from the packet.
    for word in 0..words {
        program.extend_from_slice(&[
            statement(BPF_LD | BPF_W | BPF_ABS, first + 4 * word),
            statement(BPF_ST, word),
        ]);
    }
    for OwnNetwork { address, bits } in networks {
        let address = match (version, address) {
            (IpVersion::V4, IpAddr::V4(v4)) => u128::from(u32::from(*v4)) << 96,
            (IpVersion::V6, IpAddr::V6(v6)) => u128::from(*v6),
            _ => continue,
        };
        let begin = program.len();
        for word in (0..words).rev() {
            let of_word = u32::from(*bits).saturating_sub(32 * word).min(32);
            let mask = u32::MAX.checked_shl(32 - of_word).unwrap_or(0);
            let wanted = (address >> (96 - 32 * word)) as u32 & mask;
            if mask == 0 {
                continue;
            }
            program.push(statement(BPF_LD | BPF_MEM, word));
            if mask != u32::MAX {
                program.push(statement(BPF_ALU | BPF_AND, mask));
            }
            program.push(jump(BPF_JMP | BPF_JEQ, wanted, 0, 0));
        }
        program.push(statement(BPF_RET, kept));
        // Whatever differs leads behind this network.
        let end = program.len();
        for (place, step) in program.iter_mut().enumerate().skip(begin) {
            if u32::from(step.code) == BPF_JMP | BPF_JEQ {
                step.jf = (end - place - 1) as u8;
            }
        }
    }
    program.push(NOTHING);
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
mod tests;
