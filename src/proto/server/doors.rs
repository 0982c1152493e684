//! Doors other than a session: the ports open for an address, a command runs for it, or it becomes an element
//! of a set.

use super::arrival::Arrival;
use super::tables::{Core, log};
use crate::limits::STATE_MS;
use crate::proto::conn::{ConnId, Stage};
use crate::proto::doors::{
    Admission, CommandEnd, Element, Ended, OpenFor, OpenRequest, Requested, RestoredOpening,
};
use crate::proto::effect::{Effect, Effects};
use crate::proto::event::{Event, Limit};
use crate::proto::gates::{Evidence, Passage, Verdict};
use crate::proto::ids::{JobId, MirageId};
use crate::proto::input::{ElementOutcome, JobFailure};
use crate::terms::{Door, NftSet};
use core::net::IpAddr;
use std::rc::Rc;

impl Core {
    /// Opens the door for an address that has passed a silent gate. An address that may not pass gets no
    /// answer.
    pub(super) fn pass(&mut self, mirage: MirageId, address: IpAddr, effects: &mut Effects) {
        if self.may_pass(mirage, address) {
            self.open_door(mirage, address, &mut None, effects);
        }
    }

    /// Whether the door opens for an address that has passed a silent gate.
    pub(super) fn may_pass(&self, mirage: MirageId, address: IpAddr) -> bool {
        self.judge(Evidence::Datagram(Passage::Passed), mirage, address) == Verdict::Admit
    }

    /// Opens the door for a visitor whose connection is closed once that is done.
    pub(super) fn open_door_for(
        &mut self,
        arrival: Arrival,
        held: Option<ConnId>,
        effects: &mut Effects,
    ) {
        let conn = match held {
            Some(conn) => {
                self.conns.enter(conn, Stage::Guest, None);
                Some(conn)
            }
            None => self.keep(arrival, Stage::Guest, None),
        };
        let mut guest = conn;
        self.open_door(arrival.mirage, arrival.peer, &mut guest, effects);
        if let Some(conn) = guest {
            // There is nothing to wait for. A connection in hand is closed because nothing keeps it.
            self.conns.remove(conn);
            effects.extend(held.map(Effect::Close));
        }
    }

    /// Opens a mirage's door for an address. The guest is taken (left None) if it waits for that.
    fn open_door(
        &mut self,
        mirage: MirageId,
        peer: IpAddr,
        guest: &mut Option<ConnId>,
        effects: &mut Effects,
    ) {
        let Some(settings) = self.mirage(mirage).map(|it| Rc::clone(&it.settings)) else {
            return;
        };
        let seconds = settings.admitted_s;
        match &settings.door {
            Door::Forward(_) => self.admit_for(mirage, peer, seconds, effects),
            Door::Command { open, close } => {
                let close = close.as_ref();
                let request = OpenRequest {
                    mirage,
                    open_for: OpenFor::Address(peer),
                    open: open.words(peer, &settings.section),
                    close: close.map(|close| close.words(peer, &settings.section)),
                    stays_ms: u64::from(seconds) * 1_000,
                };
                let conn = *guest;
                match self.openings.request(request, guest, self.now.boot) {
                    Requested::Begun if guest.is_none() => effects.extend(conn.map(Effect::Wait)),
                    Requested::Begun => {}
                    Requested::Renewed => {
                        let open_for = OpenFor::Address(peer);
                        self.count_open_door(mirage, open_for, seconds.into(), effects);
                    }
                    Requested::Full => self.log_doors_full(mirage, peer, effects),
                }
            }
            Door::Nft { set, .. } => {
                let element = Element {
                    mirage,
                    set: set.clone(),
                    address: peer,
                    seconds,
                    guest: guest.take(),
                };
                effects.extend(element.guest.map(Effect::Wait));
                self.change_set(element, effects);
            }
        }
    }

