//! Who has passed a gate, and what opens for him: a port, a command's work, an element of a set; and
//! services that run only while somebody needs them.

use super::Daemon;
use super::admitted::Entry;
use super::door::{Ended, Granted, Opening, Ticket, Whom, Wish};
use super::event::{Event, Limit, Warning};
use super::hooks::Outcome;
use super::host::Host;
use super::journal;
use super::listeners::Listeners;
use super::nft::{News, Refused};
use super::reload::Mirage;
use super::session::{End, Session};
use super::state::StateFile;
use super::table::Id;
use crate::limits::SERVICE_LOOK_MS;
use crate::proto::gates::{Evidence, Passage, Verdict};
use crate::sys::child;
use crate::terms::{Door, Service};
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Who has waited for an element of a set.
pub struct Passed {
    mirage: Rc<str>,
    peer: IpAddr,
    /// None of them: it is to be taken out.
    seconds: u32,
    /// Its connection, which is closed once it is let in.
    _guest: Option<OwnedFd>,
}

impl<H: Host> Daemon<H> {
    /// Somebody has passed a silent gate; nobody is told who may not.
    pub(super) fn pass(&mut self, mirage: usize, address: IpAddr) {
        if self.judge(Evidence::Datagram(Passage::Passed), mirage, address) == Verdict::Admit {
            self.open_door(mirage, address, None);
        }
    }

    /// Opens the door of a mirage for an address; a guest's connection is closed once that is done.
    pub(super) fn open_door(&mut self, mirage: usize, peer: IpAddr, guest: Option<OwnedFd>) {
        let Mirage { config, label, .. } = &self.mirages[mirage];
        let (label, seconds) = (Rc::clone(label), config.admitted_s);
        let stays_ms = u64::from(seconds) * 1_000;
        let now = self.now.boot;
        let has_room = match &config.door {
            Door::Forward(_) => return self.let_in(mirage, peer, seconds),
            Door::Command { open, close } => {
                let wish = Wish {
                    open: open.words(peer, &label),
                    close: close.as_ref().map(|close| close.words(peer, &label)),
                    mirage: Rc::clone(&label),
                    whom: Whom::Address(peer),
                    stays_ms,
                };
                let granted = self.openings.wish(wish, guest, now);
                if granted == Granted::Renewed {
                    self.count_open_door(&label, Whom::Address(peer), u64::from(seconds));
                }
                granted != Granted::Full
            }
            Door::Nft { set, .. } => {
                let passed = Passed {
                    mirage: Rc::clone(&label),
                    peer,
                    seconds,
                    _guest: guest,
                };
                match self.nft.add(set, peer, seconds, passed, now) {
                    Ok(()) => true,
                    Err(Refused::Full) => false,
                    Err(Refused::Family) => {
                        return self.log.write(&Event::WrongFamily {
                            mirage: label,
                            peer,
                            why: Refused::Family.to_string(),
                        });
                    }
                }
            }
        };
        if !has_room {
            self.counters.turned_away += 1;
            self.log.write(&Event::DoorsFull {
                mirage: label,
                peer,
                what: Limit::Openings,
            });
        }
    }

    /// Takes an address back that was let in.
    pub(super) fn close_door(&mut self, mirage: usize, peer: IpAddr) {
        let now = self.now.boot;
        let Mirage {
            admitted,
            label,
            config,
            ..
        } = &mut self.mirages[mirage];
        admitted.end(peer, now);
        self.openings.close(label, Whom::Address(peer), now);
        if let Door::Nft { set, .. } = &config.door {
            let passed = Passed {
                mirage: Rc::clone(label),
                peer,
                seconds: 0,
                _guest: None,
            };
            // If too many wait, its time ends it.
            let _ = self.nft.add(set, peer, 0, passed, now);
        }
    }

