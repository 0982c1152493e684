//! What the shell can read. None of these functions changes anything.

use super::mirages::Mirage;
use super::tables::{Core, Counters};
use crate::limits::{NONCES, STATE_MS};
use crate::proto::bans::{Ban, Blacklist};
use crate::proto::conn::{Conn, ConnId};
use crate::proto::doors::Openings;
use crate::proto::event::SectionName;
use crate::proto::gates::{self, Gate, Verdict, Visitor};
use crate::proto::ids::MirageId;
use crate::proto::scheme::knock::Hop;
use crate::proto::scheme::schedule::{Range, Role};
use crate::proto::source::Source;
use crate::proto::time::{Instant, Now, sooner};
use crate::terms::{Door, Level, NftSet};
use core::net::{IpAddr, Ipv4Addr};
use std::hash::RandomState;
use std::rc::Rc;

/// The ports that a mirage wants open.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The ports, in ascending order.
    pub ports: Vec<u16>,
    /// The local addresses. Empty: all of both families.
    pub listen: Vec<IpAddr>,
    /// The addresses that alone may use the ports. None: all.
    pub admitted: Option<Vec<IpAddr>>,
    /// How many visitors the kernel should queue for each port.
    pub backlog: i32,
}

/// What would happen to an address at a mirage.
#[derive(Debug)]
pub struct MirageForecast {
    /// The section's name.
    pub mirage: SectionName,
    /// The mirage's gate.
    pub gate: Gate,
    /// What happens to a visitor who has the secret.
    pub right: Verdict,
    /// What happens to a visitor who guesses.
    pub wrong: Verdict,
    /// What is known about the address.
    pub visitor: Visitor,
}

/// A source that a service sees, or has last seen, at an address of 127/8.
#[derive(Debug)]
pub struct ClientSessions {
    /// The source.
    pub source: Source,
    /// The section's name of the mirage that leads to the service.
    pub mirage: SectionName,
    /// The number of its sessions from that address.
    pub sessions: u64,
}

fn note_client(all: &mut Vec<ClientSessions>, source: Source, mirage: SectionName, sessions: u64) {
    let is_it = |known: &&mut ClientSessions| known.source == source && known.mirage == mirage;
    match all.iter_mut().find(is_it) {
        Some(known) => known.sessions += sessions,
        None => all.push(ClientSessions {
            source,
            mirage,
            sessions,
        }),
    }
}

/// How full a table is.
#[derive(Debug)]
pub struct TableUse {
    /// The table's name in `shimmer status`.
    pub of: &'static str,
    /// The mirage that the table belongs to; None if it is shared.
    pub mirage: Option<SectionName>,
    /// Entries in use.
    pub taken: usize,
    /// Entries in total.
    pub places: usize,
}

impl Core {
    /// The moment of this turn.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// The section's name of a mirage, which a reload may have dropped.
    #[must_use]
    pub fn name(&self, id: MirageId) -> SectionName {
        self.section(id)
    }

    /// The served mirages, in the order of the configuration.
    pub fn mirages(&self) -> impl Iterator<Item = (MirageId, &Mirage)> {
        self.mirages.iter()
    }

    /// The ports that a mirage wants open now; none if it is not served.
    #[must_use]
    pub fn wanted(&self, id: MirageId) -> Wanted {
        let Some(mirage) = self.mirage(id).filter(|_| !self.is_stopping()) else {
            return Wanted::default();
        };
        Wanted {
            ports: mirage.bound(),
            listen: mirage.settings.plain.listen.clone(),
            admitted: mirage.filter(),
            backlog: mirage.backlog(),
        }
    }

