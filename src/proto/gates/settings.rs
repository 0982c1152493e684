//! A mirage's gate and its settings. The daemon and the client must agree on them.

use super::Gate;
use crate::limits::{DEFAULT_KNOCKS, DEFAULT_SEQUENCE_S, KNOCK_ECHO_MS};
use crate::proto::scheme::knock::{Hop, Hops, Protocols, Rules};
use crate::proto::scheme::packet::Admits;
use crate::proto::scheme::schedule::Range;
use core::fmt;

/// A gate with its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum GateSettings {
    /// The minute's real port.
    Port,
    /// The minute's real port and a token.
    Token,
    /// Ports that are touched in a certain order.
    Knock(Box<KnockSettings>),
    /// One datagram.
    Packet(PacketSettings),
}

impl GateSettings {
    /// The gate without its settings.
    #[must_use]
    pub fn gate(&self) -> Gate {
        match self {
            Self::Port => Gate::Port,
            Self::Token => Gate::Token,
            Self::Knock(_) => Gate::Knock,
            Self::Packet(_) => Gate::Packet,
        }
    }

    /// The ports that a silent gate has to watch, in any minute, if the mirage draws from this range.
    #[must_use]
    pub fn watched(&self, range: Option<Range>) -> Vec<Range> {
        let mut ranges: Vec<Range> = range.into_iter().collect();
        let mut add = |range: Option<Range>| {
            let is_known = |range: &Range, known: &Range| {
                known.low() <= range.low() && range.high() <= known.high()
            };
            if let Some(range) = range
                && !ranges.iter().any(|known| is_known(&range, known))
            {
                ranges.push(range);
            }
        };
        match self {
            Self::Knock(knock) => {
                add(knock.rules.range);
                let hops = knock.sequence.iter().chain(&knock.close_sequence);
                hops.for_each(|hop| add(Range::new(hop.port, hop.port)));
            }
            Self::Packet(packet) => {
                add(packet.port.and_then(|port| Range::new(port, port)));
            }
            Self::Port | Self::Token => {}
        }
        ranges
    }
}

/// Which ports a client has to touch.
#[derive(Clone, Debug, PartialEq)]
pub struct KnockSettings {
    /// `knocks`, 1 to [`crate::limits::MAX_KNOCKS`]: the length of a rotating sequence.
    pub knocks: u8,
    /// `protocols`: those of a rotating sequence.
    pub protocols: Protocols,
    /// `sequence`: a fixed one. Empty: the sequence rotates.
    pub sequence: Hops,
    /// `close-sequence`: closes what the fixed sequence has opened. Empty: there is none.
    pub close_sequence: Hops,
    /// `range`, `seq-timeout`, `lock`, `lock-scope` and `once`.
    pub rules: Rules,
}

impl Default for KnockSettings {
    fn default() -> Self {
        Self {
            knocks: DEFAULT_KNOCKS,
            protocols: Protocols::Tcp,
            sequence: Hops::new(),
            close_sequence: Hops::new(),
            rules: Rules {
                timeout_ms: u64::from(DEFAULT_SEQUENCE_S) * 1_000,
                echo_ms: KNOCK_ECHO_MS,
                lock: None,
                is_once: false,
                range: None,
            },
        }
    }
}

impl KnockSettings {
    /// Whether the sequence is fixed, not rotating.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        !self.sequence.is_empty()
    }
}

/// Where the datagram goes, and which addresses it may admit.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketSettings {
    /// `packet-address`: which addresses it may admit.
    pub address: Admits,
    /// `packet-port`; None: the minute's real port.
    pub port: Option<u16>,
}

impl Default for PacketSettings {
    fn default() -> Self {
        Self {
            address: Admits::Any,
            port: None,
        }
    }
}

/// Knocks as the configuration writes them: `7000:tcp,8000:udp`.
#[derive(Clone, Copy, Debug)]
pub struct HopList<'a>(pub &'a [Hop]);

impl fmt::Display for HopList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for hop in self.0 {
            f.write_str(between)?;
            hop.fmt(f)?;
            between = ",";
        }
        Ok(())
    }
}
