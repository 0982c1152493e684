//! What a command has opened, for whom, and until when; and that it is closed again.
//!
//! ```text
//!   Begin ─▶ Opening ─▶ Open ───time──▶ End ─▶ Closing ─▶ (gone)
//!     ▲         │         ▲              ▲        │
//!     │      it fails   once more        └─Again ◀┴─ it fails: with growing pauses
//!     │         ▼                                 │
//!     │       (gone)                              │
//!     └──── somebody has passed meanwhile ────────┘
//! ```
//!
//! Who has passed twice finds it open, and it stays open for longer. This decides; the daemon runs the
//! commands, and writes down before each one what will have to be closed: the journal.

use crate::limits::{CLOSE_AGAIN_MOST_MS, CLOSE_AGAIN_MS, GUESTS, OPENINGS};
use crate::proto::Instant;
use core::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// A command, split into its words.
pub type Words = Rc<[String]>;

/// For whom something is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// For one address.
    Address(IpAddr),
    /// For all who come: the hidden service itself.
    Service,
    /// For one address, as an element of a set, which ends without us.
    Element(IpAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The command that opens it is to run.
    Begin,
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
pub struct Opening {
    id: u32,
    /// The section of the mirage; it may be gone from the configuration.
    pub mirage: Rc<str>,
    /// For whom.
    pub whom: Whom,
    /// When it is closed; None as long as sessions use it.
    until: Option<Instant>,
    /// Milliseconds for which it stays open after its last use.
    stays_ms: u64,
    open: Words,
    close: Option<Words>,
    stage: Stage,
    /// Somebody has passed while it was being closed.
    is_wanted: bool,
    pause_ms: u64,
    /// [`GUESTS`] at most.
    guests: Vec<OwnedFd>,
}

/// Which command ran, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    id: u32,
    /// Whether it opens or closes.
    pub is_opening: bool,
}

/// What is wanted to be open.
pub struct Wish {
    /// The section of the mirage.
    pub mirage: Rc<str>,
    /// For whom.
    pub whom: Whom,
    /// What opens it.
    pub open: Words,
    /// What closes it again.
    pub close: Option<Words>,
    /// Milliseconds for which it stays open.
    pub stays_ms: u64,
}

/// What became of a wish.
#[derive(Debug, PartialEq, Eq)]
pub enum Granted {
    /// A command will open it.
    Begun,
    /// It is open, and stays so for longer.
    Renewed,
    /// There are as many openings as there can be.
    Full,
}

/// What the end of a command means.
pub enum Ended {
    /// It is open now. These have waited for it.
    Opened(Vec<OwnedFd>),
    /// It is not open, and nothing is left of it.
    Failed,
    /// It is closed.
    Closed,
    /// It could not be closed, and is tried again.
    StillOpen,
}

/// What is open though no command of ours has run: it was before a restart, or is an element of a set.
pub struct Remembered {
    /// The section of the mirage.
    pub mirage: Rc<str>,
    /// For whom.
    pub whom: Whom,
    /// What closes it.
    pub close: Option<Words>,
    /// When that is due.
    pub until: Instant,
}

/// All that is open.
pub struct Openings {
    all: Vec<Opening>,
    next_id: u32,
    /// What has to be closed after a restart is not what was written down last.
    has_news: bool,
}

