//! One accepted connection, from its first moment to its last.

use super::ids::MirageId;
use super::scheme::schedule::Claims;
use super::source::Source;
use super::table::Id;
use super::time::Instant;
use core::net::{IpAddr, Ipv4Addr};

/// Identifies a connection for its whole life, here and in the shell.
pub type ConnId = Id<Conn>;

/// A connection that an effect has kept.
#[derive(Debug)]
pub struct Conn {
    /// The mirage that it came to. A reload may have dropped it since.
    pub mirage: MirageId,
    /// The source of its peer, for bans and caps.
    pub source: Source,
    /// The address of its peer, for the log.
    pub peer: IpAddr,
    /// The port that its peer dialled.
    pub port: u16,
    /// The address of 127/8 at which the service sees its peer, if that is so.
    pub client_address: Option<Ipv4Addr>,
    /// When it was accepted; for a session that was held before, when it was admitted.
    pub since: Instant,
    /// What happens to it now.
    pub stage: Stage,
}

/// What happens to a connection. Each stage has at most one deadline.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// A trap holds it, and a token may still come.
    Listening {
        /// What a token could prove at its port when it was accepted.
        claims: Claims,
        /// When the trap lets it go.
        until: Instant,
    },
    /// A trap holds it until its time is over, whatever the peer sends.
    Muted {
        /// When the trap lets it go.
        until: Instant,
    },
    /// It has to give up its place, but may have sent a complete token that is not judged yet.
    Leaving {
        /// None: it was judged before.
        claims: Option<Claims>,
        /// When the trap lets it go.
        until: Instant,
    },
    /// Its token is good, and is being recorded.
    Proven {
        /// When the trap lets it go, if that is impossible.
        until: Instant,
    },
    /// The hidden service is being dialled.
    Dialling {
        /// Whether the log has its `accept` line.
        is_told: bool,
    },
    /// The hidden service is being started, and will be dialled again in a moment.
    Waiting,
    /// The hidden service could not be started.
    Stranded,
    /// It is joined to the hidden service.
    Open,
    /// A process has it, or is about to get it.
    Process,
    /// It leads nowhere: closing it tells the client that the door is open.
    Guest,
}

impl Stage {
    /// Whether it is a session, which counts against the caps.
    #[must_use]
    pub fn is_session(self) -> bool {
        matches!(
            self,
            Self::Dialling { .. } | Self::Waiting | Self::Stranded | Self::Open | Self::Process
        )
    }
}
