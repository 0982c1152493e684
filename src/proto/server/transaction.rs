//! What takes more than one step: a minute's turn, the end of an admission, a reload. Each waits for answers of
//! the shell's, and for nothing from outside, so there is one at a time and it ends before the next visitor.
//!
//! ```text
//!   turn       Ports ⇒ Listening, Drain ⇒ visitors, judged by the old plan ⇒ Drained, Ports ⇒ Listening
//!   shutting   Drain ⇒ visitors, who are still let in ⇒ Drained, Ports ⇒ Listening
//!   reload     Drain ⇒ visitors, judged by what they found ⇒ Drained, Ports of each ⇒ Listening, …
//! ```

use crate::proto::ids::MirageId;
use crate::proto::settings::Settings;
use core::net::IpAddr;

/// What is under way.
pub enum Transaction {
    /// A minute's turn: the ports of the next plan are being opened.
    Opening(Turn),
    /// Whoever came by the old plan is being accepted.
    Draining(Turn),
    /// The ports of the old plan are being closed.
    Closing(Turn),
    /// Whoever is let in until now is being accepted.
    ShutDraining(MirageId),
    /// The ports are being closed to these.
    Shutting(MirageId, Vec<IpAddr>),
    /// Whoever waits is being accepted before the configuration takes over.
    Adopting(Box<Settings>),
    /// It has taken over; its ports are being opened.
    Adopted(Adopted),
}

/// A minute's turn.
#[derive(Clone, Copy)]
pub struct Turn {
    /// Whose.
    pub mirage: MirageId,
    /// Ports that it opens.
    pub opened: u32,
    /// Ports that it closes.
    pub closed: u32,
}

/// A configuration that has taken over.
pub struct Adopted {
    /// How many mirages have not said what is open.
    pub left: usize,
    /// Those that are no longer served.
    pub dropped: Vec<MirageId>,
    /// Whom the old ones let in.
    pub let_in: Vec<(MirageId, IpAddr)>,
    /// Nothing was served before.
    pub is_first: bool,
}
