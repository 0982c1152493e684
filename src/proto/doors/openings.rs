//! What commands have opened, for whom and until when; makes sure that it is closed again.
//!
//! ```text
//!   Begin ─▶ Recording ─▶ Recorded ─▶ Opening ─▶ Open ───time──▶ End ─▶ Closing ─▶ (gone)
//!     ▲          │                       │         ▲              ▲        │
//!     │       it fails                it fails   once more        └─Again ◀┴─ it fails: with growing pauses
//!     │          ▼                       ▼                                 │
//!     │        (gone)                  (gone)                              │
//!     └──────── somebody has passed meanwhile ─────────────────────────────┘
//! ```
//!
//! An opening command that is killed may have opened something, so it is closed, as from Again.
//!
//! A visitor who passes again finds it open and keeps it open for longer. The journal records what will
//! have to be closed before the command that opens it runs; if it can't, the command does not run.

use super::opening::{Argv, Closing, Ended, OpenFor, Opening, OpeningStage, RestoredOpening};
use crate::limits::{
    CLOSE_AGAIN_MOST_MS, CLOSE_AGAIN_MS, GUESTS, HOOKS, HOOKS_QUEUED, NFT_QUEUED, OPENINGS,
};
use crate::proto::conn::ConnId;
use crate::proto::ids::{JobId, MirageId};
use crate::proto::time::{Instant, sooner};
use crate::terms::NftSet;
use core::net::IpAddr;
use std::rc::Rc;

/// A request to open something.
#[derive(Debug)]
pub struct OpenRequest {
    /// The mirage whose door it is.
    pub mirage: MirageId,
    /// The address, or the service.
    pub open_for: OpenFor,
    /// The command that opens it.
    pub open: Argv,
    /// The command that closes it; None if it ends by itself.
    pub close: Option<Argv>,
    /// How long it stays open, in ms.
    pub stays_ms: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// A command will open it.
    Begun,
    /// It is open already, and stays open for longer.
    Renewed,
    /// All [`OPENINGS`] are taken.
    Full,
}

/// What the end of a command means for its opening.
#[derive(Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// It is open now. These connections waited for it.
    Opened(Vec<ConnId>),
    /// It was not opened. What may be open, from before or by a command that was killed, will be closed. These
    /// connections waited in vain.
    Failed(Vec<ConnId>),
    /// It is closed.
    Closed,
    /// It could not be closed; the command will be tried again.
    StillOpen,
}

/// Everything that is open, is being opened or is being closed.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct Openings {
    all: Vec<Opening>,
    /// After a restart, what has to be closed differs from the journal.
    is_unrecorded: bool,
}

