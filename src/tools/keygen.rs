//! `shimmer keygen`: a new secret, in letters that can be read out over the telephone.
//!
//! Lower-case base32 (RFC 4648, section 6) has neither 0 nor 1, which look like letters.

use crate::cli::{self, Args, Error};
use zeroize::Zeroizing;

/// Random bytes in a secret. 160 bits are more than a scan of one minute's ports gives away, and need no
/// padding in base32.
const SECRET_BYTES: usize = 20;

/// Bytes that become eight characters.
const GROUP_BYTES: usize = 5;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// `shimmer keygen`
///
/// # Errors
/// [`Error::Failed`] if the system has no random bytes; those of [`cli::print`].
pub fn main(args: Args) -> Result<(), Error> {
    args.finish()?;
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Error::failed(format_args!("no random bytes: {error}")))?;
    let mut secret = Zeroizing::new(base32(&bytes));
    secret.push('\n');
    cli::print(&secret)
}

fn base32(bytes: &[u8; SECRET_BYTES]) -> String {
    let mut text = String::with_capacity(SECRET_BYTES / GROUP_BYTES * 8 + 1);
    for group in bytes.chunks(GROUP_BYTES) {
        let bits = group
            .iter()
            .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        for character in (0..8).rev() {
            text.push(char::from(
                ALPHABET[(bits >> (character * 5)) as usize & 31],
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_the_one_of_rfc_4648() {
        // "fooba" is mzxw6ytb in the vectors of section 10.
        assert_eq!(
            base32(b"foobafoobafoobafooba"),
            "mzxw6ytbmzxw6ytbmzxw6ytbmzxw6ytb"
        );
        assert_eq!(base32(&[0; SECRET_BYTES]), "a".repeat(32));
        assert_eq!(base32(&[255; SECRET_BYTES]), "7".repeat(32));
    }
}
