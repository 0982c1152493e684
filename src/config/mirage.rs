//! `[mirage-NAME]`, complete and checked, as the daemon and as the client need it.

use super::secret::Secret;
use crate::proto::gates::GateSettings;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::settings::{MirageSettings, PlainSettings};
use crate::terms::{CommandTemplate, Door, Forward, Service};

/// The word for a door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DoorKind {
    #[default]
    Forward,
    Command,
    Nft,
}

/// `[mirage-NAME]` as the daemon needs it: complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerMirage {
    /// What decisions need.
    pub settings: MirageSettings,
    /// `secret`, or what `secret-file` holds. None if nothing is drawn: a fixed sequence without a rotating port.
    pub secret: Option<Secret>,
}

impl ServerMirage {
    /// The ports that the daemon may bind for it: its range, or the port of its pool. None if it has none.
    #[must_use]
    pub fn bound(&self) -> Option<Range> {
        let settings = &self.settings;
        match settings.pool_port {
            Some(port) => Range::new(port, port),
            None => settings.range().filter(|_| settings.listens()),
        }
    }

    /// The commands that the daemon may run for it.
    pub fn commands(&self) -> impl Iterator<Item = &CommandTemplate> {
        let (one, other, third) = match &self.settings.door {
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