impl Openings {
    /// In no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Opening> {
        self.all.iter()
    }

    /// The addresses that are elements of a set, with their mirages, and until when.
    pub fn elements(&self) -> impl Iterator<Item = (MirageId, IpAddr, Instant)> {
        self.all
            .iter()
            .filter(|opening| matches!(opening.stage, OpeningStage::Open { .. }))
            .filter_map(|opening| match opening.open_for {
                OpenFor::Element(address) => Some((opening.mirage, address, opening.until?)),
                OpenFor::Address(_) | OpenFor::Service => None,
            })
    }

    fn find(&mut self, mirage: MirageId, open_for: OpenFor) -> Option<&mut Opening> {
        let is_it =
            |opening: &&mut Opening| opening.mirage == mirage && opening.open_for == open_for;
        self.all.iter_mut().find(is_it)
    }

    /// Opens it, or keeps it open for longer. The guest is taken (left None) if it has to wait for that.
    /// Otherwise it has nothing to wait for, or there is no place for it; then it will be open a moment
    /// later.
    pub fn request(
        &mut self,
        request: OpenRequest,
        guest: &mut Option<ConnId>,
        now: Instant,
    ) -> Requested {
        let until = match request.open_for {
            OpenFor::Service => None,
            OpenFor::Address(_) | OpenFor::Element(_) => Some(now.after(request.stays_ms)),
        };
        self.is_unrecorded = true;
        if let Some(opening) = self.find(request.mirage, request.open_for) {
            opening.until = until;
            opening.stays_ms = request.stays_ms;
            // What was open before a restart may no longer be open, and after a reboot it is not. So it is
            // closed before it is opened. Whether a service runs shows when it is dialled.
            let is_doubtful = opening.open.is_empty() && opening.open_for != OpenFor::Service;
            opening.open = request.open;
            let close = Closing::from(request.close);
            if is_doubtful
                && matches!(
                    opening.stage,
                    OpeningStage::Open { .. } | OpeningStage::Again(_)
                )
            {
                if opening.has_command() {
                    (opening.stage, opening.wanted) = (OpeningStage::End, Some(close));
                } else {
                    (opening.stage, opening.close) = (OpeningStage::Begin, close);
                }
                opening.guests.extend(guest.take());
                return Requested::Begun;
            }
            let is_closed_first =
                opening.stage == OpeningStage::Closing || opening.wanted.is_some();
            if is_closed_first {
                opening.wanted = Some(close);
            } else if opening.may_be_open() {
                opening.close_by(close);
            } else {
                opening.close = close;
            }
            let is_open = match opening.stage {
                OpeningStage::Open { .. } => true,
                OpeningStage::End if !is_closed_first => {
                    let (since, is_ready) = (now, false);
                    opening.stage = OpeningStage::Open { since, is_ready };
                    true
                }
                // Nobody knows whether it is open.
                OpeningStage::Again(_) => {
                    opening.stage = OpeningStage::Begin;
                    opening.is_doubtful = true;
                    false
                }
                _ => false,
            };
            if is_open {
                return Requested::Renewed;
            }
            if opening.guests.len() < GUESTS {
                opening.guests.extend(guest.take());
            }
            return Requested::Begun;
        }
        if !self.make_room() {
            return Requested::Full;
        }
        self.all.push(Opening {
            mirage: request.mirage,
            open_for: request.open_for,
            job: None,
            until,
            stays_ms: request.stays_ms,
            open: request.open,
            close: request.close.into(),
            stage: OpeningStage::Begin,
            wanted: None,
            is_doubtful: false,
            pause_ms: CLOSE_AGAIN_MS,
            guests: Vec::from_iter(guest.take()),
        });
        Requested::Begun
    }

    /// Whether there is a place for one more. An element gives up its place: it ends by itself, and only its
    /// line in the log is lost.
    fn make_room(&mut self) -> bool {
        self.all.len() < OPENINGS || {
            let place = self.all.iter().position(Opening::is_element);
            place.map(|place| self.all.swap_remove(place)).is_some()
        }
    }

    /// Records that an address is an element of a set until then.
    pub fn include(
        &mut self,
        mirage: MirageId,
        address: IpAddr,
        set: NftSet,
        until: Instant,
        now: Instant,
    ) {
        let open_for = OpenFor::Element(address);
        match self.find(mirage, open_for) {
            Some(opening) => {
                opening.until = Some(until);
                opening.go_on(now);
            }
            None => self.insert_open(mirage, open_for, Closing::Element(set), until, now),
        }
    }

    /// Records that an address is no longer an element of its set. False: it was none.
    pub fn exclude(&mut self, mirage: MirageId, address: IpAddr) -> bool {
        let is_it = |it: &Opening| it.mirage == mirage && it.open_for == OpenFor::Element(address);
        let place = self.all.iter().position(is_it);
        place.map(|place| self.all.swap_remove(place)).is_some()
    }

    /// An address could not be taken out of its set. It leaves the set at its time.
    pub fn keep(&mut self, mirage: MirageId, address: IpAddr, now: Instant) {
        if let Some(opening) = self.find(mirage, OpenFor::Element(address)) {
            opening.go_on(now);
        }
    }

    /// The next element that has to be taken out of its set before its time. Each is returned once.
    pub fn next_removal(&mut self) -> Option<(MirageId, IpAddr, NftSet)> {
        if self.are_removals_busy() {
            return None;
        }
        let mut ending = self.all.iter_mut();
        let opening = ending.find(|it| it.is_element() && it.stage == OpeningStage::End)?;
        let (OpenFor::Element(address), Closing::Element(set)) = (opening.open_for, &opening.close)
        else {
            return None;
        };
        opening.stage = OpeningStage::Closing;
        Some((opening.mirage, address, set.clone()))
    }

    /// Whether as many elements are being taken out as the shell has room for.
    fn are_removals_busy(&self) -> bool {
        let is_removed = |it: &&Opening| it.is_element() && it.stage == OpeningStage::Closing;
        self.all.iter().filter(is_removed).count() >= NFT_QUEUED / 2
    }

    /// Whether as many commands run or wait as the shell has room for.
    fn are_commands_busy(&self) -> bool {
        let commands = self.all.iter().filter(|it| it.job.is_some());
        commands.count() >= HOOKS + HOOKS_QUEUED
    }

    /// Closes everything whatever its time, or everything of one mirage that no session uses. What is not open yet
    /// is not opened; its guests are returned. What could not be closed is tried again at once.
    pub fn close_all(&mut self, of: Option<MirageId>, now: Instant) -> Vec<ConnId> {
        // A service that sessions use is closed when the daemon ends, and with it the sessions, but not before.
        let is_meant =
            |opening: &Opening| of.is_none_or(|of| of == opening.mirage && opening.until.is_some());
        let is_unopened = |opening: &mut Opening| {
            let stage = opening.stage;
            is_meant(opening)
                && matches!(stage, OpeningStage::Begin | OpeningStage::Recorded)
                && !(opening.is_doubtful && opening.has_command())
        };
        let unopened: Vec<_> = self.all.extract_if(.., is_unopened).collect();
        self.is_unrecorded |= !unopened.is_empty();
        let mut guests: Vec<_> = unopened.into_iter().flat_map(|it| it.guests).collect();
        for opening in self.all.iter_mut().filter(|it| is_meant(it)) {
            opening.stays_ms = 0;
            opening.wanted = None;
            // The kernel keeps an element's time.
            if !opening.is_element() {
                opening.until = Some(now);
            }
            match (opening.stage, &opening.close) {
                // Its command ends first.
                (OpeningStage::Opening | OpeningStage::Closing, _) => {}
                (_, Closing::ByItself | Closing::Unknown) => opening.go_on(now),
                _ => opening.stage = OpeningStage::End,
            }
            if opening.stage != OpeningStage::Opening {
                guests.append(&mut opening.guests);
            }
        }
        guests
    }

    /// Whether nothing is open that can be closed.
    #[must_use]
    pub fn are_closed(&self) -> bool {
        self.all.iter().all(Opening::is_orphan)
    }

    /// A mirage is configured, and how it closes what was open before the start. So what nobody could close is closed.
    pub fn adopt_orphans(&mut self, mirage: MirageId, closing: impl Fn(OpenFor) -> Closing) {
        let mut orphans = self.all.iter_mut();
        while let Some(orphan) = orphans.find(|it| it.mirage == mirage && it.is_orphan()) {
            orphan.close = closing(orphan.open_for);
        }
    }

    /// Takes back what was open before a restart, so that it is closed.
    pub fn restore(&mut self, mirage: MirageId, restored: RestoredOpening, now: Instant) {
        let RestoredOpening {
            open_for,
            close,
            until,
            ..
        } = restored;
        // It ends as what is known of it already, and not twice.
        if let Some(known) = self.find(mirage, open_for) {
            if known.ends_by_itself() || known.is_orphan() {
                known.close = close;
            }
            return;
        }
        self.insert_open(mirage, open_for, close, until, now);
    }

    /// Adds something that is open although no command of this process has opened it.
    fn insert_open(
        &mut self,
        mirage: MirageId,
        open_for: OpenFor,
        close: Closing,
        until: Instant,
        now: Instant,
    ) {
        if !self.make_room() {
            return;
        }
        self.all.push(Opening {
            mirage,
            open_for,
            job: None,
            until: Some(until),
            stays_ms: until.since(now),
            open: Rc::new([]),
            close,
            stage: OpeningStage::Open {
                since: now,
                is_ready: true,
            },
            wanted: None,
            is_doubtful: false,
            pause_ms: CLOSE_AGAIN_MS,
            guests: Vec::new(),
        });
    }

    /// Closes at once what is open for an address or the service.
    pub fn close(&mut self, mirage: MirageId, open_for: OpenFor, now: Instant) {
        if let Some(opening) = self.find(mirage, open_for) {
            opening.until = Some(now);
            // Also if it is just being opened.
            opening.stays_ms = 0;
        }
    }

    /// The mirage's hidden service has a session.
    pub fn service_is_used(&mut self, mirage: MirageId, now: Instant) {
        if let Some(opening) = self.find(mirage, OpenFor::Service) {
            opening.until = None;
            // A service that could not be stopped need not be stopped now.
            if let OpeningStage::Open { .. } | OpeningStage::End | OpeningStage::Again(_) =
                opening.stage
            {
                let (since, is_ready) = (now, true);
                opening.stage = OpeningStage::Open { since, is_ready };
            }
        }
    }

    /// The mirage's hidden service has no session any more.
    pub fn service_is_left(&mut self, mirage: MirageId, now: Instant) {
        if let Some(opening) = self.find(mirage, OpenFor::Service) {
            opening.until = Some(now.after(opening.stays_ms));
            self.is_unrecorded = true;
        }
    }

    /// Whether the mirage's hidden service is starting: its command runs, or has ended less than `ready_ms`
    /// ago and no connection was accepted since.
    pub fn service_is_coming(&mut self, mirage: MirageId, ready_ms: u64, now: Instant) -> bool {
        match self
            .find(mirage, OpenFor::Service)
            .map(|opening| (opening.stage, opening.wanted.is_some()))
        {
            Some((OpeningStage::Begin | OpeningStage::Recording, _))
            | Some((OpeningStage::Recorded | OpeningStage::Opening, _))
            | Some((OpeningStage::Closing, true)) => true,
            Some((OpeningStage::Open { since, is_ready }, _)) => {
                !is_ready && now < since.after(ready_ms)
            }
            _ => false,
        }
    }

    /// Starts a service again that was started and no longer runs.
    pub fn service_has_died(&mut self, mirage: MirageId) {
        if let Some(opening) = self.find(mirage, OpenFor::Service)
            && let OpeningStage::Open { .. } = opening.stage
            && !opening.open.is_empty()
        {
            opening.stage = OpeningStage::Begin;
            // It may still run, and only accept nobody.
            opening.is_doubtful = true;
        }
    }

    /// Takes out one whose time is over and that no command closes.
    pub fn next_end(&mut self, now: Instant) -> Option<(MirageId, OpenFor)> {
        let is_over = |opening: &Opening| {
            let is_open = matches!(opening.stage, OpeningStage::Open { .. });
            is_open && opening.ends_by_itself() && opening.until.is_some_and(|until| until <= now)
        };
        let place = self.all.iter().position(is_over)?;
        let Opening {
            mirage, open_for, ..
        } = self.all.swap_remove(place);
        Some((mirage, open_for))
    }

    /// Whether the journal has to be written. It then has everything that was requested until now, and
    /// [`Self::recorded`] has to follow.
    pub fn record(&mut self) -> bool {
        for opening in &mut self.all {
            if opening.stage == OpeningStage::Begin {
                opening.stage = OpeningStage::Recording;
                self.is_unrecorded = true;
            }
        }
        core::mem::take(&mut self.is_unrecorded)
    }

    /// The journal was written, and the commands can run; or it was not. Then this takes out one that is not
    /// opened, as often as there is one, and returns whom it was for and the connections that waited.
    pub fn recorded(&mut self, is_written: bool) -> Option<(MirageId, OpenFor, Vec<ConnId>)> {
        let is_recording = |opening: &Opening| opening.stage == OpeningStage::Recording;
        if is_written {
            for opening in self.all.iter_mut().filter(|opening| is_recording(opening)) {
                opening.stage = OpeningStage::Recorded;
            }
            return None;
        }
        let place = self.all.iter().position(is_recording)?;
        let opening = &mut self.all[place];
        let unopened = (
            opening.mirage,
            opening.open_for,
            core::mem::take(&mut opening.guests),
        );
        if opening.is_doubtful && opening.has_command() {
            // The journal of before has it.
            opening.stage = OpeningStage::End;
        } else {
            self.all.swap_remove(place);
        }
        Some(unopened)
    }

    /// A command that has to run now, for this job. Call again until it returns None.
    pub fn next_command(&mut self, job: JobId, now: Instant) -> Option<Argv> {
        if self.are_commands_busy() {
            return None;
        }
        for opening in &mut self.all {
            let is_due = match opening.stage {
                OpeningStage::Open { .. } => {
                    opening.has_command() && opening.until.is_some_and(|until| until <= now)
                }
                OpeningStage::Again(at) => at <= now,
                _ => false,
            };
            if is_due {
                opening.stage = OpeningStage::End;
            }
            let (words, stage) = match (opening.stage, &opening.close) {
                (OpeningStage::Recorded, _) => (&opening.open, OpeningStage::Opening),
                (OpeningStage::End, Closing::Command(close)) => (close, OpeningStage::Closing),
                _ => continue,
            };
            opening.stage = stage;
            opening.job = Some(job);
            return Some(Rc::clone(words));
        }
        None
    }

    /// The commands that run to open something.
    pub fn opening_jobs(&self) -> impl Iterator<Item = JobId> {
        let opening = self.all.iter().filter(|it| it.is_opening());
        opening.filter_map(|opening| opening.job)
    }

    /// The opening whose command is this job.
    #[must_use]
    pub fn of(&self, job: JobId) -> Option<&Opening> {
        self.all.iter().find(|opening| opening.job == Some(job))
    }

    /// Handles the end of a command, or its failure to start. None: its opening is gone.
    pub fn command_ended(&mut self, job: JobId, ended: Ended, now: Instant) -> Option<CommandEnd> {
        let has_succeeded = ended == Ended::Done;
        let mut all = self.all.iter();
        let place = all.position(|opening| opening.job == Some(job))?;
        let opening = &mut self.all[place];
        opening.job = None;
        Some(
            match (opening.stage == OpeningStage::Opening, has_succeeded) {
                (true, true) => {
                    let (since, is_ready) = (now, false);
                    opening.stage = OpeningStage::Open { since, is_ready };
                    opening.is_doubtful = false;
                    opening.pause_ms = CLOSE_AGAIN_MS;
                    // The time begins now: the command may have taken as long as that.
                    if let OpenFor::Address(_) = opening.open_for {
                        opening.until = Some(now.after(opening.stays_ms));
                        self.is_unrecorded = true;
                    }
                    CommandEnd::Opened(core::mem::take(&mut opening.guests))
                }
                (true, false)
                    if opening.has_command() && (opening.is_doubtful || ended == Ended::Killed) =>
                {
                    // It may be open.
                    opening.stage = OpeningStage::Again(now);
                    CommandEnd::Failed(core::mem::take(&mut opening.guests))
                }
                (true, false) => {
                    self.is_unrecorded = true;
                    CommandEnd::Failed(self.all.remove(place).guests)
                }
                (false, _) if opening.wanted.is_some() => {
                    opening.begin_again(has_succeeded);
                    match has_succeeded {
                        true => CommandEnd::Closed,
                        false => CommandEnd::StillOpen,
                    }
                }
                (false, true) => {
                    self.all.remove(place);
                    self.is_unrecorded = true;
                    CommandEnd::Closed
                }
                (false, false) => {
                    opening.stage = OpeningStage::Again(now.after(opening.pause_ms));
                    opening.pause_ms = (opening.pause_ms * 2).min(CLOSE_AGAIN_MOST_MS);
                    CommandEnd::StillOpen
                }
            },
        )
    }

    /// When the next one is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        // What waits for room is not due before something else ends.
        let (commands_wait, removals_wait) = (self.are_commands_busy(), self.are_removals_busy());
        let waits = |it: &Opening| match it.stage {
            OpeningStage::Recorded | OpeningStage::Again(_) => commands_wait,
            OpeningStage::Open { .. } => commands_wait && it.has_command(),
            OpeningStage::End if it.is_element() => removals_wait,
            OpeningStage::End => commands_wait,
            OpeningStage::Begin
            | OpeningStage::Recording
            | OpeningStage::Opening
            | OpeningStage::Closing => false,
        };
        let due = |opening: &Opening| match opening.stage {
            _ if waits(opening) || opening.is_orphan() => None,
            OpeningStage::Open { .. } => opening.until,
            OpeningStage::Again(at) => Some(at),
            // At once.
            OpeningStage::Begin | OpeningStage::Recorded | OpeningStage::End => Some(Instant(0)),
            OpeningStage::Recording | OpeningStage::Opening | OpeningStage::Closing => None,
        };
        let at_once = self.is_unrecorded.then_some(Instant(0));
        self.all
            .iter()
            .fold(at_once, |soonest, opening| sooner(soonest, due(opening)))
    }
}

#[cfg(test)]
mod tests;
