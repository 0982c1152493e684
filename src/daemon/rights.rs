//! What the daemon gives up before it opens anything: root's user, if another one is configured, and every
//! capability that the configuration does not use.
//!
//! ```text
//!   started by     user =   commands or exec     keeps
//!   root           another  yes or no            what its mirages use
//!   root           none     no                   what its mirages use, as root without rights over others' files
//!   root           none     yes                  everything: nft, iptables, su and sudo need it
//!   another user   none     yes or no            what its mirages use; its children have none
//! ```
//!
//! Without commands it executes nothing, and gives up the right to gain anything by that.
//!
//! At each reload the daemon uses its files with the rights that it has kept. So it also reads and opens them for
//! the first time with these: missing permissions are reported at once, and not in the night in which the log
//! is rotated.

use super::failure::Failure;
use super::files;
use crate::config::{
    Account, Capability, Common, DEFAULT_CONTROL, DEFAULT_STATE_FILE, LogTarget, ServerConfig,
    ServerMirage, capabilities,
};
use crate::sys::privileges;
use core::{fmt, slice};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const ROOT: u32 = 0;

/// Gives up what a configuration does not use, and reads the configuration again.
///
/// # Errors
/// The configuration names a user and we are not root; the kernel refuses; or the configuration can't be read with
/// the rights that are left.
pub fn give_up(server: ServerConfig, config: &Path) -> Result<ServerConfig, Failure> {
    let executes = server.mirages.iter().any(executes);
    let we = rustix::process::geteuid().as_raw();
    let account = server.common.user.as_ref();
    let account = account.filter(|account| account.uid != we);
    if we == ROOT && executes && account.is_none() {
        return Ok(server);
    }
    let kept = capabilities(&server.mirages).map(Capability::number);
    match account {
        Some(account) => {
            if we != ROOT {
                return Err(Failure::NotRoot(account.name.clone(), we));
            }
            prepare_files(&server.common, Some(account));
            privileges::become_user(account.uid, account.gid, kept)
                .map_err(|error| Failure::UserRefused(account.name.clone(), error))?;
        }
        None if we == ROOT => {
            prepare_files(&server.common, None);
            privileges::keep_only(kept).map_err(Failure::RightsKept)?;
        }
        None => {
            // A sandbox around us may forbid it.
            let _ = privileges::keep_only(kept);
        }
    }
    if !executes {
        // On a kernel that does not know it, it is one wall less.
        let _ = privileges::execute_nothing();
    }
    // A pipe can be read once; nobody reloads it.
    if fs::metadata(config).is_ok_and(|found| !found.is_file()) {
        return Ok(server);
    }
    ServerConfig::load_to_serve(config).map_err(Failure::Configuration)
}

/// What a mirage of a new configuration needs and the daemon has given up; None if it can be served.
pub fn find_missing(mirages: &[ServerMirage]) -> Option<Missing<'_>> {
    mirages.iter().find_map(|mirage| {
        let section = &mirage.settings.section;
        let missing = |need| Missing { section, need };
        if privileges::executes_nothing() && executes(mirage) {
            return Some(missing(Need::Execute));
        }
        let mut needed = capabilities(slice::from_ref(mirage));
        let given_up = needed.find(|needed| privileges::has_given_up(needed.number()));
        given_up.map(|capability| missing(Need::Capability(capability)))
    })
}

fn executes(mirage: &ServerMirage) -> bool {
    mirage.commands().next().is_some()
}

/// A right that the daemon has given up, and the mirage that needs it.
pub struct Missing<'a> {
    section: &'a str,
    need: Need,
}

enum Need {
    Execute,
    Capability(Capability),
}

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section = self.section;
        match self.need {
            Need::Execute => write!(f, "[mirage-{section}] runs a program")?,
            Need::Capability(capability) => {
                let name = capability.word().to_ascii_uppercase();
                write!(f, "[mirage-{section}] needs CAP_{name}")?;
            }
        }
        f.write_str(", and the daemon gave that right up at its start; this takes a restart")
    }
}

/// Does what only root can do with the files, before root is given up: for this user, or for root itself.
fn prepare_files(common: &Common, account: Option<&Account>) {
    if common.log == LogTarget::Stderr {
        own_stderr();
    }
    let Some(account) = account else {
        return;
    };
    // A folder below /var/run is gone after each boot, and only root can create it there.
    let state = common.state_file.path(DEFAULT_STATE_FILE);
    let control = common.control.path(DEFAULT_CONTROL);
    for (path, mode) in [(state, 0o700), (control, 0o755)] {
        if let Some(folder) = path.and_then(Path::parent) {
            // If this fails, creating files in it says why.
            let _ = files::make_folder(folder, mode, Some((account.uid, account.gid)));
        }
    }
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