    /// The mirage that wants a port at a local address; None stands for all addresses of both families.
    #[must_use]
    pub fn owner(&self, address: Option<IpAddr>, port: u16) -> Option<MirageId> {
        if self.is_stopping() {
            return None;
        }
        let is_at = |mirage: &Mirage| match address {
            None => mirage.settings.plain.listen.is_empty(),
            Some(address) => mirage.settings.plain.listen.contains(&address),
        };
        // All ports of a mirage are listed only where it can have this one.
        let can_have = |mirage: &Mirage| match mirage.settings.pool_port {
            Some(pool) => pool == port,
            None => mirage.settings.range().is_some_and(|it| it.contains(port)),
        };
        let wants = |mirage: &Mirage| mirage.bound().binary_search(&port).is_ok();
        let mut mirages = self.mirages();
        let owner = mirages.find(|(_, it)| is_at(it) && can_have(it) && wants(it));
        owner.map(|(id, _)| id)
    }

    /// Whether one port receives a mirage's whole range, so that the kernel has to be asked which was dialled.
    #[must_use]
    pub fn is_pool(&self, id: MirageId) -> bool {
        self.mirage(id)
            .is_some_and(|mirage| mirage.settings.pool_port.is_some())
    }

    /// Whether the turn that is under way closes a port or changes its role.
    #[must_use]
    pub fn is_leaving(&self, id: MirageId, port: u16) -> bool {
        self.mirage(id)
            .is_some_and(|mirage| mirage.is_leaving(port))
    }

    /// How much it matters that a port can't be opened. None: the log does not name it yet, because it names no
    /// future port.
    #[must_use]
    pub fn severity(&self, id: MirageId, port: u16) -> Option<Level> {
        let Mirage {
            settings,
            schedule,
            plan,
            ..
        } = self.mirage(id)?;
        let was_real = schedule.as_ref().is_some_and(|it| it.was_real(port));
        match plan.role(port) {
            _ if was_real || settings.pool_port == Some(port) => Some(Level::Error),
            Role::Real => None,
            Role::Grace | Role::Trap => Some(Level::Debug),
        }
    }

