//! Why the daemon could not start or continue.

use crate::config::{Errors, OwnerHint};
use core::fmt;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// Why the daemon could not start or continue.
#[derive(Debug)]
pub enum Failure {
    /// Everything that is wrong with the configuration.
    Configuration(Errors),
    /// Only root can become the configured user, and the daemon was started by the user with this number.
    NotRoot(String, u32),
    /// The kernel refuses to let the daemon become the configured user.
    UserRefused(String, io::Error),
    /// The kernel refuses to take capabilities that the daemon does not use.
    RightsKept(io::Error),
    /// The kernel provides no descriptor or memory for something essential.
    Host(io::Error),
    /// The log can't be opened.
    Log(PathBuf, io::Error),
    /// The state file or its lock can't be opened.
    State(PathBuf, io::Error),
    /// The lock of the state file, which another daemon has.
    Taken(PathBuf),
    /// The control socket, and why it can't be used.
    Control(PathBuf, ControlError),
    /// How many doors could not be closed at the end, and the journal that names them.
    LeftOpen(usize, Option<PathBuf>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(errors) => errors.fmt(f),
            Self::NotRoot(name, user) => write!(
                f,
                "user: only root can become {name}, and the daemon was started by user {user}"
            ),
            Self::UserRefused(name, error) => write!(f, "user: it can't become {name}: {error}"),
            Self::RightsKept(error) => {
                write!(
                    f,
                    "the daemon can't give up the capabilities that it does not use: {error}"
                )
            }
            Self::Host(error) => write!(f, "the system does not let the daemon run: {error}"),
            Self::Log(path, error) => {
                let owner = OwnerHint { path, error };
                write!(f, "log: {}: {error}{owner}", path.display())
            }
            Self::Control(path, why) => {
                write!(f, "control: {}: {}", path.display(), why.at(path))
            }
            Self::State(path, error) => {
                let owner = OwnerHint { path, error };
                write!(f, "state-file: {}: {error}{owner}", path.display())
            }
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
            Self::Host(error)
            | Self::Log(_, error)
            | Self::UserRefused(_, error)
            | Self::RightsKept(error)
            | Self::State(_, error) => Some(error),
            Self::Control(_, error) => Some(error),
            Self::Configuration(_) | Self::NotRoot(..) | Self::Taken(_) | Self::LeftOpen(..) => {
                None
            }
        }
    }
}

/// Why the control socket can't be used.
#[derive(Debug)]
pub enum ControlError {
    /// There is something else of its name.
    NoSocket,
    /// Another daemon listens there.
    Taken,
    /// It can't be created.
    Io(io::Error),
}

impl ControlError {
    /// What is wrong at this path, and whose it is if that explains it.
    pub fn at(&self, path: &Path) -> String {
        match self {
            Self::Io(error) => format!("{error}{}", OwnerHint { path, error }),
            Self::NoSocket | Self::Taken => self.to_string(),
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket => f.write_str("is there already, and no socket"),
            Self::Taken => f.write_str("another daemon listens there; give each its own"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl Error for ControlError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::NoSocket | Self::Taken => None,
        }
    }
}
