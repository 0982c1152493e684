//! Another program in the place of this one.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

/// Becomes a program, with its words, the first of which names it. Where the system has no such thing,
/// it runs the program, waits for it, and ends with its code.
///
/// Comes back with what kept it from that.
#[must_use]
pub fn become_program(words: &[&OsStr]) -> io::Error {
    let Some((program, arguments)) = words.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    let mut command = Command::new(program);
    command.args(arguments);
    #[cfg(unix)]
    return std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}
