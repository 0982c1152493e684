//! The scene: who takes part, at which addresses, and what the secret tells about the ports.

use crate::limits::LIVE_WINDOWS;
use crate::proto::scheme::key::Key;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::sys::clock;
use core::net::Ipv4Addr;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// Seconds of a window. Short enough to see three turns, long enough to follow them.
pub const PERIOD_S: u32 = 3;

/// The mirage's name.
pub const NAME: &str = "demo";

/// What the hidden service says first. It is what an ssh server could say (RFC 4253, section 4.2).
pub const GREETING: &str = "SSH-2.0-hidden_by_Shimmer type, and it comes back";

/// Windows whose real ports have to differ, or the member's port would be real again while the show
/// claims that it is gone.
const DISTINCT_WINDOWS: u64 = 10;

/// What follows from the secret: the whole point of having one.
pub struct Insight {
    key: Key,
    pattern: Pattern,
}

/// The ports of a moment.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Ports {
    /// Which window it is.
    pub minute: u64,
    /// The real ports of the last window, this one and the next.
    pub real: [u16; LIVE_WINDOWS],
    /// All that are open.
    pub open: BTreeSet<u16>,
}

impl Insight {
    /// What this secret tells about ports of this pattern.
    pub fn new(secret: &str, pattern: Pattern) -> Self {
        let key = Key::stretch(secret.as_bytes(), NAME);
        Self { key, pattern }
    }

    /// The window of a moment, in milliseconds since 1970.
    pub fn minute(&self, real_ms: i64) -> u64 {
        let unix = u64::try_from(real_ms / 1_000).unwrap_or(0);
        self.pattern.minute(unix)
    }

    /// The ports of a window, as anybody computes them who has the secret.
    pub fn ports(&self, minute: u64) -> Ports {
        let live = [minute - 1, minute, minute + 1];
        let of = |minute| self.pattern.ports(&self.key, minute);
        Ports {
            minute,
            real: live.map(|minute| self.pattern.real(&self.key, minute)),
            open: live.into_iter().flat_map(of).collect(),
        }
    }

    /// The real port of this moment.
    pub fn way_in(&self) -> u16 {
        let minute = self.minute(clock::real_ms());
        self.pattern.real(&self.key, minute)
    }

    pub fn is_tellable(&self) -> bool {
        let first = self.minute(clock::real_ms());
        let minutes = first..first + DISTINCT_WINDOWS;
        let real: BTreeSet<u16> = minutes
            .map(|minute| self.pattern.real(&self.key, minute))
            .collect();
        real.len() as u64 == DISTINCT_WINDOWS
    }
}

/// Who plays, and where.
#[derive(Clone)]
pub struct Scene {
    /// When the show began.
    pub began: Instant,
    /// The daemon's address; nobody else listens there.
    pub address: Ipv4Addr,
    /// From where the member comes.
    pub member: Ipv4Addr,
    /// From where the scanner comes.
    pub scanner: Ipv4Addr,
    /// From where one comes who tries the member's old port.
    pub newcomer: Ipv4Addr,
    /// The mirage's range.
    pub range: Range,
    /// The mirage's secret.
    pub secret: String,
    /// Seconds of a ban.
    pub ban_s: u32,
    /// The show goes on when everything is proven.
    pub stays: bool,
    /// What the secret tells.
    pub insight: Arc<Insight>,
}
