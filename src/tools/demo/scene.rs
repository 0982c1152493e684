//! The scene: who takes part, at which addresses, and what the secret says about the ports.

use crate::limits::LIVE_WINDOWS;
use crate::proto::scheme::key::Key;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::sys::clock;
use core::net::Ipv4Addr;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// Seconds of a minute: short enough to see three turns, long enough to follow them.
pub const PERIOD_S: u32 = 3;

/// The mirage's name.
pub const NAME: &str = "demo";

/// What the hidden service says first: what an ssh server could say (RFC 4253, section 4.2).
pub const GREETING: &str = "SSH-2.0-hidden_by_Shimmer type, and it comes back";

/// Minutes whose real ports have to differ. Otherwise the member's port could be real again while the show
/// says that it is gone.
const DISTINCT_MINUTES: u64 = 10;

/// What the secret says about the ports.
pub struct PortSchedule {
    key: Key,
    pattern: Pattern,
}

/// The ports of a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePorts {
    /// The number of its minute.
    pub minute: u64,
    /// The real ports of the last minute, this one and the next.
    pub real: [u16; LIVE_WINDOWS],
    /// All that are open.
    pub open: BTreeSet<u16>,
}

impl PortSchedule {
    /// What this secret says about ports of this pattern.
    pub fn new(secret: &str, pattern: Pattern) -> Self {
        let key = Key::stretch(secret.as_bytes(), NAME);
        Self { key, pattern }
    }

    /// The minute of a time in milliseconds since 1970.
    pub fn minute(&self, real_ms: i64) -> u64 {
        let unix = u64::try_from(real_ms / 1_000).unwrap_or(0);
        self.pattern.minute(unix)
    }

    /// The ports in a minute.
    pub fn ports(&self, minute: u64) -> LivePorts {
        let live = [minute - 1, minute, minute + 1];
        let of = |minute| self.pattern.ports(&self.key, minute);
        LivePorts {
            minute,
            real: live.map(|minute| self.pattern.real(&self.key, minute)),
            open: live.into_iter().flat_map(of).collect(),
        }
    }

    /// The real port now.
    pub fn real_port(&self) -> u16 {
        let minute = self.minute(clock::real_ms());
        self.pattern.real(&self.key, minute)
    }

    /// Whether no real port comes back before the show is over.
    pub fn has_distinct_ports(&self) -> bool {
        let first = self.minute(clock::real_ms());
        let minutes = first..first + DISTINCT_MINUTES;
        let real: BTreeSet<u16> = minutes
            .map(|minute| self.pattern.real(&self.key, minute))
            .collect();
        real.len() as u64 == DISTINCT_MINUTES
    }
}

/// Who takes part, and where.
#[derive(Clone)]
pub struct Scene {
    /// When the show began.
    pub began: Instant,
    /// The daemon's address. Nobody else listens there.
    pub address: Ipv4Addr,
    /// The member's address.
    pub member: Ipv4Addr,
    /// The scanner's address.
    pub scanner: Ipv4Addr,
    /// The address of the newcomer, who tries the member's old port.
    pub newcomer: Ipv4Addr,
    /// The mirage's range.
    pub range: Range,
    /// The mirage's secret.
    pub secret: String,
    /// Seconds of a ban.
    pub ban_s: u32,
    /// Whether the show goes on once everything is proven.
    pub stays: bool,
    /// What the secret says about the ports.
    pub schedule: Arc<PortSchedule>,
}
