//! What the visitors and the daemon's log report to the story.

/// What a visitor finds at a port.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Found {
    /// Nobody listens.
    Closed,
    /// It opens and is shut at once.
    Shut,
    /// It opens and says nothing.
    Mute,
    /// The hidden service greets.
    Greeting,
}

/// A moment of the show.
#[derive(Clone, Copy)]
pub struct Moment {
    /// Milliseconds since 1970: the ports follow it.
    pub real_ms: i64,
    /// Milliseconds since the show began.
    pub since_ms: u64,
}

/// Something that happens.
pub enum Event {
    /// The daemon writes a line into its log.
    Log(String),
    /// Something that must not happen, and what.
    Broken(String),
    /// The member is in.
    Entered {
        /// By this port.
        port: u16,
    },
    /// The member's line came back from the service, unchanged.
    Echoed,
    /// The scanner has tried a port.
    Tried {
        /// This one.
        port: u16,
        /// And found this.
        found: Found,
    },
    /// The scanner, banned, and the member have tried the real port in one moment.
    Compared {
        /// This one.
        port: u16,
        /// What the scanner found.
        scanner: Found,
        /// What the member found.
        member: Found,
    },
    /// The scanner's ban is over, and it begins anew.
    ScansAgain,
    /// A newcomer has tried the port by which the member came in, when its time was over.
    CameLate {
        /// And found this.
        found: Found,
    },
}
