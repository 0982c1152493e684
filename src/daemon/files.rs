//! The daemon's own files: state, journal, used tokens, lock, log and control socket. Here is where they are opened.
//!
//! Whoever may write to a folder can put another file there, or a link to one. So the way to a file is walked one
//! folder after the other, and each has to be root's or ours. Then the file is opened without following a link,
//! and judged by what was opened and not by its name.
//!
//! ```text
//!   /var/lib/shimmer/state.open
//!    ▲   ▲   ▲       ▲
//!    │   │   │       └ a regular file of root's or ours, which others may not write, of this name only
//!    └───┴───┴ folders and links of root's or ours; others may write where it is sticky, as /tmp is
//! ```
//!
//! Whoever owns `/` counts as root: in a namespace of users that is not always number 0, and they could replace
//! everything.

use crate::config::UserName;
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, mkdirat, openat, readlinkat, renameat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

const ROOT: u32 = 0;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
/// In such a folder, only its owner may rename or remove a file.
const STICKY: u32 = 0o1000;
/// As the kernel (path_resolution(7)).
const LINKS: usize = 40;

/// Why a file or the way to it is not used.
#[derive(Debug)]
pub enum Distrust {
    /// This folder, or a link to one, belongs to this user.
    Folder(PathBuf, u32),
    /// Others may write to this folder.
    OpenFolder(PathBuf),
    /// The file itself is a link.
    Link,
    /// It is a folder, a pipe or a device.
    NoFile,
    /// It belongs to this user.
    Owner(u32),
    /// Others may write to it.
    Writable,
    /// It has another name as well.
    TwoNames,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = "it has to be root's or the daemon's own";
        match self {
            Self::Folder(path, owner) => {
                let path = path.display();
                write!(f, "{path} belongs to {}; {ours}", UserName(*owner))
            }
            Self::OpenFolder(path) => {
                let path = path.display();
                write!(f, "others may write to {path}; run chmod go-w {path}")
            }
            Self::Link => f.write_str("is a link; name the file that it leads to"),
            Self::NoFile => f.write_str("is not a regular file"),
            Self::Owner(owner) => write!(f, "belongs to {}; {ours}", UserName(*owner)),
            Self::Writable => f.write_str("others may write to it; run chmod go-w on it"),
            Self::TwoNames => f.write_str("is a hard link; it must have one name only"),
        }
    }
}

impl Error for Distrust {}

impl From<Distrust> for io::Error {
    fn from(why: Distrust) -> Self {
        Self::other(why)
    }
}

/// Whether there is a file, and it is not to be trusted or not ours to read.
pub fn is_not_ours(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied || distrust(error).is_some()
}

/// Whether a regular file is another user's.
pub fn is_others(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
        || matches!(distrust(error), Some(Distrust::Owner(_)))
}

fn distrust(error: &io::Error) -> Option<&Distrust> {
    error.get_ref()?.downcast_ref()
}

/// What was read of a file.
pub struct Found {
    pub bytes: Vec<u8>,
    /// Whether the file is root's, and not only ours.
    pub is_roots: bool,
}

/// The first bytes of a file, this many at most.
///
/// # Errors
/// As for [`Folder::of`] and [`Folder::open`].
pub fn read(path: &Path, most: u64) -> io::Result<Found> {
    let folder = Folder::of(path)?;
    let file = folder.open(path, OFlags::RDONLY, 0)?;
    let is_roots = folder.way.is_roots(&file.metadata()?);
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Found { bytes, is_roots })
}

/// Gives a file another name in its folder.
///
/// # Errors
/// As for [`Folder::of`] and [`Folder::rename`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    Folder::of(from)?.rename(from, to)
}

/// Removes a file, if there is one.
///
/// # Errors
/// As for [`Folder::of`] and [`Folder::remove`].
pub fn remove(path: &Path) -> io::Result<()> {
    Folder::of(path)?.remove(path)
}

/// The folder of a file, which nobody but root and we can change.
pub struct Folder {
    folder: OwnedFd,
    way: Way,
}

impl Folder {
    /// Walks to the folder of a file.
    ///
    /// # Errors
    /// The kernel's, or a folder on the way is not to be trusted.
    pub fn of(file: &Path) -> io::Result<Self> {
        Self::walk(file, GROUP_WRITES | OTHERS_WRITE)
    }

    /// Walks to the folder of the log, which a group may write: /var/log is syslog's on some systems. Nothing is read
    /// from a log.
    ///
    /// # Errors
    /// As for [`Folder::of`].
    pub fn of_log(file: &Path) -> io::Result<Self> {
        Self::walk(file, OTHERS_WRITE)
    }

