//! Why the daemon could not start or continue.

use crate::config::{Errors, OwnerHint};
use core::fmt;
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why the daemon could not start or continue.
#[derive(Debug)]
pub enum Failure {
    /// Everything that is wrong with the configuration.
    Configuration(Errors),
    /// Why the daemon can't run as the configured user.
    User(String),
    /// The kernel provides no descriptor or memory for something essential.
    Host(io::Error),
    /// The log can't be opened.
    Log(PathBuf, io::Error),
    /// The state file, and why it can't be used.
    State(PathBuf, String),
    /// The lock of the state file, which another daemon has.
    Taken(PathBuf),
    /// The control socket, and why it can't be used.
    Control(PathBuf, String),
    /// How many doors could not be closed at the end, and the journal that names them.
    LeftOpen(usize, Option<PathBuf>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(errors) => errors.fmt(f),
            Self::User(why) => write!(f, "user: {why}"),
            Self::Host(error) => write!(f, "the system does not let the daemon run: {error}"),
            Self::Log(path, error) => {
                let owner = OwnerHint { path, error };
                write!(f, "log: {}: {error}{owner}", path.display())
            }
            Self::Control(path, why) => write!(f, "control: {}: {why}", path.display()),
            Self::State(path, why) => write!(f, "state-file: {}: {why}", path.display()),
            Self::Taken(lock) => write!(
                f,
                "state-file: {}: another daemon uses this state file; give each its own",
                lock.display()
            ),
            Self::LeftOpen(open, journal) => {
                write!(
                    f,
                    "open={open}: not everything could be closed; the log says why. "
                )?;
                match journal {
                    Some(journal) => write!(
                        f,
                        "{} names it: the next start closes it, and so does `shimmer close-all`",
                        journal.display()
                    ),
                    None => f.write_str("Without a state-file nothing will close it"),
                }
            }
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Host(error) | Self::Log(_, error) => Some(error),
            Self::Configuration(_)
            | Self::User(_)
            | Self::State(..)
            | Self::Taken(_)
            | Self::Control(..)
            | Self::LeftOpen(..) => None,
        }
    }
}
