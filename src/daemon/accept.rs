//! A visitor comes: the scheme judges, and this performs the verdict.

use super::Daemon;
use super::host::Host;
use super::listeners::PortId;
use super::reload::Mirage;
use super::session::{Arrival, Session};
use super::wake::{Side, Wake};
use crate::config::Level;
use crate::limits::{BACKLOG, RETRY_MS, TELL_FULL_MS, TURN_ACCEPTS};
use crate::log::Cause;
use crate::scheme::Instant;
use crate::scheme::blacklist::Touch;
use crate::scheme::gate::{self, Reason, Verdict, Visitor};
use crate::scheme::source::{self, Source};
use crate::sys::socket;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use mio::Interest;
use mio::unix::SourceFd;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// One who has come to a port.
struct Guest {
    socket: OwnedFd,
    peer: IpAddr,
    source: Source,
    port: u16,
    mirage: usize,
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

/// ` port=10443`, or nothing.
struct Port(Option<u16>);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |port| write!(f, " port={port}"))
    }
}

/// How the log names a port that was touched: the port, and by how much a clock is off for which it
/// is the real one. One that is still to be the real one is not named, or the log would say where
/// and when the door will be.
fn clock_and_port(mirage: &Mirage, port: u16) -> (Port, ClockOff) {
    let schedule = &mirage.schedule;
    let port_to_name = (!schedule.is_to_come(port)).then_some(port);
    (
        Port(port_to_name),
        ClockOff(schedule.clock_off(port).unwrap_or(0)),
    )
}

impl<H: Host> Daemon<H> {
    /// Takes the visitors of a port, as many as one port may in a turn.
    pub(super) fn accept(&mut self, id: PortId) {
        self.accept_up_to(id, TURN_ACCEPTS);
    }

    /// Takes all who wait at a port that is about to close, or to change what it is.
    pub(super) fn accept_all(&mut self, id: PortId) {
        // The kernel keeps one more than it was told.
        self.accept_up_to(id, BACKLOG as usize + 1);
    }

