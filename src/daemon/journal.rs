//! What commands have opened, on disk, so that it is closed even if we are killed, and even if a new
//! configuration no longer knows it.
//!
//! It is written before each command that opens something, and after each that has closed something: to
//! a new file, which then takes the old one's name. As in the state file, there is no fsync.
//!
//! ```text
//! shimmer-open 1
//! open home 192.0.2.7 1794000030 30 /usr/sbin/close␟192.0.2.7
//!      whose, for whom, until when, how many seconds that was, what closes it
//! end 1
//! ```
//!
//! A router without a battery boots with a clock that is behind, and what would be open until a day that
//! is far away is not: after a restart nothing stays longer than it had left when it was written down.
//!
//! Its lines are commands that we run. So a file that others could have written is not read.

use super::door::{Openings, Remembered, Whom};
use super::state::{beside, private};
use crate::limits::{OPENINGS, STATE_BYTES};
use crate::proto::{Now, parse_number};
use core::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const HEAD: &str = "shimmer-open 1";

/// Between the words of a command: a configuration has no control characters.
const BETWEEN: char = '\u{1f}';

/// For whom, where it is no address.
const SERVICE: &str = "service";

/// Rights by which others could have written a file.
const WRITABLE_BY_OTHERS: libc::mode_t = 0o022;

/// The journal beside a state file.
pub fn path(state: &Path) -> PathBuf {
    beside(state, ".open")
}

