//! Who is woken: what the kernel's tokens stand for.
//!
//! mio's token is a usize, 32 bits on a router: four for the kind, 28 for which one.

use super::control::Asker;
use super::door::Ticket;
use super::hooks::Hook;
use super::listeners::PortId;
use super::session::Session;
use super::table::{ID_BITS, Id};
use super::trap::Held;
use mio::Token;

/// Which end of a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The visitor's.
    Client,
    /// The hidden service's.
    Service,
}

/// Whom an event is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The host: a signal, or a clock that was set.
    Host,
    /// A port: visitors wait.
    Port(PortId),
    /// A visitor in a trap.
    Trap(Id<Held>),
    /// One end of a session.
    Session(Id<Session>, Side),
    /// The control socket: somebody wants to ask.
    Control,
    /// A client of the control socket.
    Asker(Id<Asker>),
    /// A socket of the sensor, by its number.
    Sensor(u32),
    /// The output of a command.
    Command(Id<Hook<Ticket>>),
    /// What nft says.
    Nft,
}

/// What is left of 32 bits for the kind's own number: as much as an id has.
const WHICH_BITS: u32 = ID_BITS;
const WHICH: usize = (1 << WHICH_BITS) - 1;

const _: () = assert!(WHICH_BITS + 4 <= 32);

/// The highest number of one of a kind.
pub const MOST: u32 = WHICH as u32;

impl From<Wake> for Token {
    fn from(wake: Wake) -> Self {
        let (kind, which) = match wake {
            Wake::Host => (0, 0),
            Wake::Port(port) => (1, port.0),
            Wake::Trap(id) => (2, id.bits()),
            Wake::Session(id, Side::Client) => (3, id.bits()),
            Wake::Session(id, Side::Service) => (4, id.bits()),
            Wake::Control => (5, 0),
            Wake::Asker(id) => (6, id.bits()),
            Wake::Sensor(number) => (7, number),
            Wake::Command(id) => (8, id.bits()),
            Wake::Nft => (9, 0),
        };
        Self(kind << WHICH_BITS | which as usize)
    }
}

impl From<Token> for Wake {
    fn from(token: Token) -> Self {
        let which = (token.0 & WHICH) as u32;
        match token.0 >> WHICH_BITS {
            1 => Self::Port(PortId(which)),
            2 => Self::Trap(Id::from_bits(which)),
            3 => Self::Session(Id::from_bits(which), Side::Client),
            4 => Self::Session(Id::from_bits(which), Side::Service),
            5 => Self::Control,
            6 => Self::Asker(Id::from_bits(which)),
            7 => Self::Sensor(which),
            8 => Self::Command(Id::from_bits(which)),
            9 => Self::Nft,
            _ => Self::Host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_one_it_was_made_for() {
        let most = MOST;
        for wake in [
            Wake::Host,
            Wake::Port(PortId(most)),
            Wake::Trap(Id::from_bits(255)),
            Wake::Session(Id::from_bits(most), Side::Client),
            Wake::Session(Id::from_bits(0), Side::Service),
            Wake::Control,
            Wake::Asker(Id::from_bits(3)),
            Wake::Sensor(most),
        ] {
            let token = Token::from(wake);
            assert!(token.0 <= u32::MAX as usize);
            assert!(Wake::from(token) == wake);
        }
    }
}
