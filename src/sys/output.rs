//! stdin, stdout and stderr as they are, without std's locks and the lines that its stdout looks for,
//! which are 3 KB of code; and waiting while somebody reads our stdout.

pub use platform::{stderr, stdin, stdout, wait};

/// Waits so many milliseconds, or until a signal has come. False, and at once, when stdout is a pipe
/// that nobody reads any more: only a write would notice it otherwise, and the next line may be a
/// minute away.
#[must_use]
pub fn wait_while_read(milliseconds: u32) -> bool {
    platform::wait_while_read(milliseconds)
}

#[cfg(unix)]
mod platform {
    use core::ffi::c_int;
    use std::fs::File;
    use std::io;
    #[cfg(not(target_os = "linux"))]
    use std::os::fd::BorrowedFd;
    #[cfg(target_os = "linux")]
    use std::os::fd::{FromRawFd, OwnedFd};

    /// stdin.
    ///
    /// # Errors
    /// It is closed, or there are no descriptors left.
    pub fn stdin() -> io::Result<File> {
        another(libc::STDIN_FILENO)
    }

    /// stdout.
    ///
    /// # Errors
    /// As [`stdin`].
    pub fn stdout() -> io::Result<File> {
        another(libc::STDOUT_FILENO)
    }

    /// stderr.
    ///
    /// # Errors
    /// As [`stdin`].
    pub fn stderr() -> io::Result<File> {
        another(libc::STDERR_FILENO)
    }

    /// Another descriptor of the same stream, to be closed without closing that.
    #[cfg(target_os = "linux")]
    fn another(stream: c_int) -> io::Result<File> {
        let another = super::super::control::of_file(stream, libc::F_DUPFD_CLOEXEC, 0)?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(another) }))
    }

    /// Another descriptor of the same stream, to be closed without closing that.
    #[cfg(not(target_os = "linux"))]
    fn another(stream: c_int) -> io::Result<File> {
        // SAFETY: the number is no -1, and who takes another of a closed one is told so.
        let stream = unsafe { BorrowedFd::borrow_raw(stream) };
        stream.try_clone_to_owned().map(File::from)
    }

    pub fn wait_while_read(milliseconds: u32) -> bool {
        let mut stdout = libc::pollfd {
            fd: libc::STDOUT_FILENO,
            events: 0,
            revents: 0,
        };
        // SAFETY: one pollfd is passed and said to be there, and it lives on this stack.
        match unsafe { libc::poll(&raw mut stdout, 1, milliseconds as c_int) } {
            0 => true,
            _ if stdout.revents & (libc::POLLERR | libc::POLLHUP) != 0 => false,
            // A signal, or a device that macOS can't poll.
            _ => {
                wait(milliseconds);
                true
            }
        }
    }

    /// Waits so long, or until a signal has come.
    pub fn wait(milliseconds: u32) {
        // SAFETY: no pollfd is passed, and none is said to be there.
        unsafe { libc::poll(core::ptr::null_mut(), 0, milliseconds as c_int) };
    }
}

#[cfg(not(unix))]
mod platform {
    use core::time::Duration;
    use std::io::{self, Stderr, Stdin, Stdout};

    /// stdin.
    ///
    /// # Errors
    /// None.
    pub fn stdin() -> io::Result<Stdin> {
        Ok(io::stdin())
    }

    /// stdout.
    ///
    /// # Errors
    /// None.
    pub fn stdout() -> io::Result<Stdout> {
        Ok(io::stdout())
    }

    /// stderr.
    ///
    /// # Errors
    /// None.
    pub fn stderr() -> io::Result<Stderr> {
        Ok(io::stderr())
    }

    pub fn wait_while_read(milliseconds: u32) -> bool {
        wait(milliseconds);
        true
    }

    /// Waits so long.
    pub fn wait(milliseconds: u32) {
        std::thread::sleep(Duration::from_millis(milliseconds.into()));
    }
}
