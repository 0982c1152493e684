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
//! A visitor who passes again finds it open and keeps it open for longer. The journal records what will
//! have to be closed before the command that opens it runs; if it can't, the command does not run.

use crate::limits::{CLOSE_AGAIN_MOST_MS, CLOSE_AGAIN_MS, GUESTS, OPENINGS};
use crate::proto::conn::ConnId;
use crate::proto::ids::{JobId, MirageId};
use crate::proto::time::{Instant, sooner};
use core::fmt;
use core::net::IpAddr;
use std::rc::Rc;

/// A command: its program and its arguments.
pub type Argv = Rc<[String]>;

/// Whom something is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFor {
    /// One address.
    Address(IpAddr),
    /// Everybody: the hidden service itself was started.
    Service,
    /// One address, as an element of a set, which ends without us.
    Element(IpAddr),
}

/// As in the log.
impl fmt::Display for OpenFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) | Self::Element(address) => write!(f, "source={address}"),
            Self::Service => f.write_str("service"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpeningStage {
    /// To be recorded; then the opening command can run.
    Begin,
    /// It is being recorded.
    Recording,
    /// The journal has it; the opening command can run.
    Recorded,
    /// The opening command runs.
    Opening,
    /// The command has succeeded. For a service: since when, and whether it has accepted a connection since.
    Open { since: Instant, is_ready: bool },
    /// The closing command can run.
    End,
    /// The closing command runs.
    Closing,
    /// The closing command has failed, and is tried again at this time.
    Again(Instant),
}

/// Something that is open, is being opened, or has to be closed.
#[derive(Debug)]
pub struct Opening {
    /// The mirage; it may be gone from the configuration.
    pub mirage: MirageId,
    /// The address, or the service.
    pub open_for: OpenFor,
    /// The command that runs.
    job: Option<JobId>,
    /// When to close it; None while sessions use it.
    until: Option<Instant>,
    /// How long it stays open after its last use, in ms.
    stays_ms: u64,
    open: Argv,
    close: Option<Argv>,
    stage: OpeningStage,
    /// Somebody has passed while it was being closed.
    is_wanted: bool,
    /// It could not be closed before it is opened again.
    is_doubtful: bool,
    pause_ms: u64,
    /// The connections that wait for it, [`GUESTS`] at most.
    guests: Vec<ConnId>,
}

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
    /// It is not open, and nothing is left to close. These connections waited in vain.
    Failed(Vec<ConnId>),
    /// It is closed.
    Closed,
    /// It could not be closed; the command will be tried again.
    StillOpen,
}

/// What was open before a restart, as recorded in the journal.
#[derive(Debug)]
pub struct RestoredOpening {
    /// The mirage's section name.
    pub section: Rc<str>,
    /// The address, or the service.
    pub open_for: OpenFor,
    /// The command that closes it.
    pub close: Option<Argv>,
    /// When to close it.
    pub until: Instant,
}

