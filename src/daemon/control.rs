//! The control socket: what `shimmer status`, `ban` and `unban` ask.
//!
//! One line in, one JSON object out, and the connection is closed. A few may ask at once, and each has
//! some seconds. A long answer is made and sent a piece a turn, so that no session waits for it; what
//! changes meanwhile is in it or is not.
//!
//! ```text
//!   status                     everything, but no port of now or later
//!   status ports               the same with the ports
//!   status ADDRESS             what would happen to it
//!   ban ADDRESS, unban ADDRESS, unban all
//! ```
//!
//! What an answer looks like is in [`crate::status`].

use super::accept::is_out_of_descriptors;
use super::door::Whom;
use super::event::{Event, UnbanCause, Warning};
use super::host::Host;
use super::reload::Mirage;
use super::table::{Id, Table, Vacant};
use super::wake::Wake;
use super::{Daemon, Failure};
use crate::config::{DEFAULT_CONTROL, Location, OwnerHint};
use crate::limits::{ANSWER_BYTES, ASK_MS, ASKED_BYTES, ASKERS, BANS, NONCES, RETRY_MS};
use crate::proto::Instant;
use crate::proto::bans::{Ban, Why};
use crate::proto::gates;
use crate::proto::gates::{Verdict, Visitor};
use crate::proto::source::{self, Source};
use crate::status::{
    self, BanRow, Banned, CounterList, DoorRow, ForecastRow, MirageRow, PlacesRow, Refusal,
    SessionRow, Unbanned,
};
use crate::sys::local;
use core::fmt;
use core::net::IpAddr;
use mio::Interest;
use mio::unix::SourceFd;
use rustix::fs::Mode;
use rustix::process::umask;
use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Somebody who asks.
pub struct Asker {
    stream: UnixStream,
    until: Instant,
    asked: heapless::Vec<u8, ASKED_BYTES>,
    answer: Option<Answer>,
}

/// An answer on its way: what is made of it and not yet sent, and how to go on.
struct Answer {
    text: String,
    sent: usize,
    rest: Rest,
}

/// Where the making of a long answer stands.
#[derive(Clone, Copy)]
enum Rest {
    Mirages(usize, Ports),
    Sessions(usize),
    Bans(usize),
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
    Shown,
    Hidden,
}

/// The socket, and who asks.
pub struct Control {
    listener: Option<(UnixListener, PathBuf)>,
    askers: Table<Asker>,
    /// Somebody's answer goes on in the next turn.
    pub is_due: bool,
    /// When those are looked at again who could not be accepted.
    again: Option<Instant>,
}

impl Control {
    /// No socket yet.
    pub fn new() -> Self {
        Self {
            listener: None,
            askers: Table::new(ASKERS),
            is_due: false,
            again: None,
        }
    }

    /// When somebody has taken too long, or those at the socket are looked at again.
    pub fn next_deadline(&self) -> Option<Instant> {
        let mut soonest = self.again;
        for (_, asker) in self.askers.iter() {
            soonest = super::sooner(soonest, Some(asker.until));
        }
        soonest
    }

    /// Sends those away who have taken too long.
    pub fn expire(&mut self, now: Instant) {
        if self.again.take_if(|again| *again <= now).is_some() {
            self.is_due = true;
        }
        loop {
            let over = self.askers.iter().find(|(_, asker)| asker.until <= now);
            let Some((id, _)) = over else { break };
            self.askers.remove(id);
        }
    }

    /// Takes the socket out of the file system.
    pub fn close(&mut self) {
        if let Some((_, path)) = self.listener.take() {
            let _ = fs::remove_file(&path);
        }
    }

    fn path(&self) -> Option<&Path> {
        self.listener.as_ref().map(|(_, path)| path.as_path())
    }