/// Writes down what has to be closed. Nothing is no file.
///
/// # Errors
/// What the file system says; the old file is still there then.
pub fn save(path: &Path, openings: &Openings, now: Now) -> io::Result<()> {
    let mut text = format!("{HEAD}\n");
    let mut count = 0;
    for opening in openings.iter() {
        let Some(close) = opening.to_close() else {
            continue;
        };
        count += 1;
        let seconds = opening.stays_ms(now.boot) / 1_000;
        let until = now.unix() + seconds;
        // Writing to a String can't fail.
        let _ = match opening.whom {
            Whom::Service => write!(text, "open {} {SERVICE}", opening.mirage),
            Whom::Address(address) | Whom::Element(address) => {
                write!(text, "open {} {address}", opening.mirage)
            }
        };
        let _ = write!(text, " {until} {seconds} ");
        for (index, word) in close.iter().enumerate() {
            if index > 0 {
                text.push(BETWEEN);
            }
            text.push_str(word);
        }
        text.push('\n');
    }
    if count == 0 {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let _ = writeln!(text, "end {count}");
    let fresh = beside(path, ".new");
    private()
        .truncate(true)
        .open(&fresh)?
        .write_all(text.as_bytes())?;
    fs::rename(&fresh, path)
}

/// Puts back what a restart has to close, and says how much that is. What lies in the past is due now.
///
/// # Errors
/// It can't be read, or is not ours alone, or is damaged; then nothing is closed.
pub fn load(path: &Path, openings: &mut Openings, now: Now) -> io::Result<usize> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let about = opened.metadata()?;
    let is_ours = about.uid() == rustix::process::geteuid().as_raw();
    let is_open = !about.is_file() || about.mode() & WRITABLE_BY_OTHERS != 0;
    if !is_ours || is_open {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut text = Vec::new();
    opened.take(STATE_BYTES + 1).read_to_end(&mut text)?;
    let remembered = parse(&text, now).ok_or(io::ErrorKind::InvalidData)?;
    let count = remembered.len();
    for opening in remembered {
        openings.restore(opening, now.boot);
    }
    Ok(count)
}

/// None where it is damaged.
fn parse(text: &[u8], now: Now) -> Option<Vec<Remembered>> {
    let text = str::from_utf8(text).ok()?;
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next() != Some(HEAD) {
        return None;
    }
    let mut all = Vec::new();
    for line in lines.by_ref() {
        if let Some(count) = line.strip_prefix("end ") {
            let is_whole = parse_number(count) == Some(all.len() as u64) && lines.next().is_none();
            return is_whole.then_some(all);
        }
        let mut parts = line.strip_prefix("open ")?.splitn(5, ' ');
        let (mirage, whom) = (parts.next()?, parts.next()?);
        let unix = parse_number(parts.next()?)?;
        let seconds = parse_number(parts.next()?)?;
        let mut close = Vec::new();
        for word in parts.next()?.split(BETWEEN) {
            close.push(word.to_owned());
        }
        if all.len() == OPENINGS {
            return None;
        }
        all.push(Remembered {
            mirage: mirage.into(),
            whom: if whom == SERVICE {
                Whom::Service
            } else {
                Whom::Address(whom.parse().ok()?)
            },
            close: Some(close.into()),
            until: now.boot.after(
                unix.saturating_sub(now.unix())
                    .min(seconds)
                    .saturating_mul(1_000),
            ),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::door::Wish;
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

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("shimmer-journal-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Two things that are open: until 1030 and until 1060.
    fn openings() -> Openings {
        let mut openings = Openings::new();
        for (whom, seconds) in [
            (Whom::Address([192, 0, 2, 7].into()), 30),
            (Whom::Service, 60),
        ] {
            let wish = Wish {
                mirage: "home".into(),
                whom,
                open: ["open".to_owned()].into(),
                close: Some(["/bin/close it".to_owned(), "a=b c".to_owned()].into()),
                stays_ms: seconds * 1_000,
            };
            openings.wish(wish, None, Instant(0));
            let (ticket, _) = openings.next_command(Instant(0)).unwrap();
            openings.ended(ticket, true, Instant(0));
        }
        openings
    }

    #[test]
    fn what_was_open_is_closed_after_a_reboot_when_it_would_have_been() {
        let folder = Folder::new("reboot");
        let path = path(&folder.0.join("state"));
        save(&path, &openings(), now(0, 1_000)).unwrap();
        let mut after = Openings::new();
        assert_eq!(load(&path, &mut after, now(5_000, 1_050)).unwrap(), 2);
        // The first is over, the second has ten seconds.
        let (_, words) = after.next_command(Instant(5_000)).unwrap();
        assert_eq!(*words, ["/bin/close it", "a=b c"]);
        assert!(after.next_command(Instant(14_999)).is_none());
        assert!(after.next_command(Instant(15_000)).is_some());
    }

    #[test]
    fn a_clock_that_is_behind_keeps_nothing_open() {
        let folder = Folder::new("behind");
        let path = path(&folder.0.join("state"));
        save(&path, &openings(), now(0, 1_000_000)).unwrap();
        let mut after = Openings::new();
        assert_eq!(load(&path, &mut after, now(0, 1)).unwrap(), 2);
        assert!(after.next_command(Instant(29_999)).is_none());
        assert!(after.next_command(Instant(30_000)).is_some());
        assert!(after.next_command(Instant(60_000)).is_some());
    }

    #[test]
    fn nothing_open_is_no_file() {
        let folder = Folder::new("empty");
        let path = path(&folder.0.join("state"));
        save(&path, &openings(), now(0, 1_000)).unwrap();
        save(&path, &Openings::new(), now(0, 1_000)).unwrap();
        assert!(!path.exists());
        assert_eq!(load(&path, &mut Openings::new(), now(0, 0)).unwrap(), 0);
    }

    #[test]
    fn what_others_could_have_written_is_not_run() {
        let folder = Folder::new("others");
        let path = path(&folder.0.join("state"));
        save(&path, &openings(), now(0, 1_000)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        let error = load(&path, &mut Openings::new(), now(0, 0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_damaged_one_is_not_run() {
        let folder = Folder::new("damaged");
        let path = path(&folder.0.join("state"));
        save(&path, &openings(), now(0, 1_000)).unwrap();
        let whole = fs::read(&path).unwrap();
        assert!(parse(&whole, now(0, 0)).is_some());
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut], now(0, 0)).is_none(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text: Vec<u8>) {
            parse(&text, now(0, 0));
            parse(&[HEAD.as_bytes(), b"\n", &text].concat(), now(0, 0));
        }
    }
}
