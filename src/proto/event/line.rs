//! An event as a line of the log: `verb key=value …`. Programs read verbs and keys.

use super::{DatagramRefusal, Event, UnbanCause, Warning};
use crate::limits::{LOG_WINDOW_MS, NONCES, SENSED_PER_SECOND};
use crate::proto::gates::Gate;
use crate::proto::nonces::Past;
use crate::proto::settings::MirageSettings;
use crate::terms::Door;
use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept {
                mirage,
                peer,
                port,
                client_address,
                times,
            } => {
                let port = Port(*port);
                write!(f, "accept mirage={mirage} source={peer}{port}")?;
                if let Some(address) = client_address {
                    write!(f, " client-address={address}")?;
                }
                match times {
                    1 => Ok(()),
                    times => write!(f, " times={times}"),
                }
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
                "close mirage={mirage} source={peer}{} bytes-in={bytes_in} bytes-out={bytes_out} \
                 seconds={seconds} end={end}",
                Port(*port)
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
                let (port, what) = (Port(*port), what.word());
                write!(f, "full source={peer}{port} reason={what}")
            }
            Self::DoorsFull { mirage, peer, what } => {
                let what = what.word();
                write!(f, "full mirage={mirage} source={peer} reason={what}")
            }
            Self::BansFull { bans } => write!(
                f,
                "warn the ban list is full, bans={bans}: the oldest bans make room"
            ),
            Self::NoncesFull { mirage, peer } => write!(
                f,
                "warn mirage={mirage} source={peer} has its share of the {NONCES} places for used \
                 tokens: its new ones are refused until these minutes are over"
            ),
            Self::Open {
                mirage,
                open_for,
                seconds,
            } => write!(f, "open mirage={mirage} {open_for} seconds={seconds}"),
            Self::Shut { mirage, open_for } => write!(f, "shut mirage={mirage} {open_for}"),
            Self::PacketsLost { packets } => write!(
                f,
                "warn the silent gates are flooded, lost-packets={packets}: they take \
                 {SENSED_PER_SECOND} packets a second"
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
                    DatagramRefusal::Clock(off) => write!(f, "clock off={off}s"),
                    DatagramRefusal::Replayed => f.write_str("replayed"),
                    DatagramRefusal::Forgotten => f.write_str("forgotten"),
                    DatagramRefusal::NoAddress => f.write_str("no-address"),
                    DatagramRefusal::Address => f.write_str("address"),
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
                open_for,
                key,
                outcome,
            } => write!(
                f,
                "error mirage={mirage} {open_for} {key}-command: {outcome}"
            ),
            Self::WrongFamily { mirage, peer, why } => {
                write!(f, "error mirage={mirage} source={peer} {why}")
            }
            Self::ElementTooLate {
                mirage,
                peer,
                is_addition,
            } => {
                let what = if *is_addition {
                    "add it to the set"
                } else {
                    "take it out of the set"
                };
                write!(
                    f,
                    "error mirage={mirage} source={peer} nft: it took too long to {what}"
                )
            }
            Self::SetFailing { set, why } => write!(f, "error nft {set}: {why}; retrying"),
            Self::ElementsMissing { elements } => write!(
                f,
                "warn nft missing={elements}: somebody else has changed the firewall; \
                 putting them back"
            ),
            Self::RulesGone { mirage, why } => write!(
                f,
                "error mirage={mirage} rules=gone {why}; to load them: shimmer firewall | nft -f -"
            ),
            Self::RulesBack { mirage } => write!(f, "rules mirage={mirage} state=back"),
            Self::RulesStay => f.write_str(
                "rules state=stay the ports behind door = nft stay closed; to open them to \
                 everybody: shimmer firewall --remove | nft -f -",
            ),
            Self::Rotate {
                mirage,
                open,
                opened,
                closed,
            } => write!(
                f,
                "rotate mirage={mirage} open={open} opened={opened} closed={closed}"
            ),
            Self::Listen { mirage, open } => write_listen(f, mirage, *open),
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
                write!(f, "error knock at {hop} cannot listen: {error}")
            }
            Self::Start { guards_files } => {
                f.write_str("start sandbox=on")?;
                f.write_str(if *guards_files { "" } else { " landlock=no" })
            }
            Self::StartOpen { reason } => write!(f, "start sandbox=off reason={reason}"),
            Self::Reload { mirages, dropped } => {
                write!(f, "reload mirages={mirages} dropped={dropped}")
            }
            Self::ReloadFailed { error } => write!(f, "error reload: {error}"),
            Self::LeftOpen { open } => write!(f, "error open={open} doors could not be closed"),
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
            Self::Orphan { mirage, open_for } => write!(
                f,
                "error mirage={mirage} {open_for} is open, and no mirage of this name has a close-command for it; \
                 it stays recorded until one has"
            ),
            Self::OpeningsLoaded { open } => write!(f, "state open={open}"),
            Self::RedirectMissing { mirage, port } => write!(
                f,
                "warn mirage={mirage} a connection came to pool-port {port} directly: the redirect is \
                 missing; `shimmer firewall` prints it"
            ),
            Self::NotRecorded { path, error } => write!(
                f,
                "error {}: {error}; what can't be recorded here is not opened",
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
            Self::NoClientAddress(address, error) => write!(
                f,
                "client-address {address}: {error}; services see 127.0.0.1 for all visitors"
            ),
            Self::Restart(key) => write!(f, "{key}: a change takes effect after a restart"),
            Self::CallRefused(call) => write!(
                f,
                "sandbox: system call {call} is not on the daemon's list and has failed; please report it"
            ),
            Self::Kernel(what, error) => write!(f, "kernel lacks {what}: {error}"),
            Self::Log(path, error) => {
                write!(
                    f,
                    "log {}: {error}; the old one stays in use",
                    path.display()
                )
            }
            Self::FileKept(text) => write!(f, "{text}; the old one stays in use"),
            Self::NoState(path, error) => write!(
                f,
                "state {}: {error}; bans will not survive a restart",
                path.display()
            ),
            Self::NoControl(path, why) => write!(
                f,
                "control {}: {why}; `shimmer status` will not work",
                path.display()
            ),
            Self::JournalUnread(path, why, moved) => {
                write_set_aside(f, path, why, moved)?;
                f.write_str("; the doors it names stay open")
            }
            Self::StateUnread(path, error) => write!(f, "state {}: {error}", path.display()),
            Self::StateSetAside(path, aside) => write!(
                f,
                "state {} is damaged; it is now {}",
                path.display(),
                aside.display()
            ),
            Self::StateDamaged(path, error) => {
                write!(
                    f,
                    "state {} is damaged and cannot be renamed: {error}",
                    path.display()
                )
            }
            Self::SetAside(path, why, moved) => write_set_aside(f, path, why, moved),
            Self::UsedUnknown(path, past) => {
                match path {
                    Some(path) => write!(f, "{}", path.display())?,
                    None => f.write_str("state-file = none")?,
                }
                f.write_str(match past {
                    Past::Known | Past::Missing if path.is_none() => "",
                    Past::Known | Past::Missing => " is missing",
                    Past::Damaged => " is damaged",
                    Past::OtherBoot => " is of an earlier boot",
                })?;
                f.write_str(
                    ": tokens and datagrams that may have been used before the start are refused, \
                     for two windows at most",
                )
            }
            Self::UsedNotKept(path, error) => write!(
                f,
                "{}: {error}; it is removed, and after a restart nobody gets in with a token or a \
                 datagram for up to two windows",
                path.display()
            ),
            Self::StateNotWritten(error) => write!(f, "state was not written: {error}"),
            Self::SensorFailed(error) => write!(f, "knocks are not seen: {error}"),
            Self::KnockPortsOpen(what) => f.write_str(what),
        }
    }
}