    /// Lets an address come to the minute's real ports.
    fn let_in(&mut self, mirage: usize, peer: IpAddr, seconds: u32) {
        let until = self.now.boot.after(u64::from(seconds) * 1_000);
        let served = &mut self.mirages[mirage];
        let label = Rc::clone(&served.label);
        match served.admitted.insert(peer, until) {
            Entry::Full => self.log.write(&Event::DoorsFull {
                mirage: label,
                peer,
                what: Limit::Admitted,
            }),
            // It is open, and the log has it: who knocks does so twice, for one may be lost.
            Entry::Renewed => {}
            Entry::New => {
                self.apply_admitted(mirage);
                self.count_open_door(&label, Whom::Address(peer), u64::from(seconds));
            }
        }
    }

    /// Those who are let in no longer: the ports are closed to them, once they are served who have come.
    pub(super) fn expire_admitted(&mut self) {
        let now = self.now.boot;
        for mirage in 0..self.mirages.len() {
            if self.mirages[mirage]
                .admitted
                .next_end()
                .is_none_or(|end| now < end)
            {
                continue;
            }
            let ids = self.mirages[mirage].ids();
            self.accept_all(&ids);
            let mut over = Vec::new();
            while let Some(address) = self.mirages[mirage].admitted.expire(now) {
                over.push(address);
            }
            self.apply_admitted(mirage);
            let label = Rc::clone(&self.mirages[mirage].label);
            for address in over {
                self.log.write(&Event::Shut {
                    mirage: Rc::clone(&label),
                    whom: Whom::Address(address),
                });
            }
        }
    }

    /// Opens, filters or closes the ports of a mirage after a change of who is let in.
    fn apply_admitted(&mut self, number: usize) {
        let mirage = &self.mirages[number];
        let backlog = mirage.backlog();
        let filter = mirage.filter();
        for &port in mirage.plan.ports() {
            for &place in mirage.places.iter() {
                let id = Listeners::id(place, port);
                match &filter {
                    Some(addresses) if addresses.is_empty() => self.listeners.close(id),
                    filter if self.listeners.get_mut(id).is_none() => {
                        let registry = self.poll.registry();
                        self.listeners
                            .open(registry, id, number, backlog, filter.as_deref());
                    }
                    Some(addresses) => self.listeners.admit_only(id, addresses),
                    None => {}
                }
            }
        }
        if self.listeners.has_closed() {
            self.open_again = Some(self.now.boot);
        }
    }

    /// Tells what is over, and starts the commands that are due; what they open is written down before.
    pub(super) fn run_commands(&mut self) {
        let now = self.now.boot;
        while let Some((mirage, whom)) = self.openings.next_end(now) {
            self.log.write(&Event::Shut { mirage, whom });
        }
        while let Some((ticket, words)) = self.openings.next_command(now) {
            self.write_journal();
            if self.hooks.start(words, ticket).is_err() {
                self.command_has_ended(ticket, Some(&Outcome::Refused));
            }
        }
        while let Some((ticket, outcome)) = self.hooks.go_on(self.poll.registry(), now) {
            self.finish_command(ticket, &outcome);
        }
        self.write_journal();
    }

    fn finish_command(&mut self, ticket: Ticket, outcome: &Outcome) {
        match outcome {
            Outcome::Done => self.command_has_ended(ticket, None),
            failed => self.command_has_ended(ticket, Some(failed)),
        }
    }

    fn write_journal(&mut self) {
        if self.openings.take_news() {
            self.save_journal();
        }
    }

    /// Whether it is written down what is open.
    fn save_journal(&mut self) -> bool {
        let Some(state) = &self.state else {
            return false;
        };
        let path = journal::path(state.path());
        let saved = journal::save(&path, &self.openings, self.now);
        let is_saved = saved.is_ok();
        if let Err(error) = saved {
            self.log.write(&Event::JournalNotWritten { path, error });
        }
        is_saved
    }

    /// The state file is another now: so is the journal. What a daemon that had it before has left open
    /// is ours to close. Without one now, the old journal stays: whoever reads it next may close it all.
    pub(super) fn move_journal(&mut self, old: Option<&StateFile>) {
        self.read_journal();
        if self.save_journal()
            && let Some(old) = old
        {
            let _ = fs::remove_file(journal::path(old.path()));
        }
    }

