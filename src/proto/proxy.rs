//! client-address = proxy-v1 and proxy-v2: the header of HAProxy's PROXY protocol (proxy-protocol.txt, sections 2.1
//! and 2.2), by which a service learns whom it talks to before their first byte.

use crate::terms::ProxyVersion;
use core::net::{IpAddr, SocketAddr};

/// The beginning of a header of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, and a connection that was made for somebody else (PROXY, not LOCAL).
const VERSION_AND_COMMAND: u8 = 0x21;

/// TCP over either family.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The header of a visitor who has dialled `to`. Both addresses are of one family, as those of a connection are;
/// mapped ones count as IPv4.
#[must_use]
pub fn header(version: ProxyVersion, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let addresses = [from, to].map(|address| address.ip().to_canonical());
    let ports = [from.port(), to.port()];
    match version {
        ProxyVersion::V1 => text(addresses, ports),
        ProxyVersion::V2 => bytes(addresses, ports),
    }
}

fn text([from, to]: [IpAddr; 2], [from_port, to_port]: [u16; 2]) -> Vec<u8> {
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
}

fn bytes(addresses: [IpAddr; 2], ports: [u16; 2]) -> Vec<u8> {
    let (family, length) = match addresses[0] {
        IpAddr::V4(_) => (TCP4, 12u16),
        IpAddr::V6(_) => (TCP6, 36),
    };
    let mut header = SIGNATURE.to_vec();
    header.extend([VERSION_AND_COMMAND, family]);
    header.extend(length.to_be_bytes());
    for address in addresses {
        match address {
            IpAddr::V4(v4) => header.extend(v4.octets()),
            IpAddr::V6(v6) => header.extend(v6.octets()),
        }
    }
    for port in ports {
        header.extend(port.to_be_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: ProxyVersion, from: &str, to: &str) -> Vec<u8> {
        header(version, from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn version_1_is_the_line_of_the_specification() {
        let line = |from, to| String::from_utf8(of(ProxyVersion::V1, from, to)).unwrap();
        let mapped = line("[::ffff:192.0.2.7]:56324", "[::ffff:198.51.100.1]:10443");
        assert_eq!(mapped, "PROXY TCP4 192.0.2.7 198.51.100.1 56324 10443\r\n");
        let plain = line("192.0.2.7:56324", "198.51.100.1:10443");
        assert_eq!(mapped, plain);
        let six = line("[2001:db8::7%3]:1", "[2001:db8::1]:65535");
        assert_eq!(six, "PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n");
        // The longest one that there is.
        let long = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        assert_eq!(line(long, long).len(), 104);
    }

    #[test]
    fn version_2_is_the_header_of_the_specification() {
        let four = of(ProxyVersion::V2, "192.0.2.7:258", "198.51.100.1:65535");
        let mut expected =
            b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c".to_vec();
        expected.extend([192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 255, 255]);
        assert_eq!(four, expected);
        let six = of(ProxyVersion::V2, "[2001:db8::7]:258", "[::1]:65535");
        let mut expected =
            b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x21\x00\x24".to_vec();
        expected.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend([1, 2, 255, 255]);
        assert_eq!(six, expected);
    }
}
