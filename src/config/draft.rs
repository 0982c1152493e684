//! A mirage as far as it could be read, and what it is once all of it is there.

use super::mirage::{DoorKind, Keyed, Known, Mirage};
use super::secret::Secret;
use crate::ini::Section;
use crate::limits::{
    DEFAULT_ADMITTED_S, DEFAULT_DECOYS, DEFAULT_KNOCKS, DEFAULT_PERIOD_S, DEFAULT_READY_S,
    DEFAULT_SEQUENCE_S, DEFAULT_SERVICE_S, DEFAULT_TRAP_S, KNOCK_ECHO_MS,
};
use crate::proto::gates::Gate;
use crate::proto::gates::{GateSettings, KnockSettings, PacketSettings};
use crate::proto::scheme::knock::{Hops, Lock, Protocols, Rules, Scope};
use crate::proto::scheme::packet::Admits;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::source::Network;
use crate::terms::{CommandTemplate, Door, Forward, NftSet, OnDemand, Service};
use core::mem;
use core::net::{IpAddr, SocketAddr};

/// What is missing or wrong has its default here, or is None; what is wrong has left an error, too.
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) struct Draft<'a> {
    /// Its section, and what that is called without `mirage-`.
    pub section: &'a Section<'a>,
    pub label: &'a str,
    pub name: String,
    pub secret: Option<Secret>,
    pub range: Option<Range>,
    /// None unless configured: that there are none may come from the gate.
    pub decoys: Option<u8>,
    pub period: u32,
    pub pattern: Option<Pattern>,
    pub service: Option<SocketAddr>,
    pub exec: Option<CommandTemplate>,
    pub listen: Vec<IpAddr>,
    pub from: Vec<Network>,
    pub trap_s: u32,
    pub idle_s: Option<u32>,
    pub host: Option<String>,
    pub gate: Gate,
    pub is_pool: bool,
    pub pool_port: Option<u16>,
    pub knocks: u8,
    pub protocols: Protocols,
    pub is_once: bool,
    pub sequence: Hops,
    pub close_sequence: Hops,
    pub sequence_s: u32,
    pub lock_s: u32,
    pub lock_scope: Scope,
    pub packet_address: Admits,
    pub packet_port: Option<u16>,
    pub door: DoorKind,
    pub open_command: Option<CommandTemplate>,
    pub close_command: Option<CommandTemplate>,
    pub open_s: Option<u32>,
    pub ready_s: u32,
    pub open_set: Option<NftSet>,
    pub open_port: Option<u16>,
}

impl<'a> Draft<'a> {
    pub fn new(section: &'a Section<'a>, label: &'a str) -> Self {
        Self {
            section,
            label,
            name: label.to_owned(),
            secret: None,
            range: None,
            decoys: None,
            period: DEFAULT_PERIOD_S,
            pattern: None,
            service: None,
            exec: None,
            listen: Vec::new(),
            from: Vec::new(),
            trap_s: DEFAULT_TRAP_S,
            idle_s: None,
            host: None,
            gate: Gate::Port,
            is_pool: false,
            pool_port: None,
            knocks: DEFAULT_KNOCKS,
            protocols: Protocols::Tcp,
            is_once: false,
            sequence: Hops::new(),
            close_sequence: Hops::new(),
            sequence_s: DEFAULT_SEQUENCE_S,
            lock_s: 0,
            lock_scope: Scope::Source,
            packet_address: Admits::Any,
            packet_port: None,
            door: DoorKind::Forward,
            open_command: None,
            close_command: None,
            open_s: None,
            ready_s: DEFAULT_READY_S,
            open_set: None,
            open_port: None,
        }
    }

    /// Whether its knocks are written down, not drawn.
    pub fn is_fixed(&self) -> bool {
        self.gate == Gate::Knock && !self.sequence.is_empty()
    }

    /// Whether it draws something from its secret: everything but a fixed sequence that leads to no port
    /// of the minute.
    pub fn is_keyed(&self) -> bool {
        !self.is_fixed() || self.door == DoorKind::Forward
    }

    /// Whether its service is started for the first visitor.
    pub fn is_on_demand(&self) -> bool {
        self.door == DoorKind::Forward && self.section.find("open-command").is_some()
    }

    /// The traps beside the real port. Behind a silent gate there are none.
    pub fn decoys(&self) -> u8 {
        let usual = if self.gate.is_silent() {
            0
        } else {
            DEFAULT_DECOYS
        };
        self.decoys.unwrap_or(usual)
    }

