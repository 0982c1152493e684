//! `[mirage-NAME]`, complete and checked, as the daemon and as the client need it.

use super::secret::Secret;
use crate::limits::{DEFAULT_READY_S, DEFAULT_TRAP_S};
use crate::proto::gates::Gate;
use crate::proto::gates::GateSettings;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::source::Network;
use crate::terms::{CommandTemplate, Door, Forward, Service};
use core::net::IpAddr;

/// What the ports and sequences of a mirage are drawn with.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed {
    /// `secret`, or what `secret-file` holds.
    pub secret: Secret,
    /// `range`, `decoys` and `period`. The range has room for [`crate::limits::RANGE_FACTOR`] minutes.
    pub pattern: Pattern,
}

/// The settings of a mirage that are one key each and do not depend on others.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainSettings {
    /// `name`: what the ports are drawn for. That of the section by default; several mirages may share
    /// it.
    pub name: String,
    /// `host`: the server's host name or address, for the client.
    pub host: Option<String>,
    /// `listen-address`, without repeats and without addresses that a wildcard among them covers.
    /// Empty: all addresses of both families.
    pub listen: Vec<IpAddr>,
    /// `from`: the networks that may use the mirage. Empty: everybody.
    pub from: Vec<Network>,
    /// `trap-time` in seconds, 1 to [`crate::limits::LONGEST_S`].
    pub trap_s: u32,
    /// `idle-timeout` in seconds, 1 to [`crate::limits::LONGEST_S`]; None: no time limit.
    pub idle_s: Option<u32>,
    /// `ready-timeout` in seconds, 1 to [`crate::limits::LONGEST_S`]: by then a service on demand must
    /// accept connections.
    pub ready_s: u32,
}

impl PlainSettings {
    /// The defaults, for a section with this name.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            host: None,
            listen: Vec::new(),
            from: Vec::new(),
            trap_s: DEFAULT_TRAP_S,
            idle_s: None,
            ready_s: DEFAULT_READY_S,
        }
    }
}

/// The word for a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoorKind {
    Forward,
    Command,
    Nft,
}

/// `[mirage-NAME]` as the daemon needs it: complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerMirage {
    /// `ssh` of `[mirage-ssh]`; unique in the file.
    pub section: String,
    /// Settings that are one key each.
    pub plain: PlainSettings,
    /// What its ports are drawn with. None if nothing is drawn: a fixed sequence without a rotating
    /// port.
    pub keyed: Option<Keyed>,
    /// `gate`; port by default.
    pub gate_settings: GateSettings,
    /// `door`; forward by default.
    pub door: Door,
    /// `open-timeout` where it is not a service's: how long an address stays admitted, in seconds, 1 to
    /// [`crate::limits::LONGEST_S`]. At door = forward and an open gate it has no effect.
    pub admitted_s: u32,
    /// `pool-port`, with `listen = pool`: the port to which the firewall redirects the whole range.
    /// None: the mirage listens on its own ports.
    pub pool_port: Option<u16>,
}

impl ServerMirage {
    /// Its gate.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate_settings.gate()
    }

    /// The range that its ports are drawn from, if any are.
    #[must_use]
    pub fn range(&self) -> Option<Range> {
        Some(self.keyed.as_ref()?.pattern.range())
    }

    /// The ports that the daemon may bind for it: its range, or the port of its pool. None if it has
    /// none.
    #[must_use]
    pub fn bound(&self) -> Option<Range> {
        match self.pool_port {
            Some(port) => Range::new(port, port),
            None => self.range().filter(|_| self.listens()),
        }
    }

    /// Whether it ever has an open port: behind a silent gate only door = forward has one.
    #[must_use]
    pub fn listens(&self) -> bool {
        !self.gate().is_silent() || self.forward().is_some()
    }

    /// Where connections lead, if its door is forward.
    #[must_use]
    pub fn forward(&self) -> Option<&Forward> {
        self.door.forward()
    }

    /// The ports that a silent gate has to watch, in any minute. A range inside an earlier one is left
    /// out.
    #[must_use]
    pub fn watched(&self) -> Vec<Range> {
        self.gate_settings.watched(self.range())
    }

    /// The commands that the daemon may run for it.
    pub fn commands(&self) -> impl Iterator<Item = &CommandTemplate> {
        let (one, other, third) = match &self.door {
            Door::Command { open, close } => (Some(open), close.as_ref(), None),
            Door::Forward(Forward { to, on_demand, .. }) => {
                let exec = match to {
                    Service::Exec(command) => Some(command),
                    Service::At(_) => None,
                };
                let on_demand = on_demand.as_ref();
                let close = on_demand.and_then(|service| service.close.as_ref());
                (exec, on_demand.map(|service| &service.open), close)
            }
            Door::Nft { .. } => (None, None, None),
        };
        [one, other, third].into_iter().flatten()
    }
}

/// `[mirage-NAME]` as the client needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientMirage {
    /// `ssh` of `[mirage-ssh]`; unique in the file.
    pub section: String,
    /// Settings that are one key each.
    pub plain: PlainSettings,
    /// `secret`, or what `secret-file` holds. None if it is given in another way.
    pub secret: Option<Secret>,
    /// `range`, `decoys` and `period`. None if nothing is drawn.
    pub pattern: Option<Pattern>,
    /// `gate`; port by default.
    pub gate_settings: GateSettings,
    /// Whether its door is forward, so that there is a port to connect to.
    pub forwards: bool,
}
