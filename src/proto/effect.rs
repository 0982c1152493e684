//! What is to be done: all that the core tells the shell.
//!
//! An effect is an instruction, small and complete, or a notice that something the core wants has changed. Of a
//! notice the shell reads the rest from the core.

use super::conn::ConnId;
use super::event::Event;
use super::ids::{JobId, MirageId};
use super::source::Source;
use crate::terms::NftSet;
use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;
use std::rc::Rc;

/// Effects in their order.
pub type Effects = VecDeque<Effect>;

/// Something to be done.
#[derive(Debug)]
pub enum Effect {
    /// Write a line, or count it.
    Log(Event),
    /// Keep the connection in hand in a trap, and read a token from it, or throw away what it says. Answered by
    /// `Gone` only where that can't be.
    Hold {
        /// Its name from now on.
        conn: ConnId,
        /// Whether it may say a token.
        listens: bool,
    },
    /// From now on throw away what it says, and what it has said.
    Mute(ConnId),
    /// Read what has arrived. A whole token stays and is answered by `Said`; all else is closed, by `Gone`.
    GiveUp(ConnId),
    /// Keep the connection, in hand or held, and read nothing.
    Wait(ConnId),
    /// Dial a service for the connection in hand, for a held one, or again for one whose dial failed. Answered
    /// by `Started`, with `Dialled` or `DialFailed` perhaps right behind.
    Dial {
        /// For whom.
        conn: ConnId,
        /// The service.
        to: SocketAddr,
        /// Whose pipes are counted.
        source: Source,
        /// Milliseconds without a byte after which it ends.
        idle_ms: Option<u64>,
    },
    /// Start a program with the connection, in hand or held, as its stdin and stdout. Answered by `Started`.
    Exec {
        /// For whom.
        conn: ConnId,
        /// The program and its words.
        words: Rc<[String]>,
    },
    /// Close it.
    Close(ConnId),
    /// Notice: the ports of a mirage, or who may come to them. Answered by `Listening`.
    Ports(MirageId),
    /// Accept there until nobody waits, [`crate::limits::CLOSING_ACCEPTS`] at most. Answered by `Drained`.
    Drain(Drain),
    /// Notice: what the silent gates want to know of.
    Sense,
    /// Run a command. Answered at once only where it can't.
    Run {
        /// Its name.
        job: JobId,
        /// The program and its words.
        words: Rc<[String]>,
    },
    /// Put an address into a set of the kernel's, or take it out. Answered at once only where it can't.
    Element {
        /// Its name.
        job: JobId,
        /// Which set.
        set: NftSet,
        /// Whom.
        address: IpAddr,
        /// For how many seconds; 0 takes it out.
        seconds: u32,
    },
    /// Notice: what a restart would have to close is to be written down, before anything else is done.
    Journal,
    /// Notice: the bans are to be written down. Answered by `Saved`.
    Save,
    /// Read the state file. Answered by `Loaded`.
    Load,
    /// Look whether somebody keeps the clock right. Answered by `ClockKept`.
    AskClock,
    /// Answer whoever has given the order in hand.
    Reply(Reply),
}

/// Where visitors are to be accepted before something changes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// At those ports of a mirage that its turn closes or gives another meaning.
    Turn(MirageId),
    /// At all ports of a mirage.
    Mirage(MirageId),
    /// Everywhere.
    All,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The source is banned, for so many seconds.
    Banned {
        /// Whom the ban covers.
        source: Source,
        /// For how long.
        seconds: u32,
    },
    /// The address is in `allow`, and never banned.
    NeverBanned(IpAddr),
    /// So many bans were lifted.
    Unbanned(usize),
}
