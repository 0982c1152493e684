//! Who is woken: what the kernel's tokens stand for.
//!
//! mio's token is a usize, 32 bits on a router: four for the kind, 28 for which one.

use super::listeners::PortId;
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
    /// A trap's visitor, by place.
    Trap(u32),
    /// One end of a session, by place.
    Session(u32, Side),
    /// The control socket: somebody wants to ask.
    Control,
    /// One who asks, by place.
    Asker(u32),
    /// A socket of the sensor, by its number.
    Sensor(u32),
    /// What a command says, by place.
    Command(u32),
    /// What nft says.
    Nft,
}

const KIND_BITS: u32 = 28;
const REST: usize = (1 << KIND_BITS) - 1;

/// The highest number of one of a kind.
pub const MOST: u32 = REST as u32;

impl From<Wake> for Token {
    fn from(wake: Wake) -> Self {
        let (kind, which) = match wake {
            Wake::Host => (0, 0),
            Wake::Port(port) => (1, port.0),
            Wake::Trap(place) => (2, place),
            Wake::Session(place, Side::Client) => (3, place),
            Wake::Session(place, Side::Service) => (4, place),
            Wake::Control => (5, 0),
            Wake::Asker(place) => (6, place),
            Wake::Sensor(number) => (7, number),
            Wake::Command(place) => (8, place),
            Wake::Nft => (9, 0),
        };
        Self(kind << KIND_BITS | which as usize)
    }
}

impl From<Token> for Wake {
    fn from(token: Token) -> Self {
        let which = (token.0 & REST) as u32;
        match token.0 >> KIND_BITS {
            1 => Self::Port(PortId(which)),
            2 => Self::Trap(which),
            3 => Self::Session(which, Side::Client),
            4 => Self::Session(which, Side::Service),
            5 => Self::Control,
            6 => Self::Asker(which),
            7 => Self::Sensor(which),
            8 => Self::Command(which),
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
        let most = (1 << KIND_BITS) - 1;
        for wake in [
            Wake::Host,
            Wake::Port(PortId(most)),
            Wake::Trap(255),
            Wake::Session(most, Side::Client),
            Wake::Session(0, Side::Service),
            Wake::Control,
            Wake::Asker(3),
            Wake::Sensor(most),
        ] {
            let token = Token::from(wake);
            assert!(token.0 <= u32::MAX as usize);
            assert!(Wake::from(token) == wake);
        }
    }
}
