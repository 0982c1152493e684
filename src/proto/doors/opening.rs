//! One thing that is open: for whom, until when, and how it is closed.

use crate::proto::conn::ConnId;
use crate::proto::ids::{JobId, MirageId};
use crate::proto::settings::MirageSettings;
use crate::proto::time::Instant;
use crate::terms::{Door, Forward, NftSet, OnDemand};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
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

/// How it is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It ends at its time, and nothing can end it before.
    ByItself,
    /// A command closes it.
    Command(Argv),
    /// The kernel takes it out of this set at its time, or before if we ask.
    Element(NftSet),
    /// It was open before the start, and no mirage of the configuration closes it. It stays recorded.
    Unknown,
}

impl Closing {
    /// How a mirage closes what it opened before a restart. Nobody knows any more for whom a service was started.
    #[must_use]
    pub fn of(settings: &MirageSettings, open_for: OpenFor) -> Self {
        let (close, address) = match (&settings.door, open_for) {
            (Door::Command { close, .. }, OpenFor::Address(address)) => (close, address),
            (
                Door::Forward(Forward {
                    on_demand: Some(OnDemand { close, .. }),
                    ..
                }),
                OpenFor::Service,
            ) => (close, Ipv4Addr::UNSPECIFIED.into()),
            _ => return Self::Unknown,
        };
        let close = close.as_ref();
        close.map_or(Self::Unknown, |close| {
            Self::Command(close.words(address, &settings.section))
        })
    }
}

/// How a command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It has done what it was to do.
    Done,
    /// It has not, and says so.
    Failed,
    /// It was killed, so nobody knows how far it came.
    Killed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpeningStage {
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
#[cfg_attr(test, derive(Clone))]
pub struct Opening {
    /// The mirage; it may be gone from the configuration.
    pub mirage: MirageId,
    /// The address, or the service.
    pub open_for: OpenFor,
    /// The command that runs.
    pub(super) job: Option<JobId>,
    /// When to close it; None while sessions use it.
    pub(super) until: Option<Instant>,
    /// How long it stays open after its last use, in ms.
    pub(super) stays_ms: u64,
    pub(super) open: Argv,
    pub(super) close: Closing,
    pub(super) stage: OpeningStage,
    /// Somebody has passed while it was being closed. It is opened again then, and closed so.
    pub(super) wanted: Option<Closing>,
    /// It could not be closed before it is opened again.
    pub(super) is_doubtful: bool,
    pub(super) pause_ms: u64,
    /// The connections that wait for it, [`GUESTS`](crate::limits::GUESTS) at most.
    pub(super) guests: Vec<ConnId>,
}

/// What was open before a restart, as recorded in the journal.
#[derive(Debug)]
pub struct RestoredOpening {
    /// The mirage's section name.
    pub section: Rc<str>,
    /// The address, or the service.
    pub open_for: OpenFor,
    /// How it is closed, as the configuration says.
    pub close: Closing,
    /// When to close it.
    pub until: Instant,
}

impl From<Option<Argv>> for Closing {
    fn from(command: Option<Argv>) -> Self {
        command.map_or(Self::ByItself, Self::Command)
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

    /// It is open, whatever was to become of it.
    pub(super) fn go_on(&mut self, now: Instant) {
        let (since, is_ready) = (now, true);
        self.stage = OpeningStage::Open { since, is_ready };
    }

    /// Whether it is open, or a command that was started may have opened it.
    pub(super) fn may_be_open(&self) -> bool {
        self.is_open() || self.is_opening() || self.is_doubtful
    }

    /// It is closed so from now on. What may be open keeps its command where nothing would close it.
    pub(super) fn close_by(&mut self, close: Closing) {
        if close != Closing::ByItself || !self.has_command() {
            self.close = close;
        }
    }

    /// It was closed, or could not be, and is opened again.
    pub(super) fn begin_again(&mut self, is_closed: bool) {
        self.stage = OpeningStage::Begin;
        self.is_doubtful = !is_closed;
        match self.wanted.take() {
            Some(close) if is_closed => self.close = close,
            Some(close) => self.close_by(close),
            None => {}
        }
    }

    pub(super) fn is_element(&self) -> bool {
        matches!(self.open_for, OpenFor::Element(_))
    }

    /// Whether it is over at its time, without us.
    pub(super) fn ends_by_itself(&self) -> bool {
        matches!(self.close, Closing::ByItself | Closing::Element(_))
    }

    /// Whether nothing is known that closes it.
    pub(super) fn is_orphan(&self) -> bool {
        self.close == Closing::Unknown
    }

    /// Whether a command closes it.
    pub(super) fn has_command(&self) -> bool {
        matches!(self.close, Closing::Command(_))
    }

    /// Whether its opening command runs.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.stage == OpeningStage::Opening
    }

    /// The command that has to run to close it.
    #[must_use]
    pub fn to_close(&self) -> Option<&Argv> {
        match &self.close {
            Closing::Command(close) if self.stage != OpeningStage::Begin => Some(close),
            _ => None,
        }
    }

    /// Whether a restart has to close it.
    #[must_use]
    pub fn is_to_be_closed(&self) -> bool {
        !self.ends_by_itself() && self.stage != OpeningStage::Begin
    }
}