    fn accept(&self) -> io::Result<UnixStream> {
        let (listener, _) = self.listener.as_ref().ok_or(io::ErrorKind::WouldBlock)?;
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// A place for the next; where all are taken, the one who has been there longest goes for it.
    fn vacate(&mut self) -> Option<Vacant<'_, Asker>> {
        if self.askers.len() >= ASKERS {
            let oldest = self.askers.iter().min_by_key(|(_, asker)| asker.until);
            let oldest = oldest.map(|(id, _)| id);
            oldest.map(|id| self.askers.remove(id));
        }
        self.askers.vacancy()
    }
}

/// Makes the socket, for its owner alone. What a daemon that was killed has left there goes.
fn bind(path: &Path) -> Result<UnixListener, String> {
    if let Some(folder) = path.parent() {
        // Where it fails, the binding says why.
        let _ = DirBuilder::new().mode(0o755).create(folder);
    }
    if let Ok(about) = fs::symlink_metadata(path) {
        if !about.file_type().is_socket() {
            return Err("is there already, and no socket".into());
        }
        // A queue that is full is one that somebody has; and the loop must not wait for him.
        match local::connect(path, 1) {
            Ok(_) => return Err("another daemon listens there; give each its own".into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err("another daemon listens there; give each its own".into());
            }
            Err(_) => {}
        }
        let _ = fs::remove_file(path);
    }
    let listener = with_private_files(|| UnixListener::bind(path));
    let listener = listener.map_err(|ref error| format!("{error}{}", OwnerHint { path, error }))?;
    let prepared = listener.set_nonblocking(true);
    prepared.map_err(|error| error.to_string())?;
    Ok(listener)
}

/// Calls `make`, and only their owner can use the files that it creates (umask(2)).
fn with_private_files<T>(make: impl FnOnce() -> T) -> T {
    let before = umask(Mode::from_raw_mode(0o177));
    let made = make();
    umask(before);
    made
}

fn error(what: fmt::Arguments<'_>) -> String {
    let error = Some(what.to_string());
    status::answer(&Refusal { error })
}

impl<H: Host> Daemon<H> {
    /// Opens the control socket of a configuration, in place of the one that is open.
    ///
    /// # Errors
    /// It can't be made where it was asked for. Where the usual one can't, the log has a warning.
    pub(super) fn take_control(&mut self, wanted: &Location) -> Result<(), Failure> {
        let path = wanted.path(DEFAULT_CONTROL);
        // Who has taken our socket away, wants another.
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        // By its name; to compare its parts is a kilobyte of code.
        let is_ours = path.map(Path::as_os_str) == self.control.path().map(Path::as_os_str);
        if is_ours && path.is_none_or(is_there) {
            return Ok(());
        }
        if is_ours {
            self.control.listener = None;
        }
        let Some(path) = path else {
            self.control.close();
            return Ok(());
        };
        match bind(path) {
            Ok(listener) => {
                self.control.close();
                let descriptor = listener.as_raw_fd();
                let mut source = SourceFd(&descriptor);
                let registry = self.poll.registry();
                registry
                    .register(&mut source, Wake::Control.into(), Interest::READABLE)
                    .map_err(Failure::Host)?;
                self.control.listener = Some((listener, path.to_path_buf()));
                Ok(())
            }
            Err(why) if *wanted == Location::Default && self.common.user.is_none() => {
                let warning = Warning::NoControl(path.to_path_buf(), why);
                self.log.write(&Event::Warning(warning));
                Ok(())
            }
            Err(why) => Err(Failure::Control(path.to_path_buf(), why)),
        }
    }

