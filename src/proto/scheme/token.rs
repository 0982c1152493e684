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
use crate::limits::{NONCES, SERVED_MEMORY_MS};
use crate::proto::time::Instant;

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
    /// The secret and the minute, but there is no room to remember the nonce.
    Unremembered,
    /// Nothing: the token is missing, wrong, used, or for another port.
    Nothing,
}

/// Checks a token at a port with these claims.
pub fn prove(
    key: &Key,
    claims: &Claims,
    port: u16,
    token: &[u8; TOKEN],
    nonces: &mut Nonces,
    now: Instant,
) -> Proof {
    let (nonce, tag) = token.split_at(NONCE);
    let port = port.to_be_bytes();
    let mut role = Role::Trap;
    for (window, claimed) in (0..).zip(claims.roles) {
        let minute = claims.first.wrapping_add(window).to_be_bytes();
        if key.verify(&message(&minute, &port, nonce), tag) {
            role = claimed;
        }
    }
    match role {
        Role::Trap => Proof::Nothing,
        Role::Grace => Proof::Grace,
        Role::Real => match nonces.spend(nonce, now) {
            Spent::First => Proof::Good,
            Spent::Again => Proof::Nothing,
            Spent::Full => Proof::Unremembered,
        },
    }
}

#[derive(Clone, Copy)]
struct Seen {
    nonce: Nonce,
    until: Instant,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spent {
    First,
    Again,
    Full,
}

/// The nonces of used tokens or datagrams, while these may still be valid: a fixed number of them.
///
/// Only clients with the secret can fill it, so it is searched from end to end and needs no index.
pub struct Nonces {
    seen: Vec<Seen>,
    lifetime_ms: u64,
}

impl Default for Nonces {
    /// Empty, with room for [`NONCES`] nonces. Unused memory is not resident.
    fn default() -> Self {
        Self {
            seen: Vec::with_capacity(NONCES),
            lifetime_ms: SERVED_MEMORY_MS,
        }
    }
}

impl Nonces {
    /// Sets how long a port can be the real one, in ms. It holds for later nonces.
    pub fn set_live_ms(&mut self, live_ms: u64) {
        // If the clock is set back, a window can be served again until it was served and left this long ago.
        self.lifetime_ms = live_ms.saturating_add(SERVED_MEMORY_MS);
    }

    /// The number of remembered nonces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether no nonce is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Forgets the nonces whose time is over.
    pub fn expire(&mut self, now: Instant) {
        self.seen.retain(|seen| now < seen.until);
    }

    pub(super) fn spend(&mut self, nonce: &[u8], now: Instant) -> Spent {
        self.expire(now);
        if self.seen.iter().any(|seen| seen.nonce == nonce) {
            return Spent::Again;
        }
        // Forgetting a nonce would let its token in again. A full memory admits nobody, which is safe.
        let Some(fresh) = nonce.first_chunk().filter(|_| self.seen.len() < NONCES) else {
            return Spent::Full;
        };
        self.seen.push(Seen {
            nonce: *fresh,
            until: now.after(self.lifetime_ms),
        });
        Spent::First
    }
}

#[cfg(test)]
impl Nonces {
    /// Uses so many up.
    pub fn fill(&mut self, count: usize, now: Instant) {
        for number in 0..count as u128 {
            self.spend(&number.to_be_bytes(), now);
        }
    }
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
    const LIVE_MS: u64 = 180_000;
    const NOW: Instant = Instant(1_000);

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

    fn nonces() -> Nonces {
        let mut nonces = Nonces::default();
        nonces.set_live_ms(LIVE_MS);
        nonces
    }

    fn try_at(minute: u64, port: u16, nonces: &mut Nonces) -> Proof {
        let token = make(key(), minute, port, &[7; NONCE]);
        prove(key(), &claims(), PORT, &token, nonces, NOW)
    }

    #[test]
    fn a_token_is_good_for_its_port_in_its_minutes_alone() {
        let fresh = nonces;
        assert_eq!(try_at(100, PORT, &mut fresh()), Proof::Good);
        assert_eq!(try_at(98, PORT, &mut fresh()), Proof::Grace);
        for minute in (90..110).filter(|minute| ![98, 100].contains(minute)) {
            assert_eq!(try_at(minute, PORT, &mut fresh()), Proof::Nothing);
        }
        assert_eq!(try_at(100, PORT + 1, &mut fresh()), Proof::Nothing);
    }

    #[test]
    fn a_nonce_counts_once_until_its_windows_cannot_come_back() {
        let mut nonces = nonces();
        assert_eq!(try_at(100, PORT, &mut nonces), Proof::Good);
        assert_eq!(try_at(100, PORT, &mut nonces), Proof::Nothing);
        let end = NOW.after(LIVE_MS + SERVED_MEMORY_MS);
        assert_eq!(nonces.spend(&[7; NONCE], Instant(end.0 - 1)), Spent::Again);
        assert_eq!(nonces.spend(&[7; NONCE], end), Spent::First);
        assert_eq!(nonces.len(), 1);
    }

    #[test]
    fn a_full_memory_refuses_and_forgets_nothing() {
        let mut nonces = nonces();
        let nonce = |number: usize| (number as u128).to_be_bytes();
        for number in 0..NONCES {
            assert_eq!(nonces.spend(&nonce(number), NOW), Spent::First);
        }
        let before = nonces.seen.capacity();
        assert_eq!(nonces.spend(&nonce(NONCES), NOW), Spent::Full);
        assert_eq!(nonces.spend(&nonce(0), NOW), Spent::Again);
        assert_eq!(try_at(100, PORT, &mut nonces), Proof::Unremembered);
        assert_eq!(nonces.seen.capacity(), before);
        let later = NOW.after(LIVE_MS + SERVED_MEMORY_MS);
        assert_eq!(nonces.spend(&nonce(NONCES), later), Spent::First);
    }

    proptest! {
        #[test]
        fn a_changed_bit_makes_it_worthless(nonce: Nonce, bit in 0..TOKEN * 8) {
            let mut token = make(key(), 100, PORT, &nonce);
            let mut nonces = nonces();
            token[bit / 8] ^= 1 << (bit % 8);
            let proof = prove(key(), &claims(), PORT, &token, &mut nonces, NOW);
            prop_assert_eq!(proof, Proof::Nothing);
            token[bit / 8] ^= 1 << (bit % 8);
            let proof = prove(key(), &claims(), PORT, &token, &mut nonces, NOW);
            prop_assert_eq!(proof, Proof::Good);
        }
    }
}
