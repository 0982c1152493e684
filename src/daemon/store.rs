//! What outlives the daemon, in two small text files: the bans, and what has to be closed after a restart.
//!
//! ```text
//! shimmer-state 1
//! ban 192.0.2.7 1794000000 3          source, last touch in Unix seconds, connections
//! end 1                               number of lines in between; missing if the file was cut short
//!
//! shimmer-open 2
//! open home 192.0.2.7 1794000030 30   mirage, address or service, end, duration in seconds
//! end 1
//! ```
//!
//! A new file is written and then renamed over the old one, so a kill leaves either of them intact. There is
//! no fsync: the loop would have to wait for a disk, or a router's flash would wear out, for a file whose loss
//! costs a minute of bans.
//!
//! The second file, the journal, is written before each command that opens something, and after each command
//! that has closed something. The commands themselves come from the configuration alone. Version 1 had them in its
//! lines, so it is taken over from root only. A journal that is not ours is set aside. A router without a battery boots with a clock that is behind. Nothing must stay open until the
//! distant end that such a clock suggests: after a restart nothing stays open longer than the time it had left
//! when it was recorded.
//!
//! The third file beside them, of used tokens, is written in place: `used.rs`.

use super::files::{self, Folder, Found};
use crate::limits::{BANS, OPENINGS, STATE_BYTES, STATE_LINE_BYTES, STATE_WRITE_BYTES};
use crate::proto::doors::{Closing, OpenFor, Openings, RestoredOpening};
use crate::proto::event::SectionName;
use crate::proto::ids::MirageId;
use crate::proto::input::SavedBan;
use crate::proto::{Core, Now, parse_number};
use core::fmt::{self, Write as _};
use rustix::fs::OFlags;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The first line of a state file, and the first line of a journal.
const STATE: &str = "shimmer-state 1";
const JOURNAL: &str = "shimmer-open 2";
/// That of a journal with commands in it.
const OLD_JOURNAL: &str = "shimmer-open 1";

/// What is not ours gets a name that ends so.
const SET_ASIDE: &str = ".set-aside";

/// Separates the words of a command in an old journal. A configuration has no control characters.
const BETWEEN: char = '\u{1f}';

/// Stands for the service in place of an address.
const SERVICE: &str = "service";

/// The state file and its journal, locked while this value lives.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    _lock: File,
    /// The journal of the store that this one replaces.
    old_journal: Option<PathBuf>,
}

/// Why a state file can't be used.
#[derive(Debug)]
pub enum StoreError {
    /// Another daemon has locked it.
    Taken(PathBuf),
    /// Its folder or its lock can't be created.
    Unusable(PathBuf, io::Error),
}

/// Why a journal is not used, and its new name or why it can't be renamed.
#[derive(Debug)]
pub struct NotRead {
    pub why: io::Error,
    pub moved: io::Result<PathBuf>,
}

/// Why a state file yields no bans.
#[derive(Debug)]
pub enum LoadError {
    /// It is damaged; it was renamed to this name, or the renaming failed.
    Damaged(PathBuf, io::Result<()>),
    /// It is not to be trusted; it was renamed, or the renaming failed.
    NotOurs(io::Error, io::Result<PathBuf>),
    /// It could not be read.
    Unreadable(io::Error),
}

