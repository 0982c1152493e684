//! Shimmer hides a TCP service behind ports that change every minute.
//!
//! Its layers: each may import those behind its ▶, which stand below it. A test compares this drawing
//! with the source.
//!
//! ```text
//!   main      ▶ cli client daemon tools
//!   tools     ▶ cli config limits message proto status sys terms
//!   client    ▶ cli config limits message proto rfc3339 sys
//!   daemon    ▶ bpf config limits proto rfc3339 status sys terms
//!   cli       ▶ message nearest
//!   config    ▶ ini limits message nearest proto terms
//!   sys       ▶ bpf limits
//!   proto     ▶ limits rfc3339 terms
//!   terms     ▶ limits
//!   bpf       ▶ limits
//!   limits    ▶
//!   status    ▶
//!   ini       ▶
//!   message   ▶
//!   nearest   ▶
//!   rfc3339   ▶
//! ```
//!
//! - `main`: from the command line to a command, and from its result to an exit code.
//! - [`tools`], [`client`]: the commands that people type.
//! - `daemon`: the poll loop that performs what `proto` decides. Linux only.
//! - [`cli`]: the command line and its help.
//! - [`config`]: from the text of a file to a configuration, or to everything that is wrong with it.
//! - [`sys`]: what is needed of the operating system and std does not have; all `unsafe` code.
//! - `bpf`: the programs by which the kernel filters packets for us.
//! - [`proto`]: what Shimmer decides, without an operating system: ports, roles, bans, verdicts.
//! - [`terms`]: what configuration, decisions and log have in common: doors, commands, levels.
//! - [`limits`]: every bound and every timeout.
//! - `status`: what the control socket answers: the daemon writes it, the tool reads it.
//! - `ini`, [`message`], [`nearest`], [`rfc3339`]: small helpers: sections and keys, an error's sentence,
//!   the word that was meant, a moment as text.

#![deny(unsafe_code)]

#[cfg(target_os = "linux")]
mod bpf;
pub mod cli;
pub mod client;
pub mod config;
#[cfg(target_os = "linux")]
pub mod daemon;
mod ini;
pub mod limits;
pub mod message;
pub mod nearest;
pub mod proto;
pub mod rfc3339;

#[cfg(target_os = "linux")]
pub mod status;
#[allow(
    unsafe_code,
    reason = "system calls that std and crates do not make safe"
)]
pub mod sys;
pub mod terms;
pub mod tools;
