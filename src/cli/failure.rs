//! Why a command ended without its result.

use crate::message::{List, Message};
use crate::nearest::nearest;
use core::fmt;
use std::io;
use std::path::Path;

/// Why a command ended without its result.
#[derive(Debug)]
pub enum Failure {
    /// It did not work, and why.
    Failed(Message),
    /// The command line is wrong, and how.
    Usage(Message),
    /// A configuration is wrong: whole lines, one an error.
    Configuration(Message),
    /// Whoever read stdout has closed it.
    Unread,
}

impl Failure {
    /// [`Failure::Failed`] with this sentence.
    #[cold]
    #[must_use]
    pub fn failed(why: fmt::Arguments) -> Self {
        Self::Failed(Message::new(why))
    }

    /// [`Failure::Usage`] with this sentence.
    #[cold]
    #[must_use]
    pub fn usage(how: fmt::Arguments) -> Self {
        Self::Usage(Message::new(how))
    }

    /// [`Failure::Configuration`] with these lines.
    #[cold]
    #[must_use]
    pub fn configuration(errors: &dyn fmt::Display) -> Self {
        Self::Configuration(Message::new(format_args!("{errors}")))
    }
}

/// [`Failure::Usage`] that says first what it is about.
#[cold]
#[must_use]
pub fn about(what: &str, wrong: &dyn fmt::Display) -> Failure {
    Failure::usage(format_args!("{what}: {wrong}"))
}

#[cold]
pub(super) fn unknown(what: fmt::Arguments) -> Failure {
    Failure::usage(format_args!("unknown {what}"))
}

/// Why stdout could not be written: [`Failure::Unread`], or [`Failure::Failed`].
#[cold]
#[must_use]
pub fn unwritten(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::failed(format_args!("stdout: {error}")),
    }
}

/// [`Failure::Usage`] for a mirage that a file has no section for: the nearest one is named, or all
/// are.
#[cold]
#[must_use]
pub fn unknown_mirage(file: &Path, section: &str, sections: &[&str]) -> Failure {
    let file = file.display();
    let unknown = format_args!("{file} has no [mirage-{section}]");
    match nearest(section, sections.iter().copied()) {
        Some(near) => Failure::usage(format_args!("{unknown}; did you mean {near}?")),
        None => Failure::usage(format_args!("{unknown}; it has {}", List(sections))),
    }
}