    fn accept_up_to(&mut self, id: PortId, most: usize) {
        for _ in 0..most {
            let mut accepted = self.listeners.accept(id);
            if accepted.as_ref().is_err_and(is_out_of_descriptors) {
                accepted = self.accept_with_the_spare(id);
            }
            match accepted {
                Ok((socket, peer)) => self.receive(id, socket, peer),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // No memory, or nothing that helps now. The kernel will not tell of this
                    // visitor again, so we remember.
                    _ => return self.accept_later(id, self.now.boot.after(RETRY_MS)),
                },
            }
        }
        self.accept_later(id, self.now.boot);
    }

    fn accept_later(&mut self, id: PortId, when: Instant) {
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.is_behind = true;
            self.accept_again = Some(self.accept_again.map_or(when, |again| again.min(when)));
        }
    }

    /// Looks at the ports again whose visitors could not be taken.
    pub(super) fn accept_left_over(&mut self) {
        self.accept_again = None;
        let behind = self.listeners.iter().filter(|listener| listener.is_behind);
        let behind: Vec<PortId> = behind.map(|listener| listener.id).collect();
        for id in behind {
            if let Some(listener) = self.listeners.get_mut(id) {
                listener.is_behind = false;
            }
            self.accept(id);
        }
    }

    /// No descriptor is left, which the kernel says before it looks whether anybody waits. The spare
    /// one finds out. Then a pipe or a trap gives its own up; if there is none, the visitor is sent
    /// away.
    fn accept_with_the_spare(&mut self, id: PortId) -> io::Result<(OwnedFd, SocketAddr)> {
        drop(self.spare.take());
        let accepted = self.listeners.accept(id);
        let is_short = accepted.is_ok() && !self.free_a_descriptor();
        let accepted = match accepted {
            Ok((socket, peer)) if is_short => {
                drop(socket);
                self.tell_full(id, source::canonical(peer.ip()), "descriptors");
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            other => other,
        };
        self.spare = std::fs::File::open("/dev/null").ok();
        accepted
    }

    /// Gives up what can best be done without: pipes that nobody has, then a trap's visitor.
    fn free_a_descriptor(&mut self) -> bool {
        if self.pipes.shed() {
            return true;
        }
        let place = self.traps.greediest();
        place.inspect(|&place| self.traps.release(place)).is_some()
    }

    /// Dials a service. A visitor who may come in is worth more than one in a trap.
    fn dial(&mut self, service: SocketAddr) -> io::Result<OwnedFd> {
        loop {
            let dialled = socket::dial(service);
            if !dialled.as_ref().is_err_and(is_out_of_descriptors) || !self.free_a_descriptor() {
                return dialled;
            }
        }
    }

    fn receive(&mut self, id: PortId, socket: OwnedFd, peer: SocketAddr) {
        let Some(mirage) = self.listeners.get_mut(id).map(|listener| listener.mirage) else {
            return;
        };
        let peer = source::canonical(peer.ip());
        let guest = Guest {
            socket,
            peer,
            source: Source::of(peer),
            port: id.port(),
            mirage,
        };
        let (sessions, forgiven) = self.sessions_of(guest.source);
        let mirage = &self.mirages[mirage];
        let from = &mirage.config.from;
        let visitor = Visitor {
            source: guest.source,
            is_allowed: self
                .common
                .allow
                .iter()
                .any(|network| network.contains(peer)),
            is_welcome: from.is_empty() || from.iter().any(|network| network.contains(peer)),
            forgiven: (sessions > 0).then_some(forgiven),
        };
        let role = mirage.plan.role(guest.port);
        let is_settled = mirage.settled_at <= self.now.boot;
        match gate::judge(role, visitor, is_settled, &mut self.bans, self.now.boot) {
            Verdict::Admit if sessions >= self.most_sessions_per_source() => {
                self.tell_full(id, guest.peer, "source");
            }
            Verdict::Admit => self.admit(id, guest, forgiven),
            Verdict::Hold(reason) => {
                if reason == Reason::Forgiven {
                    self.forgive(guest.source);
                }
                self.tell_held(&guest, reason);
                self.hold(guest);
            }
            Verdict::Ban(touch) => {
                self.tell_ban(&guest);
                if let Touch::BannedInsteadOf(ban) = touch {
                    self.tell_unban(ban);
                    self.tell_bans_full();
                }
                self.hold(guest);
            }
            Verdict::Refuse => {}
        }
    }

    /// The live sessions of a source, and the touches that they were forgiven.
    fn sessions_of(&self, source: Source) -> (usize, u8) {
        let sessions = self
            .sessions
            .iter()
            .filter(|(_, session)| session.source == source);
        sessions.fold((0, 0), |(count, forgiven), (_, session)| {
            (count + 1, session.forgiven.max(forgiven))
        })
    }

    fn forgive(&mut self, source: Source) {
        for (_, session) in self.sessions.iter_mut() {
            if session.source == source {
                session.forgiven += 1;
            }
        }
    }

    /// Opens the door.
    fn admit(&mut self, id: PortId, guest: Guest, forgiven: u8) {
        let vacancy = self.sessions.vacancy();
        let Some(place) = vacancy.filter(|_| self.sessions.len() < self.most_sessions()) else {
            self.tell_full(id, guest.peer, "sessions");
            return;
        };
        let mirage = &self.mirages[guest.mirage];
        let arrival = Arrival {
            mirage: Rc::clone(&mirage.label),
            source: guest.source,
            peer: guest.peer,
            port: guest.port,
            forgiven,
            idle_ms: mirage
                .config
                .idle_s
                .map(|seconds| u64::from(seconds) * 1_000),
            now: self.now.boot,
        };
        let service = mirage.config.service;
        let session = self.dial(service).and_then(|dialled| {
            let session = Session::new(guest.socket, dialled, arrival);
            self.register(
                session.socket(Side::Client),
                Wake::Session(place, Side::Client),
            )?;
            self.register(
                session.socket(Side::Service),
                Wake::Session(place, Side::Service),
            )?;
            Ok(session)
        });
        let section = &self.mirages[guest.mirage].label;
        let (peer, port) = (guest.peer, guest.port);
        match session {
            Ok(session) => {
                let event = format_args!("accept mirage={section} source={peer} port={port}");
                self.log.write(Level::Info, Cause::Member, event);
                self.sessions.insert(place, session);
                self.drive_session(place, None);
            }
            Err(error) => {
                let event = format_args!("error mirage={section} source={peer} {service}: {error}");
                self.log.write(Level::Error, Cause::Member, event);
            }
        }
    }

    fn hold(&mut self, guest: Guest) {
        let Some(place) = self.traps.vacate() else {
            return;
        };
        let trap_ms = u64::from(self.mirages[guest.mirage].config.trap_s) * 1_000;
        let Guest { socket, source, .. } = guest;
        if self.register(socket.as_fd(), Wake::Trap(place)).is_ok() {
            self.traps
                .hold(place, socket, source, self.now.boot, trap_ms);
        }
    }

    fn register(&self, socket: BorrowedFd<'_>, wake: Wake) -> io::Result<()> {
        let interest = match wake {
            Wake::Session(..) => Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY,
            _ => Interest::READABLE,
        };
        let descriptor = socket.as_raw_fd();
        self.poll
            .registry()
            .register(&mut SourceFd(&descriptor), wake.into(), interest)
    }

    fn tell_ban(&mut self, guest: &Guest) {
        let mirage = &self.mirages[guest.mirage];
        let (section, peer, seconds) = (&mirage.label, guest.peer, self.common.ban_s);
        let (port, off) = clock_and_port(mirage, guest.port);
        let event = format_args!("ban source={peer}{port} seconds={seconds} mirage={section}{off}");
        self.log.write(Level::Info, Cause::Stranger, event);
    }

    fn tell_held(&mut self, guest: &Guest, reason: Reason) {
        let mirage = &self.mirages[guest.mirage];
        let (section, peer, reason) = (&mirage.label, guest.peer, reason.word());
        let (port, off) = clock_and_port(mirage, guest.port);
        let event = format_args!("trap mirage={section} source={peer}{port} reason={reason}{off}");
        self.log.write(Level::Info, Cause::Stranger, event);
    }

    fn tell_full(&mut self, id: PortId, peer: IpAddr, reason: &str) {
        let port = id.port();
        let event = format_args!("full source={peer} port={port} reason={reason}");
        self.log.write(Level::Warn, Cause::Stranger, event);
    }

    fn tell_bans_full(&mut self) {
        let now = self.now.boot;
        if self
            .told_full
            .is_none_or(|told| told.after(TELL_FULL_MS) <= now)
        {
            self.told_full = Some(now);
            let bans = self.bans.len();
            self.warn(format_args!(
                "warn the ban list is full, bans={bans}: the oldest make room"
            ));
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
