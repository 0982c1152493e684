//! client-address = loopback: each source has an address of 127/8 for itself, from which the service is dialled.
//!
//! ```text
//!   digest    = HMAC(K, "loopback" ‖ source[16])
//!   127.a.b.c   a = 1 + (u32 of digest[0..4]) mod 254,  b = digest[4],  c = digest[5]
//! ```
//!
//! So a service that counts by address counts each source by itself. Nobody without the key knows in advance whom
//! they share an address with. No client computes it: it is not part of the scheme. A source keeps its address as
//! long as the mirage keeps its secret and its name.

use super::event::SectionName;
use super::scheme::key::Key;
use super::source::Source;
use crate::limits::CLIENT_ADDRESSES;
use core::net::Ipv4Addr;
use std::collections::VecDeque;

/// The values of `a`. 127.0.0.0/16 has 127.0.0.1 and what else local programs use, and 127.255.0.0/16 the
/// broadcast address.
const SECOND_OCTETS: u32 = 254;

/// The address of a source at the mirage with this key.
#[must_use]
pub fn loopback(key: &Key, source: Source) -> Ipv4Addr {
    let [w, x, y, z, b, c, ..] = key.hmac(&[b"loopback", source.octets()]);
    let a = 1 + u32::from_be_bytes([w, x, y, z]) % SECOND_OCTETS;
    Ipv4Addr::new(127, a as u8, b, c)
}

/// A source, and the address at which a mirage's service has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address of 127/8.
    pub address: Ipv4Addr,
    /// The source.
    pub source: Source,
    /// The mirage.
    pub mirage: SectionName,
}

/// The last sources that a service has seen, the latest at the end.
///
/// A service's log names addresses of 127/8, and is read when the session is over.
#[derive(Debug, Default)]
pub struct LastClients(VecDeque<Client>);

impl LastClients {
    /// Remembers a source, and forgets the earliest one if there is no room.
    pub fn note(&mut self, client: Client) {
        self.0.retain(|known| *known != client);
        if self.0.len() >= CLIENT_ADDRESSES {
            self.0.pop_front();
        }
        self.0.push_back(client);
    }

    /// The sources that were seen at an address, the latest first.
    pub fn at(&self, address: Ipv4Addr) -> impl Iterator<Item = &Client> {
        let all = self.0.iter().rev();
        all.filter(move |client| client.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    /// Computed by `openssl kdf` and `openssl dgst -mac HMAC`: a source keeps its address over releases.
    #[test]
    fn a_source_has_the_address_that_openssl_computes() {
        let keys = [("password", "ssh"), ("password", "web")];
        let [ssh, web] = keys.map(|(secret, name)| Key::stretch(secret.as_bytes(), name));
        for (key, of, expected) in [
            (&ssh, "192.0.2.7", "127.147.69.102"),
            (&ssh, "192.0.2.8", "127.60.12.30"),
            (&ssh, "2001:db8:1:2::7", "127.57.200.97"),
            (&ssh, "fe80::1", "127.12.231.251"),
            (&web, "192.0.2.7", "127.52.197.62"),
        ] {
            assert_eq!(loopback(key, source(of)).to_string(), expected, "{of}");
        }
    }

    #[test]
    fn the_addresses_of_one_source_share_one() {
        let key = Key::of(b"key");
        let of = |text| loopback(&key, source(text));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("64:ff9b::192.0.2.7"), of("192.0.2.7"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("fe80::1"), of("fe80::2"));
    }

    #[test]
    fn every_second_octet_but_the_first_and_the_last_is_used() {
        let key = Key::of(b"key");
        let mut seen = [false; 256];
        for number in 0..20_000 {
            let address = loopback(&key, Source::of(Ipv4Addr::from(number).into()));
            let [first, second, ..] = address.octets();
            assert_eq!(first, 127);
            seen[usize::from(second)] = true;
        }
        let expected = core::array::from_fn(|octet| (1..=254).contains(&octet));
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_last_clients_are_remembered_once_each() {
        let client = |number: u32| Client {
            address: Ipv4Addr::new(127, 1, 0, 0),
            source: Source::of(Ipv4Addr::from(number).into()),
            mirage: "ssh".into(),
        };
        let mut last = LastClients::default();
        let all = CLIENT_ADDRESSES as u32;
        for number in (0..=all).chain([5, 5]) {
            last.note(client(number));
        }
        let found: Vec<_> = last.at(Ipv4Addr::new(127, 1, 0, 0)).cloned().collect();
        assert_eq!(found.len(), CLIENT_ADDRESSES);
        assert_eq!(found[..3], [client(5), client(all), client(all - 1)]);
        assert!(!found.contains(&client(0)));
        assert_eq!(last.at(Ipv4Addr::new(127, 1, 0, 1)).count(), 0);
    }
}
