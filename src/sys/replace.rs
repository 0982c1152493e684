//! Another program in the place of this one.

use std::ffi::OsStr;
use std::io;

/// Becomes a program, with its words, the first of which names it. Where the system has no such thing,
/// it runs the program, waits for it, and ends with its code.
///
/// Comes back with what kept it from that.
#[must_use]
pub fn become_program(words: &[&OsStr]) -> io::Error {
    platform::become_program(words)
}

#[cfg(unix)]
mod platform {
    use crate::sys::file;
    use crate::sys::program::Program;
    use std::ffi::OsStr;
    use std::io;
    use std::os::unix::ffi::OsStrExt;

    pub fn become_program(words: &[&OsStr]) -> io::Error {
        let path = file::variable(c"PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let mut all = Vec::new();
        for word in words {
            all.push(word.as_bytes());
        }
        let program = match Program::new(&all, path.as_bytes()) {
            Ok(program) => program,
            Err(error) => return error,
        };
        // SAFETY: no memory is involved. Rust ignores SIGPIPE, and other programs die of it.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        unsafe extern "C" {
            static environ: *const *const core::ffi::c_char;
        }
        // SAFETY: the environment is what it was when the program began.
        unsafe { program.run(environ) }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::ffi::OsStr;
    use std::io;
    use std::process::{self, Command};

    pub fn become_program(words: &[&OsStr]) -> io::Error {
        let Some((program, rest)) = words.split_first() else {
            return io::ErrorKind::InvalidInput.into();
        };
        match Command::new(program).args(rest).status() {
            Ok(status) => process::exit(status.code().unwrap_or(1)),
            Err(error) => error,
        }
    }
}
