//! A visitor comes: the scheme judges, and this performs the verdict.

use super::event::{Event, Limit, Touched, UnbanCause};
use super::host::Host;
use super::listeners::PortId;
use super::reload::Mirage;
use super::session::{Arrival, Session, Share};
use super::table::Id;
use super::trap::{Held, Suspect};
use super::wake::{Side, Wake};
use super::{Daemon, Told};
use crate::limits::{CLOSING_ACCEPTS, RETRY_MS, TELL_FULL_MS, TURN_ACCEPTS};
use crate::proto::Instant;
use crate::proto::bans::{Touch, Why};
use crate::proto::gates;
use crate::proto::gates::{Evidence, Gate, Reason, Verdict, Visitor};
use crate::proto::scheme::token::{self, Proof};
use crate::proto::source::{self, Network, Source};
use crate::sys::child::{self, Streams};
use crate::sys::{filter, socket};
use crate::terms::Service;
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

/// How the log names a port that was touched.
fn touched(mirage: &Mirage, port: u16) -> Touched {
    let Some(schedule) = &mirage.schedule else {
        return Touched {
            port: Some(port),
            clock_off_s: 0,
        };
    };
    Touched {
        port: (!schedule.is_to_come(port)).then_some(port),
        clock_off_s: schedule.clock_off(port).unwrap_or(0),
    }
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
                self.turn_away_full(peer, id.port(), Limit::Descriptors);
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
                self.log.write(&Event::RedirectMissing {
                    mirage: Rc::clone(&mirage.label),
                    port: id.port(),
                });
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
            let by = UnbanCause::Token;
            self.log.write(&Event::Unban { ban, by });
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
        gates::judge(evidence, self.visitor(mirage, peer), is_settled)
    }

    /// What is known of a visitor to a mirage.
    pub(super) fn visitor(&self, mirage: usize, peer: IpAddr) -> Visitor {
        let source = Source::of(peer);
        let Share {
            sessions, forgiven, ..
        } = self.sources.get(&source);
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(peer));
        let from = &self.mirages[mirage].config.plain.from;
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
                self.turn_away_full(whom.peer, whom.port, Limit::Nonces);
                self.tell_nonces_full(whom.mirage);
            }
            Verdict::Hold(reason) => {
                self.counters.held += 1;
                if reason == Reason::Forgiven {
                    self.sources
                        .change(whom.source, |share| share.forgiven += 1);
                }
                let mirage = &self.mirages[whom.mirage];
                self.log.write(&Event::Trap {
                    peer: whom.peer,
                    mirage: Rc::clone(&mirage.label),
                    touched: touched(mirage, whom.port),
                    reason,
                });
            }
            Verdict::Ban => {
                if !self.bans.is_banned(whom.source, self.now.boot) {
                    let mirage = &self.mirages[whom.mirage];
                    self.log.write(&Event::Ban {
                        peer: whom.peer,
                        mirage: Rc::clone(&mirage.label),
                        touched: touched(mirage, whom.port),
                        seconds: self.common.ban_s,
                    });
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
            let by = UnbanCause::Time;
            self.log.write(&Event::Unban { ban, by });
            if self.is_news(|told| &mut told.bans) {
                let bans = self.bans.len();
                self.log.write(&Event::BansFull { bans });
            }
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
        let idle_s = config.plain.idle_s;
        let idle_ms = idle_s.map(|seconds| u64::from(seconds) * 1_000);
        let to = forward.to.clone();
        let Guest { socket, whom } = guest;
        if self.sources.get(&whom.source).sessions >= self.most_sessions_per_source() {
            return self.turn_away_full(whom.peer, whom.port, Limit::Source);
        }
        if self.sessions.len() >= self.most_sessions() {
            return self.turn_away_full(whom.peer, whom.port, Limit::Sessions);
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
                let pid = child::spawn(&words, Streams::Socket(socket.as_fd()));
                pid.map(|pid| (Session::process(pid, who), None))
            }
        };
        let begun = begun.and_then(|(session, failed)| Ok((self.begin_session(session)?, failed)));
        let section = &self.mirages[whom.mirage].label;
        let Whom { peer, port, .. } = whom;
        match begun {
            Ok((id, failed)) => {
                self.log.write(&Event::Accept {
                    mirage: Rc::clone(section),
                    peer,
                    port,
                });
                self.counters.accepted += 1;
                match failed {
                    None => self.drive_session(id, None),
                    Some(error) => self.lacks_service(id, error),
                }
            }
            Err(error) => {
                self.log.write(&Event::ServiceNotStarted {
                    mirage: Rc::clone(section),
                    peer,
                    service: to.to_string(),
                    error,
                });
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
        let mirage = Rc::clone(&session.who.mirage);
        self.sessions_by_mirage
            .change(mirage, |sessions| *sessions += 1);
        if let Some(pid) = session.pid() {
            self.processes.insert(pid, id);
        }
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
        let trap_ms = u64::from(self.mirages[whom.mirage].config.plain.trap_s) * 1_000;
        let registry = self.poll.registry();
        let wake = |visitor: &OwnedFd, id| register(registry, visitor.as_fd(), Wake::Trap(id));
        self.traps
            .hold((socket, whom.source), suspect, now, trap_ms, wake);
    }

    /// Counts a visitor for whom something is full, and says so.
    pub(super) fn turn_away_full(&mut self, peer: IpAddr, port: u16, what: Limit) {
        self.counters.turned_away += 1;
        self.log.write(&Event::Full { peer, port, what });
    }

    pub(super) fn tell_nonces_full(&mut self, mirage: usize) {
        if self.is_news(|told| &mut told.nonces) {
            let mirage = Rc::clone(&self.mirages[mirage].label);
            self.log.write(&Event::NoncesFull { mirage });
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
