//! Why the daemon could not start, or could not go on.

use crate::config::{Errors, OwnerHint};
use core::fmt;
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why the daemon could not start, or could not go on.
#[derive(Debug)]
pub enum Failure {
    /// All that is wrong with the configuration.
    Configuration(Errors),
    /// It can't be the user that the configuration names: why.
    User(String),
    /// The kernel gives no descriptor or no memory for what it needs at all.
    Host(io::Error),
    /// The log can't be opened.
    Log(PathBuf, io::Error),
    /// The state file can't be had: this is its name, and why.
    State(PathBuf, String),
    /// The control socket can't be had: this is its name, and why.
    Control(PathBuf, String),
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
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Host(error) | Self::Log(_, error) => Some(error),
            Self::Configuration(_) | Self::User(_) | Self::State(..) | Self::Control(..) => None,
        }
    }
}
