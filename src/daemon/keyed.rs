//! Where a source is in the list of bans, so that nobody outside can choose sources that meet there.
//!
//! std's hash maps have SipHash for this, with a key from a thread's memory and a file to fall back on:
//! 3 KB. SHA-256 is there anyway; a source and the key are one block of it, and a visitor takes a few.

use crate::sys::random;
use core::hash::{BuildHasher, Hasher};
use sha2::{Digest, Sha256};
use std::io;

/// Hashes that differ from those of any other daemon.
#[derive(Clone)]
pub struct Keyed([u8; 16]);

impl Keyed {
    /// With a key of its own.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub fn new() -> io::Result<Self> {
        let mut key = [0; 16];
        random::fill(&mut key)?;
        Ok(Self(key))
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher(Sha256::new_with_prefix(self.0))
    }
}

/// A hash in the making.
pub struct KeyedHasher(Sha256);

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest
            .iter()
            .take(8)
            .fold(0, |hash, &byte| hash << 8 | u64::from(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::source::Source;

    #[test]
    fn sources_and_keys_make_a_difference() {
        let source = |number: u8| Source::of([192, 0, 2, number].into());
        let (one, other) = (Keyed::new().unwrap(), Keyed::new().unwrap());
        assert_eq!(one.hash_one(source(7)), one.hash_one(source(7)));
        assert_ne!(one.hash_one(source(7)), one.hash_one(source(8)));
        assert_ne!(one.hash_one(source(7)), other.hash_one(source(7)));
    }

    #[test]
    fn sources_that_follow_each_other_are_spread() {
        let keyed = Keyed::new().unwrap();
        let mut visitors = [0; 64];
        for number in 0..6_400u32 {
            let source = Source::of(core::net::Ipv4Addr::from(number).into());
            visitors[keyed.hash_one(source) as usize % 64] += 1;
        }
        // A hundred each, give or take ten; that far off no fair hash comes in a lifetime.
        assert!(visitors.iter().all(|visitors| (20..250).contains(visitors)));
    }
}