    fn keyed(&mut self) -> Option<Keyed> {
        Some(Keyed {
            pattern: self.pattern?,
            secret: self.secret.take()?,
        })
    }

    fn gate_settings(&mut self, admitted_s: u32) -> GateSettings {
        match self.gate {
            Gate::Port => GateSettings::Port,
            Gate::Token => GateSettings::Token,
            Gate::Knock => GateSettings::Knock(Box::new(KnockSettings {
                knocks: self.knocks,
                protocols: self.protocols,
                sequence: mem::take(&mut self.sequence),
                close_sequence: mem::take(&mut self.close_sequence),
                rules: Rules {
                    timeout_ms: u64::from(self.sequence_s) * 1_000,
                    echo_ms: KNOCK_ECHO_MS.min(u64::from(admitted_s) * 500),
                    lock: (self.lock_s > 0).then(|| Lock {
                        ms: u64::from(self.lock_s) * 1_000,
                        scope: self.lock_scope,
                    }),
                    is_once: self.is_once,
                    range: self.range,
                },
            })),
            Gate::Packet => GateSettings::Packet(PacketSettings {
                address: self.packet_address,
                port: self.packet_port,
            }),
        }
    }

    fn door(&mut self) -> Option<Door> {
        let (open, close) = (self.open_command.take(), self.close_command.take());
        Some(match self.door {
            DoorKind::Command => Door::Command { open: open?, close },
            DoorKind::Nft => Door::Nft {
                set: self.open_set.take()?,
                port: self.open_port,
            },
            DoorKind::Forward => {
                let to = match (self.service, self.exec.take()) {
                    (Some(service), _) => Service::At(service),
                    (None, exec) => Service::Exec(exec?),
                };
                let on_demand = open.map(|open| OnDemand {
                    open,
                    close,
                    ready_s: self.ready_s,
                    idle_s: self.open_s.unwrap_or(DEFAULT_SERVICE_S),
                });
                Door::Forward(Forward {
                    to,
                    idle_s: self.idle_s,
                    on_demand,
                })
            }
        })
    }

    /// How long whoever has passed stays let in. At a service on demand `open-timeout` is the service's.
    fn admitted_s(&self) -> u32 {
        let is_services = self.door == DoorKind::Forward && self.open_command.is_some();
        let configured = self.open_s.filter(|_| !is_services);
        configured.unwrap_or(DEFAULT_ADMITTED_S)
    }

    /// Takes out what the daemon needs, if it is all there.
    pub fn take_mirage(&mut self) -> Option<Mirage> {
        let keyed = self.keyed();
        if keyed.is_none() && self.is_keyed() {
            return None;
        }
        let admitted_s = self.admitted_s();
        Some(Mirage {
            section: self.label.to_owned(),
            name: mem::take(&mut self.name),
            keyed,
            door: self.door()?,
            gate_settings: self.gate_settings(admitted_s),
            admitted_s,
            listen: mem::take(&mut self.listen),
            from: mem::take(&mut self.from),
            trap_s: self.trap_s,
            host: self.host.take(),
            pool_port: self.pool_port,
        })
    }

    /// Takes out what the client needs, if it is all there.
    pub fn take_known(&mut self) -> Option<Known> {
        if self.pattern.is_none() && self.is_keyed() {
            return None;
        }
        Some(Known {
            section: self.label.to_owned(),
            name: mem::take(&mut self.name),
            secret: self.secret.take(),
            pattern: self.pattern,
            host: self.host.take(),
            gate_settings: self.gate_settings(DEFAULT_ADMITTED_S),
            leads: self.door == DoorKind::Forward,
        })
    }

    /// The line that speaks of its pool's port, or makes it a pool.
    pub fn pool_line(&self) -> usize {
        let key = match self.section.find("pool-port") {
            Some(_) => "pool-port",
            None => "listen",
        };
        self.section.line_of(key)
    }

    /// The ports that may be bound for it: its range, or the one of its pool. None where no port of
    /// its own is ever open.
    pub fn bound(&self) -> Option<Range> {
        match self.pool_port {
            Some(port) => Range::new(port, port),
            None => self.claimed(),
        }
    }

    /// The ports that are its own: its range. A fixed sequence shares those that it watches.
    pub fn claimed(&self) -> Option<Range> {
        self.range.filter(|_| self.is_keyed())
    }

    /// The line that speaks of its range.
    pub fn range_line(&self) -> usize {
        self.section.line_of("range")
    }
}
