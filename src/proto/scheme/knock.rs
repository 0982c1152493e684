//! gate = knock: an address that touches a few ports in the right order is admitted.
//!
//! ```text
//!   rotating   knock(minute) = the first knocks of draw("knock", minute); three minutes count at once
//!   fixed      what the configuration says: 7000:tcp,8000:udp,9000
//! ```
//!
//! No port is open for it: a knock is a packet that is seen but never answered. So a knock bans nobody,
//! since its source can be forged. The [`Tracker`] remembers the progress of a source in fixed memory, for
//! the seconds that a sequence may take.

mod tracker;

pub use tracker::{KnockAnswer, Lock, Rules, Scope, Tracker};

use super::key::Key;
use super::schedule::{Draw, Range};
use crate::limits::{LIVE_WINDOWS, MAX_KNOCKS, MAX_SEQUENCE};
use crate::proto::number::parse_number;
use core::fmt;
use heapless::Vec;

/// How a port is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// With a SYN.
    Tcp,
    /// With a datagram of any content.
    Udp,
}

impl Protocol {
    /// Its word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The protocols of a rotating sequence's knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// SYNs only.
    Tcp,
    /// Datagrams only.
    Udp,
    /// SYNs and datagrams, drawn for each minute.
    Mixed,
}

impl Protocols {
    /// Its word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Mixed => "mixed",
        }
    }
}

/// One knock: a port and a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The port that is touched.
    pub port: u16,
    /// How it is touched.
    pub protocol: Protocol,
}

/// `7000:tcp`.
impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.port, self.protocol.word())
    }
}

/// The knocks of a sequence in their order.
pub type Hops = Vec<Hop, MAX_SEQUENCE>;

/// The sequence of a minute: `knocks` knocks (1 to 6) at different ports of the range. A range with fewer
/// ports has fewer knocks.
#[must_use]
pub fn sequence(key: &Key, range: Range, minute: u64, knocks: usize, protocols: Protocols) -> Hops {
    let first_block = 0u32.to_be_bytes();
    let mix = key.hmac(&[b"proto", &minute.to_be_bytes(), &first_block]);
    let ports = Draw::new(key, b"knock", minute, range).distinct(knocks.clamp(1, MAX_KNOCKS));
    let mut hops = Hops::new();
    for (&port, byte) in ports.iter().zip(mix) {
        let protocol = match protocols {
            Protocols::Tcp => Protocol::Tcp,
            Protocols::Udp => Protocol::Udp,
            Protocols::Mixed if byte & 1 == 1 => Protocol::Udp,
            Protocols::Mixed => Protocol::Tcp,
        };
        // There is room: a fixed sequence may be longer.
        let _ = hops.push(Hop { port, protocol });
    }
    hops
}

/// Which sequence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub enum Which {
    /// The rotating sequence of a minute, which opens the door.
    Minute(u64),
    /// The fixed sequence that opens the door.
    Open,
    /// The fixed sequence that closes the door.
    Close,
}

/// A sequence that is valid now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Which one it is.
    pub which: Which,
    /// Its knocks, at least one.
    pub hops: Hops,
}

/// The sequences of a mirage that are valid now: the rotating ones of the live minutes, or the fixed ones
/// that open and close.
pub type Sequences = Vec<Sequence, LIVE_WINDOWS>;

/// The sequences of the live minutes, each as [`sequence`] draws it.
#[must_use]
pub fn rotating(
    key: &Key,
    range: Range,
    live: &[u64],
    knocks: usize,
    protocols: Protocols,
) -> Sequences {
    let mut sequences = Sequences::new();
    for &minute in live {
        // There is room for all live minutes.
        let _ = sequences.push(Sequence {
            which: Which::Minute(minute),
            hops: sequence(key, range, minute, knocks, protocols),
        });
    }
    sequences
}

/// The fixed sequence that opens, and the one that closes if there is one.
#[must_use]
pub fn fixed(open: &Hops, close: Option<&Hops>) -> Sequences {
    let mut sequences = Sequences::new();
    for (which, hops) in [(Which::Open, Some(open)), (Which::Close, close)] {
        if let Some(hops) = hops {
            // There is room for two.
            let _ = sequences.push(Sequence {
                which,
                hops: hops.clone(),
            });
        }
    }
    sequences
}

/// Why a text is not a knock, or not a sequence of knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceError<'a> {
    /// The part before the colon is not a port.
    Port(&'a str),
    /// The part after the colon is neither tcp nor udp.
    Protocol(&'a str),
    /// The same knock comes twice in a row: the second could be a duplicate packet of the first.
    Twice(&'a str),
    /// The sequence has more than [`MAX_SEQUENCE`] knocks.
    Long,
}

/// What is wrong, and what would be right.
impl fmt::Display for SequenceError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port("") => {
                f.write_str("has an empty place where a knock belongs, such as 7000:tcp")
            }
            Self::Port(text) => write!(
                f,
                "{text} is no port from 1 to 65535, with :tcp or :udp behind it, such as 7000:tcp"
            ),
            Self::Protocol(text) => write!(f, "{text} ends in neither :tcp nor :udp"),
            Self::Twice(text) => write!(
                f,
                "{text} comes twice in a row, and could not be told from a doubled packet"
            ),
            Self::Long => write!(f, "has more than {MAX_SEQUENCE} knocks"),
        }
    }
}

impl<'a> TryFrom<&'a str> for Hop {
    type Error = SequenceError<'a>;

    /// Accepts `7000:tcp`, `7000:udp`, or `7000`, which is tcp.
    fn try_from(text: &'a str) -> Result<Self, SequenceError<'a>> {
        let (port, protocol) = text.split_once(':').unwrap_or((text, "tcp"));
        let port = match parse_number(port) {
            Some(number @ 1..=0xffff) => number as u16,
            _ => return Err(SequenceError::Port(text)),
        };
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(SequenceError::Protocol(text)),
        };
        Ok(Self { port, protocol })
    }
}

/// Parses a fixed sequence: `7000:tcp,8000:udp,9000`, with commas or blanks between the knocks.
///
/// # Errors
/// The knock that is wrong, and why.
pub fn parse_sequence(text: &str) -> Result<Hops, SequenceError<'_>> {
    let mut hops = Hops::new();
    for part in text.split(',') {
        // Two commas with nothing between them: a knock is missing.
        let words = part.split_ascii_whitespace();
        let nothing = part.trim_ascii().is_empty().then_some("");
        for text in words.chain(nothing) {
            let hop = Hop::try_from(text)?;
            if hops.last() == Some(&hop) {
                return Err(SequenceError::Twice(text));
            }
            hops.push(hop).map_err(|_| SequenceError::Long)?;
        }
    }
    Ok(hops)
}

#[cfg(test)]
mod tests;