    /// Puts back what a restart has to close.
    pub(super) fn read_journal(&mut self) {
        let Some(state) = &self.state else { return };
        let path = journal::path(state.path());
        match journal::load(&path, &mut self.openings, self.now) {
            Ok(0) => {}
            Ok(open) => self.log.write(&Event::OpeningsLoaded { open }),
            Err(error) => {
                self.log
                    .write(&Event::Warning(Warning::JournalUnread(path, error)));
            }
        }
    }

    /// Children have ended.
    pub(super) fn reap(&mut self) {
        while let Some((pid, exit)) = child::reap() {
            let now = self.now.boot;
            if let Some((ticket, outcome)) = self.hooks.ended(pid, exit, now) {
                self.finish_command(ticket, &outcome);
            } else if self.nft.ended(pid, exit, now) {
                self.tell_sets();
            } else {
                let session = self.processes.get(&pid).copied();
                if let Some(id) = session {
                    self.end_session(id, &End::Exit(exit));
                }
            }
        }
    }

    /// Those whose time to run is over are killed, and reaped like all.
    pub(super) fn expire_commands(&mut self) {
        let now = self.now.boot;
        self.hooks.expire(now);
        self.nft.expire(now);
        self.nft.go_on(self.poll.registry(), now);
        self.tell_sets();
    }

    /// A command has done its work, or `failed` says why not.
    fn command_has_ended(&mut self, ticket: Ticket, failed: Option<&dyn fmt::Display>) {
        let now = self.now.boot;
        let Some(Opening { mirage, whom, .. }) = self.openings.of(ticket) else {
            return;
        };
        let (mirage, whom) = (Rc::clone(mirage), *whom);
        let stays_ms = self.openings.of(ticket).map_or(0, |it| it.stays_ms(now));
        let seconds = stays_ms.div_ceil(1_000);
        if let Some(outcome) = failed {
            self.log.write(&Event::CommandFailed {
                mirage: Rc::clone(&mirage),
                whom,
                key: if ticket.is_opening { "open" } else { "close" },
                outcome: outcome.to_string(),
            });
        }
        match self.openings.ended(ticket, failed.is_none(), now) {
            Ended::Opened(_guests) => self.count_open_door(&mirage, whom, seconds),
            Ended::Closed => self.log.write(&Event::Shut { mirage, whom }),
            Ended::Failed if whom == Whom::Service => self.send_waiting_away(&mirage),
            Ended::Failed | Ended::StillOpen => {}
        }
    }

    /// What has become of elements of sets.
    fn tell_sets(&mut self) {
        while let Some(news) = self.nft.next_news() {
            match news {
                News::Done(passed) => {
                    let Passed { mirage, peer, .. } = passed;
                    let (seconds, now) = (u64::from(passed.seconds), self.now.boot);
                    let whom = Whom::Element(peer);
                    if seconds == 0 {
                        self.openings.close(&mirage, whom, now);
                        continue;
                    }
                    // The kernel's time for it began a moment ago.
                    let until = now.after(seconds * 1_000);
                    self.openings.include(&mirage, peer, until, now);
                    self.count_open_door(&mirage, whom, seconds);
                }
                News::TooLate(passed) => {
                    let Passed { mirage, peer, .. } = passed;
                    self.log.write(&Event::ElementTooLate {
                        mirage,
                        peer,
                        is_addition: passed.seconds > 0,
                    });
                }
                News::Failing { set, why } => {
                    let why = why.to_string();
                    self.log.write(&Event::SetFailing { set, why });
                }
            }
        }
    }

    fn count_open_door(&mut self, mirage: &Rc<str>, whom: Whom, seconds: u64) {
        self.counters.passed += 1;
        self.log.write(&Event::Open {
            mirage: Rc::clone(mirage),
            whom,
            seconds,
        });
    }

