//! What opens for a visitor who has passed the gate.

use super::command_template::CommandTemplate;
use super::nft_set::NftSet;
use core::fmt;
use core::net::SocketAddr;

/// What opens for whoever has passed the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// Connections lead to the service.
    Forward(Forward),
    /// A command runs, which is told the visitor's address.
    Command {
        /// `open-command`
        open: CommandTemplate,
        /// `close-command`, which runs once `open-timeout` is over.
        close: Option<CommandTemplate>,
    },
    /// The visitor's address becomes an element of a set of nftables.
    Nft {
        /// `open-set`
        set: NftSet,
        /// `open-port`: the port of the service, for `shimmer firewall`.
        port: Option<u16>,
    },
}

impl Door {
    /// Where it leads, if it forwards.
    #[must_use]
    pub fn forward(&self) -> Option<&Forward> {
        match self {
            Self::Forward(forward) => Some(forward),
            Self::Command { .. } | Self::Nft { .. } => None,
        }
    }

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// `forward`, or `port` on the loopback, or `exec`: the hidden service.
    pub to: Service,
    /// How the service is started and stopped, if it does not run all the time.
    pub on_demand: Option<OnDemand>,
}

/// The hidden service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// It listens at this address.
    At(SocketAddr),
    /// A process for each visitor, which gets the connection as its stdin and stdout.
    Exec(CommandTemplate),
}

/// `192.0.2.7:22`, or `exec`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(service) => service.fmt(f),
            Self::Exec(_) => f.write_str("exec"),
        }
    }
}

/// A service that is started for its first visitor and stopped after its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDemand {
    /// `open-command` starts it.
    pub open: CommandTemplate,
    /// `close-command` stops it.
    pub close: Option<CommandTemplate>,
    /// `open-timeout` in seconds after its last use, 1 to [`crate::limits::LONGEST_S`]: then it is
    /// ended.
    pub idle_s: u32,
}
