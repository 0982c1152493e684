//! Who besides root and the daemon may use a file that the configuration is read from.
//!
//! It is judged by the file that was opened: another may have its name a moment later.

use super::account::Account;
use std::fs::File;

/// Whose a file is, and who else may use it. Nothing is known of what is not a regular file, and of any file on a
/// system without such rights.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access(#[cfg_attr(not(unix), allow(dead_code))] Option<Rights>);

#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(unix), allow(dead_code))]
struct Rights {
    owner: u32,
    group: u32,
    mode: u32,
}

/// The user and the group that a daemon runs as.
#[derive(Clone, Copy)]
pub(super) struct Reader {
    user: u32,
    group: u32,
}

/// Why somebody else can change a file.
#[derive(Clone, Copy)]
pub(super) enum Changeable {
    /// It belongs to this user.
    Owner(u32),
    /// Its group or all others may write to it.
    Others,
}

#[cfg(unix)]
impl Access {
    pub(super) fn of(file: &File) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let about = file.metadata().ok().filter(std::fs::Metadata::is_file);
        Self(about.map(|about| Rights {
            owner: about.uid(),
            group: about.gid(),
            mode: about.mode(),
        }))
    }

    /// Whether users other than its owner may use it.
    #[must_use]
    pub fn is_open_to_others(self) -> bool {
        self.0.is_some_and(|rights| rights.mode & 0o077 != 0)
    }

    /// Whether users other than its owner may use it, save that the daemon's group may read it.
    pub(super) fn is_open_to_strangers(self, reader: Reader) -> bool {
        self.0.is_some_and(|rights| {
            let allowed = if rights.group == reader.group {
                0o040
            } else {
                0
            };
            rights.mode & 0o077 & !allowed != 0
        })
    }

    /// Why others than root and the daemon could change it. Whoever owns `/` is root, too: in a namespace of users
    /// that need not be number 0.
    pub(super) fn changeable(self, reader: Reader) -> Option<Changeable> {
        let Rights { owner, group, mode } = self.0?;
        let owns_root = || {
            use std::os::unix::fs::MetadataExt as _;
            std::fs::metadata("/").is_ok_and(|about| about.uid() == owner)
        };
        let by_group = if group == 0 { 0 } else { 0o020 };
        if owner != 0 && owner != reader.user && !owns_root() {
            Some(Changeable::Owner(owner))
        } else {
            (mode & (0o002 | by_group) != 0).then_some(Changeable::Others)
        }
    }
}

#[cfg(not(unix))]
impl Access {
    pub(super) fn of(_file: &File) -> Self {
        Self(None)
    }

    /// Whether users other than its owner may use it.
    #[must_use]
    pub fn is_open_to_others(self) -> bool {
        false
    }

    pub(super) fn is_open_to_strangers(self, _: Reader) -> bool {
        false
    }

    pub(super) fn changeable(self, _: Reader) -> Option<Changeable> {
        None
    }
}

impl Reader {
    /// The user that the configuration names, or who we are.
    pub(super) fn of(account: Option<&Account>) -> Self {
        let (user, group) = match account {
            Some(account) => (account.uid, account.gid),
            None => ourselves(),
        };
        Self { user, group }
    }
}

/// Whether root reads: what it reads can be a way to be root.
pub(super) fn is_root() -> bool {
    ourselves().0 == 0
}

#[cfg(unix)]
fn ourselves() -> (u32, u32) {
    use rustix::process::{getegid, geteuid};
    (geteuid().as_raw(), getegid().as_raw())
}

#[cfg(not(unix))]
fn ourselves() -> (u32, u32) {
    (1, 1)
}
