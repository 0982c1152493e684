//! Everything that the log can say: one enum, one `Display`.
//!
//! An event owns what it names, so it can wait to be written. Texts from elsewhere (the kernel's errors, the
//! last line of a command) are made when something is wrong, and for nothing else.

use super::bans::Ban;
use super::doors::OpenFor;
use super::gates::Reason;
use super::scheme::knock::Hop;
use super::settings::MirageSettings;
use super::source::Source;
use crate::rfc3339::Rfc3339;
use crate::terms::Level;
use core::net::IpAddr;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

mod line;

/// The section of a mirage. It may be gone from the configuration.
pub type SectionName = Rc<str>;

/// Whose doing a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Ours: never left out.
    Daemon,
    /// A visitor's who reached the service.
    Member,
    /// Anybody's.
    Stranger,
}

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// A visitor is connected to the hidden service.
    Accept {
        /// Where.
        mirage: SectionName,
        /// Who.
        peer: IpAddr,
        /// The port that they dialled.
        port: u16,
    },
    /// A session is over.
    Close {
        /// Where.
        mirage: SectionName,
        /// Who.
        peer: IpAddr,
        /// The port that they dialled.
        port: u16,
        /// Bytes from the visitor.
        bytes_in: u64,
        /// Bytes to the visitor.
        bytes_out: u64,
        /// How long it took, in seconds.
        seconds: u64,
        /// How it ended.
        end: &'static str,
    },
    /// A ban begins.
    Ban {
        /// Who touched the trap.
        peer: IpAddr,
        /// Where.
        mirage: SectionName,
        /// The port and the clock that it was or will be right for.
        touched: Touched,
        /// How long it lasts, in seconds.
        seconds: u32,
    },
    /// Somebody was banned by `shimmer ban`.
    BanByHand {
        /// The source, as the list has it.
        source: Source,
        /// How long it lasts, in seconds.
        seconds: u32,
    },
    /// A ban is over.
    Unban {
        /// Which.
        ban: Ban,
        /// What ended it.
        by: UnbanCause,
    },
    /// `shimmer unban all`.
    UnbanAll {
        /// How many there were.
        bans: usize,
    },
    /// A visitor is held in a trap and not banned.
    Trap {
        /// Who.
        peer: IpAddr,
        /// Where.
        mirage: SectionName,
        /// The port and the clock that it was or will be right for.
        touched: Touched,
        /// Why they are not banned.
        reason: Reason,
    },
    /// A visitor was turned away, because something is full.
    Full {
        /// Who.
        peer: IpAddr,
        /// The port that they dialled.
        port: u16,
        /// What is full.
        what: Limit,
    },
    /// Somebody who has passed was turned away, because something is full.
    DoorsFull {
        /// Where.
        mirage: SectionName,
        /// Who.
        peer: IpAddr,
        /// What is full.
        what: Limit,
    },
    /// The ban list forgets the oldest.
    BansFull {
        /// How many it has.
        bans: usize,
    },
    /// No more used tokens can be remembered.
    NoncesFull {
        /// Where.
        mirage: SectionName,
    },
    /// A door is open.
    Open {
        /// Where.
        mirage: SectionName,
        /// For whom.
        open_for: OpenFor,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// A door is closed again.
    Shut {
        /// Where.
        mirage: SectionName,
        /// For whom.
        open_for: OpenFor,
    },
    /// More packets came to the silent gates than they hear, so knocks may have been among the lost ones.
    PacketsLost {
        /// How many were lost since the last such line.
        packets: u64,
    },
    /// A wrong knock behind right ones.
    WrongKnock {
        /// Where.
        mirage: SectionName,
        /// Who.
        peer: IpAddr,
        /// Right knocks before it.
        knocks: usize,
    },
    /// A sequence that was used before.
    UsedKnock {
        /// Where.
        mirage: SectionName,
        /// Who.
        peer: IpAddr,
    },
    /// A datagram proves the secret and does not count.
    Refuse {
        /// Where.
        mirage: SectionName,
        /// Who.
        peer: IpAddr,
        /// Why.
        reason: DatagramRefusal,
    },
    /// The hidden service takes no connection.
    ServiceFailed {
        /// Where.
        mirage: SectionName,
        /// For whom.
        peer: IpAddr,
        /// What the kernel says.
        error: String,
    },
    /// The hidden service can't be dialled or started.
    ServiceNotStarted {
        /// Where.
        mirage: SectionName,
        /// For whom.
        peer: IpAddr,
        /// The service.
        service: String,
        /// What the kernel says.
        error: io::Error,
    },
    /// An on-demand service was started, and takes no connection.
    ServiceNotReady {
        /// Where.
        mirage: SectionName,
        /// How long it had, in seconds.
        seconds: u32,
        /// What the kernel says.
        error: String,
    },
    /// A command could not do its work.
    CommandFailed {
        /// Where.
        mirage: SectionName,
        /// For whom.
        open_for: OpenFor,
        /// `open` or `close`.
        key: &'static str,
        /// What became of it.
        outcome: String,
    },
    /// A set is not for addresses of this family.
    WrongFamily {
        /// Where.
        mirage: SectionName,
        /// For whom.
        peer: IpAddr,
        /// Which.
        why: String,
    },
    /// An element was not in its set, or out of it, in time.
    ElementTooLate {
        /// Where.
        mirage: SectionName,
        /// For whom.
        peer: IpAddr,
        /// Whether it was to be added.
        is_addition: bool,
    },
    /// A set takes no elements.
    SetFailing {
        /// The set, as nft names it.
        set: String,
        /// What became of nft.
        why: String,
    },
    /// A minute has turned.
    Rotate {
        /// Where.
        mirage: SectionName,
        /// Ports that are open now.
        open: usize,
        /// Ports that were opened.
        opened: u32,
        /// Ports that were closed.
        closed: u32,
    },
    /// A mirage is served from now on.
    Listen {
        /// Which.
        mirage: Rc<MirageSettings>,
        /// How many of its ports are open.
        open: usize,
    },
    /// A port that could not be opened is open now.
    PortOpen {
        /// Where.
        mirage: SectionName,
        /// Which.
        port: u16,
        /// How much it mattered that it was not.
        level: Level,
    },
    /// A port can't be opened.
    PortClosed {
        /// Where.
        mirage: SectionName,
        /// Which.
        port: u16,
        /// How much it matters.
        level: Level,
        /// What the kernel says.
        error: io::Error,
    },
    /// A port to knock at that could not be opened is open now.
    KnockPortOpen(Hop),
    /// A port to knock at can't be opened.
    KnockPortClosed(Hop, io::Error),
    /// Another configuration has taken over.
    Reload {
        /// Mirages that are served.
        mirages: usize,
        /// Mirages that no longer are.
        dropped: usize,
    },
    /// The configuration can't be taken over.
    ReloadFailed {
        /// What is wrong with it.
        error: String,
    },
    /// The daemon ends.
    End,
    /// The clock was set.
    ClockStep {
        /// By how much, in milliseconds.
        ms: i64,
    },
    /// The clock no longer keeps ports closed.
    ClockRight,
    /// The clock keeps ports closed.
    ClockKeepsClosed {
        /// Where.
        mirage: SectionName,
        /// The time that it shows.
        time: Rfc3339,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The bans of the state file are on the list.
    BansLoaded {
        /// How many.
        bans: usize,
    },
    /// The journal names doors that have to be closed.
    OpeningsLoaded {
        /// How many.
        open: usize,
    },
    /// Somebody came to a pool's port past the redirect.
    RedirectMissing {
        /// Where.
        mirage: SectionName,
        /// The pool's port.
        port: u16,
    },
    /// The journal can't be written.
    JournalNotWritten {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Lines that peers caused were left out.
    LeftOut {
        /// How many, in one [`LOG_WINDOW_MS`].
        lines: u32,
    },
    /// Lines could not be written.
    Lost {
        /// How many.
        lines: u32,
    },
    /// Something else that may not work for long.
    Warning(Warning),
}

/// What the log warns of, and what the daemon does about it.
#[derive(Debug)]
pub enum Warning {
    /// The configuration's own.
    Configuration(String),
    /// The user changes at a restart only.
    User,
    /// The kernel lacks something that can be spared: what, and what it says.
    Kernel(&'static str, String),
    /// The log can't be opened anew.
    Log(PathBuf, io::Error),
    /// A file of a new configuration can't be had.
    FileKept(String),
    /// There is no state file.
    NoState(PathBuf, io::Error),
    /// There is no control socket.
    NoControl(PathBuf, String),
    /// The journal can't be read.
    JournalUnread(PathBuf, io::Error),
    /// The state file can't be read.
    StateUnread(PathBuf, io::Error),
    /// The state file was damaged, and has another name now.
    StateSetAside(PathBuf, PathBuf),
    /// The state file is damaged, and can't be renamed.
    StateDamaged(PathBuf, io::Error),
    /// The state file was not written.
    StateNotWritten(io::Error),
    /// Knocks are not seen.
    SensorFailed(io::Error),
    /// Without packet sockets, the ports to knock at are open.
    KnockPortsOpen(&'static str),
}

/// The port that a visitor touched, where it may be named: a port that is still to be the real one is not, or
/// the log would say where and when the door will be.
#[derive(Clone, Copy, Debug)]
pub struct Touched {
    /// The port, where it may be named.
    pub port: Option<u16>,
    /// The seconds by which a clock is off for which it is the real one.
    pub clock_off_s: i64,
}

/// What ended a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnbanCause {
    /// Its time was over, or another needed its place.
    Time,
    /// A good token.
    Token,
    /// `shimmer unban`.
    Hand,
}

/// What is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The process has no descriptor left.
    Descriptors,
    /// The source has as many sessions as it may.
    Source,
    /// There are as many sessions as there can be.
    Sessions,
    /// As many used tokens are remembered as can be.
    Nonces,
    /// As many doors are open as can be.
    Openings,
    /// As many addresses are let in as can be.
    Admitted,
}

impl Limit {
    fn word(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Source => "source",
            Self::Sessions => "sessions",
            Self::Nonces => "nonces",
            Self::Openings => "openings",
            Self::Admitted => "admitted",
        }
    }
}

/// Why a datagram does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramRefusal {
    /// Its minute is not live: its sender's clock is off by these seconds.
    Clock(u64),
    /// It was used before.
    Replayed,
    /// It names no address, and has to.
    NoAddress,
    /// It is for another address.
    Address,
}

