//! Everything that the core tells the shell to do.
//!
//! An effect is either a small and complete instruction, or a notice that something the core wants has
//! changed. After a notice the shell reads the rest from the core.

use super::conn::ConnId;
use super::event::Event;
use super::ids::{JobId, MirageId};
use super::source::Source;
use crate::terms::{NftSet, ProxyVersion};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::VecDeque;
use std::rc::Rc;

/// Effects in the order in which they are performed.
pub type Effects = VecDeque<Effect>;

/// One instruction or notice.
#[derive(Debug)]
pub enum Effect {
    /// Write a line to the log, or count it as left out.
    Log(Event),
    /// Keep the connection in hand in a trap, and read a token from it or discard what it sends. Answered, by
    /// `Gone`, only if that is impossible.
    Hold {
        /// Its id from now on.
        conn: ConnId,
        /// Whether it may send a token.
        listens: bool,
    },
    /// Discard what it has sent and will send.
    Mute(ConnId),
    /// Read what has arrived. A connection with a complete token stays, answered by `Said`; any other is
    /// closed, answered by `Gone`.
    GiveUp(ConnId),
    /// Keep the connection, in hand or held, and read nothing.
    Wait(ConnId),
    /// Dial a service for the connection in hand, for a held one, or again after a failed dial. Answered by
    /// `Started`; `Dialled` or `DialFailed` may follow at once.
    Dial {
        /// The visitor's connection.
        conn: ConnId,
        /// The hidden service.
        to: SocketAddr,
        /// The source that its pipes count for.
        source: Source,
        /// It ends after this many milliseconds without a byte. None: never.
        idle_ms: Option<u64>,
        /// How the service learns who has come.
        introduction: Introduction,
    },
    /// Start a program with the connection, in hand or held, as its stdin and stdout. Answered by `Started`.
    Exec {
        /// The visitor's connection.
        conn: ConnId,
        /// The program and its arguments.
        words: Rc<[String]>,
    },
    /// Close the connection.
    Close(ConnId),
    /// Close a session's connections with a reset.
    Cut(ConnId),
    /// Ask the kernel for how long the clients of these sessions, all of one source, have not answered. Answered
    /// by `Examined`.
    Examine(Vec<ConnId>),
    /// Notice: a mirage's ports have changed, or the addresses that may use them. Answered by `Listening`.
    Ports(MirageId),
    /// Accept there until no connection waits, [`crate::limits::CLOSING_ACCEPTS`] at most. Answered by
    /// `Drained`.
    Drain(Drain),
    /// Notice: what the sensor has to watch has changed.
    Sense,
    /// Run a command. Answered at once only if it can't run.
    Run {
        /// Its id.
        job: JobId,
        /// The program and its arguments.
        words: Rc<[String]>,
    },
    /// A command that was to run has [`crate::limits::STOP_OPENING_MS`] left; one that has not begun does not run.
    Hurry(JobId),
    /// Add an address to a kernel set, or take it out. Answered at once only if that is impossible.
    Element {
        /// Its id.
        job: JobId,
        /// The set.
        set: NftSet,
        /// The address.
        address: IpAddr,
        /// How long it stays in the set, in seconds; 0 takes it out.
        seconds: u32,
    },
    /// Notice: the journal of what a restart has to close must be written before anything else is done. Answered
    /// by `Journalled`.
    Journal,
    /// Notice: what [`super::Core::memory`] has not written must be in its file before anything else is done.
    /// Answered by `Remembered`.
    Remember,
    /// Notice: the bans have to be saved. Answered by `Saved`.
    Save,
    /// Read the state file. Answered by `Loaded`.
    Load,
    /// Check whether something keeps the clock right. Answered by `ClockKept`.
    AskClock,
    /// Answer the operator's order in hand.
    Reply(Reply),
}

/// How a service learns who has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introduction {
    /// Not at all: it is dialled from this host's address.
    Plain,
    /// It is dialled from this address of 127/8, if it is on this host.
    From(Ipv4Addr),
    /// By a header before the visitor's first byte.
    Header(ProxyVersion),
}

/// Where to accept waiting connections before something changes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// At the ports of a mirage that its turn closes or gives another role.
    Turn(MirageId),
    /// At all ports of a mirage.
    Mirage(MirageId),
    /// Everywhere.
    All,
}

/// The result of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The source is banned.
    Banned {
        /// The banned source.
        source: Source,
        /// How long the ban lasts, in seconds.
        seconds: u32,
    },
    /// The address is in `allow`, so it is never banned.
    NeverBanned(IpAddr),
    /// This many bans were lifted.
    Unbanned(usize),
}
