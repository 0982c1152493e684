//! The users of this machine: the one that the daemon may run as, and the owner of a file that it
//! can't use.
//!
//! They are read from /etc/passwd (passwd(5)) alone. getpwnam(3) may also ask servers, which need not
//! be there at boot.

use crate::proto::parse_number;
use core::error::Error;
use core::fmt;
use std::fs::File;
use std::io::{self, Read as _};
#[cfg(unix)]
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const PASSWD: &str = "/etc/passwd";

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name in /etc/passwd.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The id of the primary group.
    pub gid: u32,
}

/// Why there is no account.
#[derive(Debug)]
pub enum AccountError {
    /// /etc/passwd can't be read.
    Passwd(io::Error),
    /// It has no user of this name.
    Unknown(String),
}

impl Error for AccountError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Passwd(error) => Some(error),
            Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passwd(error) => write!(f, "{PASSWD}: {error}"),
            Self::Unknown(name) => write!(f, "{PASSWD} has no user {name}"),
        }
    }
}

impl Account {
    /// The user of this name.
    ///
    /// # Errors
    /// There is none, or /etc/passwd can't be read.
    pub fn find(name: &str) -> Result<Self, AccountError> {
        let users = read_passwd().map_err(AccountError::Passwd)?;
        let found = find_account(&users, |user| user.name == name);
        found.ok_or_else(|| AccountError::Unknown(name.to_owned()))
    }
}

fn read_passwd() -> io::Result<Vec<u8>> {
    let mut users = Vec::new();
    // With a limit, as all other files are read: without one, std's code is another 1.6 KB.
    File::open(PASSWD)?.take(u64::MAX).read_to_end(&mut users)?;
    Ok(users)
}

fn find_account(passwd: &[u8], is_wanted: impl Fn(&Account) -> bool) -> Option<Account> {
    let lines = passwd.split(|&byte| byte == b'\n');
    lines.filter_map(parse_account).find(is_wanted)
}

/// `name:password:uid:gid:…`
fn parse_account(line: &[u8]) -> Option<Account> {
    let mut fields = str::from_utf8(line).ok()?.split(':');
    let name = fields.next()?.to_owned();
    let _password = fields.next()?;
    let mut id = || u32::try_from(parse_number(fields.next()?)?).ok();
    let (uid, gid) = (id()?, id()?);
    Some(Account { name, uid, gid })
}

/// A user by number. It displays as their name, or as `user 1000`.
#[derive(Debug)]
pub struct UserName(pub u32);

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users = read_passwd().unwrap_or_default();
        match find_account(&users, |user| user.uid == self.0) {
            Some(user) => f.write_str(&user.name),
            None => write!(f, "user {}", self.0),
        }
    }
}

/// Who owns a file that permissions keep from us, behind an error about it: `; /etc/shimmer belongs to
/// root`. It displays as nothing for any other error.
#[derive(Debug)]
pub struct OwnerHint<'a> {
    /// The file that can't be used.
    pub path: &'a Path,
    /// The error about it.
    pub error: &'a io::Error,
}

#[cfg(unix)]
impl fmt::Display for OwnerHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.error.kind() != io::ErrorKind::PermissionDenied {
            return Ok(());
        }
        // The file may not exist yet, and nothing inside a closed folder can be looked at. Then it is
        // the nearest folder above it that says no.
        let visible = self
            .path
            .ancestors()
            .find_map(|path| Some((path, path.metadata().ok()?.uid())));
        let Some((path, uid)) = visible else {
            return Ok(());
        };
        write!(f, "; {} belongs to {}", path.display(), UserName(uid))?;
        if rustix::process::geteuid().is_root() {
            f.write_str(", and the daemon gives up root's right to files of others")?;
        }
        Ok(())
    }
}

#[cfg(not(unix))]
impl fmt::Display for OwnerHint<'_> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_line_with_its_numbers() {
        let text = b"root:x:0:0:root:/root:/bin/ash\n# none\nshimmer:*:453:454:shimmer:/var:/bin/false\nx:y\n";
        let named = |name: &str| find_account(text, |user| user.name == name);
        let shimmer = named("shimmer").unwrap();
        assert_eq!((shimmer.uid, shimmer.gid), (453, 454));
        assert_eq!(named("root").unwrap().uid, 0);
        assert_eq!(named("x"), None);
        assert_eq!(named("shimme"), None);
    }
}