impl Store {
    /// Locks a state file. Creates its folder if that is missing.
    ///
    /// # Errors
    /// Another daemon has locked it, or the lock can't be created.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            // If this fails, opening the lock says why.
            let _ = files::make_folder(folder, 0o700, None);
        }
        let lock_path = beside(path, ".lock");
        let lock = match open_lock(&lock_path) {
            Ok(lock) => lock,
            Err(error) => return Err(StoreError::Unusable(lock_path, error)),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_path_buf(),
                _lock: lock,
                old_journal: None,
            }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Taken(lock_path)),
            Err(TryLockError::Error(error)) => Err(StoreError::Unusable(lock_path, error)),
        }
    }

    /// The path of the state file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the journal.
    pub fn journal(&self) -> PathBuf {
        beside(&self.path, ".open")
    }

    /// The path of the file of used tokens and datagrams.
    pub fn used(&self) -> PathBuf {
        beside(&self.path, ".used")
    }

    /// Replaces another store, whose journal is removed once this one's has all of it.
    pub fn replace(&mut self, old: &Self) {
        self.old_journal = Some(old.journal());
    }

    /// The bans of the state file; none if there is no file.
    ///
    /// # Errors
    /// It can't be read, or is damaged.
    pub fn load(&self) -> Result<Vec<SavedBan>, LoadError> {
        let text = match files::read(&self.path, STATE_BYTES + 1) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) if files::is_not_ours(&error) => {
                let aside = beside(&self.path, SET_ASIDE);
                let moved = files::rename(&self.path, &aside);
                return Err(LoadError::NotOurs(error, moved.map(|()| aside)));
            }
            Err(error) => return Err(LoadError::Unreadable(error)),
            Ok(found) => found.bytes,
        };
        // An empty file was created but not written yet: that is no damage.
        if text.is_empty() {
            return Ok(Vec::new());
        }
        parse_bans(&text).ok_or_else(|| {
            let aside = beside(&self.path, ".damaged");
            let moved = files::rename(&self.path, &aside);
            LoadError::Damaged(aside, moved)
        })
    }

    /// Saves the bans.
    ///
    /// # Errors
    /// The file system's error. The old file is still there then.
    pub fn save(&self, core: &Core) -> io::Result<()> {
        let now = core.now();
        let bans = core.bans().iter().map(|ban| SavedBan {
            source: ban.source,
            unix: now.unix().saturating_sub(now.boot.since(ban.last) / 1_000),
            attempts: ban.attempts,
        });
        write(&self.path, STATE, bans.map(BanLine))
    }

    /// What the journal says is open, and by what the configuration closes it; nothing if there is no journal.
    ///
    /// # Errors
    /// It can't be read, could have been written by others, or is damaged. Then nothing is closed, and it is set aside.
    pub fn read_journal(
        &self,
        now: Now,
        closing: impl Fn(&str, OpenFor) -> Closing,
    ) -> Result<Vec<RestoredOpening>, NotRead> {
        let journal = self.journal();
        let why = match files::read(&journal, STATE_BYTES + 1) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => error,
            Ok(found) => match parse_journal(&found, now, closing) {
                Ok(openings) => return Ok(openings),
                Err(error) => error,
            },
        };
        let aside = beside(&journal, SET_ASIDE);
        let moved = files::rename(&journal, &aside).map(|()| aside);
        Err(NotRead { why, moved })
    }

    /// Records what has to be closed. If that is nothing, the file is removed.
    ///
    /// # Errors
    /// The file system's error. The old file is still there then.
    pub fn write_journal(
        &mut self,
        openings: &Openings,
        name: impl Fn(MirageId) -> SectionName,
        now: Now,
    ) -> io::Result<()> {
        let journal = self.journal();
        let mut lines = opening_lines(openings, name, now).peekable();
        if lines.peek().is_some() {
            write(&journal, JOURNAL, lines)?;
        } else {
            files::remove(&journal)?;
        }
        if let Some(old) = self.old_journal.take() {
            let _ = files::remove(&old);
        }
        Ok(())
    }
}

/// Writes a file under another name, then renames it.
fn write(
    path: &Path,
    head: &str,
    lines: impl Iterator<Item = impl fmt::Display>,
) -> io::Result<()> {
    let fresh = beside(path, ".new");
    let folder = Folder::of(path)?;
    let mut file = folder.create(&fresh)?;
    let mut text = String::with_capacity(STATE_WRITE_BYTES + STATE_LINE_BYTES);
    // Writing to a String can't fail.
    let _ = writeln!(text, "{head}");
    let mut count = 0;
    for line in lines {
        let _ = writeln!(text, "{line}");
        count += 1;
        if text.len() >= STATE_WRITE_BYTES {
            file.write_all(text.as_bytes())?;
            text.clear();
        }
    }
    let _ = writeln!(text, "end {count}");
    file.write_all(text.as_bytes())?;
    folder.rename(&fresh, path)
}

