//! The meaning of the poll's tokens.
//!
//! mio's token is a usize, 32 bits on a router: four for the kind, 28 for the number within the kind.

use crate::proto::conn::ConnId;
use crate::proto::table::{ID_BITS, Id};
use mio::Token;

/// One end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The visitor's end.
    Client,
    /// The hidden service's end.
    Service,
}

/// The recipient of an event. The numbers have [`ID_BITS`] bits; each kind has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The host: a signal, or a clock that was set.
    Host,
    /// A port with waiting visitors.
    Port(u32),
    /// One end of a connection.
    Conn(ConnId, Side),
    /// The control socket: a client wants to connect.
    Control,
    /// A client of the control socket.
    ControlClient(u32),
    /// A socket of the sensor.
    Sensor(u32),
    /// The output of a command.
    Command(u32),
}

/// The highest number within a kind.
pub const MOST: u32 = (1 << ID_BITS) - 1;

const _: () = assert!(ID_BITS + 4 <= 32);

impl From<Wake> for Token {
    fn from(wake: Wake) -> Self {
        let (kind, which) = match wake {
            Wake::Host => (0, 0),
            Wake::Port(port) => (1, port),
            Wake::Conn(id, Side::Client) => (2, id.bits()),
            Wake::Conn(id, Side::Service) => (3, id.bits()),
            Wake::Control => (4, 0),
            Wake::ControlClient(number) => (5, number),
            Wake::Sensor(number) => (6, number),
            Wake::Command(number) => (7, number),
        };
        Self(kind << ID_BITS | which as usize)
    }
}

impl From<Token> for Wake {
    fn from(token: Token) -> Self {
        let which = token.0 as u32 & MOST;
        match token.0 >> ID_BITS {
            1 => Self::Port(which),
            2 => Self::Conn(Id::from_bits(which), Side::Client),
            3 => Self::Conn(Id::from_bits(which), Side::Service),
            4 => Self::Control,
            5 => Self::ControlClient(which),
            6 => Self::Sensor(which),
            7 => Self::Command(which),
            _ => Self::Host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_one_it_was_made_for() {
        for wake in [
            Wake::Host,
            Wake::Port(MOST),
            Wake::Conn(Id::from_bits(MOST), Side::Client),
            Wake::Conn(Id::from_bits(0), Side::Service),
            Wake::Control,
            Wake::ControlClient(3),
            Wake::Sensor(MOST),
            Wake::Command(7),
        ] {
            let token = Token::from(wake);
            assert!(token.0 <= u32::MAX as usize);
            assert_eq!(Wake::from(token), wake);
        }
    }
}
