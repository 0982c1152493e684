//! Secrets and the files that hold them.

use super::access::Access;
use super::file::{self, FileError};
use crate::limits::{STRONG_SECRET_BYTES, STRONG_SECRET_VARIETY};
use core::error::Error;
use core::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;
use zeroize::Zeroizing;

/// What only the server and its clients know: at least one byte, and no NUL. It is never printed, clones share its
/// bytes, and with the last one they are wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Rc<Zeroizing<Vec<u8>>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why some bytes are not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// There are no bytes.
    Empty,
    /// One of them is NUL. HMAC pads short keys with NULs (RFC 2104, section 2), so two such secrets
    /// could be the same key.
    Nul,
}

impl Error for SecretError {}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the secret is empty; `shimmer keygen` makes one",
            // PowerShell's `>` writes UTF-16, in which every second byte of ASCII is a NUL.
            Self::Nul if cfg!(windows) => "the secret has a NUL byte; save its file as UTF-8",
            Self::Nul => "the secret has a NUL byte; any other byte is fine",
        })
    }
}

impl Secret {
    /// A secret of these bytes, all of them.
    ///
    /// # Errors
    /// No bytes, or a NUL among them.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        if bytes.is_empty() {
            Err(SecretError::Empty)
        } else if bytes.contains(&0) {
            Err(SecretError::Nul)
        } else {
            Ok(Self(Rc::new(bytes.to_vec().into())))
        }
    }

    /// A secret of the bytes before the first line end, LF or CRLF. The rest of a file is for notes.
    ///
    /// # Errors
    /// No bytes in the first line, or a NUL among them.
    pub fn first_line(bytes: &[u8]) -> Result<Self, SecretError> {
        let line = bytes
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        let is_cut = line.len() < bytes.len();
        Self::new(line.strip_suffix(b"\r").filter(|_| is_cut).unwrap_or(line))
    }

    /// The secret in the first line of a file, and who may use the file.
    ///
    /// # Errors
    /// The file can't be read, is longer than [`crate::limits::CONFIG_BYTES`], or that line is not a
    /// secret.
    pub fn read(path: &Path) -> Result<(Self, Access), FileError> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let (bytes, access) = file::read(path)?;
        let secret = Self::first_line(&bytes);
        let secret = secret.map_err(|error| FileError::new(path, invalid(error)))?;
        Ok((secret, access))
    }

    /// The bytes of the secret, to draw ports from and never to print.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it looks easy to guess: shorter than [`STRONG_SECRET_BYTES`], or with fewer than
    /// [`STRONG_SECRET_VARIETY`] different bytes.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        let is_used = |byte: &u8| self.0.contains(byte);
        let variety = (0..=u8::MAX).filter(is_used).count();
        self.0.len() < STRONG_SECRET_BYTES || variety < STRONG_SECRET_VARIETY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_line(bytes: &[u8]) -> Result<Vec<u8>, SecretError> {
        Secret::first_line(bytes).map(|secret| secret.as_bytes().to_vec())
    }

    #[test]
    fn a_file_is_read_up_to_its_first_line_end() {
        for file in ["a b ", "a b \n", "a b \r\n", "a b \n\nnote\0"] {
            assert_eq!(first_line(file.as_bytes()), Ok(b"a b ".to_vec()));
        }
        assert_eq!(first_line(b"\xFF\xFE\n"), Ok(b"\xFF\xFE".to_vec()));
        // A lone CR ends no line.
        assert_eq!(first_line(b"a\rb\r\n"), Ok(b"a\rb".to_vec()));
        assert_eq!(first_line(b"a\r"), Ok(b"a\r".to_vec()));
    }

    #[test]
    fn nothing_and_nul_are_no_secrets() {
        for file in ["", "\n", "\r\n", "\nsecret"] {
            assert_eq!(first_line(file.as_bytes()), Err(SecretError::Empty));
        }
        assert_eq!(first_line(b"a\0b\n"), Err(SecretError::Nul));
    }

    #[test]
    fn short_and_monotonous_secrets_look_weak() {
        let is_weak =
            |text: &str| Secret::new(text.as_bytes()).is_ok_and(|secret| secret.is_weak());
        assert!(is_weak("password"));
        assert!(is_weak("abcdefghijklmno"));
        assert!(!is_weak("abcdefghijklmnop"));
        assert!(is_weak("abcdefgabcdefgabcdefg"));
        assert!(!is_weak("abcdefghabcdefgh"));
    }
}
