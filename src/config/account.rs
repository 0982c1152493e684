//! The users of this machine: whom the daemon may become, and whose a file is that it may not use.
//!
//! They are read from /etc/passwd (passwd(5)) and from nowhere else: a libc's own look-up is more code
//! than the daemon's poll loop, and asks servers that may not be there at boot.

use super::file;
use crate::message::{Parsed, wrong};
use crate::proto::parse_number;
use core::fmt;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const PASSWD: &str = "/etc/passwd";

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// As /etc/passwd has it.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
}

impl Account {
    /// The user of this name.
    ///
    /// # Errors
    /// There is none, or /etc/passwd can't be read.
    pub fn find(name: &str) -> Parsed<Self> {
        let users = match file::read(Path::new(PASSWD)) {
            Ok(users) => users,
            Err(error) => return wrong!("{PASSWD}: {error}"),
        };
        match in_passwd(&users, |user| user.name == name) {
            Some(account) => Ok(account),
            None => wrong!("{PASSWD} has no user {name}"),
        }
    }
}

fn in_passwd(text: &[u8], is_wanted: impl Fn(&Account) -> bool) -> Option<Account> {
    let lines = text.split(|&byte| byte == b'\n');
    lines.filter_map(account).find(is_wanted)
}

/// `name:password:uid:gid:…`
fn account(line: &[u8]) -> Option<Account> {
    let mut fields = str::from_utf8(line).ok()?.split(':');
    let name = fields.next()?.to_owned();
    let mut number = || u32::try_from(parse_number(fields.next()?)?).ok();
    number();
    let (uid, gid) = (number()?, number()?);
    Some(Account { name, uid, gid })
}

/// Behind an error of a file that we may not use: `; /etc/shimmer belongs to root`. Nothing where it
/// went wrong for another reason.
#[derive(Debug)]
pub struct OwnerHint<'a> {
    /// What can't be used.
    pub path: &'a Path,
    /// What was said about it.
    pub error: &'a std::io::Error,
}

#[cfg(unix)]
impl fmt::Display for OwnerHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.error.kind() != std::io::ErrorKind::PermissionDenied {
            return Ok(());
        }
        // Below a folder that is closed nothing can be looked at, and above a file that is missing
        // stands the folder in which it can't be made.
        let looked = self
            .path
            .ancestors()
            .find_map(|path| Some((path, std::fs::metadata(path).ok()?.uid())));
        let Some((path, uid)) = looked else {
            return Ok(());
        };
        let path = path.display();
        let users = file::read(Path::new(PASSWD)).unwrap_or_default();
        match in_passwd(&users, |user| user.uid == uid) {
            Some(owner) => write!(f, "; {path} belongs to {}", owner.name),
            None => write!(f, "; {path} belongs to user {uid}"),
        }
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
        let named = |name: &str| in_passwd(text, |user| user.name == name);
        let shimmer = named("shimmer").unwrap();
        assert_eq!((shimmer.uid, shimmer.gid), (453, 454));
        assert_eq!(named("root").unwrap().uid, 0);
        assert_eq!(named("x"), None);
        assert_eq!(named("shimme"), None);
    }
}
