//! What is remembered through a restart: the bans, in a small text file.
//!
//! It is written at most once a minute, to a new file that then takes the old one's name, so a kill
//! leaves the one or the other, whole. There is no fsync: it would make the loop wait for a disk,
//! or a router's flash wear, for a file whose loss costs a minute of bans.
//!
//! ```text
//! shimmer-state 1
//! ban 192.0.2.7 1794000000 3          source, last touch in unix seconds, connections
//! end 1                               bans in the file: one that was cut short lacks it
//! ```

use crate::limits::{BANS, STATE_BYTES, STATE_LINE_BYTES, STATE_WRITE_BYTES};
use crate::proto::bans::{Ban, Blacklist, Why};
use crate::proto::source::Source;
use crate::proto::{Instant, Now, parse_number};
use core::fmt::Write as _;
use core::hash::BuildHasher;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const HEAD: &str = "shimmer-state 1";

/// The state file, ours as long as this lives.
pub struct StateFile {
    path: PathBuf,
    _lock: File,
}

/// Why a state file can't be used.
pub enum StateError {
    /// Another daemon has it.
    Taken(PathBuf),
    /// Its folder or its lock can't be made.
    Unusable(PathBuf, io::Error),
}

/// What a state file held.
pub enum Loaded {
    /// So many bans, put back.
    Bans(usize),
    /// Something that is no state; it was set aside under this name, or that failed.
    Damaged(PathBuf, io::Result<()>),
    /// It could not be read.
    Unreadable(io::Error),
}

impl StateFile {
    /// Takes a state file for ourselves, by a lock beside it. Makes its folder if that is missing.
    ///
    /// # Errors
    /// Another daemon has it, or it can't be made.
    pub fn take(path: &Path) -> Result<Self, StateError> {
        if let Some(folder) = path.parent() {
            // Where it fails, opening the lock says why.
            let _ = DirBuilder::new().mode(0o700).create(folder);
        }
        let lock_path = beside(path, ".lock");
        let lock = match private().open(&lock_path) {
            Ok(lock) => lock,
            Err(error) => return Err(StateError::Unusable(lock_path, error)),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_path_buf(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StateError::Taken(lock_path)),
            Err(TryLockError::Error(error)) => Err(StateError::Unusable(lock_path, error)),
        }
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the bans back that have not ended. A touch that lies ahead is not believed: it counts as
    /// now, so no ban lasts longer than a full one.
    pub fn load<H: BuildHasher>(&self, bans: &mut Blacklist<H>, now: Now) -> Loaded {
        let mut text = Vec::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(STATE_BYTES + 1).read_to_end(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Loaded::Bans(0),
            Err(error) => return Loaded::Unreadable(error),
            Ok(_) => {}
        }
        let Some(read) = parse(&text) else {
            let aside = beside(&self.path, ".damaged");
            let moved = fs::rename(&self.path, &aside);
            return Loaded::Damaged(aside, moved);
        };
        for (source, unix, attempts) in read {
            let age_ms = now.unix().saturating_sub(unix).saturating_mul(1_000);
            if age_ms >= bans.ban_ms() {
                continue;
            }
            let last = Instant(now.boot.0.saturating_sub(age_ms));
            bans.restore(Ban {
                source,
                last,
                attempts,
                why: Why::State,
            });
        }
        Loaded::Bans(bans.len())
    }

    /// Writes the bans down.
    ///
    /// # Errors
    /// What the file system says; the old file is still there then.
    pub fn save<H: BuildHasher>(&self, bans: &Blacklist<H>, now: Now) -> io::Result<()> {
        let fresh = beside(&self.path, ".new");
        let mut file = private().truncate(true).open(&fresh)?;
        let mut text = String::with_capacity(STATE_WRITE_BYTES + STATE_LINE_BYTES);
        let _ = writeln!(text, "{HEAD}");
        for ban in bans.iter() {
            let unix = now.unix().saturating_sub(now.boot.since(ban.last) / 1_000);
            let _ = writeln!(text, "ban {} {unix} {}", ban.source, ban.attempts);
            if text.len() >= STATE_WRITE_BYTES {
                file.write_all(text.as_bytes())?;
                text.clear();
            }
        }
        let _ = writeln!(text, "end {}", bans.len());
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, &self.path)
    }
}