/// Opens the lock. One that somebody else has made in our folder is replaced: they could keep it locked.
fn open_lock(path: &Path) -> io::Result<File> {
    let folder = Folder::of(path)?;
    let open = || folder.open(path, OFlags::RDWR | OFlags::CREATE, 0o600);
    match open() {
        Err(error) if files::is_others(&error) && folder.remove(path).is_ok() => open(),
        opened => opened,
    }
}

/// The bans of a state file; None if it is damaged.
pub fn parse_bans(text: &[u8]) -> Option<Vec<SavedBan>> {
    parse(text, STATE, BANS, parse_ban)
}

/// The entries of a file; None if it is damaged.
fn parse<T>(
    text: &[u8],
    head: &str,
    most: usize,
    entry: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    let text = str::from_utf8(text).ok()?;
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next() != Some(head) {
        return None;
    }
    let mut entries = Vec::new();
    for line in lines.by_ref() {
        if let Some(count) = line.strip_prefix("end ") {
            let is_whole =
                parse_number(count) == Some(entries.len() as u64) && lines.next().is_none();
            return is_whole.then_some(entries);
        }
        if entries.len() == most {
            return None;
        }
        entries.push(entry(line)?);
    }
    None
}

struct BanLine(SavedBan);

impl fmt::Display for BanLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SavedBan {
            source,
            unix,
            attempts,
        } = self.0;
        write!(f, "ban {source} {unix} {attempts}")
    }
}

fn parse_ban(line: &str) -> Option<SavedBan> {
    let mut words = line.strip_prefix("ban ")?.split(' ');
    let ban = SavedBan {
        source: words.next()?.parse().ok()?,
        unix: parse_number(words.next()?)?,
        attempts: u32::try_from(parse_number(words.next()?)?).ok()?,
    };
    words.next().is_none().then_some(ban)
}

fn opening_lines(
    openings: &Openings,
    name: impl Fn(MirageId) -> SectionName,
    now: Now,
) -> impl Iterator<Item = String> {
    let recorded = openings.iter().filter(|opening| opening.is_to_be_closed());
    recorded.map(move |opening| {
        let seconds = opening.stays_ms(now.boot) / 1_000;
        let until = now.unix() + seconds;
        let open_for = match opening.open_for {
            OpenFor::Service => SERVICE.to_owned(),
            OpenFor::Address(address) | OpenFor::Element(address) => address.to_string(),
        };
        format!("open {} {open_for} {until} {seconds}", name(opening.mirage))
    })
}

/// What a journal says is open.
///
/// # Errors
/// It is damaged, or has commands and is not root's.
pub fn parse_journal(
    found: &Found,
    now: Now,
    closing: impl Fn(&str, OpenFor) -> Closing,
) -> io::Result<Vec<RestoredOpening>> {
    let damaged = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let is_old = found.bytes.starts_with(OLD_JOURNAL.as_bytes());
    if is_old && !found.is_roots {
        return Err(damaged("has commands in it, and is not root's"));
    }
    let head = if is_old { OLD_JOURNAL } else { JOURNAL };
    let close = |section: &str, open_for, command: Option<&str>| match command {
        Some(words) if is_old => {
            let words = words.split(BETWEEN).map(str::to_owned);
            Some(Closing::Command(words.collect()))
        }
        None if !is_old => Some(closing(section, open_for)),
        _ => None,
    };
    let parse_line = |line: &str| parse_opening(line, now, close);
    let openings = parse(&found.bytes, head, OPENINGS, parse_line);
    openings.ok_or_else(|| damaged("is damaged"))
}

/// An end in the past is due now.
fn parse_opening(
    line: &str,
    now: Now,
    closing: impl Fn(&str, OpenFor, Option<&str>) -> Option<Closing>,
) -> Option<RestoredOpening> {
    let mut parts = line.strip_prefix("open ")?.splitn(5, ' ');
    let (section, open_for) = (parts.next()?, parts.next()?);
    let unix = parse_number(parts.next()?)?;
    let seconds = parse_number(parts.next()?)?;
    let left_s = unix.saturating_sub(now.unix()).min(seconds);
    let open_for = if open_for == SERVICE {
        OpenFor::Service
    } else {
        OpenFor::Address(open_for.parse().ok()?)
    };
    Some(RestoredOpening {
        section: section.into(),
        open_for,
        close: closing(section, open_for, parts.next())?,
        until: now.boot.after(left_s.saturating_mul(1_000)),
    })
}

