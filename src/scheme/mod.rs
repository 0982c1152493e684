//! What Shimmer decides, without an operating system: which ports a minute has, who is banned,
//! what a visitor gets.
//!
//! Nothing here asks for the time, opens a socket or writes a log. Time is an argument, so a test
//! walks through a year of minutes in a millisecond; randomness comes in from outside as a hasher.
//!
//! ```text
//!   secret, name ──key──▶ Key ──┐
//!                               ├─schedule─▶ Plan: which ports are open, which of them is real
//!   unix time, boot time ───────┘              │
//!                                              ▼
//!   a visitor's source, what it touched ──▶ gate ──▶ Verdict      (remembers in the blacklist)
//!
//!   a source, a packet that nobody answers ──▶ knock ──▶ Answer   (remembers who is how far)
//!                                              packet ──▶ Shown   (remembers nonces)
//! ```

#![forbid(unsafe_code)]

pub mod blacklist;
pub mod gate;
pub mod key;
pub mod knock;
pub mod packet;
mod ring;
pub mod schedule;
pub mod source;
pub mod token;

/// A moment of the boot clock, in milliseconds. It counts on through a suspend and never jumps, so
/// every time-out and every ban is measured with it. What it counts from does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// So many milliseconds later. Not inlined: on 32 bits it is longer than a call, in 40 places.
    #[must_use]
    #[inline(never)]
    pub fn after(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds since `earlier`; 0 where that lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A number in digits alone. One for all: a number's own parser takes a sign too, and each type of number
/// has another, of a quarter of a kilobyte.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    let mut number = None;
    for byte in text.bytes() {
        let digit = char::from(byte).to_digit(10)?;
        let tens = number.unwrap_or(0u64).checked_mul(10)?;
        number = Some(tens.checked_add(u64::from(digit))?);
    }
    number
}

/// The sooner of two deadlines, each of which may not be there. Not inlined, for the same reason.
#[must_use]
#[inline(never)]
pub fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A moment on both clocks.
#[derive(Clone, Copy)]
pub struct Now {
    /// The boot clock: for time-outs and bans.
    pub boot: Instant,
    /// The real clock: milliseconds since 1970 in UTC, negative before it.
    pub real_ms: i64,
}

impl Now {
    /// Seconds since 1970 in UTC; 0 before it.
    #[must_use]
    pub fn unix(&self) -> u64 {
        u64::try_from(self.real_ms).unwrap_or(0) / 1_000
    }

    /// How far the real clock is ahead of the boot clock, in milliseconds: changes when it is set.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.real_ms - self.boot.0 as i64
    }
}
