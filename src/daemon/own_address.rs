//! Which addresses belong to this host.

use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::net::UdpSocket;

/// Whether an address belongs to this host, for a packet that arrived at this interface. A router also receives
/// packets that it forwards.
#[must_use]
pub fn is_own_address(address: IpAddr, interface: u32) -> bool {
    if address.is_unspecified() || address.is_multicast() {
        return false;
    }
    let mut at = match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, 0, 0, interface).into()
        }
        _ => SocketAddr::new(address, 0),
    };
    // Only a local address can be bound, or a network's broadcast address; and the latter can't be connected to
    // without SO_BROADCAST. Nothing is sent.
    UdpSocket::bind(at).is_ok_and(|socket| {
        at.set_port(1);
        socket.connect(at).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_told_from_others() {
        let is_own = |text: &str| is_own_address(text.parse().unwrap(), 1);
        assert!(is_own("127.0.0.1"));
        assert!(is_own("127.9.9.9"));
        for other in [
            "192.0.2.7",
            "0.0.0.0",
            "127.255.255.255",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "ff02::1",
            "2001:db8::1",
            "fe80::1:2:3:4",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