    fn find_session(&self, is_it: impl Fn(&Session) -> bool) -> Option<Id<Session>> {
        let mut sessions = self.sessions.iter();
        let found = sessions.find(|(_, session)| is_it(session));
        found.map(|(id, _)| id)
    }

    pub(super) fn find_mirage(&self, label: &str) -> Option<usize> {
        self.mirages
            .iter()
            .position(|mirage| *mirage.label == *label)
    }

    /// The service of a visitor takes no connection, whatever the reason: what starts it may bring up the
    /// way to it as well.
    pub(super) fn lacks_service(&mut self, id: Id<Session>, error: io::Error) {
        if !self.wait_for_service(id, &error) {
            self.end_session(id, &End::NoService(error));
        }
    }

    /// Whether a visitor, whose service takes no connection, waits until it does: because it is started
    /// for those who come. It is started if nobody has done so.
    fn wait_for_service(&mut self, id: Id<Session>, error: &io::Error) -> bool {
        let now = self.now.boot;
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        let (since, peer) = (session.who.since, session.who.peer);
        let label = Rc::clone(&session.who.mirage);
        let Some(number) = self.find_mirage(&label) else {
            return false;
        };
        let config = &self.mirages[number].config;
        let Some(service) = config
            .forward()
            .and_then(|forward| forward.on_demand.as_ref())
        else {
            return false;
        };
        let ready_s = config.plain.ready_s;
        let ready_ms = u64::from(ready_s) * 1_000;
        let is_over = since.after(ready_ms) <= now;
        if !is_over && !self.openings.service_is_coming(&label, ready_ms, now) {
            let wish = Wish {
                mirage: Rc::clone(&label),
                whom: Whom::Service,
                open: service.open.words(peer, &label),
                close: service
                    .close
                    .as_ref()
                    .map(|close| close.words(peer, &label)),
                stays_ms: u64::from(service.idle_s) * 1_000,
            };
            match self.openings.wish(wish, None, now) {
                Granted::Begun => {}
                // It was started, and is not there.
                Granted::Renewed => self.openings.service_has_died(&label),
                Granted::Full => return false,
            }
        }
        if is_over {
            self.log.write(&Event::ServiceNotReady {
                mirage: label,
                seconds: ready_s,
                error: error.to_string(),
            });
            return false;
        }
        let again = now.after(SERVICE_LOOK_MS);
        let session = self.sessions.get_mut(id);
        let waits = session.is_some_and(|session| session.wait_to_dial(again));
        if waits {
            self.timers.set(id, Some(again));
        }
        waits
    }

    /// Dials the service again for one who waits until it accepts.
    pub(super) fn dial_service_again(&mut self, id: Id<Session>, label: &str) {
        let dialled = match self.service_of(label) {
            Some(service) => self.dial_again(id, service),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match dialled {
            Ok(()) => self.drive_session(id, None),
            Err(error) => self.lacks_service(id, error),
        }
    }

    fn service_of(&self, label: &str) -> Option<SocketAddr> {
        let mirage = self.find_mirage(label)?;
        match &self.mirages[mirage].config.forward()?.to {
            Service::At(service) => Some(*service),
            Service::Exec(_) => None,
        }
    }

    /// A service that could not be started: those who wait for it have waited in vain.
    fn send_waiting_away(&mut self, label: &str) {
        let waits = |session: &Session| *session.who.mirage == *label && session.is_waiting();
        while let Some(id) = self.find_session(waits) {
            self.end_session(id, &End::NoService(io::ErrorKind::ConnectionRefused.into()));
        }
    }

    /// A session has begun at a service that may have been started for it.
    pub(super) fn use_service(&mut self, label: &str) {
        self.openings.service_is_used(label, self.now.boot);
    }

    /// A session has ended: without another, its service runs on for a while only.
    pub(super) fn leave_service(&mut self, mirage: Rc<str>) {
        let now = self.now.boot;
        if self.sessions_by_mirage.get(&mirage) == 1 {
            self.openings.service_is_left(&mirage, now);
        }
        self.sessions_by_mirage
            .change(mirage, |sessions| *sessions -= 1);
    }
}
