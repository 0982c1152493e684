//! The file of used tokens and datagrams, beside the state file: `proto::nonces` says what is in it.
//!
//! It has its whole size before anybody comes, and records are written in place. So a full disk stops nobody, and
//! a killed daemon has lost nothing: what a write has given to the kernel stays. There is no fsync, which would
//! make the loop wait for a disk and wear a router's flash out. After a power cut the last records may be missing,
//! so a file of another boot does not say all.
//!
//! A file that can't have its size is removed: it must not be taken for whole after the next restart. Then the
//! daemon goes on with what is in memory.

use super::files::{self, Folder};
use crate::limits::{NONCE_FILE_BYTES, STATE_WRITE_BYTES};
use crate::proto::Instant;
use crate::proto::nonces::{BootId, Memory, Past};
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The file, or that there is none.
#[derive(Debug, Default)]
pub struct UsedFile {
    /// None: nothing outlives the daemon.
    path: Option<PathBuf>,
    /// None: it has to be created.
    file: Option<File>,
    /// Bytes that it has.
    size: u64,
    /// The file that this one replaces, until this one has everything.
    old: Option<PathBuf>,
}

/// Why a file does not have everything.
#[derive(Debug)]
pub enum NotWritten {
    /// It can't have its size, and was removed: what is used is kept in memory from now on.
    NoRoom(PathBuf, io::Error),
    /// It can't be written.
    Failed(PathBuf, io::Error),
}

impl UsedFile {
    /// Opens a file if there is one, and reads it. None: nothing is kept.
    pub fn open(path: Option<PathBuf>, now: Instant) -> (Self, Memory, Past) {
        let mut used = Self {
            path,
            ..Self::default()
        };
        let opened = used.path.as_deref().map(read);
        let (file, bytes, is_damaged) = match opened {
            Some(Ok((file, bytes))) => (Some(file), Some(bytes), false),
            Some(Err(error)) => (None, None, error.kind() != io::ErrorKind::NotFound),
            None => (None, None, false),
        };
        let (memory, past) = Memory::read(bytes.as_deref(), boot_id(), now);
        match (past, is_damaged) {
            (Past::Known | Past::OtherBoot, _) => {
                used.size = bytes.map_or(0, |bytes| bytes.len() as u64);
                used.file = file;
                (used, memory, past)
            }
            // Whatever it is, another is made in its place.
            (Past::Missing, true) => (used, memory, Past::Damaged),
            (Past::Missing | Past::Damaged, _) => (used, memory, past),
        }
    }

    /// A file that has nothing yet, whatever there is in its place. None: nothing is kept.
    pub fn create(path: Option<PathBuf>) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }

    /// Replaces another file, which is removed once this one has everything.
    pub fn replace(&mut self, old: Self) {
        if let Some(older) = old.old {
            let _ = files::remove(&older);
        }
        match (&self.path, old.path) {
            (Some(_), path) => self.old = path,
            (None, Some(path)) => drop(files::remove(&path)),
            (None, None) => {}
        }
    }

    /// Where it is; None if nothing is kept.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Writes what the file does not have yet.
    ///
    /// # Errors
    /// It does not have everything. But if it could be removed, nothing has to have it.
    pub fn write(&mut self, memory: &Memory) -> Result<(), NotWritten> {
        let Some(path) = self.path.clone() else {
            return Ok(());
        };
        if let Err(error) = self.grow(&path, memory.size()) {
            self.file = None;
            self.size = 0;
            return Err(match files::remove(&path) {
                Err(_) => NotWritten::Failed(path, error),
                Ok(()) => {
                    self.path = None;
                    NotWritten::NoRoom(path, error)
                }
            });
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        for write in memory.unwritten().iter() {
            if let Err(error) = file.write_all_at(&write.bytes, write.at) {
                return Err(NotWritten::Failed(path, error));
            }
        }
        if let Some(old) = self.old.take() {
            let _ = files::remove(&old);
        }
        Ok(())
    }

    /// Gives the file its size. Zeros are written, because a size alone reserves no room.
    fn grow(&mut self, path: &Path, size: u64) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Folder::of(path)?.create(path)?),
        };
        while self.size < size {
            let zeros = [0; STATE_WRITE_BYTES];
            let count = (size - self.size).min(zeros.len() as u64);
            file.write_all_at(&zeros[..count as usize], self.size)?;
            self.size += count;
        }
        Ok(())
    }
}

/// A file that is ours, and what is in it.
fn read(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let mut file = Folder::of(path)?.open(path, OFlags::RDWR, 0)?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(NONCE_FILE_BYTES)
        .read_to_end(&mut bytes)?;
    Ok((file, bytes))
}

/// Which boot this is: 32 digits of base 16, with dashes between them. None if nobody says.
fn boot_id() -> Option<BootId> {
    let text = fs::read_to_string(BOOT_ID).ok()?;
    let mut digits = text.trim_end().chars().filter(|letter| *letter != '-');
    let mut id = BootId::default();
    for byte in &mut id {
        let mut digit = || digits.next()?.to_digit(16);
        *byte = (digit()? << 4 | digit()?) as u8;
    }
    digits.next().is_none().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_boot_has_an_id() {
        let id = boot_id().expect("this kernel has one");
        assert_ne!(id, BootId::default());
        assert_eq!(boot_id(), Some(id));
    }
}
