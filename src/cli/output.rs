//! What a command prints: results to stdout, everything else to stderr.

use super::error::Error;
use core::fmt;
use std::io::{self, Write};

/// Prints a result to stdout and flushes it.
///
/// # Errors
/// [`Error::BrokenPipe`] if the reader has closed it, else [`Error::Stdout`].
pub fn print(text: &str) -> Result<(), Error> {
    write(io::stdout(), text).map_err(Error::stdout)
}

/// Prints a warning to stderr.
pub fn warn(what: fmt::Arguments) {
    print_error(format_args!("shimmer: warning: {what}"));
}

/// Prints a line to stderr. An error is ignored, because there is nowhere left to report it.
pub fn print_error(line: fmt::Arguments) {
    let _ = write(io::stderr(), &format!("{line}\n"));
}

fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}
