//! The configuration: from the text of a file to what the daemon or the client works with.
//!
//! ```text
//!   [common]                        # optional
//!   log = /var/log/shimmer.log      # or syslog, or stderr
//!   [mirage-ssh]                    # any number
//!   secret = password
//!   port = 22
//!   range = 10000-10999
//! ```
//!
//! The daemon and the client may share one file, so both check all of it. The client needs fewer keys.
//!
//! ```text
//!   bytes ──ini──▶ sections ──reader──▶ drafts ──▶ ServerConfig (complete mirages)
//!                                │            └──▶ ClientConfig (what it takes to find a port)
//!                              value: what a text means
//! ```
//!
//! All errors of a file are found at once, each at the line of its key. None quotes a secret.

#[cfg_attr(
    not(unix),
    expect(dead_code, reason = "files have no such rights there")
)]
mod access;
mod account;
mod common;
mod diagnostic;
mod draft;
mod file;
mod keys;
mod listen;
mod load;
mod mirage;
mod needs;
mod neighbours;
mod outgoing;
mod reader;
mod secret;
mod section;
mod value;

pub use crate::message::Parsed;
pub use access::Access;
pub use account::{Account, AccountError, OwnerHint, UserName};
pub use common::{Common, DEFAULT_CONTROL, DEFAULT_STATE_FILE, Location, LogTarget};
pub use diagnostic::{Diagnostic, Errors};
pub use file::FileError;
pub use load::{ClientConfig, ServerConfig};
pub use mirage::{ClientMirage, ServerMirage};
pub use needs::{Capability, capabilities};
pub use outgoing::OUTGOING_FILES;
pub use secret::{Secret, SecretError};
pub use value::{
    fit_pattern, format_duration, parse_decoys, parse_duration, parse_gate, parse_hop, parse_name,
    parse_number, parse_period, parse_port, parse_range,
};

#[cfg(test)]
mod tests;
