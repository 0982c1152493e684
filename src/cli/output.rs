//! What a command writes: results to stdout, everything else to stderr.

use super::error::Error;
use core::fmt;
use std::io::{self, Write};

/// Writes a result to stdout and flushes it.
///
/// # Errors
/// [`Error::BrokenPipe`] if the reader has closed it, else [`Error::Stdout`].
pub fn print(text: &str) -> Result<(), Error> {
    write(io::stdout(), text).map_err(Error::stdout)
}

/// Warns on stderr.
pub fn warn(what: fmt::Arguments) {
    complain(format_args!("shimmer: warning: {what}"));
}

/// Writes a line to stderr. An error is ignored: there is nobody left to tell.
pub fn complain(line: fmt::Arguments) {
    let _ = write(io::stderr(), &format!("{line}\n"));
}

fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}
