//! gate = token: 48 bytes that look random, but prove that their sender knows the secret.
//!
//! ```text
//!   token = nonce[16] ‖ HMAC(K, "token" ‖ u64 minute ‖ u16 port ‖ nonce)
//! ```
//!
//! A token is good at one port, for the minutes in which that port is the real one, and once. Checking a
//! token takes the same work at every port, so the time reveals none.

use super::key::{DIGEST, Key};
use super::schedule::{Claims, Role};

/// Random bytes that no other token has.
pub type Nonce = [u8; NONCE];

/// Bytes of a nonce.
pub const NONCE: usize = 16;

/// Bytes of a token.
pub const TOKEN: usize = NONCE + DIGEST;

/// Makes the token of a port in a minute.
#[must_use]
pub fn make(key: &Key, minute: u64, port: u16, nonce: &Nonce) -> [u8; TOKEN] {
    let tag = key.hmac(&message(&minute.to_be_bytes(), &port.to_be_bytes(), nonce));
    let mut token = [0; TOKEN];
    token[..NONCE].copy_from_slice(nonce);
    token[NONCE..].copy_from_slice(&tag);
    token
}

fn message<'a>(minute: &'a [u8; 8], port: &'a [u8; 2], nonce: &'a [u8]) -> [&'a [u8]; 4] {
    [b"token", minute, port, nonce]
}

/// What a token has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The secret, the right minute and a new nonce.
    Good,
    /// The secret, and a clock that is at most two minutes off.
    Grace,
    /// The secret and the right minute, but nobody knows any more whether it was used.
    Forgotten,
    /// Nothing: the token is missing, wrong, used, or for another port.
    Nothing,
}

/// Checks a token at a port with these claims: the port's role in the minute that the token is for, and that
/// minute. Whether it was used before is not known here.
#[must_use]
pub fn verify(key: &Key, claims: &Claims, port: u16, token: &[u8; TOKEN]) -> (Role, u64) {
    let (nonce, tag) = token.split_at(NONCE);
    let port = port.to_be_bytes();
    let mut proven = (Role::Trap, 0);
    for (window, claimed) in (0..).zip(claims.roles) {
        let minute = claims.first.wrapping_add(window);
        if key.verify(&message(&minute.to_be_bytes(), &port, nonce), tag) {
            proven = (claimed, minute);
        }
    }
    proven
}

/// The nonce of a token.
#[must_use]
pub fn nonce(token: &[u8; TOKEN]) -> Nonce {
    let mut nonce = Nonce::default();
    nonce.copy_from_slice(&token[..NONCE]);
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::STRETCH_ROUNDS;
    use crate::proto::scheme::key::Stretch;
    use crate::proto::scheme::schedule::NEIGHBOURS;
    use proptest::prelude::*;
    use std::sync::OnceLock;

    const PORT: u16 = 10_443;

    fn key() -> &'static Key {
        static KEY: OnceLock<Key> = OnceLock::new();
        KEY.get_or_init(|| {
            let mut stretch = Stretch::new(b"password", "ssh");
            stretch.advance(STRETCH_ROUNDS).unwrap()
        })
    }

    /// A port that is real in minute 100, and also in the grace minute 98.
    fn claims() -> Claims {
        let mut roles = [Role::Trap; NEIGHBOURS];
        roles[1] = Role::Grace;
        roles[3] = Role::Real;
        Claims { first: 97, roles }
    }

    fn shown(minute: u64, port: u16) -> (Role, u64) {
        let token = make(key(), minute, port, &[7; NONCE]);
        verify(key(), &claims(), PORT, &token)
    }

    #[test]
    fn a_token_is_good_for_its_port_in_its_minutes_alone() {
        assert_eq!(shown(100, PORT), (Role::Real, 100));
        assert_eq!(shown(98, PORT), (Role::Grace, 98));
        for minute in (90..110).filter(|minute| ![98, 100].contains(minute)) {
            assert_eq!(shown(minute, PORT).0, Role::Trap);
        }
        assert_eq!(shown(100, PORT + 1).0, Role::Trap);
    }

    proptest! {
        #[test]
        fn a_changed_bit_makes_it_worthless(random: Nonce, bit in 0..TOKEN * 8) {
            let mut token = make(key(), 100, PORT, &random);
            prop_assert_eq!(nonce(&token), random);
            prop_assert_eq!(verify(key(), &claims(), PORT, &token), (Role::Real, 100));
            token[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(verify(key(), &claims(), PORT, &token).0, Role::Trap);
        }
    }
}
