//! stdin, stdout and stderr, which we share with whoever started us.

use core::time::Duration;
use std::thread;

/// Waits for this long, or until a signal has come. False, and at once, when stdout is a pipe
/// that nobody reads any more: only a write would notice it otherwise, and the next line may be a
/// minute away.
#[cfg(unix)]
#[must_use]
pub fn wait_while_read(ms: u32) -> bool {
    let mut stdout = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: 0,
        revents: 0,
    };
    // rustix 1.1 has poll, but on mips it takes the C library's time for one of 64 bits.
    // SAFETY: one pollfd is passed and said to be there, and it lives on this stack.
    match unsafe { libc::poll(&raw mut stdout, 1, ms as libc::c_int) } {
        0 => true,
        _ if stdout.revents & (libc::POLLERR | libc::POLLHUP) != 0 => false,
        // A signal, or a device that macOS can't poll.
        _ => {
            thread::sleep(Duration::from_millis(ms.into()));
            true
        }
    }
}

/// Waits for this long.
#[cfg(not(unix))]
#[must_use]
pub fn wait_while_read(ms: u32) -> bool {
    thread::sleep(Duration::from_millis(ms.into()));
    true
}

/// Makes an open file one that never blocks, or one that does, for all who share it.
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

/// Makes the open file behind stderr one of our own, where opening it anew is possible: after giving up
/// our rights we could not, and what we set on it must not hold for all who share it. What
/// can't be opened, or fails, stays as it is.
#[cfg(target_os = "linux")]
pub fn own_stderr() {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = std::fs::OpenOptions::new();
    options.write(true).custom_flags(libc::O_NOCTTY);
    // A regular file has one end that all who share it write at.
    if let Ok(file) = options.open("/proc/self/fd/2")
        && file.metadata().is_ok_and(|about| !about.is_file())
    {
        let _ = rustix::stdio::dup2_stderr(&file);
    }
}