    /// The ports that the silent gates have to watch in any minute.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range> {
        self.silent()
            .flat_map(|mirage| mirage.settings.watched())
            .collect()
    }

    /// The knocks that the silent gates wait for now, each with its local address; None stands for all.
    #[must_use]
    pub fn hops(&self) -> Vec<(Option<IpAddr>, Hop)> {
        let mut hops = Vec::new();
        for mirage in self.silent() {
            let listen = &mirage.settings.plain.listen;
            for hop in mirage.hops() {
                for place in 0..listen.len().max(1) {
                    let spot = (listen.get(place).copied(), hop);
                    if !hops.contains(&spot) {
                        hops.push(spot);
                    }
                }
            }
        }
        hops
    }

    fn silent(&self) -> impl Iterator<Item = &Mirage> {
        let mirages = self.mirages().map(|(_, mirage)| mirage);
        mirages.filter(|mirage| mirage.settings.is_silent() && !self.is_stopping())
    }

    /// Everything that commands have opened.
    #[must_use]
    pub fn openings(&self) -> &Openings {
        &self.openings
    }

    /// The addresses that are to be elements of a set now, and until when.
    pub fn elements(&self) -> impl Iterator<Item = (&NftSet, IpAddr, Instant)> {
        self.openings.elements().filter_map(|(id, address, until)| {
            // A reload may have dropped the mirage, or given it another door.
            match &self.mirage(id)?.settings.door {
                Door::Nft { set, .. } => Some((set, address, until)),
                Door::Forward(_) | Door::Command { .. } => None,
            }
        })
    }

    /// The banned sources.
    #[must_use]
    pub fn bans(&self) -> &Blacklist<RandomState> {
        &self.bans
    }

    /// The ban of a source.
    #[must_use]
    pub fn ban_of(&self, source: Source) -> Option<Ban> {
        self.bans.get(source, self.now.boot)
    }

    /// The sessions from a slot on, for a caller that takes them in portions.
    pub fn sessions_from(&self, slot: usize) -> impl Iterator<Item = (ConnId, &Conn)> {
        let all = self.conns.iter_from(slot);
        all.filter(|(_, conn)| conn.stage.is_session())
    }

    /// The sources that services see, or have last seen, at an address of 127/8: those with sessions first.
    #[must_use]
    pub fn clients_at(&self, address: Ipv4Addr) -> Vec<ClientSessions> {
        let mut all: Vec<ClientSessions> = Vec::new();
        for (_, conn) in self.sessions_from(0) {
            if conn.client_address == Some(address) {
                let mirage = self.section(conn.mirage);
                note_client(&mut all, conn.source, mirage, 1);
            }
        }
        for client in self.last_clients.at(address) {
            note_client(&mut all, client.source, Rc::clone(&client.mirage), 0);
        }
        all
    }

    /// The number of a source's sessions.
    #[must_use]
    pub fn sessions_of(&self, source: Source) -> usize {
        self.conns.sessions_from(source)
    }

    /// Totals since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the clock is trusted.
    #[must_use]
    pub fn is_clock_trusted(&self) -> bool {
        self.clock.trusted(self.now).is_some()
    }

    /// How full the tables are.
    #[must_use]
    pub fn places(&self) -> Vec<TableUse> {
        let (held, most_held) = self.conns.held();
        let table = |of, taken, places| TableUse {
            of,
            mirage: None,
            taken,
            places,
        };
        let mut all = vec![
            table("sessions", self.conns.sessions(), self.common.max_sessions),
            table("traps", held, most_held),
            table("bans", self.bans.len(), crate::limits::BANS),
        ];
        for (id, mirage) in self.mirages() {
            let section = || Some(mirage.settings.section.clone());
            let places = self.places_of(id, mirage);
            let is_less = places < self.common.max_sessions;
            let forwards = mirage.settings.forward().is_some();
            all.extend((forwards && is_less).then(|| TableUse {
                of: "sessions",
                mirage: section(),
                taken: self.conns.sessions_of(id),
                places,
            }));
            all.extend(Self::book(mirage).map(|(key, period)| TableUse {
                of: "nonces",
                mirage: section(),
                taken: self.memory.count(key, period, self.now),
                places: NONCES,
            }));
        }
        all
    }

    /// What would happen to an address at each mirage.
    pub fn forecast(&self, address: IpAddr) -> impl Iterator<Item = MirageForecast> {
        self.mirages().map(move |(_, mirage)| {
            let visitor = self.visitor(mirage, address);
            let is_settled = mirage.settled_at <= self.now.boot;
            let gate = mirage.settings.gate();
            MirageForecast {
                mirage: mirage.settings.section.clone(),
                gate,
                right: gates::judge(gate.key(), visitor, is_settled),
                wrong: gates::judge(gate.guess(), visitor, is_settled),
                visitor,
            }
        })
    }

    /// Whether nothing waits for an answer.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.transaction.is_none() && self.recording.is_empty()
    }

    /// When to save the bans. Never while the clock is not trusted: it would give the bans dates that are not
    /// trusted later.
    #[must_use]
    pub fn save_is_due(&self) -> Option<Instant> {
        self.clock.trusted(self.now)?;
        (self.saved.changes? != self.bans.changes()).then(|| self.saved.at.after(STATE_MS))
    }

    /// When something will be due without any input. A moment in the past is due now.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.idle {
            Some(idle) => idle.until,
            None => self.next_due(),
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let now = self.now;
        if self.is_stopping() {
            return self.next_due_of_stop();
        }
        if self.has_turned {
            return Some(now.boot);
        }
        let mut soonest = self.conns.next_deadline();
        soonest = sooner(soonest, self.bans.next_end());
        soonest = sooner(soonest, self.save_is_due());
        soonest = sooner(soonest, self.clock.next_look());
        soonest = sooner(soonest, self.openings.next_deadline());
        soonest = sooner(soonest, self.saved.journal_again);
        for (_, mirage) in self.mirages() {
            soonest = sooner(soonest, mirage.next_turn(now));
            soonest = sooner(soonest, mirage.admitted.next_end());
            let tracker = mirage.tracker.as_ref();
            soonest = sooner(soonest, tracker.and_then(|it| it.next_deadline()));
        }
        soonest
    }
}
