//! What a command prints: results to stdout, everything else to stderr.

use super::error::Error;
use core::fmt;
use std::io::{self, Write};

/// Prints a result to stdout and flushes it.
///
/// # Errors
/// [`Error::BrokenPipe`] if the reader has closed it, else [`Error::Stdout`].
pub fn print(text: &str) -> Result<(), Error> {
    let written = stdout().and_then(|mut stdout| write(&mut stdout, text));
    written.map_err(Error::stdout)
}

/// Prints a warning to stderr.
pub fn warn(what: fmt::Arguments) {
    print_error(format_args!("shimmer: warning: {what}"));
}

/// Prints a line to stderr. An error is ignored, because there is nowhere left to report it.
pub fn print_error(line: fmt::Arguments) {
    let _ = write(&mut io::stderr(), &format!("{line}\n"));
}

fn write(to: &mut dyn Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// stdout without std's line buffer, which would split most writes in two.
///
/// # Errors
/// There is no descriptor left.
#[cfg(unix)]
pub fn stdout() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// stdout.
///
/// # Errors
/// None on this system.
#[cfg(not(unix))]
pub fn stdout() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}
