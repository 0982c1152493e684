//! Who somebody is: an address as bans and caps count it, and networks as the configuration names them.
//!
//! One host has many addresses. A banned IPv6 host would take the next of its 2^64, so a source is
//! the /64; an IPv4 host that comes mapped or through NAT64 is the IPv4 host that it is; link-local
//! addresses all share one /64, so they count whole.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// The bytes of a source that count, of 16: all of IPv4 and of link-local addresses, else a /64.
const SUBNET: usize = 8;

/// 64:ff9b::/96, the well-known prefix of NAT64 (RFC 6052, section 2.1).
const NAT64: [u8; 12] = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];

/// The address behind v4-mapped and NAT64 forms.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.octets().strip_prefix(&NAT64)
                && let Some(v4) = v4.first_chunk::<4>()
            {
                return IpAddr::V4(Ipv4Addr::from(*v4));
            }
            v6.to_canonical()
        }
    }
}

/// An address as bans, caps and counts see it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(Debug))]
pub struct Source([u8; 16]);

impl Source {
    /// The source that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let address = canonical(address);
        let mut bytes = bytes(address);
        if let IpAddr::V6(v6) = address
            && !v6.is_unicast_link_local()
        {
            bytes[SUBNET..].fill(0);
        }
        Self(bytes)
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
            IpAddr::V6(v6) => write!(f, "{v6}/{}", SUBNET * 8),
        }
    }
}

/// What [`Source`] displays, or any address that belongs to it.
impl FromStr for Source {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let address = text.strip_suffix("/64").unwrap_or(text);
        address.parse().map(Self::of).map_err(|_| ())
    }
}

/// A network: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Network {
    bytes: [u8; 16],
    /// Of all 16 bytes, for IPv4, too.
    prefix: u32,
}

impl Network {
    /// Whether the address lies in it. A v4-mapped or NAT64 address is the IPv4 one.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let pairs = self.bytes.iter().zip(bytes(canonical(address)));
        let mut masked = pairs.zip(masks(self.prefix));
        masked.all(|((own, other), mask)| (own ^ other) & mask == 0)
    }
}

/// An address as the IPv6 one that it is, or is mapped to.
fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The bits of each byte that belong to a prefix. (128 bits at once are much code on routers.)
fn masks(prefix: u32) -> impl Iterator<Item = u8> {
    (0..16).map(move |byte: u32| {
        let bits = prefix.saturating_sub(8 * byte).min(8);
        !(0xff_u32 >> bits) as u8
    })
}

/// Why a text is no network.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum NetworkError {
    /// What stands before the slash is no address.
    Address,
    /// What stands behind the slash is no prefix of that family.
    Prefix,
    /// There are bits set behind the prefix: 192.0.2.7/24.
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
        let width = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let prefix = match prefix {
            None => width,
            Some(prefix) => prefix.parse().map_err(|_| NetworkError::Prefix)?,
        };
        if prefix > width {
            return Err(NetworkError::Prefix);
        }
        let prefix = prefix + 128 - width;
        let bytes = bytes(address);
        if bytes
            .iter()
            .zip(masks(prefix))
            .any(|(byte, mask)| byte & !mask != 0)
        {
            return Err(NetworkError::HostBits);
        }
        Ok(Self { bytes, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn networks_are_as_arithmetic_with_128_bits_has_them(
            prefix in 0..=128u32,
            network in any::<u128>(),
            flipped in 0..=128u32,
        ) {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            // Outside of what is IPv4 in disguise.
            let network = (network | 1 << 127) & mask;
            let other = network ^ 1u128.checked_shl(flipped).unwrap_or(0);
            let text = format!("{}/{prefix}", Ipv6Addr::from(network));
            let is_canonical = other >> 127 == 1;
            if let Ok(parsed) = text.parse::<Network>() && is_canonical {
                let is_in = (network ^ other) & mask == 0;
                prop_assert_eq!(parsed.contains(Ipv6Addr::from(other).into()), is_in);
            } else {
                prop_assert!(!is_canonical);
            }
            let host = format!("{}/{prefix}", Ipv6Addr::from(network | 1));
            let wrong = (prefix < 128).then_some(NetworkError::HostBits);
            prop_assert_eq!(host.parse::<Network>().err(), wrong);
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
