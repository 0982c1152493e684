//! The configuration: from a file's text to what the daemon or the client works with.
//!
//! ```text
//!   [common]                        # optional
//!   log = /var/log/shimmer.log      # or syslog, or stderr
//!   [mirage-ssh]                    # any number
//!   secret = password
//!   port = 22
//!   range = 10000-10999
//! ```
//!
//! One file serves both sides, so both check all of it; the client makes do with less.
//!
//! ```text
//!   bytes ──ini──▶ sections ──reader──▶ drafts ──▶ Server (mirages whole, checked against each other)
//!                                │            └──▶ Client (what is needed to find a port)
//!                              value: one text, one meaning
//! ```
//!
//! Every error of a file is found at once, at the line of its key, and none quotes a secret.

mod account;
mod diagnostic;
mod needs;
mod outgoing;
mod reader;
mod secret;
mod value;

pub use account::{Account, Owner};
pub use diagnostic::{Diagnostic, Errors};
pub use needs::{Capability, capabilities};
pub use secret::{Secret, SecretError, is_open_to_others};
pub use value::{
    Parsed, duration, fit_pattern, parse_decoys, parse_duration, parse_gate, parse_name,
    parse_number, parse_period, parse_port, parse_range,
};

use crate::scheme::gate::Gate;
use crate::scheme::schedule::{Pattern, Range};
use crate::scheme::source::Network;
use core::mem;
use core::net::{IpAddr, SocketAddr};
use reader::Side;
use std::path::{Path, PathBuf};

/// The keys of `[common]`.
pub const COMMON_KEYS: &[&str] = &[
    "log",
    "log-level",
    "state-file",
    "ban-time",
    "allow",
    "clock",
    "max-sessions",
    "max-sessions-per-source",
    "control",
    "user",
];

/// The keys of `[mirage-NAME]`.
pub const MIRAGE_KEYS: &[&str] = &[
    "name",
    "secret",
    "secret-file",
    "port",
    "forward",
    "range",
    "decoys",
    "period",
    "gate",
    "listen",
    "pool-port",
    "listen-address",
    "from",
    "trap-time",
    "idle-timeout",
    "host",
];

/// Where the state file is unless configured.
pub const DEFAULT_STATE_FILE: &str = "/var/lib/shimmer/state";

/// Where the control socket is unless configured.
pub const DEFAULT_CONTROL: &str = "/var/run/shimmer/control";

/// How much a line of the log matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(test, derive(Debug))]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something may not work for long.
    Warn,
    /// What happens: sessions, bans.
    Info,
    /// Everything.
    Debug,
}

/// Where the log goes.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// The system's log.
    Syslog,
    /// A file, which grows.
    File(PathBuf),
}

/// Where a file of the daemon's own is.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
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

/// When the clock is believed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum ClockTrust {
    /// Once it is past the release.
    Trust,
    /// Once it has also been set from elsewhere: for routers, whose boot clock is a file's date.
    Wait,
}

/// `[common]`: what holds for all mirages.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
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

/// `[mirage-NAME]` as the daemon needs it: a hidden service, complete and checked.
#[derive(Clone, PartialEq)]
pub struct Mirage {
    /// `ssh` of `[mirage-ssh]`; no other mirage of the file has it.
    pub section: String,
    /// `name`, the one in the scheme: the section's unless configured. Others may have it too.
    pub name: String,
    /// `secret`, or what `secret-file` holds.
    pub secret: Secret,
    /// `range`, `decoys` and `period`. The range has room for three minutes.
    pub pattern: Pattern,
    /// `forward`, or `port` on the loopback: the hidden service.
    pub service: SocketAddr,
    /// `listen-address`: no address twice, none that a wildcard here covers. Empty: all of both families.
    pub listen: Vec<IpAddr>,
    /// `from`: the networks that may use it. Empty: everybody.
    pub from: Vec<Network>,
    /// `trap-time` in seconds, 1 to [`crate::limits::LONGEST_S`].
    pub trap_s: u32,
    /// `idle-timeout` in seconds, 1 to [`crate::limits::LONGEST_S`]; None: a session may idle for ever.
    pub idle_s: Option<u32>,
    /// `host`: the server's host name or address, for the client.
    pub host: Option<String>,
    /// `gate`: port unless configured.
    pub gate: Gate,
    /// `pool-port`, with `listen = pool`: the one port to which the firewall sends the whole range.
    /// None: the mirage listens at its ports themselves.
    pub pool_port: Option<u16>,
}

impl Mirage {
    /// The ports that are bound for it: its range, or the one of its pool.
    #[must_use]
    pub fn bound(&self) -> Range {
        let pool = self.pool_port.and_then(|port| Range::new(port, port));
        pool.unwrap_or(self.pattern.range())
    }
}

/// A file as the daemon reads it.
pub struct Server {
    /// What holds for all mirages.
    pub common: Common,
    /// At least one, in the file's order.
    pub mirages: Vec<Mirage>,
    /// What works and should not stay so, by line.
    pub warnings: Vec<Diagnostic>,
}

/// `[mirage-NAME]` as the client needs it.
#[derive(Clone, PartialEq)]
pub struct Known {
    /// `ssh` of `[mirage-ssh]`; no other mirage of the file has it.
    pub section: String,
    /// `name`, the one in the scheme: the section's unless configured. Others may have it too.
    pub name: String,
    /// `secret`, or what `secret-file` holds; None if it comes from elsewhere.
    pub secret: Option<Secret>,
    /// `range`, `decoys` and `period`.
    pub pattern: Pattern,
    /// `host`: where the mirage is, a host name or an address.
    pub host: Option<String>,
    /// `gate`: port unless configured.
    pub gate: Gate,
}

/// A file as the client reads it.
pub struct Client {
    /// At least one, in the file's order.
    pub mirages: Vec<Known>,
    /// What works and should not stay so, by line.
    pub warnings: Vec<Diagnostic>,
}

impl Server {
    /// Reads a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::load_for(path, Side::Server)
    }

    /// Reads what a file says for all mirages, and of them nothing: to ask the daemon that runs takes
    /// neither their secrets nor that all is right with them.
    ///
    /// # Errors
    /// What is wrong with `[common]`, and what can be no line of a configuration.
    pub fn load_common(path: &Path) -> Result<Self, Errors> {
        Self::load_for(path, Side::Asker)
    }

    fn load_for(path: &Path, side: Side) -> Result<Self, Errors> {
        reader::server(path, &load(path)?, side)
    }

    /// Reads a file's text. Its path is for the messages, and for where a secret's file is.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Errors> {
        reader::server(path, text, Side::Server)
    }
}

impl Client {
    /// Reads a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::parse(path, &load(path)?)
    }

    /// Reads a file's text. Its path is for the messages, and for where a secret's file is.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Errors> {
        reader::client(path, text)
    }
}

fn load(path: &Path) -> Result<Vec<u8>, Errors> {
    secret::read_file(path).map_err(|wrong| Errors::of_file(&wrong))
}

#[cfg(test)]
mod tests;
