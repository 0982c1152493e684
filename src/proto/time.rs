//! The two clocks: one that never jumps, and one that people set.

/// A moment of the boot clock, in ms. The clock runs through a suspend and never jumps, so every time-out
/// and every ban is measured with it. Its zero has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// This many milliseconds later. Not inlined: on 32 bits it is longer than a call, in 40 places.
    #[must_use]
    #[inline(never)]
    pub fn after(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds since `earlier`; 0 if that lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The earlier of two optional deadlines. Not inlined, for the same reason.
#[must_use]
#[inline(never)]
pub fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The same moment on both clocks.
#[derive(Clone, Copy)]
pub struct Now {
    /// The boot clock: for time-outs and bans.
    pub boot: Instant,
    /// The real clock: ms since 1970 in UTC, negative before it.
    pub real_ms: i64,
}

impl Now {
    /// Seconds since 1970 in UTC; 0 before it.
    #[must_use]
    pub fn unix(&self) -> u64 {
        u64::try_from(self.real_ms).unwrap_or(0) / 1_000
    }

    /// How far the real clock is ahead of the boot clock, in ms. It changes when the clock is set.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.real_ms - self.boot.0 as i64
    }
}
