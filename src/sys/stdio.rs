//! stdin, stdout and stderr, which the process shares with the one that started it.

use core::time::Duration;
use std::thread;

/// Waits for `ms` milliseconds. It returns false as soon as stdout is a pipe that nobody reads any more:
/// otherwise only the next line would notice that, perhaps a minute later.
#[cfg(unix)]
#[must_use]
pub fn wait_while_read(ms: u32) -> bool {
    let mut stdout = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: 0,
        revents: 0,
    };
    // rustix 1.1's poll casts its timeout to a struct of another size on mips with musl.
    // SAFETY: the call reads and writes one pollfd, `stdout`.
    match unsafe { libc::poll(&raw mut stdout, 1, ms as libc::c_int) } {
        0 => true,
        _ if stdout.revents & (libc::POLLERR | libc::POLLHUP) != 0 => false,
        // Interrupted by a signal, or a device that macOS can't poll.
        _ => {
            thread::sleep(Duration::from_millis(ms.into()));
            true
        }
    }
}

/// Waits for `ms` milliseconds.
#[cfg(not(unix))]
#[must_use]
pub fn wait_while_read(ms: u32) -> bool {
    thread::sleep(Duration::from_millis(ms.into()));
    true
}

/// Switches the non-blocking mode of an open file on or off, for all processes that share it.
///
/// # Errors
/// What ioctl(2) says.
#[cfg(target_os = "linux")]
pub fn set_nonblocking(
    file: std::os::fd::BorrowedFd<'_>,
    nonblocking: bool,
) -> std::io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(file, nonblocking)?)
}
