//! Everything that the log can say: one enum, one `Display`.
//!
//! An event owns what it names, so it can wait to be written. Texts from elsewhere (the kernel's errors, the
//! last line of a command) are made when something is wrong, and for nothing else.

use super::door::Whom;
use crate::config::Level;
use crate::limits::{LOG_WINDOW_MS, NONCES, SENSED_PER_SECOND};
use crate::rfc3339::Rfc3339;
use crate::scheme::blacklist::Ban;
use crate::scheme::gate::Reason;
use crate::scheme::knock::Hop;
use crate::scheme::source::Source;
use core::fmt;
use core::net::IpAddr;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

/// The section of a mirage. It may be gone from the configuration.
pub type Section = Rc<str>;

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
        mirage: Section,
        /// Who.
        peer: IpAddr,
        /// The port that they dialled.
        port: u16,
    },
    /// A session is over.
    Close {
        /// Where.
        mirage: Section,
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
        mirage: Section,
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
        mirage: Section,
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
        mirage: Section,
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
        mirage: Section,
    },
    /// A door is open.
    Open {
        /// Where.
        mirage: Section,
        /// For whom.
        whom: Whom,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// A door is closed again.
    Shut {
        /// Where.
        mirage: Section,
        /// For whom.
        whom: Whom,
    },
    /// More packets came to the silent gates than they hear, so knocks may have been among the lost ones.
    PacketsLost {
        /// How many were lost since the last such line.
        packets: u64,
    },
    /// A wrong knock behind right ones.
    WrongKnock {
        /// Where.
        mirage: Section,
        /// Who.
        peer: IpAddr,
        /// Right knocks before it.
        knocks: usize,
    },
    /// A sequence that was used before.
    UsedKnock {
        /// Where.
        mirage: Section,
        /// Who.
        peer: IpAddr,
    },
    /// A datagram proves the secret and does not count.
    Refuse {
        /// Where.
        mirage: Section,
        /// Who.
        peer: IpAddr,
        /// Why.
        reason: Refusal,
    },
    /// The hidden service takes no connection.
    ServiceFailed {
        /// Where.
        mirage: Section,
        /// For whom.
        peer: IpAddr,
        /// What the kernel says.
        error: String,
    },
    /// The hidden service can't be dialled or started.
    ServiceNotStarted {
        /// Where.
        mirage: Section,
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
        mirage: Section,
        /// How long it had, in seconds.
        seconds: u32,
        /// What the kernel says.
        error: String,
    },
    /// A command could not do its work.
    CommandFailed {
        /// Where.
        mirage: Section,
        /// For whom.
        whom: Whom,
        /// `open` or `close`.
        key: &'static str,
        /// What became of it.
        outcome: String,
    },
    /// A set is not for addresses of this family.
    WrongFamily {
        /// Where.
        mirage: Section,
        /// For whom.
        peer: IpAddr,
        /// Which.
        why: String,
    },
    /// An element was not in its set, or out of it, in time.
    ElementTooLate {
        /// Where.
        mirage: Section,
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
        mirage: Section,
        /// Ports that are open now.
        open: usize,
        /// Ports that were opened.
        opened: u32,
        /// Ports that were closed.
        closed: u32,
    },
    /// A mirage is served from now on.
    Listen {
        /// Where, and what the configuration says of it.
        what: String,
    },
    /// A port that could not be opened is open now.
    PortOpen {
        /// Where.
        mirage: Section,
        /// Which.
        port: u16,
        /// How much it mattered that it was not.
        level: Level,
    },
    /// A port can't be opened.
    PortClosed {
        /// Where.
        mirage: Section,
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
        mirage: Section,
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
        mirage: Section,
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
    Deaf(io::Error),
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
pub enum Refusal {
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

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept { mirage, peer, port } => {
                write!(f, "accept mirage={mirage} source={peer} port={port}")
            }
            Self::Close {
                mirage,
                peer,
                port,
                bytes_in,
                bytes_out,
                seconds,
                end,
            } => write!(
                f,
                "close mirage={mirage} source={peer} port={port} bytes-in={bytes_in} \
                 bytes-out={bytes_out} seconds={seconds} end={end}"
            ),
            Self::Ban {
                peer,
                mirage,
                touched,
                seconds,
            } => {
                let (port, off) = (Port(touched.port), ClockOff(touched.clock_off_s));
                write!(
                    f,
                    "ban source={peer}{port} seconds={seconds} mirage={mirage}{off}"
                )
            }
            Self::BanByHand { source, seconds } => {
                write!(f, "ban source={source} seconds={seconds} by=hand")
            }
            Self::Unban { ban, by } => {
                let (source, attempts) = (ban.source, ban.attempts);
                let by = match by {
                    UnbanCause::Time => "",
                    UnbanCause::Token => " by=token",
                    UnbanCause::Hand => " by=hand",
                };
                write!(f, "unban source={source} attempts={attempts}{by}")
            }
            Self::UnbanAll { bans } => write!(f, "unban bans={bans} by=hand"),
            Self::Trap {
                peer,
                mirage,
                touched,
                reason,
            } => {
                let (port, off) = (Port(touched.port), ClockOff(touched.clock_off_s));
                let reason = reason.word();
                write!(
                    f,
                    "trap mirage={mirage} source={peer}{port} reason={reason}{off}"
                )
            }
            Self::Full { peer, port, what } => {
                let what = what.word();
                write!(f, "full source={peer} port={port} reason={what}")
            }
            Self::DoorsFull { mirage, peer, what } => {
                let what = what.word();
                write!(f, "full mirage={mirage} source={peer} reason={what}")
            }
            Self::BansFull { bans } => write!(
                f,
                "warn the ban list is full, bans={bans}: the oldest make room"
            ),
            Self::NoncesFull { mirage } => write!(
                f,
                "warn mirage={mirage} there is room for {NONCES} used tokens, and all is taken: \
                 new ones are refused"
            ),
            Self::Open {
                mirage,
                whom,
                seconds,
            } => write!(f, "open mirage={mirage} {whom} seconds={seconds}"),
            Self::Shut { mirage, whom } => write!(f, "shut mirage={mirage} {whom}"),
            Self::PacketsLost { packets } => write!(
                f,
                "warn the silent gates are flooded, lost-packets={packets}: they hear \
                 {SENSED_PER_SECOND} a second"
            ),
            Self::WrongKnock {
                mirage,
                peer,
                knocks,
            } => write!(f, "wrong mirage={mirage} source={peer} knocks={knocks}"),
            Self::UsedKnock { mirage, peer } => write!(f, "used mirage={mirage} source={peer}"),
            Self::Refuse {
                mirage,
                peer,
                reason,
            } => {
                write!(f, "refuse mirage={mirage} source={peer} reason=")?;
                match reason {
                    Refusal::Clock(off) => write!(f, "clock off={off}s"),
                    Refusal::Replayed => f.write_str("replayed"),
                    Refusal::NoAddress => f.write_str("no-address"),
                    Refusal::Address => f.write_str("address"),
                }
            }
            Self::ServiceFailed {
                mirage,
                peer,
                error,
            } => write!(f, "error mirage={mirage} source={peer} service: {error}"),
            Self::ServiceNotStarted {
                mirage,
                peer,
                service,
                error,
            } => write!(f, "error mirage={mirage} source={peer} {service}: {error}"),
            Self::ServiceNotReady {
                mirage,
                seconds,
                error,
            } => write!(
                f,
                "error mirage={mirage} service: not ready within {seconds}s: {error}"
            ),
            Self::CommandFailed {
                mirage,
                whom,
                key,
                outcome,
            } => write!(f, "error mirage={mirage} {whom} {key}-command: {outcome}"),
            Self::WrongFamily { mirage, peer, why } => {
                write!(f, "error mirage={mirage} source={peer} {why}")
            }
            Self::ElementTooLate {
                mirage,
                peer,
                is_addition,
            } => {
                let what = if *is_addition {
                    "let it in"
                } else {
                    "take it out"
                };
                write!(
                    f,
                    "error mirage={mirage} source={peer} nft: it took too long to {what}"
                )
            }
            Self::SetFailing { set, why } => write!(f, "error nft {set}: {why}; retrying"),
            Self::Rotate {
                mirage,
                open,
                opened,
                closed,
            } => write!(
                f,
                "rotate mirage={mirage} open={open} opened={opened} closed={closed}"
            ),
            Self::Listen { what } => write!(f, "listen {what}"),
            Self::PortOpen { mirage, port, .. } => write!(f, "listen mirage={mirage} port={port}"),
            Self::PortClosed {
                mirage,
                port,
                error,
                ..
            } => write!(
                f,
                "error mirage={mirage} port={port} cannot listen: {error}"
            ),
            Self::KnockPortOpen(hop) => write!(f, "listen knock at {hop}"),
            Self::KnockPortClosed(hop, error) => {
                write!(f, "error knock at {hop} can't be heard: {error}")
            }
            Self::Reload { mirages, dropped } => {
                write!(f, "reload mirages={mirages} dropped={dropped}")
            }
            Self::ReloadFailed { error } => write!(f, "error reload: {error}"),
            Self::End => f.write_str("end"),
            Self::ClockStep { ms } => {
                let sign = if *ms < 0 { '-' } else { '+' };
                let (seconds, rest) = (ms.unsigned_abs() / 1_000, ms.unsigned_abs() % 1_000);
                write!(f, "clock step={sign}{seconds}.{rest:03}s")
            }
            Self::ClockRight => f.write_str("clock right, ports open"),
            Self::ClockKeepsClosed { mirage, time, why } => write!(
                f,
                "warn clock keeps the ports of mirage={mirage} closed: {time}, {why}"
            ),
            Self::BansLoaded { bans } => write!(f, "state bans={bans}"),
            Self::OpeningsLoaded { open } => write!(f, "state open={open}"),
            Self::RedirectMissing { mirage, port } => write!(
                f,
                "warn mirage={mirage} somebody came to pool-port {port} itself: the redirect is \
                 missing; `shimmer firewall` prints it"
            ),
            Self::JournalNotWritten { path, error } => write!(
                f,
                "error {}: {error}; what is open now would stay so after a restart",
                path.display()
            ),
            Self::LeftOut { lines } => {
                let seconds = LOG_WINDOW_MS / 1_000;
                write!(f, "warn left-out={lines} seconds={seconds}")
            }
            Self::Lost { lines } => write!(f, "warn lost-lines={lines}"),
            Self::Warning(warning) => write!(f, "warn {warning}"),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(text) => f.write_str(text),
            Self::User => f.write_str("user: it changes at a restart only"),
            Self::Kernel(what, error) => write!(f, "kernel lacks {what}: {error}"),
            Self::Log(path, error) => {
                write!(f, "log {}: {error}; the old one stays", path.display())
            }
            Self::FileKept(text) => write!(f, "{text}; the old one stays"),
            Self::NoState(path, error) => write!(
                f,
                "state {}: {error}; bans do not outlive a restart",
                path.display()
            ),
            Self::NoControl(path, why) => write!(
                f,
                "control {}: {why}; there is no `shimmer status`",
                path.display()
            ),
            Self::JournalUnread(path, error) => {
                write!(f, "{}: {error}; what it names stays open", path.display())
            }
            Self::StateUnread(path, error) => write!(f, "state {}: {error}", path.display()),
            Self::StateSetAside(path, aside) => write!(
                f,
                "state {} is damaged; it is now {}",
                path.display(),
                aside.display()
            ),
            Self::StateDamaged(path, error) => {
                write!(f, "state {} is damaged, and stays: {error}", path.display())
            }
            Self::StateNotWritten(error) => write!(f, "state was not written: {error}"),
            Self::Deaf(error) => write!(f, "knocks are not seen: {error}"),
            Self::KnockPortsOpen(what) => f.write_str(what),
        }
    }
}

/// Whom something is open for, as the log has it.
impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) | Self::Element(address) => write!(f, "source={address}"),
            Self::Service => f.write_str("service"),
        }
    }
}

/// ` port=10443`, or nothing.
struct Port(Option<u16>);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |port| write!(f, " port={port}"))
    }
}

/// ` clock-off=7m`, or `-90s` for a clock that is behind; nothing for one that is right.
struct ClockOff(i64);

impl fmt::Display for ClockOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (off, unit) = match self.0 {
            0 => return Ok(()),
            off if off % 3_600 == 0 => (off / 3_600, 'h'),
            off if off % 60 == 0 => (off / 60, 'm'),
            off => (off, 's'),
        };
        write!(f, " clock-off={off}{unit}")
    }
}

#[cfg(test)]
mod tests;
