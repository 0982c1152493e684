//! Shimmer hides a TCP service behind ports that change every minute.
//!
//! A tour, from the bottom up; imports run one way:
//!
//! ```text
//!   main ──▶ daemon, client, tools ──▶ config ──▶ scheme ──▶ limits
//!                    └───────────────────┴──▶ sys
//! ```
//!
//! - [`limits`]: every bound and every time-out.
//! - [`scheme`]: what Shimmer decides, without an operating system: ports, roles, bans, verdicts.
//! - [`config`]: from a text to what its owner wants, or to all that is wrong with it.
//! - [`sys`]: the operating system, and the only `unsafe`.
//! - `daemon`: the poll loop that performs what the scheme decides. Linux only.
//! - [`message`]: a sentence for a person, small to hand on; [`rfc3339`], `endpoint`: a moment, and an
//!   address, in it.
//! - [`cli`]: the command line; [`client`], [`tools`]: what people type.

pub mod cli;
pub mod client;
pub mod config;
#[cfg(target_os = "linux")]
pub mod daemon;
mod endpoint;
mod ini;
pub mod limits;
pub mod message;
pub mod nearest;
pub mod rfc3339;
pub mod scheme;
pub mod sys;
pub mod tools;
