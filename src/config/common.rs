//! `[common]`: what holds for all mirages.

use super::account::Account;
use crate::limits::{DEFAULT_BAN_S, MAX_SESSIONS_PER_SOURCE};
use crate::proto::source::Network;
use crate::terms::{ClockTrust, Level};
use core::mem;
use std::path::{Path, PathBuf};

/// Where the state file is unless configured.
pub const DEFAULT_STATE_FILE: &str = "/var/lib/shimmer/state";

/// Where the control socket is unless configured.
pub const DEFAULT_CONTROL: &str = "/var/run/shimmer/control";

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// The system's log.
    Syslog,
    /// A file, which grows.
    File(PathBuf),
}

/// Where a file of the daemon's own is.
#[derive(Clone, Debug)]
pub enum Location {
    /// At the usual place, if that can be used.
    Default,
    /// At a path that was configured.
    Path(PathBuf),
    /// Nowhere: it does without.
    Off,
}

/// A path is its name: one with a slash more is another.
impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(one), Self::Path(other)) => one.as_os_str() == other.as_os_str(),
            _ => mem::discriminant(self) == mem::discriminant(other),
        }
    }
}

impl Location {
    /// The path, where `usual` is the usual one; None for nowhere.
    #[must_use]
    pub fn path<'a>(&'a self, usual: &'a str) -> Option<&'a Path> {
        match self {
            Self::Default => Some(Path::new(usual)),
            Self::Path(path) => Some(path),
            Self::Off => None,
        }
    }
}

/// `[common]`: what holds for all mirages.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// `log`: standard error unless configured.
    pub log: LogTarget,
    /// `log-level`: info unless configured.
    pub log_level: Level,
    /// `state-file`: where the bans are kept over a restart, [`DEFAULT_STATE_FILE`] unless configured.
    pub state_file: Location,
    /// `control`: the socket for `shimmer status`, [`DEFAULT_CONTROL`] unless configured.
    pub control: Location,
    /// `ban-time` in seconds, 1 to [`crate::limits::LONGEST_S`].
    pub ban_s: u32,
    /// `allow`: networks that are never banned.
    pub allow: Vec<Network>,
    /// `clock`: trust unless configured.
    pub clock: ClockTrust,
    /// `max-sessions`, 1 to [`crate::limits::MOST_SESSIONS`]; None leaves it to
    /// [`crate::limits::MAX_SESSIONS`] and the limit of descriptors.
    pub max_sessions: Option<usize>,
    /// `max-sessions-per-source`, 1 to [`crate::limits::MOST_SESSIONS`].
    pub max_sessions_per_source: usize,
    /// `user`: whom the daemon becomes before it opens anything; None: it stays who it is.
    pub user: Option<Account>,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            log: LogTarget::Stderr,
            log_level: Level::Info,
            state_file: Location::Default,
            control: Location::Default,
            ban_s: DEFAULT_BAN_S,
            allow: Vec::new(),
            clock: ClockTrust::Trust,
            max_sessions: None,
            max_sessions_per_source: MAX_SESSIONS_PER_SOURCE,
            user: None,
        }
    }
}