/// What is served, and how.
fn write_listen(f: &mut fmt::Formatter<'_>, mirage: &MirageSettings, open: usize) -> fmt::Result {
    write!(f, "listen mirage={}", mirage.section)?;
    if let Some(range) = mirage.range() {
        write!(f, " range={}-{}", range.low(), range.high())?;
    }
    if mirage.listens() {
        write!(f, " open={open}")?;
    }
    match &mirage.door {
        Door::Forward(forward) => write!(f, " forward={}", forward.to)?,
        door => write!(f, " door={}", door.word())?,
    }
    match mirage.gate() {
        Gate::Port => {}
        gate => write!(f, " gate={}", gate.word())?,
    }
    match mirage.pool_port {
        Some(port) => write!(f, " pool-port={port}"),
        None => Ok(()),
    }
}

/// ` port=10443`, or nothing.
struct Port(Option<u16>);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |port| write!(f, " port={port}"))
    }
}

/// ` clock-off=7m`, or `-90s` for a clock that is behind; nothing for a clock that is right.
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

fn write_set_aside(
    f: &mut fmt::Formatter<'_>,
    path: &Path,
    why: &io::Error,
    moved: &Result<PathBuf, io::Error>,
) -> fmt::Result {
    write!(f, "{}: {why}; it is not used, and ", path.display())?;
    match moved {
        Ok(aside) => write!(f, "is now {}", aside.display()),
        Err(error) => write!(f, "cannot be renamed: {error}"),
    }
}
