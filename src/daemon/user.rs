//! Changes the daemon's user: before it opens anything, root becomes the configured user.
//!
//! At the start and at each reload the daemon uses its files as that user. So it also reads and opens them for
//! the first time as that user: missing permissions are reported at once, and not in the night in which the log
//! is rotated.

use super::failure::Failure;
use crate::config::{
    Capability, DEFAULT_CONTROL, DEFAULT_STATE_FILE, LogTarget, ServerConfig, capabilities,
};
use crate::sys::privileges;
use rustix::fs::{Mode, mkdir};
use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::Path;

const ROOT: u32 = 0;

/// Becomes the user that a configuration names, if any, and reads the configuration again.
///
/// # Errors
/// We are not root, the kernel refuses, or the user may not read the configuration.
pub fn become_user(server: ServerConfig, config: &Path) -> Result<ServerConfig, Failure> {
    let Some(account) = &server.common.user else {
        return Ok(server);
    };
    let we = rustix::process::geteuid().as_raw();
    if we == account.uid {
        return Ok(server);
    }
    let name = &account.name;
    if we != ROOT {
        return Err(Failure::NotRoot(name.clone(), we));
    }
    if server.common.log == LogTarget::Stderr {
        own_stderr();
    }
    // A folder below /var/run is gone after each boot, and only root can create it there.
    let state = server.common.state_file.path(DEFAULT_STATE_FILE);
    let control = server.common.control.path(DEFAULT_CONTROL);
    for (path, mode) in [(state, 0o700), (control, 0o755)] {
        if let Some(folder) = path.and_then(Path::parent)
            && mkdir(folder, Mode::from_raw_mode(mode)).is_ok()
        {
            // If this fails, creating files in it says why.
            let _ = chown(folder, Some(account.uid), Some(account.gid));
        }
    }
    let kept = capabilities(&server.mirages).map(Capability::number);
    privileges::become_user(account.uid, account.gid, kept)
        .map_err(|error| Failure::UserRefused(name.clone(), error))?;
    ServerConfig::load(config).map_err(Failure::Configuration)
}

/// Opens the file of stderr again and uses that as stderr, so that a mode set on it does not affect the
/// processes that share the first one. This needs the rights that the daemon gives up after the start. If it
/// fails, stderr stays as it is.
fn own_stderr() {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NOCTTY);
    // Not for a regular file: all writers share its position.
    if let Ok(file) = options.open("/proc/self/fd/2")
        && file.metadata().is_ok_and(|about| !about.is_file())
    {
        let _ = rustix::stdio::dup2_stderr(&file);
    }
}
