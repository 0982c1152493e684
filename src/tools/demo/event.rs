//! What the visitors and the daemon's log report to the story.

use crate::sys::clock;
use std::time::Instant;

/// What a visitor finds at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nobody listens.
    Closed,
    /// It opens, then closes at once.
    Shut,
    /// It opens and says nothing.
    Mute,
    /// The hidden service greets.
    Greeting,
}

/// A moment of the show.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds since 1970. The ports follow them.
    pub real_ms: i64,
    /// Milliseconds since the show began.
    pub since_ms: u64,
}

impl Moment {
    /// Now, in a show that began then.
    pub fn now(began: Instant) -> Self {
        Self {
            real_ms: clock::real_ms(),
            since_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Something that happens.
#[derive(Debug)]
pub enum ShowEvent {
    /// The daemon writes a line to its log.
    Log(String),
    /// A visitor or the daemon can't go on, and why.
    Failed(String),
    /// The member gets in.
    Entered {
        /// By this port.
        port: u16,
    },
    /// The member's line comes back from the service, unchanged.
    Echoed,
    /// The scanner tries a port.
    Tried {
        /// Which one.
        port: u16,
        /// What it finds there.
        found: Found,
    },
    /// The banned scanner and the member both try the real port.
    Compared {
        /// Which one that is.
        port: u16,
        /// What the scanner finds.
        scanner: Found,
        /// What the member finds.
        member: Found,
    },
    /// The scanner's ban is over, and it starts again.
    ScansAgain,
    /// The newcomer tries the port by which the member got in, after that port's time.
    CameLate {
        /// What it finds.
        found: Found,
    },
}