    fn walk(file: &Path, forbidden: u32) -> io::Result<Self> {
        let mut rest = Vec::new();
        push_names(&mut rest, file.parent().unwrap_or(file));
        let (root, about) = look(CWD, "/")?;
        let way = Way {
            roots: [ROOT, about.uid()],
            forbidden,
        };
        let (mut folder, mut path, mut links) = (root, PathBuf::from("/"), 0);
        if file.is_relative() {
            rest.push(".".into());
            (folder, path) = (look(CWD, ".")?.0, PathBuf::new());
        }
        while let Some(name) = rest.pop() {
            path.push(&name);
            let (next, about) = look(&folder, &name)?;
            if !way.trusts(&about) {
                return Err(Distrust::Folder(path, about.uid()).into());
            }
            if about.is_symlink() {
                links += 1;
                if links > LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = readlinkat(&next, "", Vec::new())?.into_bytes();
                let target = PathBuf::from(OsString::from_vec(target));
                path.pop();
                if target.is_absolute() {
                    (folder, _) = look(CWD, "/")?;
                    path = "/".into();
                }
                push_names(&mut rest, &target);
                continue;
            }
            if !about.is_dir() {
                return Err(Errno::NOTDIR.into());
            }
            if about.mode() & STICKY == 0 && way.may_others_write(&about) {
                return Err(Distrust::OpenFolder(path).into());
            }
            folder = next;
        }
        Ok(Self { folder, way })
    }

    /// Opens a file in it. Neither a link nor a pipe can lead it astray or keep it waiting.
    ///
    /// # Errors
    /// The kernel's, or the file is not to be trusted.
    pub fn open(&self, file: &Path, how: OFlags, mode: u32) -> io::Result<File> {
        let how = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let opened = match openat(&self.folder, name(file)?, how, mode) {
            Err(Errno::LOOP) => return Err(Distrust::Link.into()),
            // A pipe that nobody reads.
            Err(Errno::NXIO) => return Err(Distrust::NoFile.into()),
            opened => File::from(opened?),
        };
        self.way.judge(&opened.metadata()?)?;
        Ok(opened)
    }

    /// Makes a file that only its owner can use, in place of what has its name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(&self, file: &Path) -> io::Result<File> {
        self.remove(file)?;
        let how = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        self.open(file, how, 0o600)
    }

    /// Removes a file, if there is one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, file: &Path) -> io::Result<()> {
        match unlinkat(&self.folder, name(file)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Renames a file in it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat(
            &self.folder,
            name(from)?,
            &self.folder,
            name(to)?,
        )?)
    }
}

/// Makes a folder if it is missing, and gives it to a user and their group.
///
/// # Errors
/// The kernel's, or a folder on the way is not to be trusted.
pub fn make_folder(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let above = Folder::of(path)?;
    let name = name(path)?;
    mkdirat(&above.folder, name, Mode::from_raw_mode(mode))?;
    if let Some((user, group)) = owner {
        let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        chownat(&above.folder, name, user, group, flags)?;
    }
    Ok(())
}

/// Whom to trust on the way to a file.
struct Way {
    /// The two numbers of root.
    roots: [u32; 2],
    /// Permissions that nobody else may have.
    forbidden: u32,
}

impl Way {
    fn trusts(&self, about: &Metadata) -> bool {
        self.is_roots(about) || about.uid() == geteuid().as_raw()
    }

    fn is_roots(&self, about: &Metadata) -> bool {
        self.roots.contains(&about.uid())
    }

    /// Whether others may write to a folder. Root's group and ours are no others.
    fn may_others_write(&self, about: &Metadata) -> bool {
        let is_ours = about.gid() == ROOT || about.gid() == getegid().as_raw();
        let forbidden = if is_ours {
            OTHERS_WRITE
        } else {
            self.forbidden
        };
        about.mode() & forbidden != 0
    }

    fn judge(&self, about: &Metadata) -> Result<(), Distrust> {
        // A log may go to /dev/null, which everybody may write.
        let is_null = about.file_type().is_char_device() && self.is_roots(about);
        if is_null && self.forbidden == OTHERS_WRITE {
            Ok(())
        } else if !about.is_file() {
            Err(Distrust::NoFile)
        } else if !self.trusts(about) {
            Err(Distrust::Owner(about.uid()))
        } else if about.mode() & self.forbidden != 0 {
            Err(Distrust::Writable)
        } else if about.nlink() > 1 {
            Err(Distrust::TwoNames)
        } else {
            Ok(())
        }
    }
}

/// What has this name in a folder, without following a link.
fn look(
    folder: impl std::os::fd::AsFd,
    name: impl rustix::path::Arg,
) -> io::Result<(OwnedFd, Metadata)> {
    let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = File::from(openat(folder, name, how, Mode::empty())?);
    let about = found.metadata()?;
    Ok((found.into(), about))
}

/// Adds the folders of a path so that the first is the next to be taken.
fn push_names(rest: &mut Vec<OsString>, path: &Path) {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    rest.extend(names);
}

fn name(file: &Path) -> io::Result<&OsStr> {
    Ok(file.file_name().ok_or(Errno::ISDIR)?)
}

#[cfg(test)]
mod tests;
