//! One accepted connection, from its first moment to its last.

use super::ids::MirageId;
use super::scheme::schedule::Claims;
use super::source::Source;
use super::table::Id;
use super::time::Instant;
use core::net::IpAddr;

/// Names a connection for all of its life, here and in the shell.
pub type ConnId = Id<Conn>;

/// A connection that an effect has kept.
#[derive(Debug)]
pub struct Conn {
    /// The mirage that it came to. The configuration may have dropped it since.
    pub mirage: MirageId,
    /// Who it is for the bans and the caps.
    pub source: Source,
    /// Who it is for the log.
    pub peer: IpAddr,
    /// The port that it came to.
    pub port: u16,
    /// When it came.
    pub since: Instant,
    /// What becomes of it.
    pub stage: Stage,
}

/// Where a connection is. Each stage has at most one deadline.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// It is held, and may still say a token.
    Listening {
        /// What a token at its port could prove when it came.
        claims: Claims,
        /// When the trap ends.
        until: Instant,
    },
    /// It is held until its trap ends, whatever it says.
    Muted {
        /// When the trap ends.
        until: Instant,
    },
    /// It was to give up its place, and whether it has said a whole token is not known yet.
    Leaving {
        /// None: it was judged before.
        claims: Option<Claims>,
        /// When the trap ends.
        until: Instant,
    },
    /// Its service is dialled.
    Dialling {
        /// The log has its `accept` line.
        is_told: bool,
    },
    /// Its service is being started, and dialled again a moment later.
    Waiting,
    /// Its service could not be started.
    Stranded,
    /// It is joined to the service.
    Open,
    /// A process has it, or is about to.
    Process,
    /// It leads nowhere: that it is closed tells that the door is open.
    Guest,
}

impl Stage {
    /// Whether it is a visitor's session, which counts for the caps.
    #[must_use]
    pub fn is_session(self) -> bool {
        matches!(
            self,
            Self::Dialling { .. } | Self::Waiting | Self::Stranded | Self::Open | Self::Process
        )
    }
}
