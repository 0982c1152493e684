//! Everything that the log can say: one enum, one `Display`.
//!
//! An event owns what it names, so it can wait to be written. Texts from elsewhere (the kernel's errors,
//! the last line of a command's output) are made only when something is wrong.

use super::bans::Ban;
use super::doors::OpenFor;
use super::gates::Reason;
use super::nonces::Past;
use super::scheme::knock::Hop;
use super::settings::MirageSettings;
use super::source::Source;
use crate::rfc3339::Rfc3339;
use crate::terms::Level;
use core::net::{IpAddr, Ipv4Addr};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

mod line;

/// A mirage's section name. The section may be gone from the configuration.
pub type SectionName = Rc<str>;

/// Who caused a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The daemon: its lines are never left out.
    Daemon,
    /// A visitor who reached the service.
    Member,
    /// Anybody.
    Stranger,
}

/// One event of the log.
#[derive(Debug)]
pub enum Event {
    /// A visitor is connected to the hidden service.
    Accept {
        /// The mirage.
        mirage: SectionName,
        /// The visitor's address.
        peer: IpAddr,
        /// The port they dialled; None if the log must not name it.
        port: Option<u16>,
        /// The address of 127/8 at which the service sees them, if that is so.
        client_address: Option<Ipv4Addr>,
        /// How many of their connections this is, where the log sums them up.
        times: u32,
    },
    /// A session has ended.
    Close {
        /// The mirage.
        mirage: SectionName,
        /// The visitor's address.
        peer: IpAddr,
        /// The port they dialled; None if the log must not name it.
        port: Option<u16>,
        /// Bytes from the visitor.
        bytes_in: u64,
        /// Bytes to the visitor.
        bytes_out: u64,
        /// Its duration in seconds.
        seconds: u64,
        /// How it ended.
        end: &'static str,
    },
    /// A ban has begun.
    Ban {
        /// The banned address.
        peer: IpAddr,
        /// The mirage.
        mirage: SectionName,
        /// The port they touched, and how far off a clock is for which it is right.
        touched: Touched,
        /// The ban's duration in seconds.
        seconds: u32,
    },
    /// `shimmer ban` has banned a source.
    BanByHand {
        /// The source in its canonical form.
        source: Source,
        /// The ban's duration in seconds.
        seconds: u32,
    },
    /// A ban has ended.
    Unban {
        /// The ban.
        ban: Ban,
        /// What ended it.
        by: UnbanCause,
    },
    /// `shimmer unban all` was run.
    UnbanAll {
        /// The number of lifted bans.
        bans: usize,
    },
    /// A visitor is held in a trap but not banned.
    Trap {
        /// The visitor's address.
        peer: IpAddr,
        /// The mirage.
        mirage: SectionName,
        /// The port they touched, and how far off a clock is for which it is right.
        touched: Touched,
        /// Why they are not banned.
        reason: Reason,
    },
    /// A visitor was turned away because a limit is reached.
    Full {
        /// The visitor's address.
        peer: IpAddr,
        /// The port they dialled; None if the log must not name it.
        port: Option<u16>,
        /// The limit.
        what: Limit,
    },
    /// A visitor who passed a silent gate was turned away because a limit is reached.
    DoorsFull {
        /// The mirage.
        mirage: SectionName,
        /// The visitor's address.
        peer: IpAddr,
        /// The limit.
        what: Limit,
    },
    /// The ban list is full and forgets its oldest ban.
    BansFull {
        /// Its capacity.
        bans: usize,
    },
    /// A source has used as many tokens as it may have in these minutes.
    NoncesFull {
        /// The mirage.
        mirage: SectionName,
        /// The source's address.
        peer: IpAddr,
    },
    /// A door has opened.
    Open {
        /// The mirage.
        mirage: SectionName,
        /// The address or service that it is open for.
        open_for: OpenFor,
        /// How long it stays open, in seconds.
        seconds: u64,
    },
    /// A door has closed again.
    Shut {
        /// The mirage.
        mirage: SectionName,
        /// The address or service that it was open for.
        open_for: OpenFor,
    },
    /// More packets came to the silent gates than the sensor takes, so knocks may be among the lost ones.
    PacketsLost {
        /// Packets lost since the last such line.
        packets: u64,
    },
    /// A wrong knock followed right ones.
    WrongKnock {
        /// The mirage.
        mirage: SectionName,
        /// The source address, which may be forged.
        peer: IpAddr,
        /// The number of right knocks before it.
        knocks: usize,
    },
    /// A sequence came a second time.
    UsedKnock {
        /// The mirage.
        mirage: SectionName,
        /// The source address, which may be forged.
        peer: IpAddr,
    },
    /// A datagram proves the secret but is refused.
    Refuse {
        /// The mirage.
        mirage: SectionName,
        /// The source address, which may be forged.
        peer: IpAddr,
        /// Why it is refused.
        reason: DatagramRefusal,
    },
    /// The hidden service does not accept a connection.
    ServiceFailed {
        /// The mirage.
        mirage: SectionName,
        /// The visitor's address.
        peer: IpAddr,
        /// The kernel's error.
        error: String,
    },
    /// The hidden service can't be dialled or started.
    ServiceNotStarted {
        /// The mirage.
        mirage: SectionName,
        /// The visitor's address.
        peer: IpAddr,
        /// The service's address or command.
        service: String,
        /// The kernel's error.
        error: io::Error,
    },
    /// A service on demand was started but does not accept connections.
    ServiceNotReady {
        /// The mirage.
        mirage: SectionName,
        /// The time it had, in seconds.
        seconds: u32,
        /// The kernel's error.
        error: String,
    },
    /// A command has failed.
    CommandFailed {
        /// The mirage.
        mirage: SectionName,
        /// The address or service that it was run for.
        open_for: OpenFor,
        /// The command's key: `open` or `close`.
        key: &'static str,
        /// How it failed.
        outcome: String,
    },
    /// A set can't hold addresses of this family.
    WrongFamily {
        /// The mirage.
        mirage: SectionName,
        /// The visitor's address.
        peer: IpAddr,
        /// What is wrong, in words.
        why: String,
    },
    /// An element was not added to its set, or taken out of it, in time.
    ElementTooLate {
        /// The mirage.
        mirage: SectionName,
        /// The visitor's address.
        peer: IpAddr,
        /// Whether it was to be added, not taken out.
        is_addition: bool,
    },
    /// A set rejects its elements.
    SetFailing {
        /// The set's name in nft's form.
        set: String,
        /// Why.
        why: String,
    },
    /// Somebody else has taken elements out of their sets. They are put back.
    ElementsMissing {
        /// The number of elements.
        elements: usize,
    },
    /// The set of a door, or the rules that close the port behind it, are not there.
    RulesGone {
        /// The mirage.
        mirage: SectionName,
        /// The set's name in nft's form, and what is wrong.
        why: String,
    },
    /// They are there again.
    RulesBack {
        /// The mirage.
        mirage: SectionName,
    },
    /// The daemon ends, and the rules that close the ports behind doors stay.
    RulesStay,
    /// A new minute has begun.
    Rotate {
        /// The mirage.
        mirage: SectionName,
        /// The number of ports that are open now.
        open: usize,
        /// The number of ports that were opened.
        opened: u32,
        /// The number of ports that were closed.
        closed: u32,
    },
    /// A mirage is served from now on.
    Listen {
        /// The mirage.
        mirage: Rc<MirageSettings>,
        /// The number of its ports that are open.
        open: usize,
    },
    /// A port that could not be opened is open now.
    PortOpen {
        /// The mirage.
        mirage: SectionName,
        /// The port.
        port: u16,
        /// The level at which the failure was logged.
        level: Level,
    },
    /// A port can't be opened.
    PortClosed {
        /// The mirage.
        mirage: SectionName,
        /// The port.
        port: u16,
        /// How much it matters.
        level: Level,
        /// The kernel's error.
        error: io::Error,
    },
    /// A port to knock at that could not be opened is open now.
    KnockPortOpen(Hop),
    /// A port to knock at can't be opened.
    KnockPortClosed(Hop, io::Error),
    /// The daemon has started, and is in its sandbox.
    Start {
        /// Whether the kernel guards files, too.
        guards_files: bool,
    },
    /// The daemon has started, and is in no sandbox.
    StartOpen {
        /// Why not.
        reason: &'static str,
    },
    /// A new configuration has taken over.
    Reload {
        /// The number of mirages that are served now.
        mirages: usize,
        /// The number of mirages that are no longer served.
        dropped: usize,
    },
    /// A new configuration can't take over.
    ReloadFailed {
        /// What is wrong with it.
        error: String,
    },
    /// The daemon ends, and this many doors could not be closed.
    LeftOpen {
        /// How many doors.
        open: usize,
    },
    /// The daemon ends.
    End,
    /// The clock was set.
    ClockStep {
        /// The change in milliseconds.
        ms: i64,
    },
    /// The clock no longer keeps the ports closed.
    ClockRight,
    /// The clock keeps the ports closed.
    ClockKeepsClosed {
        /// The mirage.
        mirage: SectionName,
        /// The time that the clock shows.
        time: Rfc3339,
        /// What is wrong with the clock.
        why: &'static str,
    },
    /// The bans of the state file were loaded.
    BansLoaded {
        /// How many bans.
        bans: usize,
    },
    /// The journal names doors that have to be closed.
    OpeningsLoaded {
        /// How many doors.
        open: usize,
    },
    /// The journal names a door, and no mirage closes it.
    Orphan {
        /// The mirage that had it.
        mirage: SectionName,
        /// For whom it is open.
        open_for: OpenFor,
    },
    /// A visitor came to a pool's port without the firewall's redirect.
    RedirectMissing {
        /// The mirage.
        mirage: SectionName,
        /// The pool's port.
        port: u16,
    },
    /// The journal or the file of used tokens can't be written.
    NotRecorded {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
    /// Lines that peers caused were left out.
    LeftOut {
        /// The number of lines in one [`LOG_WINDOW_MS`].
        lines: u32,
    },
    /// Lines could not be written.
    Lost {
        /// The number of lines.
        lines: u32,
    },
    /// Something else needs the operator's attention.
    Warning(Warning),
}

/// What the log warns of, and what the daemon does about it.
#[derive(Debug)]
pub enum Warning {
    /// A warning about the configuration.
    Configuration(String),
    /// Services can't be dialled from this address of 127/8, so they are dialled from this host's own.
    NoClientAddress(Ipv4Addr, io::Error),
    /// A change of this key needs a restart.
    Restart(&'static str),
    /// A system call of this number is not on the sandbox's list.
    CallRefused(u32),
    /// The kernel lacks an optional feature: its name and the error.
    Kernel(&'static str, String),
    /// The log can't be reopened.
    Log(PathBuf, io::Error),
    /// A file of a new configuration can't be used; the old one is kept.
    FileKept(String),
    /// The state file can't be used.
    NoState(PathBuf, io::Error),
    /// The control socket can't be opened.
    NoControl(PathBuf, String),
    /// The journal can't be used, and its new name or why it can't be renamed.
    JournalUnread(PathBuf, io::Error, Result<PathBuf, io::Error>),
    /// The state file can't be read.
    StateUnread(PathBuf, io::Error),
    /// The state file was damaged and has been renamed: from, to.
    StateSetAside(PathBuf, PathBuf),
    /// The state file is damaged and can't be renamed.
    StateDamaged(PathBuf, io::Error),
    /// A file is not ours, and its new name or why it can't be renamed.
    SetAside(PathBuf, io::Error, Result<PathBuf, io::Error>),
    /// What was used before the start is not known: the file, and how much it says.
    UsedUnknown(Option<PathBuf>, Past),
    /// The file of used tokens can't have its size, so there is none.
    UsedNotKept(PathBuf, io::Error),
    /// The state file could not be written.
    StateNotWritten(io::Error),
    /// The sensor has failed, so knocks are not seen.
    SensorFailed(io::Error),
    /// Without packet sockets, the ports to knock at are open.
    KnockPortsOpen(&'static str),
}

/// The port that a visitor touched, unless the log must not name it: a port that will be the real one
/// later is left out, or the log would tell where and when the door opens.
#[derive(Clone, Copy, Debug)]
pub struct Touched {
    /// None if the log must not name it.
    pub port: Option<u16>,
    /// How many seconds a clock is ahead if this is its real port now.
    pub clock_off_s: i64,
}

/// What ended a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnbanCause {
    /// Its time is over, or another ban needed its place.
    Time,
    /// A good token.
    Token,
    /// `shimmer unban`.
    Hand,
}

/// The limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The process has no descriptor left.
    Descriptors,
    /// The source has as many sessions as it may have.
    Source,
    /// All sessions are taken.
    Sessions,
    /// The mirage has as many sessions as it may have; those that are left are for other mirages.
    Mirage,
    /// No more used tokens of this source can be remembered.
    Nonces,
    /// What would be opened could not be recorded before.
    Unrecorded,
    /// All openings are taken.
    Openings,
    /// A door lets no more addresses in.
    Admitted,
}

impl Limit {
    fn word(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Source => "source",
            Self::Sessions => "sessions",
            Self::Mirage => "mirage",
            Self::Nonces => "nonces",
            Self::Unrecorded => "unrecorded",
            Self::Openings => "openings",
            Self::Admitted => "admitted",
        }
    }
}

/// Why a datagram is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramRefusal {
    /// Its minute is not live: the sender's clock is off by this many seconds.
    Clock(u64),
    /// It was used before.
    Replayed,
    /// Nobody knows any more whether it was used.
    Forgotten,
    /// It names no address, although it has to.
    NoAddress,
    /// It names another address than its sender's, or one that no host can have.
    Address,
}

