//! Parses a packet that arrived at a packet socket, from its IP header on.
//!
//! A peer has chosen every byte that is read here.

use crate::bpf::{FLAGS, IpVersion, SYN};
use crate::proto::scheme::knock::Protocol;
use crate::proto::scheme::packet::PACKET;
use crate::proto::source::canonical;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a packet that are kept: the longest IP header, UDP's header, and a datagram that opens a door.
pub const SNAP: usize = 60 + 8 + PACKET;

/// The first packet of a TCP connection, or a UDP datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Packet<'a> {
    /// The source address in its canonical form. Anybody can forge it.
    pub from: IpAddr,
    /// The source port. Anybody can forge it, too.
    pub from_port: u16,
    /// The destination address.
    pub to: IpAddr,
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
    /// A datagram's payload, if it has the length of one that opens a door; if it has a multiple of that
    /// length, its first part.
    pub said: Option<&'a [u8; PACKET]>,
}

/// The shortest IP headers, a UDP header, and a TCP header up to its flags, in bytes.
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const TCP_TO_FLAGS: usize = 14;

/// Parses an IP packet. The filter has checked it before, but nothing here relies on that.
#[must_use]
pub fn read(version: IpVersion, bytes: &[u8]) -> Option<Packet<'_>> {
    let (from, to, protocol, header, length): (IpAddr, IpAddr, _, _, _) = match version {
        IpVersion::V4 => {
            let fixed: &[u8; IPV4_HEADER] = bytes.first_chunk()?;
            let header = usize::from(fixed[0] & 0xf) * 4;
            let is_fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0;
            if fixed[0] >> 4 != 4 || header < IPV4_HEADER || is_fragment {
                return None;
            }
            let [from, to] = [12, 16].map(|at| {
                let [a, b, c, d] = [0, 1, 2, 3].map(|byte| fixed[at + byte]);
                Ipv4Addr::new(a, b, c, d)
            });
            let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
            (from.into(), to.into(), fixed[9], header, length)
        }
        IpVersion::V6 => {
            let fixed: &[u8; IPV6_HEADER] = bytes.first_chunk()?;
            if fixed[0] >> 4 != 6 {
                return None;
            }
            let [from, to] = [8, 24].map(|at| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&fixed[at..at + 16]);
                Ipv6Addr::from(octets)
            });
            let length = usize::from(u16::from_be_bytes([fixed[4], fixed[5]])) + IPV6_HEADER;
            (from.into(), to.into(), fixed[6], IPV6_HEADER, length)
        }
    };
    // A short frame is padded behind the packet.
    let bytes = &bytes[..bytes.len().min(length)];
    let said = bytes.get(header..)?;
    let (protocol, payload) = match i32::from(protocol) {
        libc::IPPROTO_TCP => {
            let start: &[u8; TCP_TO_FLAGS] = said.first_chunk()?;
            if start[13] & FLAGS != SYN {
                return None;
            }
            (Protocol::Tcp, None)
        }
        libc::IPPROTO_UDP => {
            let start: &[u8; UDP_HEADER] = said.first_chunk()?;
            let length = usize::from(u16::from_be_bytes([start[4], start[5]]));
            let payload = said[UDP_HEADER..].first_chunk();
            // The kernel may have joined datagrams of one sender that came at once (GRO, which OpenWrt
            // enables): the first of them counts.
            let length = length.saturating_sub(UDP_HEADER);
            let payload = payload.filter(|_| length > 0 && length.is_multiple_of(PACKET));
            (Protocol::Udp, payload)
        }
        _ => return None,
    };
    Some(Packet {
        from: canonical(from),
        from_port: u16::from_be_bytes([said[0], said[1]]),
        to: canonical(to),
        protocol,
        port: u16::from_be_bytes([said[2], said[3]]),
        said: payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn four(protocol: i32, said: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; IPV4_HEADER];
        packet[0] = 0x45;
        packet[9] = protocol as u8;
        packet[12..20].copy_from_slice(&[192, 0, 2, 7, 198, 51, 100, 1]);
        packet.extend(said);
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet
    }

    fn six(protocol: i32, from: &str, said: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; IPV6_HEADER];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&(said.len() as u16).to_be_bytes());
        packet[6] = protocol as u8;
        let from: Ipv6Addr = from.parse().unwrap();
        packet[8..24].copy_from_slice(&from.octets());
        packet[24..40].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        packet.extend(said);
        packet
    }

    fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut said = vec![0; UDP_HEADER];
        said[..2].copy_from_slice(&40_000u16.to_be_bytes());
        said[2..4].copy_from_slice(&port.to_be_bytes());
        said.extend(payload);
        let length = said.len() as u16;
        said[4..6].copy_from_slice(&length.to_be_bytes());
        said
    }

    fn syn(port: u16) -> Vec<u8> {
        let mut said = vec![0; 20];
        said[2..4].copy_from_slice(&port.to_be_bytes());
        said[13] = SYN;
        said
    }

    #[test]
    fn a_datagram_of_the_right_length_has_its_payload() {
        let payload: [u8; PACKET] = core::array::from_fn(|byte| byte as u8);
        let bytes = four(libc::IPPROTO_UDP, &datagram(10_007, &payload));
        let expected = Packet {
            from: "192.0.2.7".parse().unwrap(),
            from_port: 40_000,
            to: "198.51.100.1".parse().unwrap(),
            protocol: Protocol::Udp,
            port: 10_007,
            said: Some(&payload),
        };
        assert_eq!(read(IpVersion::V4, &bytes), Some(expected));
        // Padding behind a short packet.
        let mut filled = bytes.clone();
        filled.extend([0; 6]);
        assert_eq!(read(IpVersion::V4, &filled), Some(expected));
        for length in [0, 71, 73, 143] {
            let bytes = four(libc::IPPROTO_UDP, &datagram(10_007, &vec![7; length]));
            assert_eq!(read(IpVersion::V4, &bytes).unwrap().said, None, "{length}");
            // Cut by the kernel.
            let cut = &bytes[..bytes.len().min(IPV4_HEADER + UDP_HEADER + PACKET)];
            assert_eq!(read(IpVersion::V4, cut).unwrap().said, None, "{length}");
        }
        // Two datagrams joined on their way.
        let doubled = four(libc::IPPROTO_UDP, &datagram(10_007, &payload.repeat(2)));
        assert_eq!(read(IpVersion::V4, &doubled), Some(expected));
        // A length field beyond the packet's end.
        let mut lying = bytes.clone();
        lying[2..4].copy_from_slice(&50u16.to_be_bytes());
        assert_eq!(read(IpVersion::V4, &lying).unwrap().said, None);
    }

    #[test]
    fn a_source_is_canonical() {
        let from = |text| {
            let bytes = six(libc::IPPROTO_TCP, text, &syn(7));
            read(IpVersion::V6, &bytes).unwrap().from.to_string()
        };
        assert_eq!(from("2001:db8::1"), "2001:db8::1");
        assert_eq!(from("64:ff9b::192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn what_begins_nothing_is_none_of_ours() {
        let good = four(libc::IPPROTO_TCP, &syn(7));
        let beginning = read(IpVersion::V4, &good).unwrap();
        assert_eq!((beginning.protocol, beginning.port), (Protocol::Tcp, 7));
        assert_eq!(read(IpVersion::V6, &good), None);
        assert_eq!(
            read(IpVersion::V4, &four(libc::IPPROTO_ICMP, &syn(7))),
            None
        );
        for (byte, value) in [
            (0, 0x44),
            (0, 0x65),
            (0, 0x4f),
            (6, 0x20),
            (7, 1),
            (33, 0x12),
            (33, 0x06),
        ] {
            let mut bad = good.clone();
            bad[byte] = value;
            assert_eq!(read(IpVersion::V4, &bad), None, "{byte}");
        }
        for length in 0..IPV4_HEADER + TCP_TO_FLAGS {
            assert_eq!(read(IpVersion::V4, &good[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_peer_sends_stops_us(mut bytes in proptest::collection::vec(any::<u8>(), 0..160), likely in any::<bool>()) {
            if likely && bytes.len() > 10 {
                bytes[0] = 0x40 | bytes[0] & 0x0f;
                bytes[6] = 0;
                bytes[7] = 0;
                bytes[9] = if bytes[9] & 1 == 0 { 6 } else { 17 };
            }
            for version in [IpVersion::V4, IpVersion::V6] {
                let length = bytes.len();
                let packet = read(version, &bytes);
                let is_said = packet.is_some_and(|packet| packet.said.is_some());
                prop_assert!(!is_said || length >= IPV4_HEADER + UDP_HEADER + PACKET);
            }
        }
    }
}
