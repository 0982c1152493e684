//! A shell in memory: it performs effects as the daemon's does, and gives the same answers, as a test has told it
//! to. What it is asked to do and can't, the core should not have asked.

use super::flaw::Flaw;
use super::house::{Recorded, saved};
use crate::limits::{CLOSING_ACCEPTS, HOOKS, HOOKS_QUEUED, NFT_QUEUED};
use crate::proto::Core;
use crate::proto::conn::ConnId;
use crate::proto::effect::{Drain, Effect, Introduction, Reply};
use crate::proto::ids::{JobId, MirageId};
use crate::proto::input::{ElementOutcome, End, Examined, Fault, Input, JobFailure, SavedBan};
use crate::proto::scheme::knock::Hop;
use crate::proto::scheme::token::TOKEN;
use crate::proto::table::Id;
use crate::terms::{NftFamily, NftSet};
use core::net::{IpAddr, Ipv4Addr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;

/// What a dial comes to at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// It is under way.
    Pending,
    /// The service has accepted.
    Accepted,
    /// It has accepted, and ended the session.
    Brief,
    /// It has refused.
    Refused,
    /// There is no descriptor for it.
    Short,
    /// It can't be begun.
    Failed,
}

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialled {
    /// Its dial is under way.
    Pending,
    /// It has failed.
    Failed,
    /// Bytes move.
    Open,
}

/// What there is of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A trap, which listens or does not.
    Trap { listens: bool },
    /// A link to the service.
    Link(Dialled),
    /// A process.
    Process,
    /// The socket alone.
    Waiting,
}

/// A port that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub mirage: MirageId,
    /// Who alone may come.
    pub admitted: Option<Vec<IpAddr>>,
}

/// Where a port listens: an address of ours, or all.
pub type Place = (Option<IpAddr>, u16);

/// Somebody who waits to be accepted.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub place: Place,
    pub peer: IpAddr,
    /// The port that they dialled, which at a pool is another.
    pub dialled: Option<u16>,
}

/// An element on its way.
#[derive(Clone, Debug)]
pub struct PendingElement {
    pub job: JobId,
    pub set: NftSet,
    pub address: IpAddr,
    pub seconds: u32,
}

/// All that a shell has.
#[derive(Default)]
pub struct Shell {
    /// Connections, by the bits of their ids.
    pub bodies: BTreeMap<u32, Body>,
    /// For how long the clients of sessions have not answered, by the bits of their ids.
    pub unanswered_ms: BTreeMap<u32, u64>,
    /// A visitor is in hand.
    pub has_in_hand: bool,
    /// Who took the visitor in hand last.
    pub kept: Option<ConnId>,
    pub listeners: BTreeMap<Place, Listener>,
    /// Those who wait at ports, and are accepted when these are drained.
    pub waiting: VecDeque<Waiting>,
    draining: Option<(Vec<Place>, usize)>,
    pub jobs: Vec<(JobId, Rc<[String]>)>,
    /// Those that have little time left.
    pub hurried: Vec<JobId>,
    pub elements: Vec<PendingElement>,
    /// What commands would have to close after a restart.
    pub journal: Vec<String>,
    pub state: Vec<SavedBan>,
    pub hops: Vec<(Option<IpAddr>, Hop)>,
    pub replies: Vec<Reply>,
    answers: VecDeque<Input>,
    /// What dials and programs come to, one after the other; then they are under way.
    pub dials: VecDeque<Dial>,
    /// Tokens that have arrived and were not read yet.
    pub unread: Vec<(ConnId, [u8; TOKEN])>,
    /// Those who were reset before their verdict, which is told after it.
    pub reset: Vec<ConnId>,
    /// The next trap can't be registered.
    pub can_not_hold: bool,
    /// Ports that others have.
    pub taken: Vec<u16>,
    pub is_disk_full: bool,
    pub is_clock_kept: bool,
    /// The file of used tokens and datagrams.
    pub used: Vec<u8>,
    /// How often it was written.
    pub remembered: u32,
    /// The same as the journal, in full.
    pub recorded: Vec<Recorded>,
    /// What `/bin/open` has opened and `/bin/close` has not closed.
    pub house: BTreeSet<String>,
    pub flaw: Option<Flaw>,
    /// What was done, in its order: lines of the log, and behind `> ` all else.
    pub trace: Vec<String>,
}

