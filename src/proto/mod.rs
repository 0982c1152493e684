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

pub mod bans;
pub mod gates;
mod number;
mod ring;
pub mod scheme;
pub mod source;
mod time;

pub use number::parse_number;
pub use time::{Instant, Now, sooner};
