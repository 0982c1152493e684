//! Files that a configuration names, and their rights.

use crate::limits::CONFIG_BYTES;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The bytes of a file.
///
/// # Errors
/// It can't be read, or is longer than [`CONFIG_BYTES`].
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(CONFIG_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CONFIG_BYTES {
        let kind = io::ErrorKind::FileTooLarge;
        return Err(io::Error::new(
            kind,
            format!("longer than {CONFIG_BYTES} bytes"),
        ));
    }
    Ok(bytes)
}

/// Whether a file's group or everybody has a right to it. False for what is no regular file.
#[cfg(unix)]
#[must_use]
pub fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o077 != 0)
}

/// Whether a file's group or everybody has a right to it: not known here, so false.
#[cfg(not(unix))]
#[must_use]
pub fn is_open_to_others(_path: &Path) -> bool {
    false
}
