//! gate = packet: one datagram that looks random, but proves that its sender knows the secret.
//!
//! ```text
//!   datagram = nonce[16] ‖ body[24] ‖ HMAC(K, "packet" ‖ nonce ‖ body)
//!   body     = (u64 unix seconds ‖ address[16]) xor HMAC(K, "cover" ‖ nonce)
//! ```
//!
//! Nothing ever answers. A datagram counts in the live minutes, once, and for one address: the one inside.
//! So an attacker who intercepts it and sends it on admits nobody else.

use super::key::{DIGEST, Key};
use super::schedule::Schedule;
use super::token::{NONCE, Nonce};
use crate::proto::source::canonical;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of the time and the address.
const BODY: usize = 24;

/// Bytes of a datagram.
pub const PACKET: usize = NONCE + BODY + DIGEST;

/// Makes a datagram for a moment, in Unix seconds, and an address; None stands for its sender's.
#[must_use]
pub fn make(key: &Key, unix: u64, address: Option<IpAddr>, nonce: &Nonce) -> [u8; PACKET] {
    let address = match address {
        None => Ipv6Addr::UNSPECIFIED,
        Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped(),
        Some(IpAddr::V6(v6)) => v6,
    };
    let mut body = [0; BODY];
    body[..8].copy_from_slice(&unix.to_be_bytes());
    body[8..].copy_from_slice(&address.octets());
    cover(key, nonce, &mut body);

    let mut packet = [0; PACKET];
    packet[..NONCE].copy_from_slice(nonce);
    packet[NONCE..NONCE + BODY].copy_from_slice(&body);
    packet[NONCE + BODY..].copy_from_slice(&key.hmac(&[b"packet", nonce, &body]));
    packet
}

/// The decrypted content of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// When it was made, in Unix seconds by the sender's clock.
    pub unix: u64,
    /// The address to admit; None stands for its sender's.
    pub address: Option<IpAddr>,
}

/// The content, if the datagram was made with this key.
#[must_use]
pub fn open(key: &Key, packet: &[u8; PACKET]) -> Option<Content> {
    let (message, tag) = packet.split_at(NONCE + BODY);
    let (nonce, body) = message.split_at(NONCE);
    if !key.verify(&[b"packet", message], tag) {
        return None;
    }
    let mut body = *body.first_chunk::<BODY>()?;
    cover(key, nonce, &mut body);
    let unix = u64::from_be_bytes(*body.first_chunk()?);
    let address = Ipv6Addr::from(*body.last_chunk::<16>()?);
    let address = (!address.is_unspecified()).then(|| canonical(address.into()));
    Some(Content { unix, address })
}

/// Encrypts or decrypts the body.
fn cover(key: &Key, nonce: &[u8], body: &mut [u8; BODY]) {
    for (byte, cover) in body.iter_mut().zip(key.hmac(&[b"cover", nonce])) {
        *byte ^= cover;
    }
}

/// Which address a datagram may admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// The one inside, or its sender's if there is none.
    Any,
    /// Only its sender's: another one inside is refused.
    Sender,
    /// Only the one inside: a datagram without one is refused.
    Inside,
}

/// What a datagram has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The secret and a live minute: the address is admitted, unless the datagram was used before.
    Good {
        /// The address to admit.
        address: IpAddr,
        /// The minute.
        minute: u64,
    },
    /// The secret, but its minute is not live.
    Stale {
        /// When it was made, in Unix seconds by the sender's clock.
        unix: u64,
    },
    /// It is for an address that is not its sender's, or that no host can have.
    WrongAddress {
        /// The address inside.
        address: IpAddr,
    },
    /// It has no address inside, but needs one.
    NoAddress,
    /// Nothing: it was not made with this key.
    NotOurs,
}

/// Checks a datagram that came from `sender`. Whether it was used before is not known here.
#[must_use]
pub fn verify(schedule: &Schedule, packet: &[u8; PACKET], sender: IpAddr, admits: Admits) -> Shown {
    let Some(Content { unix, address }) = open(schedule.key(), packet) else {
        return Shown::NotOurs;
    };
    let minute = schedule.pattern().minute(unix);
    if !schedule.live().contains(&minute) {
        return Shown::Stale { unix };
    }
    let sender = canonical(sender);
    let address = match (address, admits) {
        (None, Admits::Inside) => return Shown::NoAddress,
        (None, Admits::Any | Admits::Sender) => sender,
        (Some(address), _) => address,
    };
    if !is_hosts(address) || admits == Admits::Sender && address != sender {
        return Shown::WrongAddress { address };
    }
    Shown::Good { address, minute }
}

/// The nonce of a datagram.
#[must_use]
pub fn nonce(packet: &[u8; PACKET]) -> Nonce {
    let mut nonce = Nonce::default();
    nonce.copy_from_slice(&packet[..NONCE]);
    nonce
}

/// Whether an address can belong to one host: a firewall may take 0.0.0.0 for everybody.
fn is_hosts(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != Ipv4Addr::BROADCAST
}

#[cfg(test)]
mod tests;