impl Event {
    /// How much it matters.
    pub fn level(&self) -> Level {
        match self {
            Self::PortOpen { level, .. } | Self::PortClosed { level, .. } => *level,
            Self::ServiceFailed { .. }
            | Self::ServiceNotStarted { .. }
            | Self::ServiceNotReady { .. }
            | Self::CommandFailed { .. }
            | Self::WrongFamily { .. }
            | Self::ElementTooLate { .. }
            | Self::SetFailing { .. }
            | Self::KnockPortClosed(..)
            | Self::ReloadFailed { .. }
            | Self::JournalNotWritten { .. } => Level::Error,
            Self::Full { .. }
            | Self::DoorsFull { .. }
            | Self::BansFull { .. }
            | Self::NoncesFull { .. }
            | Self::PacketsLost { .. }
            | Self::ClockStep { .. }
            | Self::ClockKeepsClosed { .. }
            | Self::RedirectMissing { .. }
            | Self::LeftOut { .. }
            | Self::Lost { .. }
            | Self::Warning(_) => Level::Warn,
            Self::Accept { .. }
            | Self::Close { .. }
            | Self::Ban { .. }
            | Self::BanByHand { .. }
            | Self::Unban { .. }
            | Self::UnbanAll { .. }
            | Self::Trap { .. }
            | Self::Open { .. }
            | Self::Shut { .. }
            | Self::WrongKnock { .. }
            | Self::UsedKnock { .. }
            | Self::Refuse { .. }
            | Self::Rotate { .. }
            | Self::Listen { .. }
            | Self::KnockPortOpen(_)
            | Self::Reload { .. }
            | Self::End
            | Self::ClockRight
            | Self::BansLoaded { .. }
            | Self::OpeningsLoaded { .. } => Level::Info,
        }
    }

    /// Whose doing it is.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Ban { .. }
            | Self::Trap { .. }
            | Self::Full { .. }
            | Self::WrongKnock { .. }
            | Self::UsedKnock { .. }
            | Self::Refuse { .. } => Cause::Stranger,
            Self::Unban { by, .. } => match by {
                UnbanCause::Time => Cause::Stranger,
                UnbanCause::Token => Cause::Member,
                UnbanCause::Hand => Cause::Daemon,
            },
            Self::Accept { .. }
            | Self::Close { .. }
            | Self::DoorsFull { .. }
            | Self::Open { .. }
            | Self::Shut { .. }
            | Self::ServiceFailed { .. }
            | Self::ServiceNotStarted { .. }
            | Self::ServiceNotReady { .. }
            | Self::CommandFailed { .. }
            | Self::WrongFamily { .. }
            | Self::ElementTooLate { .. } => Cause::Member,
            _ => Cause::Daemon,
        }
    }
}

#[cfg(test)]
mod tests;