/// Options for a file that only we can read and write, created if it is missing. A symbolic link is not
/// followed.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Instant;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn now(boot_ms: u64, unix: i64) -> Now {
        Now {
            boot: Instant(boot_ms),
            real_ms: unix * 1_000,
        }
    }

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("shimmer-store-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn take(&self) -> Store {
            Store::take(&self.0.join("state")).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn ban(source: &str, unix: u64, attempts: u32) -> SavedBan {
        SavedBan {
            source: source.parse().unwrap(),
            unix,
            attempts,
        }
    }

    #[test]
    fn bans_are_read_as_they_were_written() {
        let folder = Place::new("bans");
        let store = folder.take();
        assert!(store.load().unwrap().is_empty());
        let bans = [ban("192.0.2.7", 1_794_000_000, 3), ban("2001:db8::", 5, 1)];
        write(store.path(), STATE, bans.into_iter().map(BanLine)).unwrap();
        assert_eq!(store.load().unwrap(), bans);
    }

    #[test]
    fn a_second_daemon_is_refused() {
        let folder = Place::new("second");
        let _first = folder.take();
        let second = Store::take(&folder.0.join("state"));
        assert!(matches!(second, Err(StoreError::Taken(_))));
    }

    #[test]
    fn an_empty_file_is_no_damage_and_a_cut_one_is() {
        let folder = Place::new("cut");
        let store = folder.take();
        fs::write(store.path(), "").unwrap();
        assert!(store.load().unwrap().is_empty());
        let whole = format!("{STATE}\nban 192.0.2.7 1794000000 3\nend 1\n");
        assert!(parse_bans(whole.as_bytes()).is_some_and(|bans| bans.len() == 1));
        for cut in 0..whole.len() {
            let cut_off = &whole.as_bytes()[..cut];
            assert!(parse_bans(cut_off).is_none(), "cut at {cut}");
        }
        assert!(parse_bans(&[whole.as_bytes(), b"x\n"].concat()).is_none());
        assert!(parse_bans(b"\xff\xff\n").is_none());
    }

    #[test]
    fn a_file_with_more_than_there_can_be_is_damaged() {
        let text = |count: usize| {
            let lines = "ban 192.0.2.7 1794000000 3\n".repeat(count);
            format!("{STATE}\n{lines}end {count}\n")
        };
        let parse = |count| parse(text(count).as_bytes(), STATE, 3, parse_ban);
        assert!(parse(3).is_some() && parse(4).is_none());
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let folder = Place::new("damaged");
        let store = folder.take();
        fs::write(store.path(), "nonsense").unwrap();
        assert!(matches!(store.load(), Err(LoadError::Damaged(_, Ok(())))));
        assert!(!store.path().exists());
        let aside = folder.0.join("state.damaged");
        assert_eq!(fs::read_to_string(aside).unwrap(), "nonsense");
    }

    /// Two open entries: one until 1030, one until 1060.
    fn journal() -> String {
        format!("{JOURNAL}\nopen home 192.0.2.7 1030 30\nopen home service 1060 60\nend 2\n")
    }

    fn old_journal() -> String {
        format!("{OLD_JOURNAL}\nopen home service 1060 60 /bin/close it{BETWEEN}a=b c\nend 1\n")
    }

    /// As a configuration with one mirage has it.
    fn closing(section: &str, _: OpenFor) -> Closing {
        match section {
            "home" => Closing::Command(["/bin/close".to_owned()].into()),
            _ => Closing::Unknown,
        }
    }

    fn found(text: &str, is_roots: bool) -> Found {
        Found {
            bytes: text.into(),
            is_roots,
        }
    }

    fn write_private(store: &Store, text: &str) {
        let journal = store.journal();
        let mut file = Folder::of(&journal).unwrap().create(&journal).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn what_was_open_is_closed_after_a_reboot_when_it_would_have_been() {
        let folder = Place::new("reboot");
        let store = folder.take();
        assert!(store.read_journal(now(0, 0), closing).unwrap().is_empty());
        write_private(&store, &journal());
        let open = store.read_journal(now(5_000, 1_050), closing).unwrap();
        // The first is over, the second has ten seconds left.
        let until: Vec<Instant> = open.iter().map(|opening| opening.until).collect();
        assert_eq!(until, [Instant(5_000), Instant(15_000)]);
        assert_eq!(open[0].close, closing("home", OpenFor::Service));
        assert_eq!(open[1].open_for, OpenFor::Service);
    }

    #[test]
    fn a_clock_that_is_behind_keeps_nothing_open() {
        let folder = Place::new("behind");
        let store = folder.take();
        write_private(&store, &journal());
        let open = store.read_journal(now(0, 1), closing).unwrap();
        let until: Vec<Instant> = open.iter().map(|opening| opening.until).collect();
        assert_eq!(until, [Instant(30_000), Instant(60_000)]);
    }

    #[test]
    fn a_journal_is_written_as_it_was_read_and_nothing_open_is_no_file() {
        let folder = Place::new("journal");
        let mut store = folder.take();
        write_private(&store, &journal());
        let mut openings = Openings::default();
        // Who closes it does not matter.
        let unknown = |_: &str, _| Closing::Unknown;
        for opening in store.read_journal(now(0, 1_000), unknown).unwrap() {
            openings.restore(MirageId::of(1), opening, Instant(0));
        }
        fs::remove_file(store.journal()).unwrap();
        let name = |_| SectionName::from("home");
        store.write_journal(&openings, name, now(0, 1_000)).unwrap();
        assert_eq!(fs::read_to_string(store.journal()).unwrap(), journal());
        let none = Openings::default();
        store.write_journal(&none, name, now(0, 0)).unwrap();
        assert!(!store.journal().exists());
        store.write_journal(&none, name, now(0, 0)).unwrap();
    }

    #[test]
    fn an_old_journal_goes_once_the_new_one_is_written() {
        let (one, other) = (Place::new("old"), Place::new("new"));
        let (old, mut new) = (one.take(), other.take());
        write_private(&old, &journal());
        new.replace(&old);
        assert!(old.journal().exists());
        let name = |_| SectionName::from("home");
        new.write_journal(&Openings::default(), name, now(0, 0))
            .unwrap();
        assert!(!old.journal().exists());
    }

    #[test]
    fn what_others_could_have_written_is_not_run() {
        let folder = Place::new("others");
        let store = folder.take();
        write_private(&store, &journal());
        fs::set_permissions(store.journal(), fs::Permissions::from_mode(0o620)).unwrap();
        let refused = store.read_journal(now(0, 0), closing).unwrap_err();
        assert!(files::is_not_ours(&refused.why), "{}", refused.why);
        assert!(!store.journal().exists());
        let aside = refused.moved.unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), journal());
    }

    #[test]
    fn the_commands_of_an_old_journal_are_root_s_or_not_run() {
        let old = old_journal();
        let open = parse_journal(&found(&old, true), now(0, 0), closing).unwrap();
        let words = ["/bin/close it", "a=b c"].map(str::to_owned);
        assert_eq!(open[0].close, Closing::Command(words.into()));
        let error = parse_journal(&found(&old, false), now(0, 0), closing).unwrap_err();
        assert_eq!(error.to_string(), "has commands in it, and is not root's");
        // A new one has none, whoever wrote it.
        let smuggled = old.replace(OLD_JOURNAL, JOURNAL);
        parse_journal(&found(&smuggled, true), now(0, 0), closing).unwrap_err();
        parse_journal(&found(&journal(), false), now(0, 0), closing).unwrap();
    }

    #[test]
    fn a_journal_that_was_cut_short_is_not_run() {
        for whole in [journal(), old_journal()] {
            let parse = |text: &str| parse_journal(&found(text, true), now(0, 0), closing);
            assert!(parse(&whole).is_ok());
            for cut in (0..whole.len()).filter(|&cut| whole.is_char_boundary(cut)) {
                assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text: Vec<u8>) {
            for head in ["", STATE, JOURNAL, OLD_JOURNAL] {
                let bytes = [head.as_bytes(), b"\n", &text].concat();
                parse(&bytes, STATE, BANS, parse_ban);
                let found = Found { bytes, is_roots: true };
                let _ = parse_journal(&found, now(0, 0), closing);
            }
        }
    }
}