/// How a file is opened that only we may write and read, and that is made where it is missing. A link there
/// is not followed.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The bans of a state file. None where it is damaged; an empty one is not.
fn parse(text: &[u8]) -> Option<Vec<(Source, u64, u32)>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let text = str::from_utf8(text).ok()?;
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next() != Some(HEAD) {
        return None;
    }
    let mut bans = Vec::new();
    for line in lines.by_ref() {
        if let Some(count) = line.strip_prefix("end ") {
            let is_whole = parse_number(count) == Some(bans.len() as u64) && lines.next().is_none();
            return is_whole.then_some(bans);
        }
        let mut words = line.strip_prefix("ban ")?.split(' ');
        let mut word = || words.next();
        let ban = (
            word()?.parse().ok()?,
            parse_number(word()?)?,
            u32::try_from(parse_number(word()?)?).ok()?,
        );
        if word().is_some() || bans.len() == BANS {
            return None;
        }
        bans.push(ban);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::hash::RandomState;

    const BAN_MS: u64 = 900_000;

    fn bans() -> Blacklist<RandomState> {
        Blacklist::new(BANS, BAN_MS, RandomState::new())
    }

    fn now(boot_s: u64, unix: i64) -> Now {
        Now {
            boot: Instant(boot_s * 1_000),
            real_ms: unix * 1_000,
        }
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("shimmer-state-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn take(&self) -> StateFile {
            StateFile::take(&self.0.join("state")).unwrap_or_else(|_| panic!("it can't be taken"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn bans_come_back_after_a_reboot_and_end_when_they_would_have() {
        let folder = Folder::new("reboot");
        let file = folder.take();
        let mut before = bans();
        let source: Source = "192.0.2.7".parse().unwrap();
        before.touch(source, Why::Trap, Instant(5_000_000));
        file.save(&before, now(5_100, 1_794_000_000)).unwrap();

        let mut after = bans();
        let back = now(2_000, 1_794_000_300);
        assert!(matches!(file.load(&mut after, back), Loaded::Bans(1)));
        let end = after.next_end().unwrap();
        assert_eq!(end, Instant((2_000 + 900 - 400) * 1_000));
    }

    #[test]
    fn a_touch_that_lies_ahead_counts_as_now() {
        let folder = Folder::new("ahead");
        let file = folder.take();
        let text =
            format!("{HEAD}\nban 192.0.2.7 9999999999 1\nban 192.0.2.8 1793990000 1\nend 2\n");
        fs::write(file.path(), text).unwrap();
        let mut bans = bans();
        let loaded = file.load(&mut bans, now(2_000, 1_794_000_000));
        assert!(matches!(loaded, Loaded::Bans(1)));
        assert_eq!(bans.next_end(), Some(Instant(2_900_000)));
    }

    #[test]
    fn a_second_daemon_is_refused() {
        let folder = Folder::new("second");
        let _first = folder.take();
        let second = StateFile::take(&folder.0.join("state"));
        assert!(matches!(second, Err(StateError::Taken(_))));
    }

    #[test]
    fn an_empty_file_is_no_damage_and_a_cut_one_is() {
        let whole = format!("{HEAD}\nban 192.0.2.7 1794000000 3\nend 1\n");
        assert!(parse(whole.as_bytes()).is_some_and(|bans| bans.len() == 1));
        assert!(parse(b"").is_some_and(|bans| bans.is_empty()));
        for cut in 1..whole.len() {
            assert!(parse(&whole.as_bytes()[..cut]).is_none(), "cut at {cut}");
        }
        assert!(parse(&[whole.as_bytes(), b"x\n"].concat()).is_none());
        assert!(parse(b"\xff\xff\n").is_none());
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let folder = Folder::new("damaged");
        let file = folder.take();
        fs::write(file.path(), "nonsense").unwrap();
        let loaded = file.load(&mut bans(), now(1, 1));
        assert!(matches!(loaded, Loaded::Damaged(_, Ok(()))));
        assert!(!file.path().exists());
        let aside = folder.0.join("state.damaged");
        assert_eq!(fs::read_to_string(aside).unwrap(), "nonsense");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text: Vec<u8>) {
            parse(&text);
            parse(&[HEAD.as_bytes(), b"\n", &text].concat());
        }
    }
}