impl Shell {
    /// What outlives the daemon.
    pub fn after_a_restart(self) -> Self {
        Self {
            journal: self.journal,
            recorded: self.recorded,
            house: self.house,
            state: self.state,
            used: self.used,
            remembered: self.remembered,
            is_clock_kept: self.is_clock_kept,
            is_disk_full: self.is_disk_full,
            flaw: self.flaw,
            ..Self::default()
        }
    }

    /// What is there of a connection.
    pub fn body(&self, conn: ConnId) -> Option<Body> {
        self.bodies.get(&conn.bits()).copied()
    }

    /// All connections.
    pub fn conns(&self) -> Vec<ConnId> {
        self.bodies
            .keys()
            .map(|&bits| Id::from_bits(bits))
            .collect()
    }

    /// Closes a connection by itself.
    pub fn drop_conn(&mut self, conn: ConnId) {
        self.unanswered_ms.remove(&conn.bits());
        self.bodies.remove(&conn.bits());
        self.unread.retain(|(other, _)| *other != conn);
        self.reset.retain(|other| *other != conn);
    }

    /// The next answer. While ports are drained, whoever waits there is one.
    pub fn next_answer(&mut self) -> Option<Input> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        let (places, left) = self.draining.as_mut()?;
        self.has_in_hand = false;
        let next = self
            .waiting
            .iter()
            .position(|who| places.contains(&who.place));
        match next.filter(|_| *left > 0) {
            Some(next) => {
                *left -= 1;
                let who = self.waiting.remove(next)?;
                // Its filter would not have let them through.
                self.accept(who).or_else(|| self.next_answer())
            }
            None => {
                self.draining = None;
                Some(Input::Drained)
            }
        }
    }

    fn is_told_gone(&self, conn: ConnId) -> bool {
        let is_it = |answer: &Input| matches!(answer, Input::Gone { conn: gone } if *gone == conn);
        self.answers.iter().any(is_it)
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.answers.is_empty() && self.draining.is_none()
    }

    /// Takes a visitor in hand, if they can come where they want to.
    pub fn accept(&mut self, who: Waiting) -> Option<Input> {
        let listener = self.listeners.get(&who.place)?;
        let is_let_through = |admitted: &Vec<IpAddr>| admitted.contains(&who.peer);
        if !listener.admitted.as_ref().is_none_or(is_let_through) {
            return None;
        }
        let peer = match (who.peer, self.flaw) {
            (IpAddr::V4(peer), Some(Flaw::Neighbour)) => {
                Ipv4Addr::from_bits(peer.to_bits() ^ 1).into()
            }
            (peer, _) => peer,
        };
        self.has_in_hand = true;
        Some(Input::Accepted {
            mirage: listener.mirage,
            peer,
            port: who.dialled,
        })
    }

    fn tell(&mut self, what: impl Into<String>) {
        self.trace.push(format!("> {}", what.into()));
    }

    fn answer(&mut self, answer: Input) {
        self.answers.push_back(answer);
    }

    fn examine(&mut self, sessions: &[ConnId]) {
        let examine = |&conn: &ConnId| {
            let has_socket = self.body(conn).expect("it is there") != Body::Process;
            let unanswered_ms = self.unanswered_ms.get(&conn.bits());
            has_socket.then(|| Examined {
                conn,
                unanswered_ms: unanswered_ms.copied().unwrap_or_default(),
                bytes_in: 5,
                bytes_out: 7,
            })
        };
        let found = sessions.iter().filter_map(examine).collect();
        self.answer(Input::Examined(found));
    }

    /// Does what the core wants.
    pub fn perform(&mut self, effect: Effect, core: &Core) {
        match effect {
            Effect::Log(event) => self.trace.push(event.to_string()),
            Effect::Hold { conn, listens } => {
                self.tell(if listens { "hold, listening" } else { "hold" });
                self.claim(conn);
                if core::mem::take(&mut self.can_not_hold) {
                    self.answer(Input::Gone { conn });
                } else {
                    self.bodies.insert(conn.bits(), Body::Trap { listens });
                }
            }
            Effect::Mute(conn) => {
                self.tell("mute");
                let listens = false;
                let before = self.bodies.insert(conn.bits(), Body::Trap { listens });
                assert_eq!(
                    before,
                    Some(Body::Trap { listens: true }),
                    "nothing to mute"
                );
                self.unread.retain(|(other, _)| *other != conn);
                if self.reset.contains(&conn) {
                    self.drop_conn(conn);
                    self.answer(Input::Gone { conn });
                }
            }
            Effect::GiveUp(conn) => self.give_up(conn),
            Effect::Wait(conn) => {
                self.tell("wait");
                self.take(conn);
                self.bodies.insert(conn.bits(), Body::Waiting);
            }
            Effect::Dial {
                conn,
                to,
                introduction,
                ..
            } => {
                let (from, how) = match introduction {
                    Introduction::Plain => (None, String::new()),
                    Introduction::From(address) => (Some(address), format!(" from {address}")),
                    Introduction::Header(version) => (None, format!(" header {version:?}")),
                };
                self.tell(format!("dial {to}{how}"));
                self.dial(conn, from);
            }
            Effect::Exec { conn, words } => {
                self.tell(format!("exec {}", words.join(" ")));
                self.take(conn);
                let dial = self.dials.pop_front().unwrap_or(Dial::Accepted);
                let (body, result) = match fault(dial) {
                    Some(fault) => (Body::Waiting, Err(fault)),
                    None => (Body::Process, Ok(None)),
                };
                self.bodies.insert(conn.bits(), body);
                self.answer(Input::Started { conn, result });
            }
            Effect::Close(conn) => {
                self.tell("close");
                assert!(self.body(conn).is_some(), "nothing to close");
                if self.flaw != Some(Flaw::SocketKept) {
                    self.drop_conn(conn);
                }
            }
            Effect::Cut(conn) => {
                self.tell("cut");
                assert!(self.body(conn).is_some(), "nothing to cut");
                self.drop_conn(conn);
            }
            Effect::Examine(sessions) => self.examine(&sessions),
            Effect::Ports(mirage) => {
                self.tell(format!("ports {}", core.name(mirage)));
                let open = self.follow(mirage, core);
                self.answer(Input::Listening { mirage, open });
            }
            Effect::Drain(drain) => self.drain(drain, core),
            Effect::Sense => {
                self.tell("sense");
                self.hops = core.hops();
            }
            Effect::Run { job, words } => {
                self.tell(format!("run {}", words.join(" ")));
                if self.jobs.len() < HOOKS + HOOKS_QUEUED {
                    if self.flaw == Some(Flaw::RunTwice) {
                        self.jobs.push((job, Rc::clone(&words)));
                    }
                    self.jobs.push((job, words));
                } else {
                    let failure = Some(JobFailure {
                        why: "too many commands wait".to_owned(),
                        was_killed: false,
                    });
                    self.answer(Input::JobEnded { job, failure });
                }
            }
            Effect::Hurry(job) => {
                assert!(self.jobs.iter().any(|(known, _)| *known == job));
                self.hurried.push(job);
            }
            Effect::Element {
                job,
                set,
                address,
                seconds,
            } => {
                self.tell(format!("element {address} {seconds} s"));
                self.add_element(PendingElement {
                    job,
                    set,
                    address,
                    seconds,
                });
            }
            Effect::Journal => {
                self.tell("journal");
                let is_written = !self.is_disk_full;
                if is_written && self.flaw != Some(Flaw::JournalNotWritten) {
                    self.write_journal(core);
                }
                self.answer(Input::Journalled { is_written });
            }
            Effect::Remember => {
                let unwritten = core.memory().unwritten();
                let is_written = !self.is_disk_full;
                if is_written {
                    self.remember(core.memory());
                }
                let changes = is_written.then(|| unwritten.changes());
                self.answer(Input::Remembered { changes });
            }
            Effect::Save => {
                self.tell("save");
                let is_written = !self.is_disk_full;
                if is_written {
                    self.state = saved(core);
                }
                let changes = is_written.then(|| core.bans().changes());
                self.answer(Input::Saved { changes });
            }
            Effect::Load => {
                self.tell("load");
                let is_read = self.flaw != Some(Flaw::StateNotRead);
                let state = if is_read {
                    self.state.clone()
                } else {
                    Vec::new()
                };
                self.answer(Input::Loaded(state));
            }
            Effect::AskClock => {
                self.tell("ask clock");
                self.answer(Input::ClockKept(self.is_clock_kept));
            }
            Effect::Reply(reply) => {
                self.tell("reply");
                self.replies.push(reply);
            }
        }
    }

    /// The visitor in hand is this connection from now on.
    fn claim(&mut self, conn: ConnId) {
        assert!(self.has_in_hand, "nobody is in hand");
        assert_eq!(self.body(conn), None, "it has a socket");
        self.has_in_hand = false;
        self.kept = Some(conn);
    }

    /// The socket of a connection that is joined to nothing, or else the one in hand.
    fn take(&mut self, conn: ConnId) {
        match self.body(conn) {
            Some(Body::Trap { .. } | Body::Waiting) => {
                // Whoever is in hand would be dropped.
                assert!(!self.has_in_hand, "somebody else is in hand");
                self.bodies.remove(&conn.bits());
                self.unread.retain(|(other, _)| *other != conn);
            }
            Some(body) => panic!("{body:?} has its socket"),
            None => self.claim(conn),
        }
    }

    fn give_up(&mut self, conn: ConnId) {
        self.tell("give up");
        let listens = match self.body(conn) {
            Some(Body::Trap { listens }) => listens,
            // They have gone while they were muted, and the core is about to hear of it.
            None if self.is_told_gone(conn) => return,
            body => panic!("{body:?} is no trap"),
        };
        let unread = self.unread.iter().position(|(other, _)| *other == conn);
        if let Some(unread) = unread.filter(|_| listens) {
            let token = Some(self.unread.swap_remove(unread).1);
            self.answer(Input::Said { conn, token });
        } else {
            self.drop_conn(conn);
            self.answer(Input::Gone { conn });
        }
    }

    fn dial(&mut self, conn: ConnId, from: Option<Ipv4Addr>) {
        let body = self.body(conn);
        assert_ne!(
            body,
            Some(Body::Link(Dialled::Open)),
            "it is joined already"
        );
        let is_again = matches!(body, Some(Body::Link(_)));
        if !is_again {
            self.take(conn);
        }
        let dial = self.dials.pop_front().unwrap_or(Dial::Pending);
        if let Some(fault) = fault(dial) {
            if !is_again {
                self.bodies.insert(conn.bits(), Body::Waiting);
            }
            let result = Err(fault);
            return self.answer(Input::Started { conn, result });
        }
        let dialled = match dial {
            Dial::Accepted | Dial::Brief => Dialled::Open,
            Dial::Refused => Dialled::Failed,
            Dial::Pending | Dial::Short | Dial::Failed => Dialled::Pending,
        };
        self.bodies.insert(conn.bits(), Body::Link(dialled));
        let result = Ok(from);
        self.answer(Input::Started { conn, result });
        match dial {
            Dial::Accepted => self.answer(Input::Dialled { conn }),
            Dial::Brief => {
                self.answer(Input::Dialled { conn });
                self.drop_conn(conn);
                let end = End::Closed;
                self.answer(Input::Over {
                    conn,
                    end,
                    bytes_in: 0,
                    bytes_out: 0,
                });
            }
            Dial::Refused => {
                let error = io::ErrorKind::ConnectionRefused.into();
                self.answer(Input::DialFailed { conn, error });
            }
            Dial::Pending | Dial::Short | Dial::Failed => {}
        }
    }

    /// Opens what is wanted, hands over what another wants, and closes the rest.
    fn follow(&mut self, mirage: MirageId, core: &Core) -> usize {
        let wanted = core.wanted(mirage);
        let addresses: Vec<Option<IpAddr>> = match &wanted.listen[..] {
            [] => vec![None],
            listen => listen.iter().copied().map(Some).collect(),
        };
        let is_wanted =
            |(address, port): &Place| addresses.contains(address) && wanted.ports.contains(port);
        let mut open = 0;
        for &port in wanted
            .ports
            .iter()
            .filter(|port| !self.taken.contains(port))
        {
            for &address in &addresses {
                let admitted = wanted.admitted.clone();
                let listener = Listener { mirage, admitted };
                self.listeners.insert((address, port), listener);
                open += 1;
            }
        }
        self.listeners.retain(|place, listener| {
            let is_kept = self.flaw == Some(Flaw::PortKept);
            if listener.mirage != mirage || is_wanted(place) || is_kept {
                return true;
            }
            let owner = core.owner(place.0, place.1);
            listener.mirage = owner.unwrap_or(mirage);
            owner.is_some()
        });
        let listeners = &self.listeners;
        self.waiting
            .retain(|who| listeners.contains_key(&who.place));
        open
    }

    fn drain(&mut self, drain: Drain, core: &Core) {
        assert!(self.draining.is_none(), "it is being drained");
        self.tell(match drain {
            Drain::All => "drain".to_owned(),
            Drain::Turn(id) => format!("drain turn {}", core.name(id)),
            Drain::Mirage(id) => format!("drain {}", core.name(id)),
        });
        let is_drained = |(place, listener): (&Place, &Listener)| {
            let is_drained = match drain {
                Drain::All => true,
                Drain::Mirage(mirage) => listener.mirage == mirage,
                Drain::Turn(mirage) => {
                    listener.mirage == mirage && core.is_leaving(mirage, place.1)
                }
            };
            is_drained.then_some(*place)
        };
        let places = self.listeners.iter().filter_map(is_drained).collect();
        self.draining = Some((places, CLOSING_ACCEPTS));
    }

    fn add_element(&mut self, element: PendingElement) {
        let outcome = match element.set.family {
            NftFamily::Ip if element.address.is_ipv6() => Some(ElementOutcome::Family),
            NftFamily::Ip6 if element.address.is_ipv4() => Some(ElementOutcome::Family),
            _ if self.elements.len() >= NFT_QUEUED => Some(ElementOutcome::Full),
            _ => None,
        };
        if let Some(outcome) = outcome {
            let job = element.job;
            return self.answer(Input::ElementEnded { job, outcome });
        }
        let contradicts = |other: &PendingElement| {
            let is_same = other.set == element.set && other.address == element.address;
            is_same && (other.seconds == 0) != (element.seconds == 0)
        };
        let replaced = self.elements.iter().position(contradicts);
        if let Some(replaced) = replaced {
            let job = self.elements.remove(replaced).job;
            let outcome = ElementOutcome::Replaced;
            self.answer(Input::ElementEnded { job, outcome });
        }
        self.elements.push(element);
    }
}

fn fault(dial: Dial) -> Option<Fault> {
    match dial {
        Dial::Short => Some(Fault::Short(io::ErrorKind::OutOfMemory.into())),
        Dial::Failed => Some(Fault::Other(io::ErrorKind::PermissionDenied.into())),
        Dial::Pending | Dial::Accepted | Dial::Brief | Dial::Refused => None,
    }
}
