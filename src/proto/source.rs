//! Sources: an address as bans and caps count it; and the networks that a configuration names.
//!
//! One host has many addresses. A banned IPv6 host could take the next of its 2^64 addresses, so a source
//! is a whole /64. An IPv4 host that comes v4-mapped or through NAT64 counts as that IPv4 host. All
//! link-local addresses share one /64, so each of them counts by itself.

use super::number::parse_number;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// Bits of 128 that identify a source. IPv4 and link-local addresses use all 128.
const SUBNET_BITS: u32 = 64;

/// 64:ff9b::/96, the well-known prefix of NAT64 (RFC 6052, section 2.1).
const NAT64: u128 = 0x0064_ff9b << 96;

/// The IPv4 address inside a v4-mapped or NAT64 address; any other address as it is.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            if u128::from(v6) >> 32 == NAT64 >> 32 {
                let low = u128::from(v6) & u128::from(u32::MAX);
                return IpAddr::V4(Ipv4Addr::from(low as u32));
            }
            v6.to_canonical()
        }
    }
}

/// An address as bans, caps and counters see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source([u8; 16]);

impl Source {
    /// The source that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let bits = match canonical(address) {
            IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => u128::from(v6),
            IpAddr::V6(v6) => u128::from(v6) >> SUBNET_BITS << SUBNET_BITS,
        };
        Self(bits.to_be_bytes())
    }

    /// What it is known by, as 16 bytes: an IPv4 address is mapped, and of an IPv6 network the low half is 0.
    #[must_use]
    pub fn octets(&self) -> &[u8; 16] {
        &self.0
    }

    fn address(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.0)).to_canonical()
    }
}

/// `192.0.2.7`, `fe80::1`, or a network: `2001:db8:1:2::/64`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => write!(f, "{v6}"),
            IpAddr::V6(v6) => write!(f, "{v6}/{SUBNET_BITS}"),
        }
    }
}

/// Accepts what [`Source`] displays, or any address that belongs to it.
impl FromStr for Source {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let address = text.strip_suffix("/64").unwrap_or(text);
        address.parse().map(Self::of).map_err(|_| ())
    }
}

/// A network: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    prefix: u32,
}

impl Network {
    /// Whether the address lies in it. A v4-mapped or NAT64 address counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = match canonical(address) {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        (u128::from(bits) ^ self.bits) & mask(self.prefix) == 0
    }
}

impl Network {
    /// Whether it is an IPv4 network. `::/0`, or any other network that contains all of IPv4, is not.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.prefix >= 96
            && self.bits >> 32 == u128::from(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()) >> 32
    }
}

/// As in the configuration: `192.0.2.0/24`.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ipv4() {
            return write!(
                f,
                "{}/{}",
                Ipv4Addr::from(self.bits as u32),
                self.prefix - 96
            );
        }
        write!(f, "{}/{}", Ipv6Addr::from(self.bits), self.prefix)
    }
}

fn mask(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

/// Why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// The part before the slash is not an address.
    Address,
    /// The part after the slash is not a prefix length of that family.
    Prefix,
    /// Bits after the prefix are set: 192.0.2.7/24.
    HostBits,
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let (bits, width) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_ipv6_mapped()), 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let prefix = match prefix {
            None => width,
            Some(prefix) => parse_number(prefix)
                .and_then(|prefix| u32::try_from(prefix).ok())
                .ok_or(NetworkError::Prefix)?,
        };
        if prefix > width {
            return Err(NetworkError::Prefix);
        }
        let prefix = prefix + 128 - width;
        if bits & !mask(prefix) != 0 {
            return Err(NetworkError::HostBits);
        }
        // As a visitor's address is: a part of the NAT64 prefix is a part of IPv4.
        let bits = match canonical(address) {
            IpAddr::V4(v4) if prefix >= 96 => u128::from(v4.to_ipv6_mapped()),
            _ => bits,
        };
        Ok(Self { bits, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn mapped_and_nat64_addresses_are_ipv4() {
        assert_eq!(source("::ffff:192.0.2.7"), source("192.0.2.7"));
        assert_eq!(source("64:ff9b::192.0.2.7"), source("192.0.2.7"));
        assert_ne!(source("64:ff9b:1::192.0.2.7"), source("192.0.2.7"));
        assert_eq!(source("192.0.2.7").to_string(), "192.0.2.7");
    }

    #[test]
    fn ipv6_counts_by_its_64_and_link_local_whole() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_ne!(source("fe80::1"), source("fe80::2"));
        assert_eq!(source("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
        assert_eq!(source("fe80::1").to_string(), "fe80::1");
    }

    #[test]
    fn what_is_displayed_can_be_read_again() {
        for text in ["192.0.2.7", "2001:db8:1:2::7", "fe80::1", "::1"] {
            let one = source(text);
            assert_eq!(one.to_string().parse(), Ok(one), "{text}");
        }
        assert_eq!("192.0.2".parse::<Source>(), Err(()));
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(network("192.0.2.0/24").contains(address("192.0.2.255")));
        assert!(network("192.0.2.0/24").contains(address("::ffff:192.0.2.1")));
        assert!(!network("192.0.2.0/24").contains(address("192.0.3.0")));
        assert!(network("2001:db8::/32").contains(address("2001:db8:ffff::")));
        assert!(!network("2001:db8::/32").contains(address("2001:db9::")));
        assert!(network("0.0.0.0/0").contains(address("255.1.2.3")));
        assert!(!network("0.0.0.0/0").contains(address("2001:db8::1")));
        assert!(network("::/0").contains(address("1.2.3.4")));
        assert!(network("::1").contains(address("::1")));
        assert!(!network("::1").contains(address("::2")));
    }

    #[test]
    fn a_network_of_ipv4_in_ipv6_is_one_of_ipv4() {
        for (text, is) in [
            ("64:ff9b::/96", "0.0.0.0/0"),
            ("64:ff9b::192.0.2.0/120", "192.0.2.0/24"),
            ("64:ff9b::192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), is);
            assert!(network.is_ipv4());
            let visitor = "64:ff9b::192.0.2.7".parse().unwrap();
            assert!(network.contains(visitor), "{text}");
        }
        // More than IPv4, of which no visitor's address is left.
        let wider: Network = "64:ff9b::/95".parse().unwrap();
        assert_eq!(wider.to_string(), "64:ff9b::/95");
    }

    #[test]
    fn a_network_is_written_as_it_was_read() {
        for text in [
            "192.0.2.0/24",
            "0.0.0.0/0",
            "192.0.2.7/32",
            "2001:db8::/32",
            "::/0",
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
            assert_eq!(network.is_ipv4(), !text.contains(':'), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_says_why() {
        let why = |text: &str| text.parse::<Network>().unwrap_err();
        assert_eq!(why("lan"), NetworkError::Address);
        assert_eq!(why("192.0.2.0/33"), NetworkError::Prefix);
        assert_eq!(why("192.0.2.0/x"), NetworkError::Prefix);
        assert_eq!(why("192.0.2.7/24"), NetworkError::HostBits);
    }
}
