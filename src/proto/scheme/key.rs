//! Stretches a secret into a key, slowly.
//!
//! A scan of a server for one minute yields over a hundred bits, with which guesses of the secret can be checked
//! offline. So each guess is made to cost 131,072 rounds of PBKDF2 (RFC 8018, section 5.2), with the mirage's name
//! as the salt.
//!
//! A router needs seconds for that, and its loop must not stop meanwhile. So the rounds can be done in
//! slices. The pbkdf2 crate can't do that: the one block that is needed is computed here, and the tests
//! compare it with the crate's.

use crate::limits::STRETCH_ROUNDS;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Precedes the name in the salt: the scheme's version.
const SALT: &[u8] = b"shimmer v1 ";

type HmacSha256 = Hmac<Sha256>;

/// Bytes of a digest.
pub const DIGEST: usize = 32;

/// A mirage's key: everything that it draws and proves is derived from it. Never printed. What is left in memory of
/// it is wiped by hmac and sha2.
#[derive(Clone)]
pub struct Key(HmacSha256);

/// Reveals nothing about the key.
impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key")
    }
}

/// Identifies a key without revealing anything about it, except to who guesses the secret, as a port scan would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The identity that a file has.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The same as a file has it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Key {
    /// Stretches a secret in one go: 24 ms on a laptop, seconds on a router.
    #[must_use]
    pub fn stretch(secret: &[u8], name: &str) -> Self {
        let mut stretch = Stretch::new(secret, name);
        loop {
            if let Some(key) = stretch.advance(STRETCH_ROUNDS) {
                return key;
            }
        }
    }

    fn from_bytes(bytes: &[u8; DIGEST]) -> Self {
        Self(hmac(bytes))
    }

    /// HMAC-SHA-256 of the concatenated parts.
    #[must_use]
    pub fn hmac(&self, parts: &[&[u8]]) -> [u8; DIGEST] {
        self.mac(parts).finalize().into_bytes().into()
    }

    /// Tells whether a secret is the one that the key was stretched from, without keeping the secret.
    #[must_use]
    pub fn mark(&self, secret: &[u8]) -> [u8; DIGEST] {
        self.hmac(&[b"secret", secret])
    }

    /// The key's identity: the same for the same name and secret.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = self.hmac(&[b"id"]);
        KeyId(id)
    }

    fn mac(&self, parts: &[&[u8]]) -> HmacSha256 {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }

    /// Whether `tag` is the HMAC of the parts. Takes constant time.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.mac(parts).verify_slice(tag).is_ok()
    }
}

#[cfg(test)]
impl Key {
    /// One that took no stretching.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hmac(bytes))
    }
}

fn hmac(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// A key that is being computed: one block of PBKDF2-HMAC-SHA-256, done in slices.
pub struct Stretch {
    mac: HmacSha256,
    last: Zeroizing<[u8; DIGEST]>,
    sum: Zeroizing<[u8; DIGEST]>,
    left: u32,
}

impl Stretch {
    /// Starts, with the first round done.
    #[must_use]
    pub fn new(secret: &[u8], name: &str) -> Self {
        let mac = hmac(secret);
        let block = 1u32.to_be_bytes();
        let first: [u8; DIGEST] = mac
            .clone()
            .chain_update(SALT)
            .chain_update(name)
            .chain_update(block)
            .finalize()
            .into_bytes()
            .into();
        Self {
            mac,
            last: first.into(),
            sum: first.into(),
            left: STRETCH_ROUNDS - 1,
        }
    }

    /// Does up to `rounds` more rounds. Returns the key once all are done.
    pub fn advance(&mut self, rounds: u32) -> Option<Key> {
        for _ in 0..rounds.min(self.left) {
            *self.last = self
                .mac
                .clone()
                .chain_update(*self.last)
                .finalize()
                .into_bytes()
                .into();
            for (sum, byte) in self.sum.iter_mut().zip(*self.last) {
                *sum ^= byte;
            }
        }
        self.left = self.left.saturating_sub(rounds);
        (self.left == 0).then(|| Key::from_bytes(&self.sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_the_crate(secret: &[u8], name: &str) -> [u8; DIGEST] {
        let mut salt = SALT.to_vec();
        salt.extend_from_slice(name.as_bytes());
        let mut key = [0; DIGEST];
        pbkdf2::pbkdf2_hmac::<Sha256>(secret, &salt, STRETCH_ROUNDS, &mut key);
        key
    }

    fn same(a: &Key, bytes: &[u8; DIGEST]) -> bool {
        a.hmac(&[b"x"]) == Key::from_bytes(bytes).hmac(&[b"x"])
    }

    #[test]
    fn agrees_with_the_pbkdf2_crate() {
        for (secret, name) in [("password", "ssh"), ("", "a"), ("\u{2603}", "web")] {
            let key = Key::stretch(secret.as_bytes(), name);
            assert!(same(&key, &by_the_crate(secret.as_bytes(), name)), "{name}");
        }
        let long = [b'x'; 200];
        assert!(same(
            &Key::stretch(&long, "rdp"),
            &by_the_crate(&long, "rdp")
        ));
    }

    #[test]
    fn slices_of_any_size_give_the_same_key() {
        let whole = Key::stretch(b"password", "ssh").hmac(&[b"x"]);
        for slice in [1_024, 1_000, 131_071, u32::MAX] {
            let mut stretch = Stretch::new(b"password", "ssh");
            let mut turns = 1;
            let key = loop {
                if let Some(key) = stretch.advance(slice) {
                    break key;
                }
                turns += 1;
            };
            assert!(key.hmac(&[b"x"]) == whole, "slices of {slice}");
            assert_eq!(turns, (STRETCH_ROUNDS - 1).div_ceil(slice));
        }
    }
}
