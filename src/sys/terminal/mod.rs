//! Asks a person for a secret and does not show what they type.
//!
//! It opens the terminal itself, because in `ssh -p "$(shimmer port home)"` stdout belongs to the shell.
//! However the question ends, the terminal echoes again afterwards.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fs::File;
use std::io;
#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
use windows as platform;

/// The terminal from which this process was started.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    screen: File,
}

impl Terminal {
    /// Opens it (tty(4); on Windows the console).
    ///
    /// # Errors
    /// There is no terminal, as under cron.
    pub fn open() -> io::Result<Self> {
        let (keyboard, screen) = platform::open()?;
        Ok(Self { keyboard, screen })
    }

    /// Asks a question and reads a line without echo. The line end is not part of the answer.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the terminal was closed or an end of file was typed.
    /// [`io::ErrorKind::Interrupted`] for Ctrl-C on Windows; on unix the signal ends the process.
    pub fn ask(&mut self, question: &str) -> io::Result<Vec<u8>> {
        platform::ask(&self.keyboard, &self.screen, question)
    }
}
