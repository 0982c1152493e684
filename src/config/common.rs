//! `[common]`: what holds for all mirages.

use super::account::Account;
use crate::limits::{DEFAULT_BAN_S, MAX_SESSIONS_PER_SOURCE};
use crate::proto::source::Network;
use crate::terms::{ClockTrust, Level};
use std::path::{Path, PathBuf};

/// The default of `state-file`.
pub const DEFAULT_STATE_FILE: &str = "/var/lib/shimmer/state";

/// The default of `control`.
pub const DEFAULT_CONTROL: &str = "/var/run/shimmer/control";

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// syslog(3).
    Syslog,
    /// A file, to which lines are appended.
    File(PathBuf),
}

/// Where the daemon keeps one of its own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// At its default path. The daemon goes on without the file if that can't be used.
    Default,
    /// At a configured path.
    Path(PathBuf),
    /// Nowhere: `none`.
    Off,
}

impl Location {
    /// The path, given the default one; None for nowhere.
    #[must_use]
    pub fn path<'a>(&'a self, default: &'a str) -> Option<&'a Path> {
        match self {
            Self::Default => Some(Path::new(default)),
            Self::Path(path) => Some(path),
            Self::Off => None,
        }
    }
}

/// `[common]`: what holds for all mirages.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// `log`; standard error by default.
    pub log: LogTarget,
    /// `log-level`; info by default.
    pub log_level: Level,
    /// `state-file`: where bans survive a restart. [`DEFAULT_STATE_FILE`] by default.
    pub state_file: Location,
    /// `control`: the socket for `shimmer status`. [`DEFAULT_CONTROL`] by default.
    pub control: Location,
    /// `ban-time` in seconds, 1 to [`crate::limits::LONGEST_S`]; [`DEFAULT_BAN_S`] by default.
    pub ban_s: u32,
    /// `allow`: networks that are never banned.
    pub allow: Vec<Network>,
    /// `clock`; trust by default.
    pub clock: ClockTrust,
    /// `max-sessions`, 1 to [`crate::limits::MOST_SESSIONS`]; None leaves it to
    /// [`crate::limits::MAX_SESSIONS`] and the limit of descriptors.
    pub max_sessions: Option<usize>,
    /// `max-sessions-per-source`, 1 to [`crate::limits::MOST_SESSIONS`]; [`MAX_SESSIONS_PER_SOURCE`] by
    /// default.
    pub max_sessions_per_source: usize,
    /// `user`: the daemon runs as this user before it opens anything; None: it does not change its user.
    pub user: Option<Account>,
    /// `sandbox`: the daemon gives up what it does not need once it runs; yes by default.
    pub sandbox: bool,
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
            sandbox: true,
        }
    }
}
