//! A visitor comes: the scheme judges, and this performs the verdict.

use super::host::Host;
use super::listeners::PortId;
use super::reload::Mirage;
use super::session::{Arrival, Session, Share};
use super::table::Id;
use super::trap::{Held, Suspect};
use super::wake::{Side, Wake};
use super::{Daemon, Told};
use crate::config::{Level, Service};
use crate::limits::{CLOSING_ACCEPTS, NONCES, RETRY_MS, TELL_FULL_MS, TURN_ACCEPTS};
use crate::log::Cause;
use crate::scheme::Instant;
use crate::scheme::blacklist::{Touch, Why};
use crate::scheme::gate::{self, Evidence, Gate, Reason, Verdict, Visitor};
use crate::scheme::source::{self, Network, Source};
use crate::scheme::token::{self, Proof};
use crate::sys::child::{self, Stdio};
use crate::sys::{filter, socket};
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Who has come, and where to.
struct Whom {
    peer: IpAddr,
    source: Source,
    port: u16,
    mirage: usize,
}

/// One who has come, and the connection.
struct Guest {
    socket: OwnedFd,
    whom: Whom,
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
    let Some(schedule) = &mirage.schedule else {
        return (Port(Some(port)), ClockOff(0));
    };
    let port_to_name = (!schedule.is_to_come(port)).then_some(port);
    (
        Port(port_to_name),
        ClockOff(schedule.clock_off(port).unwrap_or(0)),
    )
}

impl<H: Host> Daemon<H> {
    /// Takes the visitors of a port, as many as one port may in a turn, and as there are places for.
    pub(super) fn accept(&mut self, id: PortId) {
        for _ in 0..TURN_ACCEPTS {
            if !self.accept_one(id) {
                return;
            }
        }
        self.accept_later(id, self.now.boot);
    }

    /// Takes all who wait at ports that are about to close, or to change what they are. The kernel keeps one more for each than it was told. In a flood there are more
    /// than a turn has time for, and those behind them meet a reset, or the next plan.
    pub(super) fn accept_all(&mut self, ids: &[PortId]) {
        let mut left = CLOSING_ACCEPTS;
        for &id in ids {
            let Some(mirage) = self.listeners.get_mut(id).map(|listener| listener.mirage) else {
                continue;
            };
            for _ in 0..=self.mirages[mirage].backlog() {
                if left == 0 {
                    self.accept_later(id, self.now.boot);
                    break;
                }
                if !self.accept_one(id) {
                    break;
                }
                left -= 1;
            }
        }
    }

