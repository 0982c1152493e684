//! A mirage while its section is read, and what becomes of it once the whole section is known.

use super::mirage::{ClientMirage, DoorKind, ServerMirage};
use super::secret::Secret;
use crate::ini::Section;
use crate::limits::{
    DEFAULT_ADMITTED_S, DEFAULT_DECOYS, DEFAULT_PERIOD_S, DEFAULT_SERVICE_S, KNOCK_ECHO_MS,
};
use crate::proto::gates::Gate;
use crate::proto::gates::{GateSettings, KnockSettings, PacketSettings};
use crate::proto::scheme::knock::{Lock, Scope};
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::settings::{MirageSettings, PlainSettings};
use crate::terms::{CommandTemplate, Door, Forward, NftSet, OnDemand, Service};
use core::mem;
use core::net::SocketAddr;

/// What is missing or wrong has its default, or is None. What is wrong has also left an error.
#[derive(Clone, PartialEq)]
pub(super) struct Draft<'a> {
    /// Its section, and the section's name without `mirage-`.
    pub section: &'a Section<'a>,
    pub label: &'a str,
    pub plain: PlainSettings,
    /// For gate = knock. Its range, lock and echo follow from other keys once those are known.
    pub knock: KnockSettings,
    /// For gate = packet.
    pub packet: PacketSettings,
    pub secret: Option<Secret>,
    pub range: Option<Range>,
    /// None unless configured, because the default depends on the gate.
    pub decoys: Option<u8>,
    pub period: u32,
    pub pattern: Option<Pattern>,
    pub gate: Gate,
    pub is_pool: bool,
    pub pool_port: Option<u16>,
    pub lock_s: u32,
    pub lock_scope: Scope,
    pub door: DoorDraft,
}

/// The keys of its door.
#[derive(Clone, Default, PartialEq)]
pub(super) struct DoorDraft {
    pub kind: DoorKind,
    pub service: Option<SocketAddr>,
    pub exec: Option<CommandTemplate>,
    pub open_command: Option<CommandTemplate>,
    pub close_command: Option<CommandTemplate>,
    pub open_s: Option<u32>,
    pub open_set: Option<NftSet>,
    pub open_port: Option<u16>,
}

impl<'a> Draft<'a> {
    pub fn new(section: &'a Section<'a>, label: &'a str) -> Self {
        Self {
            section,
            label,
            plain: PlainSettings::new(label),
            knock: KnockSettings::default(),
            packet: PacketSettings::default(),
            secret: None,
            range: None,
            decoys: None,
            period: DEFAULT_PERIOD_S,
            pattern: None,
            gate: Gate::Port,
            is_pool: false,
            pool_port: None,
            lock_s: 0,
            lock_scope: Scope::Source,
            door: DoorDraft::default(),
        }
    }

    /// Whether its knocks are configured, not drawn from the secret.
    pub fn is_fixed(&self) -> bool {
        self.gate == Gate::Knock && self.knock.is_fixed()
    }

    /// Whether it draws anything from its secret: all mirages but those with a fixed sequence and no
    /// rotating port.
    pub fn is_keyed(&self) -> bool {
        !self.is_fixed() || self.door.kind == DoorKind::Forward
    }

    /// Whether it takes tokens or datagrams, which count once.
    pub fn takes_proofs(&self) -> bool {
        matches!(self.gate, Gate::Token | Gate::Packet)
    }

    /// Whether its service is started when somebody comes.
    pub fn is_on_demand(&self) -> bool {
        self.door.kind == DoorKind::Forward && self.section.find("open-command").is_some()
    }

    /// The number of decoys. Behind a silent gate there are none by default.
    pub fn decoys(&self) -> u8 {
        let default = if self.gate.is_silent() {
            0
        } else {
            DEFAULT_DECOYS
        };
        self.decoys.unwrap_or(default)
    }