impl Event {
    /// The level at which it is logged.
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
            | Self::RulesGone { .. }
            | Self::KnockPortClosed(..)
            | Self::ReloadFailed { .. }
            | Self::NotRecorded { .. }
            | Self::Orphan { .. }
            | Self::LeftOpen { .. } => Level::Error,
            Self::Full { .. }
            | Self::DoorsFull { .. }
            | Self::BansFull { .. }
            | Self::NoncesFull { .. }
            | Self::PacketsLost { .. }
            | Self::ClockStep { .. }
            | Self::ClockKeepsClosed { .. }
            | Self::RedirectMissing { .. }
            | Self::ElementsMissing { .. }
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
            | Self::Start { .. }
            | Self::StartOpen { .. }
            | Self::Reload { .. }
            | Self::RulesBack { .. }
            | Self::RulesStay
            | Self::End
            | Self::ClockRight
            | Self::BansLoaded { .. }
            | Self::OpeningsLoaded { .. } => Level::Info,
        }
    }

    /// A copy, if it says that somebody was let in: the log leaves out no such line, but may sum them up.
    pub fn copy_of_entry(&self) -> Option<Self> {
        match self {
            Self::Accept {
                mirage,
                peer,
                port,
                client_address,
                times,
            } => Some(Self::Accept {
                mirage: Rc::clone(mirage),
                peer: *peer,
                port: *port,
                client_address: *client_address,
                times: *times,
            }),
            Self::Open {
                mirage,
                open_for,
                seconds,
            } => Some(Self::Open {
                mirage: Rc::clone(mirage),
                open_for: *open_for,
                seconds: *seconds,
            }),
            _ => None,
        }
    }

    /// Whether both say that the same source was let in at the same mirage.
    pub fn is_same_entry(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Accept { mirage, peer, .. },
                Self::Accept {
                    mirage: m, peer: p, ..
                },
            ) => (mirage, peer) == (m, p),
            (
                Self::Open {
                    mirage, open_for, ..
                },
                Self::Open {
                    mirage: m,
                    open_for: o,
                    ..
                },
            ) => (mirage, open_for) == (m, o),
            _ => false,
        }
    }

    /// Adds what an earlier one with the same source has counted.
    pub fn add_entry(&mut self, earlier: &Self) {
        if let (Self::Accept { times, .. }, Self::Accept { times: before, .. }) = (self, earlier) {
            *times = times.saturating_add(*before);
        }
    }

    /// Who caused it.
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