    /// Takes those who want to ask.
    pub(super) fn accept_askers(&mut self) {
        // As many as there can be; who is behind them finds the socket again.
        for _ in 0..ASKERS {
            let stream = match self.control.accept() {
                Ok(stream) => stream,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => continue,
                    // Nobody asks more urgently than when there are no descriptors left.
                    _ if is_out_of_descriptors(&error) && self.free_a_descriptor() => continue,
                    // The kernel will not tell of this one again.
                    _ => {
                        self.control.again = Some(self.now.boot.after(RETRY_MS));
                        return;
                    }
                },
            };
            let Some(vacant) = self.control.vacate() else {
                continue;
            };
            let descriptor = stream.as_raw_fd();
            let mut source = SourceFd(&descriptor);
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            if registry
                .register(&mut source, Wake::Asker(vacant.id()).into(), interest)
                .is_ok()
            {
                let asker = Asker {
                    stream,
                    until: self.now.boot.after(ASK_MS),
                    asked: heapless::Vec::new(),
                    answer: None,
                };
                vacant.insert(asker);
            }
        }
        self.control.is_due = true;
    }

    /// Goes on with all who have more to be told, or who may wait at the socket unseen.
    pub(super) fn go_on_with_askers(&mut self) {
        if core::mem::take(&mut self.control.is_due) {
            let askers: heapless::Vec<Id<Asker>, ASKERS> =
                self.control.askers.iter().map(|(id, _)| id).collect();
            for id in askers {
                self.drive_asker(id);
            }
            self.accept_askers();
        }
    }

    /// Hears what one asks, and tells as much as one turn may.
    pub(super) fn drive_asker(&mut self, id: Id<Asker>) {
        let Some(asker) = self.control.askers.get_mut(id) else {
            return;
        };
        if asker.answer.is_none() {
            let Some(line) = asker.hear() else { return };
            let answer = self.answer(&line);
            if let Some(asker) = self.control.askers.get_mut(id) {
                asker.answer = Some(answer);
            }
        }
        let asker = self.control.askers.get_mut(id);
        let Some((stream, answer)) = asker.and_then(Asker::telling) else {
            return;
        };
        while let Some(unsent) = answer.text.as_bytes().get(answer.sent..)
            && !unsent.is_empty()
        {
            match stream.write(unsent) {
                Ok(sent) => answer.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return drop(self.control.askers.remove(id)),
            }
        }
        let rest = answer.rest;
        if let Rest::Nothing = rest {
            self.control.askers.remove(id);
            return;
        }
        let next = self.go_on_answering(rest);
        if let Some(asker) = self.control.askers.get_mut(id) {
            asker.answer = Some(next);
        }
        self.control.is_due = true;
    }

    fn answer(&mut self, line: &str) -> Answer {
        let mut words = line.split_ascii_whitespace();
        let (what, whom) = (words.next().unwrap_or_default(), words.next());
        let text = match (what, whom, words.next()) {
            ("status", None, None) => return self.begin_status(Ports::Hidden),
            ("status", Some("ports"), None) => return self.begin_status(Ports::Shown),
            ("unban", Some("all"), None) => self.unban_all(),
            ("status" | "ban" | "unban", Some(whom), None) => match address(whom) {
                None => error(format_args!("not an address such as 192.0.2.7")),
                Some(address) if what == "status" => self.forecast(address),
                Some(address) if what == "ban" => self.ban_by_hand(address),
                Some(address) => self.unban_by_hand(address),
            },
            _ => error(format_args!(
                "unknown request; there are status, ban and unban"
            )),
        };
        let (sent, rest) = (0, Rest::Nothing);
        Answer { text, sent, rest }
    }

    fn begin_status(&mut self, ports: Ports) -> Answer {
        if let Some(sensor) = &mut self.sensor {
            let counts = sensor.counts();
            self.counters.sensed = counts.sensed;
            self.counters.lost_packets = counts.lost;
        }
        let now = self.now;
        let up_s = now.boot.since(self.started) / 1_000;
        let (unix, version) = (now.unix(), env!("CARGO_PKG_VERSION"));
        let since = unix.saturating_sub(up_s);
        let clock = match self.clock.believed(now) {
            Some(_) => "right",
            None => "waiting",
        };
        let mut text = String::new();
        status::begin(&mut text);
        status::push_field(&mut text, "version", &version);
        status::push_field(&mut text, "since", &since);
        status::push_field(&mut text, "now", &unix);
        status::push_field(&mut text, "clock", &clock);
        status::begin_list(&mut text, "mirages");
        let (sent, rest) = (0, Rest::Mirages(0, ports));
        Answer { text, sent, rest }
    }

    /// Makes the next piece of a long answer.
    fn go_on_answering(&self, rest: Rest) -> Answer {
        let mut text = String::with_capacity(2 * ANSWER_BYTES);
        let rest = match rest {
            Rest::Mirages(place, ports) => self.tell_mirages(&mut text, place, ports),
            Rest::Sessions(place) => self.tell_sessions(&mut text, place),
            Rest::Bans(place) => self.tell_bans(&mut text, place),
            Rest::Nothing => Rest::Nothing,
        };
        let sent = 0;
        Answer { text, sent, rest }
    }

    fn tell_mirages(&self, text: &mut String, from: usize, ports: Ports) -> Rest {
        let unix = self.now.unix();
        for (number, mirage) in self.mirages.iter().enumerate().skip(from) {
            if text.len() >= ANSWER_BYTES {
                return Rest::Mirages(number, ports);
            }
            status::push_row(text, number == 0, &self.mirage_row(mirage, unix, ports));
        }
        status::end_list(text);
        status::begin_list(text, "sessions");
        Rest::Sessions(0)
    }

    fn mirage_row(&self, mirage: &Mirage, unix: u64, ports: Ports) -> MirageRow {
        let config = &mirage.config;
        let gate = config.gate();
        let listen = if config.pool_port.is_some() {
            "pool"
        } else {
            "ports"
        };
        let pattern = config.keyed.as_ref().map(|keyed| keyed.pattern);
        let range = pattern.map(|pattern| pattern.range());
        let shows_ports = ports == Ports::Shown && mirage.schedule.is_some();
        // At a silent gate they are open while somebody is let in.
        let open = || match mirage.is_listening() {
            true => mirage.plan.ports().to_vec(),
            false => Vec::new(),
        };
        MirageRow {
            mirage: config.section.to_string(),
            name: Some(config.plain.name.to_string()),
            gate: Some(gate.word().to_owned()),
            door: config.door.word().to_owned(),
            forward: config.forward().map(|forward| forward.to.to_string()),
            listen: (!gate.is_silent()).then(|| listen.to_owned()),
            range: range.map(|range| format!("{}-{}", range.low(), range.high())),
            period: pattern.map(|pattern| pattern.period()),
            minute: pattern.map(|pattern| pattern.minute(unix)),
            open: config.listens().then(|| self.count_open(mirage) as u32),
            real: shows_ports.then(|| mirage.plan.reals().to_vec()),
            ports: shows_ports.then(open),
        }
    }

    fn tell_sessions(&self, text: &mut String, from: usize) -> Rest {
        let sessions = self.sessions.iter_from(from);
        let mut is_first = from == 0;
        for (id, session) in sessions {
            if text.len() >= ANSWER_BYTES {
                return Rest::Sessions(id.slot());
            }
            let (bytes_in, bytes_out) = session.moved();
            let row = SessionRow {
                source: session.who.peer.to_string(),
                mirage: session.who.mirage.to_string(),
                bytes_in,
                bytes_out,
                age: self.now.boot.since(session.who.since) / 1_000,
            };
            status::push_row(text, is_first, &row);
            is_first = false;
        }
        // Of doors that are open there are few.
        status::end_list(text);
        status::begin_list(text, "doors");
        self.tell_open_doors(text);
        status::end_list(text);
        status::begin_list(text, "bans");
        Rest::Bans(0)
    }

    /// What is open for an address, by a port or by a command.
    fn tell_open_doors(&self, text: &mut String) {
        let now = self.now.boot;
        let mut is_first = true;
        let mut tell = |whom: fmt::Arguments<'_>, mirage: &str, ms: u64| {
            let row = DoorRow {
                source: whom.to_string(),
                mirage: mirage.to_owned(),
                seconds: ms.div_ceil(1_000),
            };
            status::push_row(text, core::mem::take(&mut is_first), &row);
        };
        for mirage in &self.mirages {
            for (address, until) in mirage.admitted.iter() {
                tell(format_args!("{address}"), &mirage.label, until.since(now));
            }
        }
        for opening in self.openings.iter().filter(|opening| opening.is_open()) {
            let (mirage, ms) = (&opening.mirage, opening.stays_ms(now));
            match opening.whom {
                Whom::Address(address) | Whom::Element(address) => {
                    tell(format_args!("{address}"), mirage, ms);
                }
                Whom::Service => tell(format_args!("service"), mirage, ms),
            }
        }
    }

    fn tell_bans(&self, text: &mut String, from: usize) -> Rest {
        let mut is_first = from == 0;
        for (behind, ban) in self.bans.from(from) {
            if text.len() >= ANSWER_BYTES {
                return Rest::Bans(behind - 1);
            }
            status::push_row(text, is_first, &self.ban_row(&ban));
            is_first = false;
        }
        status::end_list(text);
        self.tell_counts(text);
        self.tell_places(text);
        status::end(text);
        Rest::Nothing
    }

    fn ban_row(&self, ban: &Ban) -> BanRow {
        BanRow {
            source: ban.source.to_string(),
            seconds: self.bans.seconds_left(ban, self.now.boot),
            why: ban.why.word().to_owned(),
            attempts: ban.attempts,
        }
    }

    fn tell_counts(&self, text: &mut String) {
        let counters = &self.counters;
        let list = [
            ("visitors", counters.visitors),
            ("accepted", counters.accepted),
            ("banned", counters.banned),
            ("refused", counters.refused),
            ("held", counters.held),
            ("good_tokens", counters.good_tokens),
            ("bad_tokens", counters.bad_tokens),
            ("turned_away", counters.turned_away),
            ("passed", counters.passed),
            ("sensed", counters.sensed),
            ("lost_packets", counters.lost_packets),
        ];
        let list = list.map(|(name, count)| (name.to_owned(), count)).into();
        status::push_field(text, "counters", &CounterList(list));
    }

    fn tell_places(&self, text: &mut String) {
        let row = |of: &str, mirage: Option<&str>, taken: usize, places: usize| PlacesRow {
            of: of.to_owned(),
            mirage: mirage.map(str::to_owned),
            taken: taken as u64,
            places: places as u64,
            full: taken >= places,
        };
        status::begin_list(text, "places");
        for (is_first, row) in [
            (
                true,
                row("sessions", None, self.sessions.len(), self.most_sessions()),
            ),
            (
                false,
                row("traps", None, self.traps.len(), self.traps.capacity()),
            ),
            (false, row("bans", None, self.bans.len(), BANS)),
        ] {
            status::push_row(text, is_first, &row);
        }
        for mirage in &self.mirages {
            if let Some(used) = mirage.used {
                let taken = self.used[used].nonces.len();
                let row = row("nonces", Some(&mirage.label), taken, NONCES);
                status::push_row(text, false, &row);
            }
        }
        status::end_list(text);
    }

    /// What would happen to somebody at each mirage.
    fn forecast(&self, address: IpAddr) -> String {
        let source = Source::of(address);
        let sessions = self.sources.get(&source).sessions;
        let mut text = String::new();
        status::begin(&mut text);
        status::push_field(&mut text, "source", &source.to_string());
        status::push_beside(&mut text, "sessions", &sessions);
        status::begin_list(&mut text, "bans");
        if let Some(ban) = self.bans.get(source, self.now.boot) {
            status::push_row(&mut text, true, &self.ban_row(&ban));
        }
        status::end_list(&mut text);
        status::begin_list(&mut text, "mirages");
        for (number, mirage) in self.mirages.iter().enumerate() {
            let visitor = self.visitor(number, address);
            let is_settled = mirage.settled_at <= self.now.boot;
            let gate = mirage.config.gate();
            let right = gates::judge(gate.key(), visitor, is_settled);
            let wrong = gates::judge(gate.guess(), visitor, is_settled);
            let row = ForecastRow {
                mirage: mirage.label.to_string(),
                gate: gate.word().to_owned(),
                right: right.word().to_owned(),
                wrong: wrong.word().to_owned(),
                why: why(visitor, right, wrong).to_owned(),
            };
            status::push_row(&mut text, number == 0, &row);
        }
        status::end_list(&mut text);
        status::end(&mut text);
        text
    }

    fn ban_by_hand(&mut self, address: IpAddr) -> String {
        let is_allowed = |network: &source::Network| network.contains(address);
        if self.common.allow.iter().any(is_allowed) {
            return error(format_args!("{address} is in allow, and is never banned"));
        }
        let (source, seconds) = (Source::of(address), self.common.ban_s);
        self.log.write(&Event::BanByHand { source, seconds });
        self.ban(source, Why::Hand);
        status::answer(&Banned {
            ok: "banned".to_owned(),
            source: source.to_string(),
            seconds: seconds.into(),
        })
    }

    fn unban_by_hand(&mut self, address: IpAddr) -> String {
        let lifted = self.bans.lift(Source::of(address));
        let count = usize::from(lifted.is_some());
        if let Some(ban) = lifted {
            let by = UnbanCause::Hand;
            self.log.write(&Event::Unban { ban, by });
        }
        unbanned(count)
    }

    fn unban_all(&mut self) -> String {
        let count = self.bans.len();
        self.bans.clear();
        self.log.write(&Event::UnbanAll { bans: count });
        unbanned(count)
    }
}