    fn gate_settings(&mut self, admitted_s: u32) -> GateSettings {
        match self.gate {
            Gate::Port => GateSettings::Port,
            Gate::Token => GateSettings::Token,
            Gate::Knock => {
                let mut knock = Box::new(mem::take(&mut self.knock));
                knock.rules.range = self.range;
                knock.rules.echo_ms = KNOCK_ECHO_MS.min(u64::from(admitted_s) * 500);
                knock.rules.lock = (self.lock_s > 0).then(|| Lock {
                    ms: u64::from(self.lock_s) * 1_000,
                    scope: self.lock_scope,
                });
                GateSettings::Knock(knock)
            }
            Gate::Packet => GateSettings::Packet(mem::take(&mut self.packet)),
        }
    }

    fn door(&mut self) -> Option<Door> {
        let (open, close) = (
            self.door.open_command.take(),
            self.door.close_command.take(),
        );
        Some(match self.door.kind {
            DoorKind::Command => Door::Command { open: open?, close },
            DoorKind::Nft => Door::Nft {
                set: self.door.open_set.take()?,
                port: self.door.open_port,
            },
            DoorKind::Forward => {
                let to = match (self.door.service, self.door.exec.take()) {
                    (Some(service), _) => Service::At(service),
                    (None, exec) => Service::Exec(exec?),
                };
                let on_demand = open.map(|open| OnDemand {
                    open,
                    close,
                    idle_s: self.door.open_s.unwrap_or(DEFAULT_SERVICE_S),
                });
                Door::Forward(Forward { to, on_demand })
            }
        })
    }

    /// How long an address that has passed the gate stays admitted, in seconds. For a service on demand,
    /// `open-timeout` is the time of the service instead.
    fn admitted_s(&self) -> u32 {
        let is_for_service =
            self.door.kind == DoorKind::Forward && self.door.open_command.is_some();
        let configured = self.door.open_s.filter(|_| !is_for_service);
        configured.unwrap_or(DEFAULT_ADMITTED_S)
    }

    /// The mirage for the daemon, if it is complete.
    pub fn into_server(mut self) -> Option<ServerMirage> {
        if (self.secret.is_none() || self.pattern.is_none()) && self.is_keyed() {
            return None;
        }
        let admitted_s = self.admitted_s();
        let settings = MirageSettings {
            section: self.label.into(),
            pattern: self.pattern,
            door: self.door()?,
            gate_settings: self.gate_settings(admitted_s),
            admitted_s,
            pool_port: self.pool_port,
            plain: self.plain,
        };
        let secret = self.secret;
        Some(ServerMirage { settings, secret })
    }

    /// The mirage for the client, if it is complete.
    pub fn into_client(mut self) -> Option<ClientMirage> {
        if self.pattern.is_none() && self.is_keyed() {
            return None;
        }
        Some(ClientMirage {
            section: self.label.to_owned(),
            gate_settings: self.gate_settings(DEFAULT_ADMITTED_S),
            forwards: self.door.kind == DoorKind::Forward,
            plain: self.plain,
            secret: self.secret,
            pattern: self.pattern,
        })
    }

    /// The line of `pool-port`, or else of `listen`.
    pub fn pool_line(&self) -> usize {
        let key = match self.section.find("pool-port") {
            Some(_) => "pool-port",
            None => "listen",
        };
        self.section.line_of(key)
    }

    /// The ports that outgoing connections should not take: the port of its pool, or its range.
    pub fn inbound(&self) -> Option<Range> {
        match self.pool_port {
            Some(port) => Range::new(port, port),
            None => self.claimed(),
        }
    }

    /// The ports that no other mirage may have: its range. A fixed sequence only watches its range.
    pub fn claimed(&self) -> Option<Range> {
        self.range.filter(|_| self.is_keyed())
    }

    /// The line of `range`.
    pub fn range_line(&self) -> usize {
        self.section.line_of("range")
    }
}
