//! Everything that the shell tells the core.

use super::conn::ConnId;
use super::doors::RestoredOpening;
use super::ids::{JobId, MirageId};
use super::scheme::knock::Hop;
use super::scheme::packet::PACKET;
use super::scheme::token::TOKEN;
use super::settings::Settings;
use super::source::Source;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use std::io;

/// How a command failed.
#[derive(Debug)]
pub struct JobFailure {
    /// As in the log.
    pub why: String,
    /// It was killed, so nobody knows how far it came.
    pub was_killed: bool,
}

/// Something that has happened. An *answer* is the immediate result of an effect; it is handled before
/// anything from outside.
#[derive(Debug)]
pub enum Input {
    /// A visitor's connection is in the shell's hand. It is closed unless an effect keeps it.
    Accepted {
        /// The mirage.
        mirage: MirageId,
        /// The visitor's address.
        peer: IpAddr,
        /// The port that they dialled. None: they reached a pool's port without the redirect.
        port: Option<u16>,
    },
    /// The shell needs a descriptor for a visitor who is in its hand and not announced yet.
    Short,
    /// There was no descriptor after all, and the visitor's connection is closed.
    TurnedAway {
        /// The visitor's address.
        peer: IpAddr,
        /// The port that they dialled.
        port: u16,
    },
    /// A connection that may send a token has sent it, or has ended before.
    Said {
        /// The visitor's connection.
        conn: ConnId,
        /// The first bytes. None: the input ended before a complete token.
        token: Option<[u8; TOKEN]>,
    },
    /// A connection no longer exists: it was reset in a trap, given up, or never registered.
    Gone {
        /// Its id.
        conn: ConnId,
    },
    /// Answer to `Dial` and `Exec`: the dial has begun or the process runs; or neither.
    Started {
        /// The visitor's connection.
        conn: ConnId,
        /// The address of 127/8 from which the service is dialled, if it is; or why it failed.
        result: Result<Option<Ipv4Addr>, Fault>,
    },
    /// The service has accepted a connection.
    Dialled {
        /// The visitor's connection.
        conn: ConnId,
    },
    /// The service has not accepted a connection.
    DialFailed {
        /// The visitor's connection.
        conn: ConnId,
        /// The kernel's error.
        error: io::Error,
    },
    /// A session has ended, and its sockets are closed.
    Over {
        /// The visitor's connection.
        conn: ConnId,
        /// How it ended.
        end: End,
        /// Bytes from the visitor.
        bytes_in: u64,
        /// Bytes to the visitor.
        bytes_out: u64,
    },
    /// Answer to `Examine`. Sessions of which the shell has no connection are left out.
    Examined(Vec<Examined>),
    /// A packet has come to a port where no service listens.
    Sensed(Sensed),
    /// Answer to `Drain`: no connection waits there any more.
    Drained,
    /// Answer to `Ports`.
    Listening {
        /// The mirage.
        mirage: MirageId,
        /// How many of its ports are open now, counted once per address.
        open: usize,
    },
    /// A command has ended, or never ran.
    JobEnded {
        /// Its id.
        job: JobId,
        /// How it failed; None if it succeeded.
        failure: Option<JobFailure>,
    },
    /// A change to a set has ended.
    ElementEnded {
        /// Its id.
        job: JobId,
        /// Its result.
        outcome: ElementOutcome,
    },
    /// Answer to `Save`.
    Saved {
        /// The state that the file has now, as [`super::bans::Blacklist::changes`] counts. None: it was not
        /// written.
        changes: Option<u64>,
    },
    /// Answer to `Journal`.
    Journalled {
        /// Whether the file has all now.
        is_written: bool,
    },
    /// Answer to `Remember`.
    Remembered {
        /// The count of changes that the file has now. None: it could not be written.
        changes: Option<u64>,
    },
    /// Answer to `Load`: the bans of the state file; none if it could not be read.
    Loaded(Vec<SavedBan>),
    /// The shell has opened a state file: what its journal says is open.
    Restored(Vec<RestoredOpening>),
    /// Answer to `AskClock`: whether something keeps the machine's clock right.
    ClockKept(bool),
    /// A configuration takes over as soon as all waiting visitors have been judged.
    Configuration(Box<Settings>),
    /// The operator's order, by the control socket.
    Operator(Order),
    /// The daemon has to end.
    Stop,
}

/// Why something could not be started.
#[derive(Debug)]
pub enum Fault {
    /// The process has no descriptor left.
    Short(io::Error),
    /// Something else.
    Other(io::Error),
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Short(error) | Fault::Other(error) => error,
        }
    }
}

/// How a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides have sent their last bytes, or the process has succeeded.
    Closed,
    /// One side was reset, so the other was reset too.
    Reset,
    /// No byte moved for the idle time.
    Idle,
    /// The process has failed.
    Failed,
}

impl End {
    /// Its word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::Failed => "failed",
        }
    }
}

/// What the kernel knows about a session's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The session.
    pub conn: ConnId,
    /// For how long the client has not answered probes or acknowledged data, in ms; 0 if it owes no answer.
    pub unanswered_ms: u64,
    /// Bytes from the visitor.
    pub bytes_in: u64,
    /// Bytes to the visitor.
    pub bytes_out: u64,
}

/// A packet at a port where no service listens. Nothing in it is proven: anybody can send it with somebody
/// else's source address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensed {
    /// The claimed source address, in its canonical form.
    pub from: IpAddr,
    /// The claimed source port.
    pub from_port: u16,
    /// The destination address; None if it is unknown.
    pub to: Option<IpAddr>,
    /// The destination port and the protocol.
    pub hop: Hop,
    /// A datagram's payload, if it has the length of one that opens a door.
    pub said: Option<[u8; PACKET]>,
}

/// The result of a change to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementOutcome {
    /// It is in the set, or out of it if that was asked for.
    Done,
    /// Its time ran out before.
    TooLate,
    /// A later change contradicts this one and replaces it.
    Replaced,
    /// Too many changes are waiting already.
    Full,
    /// The set's table does not hold addresses of this family.
    Family,
}

impl fmt::Display for ElementOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::TooLate => "it took too long",
            Self::Replaced => "a newer request replaced it",
            Self::Full => "too many elements wait for nft",
            Self::Family => "the set's table is not for addresses of this family",
        })
    }
}

/// A ban in the state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedBan {
    /// The banned source.
    pub source: Source,
    /// The last touch of a trap, in Unix seconds.
    pub unix: u64,
    /// Connections since the ban began.
    pub attempts: u32,
}

/// An order by `shimmer ban` or `unban`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Bans an address's source.
    Ban(IpAddr),
    /// Lifts the ban of an address's source.
    Unban(IpAddr),
    /// Lifts all bans.
    UnbanAll,
}