fn unbanned(count: usize) -> String {
    status::answer(&Unbanned {
        ok: "unbanned".to_owned(),
        count: count as u64,
    })
}

/// What an answer has for its reason.
fn why(visitor: Visitor, right: Verdict, wrong: Verdict) -> &'static str {
    match wrong {
        Verdict::Refuse { .. } => "banned",
        Verdict::Hold(reason) if right == Verdict::Admit => reason.word(),
        _ if !visitor.is_welcome => "from",
        Verdict::Hold(reason) => reason.word(),
        // At a silent gate a ban means nothing.
        Verdict::Ignore => "stranger",
        _ if visitor.is_banned => "banned",
        _ => "stranger",
    }
}

/// An address, or what the list of bans has for one: 2001:db8:1:2::/64.
fn address(text: &str) -> Option<IpAddr> {
    let address = text.strip_suffix("/64").unwrap_or(text);
    address.parse().ok().map(source::canonical)
}

impl Asker {
    /// The line that was asked, once it is whole. What there is no room for is passed over: it is no
    /// question, and will be told so.
    fn hear(&mut self) -> Option<String> {
        let mut heard = [0; 4 * ASKED_BYTES];
        // More than that nobody has to say.
        for _ in 0..ASKED_BYTES {
            let heard = match self.stream.read(&mut heard) {
                Ok(length) => &heard[..length],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => &[],
            };
            let line = heard.split(|&byte| byte == b'\n').next().unwrap_or(heard);
            let is_whole = line.len() < heard.len() || heard.is_empty();
            for &byte in line {
                // The last byte that there is room for tells a line that is too long.
                let _ = self.asked.push(byte);
            }
            if is_whole {
                break;
            }
        }
        let line = str::from_utf8(&self.asked).unwrap_or_default();
        Some(if self.asked.is_full() { "" } else { line }.to_owned())
    }

    fn telling(&mut self) -> Option<(&mut UnixStream, &mut Answer)> {
        let answer = self.answer.as_mut()?;
        Some((&mut self.stream, answer))
    }
}
