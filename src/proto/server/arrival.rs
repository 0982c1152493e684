//! Who has come, and where.

use crate::proto::conn::{Conn, ConnId};
use crate::proto::ids::MirageId;
use crate::proto::source::Source;
use core::net::IpAddr;

/// A visitor, and where they came to.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub mirage: MirageId,
    pub source: Source,
    pub peer: IpAddr,
    pub port: u16,
}

impl Arrival {
    /// Where a visitor who is held came to.
    pub fn of(conn: &Conn) -> Self {
        Self {
            mirage: conn.mirage,
            source: conn.source,
            peer: conn.peer,
            port: conn.port,
        }
    }
}

/// A visitor who would be admitted if their source had a place. They are held, or else in the shell's hand.
#[derive(Clone, Copy)]
pub struct Newcomer {
    pub arrival: Arrival,
    pub held: Option<ConnId>,
}