/// Everything that is open, is being opened or is being closed.
#[derive(Debug, Default)]
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
            if is_doubtful
                && matches!(
                    opening.stage,
                    OpeningStage::Open { .. } | OpeningStage::Again(_)
                )
            {
                opening.stage = OpeningStage::End;
                opening.is_wanted = true;
                opening.guests.extend(guest.take());
                return Requested::Begun;
            }
            // If it has to be closed before it is opened, it still needs the old closing command.
            if opening.stage != OpeningStage::End || !opening.is_wanted {
                opening.close = request.close;
            }
            let is_open = match opening.stage {
                OpeningStage::Open { .. } => true,
                OpeningStage::Begin
                | OpeningStage::Recording
                | OpeningStage::Recorded
                | OpeningStage::Opening => false,
                OpeningStage::End if opening.is_wanted => false,
                OpeningStage::End => {
                    let (since, is_ready) = (now, false);
                    opening.stage = OpeningStage::Open { since, is_ready };
                    true
                }
                OpeningStage::Closing => {
                    opening.is_wanted = true;
                    false
                }
                // Nobody knows whether it is open.
                OpeningStage::Again(_) => {
                    opening.stage = OpeningStage::Begin;
                    opening.is_doubtful = true;
                    false
                }
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
            close: request.close,
            stage: OpeningStage::Begin,
            is_wanted: false,
            is_doubtful: false,
            pause_ms: CLOSE_AGAIN_MS,
            guests: Vec::from_iter(guest.take()),
        });
        Requested::Begun
    }

    /// Whether there is a place for one more. An element gives up its place: it ends by itself, and only its
    /// line in the log is lost.
    fn make_room(&mut self) -> bool {
        let is_element = |opening: &Opening| matches!(opening.open_for, OpenFor::Element(_));
        self.all.len() < OPENINGS || {
            let place = self.all.iter().position(is_element);
            place.map(|place| self.all.swap_remove(place)).is_some()
        }
    }

    /// Records that an address is an element of a set until then.
    pub fn include(&mut self, mirage: MirageId, address: IpAddr, until: Instant, now: Instant) {
        let open_for = OpenFor::Element(address);
        match self.find(mirage, open_for) {
            Some(opening) => opening.until = Some(until),
            None => self.insert_open(mirage, open_for, None, until, now),
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
            known.close = known.close.take().or(close);
            return;
        }
        self.insert_open(mirage, open_for, close, until, now);
    }

    /// Adds something that is open although no command of this process has opened it.
    fn insert_open(
        &mut self,
        mirage: MirageId,
        open_for: OpenFor,
        close: Option<Argv>,
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
            is_wanted: false,
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
            .map(|opening| (opening.stage, opening.is_wanted))
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
        }
    }

    /// Takes out one whose time is over and that no command closes.
    pub fn next_end(&mut self, now: Instant) -> Option<(MirageId, OpenFor)> {
        let is_over = |opening: &Opening| {
            let is_open = matches!(opening.stage, OpeningStage::Open { .. });
            opening.close.is_none() && is_open && opening.until.is_some_and(|until| until <= now)
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
        if opening.is_doubtful && opening.close.is_some() {
            // The journal of before has it.
            opening.stage = OpeningStage::End;
        } else {
            self.all.swap_remove(place);
        }
        Some(unopened)
    }

    /// A command that has to run now, for this job. Call again until it returns None.
    pub fn next_command(&mut self, job: JobId, now: Instant) -> Option<Argv> {
        for opening in &mut self.all {
            let is_due = match opening.stage {
                OpeningStage::Open { .. } if opening.close.is_none() => false,
                OpeningStage::Open { .. } => opening.until.is_some_and(|until| until <= now),
                OpeningStage::Again(at) => at <= now,
                _ => false,
            };
            if is_due {
                opening.stage = OpeningStage::End;
            }
            let (words, stage) = match (opening.stage, &opening.close) {
                (OpeningStage::Recorded, _) => (&opening.open, OpeningStage::Opening),
                (OpeningStage::End, Some(close)) => (close, OpeningStage::Closing),
                _ => continue,
            };
            opening.stage = stage;
            opening.job = Some(job);
            return Some(Rc::clone(words));
        }
        None
    }

    /// The opening whose command is this job.
    #[must_use]
    pub fn of(&self, job: JobId) -> Option<&Opening> {
        self.all.iter().find(|opening| opening.job == Some(job))
    }

    /// Handles the end of a command, or its failure to start. None: its opening is gone.
    pub fn command_ended(
        &mut self,
        job: JobId,
        has_succeeded: bool,
        now: Instant,
    ) -> Option<CommandEnd> {
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
                (true, false) => {
                    self.is_unrecorded = true;
                    CommandEnd::Failed(self.all.remove(place).guests)
                }
                (false, _) if core::mem::take(&mut opening.is_wanted) => {
                    opening.stage = OpeningStage::Begin;
                    opening.is_doubtful = !has_succeeded;
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
        let due = |opening: &Opening| match opening.stage {
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

impl Opening {
    /// How long it stays open from now on unless it is used, in ms. For an address this begins when the command
    /// that opens it has run.
    #[must_use]
    pub fn stays_ms(&self, now: Instant) -> u64 {
        let has_begun = self.is_open() || self.open_for == OpenFor::Service;
        let until = self.until.filter(|_| has_begun);
        until.map_or(self.stays_ms, |until| until.since(now))
    }

    /// Whether it is open, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(
            self.stage,
            OpeningStage::Begin
                | OpeningStage::Recording
                | OpeningStage::Recorded
                | OpeningStage::Opening
        )
    }

    /// Whether its opening command runs.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.stage == OpeningStage::Opening
    }

    /// The command that a restart has to run to close it.
    #[must_use]
    pub fn to_close(&self) -> Option<&Argv> {
        self.close
            .as_ref()
            .filter(|_| self.stage != OpeningStage::Begin)
    }
}

#[cfg(test)]
mod tests;