    fn log_doors_full(&mut self, mirage: MirageId, peer: IpAddr, effects: &mut Effects) {
        self.counters.turned_away += 1;
        let event = Event::DoorsFull {
            mirage: self.section(mirage),
            peer,
            what: Limit::Openings,
        };
        log(effects, event);
    }

    /// Closes a door again that an address had opened.
    pub(super) fn close_door(&mut self, mirage: MirageId, peer: IpAddr, effects: &mut Effects) {
        let now = self.now.boot;
        self.openings.close(mirage, OpenFor::Address(peer), now);
        let Some(served) = self.mirages.get_mut(mirage) else {
            return;
        };
        served.admitted.end(peer, now);
        if let Door::Nft { set, .. } = &served.settings.door {
            let set = set.clone();
            self.take_out(mirage, peer, set, effects);
        }
    }

    /// Takes an address out of a set before its time.
    fn take_out(&mut self, mirage: MirageId, address: IpAddr, set: NftSet, effects: &mut Effects) {
        let element = Element {
            mirage,
            set,
            address,
            seconds: 0,
            guest: None,
        };
        self.change_set(element, effects);
    }

    fn change_set(&mut self, element: Element, effects: &mut Effects) {
        let job = self.new_job();
        effects.push_back(Effect::Element {
            job,
            set: element.set.clone(),
            address: element.address,
            seconds: element.seconds,
        });
        self.elements.insert(job, element);
    }

    /// Admits an address to the minute's real ports.
    fn admit_for(&mut self, mirage: MirageId, peer: IpAddr, seconds: u32, effects: &mut Effects) {
        let until = self.now.boot.after(u64::from(seconds) * 1_000);
        let Some(served) = self.mirages.get_mut(mirage) else {
            return;
        };
        match served.admitted.insert(peer, until) {
            Admission::Full => {
                let event = Event::DoorsFull {
                    mirage: self.section(mirage),
                    peer,
                    what: Limit::Admitted,
                };
                log(effects, event);
            }
            // It is open, and the log has it: clients send each knock twice, in case one is lost.
            Admission::Renewed => {}
            Admission::New => {
                effects.push_back(Effect::Ports(mirage));
                let open_for = OpenFor::Address(peer);
                self.count_open_door(mirage, open_for, seconds.into(), effects);
            }
        }
    }

    /// Does one thing that is due for the openings: an end, the journal, one element, or one command.
    pub(super) fn run_openings(&mut self, effects: &mut Effects) -> bool {
        let now = self.now.boot;
        if let Some((mirage, open_for)) = self.openings.next_end(now) {
            let mirage = self.section(mirage);
            log(effects, Event::Shut { mirage, open_for });
            return true;
        }
        let is_time = self.saved.journal_again.is_some_and(|again| again <= now);
        if self.openings.record() || is_time {
            self.saved.journal_again = None;
            effects.push_back(Effect::Journal);
            return true;
        }
        if let Some((mirage, address, set)) = self.openings.next_removal() {
            self.take_out(mirage, address, set, effects);
            return true;
        }
        let job = self.new_job();
        let command = self.openings.next_command(job, now);
        let is_due = command.is_some();
        effects.extend(command.map(|words| Effect::Run { job, words }));
        is_due
    }

    /// Runs what is recorded. What is not would stay open after a crash, so it is not opened.
    pub(super) fn journalled(&mut self, is_written: bool, effects: &mut Effects) {
        if !is_written {
            self.saved.journal_again = Some(self.now.boot.after(STATE_MS));
        }
        while let Some((mirage, open_for, guests)) = self.openings.recorded(is_written) {
            let event = Event::CommandFailed {
                mirage: self.section(mirage),
                open_for,
                key: "open",
                outcome: "not run, because it could not be recorded".to_owned(),
            };
            log(effects, event);
            if open_for == OpenFor::Service {
                self.strand_waiting(mirage);
            }
            self.let_guests_go(guests, effects);
        }
    }

