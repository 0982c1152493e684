//! The configuration: from a file's text to what the daemon or the client works with.
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
//! One file serves both sides, so both check all of it; the client makes do with less.
//!
//! ```text
//!   bytes ──ini──▶ sections ──reader──▶ drafts ──▶ ServerConfig (mirages whole, checked against each other)
//!                                │            └──▶ ClientConfig (what is needed to find a port)
//!                              value: one text, one meaning
//! ```
//!
//! Every error of a file is found at once, at the line of its key, and none quotes a secret.

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
pub use account::{Account, AccountError, OwnerHint};
pub use common::{Common, DEFAULT_CONTROL, DEFAULT_STATE_FILE, Location, LogTarget};
pub use diagnostic::{Diagnostic, Errors};
pub use file::{FileError, is_open_to_others};
pub use load::{ClientConfig, ServerConfig};
pub use mirage::{ClientMirage, Keyed, PlainSettings, ServerMirage};
pub use needs::{Capability, capabilities};
pub use secret::{Secret, SecretError};
pub use value::{
    duration, fit_pattern, parse_decoys, parse_duration, parse_gate, parse_hop, parse_name,
    parse_number, parse_period, parse_port, parse_range,
};

#[cfg(test)]
mod tests;