    /// Takes one visitor. False when there is none to be had now.
    fn accept_one(&mut self, id: PortId) -> bool {
        let mut accepted = self.listeners.accept(id);
        if accepted.as_ref().is_err_and(is_out_of_descriptors) {
            accepted = self.accept_with_the_spare(id);
        }
        match accepted {
            Ok((socket, peer)) => {
                self.receive(id, socket, peer);
                // Whoever was to make room may have said a token.
                self.judge_suspects();
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return false,
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                // No memory, or nothing that helps now. The kernel will not tell of this
                // visitor again, so we remember.
                _ => {
                    self.accept_later(id, self.now.boot.after(RETRY_MS));
                    return false;
                }
            },
        }
        true
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
                let peer = source::canonical(peer.ip());
                self.tell_full(peer, id.port(), "descriptors");
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            other => other,
        };
        self.spare = super::spare();
        accepted
    }

    /// Gives up what can best be done without: pipes that nobody has, then a trap's visitor.
    pub(super) fn free_a_descriptor(&mut self) -> bool {
        if self.pipes.shed() {
            return true;
        }
        self.traps.give_up_one(self.now.boot)
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
        let Some(number) = self.listeners.get_mut(id).map(|listener| listener.mirage) else {
            return;
        };
        let mirage = &mut self.mirages[number];
        let Some(port) = dialled_port(mirage, id, socket.as_fd()) else {
            if !core::mem::replace(&mut mirage.told_of_redirect, true) {
                let section = Rc::clone(&mirage.label);
                self.tell_of_missing_redirect(&section, id.port());
            }
            return;
        };
        let peer = source::canonical(peer.ip());
        let whom = Whom {
            peer,
            source: Source::of(peer),
            port,
            mirage: number,
        };
        let guest = Guest { socket, whom };
        self.counters.visitors += 1;
        match mirage.config.gate() {
            Gate::Port => {
                let evidence = Evidence::Port(mirage.plan.role(port));
                self.judge_guest(evidence, guest);
            }
            // Whatever port it is, and whoever comes: first of all they are held alike.
            Gate::Token => {
                let suspect = Suspect {
                    mirage: Rc::clone(&mirage.label),
                    peer,
                    port,
                    claims: mirage.plan.claims(port),
                    said: heapless::Vec::new(),
                };
                self.hold(guest, Some(suspect));
            }
            // The port's filter lets nobody else through. But his time may have ended since.
            Gate::Knock | Gate::Packet => {
                if mirage.admitted.contains(peer) {
                    // It was inherited from the port, and would outlive its sense.
                    let _ = filter::detach(&guest.socket);
                    self.admit(guest);
                }
            }
        }
    }

    /// Judges those who have said a token, or have had the time for it. A mirage that a reload has
    /// dropped meanwhile judges nobody: they are held for their time.
    pub(super) fn judge_suspects(&mut self) {
        while let Some((id, source, suspect)) = self.traps.next_ready() {
            self.judge_suspect(id, source, &suspect);
            // Whoever is still there is held on, and what it sends is thrown away.
            self.traps.hear(id, self.now.boot);
        }
    }

    fn judge_suspect(&mut self, id: Id<Held>, source: Source, suspect: &Suspect) {
        let is_its = |mirage: &Mirage| mirage.label == suspect.mirage;
        let Some(number) = self.mirages.iter().position(is_its) else {
            return;
        };
        let Suspect { peer, port, .. } = *suspect;
        let now = self.now.boot;
        let mirage = &self.mirages[number];
        let (token, schedule) = (suspect.said.as_slice().first_chunk(), &mirage.schedule);
        let proof = match (token, schedule, mirage.used) {
            (Some(token), Some(schedule), Some(used)) => {
                let (nonces, claims) = (&mut self.used[used].nonces, &suspect.claims);
                token::prove(schedule.key(), claims, port, token, nonces, now)
            }
            _ => Proof::Nothing,
        };
        match proof {
            Proof::Good => self.counters.good_tokens += 1,
            _ => self.counters.bad_tokens += 1,
        }
        let verdict = self.judge(Evidence::Token(proof), number, peer);
        let whom = Whom {
            peer,
            source,
            port,
            mirage: number,
        };
        if verdict != Verdict::Admit {
            return self.turn_away(verdict, &whom, Why::Token);
        }
        let Some(socket) = self.traps.take(id) else {
            return;
        };
        // It becomes one end of a session, which is woken otherwise.
        let descriptor = socket.as_raw_fd();
        let _ = self.poll.registry().deregister(&mut SourceFd(&descriptor));
        if let Some(ban) = self.bans.lift(source) {
            self.tell_unban(ban, " by=token", Cause::Member);
        }
        self.admit(Guest { socket, whom });
    }

    fn judge_guest(&mut self, evidence: Evidence, guest: Guest) {
        let whom = &guest.whom;
        match self.judge(evidence, whom.mirage, whom.peer) {
            Verdict::Admit => self.admit(guest),
            Verdict::Refuse { renews } => {
                self.counters.refused += 1;
                if renews {
                    self.bans.touch(whom.source, Why::Trap, self.now.boot);
                } else {
                    self.bans.count_attempt(whom.source);
                }
            }
            verdict => {
                self.turn_away(verdict, whom, Why::Trap);
                self.hold(guest, None);
            }
        }
    }

    pub(super) fn judge(&self, evidence: Evidence, mirage: usize, peer: IpAddr) -> Verdict {
        let is_settled = self.mirages[mirage].settled_at <= self.now.boot;
        gate::judge(evidence, self.visitor(mirage, peer), is_settled)
    }

    /// What is known of a visitor to a mirage.
    pub(super) fn visitor(&self, mirage: usize, peer: IpAddr) -> Visitor {
        let source = Source::of(peer);
        let Share {
            sessions, forgiven, ..
        } = self.sources.get(source);
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(peer));
        let from = &self.mirages[mirage].config.from;
        Visitor {
            is_allowed: is_in(&self.common.allow),
            is_welcome: from.is_empty() || is_in(from),
            is_banned: self.bans.is_banned(source, self.now.boot),
            forgiven: (sessions > 0).then_some(forgiven),
        }
    }

    /// What follows for one who is held from a verdict that lets nobody in.
    fn turn_away(&mut self, verdict: Verdict, whom: &Whom, why: Why) {
        match verdict {
            Verdict::Hold(Reason::Unremembered) => {
                self.tell_full(whom.peer, whom.port, "nonces");
                self.tell_nonces_full(whom.mirage);
            }
            Verdict::Hold(reason) => {
                self.counters.held += 1;
                if reason == Reason::Forgiven {
                    self.sources
                        .change(whom.source, |share| share.forgiven += 1);
                }
                self.tell_held(whom, reason);
            }
            Verdict::Ban => {
                if !self.bans.is_banned(whom.source, self.now.boot) {
                    self.tell_ban(whom);
                }
                self.ban(whom.source, why);
            }
            Verdict::Admit | Verdict::Refuse { .. } | Verdict::Ignore => {}
        }
    }

    /// Puts a source on the list, or begins its ban anew.
    pub(super) fn ban(&mut self, source: Source, why: Why) {
        let touch = self.bans.touch(source, why, self.now.boot);
        if touch != Touch::Renewed {
            self.counters.banned += 1;
        }
        if let Touch::BannedInsteadOf(ban) = touch {
            self.tell_unban(ban, "", Cause::Stranger);
            self.tell_bans_full();
        }
    }

    /// Opens the door, if there is room behind it.
    fn admit(&mut self, guest: Guest) {
        let config = &self.mirages[guest.whom.mirage].config;
        let Some(forward) = config.forward() else {
            // The connection itself leads nowhere; that it is closed tells that the door is open.
            let Guest { socket, whom } = guest;
            return self.open_door(whom.mirage, whom.peer, Some(socket));
        };
        let idle_ms = forward.idle_s.map(|seconds| u64::from(seconds) * 1_000);
        let to = forward.to.clone();
        let Guest { socket, whom } = guest;
        if self.sources.get(whom.source).sessions >= self.most_sessions_per_source() {
            return self.tell_full(whom.peer, whom.port, "source");
        }
        if self.sessions.len() >= self.most_sessions() {
            return self.tell_full(whom.peer, whom.port, "sessions");
        }
        let who = Arrival {
            mirage: Rc::clone(&self.mirages[whom.mirage].label),
            source: whom.source,
            peer: whom.peer,
            port: whom.port,
            since: self.now.boot,
        };
        let begun = match &to {
            Service::At(service) => self.join(*service, socket, idle_ms, who),
            Service::Exec(command) => {
                let words = command.words(whom.peer, &who.mirage);
                let pid = child::spawn(&words, Stdio::Socket(socket.as_fd()));
                pid.map(|pid| (Session::process(pid, who), None))
            }
        };
        let begun = begun.and_then(|(session, failed)| Ok((self.begin_session(session)?, failed)));
        let section = &self.mirages[whom.mirage].label;
        let Whom { peer, port, .. } = whom;
        match begun {
            Ok((id, failed)) => {
                let event = format_args!("accept mirage={section} source={peer} port={port}");
                self.log.write(Level::Info, Cause::Member, event);
                self.counters.accepted += 1;
                match failed {
                    None => self.drive_session(id, None),
                    Some(error) => self.lacks_service(id, error),
                }
            }
            Err(error) => {
                let event = format_args!("error mirage={section} source={peer} {to}: {error}");
                self.log.write(Level::Error, Cause::Member, event);
            }
        }
    }

    /// A visitor, joined to the service that is dialled for it; and why, where that has failed already.
    fn join(
        &mut self,
        service: SocketAddr,
        socket: OwnedFd,
        idle_ms: Option<u64>,
        who: Arrival,
    ) -> io::Result<(Session, Option<io::Error>)> {
        let (dialled, failed) = match self.dial(service) {
            Ok(dialled) => (dialled, None),
            // It may be dialled again, by another in its place.
            Err(error) => (socket::stream(service)?, Some(error)),
        };
        let session = Session::forward(socket, dialled, idle_ms, who);
        Ok((session, failed))
    }

    /// Gives a session its place, and has the loop woken for what happens at either end.
    fn begin_session(&mut self, session: Session) -> io::Result<Id<Session>> {
        let full = io::ErrorKind::QuotaExceeded;
        let vacant = self.sessions.vacancy().ok_or(full)?;
        let (id, source) = (vacant.id(), session.who.source);
        if let Some((client, service)) = session.sockets() {
            let registry = self.poll.registry();
            register(registry, client, Wake::Session(id, Side::Client))?;
            register(registry, service, Wake::Session(id, Side::Service))?;
        }
        self.timers.set(id, session.deadline());
        self.sources.change(source, |share| share.sessions += 1);
        Ok(vacant.insert(session))
    }

    /// Dials the service again for a visitor who waits until it accepts.
    pub(super) fn dial_again(&mut self, id: Id<Session>, service: SocketAddr) -> io::Result<()> {
        let dialled = self.dial(service)?;
        let wake = Wake::Session(id, Side::Service);
        register(self.poll.registry(), dialled.as_fd(), wake)?;
        let now = self.now.boot;
        if let Some(session) = self.sessions.get_mut(id) {
            session.dial_again(dialled, now);
        }
        Ok(())
    }

    fn hold(&mut self, guest: Guest, suspect: Option<Suspect>) {
        let Guest { socket, whom } = guest;
        let now = self.now.boot;
        let trap_ms = u64::from(self.mirages[whom.mirage].config.trap_s) * 1_000;
        let registry = self.poll.registry();
        let wake = |visitor: &OwnedFd, id| register(registry, visitor.as_fd(), Wake::Trap(id));
        self.traps
            .hold((socket, whom.source), suspect, now, trap_ms, wake);
    }

    fn tell_ban(&mut self, whom: &Whom) {
        let mirage = &self.mirages[whom.mirage];
        let (section, peer, seconds) = (&mirage.label, whom.peer, self.common.ban_s);
        let (port, off) = clock_and_port(mirage, whom.port);
        let event = format_args!("ban source={peer}{port} seconds={seconds} mirage={section}{off}");
        self.log.write(Level::Info, Cause::Stranger, event);
    }

    fn tell_held(&mut self, whom: &Whom, reason: Reason) {
        let mirage = &self.mirages[whom.mirage];
        let (section, peer, reason) = (&mirage.label, whom.peer, reason.word());
        let (port, off) = clock_and_port(mirage, whom.port);
        let event = format_args!("trap mirage={section} source={peer}{port} reason={reason}{off}");
        self.log.write(Level::Info, Cause::Stranger, event);
    }

    pub(super) fn tell_full(&mut self, peer: IpAddr, port: u16, reason: &str) {
        self.counters.turned_away += 1;
        let event = format_args!("full source={peer} port={port} reason={reason}");
        self.log.write(Level::Warn, Cause::Stranger, event);
    }

    fn tell_of_missing_redirect(&mut self, section: &str, port: u16) {
        self.warn(format_args!(
            "warn mirage={section} somebody came to pool-port {port} itself: the redirect is \
             missing; `shimmer firewall` prints it"
        ));
    }

    fn tell_bans_full(&mut self) {
        if self.is_news(|told| &mut told.bans) {
            let bans = self.bans.len();
            self.warn(format_args!(
                "warn the ban list is full, bans={bans}: the oldest make room"
            ));
        }
    }

    pub(super) fn tell_nonces_full(&mut self, mirage: usize) {
        if self.is_news(|told| &mut told.nonces) {
            let section = Rc::clone(&self.mirages[mirage].label);
            self.warn(format_args!(
                "warn mirage={section} there is room for {NONCES} used tokens, and all is taken: \
                 new ones are refused"
            ));
        }
    }

    /// Whether the log has been silent for a while about something that is full.
    fn is_news(&mut self, of: fn(&mut Told) -> &mut Option<Instant>) -> bool {
        let now = self.now.boot;
        let told = of(&mut self.told_full);
        let is_news = told.is_none_or(|told| told.after(TELL_FULL_MS) <= now);
        if is_news {
            *told = Some(now);
        }
        is_news
    }
}

fn register(registry: &Registry, socket: BorrowedFd<'_>, wake: Wake) -> io::Result<()> {
    let interest = match wake {
        Wake::Session(..) => Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY,
        _ => Interest::READABLE,
    };
    let descriptor = socket.as_raw_fd();
    registry.register(&mut SourceFd(&descriptor), wake.into(), interest)
}

/// The port that a visitor dialled. At a pool the kernel knows; None if it came past the redirect.
fn dialled_port(mirage: &Mirage, id: PortId, socket: BorrowedFd<'_>) -> Option<u16> {
    if mirage.config.pool_port.is_none() {
        return Some(id.port());
    }
    let dialled = socket::original_destination(socket).ok()?.port();
    let range = mirage.config.range()?;
    range.contains(dialled).then_some(dialled)
}

pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
