//! Shimmer hides a TCP service behind ports that change every minute.
//!
//! A tour of its layers. Each line shows a layer and what it imports, which stands below it; a test
//! compares this with the source.
//!
//! ```text
//!   main      ▶ cli client daemon tools
//!   tools     ▶ cli config limits message scheme status sys
//!   client    ▶ cli config limits message rfc3339 scheme sys
//!   daemon    ▶ config limits rfc3339 scheme status sys
//!   cli       ▶ message nearest
//!   config    ▶ endpoint ini limits message nearest scheme
//!   sys       ▶ limits
//!   scheme    ▶ limits
//!   limits    ▶
//!   status    ▶
//!   ini       ▶
//!   message   ▶
//!   nearest   ▶
//!   endpoint  ▶
//!   rfc3339   ▶
//! ```
//!
//! - `main`: from the command line to a command, and from its result to an exit code.
//! - [`tools`], [`client`]: the commands that people type.
//! - `daemon`: the poll loop that performs what the scheme decides. Linux only.
//! - [`cli`]: the command line and its help.
//! - [`config`]: from a file's text to what it configures, or to everything that is wrong with it.
//! - [`sys`]: the operating system, and the only `unsafe`.
//! - [`scheme`]: what Shimmer decides, without an operating system: ports, roles, bans, verdicts.
//! - [`limits`]: every bound and every timeout.
//! - `status`: what the control socket answers: the daemon writes it, the tool reads it.
//! - `ini`, [`message`], [`nearest`], `endpoint`, [`rfc3339`]: small helpers: sections and keys, an error's
//!   sentence, the word that was meant, an address and a moment as text.

#![deny(unsafe_code)]

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
#[cfg(target_os = "linux")]
pub mod status;
#[allow(
    unsafe_code,
    reason = "the operating system is asked here, and nowhere else"
)]
pub mod sys;
pub mod tools;
