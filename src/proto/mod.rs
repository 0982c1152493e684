//! What Shimmer decides, without an operating system: which ports a minute has, who is banned, what a visitor
//! gets, and which doors are open for whom.
//!
//! Nothing here reads a clock, opens a socket or writes a log. Time is an argument, so a test runs through a
//! year of minutes in a millisecond.
//!
//! ```text
//!   scheme/    what both sides compute from a secret, a name and the time
//!   server/    the core of the daemon: Input ──▶ Core ──▶ Effects
//!   gates/     (evidence, visitor) ──▶ verdict         doors/   what is open, for whom, until when
//!   bans.rs    who is shut out, in a ring.rs           conn.rs  one connection, from first to last
//!   nonces/    which tokens and datagrams were used
//!   event.rs   everything that the log can say
//!   settings.rs, input.rs, effect.rs, ids.rs           what crosses the line to the shell
//!   table.rs, timers.rs, tally.rs, source.rs, time.rs, number.rs
//! ```

#![forbid(unsafe_code)]

pub mod bans;
#[cfg(target_os = "linux")]
pub mod client_address;
#[cfg(target_os = "linux")]
pub mod conn;
#[cfg(target_os = "linux")]
pub mod doors;
#[cfg(target_os = "linux")]
pub mod effect;
#[cfg(target_os = "linux")]
pub mod event;
pub mod gates;
#[cfg(target_os = "linux")]
pub mod ids;
#[cfg(target_os = "linux")]
pub mod input;
#[cfg(target_os = "linux")]
pub mod nonces;
mod number;
#[cfg(target_os = "linux")]
pub mod proxy;
mod ring;
pub mod scheme;
#[cfg(target_os = "linux")]
pub mod server;
pub mod settings;
pub mod source;
#[cfg(target_os = "linux")]
pub(crate) mod table;
#[cfg(target_os = "linux")]
pub(crate) mod tally;
mod time;
#[cfg(target_os = "linux")]
pub(crate) mod timers;

pub use number::parse_number;
#[cfg(target_os = "linux")]
pub use server::Core;
pub use time::{Instant, Now, sooner};

#[cfg(test)]
pub(crate) mod tests;
