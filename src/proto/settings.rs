//! The part of a configuration that decisions need. Paths, log and user are not in it.

use super::gates::{Gate, GateSettings};
use super::scheme::key::Key;
use super::scheme::schedule::{Pattern, Range};
use super::source::Network;
use crate::limits::{DEFAULT_READY_S, DEFAULT_TRAP_S};
use crate::terms::{ClientAddress, ClockTrust, Door, Forward};
use core::net::IpAddr;
use std::rc::Rc;

/// A whole configuration.
#[derive(Debug)]
pub struct Settings {
    /// The settings that hold for all mirages.
    pub common: CommonSettings,
    /// The mirages in the order of the file, each with its stretched key if it draws anything.
    pub mirages: Vec<(MirageSettings, Option<Key>)>,
}

/// The settings that hold for all mirages.
#[derive(Clone, Debug)]
pub struct CommonSettings {
    /// How long a ban lasts, in seconds: 1 to [`crate::limits::LONGEST_S`].
    pub ban_s: u32,
    /// Networks that are never banned.
    pub allow: Vec<Network>,
    /// When to trust the clock.
    pub clock: ClockTrust,
    /// The most sessions at once.
    pub max_sessions: usize,
    /// The most sessions of one source at once.
    pub max_sessions_per_source: usize,
}

/// The settings of a mirage that are one key each and do not depend on others.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainSettings {
    /// `name`: what the ports are drawn for. That of the section by default; several mirages may share it.
    pub name: String,
    /// `host`: the server's host name or address, for the client.
    pub host: Option<String>,
    /// `listen-address`, without repeats and without addresses that a wildcard among them covers. Empty: all
    /// addresses of both families.
    pub listen: Vec<IpAddr>,
    /// `from`: the networks that may use the mirage. Empty: everybody.
    pub from: Vec<Network>,
    /// `trap-time` in seconds, 1 to [`crate::limits::LONGEST_S`].
    pub trap_s: u32,
    /// `idle-timeout` in seconds, 1 to [`crate::limits::LONGEST_S`]; None: no time limit.
    pub idle_s: Option<u32>,
    /// `max-sessions`, 1 to [`crate::limits::MOST_SESSIONS`]: the most sessions of this mirage. None: no limit of
    /// its own.
    pub max_sessions: Option<usize>,
    /// `client-address`. None: loopback where that is possible.
    pub client_address: Option<ClientAddress>,
    /// `ready-timeout` in seconds, 1 to [`crate::limits::LONGEST_S`]: by then a service on demand must accept
    /// connections.
    pub ready_s: u32,
}

impl PlainSettings {
    /// The defaults, for a section with this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            host: None,
            listen: Vec::new(),
            from: Vec::new(),
            trap_s: DEFAULT_TRAP_S,
            idle_s: None,
            max_sessions: None,
            client_address: None,
            ready_s: DEFAULT_READY_S,
        }
    }
}

/// `[mirage-NAME]`: what decisions need of a mirage.
#[derive(Clone, Debug, PartialEq)]
pub struct MirageSettings {
    /// `ssh` of `[mirage-ssh]`; unique in the file.
    pub section: Rc<str>,
    /// Settings that are one key each.
    pub plain: PlainSettings,
    /// `range`, `decoys` and `period`. The range has room for [`crate::limits::RANGE_FACTOR`] minutes. None if
    /// nothing is drawn.
    pub pattern: Option<Pattern>,
    /// `gate`; port by default.
    pub gate_settings: GateSettings,
    /// `door`; forward by default.
    pub door: Door,
    /// `open-timeout` where it is not a service's: how long an address stays admitted, in seconds, 1 to
    /// [`crate::limits::LONGEST_S`]. At door = forward and an open gate it has no effect.
    pub admitted_s: u32,
    /// `pool-port`, with `listen = pool`: the port to which the firewall redirects the whole range. None: the
    /// mirage listens on its own ports.
    pub pool_port: Option<u16>,
}

impl MirageSettings {
    /// The gate without its settings.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate_settings.gate()
    }

    /// Whether its ports are closed to an address that has not passed.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.gate().is_silent()
    }

    /// The range that it draws ports from, if it draws any.
    #[must_use]
    pub fn range(&self) -> Option<Range> {
        Some(self.pattern?.range())
    }

    /// Whether it ever opens ports of its own. Behind a silent gate only door = forward does.
    #[must_use]
    pub fn listens(&self) -> bool {
        !self.is_silent() || self.forward().is_some()
    }

    /// The hidden service, if its door forwards.
    #[must_use]
    pub fn forward(&self) -> Option<&Forward> {
        self.door.forward()
    }

    /// The ports that a silent gate has to watch, in any minute. A range inside an earlier one is left out.
    #[must_use]
    pub fn watched(&self) -> Vec<Range> {
        self.gate_settings.watched(self.range())
    }

    /// Whether it is at this address of ours; None is one of all.
    #[must_use]
    pub fn is_at(&self, address: Option<IpAddr>) -> bool {
        let is_at = |to: IpAddr| {
            let covers =
                |own: &IpAddr| *own == to || own.is_unspecified() && own.is_ipv4() == to.is_ipv4();
            self.plain.listen.iter().any(covers)
        };
        self.plain.listen.is_empty() || address.is_none_or(is_at)
    }
}
