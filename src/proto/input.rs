//! What has happened: all that the shell tells the core.

use super::conn::ConnId;
use super::doors::RestoredOpening;
use super::ids::{JobId, MirageId};
use super::scheme::knock::Hop;
use super::scheme::packet::PACKET;
use super::scheme::token::TOKEN;
use super::settings::Settings;
use super::source::Source;
use core::fmt;
use core::net::IpAddr;
use std::io;

/// Something that has happened. An *answer* is what comes of an effect at once: it is handled before anything
/// from outside.
#[derive(Debug)]
pub enum Input {
    /// A visitor is in the shell's hand, and gone unless an effect keeps the connection.
    Accepted {
        /// Where.
        mirage: MirageId,
        /// Who.
        peer: IpAddr,
        /// The port that they dialled. None: they came to a pool past the redirect.
        port: Option<u16>,
    },
    /// A descriptor is wanted for a visitor who is in the shell's hand and not announced yet.
    Short,
    /// There was none after all, and the visitor is gone.
    TurnedAway {
        /// Who.
        peer: IpAddr,
        /// The port that they came to.
        port: u16,
    },
    /// A connection that is listened to has said what there is to be said.
    Said {
        /// Which.
        conn: ConnId,
        /// The first bytes. None: the input ended before there were as many.
        token: Option<[u8; TOKEN]>,
    },
    /// A connection is no more: reset while it was held, given up, or never registered.
    Gone {
        /// Which.
        conn: ConnId,
    },
    /// Answer to `Dial` and `Exec`: the dial is under way, or the process runs; or not even that.
    Started {
        /// Which.
        conn: ConnId,
        /// Why not.
        result: Result<(), Fault>,
    },
    /// The service has accepted.
    Dialled {
        /// Which.
        conn: ConnId,
    },
    /// The service has not.
    DialFailed {
        /// Which.
        conn: ConnId,
        /// Why.
        error: io::Error,
    },
    /// A session has ended, and its sockets are closed.
    Over {
        /// Which.
        conn: ConnId,
        /// How.
        end: End,
        /// Bytes from the visitor.
        bytes_in: u64,
        /// Bytes to the visitor.
        bytes_out: u64,
    },
    /// A packet has come that nobody answers.
    Sensed(Sensed),
    /// Answer to `Drain`: nobody waits there any more.
    Drained,
    /// Answer to `Ports`.
    Listening {
        /// Whose.
        mirage: MirageId,
        /// How many of them are open now, counted at each address.
        open: usize,
    },
    /// A command has ended, or never ran.
    JobEnded {
        /// Which.
        job: JobId,
        /// None: it has done its work. Otherwise what became of it.
        failure: Option<String>,
    },
    /// What became of an element of a set.
    ElementEnded {
        /// Which.
        job: JobId,
        /// What.
        outcome: ElementOutcome,
    },
    /// Answer to `Save`.
    Saved {
        /// What the file has now, as [`super::bans::Blacklist::changes`] counts. None: it was not written.
        changes: Option<u64>,
    },
    /// Answer to `Load`: what the state file had; nothing where it could not be read.
    Loaded(Vec<SavedBan>),
    /// The shell has another state file, or its first: what its journal says is open.
    Restored(Vec<RestoredOpening>),
    /// Answer to `AskClock`: whether somebody keeps the machine's clock right.
    ClockKept(bool),
    /// A configuration is to take over, once those are judged who wait.
    Configuration(Box<Settings>),
    /// Somebody has said so by the control socket.
    Operator(Order),
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

/// How a session has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides have said their last word, or the process has ended well.
    Closed,
    /// One side was reset, and so is the other.
    Reset,
    /// Nothing moved for the idle time.
    Idle,
    /// The process has ended otherwise.
    Failed,
}

impl End {
    /// The word that the log has for it.
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

/// A packet that came to a port where nobody listens. Nothing of it is proven: anybody can send it in another's
/// name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensed {
    /// Who says that they sent it, in its canonical form.
    pub from: IpAddr,
    /// To which address of ours; None where it may have been any.
    pub to: Option<IpAddr>,
    /// At which port, and how.
    pub hop: Hop,
    /// What a datagram says, if it has the length of one that opens a door.
    pub said: Option<[u8; PACKET]>,
}

/// What became of an element of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementOutcome {
    /// It is in the set, or out of it if that was wanted.
    Done,
    /// Its time was over before.
    TooLate,
    /// A later one contradicts it, and counts instead.
    Replaced,
    /// Too many wait already.
    Full,
    /// The set's table is not for addresses of this family.
    Family,
}

impl fmt::Display for ElementOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::TooLate => "it took too long",
            Self::Replaced => "a later one counts",
            Self::Full => "too many elements wait for nft",
            Self::Family => "the set's table is not for addresses of this family",
        })
    }
}

/// A ban as the state file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedBan {
    /// Whom it shuts out.
    pub source: Source,
    /// When the trap was touched last, in Unix seconds.
    pub unix: u64,
    /// Connections since it began.
    pub attempts: u32,
}

/// What `shimmer ban` and `unban` ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Bans an address's source.
    Ban(IpAddr),
    /// Lifts its ban.
    Unban(IpAddr),
    /// Lifts all.
    UnbanAll,
}
