//! What a configuration says that decisions need. Paths, log, user and host names are not here.

use super::gates::{Gate, GateSettings};
use super::scheme::key::Key;
use super::scheme::schedule::{Pattern, Range};
use super::source::Network;
use crate::terms::{ClockTrust, Door, Forward};
use core::net::IpAddr;
use std::rc::Rc;

/// A whole configuration.
#[derive(Debug)]
pub struct Settings {
    /// What holds for all mirages.
    pub common: CommonSettings,
    /// The mirages in the order of the file, each with its stretched key where it draws anything.
    pub mirages: Vec<(MirageSettings, Option<Key>)>,
}

/// What holds for all mirages.
#[derive(Clone, Debug)]
pub struct CommonSettings {
    /// How long a ban lasts, in seconds: 1 to [`crate::limits::LONGEST_S`].
    pub ban_s: u32,
    /// Networks that are never banned.
    pub allow: Vec<Network>,
    /// When the clock is believed.
    pub clock: ClockTrust,
    /// Sessions at once.
    pub max_sessions: usize,
    /// Sessions at once of one source.
    pub max_sessions_per_source: usize,
}

/// One mirage.
#[derive(Clone, Debug)]
pub struct MirageSettings {
    /// Its section: no other mirage of the configuration has it.
    pub section: Rc<str>,
    /// The name in the scheme. Others may have it too.
    pub name: Rc<str>,
    /// What it draws from; None where nothing is drawn.
    pub pattern: Option<Pattern>,
    /// How it is entered.
    pub gate: GateSettings,
    /// What opens for whoever has passed.
    pub door: Door,
    /// For how long it stays open, in seconds, where that is not a session's time.
    pub admitted_s: u32,
    /// The addresses of ours that it is at. Empty: all of both families.
    pub listen: Vec<IpAddr>,
    /// The networks that may use it. Empty: everybody.
    pub from: Vec<Network>,
    /// How long a trap holds, in seconds.
    pub trap_s: u32,
    /// How long a session may be idle, in seconds. None: for ever.
    pub idle_s: Option<u32>,
    /// How long a service that is started on demand has to accept connections, in seconds.
    pub ready_s: u32,
    /// The one port to which the firewall sends the whole range. None: it listens at its ports themselves.
    pub pool_port: Option<u16>,
}

impl MirageSettings {
    /// Its gate.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate.gate()
    }

    /// Whether a stranger finds none of its ports open.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.gate().is_silent()
    }

    /// The ports that it draws from, if it draws any.
    #[must_use]
    pub fn range(&self) -> Option<Range> {
        Some(self.pattern?.range())
    }

    /// Whether ports of its own are ever open: behind a silent gate only the door may have one.
    #[must_use]
    pub fn listens(&self) -> bool {
        !self.is_silent() || self.forward().is_some()
    }

    /// Where it leads, if its door forwards.
    #[must_use]
    pub fn forward(&self) -> Option<&Forward> {
        self.door.forward()
    }

    /// Whether it is at this address of ours; None is one of all.
    #[must_use]
    pub fn is_at(&self, address: Option<IpAddr>) -> bool {
        let is_at = |to: IpAddr| {
            let covers =
                |own: &IpAddr| *own == to || own.is_unspecified() && own.is_ipv4() == to.is_ipv4();
            self.listen.iter().any(covers)
        };
        self.listen.is_empty() || address.is_none_or(is_at)
    }
}
