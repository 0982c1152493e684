//! Why a command ended without its result.

use crate::message::Message;
use crate::nearest::nearest;
use core::{error, fmt};
use std::io;
use std::path::Path;

/// Why a command ended without its result. It displays as what stderr says about it.
#[derive(Debug)]
pub enum Error {
    /// It did not work, and why.
    Failed(Message),
    /// The command line is wrong, and how.
    Usage(Message),
    /// A configuration is wrong. It displays as whole lines, one for each mistake.
    Configuration(Box<dyn error::Error>),
    /// stdout can't be written.
    Stdout(io::Error),
    /// The reader of stdout has closed it, so nobody wants to know more.
    BrokenPipe,
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Stdout(error) => Some(error),
            // It displays as its cause does, so the next cause is the one behind that.
            Self::Configuration(errors) => errors.source(),
            Self::Failed(_) | Self::Usage(_) | Self::BrokenPipe => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(sentence) | Self::Usage(sentence) => sentence.fmt(f),
            Self::Configuration(errors) => errors.fmt(f),
            Self::Stdout(error) => write!(f, "stdout: {error}"),
            Self::BrokenPipe => f.write_str("stdout was closed"),
        }
    }
}

impl Error {
    /// [`Error::Failed`] with this sentence.
    #[cold]
    #[must_use]
    pub fn failed(why: fmt::Arguments) -> Self {
        Self::Failed(Message::new(why))
    }

    /// [`Error::Usage`] with this sentence.
    #[cold]
    #[must_use]
    pub fn usage(how: fmt::Arguments) -> Self {
        Self::Usage(Message::new(how))
    }

    /// [`Error::Usage`] for an argument that could not be parsed.
    #[cold]
    #[must_use]
    pub fn argument(argument: &str, error: &dyn fmt::Display) -> Self {
        Self::usage(format_args!("{argument}: {error}"))
    }

    /// [`Error::Usage`] for a mirage that a file has no section for. It names the nearest section, or
    /// all.
    #[cold]
    #[must_use]
    pub fn unknown_mirage(file: &Path, section: &str, sections: &[&str]) -> Self {
        let file = file.display();
        let unknown = format_args!("{file} has no [mirage-{section}]");
        match nearest(section, sections) {
            Some(near) => Self::usage(format_args!("{unknown}; did you mean {near}?")),
            None => Self::usage(format_args!("{unknown}; it has {}", sections.join(", "))),
        }
    }

    /// [`Error::Stdout`], or [`Error::BrokenPipe`] if its reader has closed it.
    #[cold]
    #[must_use]
    pub fn stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Stdout(error),
        }
    }
}
