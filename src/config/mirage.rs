//! `[mirage-NAME]`, complete and checked: its gate, its door, and what the two need.

use super::command::Command;
use super::secret::Secret;
use super::set::Set;
use crate::endpoint::Endpoint;
use crate::proto::gates::Gate;
use crate::proto::scheme::knock::{Hop, Hops, Protocols, Rules};
use crate::proto::scheme::packet::Admits;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::source::Network;
use core::net::{IpAddr, SocketAddr};

/// What a mirage draws from its secret with.
#[derive(Clone, PartialEq)]
pub struct Keyed {
    /// `secret`, or what `secret-file` holds.
    pub secret: Secret,
    /// `range`, `decoys` and `period`. The range has room for three minutes.
    pub pattern: Pattern,
}

/// How a mirage is entered: its gate, with what that takes. Both sides have to know it.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub enum Way {
    /// By the minute's real port.
    Port,
    /// By that port and a token.
    Token,
    /// By touching ports in an order.
    Knock(Box<Knock>),
    /// By one datagram.
    Packet(Packet),
}

impl Way {
    /// The gate alone.
    #[must_use]
    pub fn gate(&self) -> Gate {
        match self {
            Self::Port => Gate::Port,
            Self::Token => Gate::Token,
            Self::Knock(_) => Gate::Knock,
            Self::Packet(_) => Gate::Packet,
        }
    }
}

/// Which ports are to be touched.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub struct Knock {
    /// `knocks`, 1 to [`crate::limits::MAX_KNOCKS`]: of a sequence that is drawn for each minute.
    pub knocks: u8,
    /// `protocols`, of such a sequence.
    pub protocols: Protocols,
    /// `sequence`: one that is written down. Empty: one is drawn.
    pub sequence: Hops,
    /// `close-sequence`: touched, it closes what the other has opened. Empty: there is none.
    pub close_sequence: Hops,
    /// `range`, `seq-timeout`, `lock`, `lock-scope` and `once`.
    pub rules: Rules,
}

impl Knock {
    /// Whether its sequence is written down, not drawn.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        !self.sequence.is_empty()
    }
}

/// Knocks as the configuration writes them: `7000:tcp,8000:udp`.
pub struct HopList<'a>(pub &'a [Hop]);

impl core::fmt::Display for HopList<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut between = "";
        for hop in self.0 {
            f.write_str(between)?;
            hop.fmt(f)?;
            between = ",";
        }
        Ok(())
    }
}

/// Where the datagram goes, and for whom it counts.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub struct Packet {
    /// `packet-address`: for whom.
    pub address: Admits,
    /// `packet-port`; None: the minute's real port.
    pub port: Option<u16>,
}

/// What opens for whoever has passed the gate.
#[derive(Clone, PartialEq)]
pub enum Door {
    /// Its connection leads to the service.
    Forward(Forward),
    /// A command runs for its address.
    Command {
        /// `open-command`
        open: Command,
        /// `close-command`, after the time for which it is let in.
        close: Option<Command>,
    },
    /// Its address becomes an element of a set of the kernel's.
    Nft {
        /// `open-set`
        set: Set,
        /// `open-port`: the service's, for `shimmer firewall`.
        port: Option<u16>,
    },
}

/// A door by its word alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DoorKind {
    Forward,
    Command,
    Nft,
}

impl Door {
    /// The word that the configuration has for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Forward(_) => "forward",
            Self::Command { .. } => "command",
            Self::Nft { .. } => "nft",
        }
    }
}

/// Where connections lead.
#[derive(Clone, PartialEq)]
pub struct Forward {
    /// `forward`, or `port` on the loopback, or `exec`: the hidden service.
    pub to: Service,
    /// `idle-timeout` in seconds, 1 to [`crate::limits::LONGEST_S`]; None: a session may idle for ever.
    pub idle_s: Option<u32>,
    /// What starts the service for its first visitor, if it does not run all the time.
    pub on_demand: Option<OnDemand>,
}

/// The hidden service.
#[derive(Clone, PartialEq)]
pub enum Service {
    /// It listens there.
    At(SocketAddr),
    /// A process for each visitor, which gets the connection as its stdin and stdout.
    Exec(Command),
}

/// `192.0.2.7:22`, or `exec`.
impl core::fmt::Display for Service {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::At(service) => Endpoint(*service).fmt(f),
            Self::Exec(_) => f.write_str("exec"),
        }
    }
}

/// A service that is started when somebody comes.
#[derive(Clone, PartialEq)]
pub struct OnDemand {
    /// `open-command` starts it.
    pub open: Command,
    /// `close-command` ends it.
    pub close: Option<Command>,
    /// `ready-timeout` in seconds: by then it has to accept connections.
    pub ready_s: u32,
    /// `open-timeout` in seconds after its last use: then it is ended.
    pub idle_s: u32,
}

/// `[mirage-NAME]` as the daemon needs it: complete and checked.
#[derive(Clone, PartialEq)]
pub struct Mirage {
    /// `ssh` of `[mirage-ssh]`; no other mirage of the file has it.
    pub section: String,
    /// `name`, the one in the scheme: the section's unless configured. Others may have it too.
    pub name: String,
    /// What it draws with; None where nothing is drawn: a fixed sequence that leads to no port of ours.
    pub keyed: Option<Keyed>,
    /// `gate`: port unless configured.
    pub way: Way,
    /// `door`: forward unless configured.
    pub door: Door,
    /// Seconds for which whoever has passed stays let in, where that is not a session's.
    pub admitted_s: u32,
    /// `listen-address`: no address twice, none that a wildcard here covers. Empty: all of both families.
    pub listen: Vec<IpAddr>,
    /// `from`: the networks that may use it. Empty: everybody.
    pub from: Vec<Network>,
    /// `trap-time` in seconds, 1 to [`crate::limits::LONGEST_S`].
    pub trap_s: u32,
    /// `host`: the server's host name or address, for the client.
    pub host: Option<String>,
    /// `pool-port`, with `listen = pool`: the one port to which the firewall sends the whole range.
    /// None: the mirage listens at its ports themselves.
    pub pool_port: Option<u16>,
}

impl Mirage {
    /// Its gate.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.way.gate()
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
        match &self.way {
            Way::Knock(knock) => {
                add(knock.rules.range);
                let hops = knock.sequence.iter().chain(&knock.close_sequence);
                hops.for_each(|hop| add(Range::new(hop.port, hop.port)));
            }
            Way::Packet(packet) => {
                add(packet.port.and_then(|port| Range::new(port, port)));
            }
            Way::Port | Way::Token => {}
        }
        ranges
    }

    /// The commands that it may run.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
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
#[derive(Clone, PartialEq)]
pub struct Known {
    /// `ssh` of `[mirage-ssh]`; no other mirage of the file has it.
    pub section: String,
    /// `name`, the one in the scheme: the section's unless configured. Others may have it too.
    pub name: String,
    /// `secret`, or what `secret-file` holds; None if it comes from elsewhere.
    pub secret: Option<Secret>,
    /// `range`, `decoys` and `period`; None where nothing is drawn.
    pub pattern: Option<Pattern>,
    /// `host`: where the mirage is, a host name or an address.
    pub host: Option<String>,
    /// `gate`: port unless configured.
    pub way: Way,
    /// Whether its door has ports of its own to connect to.
    pub leads: bool,
}
