//! What takes more than one step: a minute's turn, the end of an admission, a reload. Each waits only for the
//! shell's answers, never for anything from outside. So there is one at a time, and it ends before the next
//! visitor.
//!
//! ```text
//!   turn       Ports ⇒ Listening, Drain ⇒ visitors, judged by the old plan ⇒ Drained, Ports ⇒ Listening
//!   shutting   Drain ⇒ visitors, who are still admitted ⇒ Drained, Ports ⇒ Listening
//!   reload     Drain ⇒ visitors, judged by the old settings ⇒ Drained, Ports of each ⇒ Listening, …
//! ```

use crate::proto::conn::ConnId;
use crate::proto::ids::MirageId;
use crate::proto::settings::Settings;
use core::net::IpAddr;

/// The transaction that is under way.
pub enum Transaction {
    /// A minute's turn: the ports of the next plan are being opened.
    Opening(Turn),
    /// A minute's turn: visitors who came by the old plan are being accepted.
    Draining(Turn),
    /// A minute's turn: the ports of the old plan are being closed.
    Closing(Turn),
    /// The end of an admission: visitors who are still admitted are being accepted.
    ShutDraining(MirageId),
    /// The end of an admission: the ports are being closed to these addresses.
    Shutting(MirageId, Vec<IpAddr>),
    /// A reload: waiting visitors are being accepted before the configuration takes over.
    Adopting(Box<Settings>),
    /// A reload: the configuration has taken over, and its ports are being opened.
    Adopted(Adopted),
}

/// A minute's turn.
#[derive(Clone, Copy)]
pub struct Turn {
    /// The mirage that turns.
    pub mirage: MirageId,
    /// The number of ports that it opens.
    pub opened: u32,
    /// The number of ports that it closes.
    pub closed: u32,
}

/// A configuration that has taken over.
pub struct Adopted {
    /// The number of mirages whose `Listening` is still to come.
    pub left: usize,
    /// The mirages that are no longer served.
    pub dropped: Vec<MirageId>,
    /// The addresses that the old mirages admitted.
    pub admitted: Vec<(MirageId, IpAddr)>,
    /// Whether nothing was served before.
    pub is_first: bool,
}

/// Who comes in once their proof is recorded.
#[derive(Clone, Copy, Debug)]
pub enum Proven {
    /// A visitor with a token.
    Visitor(ConnId),
    /// The sender of a datagram, and whom it lets in.
    Sender {
        /// The mirage.
        mirage: MirageId,
        /// The sender.
        peer: IpAddr,
        /// The address that is let in.
        address: IpAddr,
    },
}
