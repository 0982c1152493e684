//! Waiting while somebody reads our stdout.

#[cfg(unix)]
pub(super) use platform::wait;

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

    pub fn wait_while_read(milliseconds: u32) -> bool {
        std::thread::sleep(Duration::from_millis(milliseconds.into()));
        true
    }
}
