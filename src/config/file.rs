//! Reading files: the configuration, and those that it names.

use super::access::Access;
use super::account::OwnerHint;
use crate::limits::CONFIG_BYTES;
use core::error::Error;
use core::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A file that can't be read, or not used once it is. It displays as `PATH: reason`.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    error: io::Error,
}

impl FileError {
    pub(super) fn new(path: &Path, error: io::Error) -> Self {
        let path = path.to_path_buf();
        Self { path, error }
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, error } = self;
        write!(f, "{}: {error}", path.display())?;
        if error.kind() == io::ErrorKind::PermissionDenied && is_readable(path) {
            let hint = "a sandbox forbids it; if that is the daemon's own, it takes a restart";
            return write!(f, "; {hint}");
        }
        OwnerHint { path, error }.fmt(f)
    }
}

/// Whether its permissions let us read a file, whatever a sandbox says.
#[cfg(unix)]
fn is_readable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::READ_OK).is_ok()
}

#[cfg(not(unix))]
fn is_readable(_path: &Path) -> bool {
    false
}

/// The bytes of a file, which may be a secret or have one: they are wiped. Also who may use the file.
///
/// # Errors
/// It can't be read, or is longer than [`CONFIG_BYTES`].
pub(super) fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Access), FileError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut access = Access::default();
    let read = File::open(path).and_then(|file| {
        access = Access::of(&file);
        // A vector that grows leaves its bytes behind: it has room for all from the start, and for the read that
        // finds the end.
        let length = file.metadata()?.len().min(CONFIG_BYTES);
        bytes.reserve_exact(length as usize + 64);
        file.take(CONFIG_BYTES + 1).read_to_end(&mut bytes)
    });
    let is_too_long = bytes.len() as u64 > CONFIG_BYTES;
    match read {
        Ok(_) if is_too_long => {
            let longer = format!("longer than {CONFIG_BYTES} bytes");
            let error = io::Error::new(io::ErrorKind::FileTooLarge, longer);
            Err(FileError::new(path, error))
        }
        Ok(_) => Ok((bytes, access)),
        Err(error) => Err(FileError::new(path, error)),
    }
}
