//! What a command has opened, for whom, and until when; and that it is closed again.
//!
//! ```text
//!   Begin ─▶ Recorded ─▶ Opening ─▶ Open ───time──▶ End ─▶ Closing ─▶ (gone)
//!     ▲                     │         ▲              ▲        │
//!     │                  it fails   once more        └─Again ◀┴─ it fails: with growing pauses
//!     │                     ▼                                 │
//!     │                   (gone)                              │
//!     └──── somebody has passed meanwhile ────────────────────┘
//! ```
//!
//! Whoever has passed twice finds it open, and it stays open for longer. What will have to be closed is
//! recorded in the journal before the command that opens it runs.

use crate::limits::{CLOSE_AGAIN_MOST_MS, CLOSE_AGAIN_MS, GUESTS, OPENINGS};
use crate::proto::conn::ConnId;
use crate::proto::ids::{JobId, MirageId};
use crate::proto::time::{Instant, sooner};
use core::fmt;
use core::net::IpAddr;
use std::rc::Rc;

/// A command, split into its words.
pub type Words = Rc<[String]>;

/// For whom something is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFor {
    /// For one address.
    Address(IpAddr),
    /// For all who come: the hidden service itself.
    Service,
    /// For one address, as an element of a set, which ends without us.
    Element(IpAddr),
}

/// As the log has it.
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
    /// It is to be recorded, and then the command that opens it is to run.
    Begin,
    /// It is recorded.
    Recorded,
    /// It runs.
    Opening,
    /// It has run. For a service: since when, and whether it has accepted a connection since.
    Open { since: Instant, is_ready: bool },
    /// The command that closes it is to run.
    End,
    /// It runs.
    Closing,
    /// It has failed, and is tried again then.
    Again(Instant),
}

/// Something that is open, will be, or was.
#[derive(Debug)]
pub struct Opening {
    /// The mirage; it may be gone from the configuration.
    pub mirage: MirageId,
    /// For whom.
    pub open_for: OpenFor,
    /// The command that runs.
    job: Option<JobId>,
    /// When it is closed; None as long as sessions use it.
    until: Option<Instant>,
    /// Milliseconds for which it stays open after its last use.
    stays_ms: u64,
    open: Words,
    close: Option<Words>,
    stage: OpeningStage,
    /// Somebody has passed while it was being closed.
    is_wanted: bool,
    pause_ms: u64,
    /// [`GUESTS`] at most.
    guests: Vec<ConnId>,
}

/// What is wanted to be open.
#[derive(Debug)]
pub struct OpenRequest {
    /// Whose door it is.
    pub mirage: MirageId,
    /// For whom.
    pub open_for: OpenFor,
    /// What opens it.
    pub open: Words,
    /// What closes it again.
    pub close: Option<Words>,
    /// Milliseconds for which it stays open.
    pub stays_ms: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// A command will open it.
    Begun,
    /// It is open, and stays so for longer.
    Renewed,
    /// There are as many openings as there can be.
    Full,
}

/// What the end of a command means.
#[derive(Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// It is open now. These have waited for it.
    Opened(Vec<ConnId>),
    /// It is not open, and nothing is left of it. These have waited in vain.
    Failed(Vec<ConnId>),
    /// It is closed.
    Closed,
    /// It could not be closed, and is tried again.
    StillOpen,
}

/// What was open before a restart, as the journal has it.
#[derive(Debug)]
pub struct RestoredOpening {
    /// The section of the mirage.
    pub section: Rc<str>,
    /// For whom.
    pub open_for: OpenFor,
    /// What closes it.
    pub close: Option<Words>,
    /// When that is due.
    pub until: Instant,
}

/// All that is open.
#[derive(Debug, Default)]
pub struct Openings {
    all: Vec<Opening>,
    /// What has to be closed after a restart is not what the journal says.
    is_unrecorded: bool,
}

impl Openings {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Opening> {
        self.all.iter()
    }

    fn find(&mut self, mirage: MirageId, open_for: OpenFor) -> Option<&mut Opening> {
        let is_it =
            |opening: &&mut Opening| opening.mirage == mirage && opening.open_for == open_for;
        self.all.iter_mut().find(is_it)
    }