    /// Handles the end of a command; `failure` says why it failed.
    pub(super) fn job_ended(
        &mut self,
        job: JobId,
        failure: Option<JobFailure>,
        effects: &mut Effects,
    ) {
        let now = self.now.boot;
        let Some(opening) = self.openings.of(job) else {
            return;
        };
        let (mirage, open_for) = (opening.mirage, opening.open_for);
        let seconds = opening.stays_ms(now).div_ceil(1_000);
        let key = if opening.is_opening() {
            "open"
        } else {
            "close"
        };
        let ended = match &failure {
            None => Ended::Done,
            Some(failure) if failure.was_killed => Ended::Killed,
            Some(_) => Ended::Failed,
        };
        if let Some(JobFailure { why: outcome, .. }) = failure {
            let event = Event::CommandFailed {
                mirage: self.section(mirage),
                open_for,
                key,
                outcome,
            };
            log(effects, event);
        }
        match self.openings.command_ended(job, ended, now) {
            Some(CommandEnd::Opened(guests)) => {
                self.count_open_door(mirage, open_for, seconds, effects);
                self.let_guests_go(guests, effects);
            }
            Some(CommandEnd::Closed) => {
                let mirage = self.section(mirage);
                log(effects, Event::Shut { mirage, open_for });
            }
            Some(CommandEnd::Failed(guests)) => {
                if open_for == OpenFor::Service {
                    self.strand_waiting(mirage);
                }
                self.let_guests_go(guests, effects);
            }
            Some(CommandEnd::StillOpen) | None => {}
        }
    }

    pub(super) fn let_guests_go(
        &mut self,
        guests: impl IntoIterator<Item = ConnId>,
        effects: &mut Effects,
    ) {
        for guest in guests {
            self.let_go(Some(guest), effects);
        }
    }

    /// Handles the result of a change to a set.
    pub(super) fn element_ended(
        &mut self,
        job: JobId,
        outcome: ElementOutcome,
        effects: &mut Effects,
    ) {
        let now = self.now.boot;
        let Some(element) = self.elements.remove(job) else {
            return;
        };
        let Element {
            mirage,
            set,
            address,
            seconds,
            guest,
        } = element;
        let is_addition = seconds > 0;
        let open_for = OpenFor::Element(address);
        match outcome {
            ElementOutcome::Done if is_addition => {
                // The kernel started the element's time a moment ago.
                let until = now.after(u64::from(seconds) * 1_000);
                self.openings.include(mirage, address, set, until, now);
                if self.is_stopping() {
                    self.openings.close_all(None, now);
                }
                self.count_open_door(mirage, open_for, seconds.into(), effects);
            }
            ElementOutcome::Done => {
                if self.openings.exclude(mirage, address) {
                    let mirage = self.section(mirage);
                    log(effects, Event::Shut { mirage, open_for });
                }
            }
            ElementOutcome::TooLate => {
                if !is_addition {
                    self.openings.keep(mirage, address, now);
                }
                let event = Event::ElementTooLate {
                    mirage: self.section(mirage),
                    peer: address,
                    is_addition,
                };
                log(effects, event);
            }
            ElementOutcome::Full if is_addition => self.log_doors_full(mirage, address, effects),
            ElementOutcome::Family if is_addition => {
                let event = Event::WrongFamily {
                    mirage: self.section(mirage),
                    peer: address,
                    why: outcome.to_string(),
                };
                log(effects, event);
            }
            ElementOutcome::Full | ElementOutcome::Family | ElementOutcome::Replaced => {
                if !is_addition {
                    self.openings.keep(mirage, address, now);
                }
            }
        }
        self.let_guests_go(guest, effects);
    }

    /// Takes back what was open before a restart, so that it is closed.
    pub fn restore(&mut self, restored: Vec<RestoredOpening>) {
        for opening in restored {
            let mirage = self.mirages.intern(&opening.section);
            self.openings.restore(mirage, opening, self.now.boot);
        }
    }
}
