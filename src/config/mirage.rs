//! `[mirage-NAME]`, complete and checked: its gate, its door, and what the two need.

use super::secret::Secret;
use crate::limits::{DEFAULT_READY_S, DEFAULT_TRAP_S};
use crate::proto::gates::Gate;
use crate::proto::gates::GateSettings;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::source::Network;
use crate::terms::{CommandTemplate, Door, Forward, Service};
use core::net::IpAddr;

/// What a mirage draws from its secret with.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed {
    /// `secret`, or what `secret-file` holds.
    pub secret: Secret,
    /// `range`, `decoys` and `period`. The range has room for three minutes.
    pub pattern: Pattern,
}

/// The settings of a mirage that are one key each and stand in no need of another.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainSettings {
    /// `name`, the one in the scheme: the section's unless configured. Others may have it too.
    pub name: String,
    /// `host`: the server's host name or address, for the client.
    pub host: Option<String>,
    /// `listen-address`: for the daemon no address twice, none that a wildcard here covers. Empty: all
    /// of both families.
    pub listen: Vec<IpAddr>,
    /// `from`: the networks that may use it. Empty: everybody.
    pub from: Vec<Network>,
    /// `trap-time` in seconds, 1 to [`crate::limits::LONGEST_S`].
    pub trap_s: u32,
    /// `idle-timeout` in seconds, 1 to [`crate::limits::LONGEST_S`]; None: a session may idle for ever.
    pub idle_s: Option<u32>,
    /// `ready-timeout` in seconds, 1 to [`crate::limits::LONGEST_S`]: by then a service on demand has to
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

/// A door by its word alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoorKind {
    Forward,
    Command,
    Nft,
}

/// `[mirage-NAME]` as the daemon needs it: complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerMirage {
    /// `ssh` of `[mirage-ssh]`; no other mirage of the file has it.
    pub section: String,
    /// What is one key each.
    pub plain: PlainSettings,
    /// What it draws with; None where nothing is drawn: a fixed sequence that leads to no port of ours.
    pub keyed: Option<Keyed>,
    /// `gate`: port unless configured.
    pub gate_settings: GateSettings,
    /// `door`: forward unless configured.
    pub door: Door,
    /// Seconds for which whoever has passed stays let in, where that is not a session's.
    pub admitted_s: u32,
    /// `pool-port`, with `listen = pool`: the one port to which the firewall sends the whole range.
    /// None: the mirage listens at its ports themselves.
    pub pool_port: Option<u16>,
}

impl ServerMirage {
    /// Its gate.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate_settings.gate()
    }

    /// The ports that it draws from, if it draws any.
    #[must_use]
    pub fn range(&self) -> Option<Range> {
        Some(self.keyed.as_ref()?.pattern.range())
    }

    /// The ports that may be bound for it: its range, or the one of its pool. None where no port is.
    #[must_use]
    pub fn bound(&self) -> Option<Range> {
        match self.pool_port {
            Some(port) => Range::new(port, port),
            None => self.range().filter(|_| self.listens()),
        }
    }

    /// Whether ports of its own are ever open: behind a silent gate only the door may have one.
    #[must_use]
    pub fn listens(&self) -> bool {
        !self.gate().is_silent() || self.forward().is_some()
    }

    /// Where it leads, if its door forwards.
    #[must_use]
    pub fn forward(&self) -> Option<&Forward> {
        match &self.door {
            Door::Forward(forward) => Some(forward),
            Door::Command { .. } | Door::Nft { .. } => None,
        }
    }

    /// The ports of which a silent gate wants to know, whatever the minute.
    #[must_use]
    pub fn watched(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = self.range().into_iter().collect();
        let mut add = |range: Option<Range>| {
            let is_known = |range: &Range, known: &Range| {
                known.low() <= range.low() && range.high() <= known.high()
            };
            if let Some(range) = range
                && !ranges.iter().any(|known| is_known(&range, known))
            {
                ranges.push(range);
            }
        };
        match &self.gate_settings {
            GateSettings::Knock(knock) => {
                add(knock.rules.range);
                let hops = knock.sequence.iter().chain(&knock.close_sequence);
                hops.for_each(|hop| add(Range::new(hop.port, hop.port)));
            }
            GateSettings::Packet(packet) => {
                add(packet.port.and_then(|port| Range::new(port, port)));
            }
            GateSettings::Port | GateSettings::Token => {}
        }
        ranges
    }

    /// The commands that it may run.
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
    /// `ssh` of `[mirage-ssh]`; no other mirage of the file has it.
    pub section: String,
    /// What is one key each. `host` is where the mirage is, a host name or an address.
    pub plain: PlainSettings,
    /// `secret`, or what `secret-file` holds; None if it comes from elsewhere.
    pub secret: Option<Secret>,
    /// `range`, `decoys` and `period`; None where nothing is drawn.
    pub pattern: Option<Pattern>,
    /// `gate`: port unless configured.
    pub gate_settings: GateSettings,
    /// Whether its door has ports of its own to connect to.
    pub leads: bool,
}