impl Openings {
    /// Nothing is open.
    pub fn new() -> Self {
        Self {
            all: Vec::new(),
            next_id: 0,
            has_news: false,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Opening> {
        self.all.iter()
    }

    fn find(&mut self, mirage: &str, whom: Whom) -> Option<&mut Opening> {
        let is_it = |opening: &&mut Opening| *opening.mirage == *mirage && opening.whom == whom;
        self.all.iter_mut().find(is_it)
    }

    /// Makes it open, or stay open. A guest waits for that.
    pub fn wish(&mut self, wish: Wish, guest: Option<OwnedFd>, now: Instant) -> Granted {
        let until = match wish.whom {
            Whom::Service => None,
            Whom::Address(_) | Whom::Element(_) => Some(now.after(wish.stays_ms)),
        };
        self.has_news = true;
        if let Some(opening) = self.find(&wish.mirage, wish.whom) {
            opening.until = until;
            opening.stays_ms = wish.stays_ms;
            // What was open before a restart may be so no more, after a reboot it is not. So it is closed
            // before it is opened. A service is found out by dialling it.
            let is_doubtful = opening.open.is_empty() && opening.whom != Whom::Service;
            opening.open = wish.open;
            if is_doubtful && matches!(opening.stage, Stage::Open { .. } | Stage::Again(_)) {
                opening.stage = Stage::End;
                opening.is_wanted = true;
                if let Some(guest) = guest {
                    opening.guests.push(guest);
                }
                return Granted::Begun;
            }
            opening.close = wish.close;
            let is_open = match opening.stage {
                Stage::Open { .. } => true,
                Stage::Begin | Stage::Opening => false,
                Stage::End if opening.is_wanted => false,
                Stage::End => {
                    let (since, is_ready) = (now, false);
                    opening.stage = Stage::Open { since, is_ready };
                    true
                }
                Stage::Closing => {
                    opening.is_wanted = true;
                    false
                }
                // Whether it is open nobody knows.
                Stage::Again(_) => {
                    opening.stage = Stage::Begin;
                    false
                }
            };
            if is_open {
                return Granted::Renewed;
            }
            // One who finds no place is let go at once; it is open a moment later.
            if let Some(guest) = guest
                && opening.guests.len() < GUESTS
            {
                opening.guests.push(guest);
            }
            return Granted::Begun;
        }
        if !self.make_room() {
            return Granted::Full;
        }
        self.next_id = self.next_id.wrapping_add(1);
        self.all.push(Opening {
            id: self.next_id,
            mirage: wish.mirage,
            whom: wish.whom,
            until,
            stays_ms: wish.stays_ms,
            open: wish.open,
            close: wish.close,
            stage: Stage::Begin,
            is_wanted: false,
            pause_ms: CLOSE_AGAIN_MS,
            guests: Vec::from_iter(guest),
        });
        Granted::Begun
    }

    /// Whether there is a place for one more. An element gives its own up: it ends, be that told or not.
    fn make_room(&mut self) -> bool {
        let is_element = |opening: &Opening| matches!(opening.whom, Whom::Element(_));
        self.all.len() < OPENINGS || {
            let place = self.all.iter().position(is_element);
            place.map(|place| self.all.swap_remove(place)).is_some()
        }
    }

    /// An address is an element of a set until then.
    pub fn include(&mut self, mirage: &Rc<str>, address: IpAddr, until: Instant, now: Instant) {
        let whom = Whom::Element(address);
        if let Some(opening) = self.find(mirage, whom) {
            opening.until = Some(until);
            return;
        }
        let element = Remembered {
            mirage: Rc::clone(mirage),
            whom,
            close: None,
            until,
        };
        self.restore(element, now);
    }

    /// Puts back what a restart has to close.
    pub fn restore(&mut self, remembered: Remembered, now: Instant) {
        if !self.make_room() {
            return;
        }
        self.next_id = self.next_id.wrapping_add(1);
        self.all.push(Opening {
            id: self.next_id,
            mirage: remembered.mirage,
            whom: remembered.whom,
            until: Some(remembered.until),
            stays_ms: remembered.until.since(now),
            open: Rc::new([]),
            close: remembered.close,
            stage: Stage::Open {
                since: now,
                is_ready: true,
            },
            is_wanted: false,
            pause_ms: CLOSE_AGAIN_MS,
            guests: Vec::new(),
        });
    }

    /// Closes now what is open for somebody.
    pub fn close(&mut self, mirage: &str, whom: Whom, now: Instant) {
        if let Some(opening) = self.find(mirage, whom) {
            opening.until = Some(now);
            // Where it is only just being opened, too.
            opening.stays_ms = 0;
        }
    }

    /// The hidden service of a mirage has a session.
    pub fn service_is_used(&mut self, mirage: &str, now: Instant) {
        if let Some(opening) = self.find(mirage, Whom::Service) {
            opening.until = None;
            // One that could not be stopped is not to be stopped now.
            if let Stage::Open { .. } | Stage::End | Stage::Again(_) = opening.stage {
                let (since, is_ready) = (now, true);
                opening.stage = Stage::Open { since, is_ready };
            }
        }
    }

    /// It has none any more.
    pub fn service_is_left(&mut self, mirage: &str, now: Instant) {
        if let Some(opening) = self.find(mirage, Whom::Service) {
            opening.until = Some(now.after(opening.stays_ms));
            self.has_news = true;
        }
    }

    /// Whether the hidden service of a mirage is on its way: its command runs, or has run less than
    /// `ready_ms` ago and nobody was accepted since.
    pub fn service_is_coming(&mut self, mirage: &str, ready_ms: u64, now: Instant) -> bool {
        match self
            .find(mirage, Whom::Service)
            .map(|opening| (opening.stage, opening.is_wanted))
        {
            Some((Stage::Begin | Stage::Opening, _)) | Some((Stage::Closing, true)) => true,
            Some((Stage::Open { since, is_ready }, _)) => !is_ready && now < since.after(ready_ms),
            _ => false,
        }
    }

    /// A service that was started and is not there any more is started again.
    pub fn service_has_died(&mut self, mirage: &str) {
        if let Some(opening) = self.find(mirage, Whom::Service)
            && let Stage::Open { .. } = opening.stage
            && !opening.open.is_empty()
        {
            opening.stage = Stage::Begin;
        }
    }

    /// What is over with its time, because no command closes it.
    pub fn next_end(&mut self, now: Instant) -> Option<(Rc<str>, Whom)> {
        let is_over = |opening: &Opening| {
            let is_open = matches!(opening.stage, Stage::Open { .. });
            opening.close.is_none() && is_open && opening.until.is_some_and(|until| until <= now)
        };
        let place = self.all.iter().position(is_over)?;
        let Opening { mirage, whom, .. } = self.all.swap_remove(place);
        Some((mirage, whom))
    }

    /// What has to be done now: a command that is to run, until there is none. What it will open has to
    /// be written down before.
    pub fn next_command(&mut self, now: Instant) -> Option<(Ticket, Words)> {
        for opening in &mut self.all {
            let is_due = match opening.stage {
                Stage::Open { .. } if opening.close.is_none() => false,
                Stage::Open { .. } => opening.until.is_some_and(|until| until <= now),
                Stage::Again(at) => at <= now,
                _ => false,
            };
            if is_due {
                opening.stage = Stage::End;
            }
            let (is_opening, words, stage) = match (opening.stage, &opening.close) {
                (Stage::Begin, _) => (true, &opening.open, Stage::Opening),
                (Stage::End, Some(close)) => (false, close, Stage::Closing),
                _ => continue,
            };
            opening.stage = stage;
            self.has_news |= is_opening;
            let id = opening.id;
            return Some((Ticket { id, is_opening }, Rc::clone(words)));
        }
        None
    }

    /// For what a command has run.
    pub fn of(&self, ticket: Ticket) -> Option<&Opening> {
        self.all.iter().find(|opening| opening.id == ticket.id)
    }

    /// A command has ended, or could not run.
    pub fn ended(&mut self, ticket: Ticket, has_succeeded: bool, now: Instant) -> Ended {
        let place = self.all.iter().position(|opening| opening.id == ticket.id);
        let Some(place) = place else {
            return Ended::Closed;
        };
        let opening = &mut self.all[place];
        match (ticket.is_opening, has_succeeded) {
            (true, true) => {
                let (since, is_ready) = (now, false);
                opening.stage = Stage::Open { since, is_ready };
                opening.pause_ms = CLOSE_AGAIN_MS;
                // Its time begins now: a command may take as long as that.
                if let Whom::Address(_) = opening.whom {
                    opening.until = Some(now.after(opening.stays_ms));
                    self.has_news = true;
                }
                Ended::Opened(core::mem::take(&mut opening.guests))
            }
            (false, _) if core::mem::take(&mut opening.is_wanted) => {
                opening.stage = Stage::Begin;
                if has_succeeded {
                    Ended::Closed
                } else {
                    Ended::StillOpen
                }
            }
            (false, false) => {
                opening.stage = Stage::Again(now.after(opening.pause_ms));
                opening.pause_ms = (opening.pause_ms * 2).min(CLOSE_AGAIN_MOST_MS);
                Ended::StillOpen
            }
            (is_opening, _) => {
                self.all.remove(place);
                self.has_news = true;
                if is_opening {
                    Ended::Failed
                } else {
                    Ended::Closed
                }
            }
        }
    }

    /// When a command will be due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let due = |opening: &Opening| match opening.stage {
            Stage::Open { .. } => opening.until,
            Stage::Again(at) => Some(at),
            // At once.
            Stage::Begin | Stage::End => Some(Instant(0)),
            Stage::Opening | Stage::Closing => None,
        };
        let mut soonest = None;
        for opening in &self.all {
            soonest = super::sooner(soonest, due(opening));
        }
        soonest
    }

    /// Whether what is to be closed after a restart has changed since this was asked last.
    pub fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.has_news)
    }
}

impl Opening {
    /// Milliseconds for which it stays open from now on, unless it is used.
    pub fn stays_ms(&self, now: Instant) -> u64 {
        self.until.map_or(self.stays_ms, |until| until.since(now))
    }

    /// Whether it is open, as far as is known.
    pub fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Begin | Stage::Opening)
    }

    /// What closes it, if a restart has to.
    pub fn to_close(&self) -> Option<&Words> {
        self.close.as_ref().filter(|_| self.stage != Stage::Begin)
    }
}

#[cfg(test)]
mod tests;