    /// Makes it open, or stay open. A guest that is taken waits for that; one that is left has nothing to wait
    /// for, or finds no place: it will be open a moment later.
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
            // What was open before a restart may be so no more, after a reboot it is not. So it is closed
            // before it is opened. A service is found out by dialling it.
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
            // What is to be closed before it is opened still needs what closes it.
            if opening.stage != OpeningStage::End || !opening.is_wanted {
                opening.close = request.close;
            }
            let is_open = match opening.stage {
                OpeningStage::Open { .. } => true,
                OpeningStage::Begin | OpeningStage::Recorded | OpeningStage::Opening => false,
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
                // Whether it is open nobody knows.
                OpeningStage::Again(_) => {
                    opening.stage = OpeningStage::Begin;
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
            pause_ms: CLOSE_AGAIN_MS,
            guests: Vec::from_iter(guest.take()),
        });
        Requested::Begun
    }

    /// Whether there is a place for one more. An element gives its own up: it ends, be that told or not.
    fn make_room(&mut self) -> bool {
        let is_element = |opening: &Opening| matches!(opening.open_for, OpenFor::Element(_));
        self.all.len() < OPENINGS || {
            let place = self.all.iter().position(is_element);
            place.map(|place| self.all.swap_remove(place)).is_some()
        }
    }

    /// An address is an element of a set until then.
    pub fn include(&mut self, mirage: MirageId, address: IpAddr, until: Instant, now: Instant) {
        let open_for = OpenFor::Element(address);
        match self.find(mirage, open_for) {
            Some(opening) => opening.until = Some(until),
            None => self.insert_open(mirage, open_for, None, until, now),
        }
    }

    /// Puts back what a restart has to close.
    pub fn restore(&mut self, mirage: MirageId, restored: RestoredOpening, now: Instant) {
        let RestoredOpening {
            open_for,
            close,
            until,
            ..
        } = restored;
        self.insert_open(mirage, open_for, close, until, now);
    }

    /// Adds what is open though no command of ours has run.
    fn insert_open(
        &mut self,
        mirage: MirageId,
        open_for: OpenFor,
        close: Option<Words>,
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
            pause_ms: CLOSE_AGAIN_MS,
            guests: Vec::new(),
        });
    }

    /// Closes now what is open for somebody.
    pub fn close(&mut self, mirage: MirageId, open_for: OpenFor, now: Instant) {
        if let Some(opening) = self.find(mirage, open_for) {
            opening.until = Some(now);
            // Where it is only just being opened, too.
            opening.stays_ms = 0;
        }
    }

    /// The hidden service of a mirage has a session.
    pub fn service_is_used(&mut self, mirage: MirageId, now: Instant) {
        if let Some(opening) = self.find(mirage, OpenFor::Service) {
            opening.until = None;
            // One that could not be stopped is not to be stopped now.
            if let OpeningStage::Open { .. } | OpeningStage::End | OpeningStage::Again(_) =
                opening.stage
            {
                let (since, is_ready) = (now, true);
                opening.stage = OpeningStage::Open { since, is_ready };
            }
        }
    }

    /// It has none any more.
    pub fn service_is_left(&mut self, mirage: MirageId, now: Instant) {
        if let Some(opening) = self.find(mirage, OpenFor::Service) {
            opening.until = Some(now.after(opening.stays_ms));
            self.is_unrecorded = true;
        }
    }

    /// Whether the hidden service of a mirage is on its way: its command runs, or has run less than
    /// `ready_ms` ago and nobody was accepted since.
    pub fn service_is_coming(&mut self, mirage: MirageId, ready_ms: u64, now: Instant) -> bool {
        match self
            .find(mirage, OpenFor::Service)
            .map(|opening| (opening.stage, opening.is_wanted))
        {
            Some((OpeningStage::Begin | OpeningStage::Recorded | OpeningStage::Opening, _))
            | Some((OpeningStage::Closing, true)) => true,
            Some((OpeningStage::Open { since, is_ready }, _)) => {
                !is_ready && now < since.after(ready_ms)
            }
            _ => false,
        }
    }

    /// A service that was started and is not there any more is started again.
    pub fn service_has_died(&mut self, mirage: MirageId) {
        if let Some(opening) = self.find(mirage, OpenFor::Service)
            && let OpeningStage::Open { .. } = opening.stage
            && !opening.open.is_empty()
        {
            opening.stage = OpeningStage::Begin;
        }
    }

    /// What is over with its time, because no command closes it.
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

    /// Whether the journal has to be written. It has all that was asked for until now, and lets its commands
    /// run.
    pub fn record(&mut self) -> bool {
        for opening in &mut self.all {
            if opening.stage == OpeningStage::Begin {
                opening.stage = OpeningStage::Recorded;
                self.is_unrecorded = true;
            }
        }
        core::mem::take(&mut self.is_unrecorded)
    }

    /// A command that has to run now, under this name; until there is none.
    pub fn next_command(&mut self, job: JobId, now: Instant) -> Option<Words> {
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

    /// For what a command has run.
    #[must_use]
    pub fn of(&self, job: JobId) -> Option<&Opening> {
        self.all.iter().find(|opening| opening.job == Some(job))
    }

    /// A command has ended, or could not run. None: what it was for is gone.
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
                    opening.pause_ms = CLOSE_AGAIN_MS;
                    // Its time begins now: a command may take as long as that.
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

    /// When something will be due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let due = |opening: &Opening| match opening.stage {
            OpeningStage::Open { .. } => opening.until,
            OpeningStage::Again(at) => Some(at),
            // At once.
            OpeningStage::Begin | OpeningStage::Recorded | OpeningStage::End => Some(Instant(0)),
            OpeningStage::Opening | OpeningStage::Closing => None,
        };
        let at_once = self.is_unrecorded.then_some(Instant(0));
        self.all
            .iter()
            .fold(at_once, |soonest, opening| sooner(soonest, due(opening)))
    }
}

impl Opening {
    /// Milliseconds for which it stays open from now on, unless it is used.
    #[must_use]
    pub fn stays_ms(&self, now: Instant) -> u64 {
        self.until.map_or(self.stays_ms, |until| until.since(now))
    }

    /// Whether it is open, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(
            self.stage,
            OpeningStage::Begin | OpeningStage::Recorded | OpeningStage::Opening
        )
    }

    /// Whether the command that runs opens it.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.stage == OpeningStage::Opening
    }

    /// What closes it, if a restart has to.
    #[must_use]
    pub fn to_close(&self) -> Option<&Words> {
        self.close
            .as_ref()
            .filter(|_| self.stage != OpeningStage::Begin)
    }
}

#[cfg(test)]
mod tests;
