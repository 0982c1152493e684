//! The served mirages, and the names of those that something still refers to.

use crate::limits::{BACKLOG, LIVE_WINDOWS, POOL_BACKLOG, RETRY_MS};
use crate::proto::client_address::loopback;
use crate::proto::doors::Admitted;
use crate::proto::effect::Introduction;
use crate::proto::event::SectionName;
use crate::proto::gates::GateSettings;
use crate::proto::ids::MirageId;
use crate::proto::scheme::key::KeyId;
use crate::proto::scheme::knock::{self, Hop, Protocol, Sequences, Tracker};
use crate::proto::scheme::schedule::{Plan, Schedule};
use crate::proto::settings::MirageSettings;
use crate::proto::source::Source;
use crate::proto::time::{Instant, Now};
use crate::terms::ClientAddress;
use core::net::{IpAddr, SocketAddr};
use std::hash::RandomState;
use std::rc::Rc;

/// A mirage with its ports, and with what is remembered of its visitors.
pub struct Mirage {
    /// Its part of the configuration.
    pub settings: Rc<MirageSettings>,
    /// Its ports over time, if it draws any.
    pub schedule: Option<Schedule>,
    /// Its ports now.
    pub plan: Plan,
    /// Its ports after the turn that is under way.
    pub next: Option<Plan>,
    /// It bans nobody before this, because the clock was set.
    pub settled_at: Instant,
    /// The key whose tokens or datagrams it accepts, if any.
    pub nonces: Option<KeyId>,
    /// The sources in the middle of its sequence, at gate = knock.
    pub tracker: Option<Tracker<RandomState>>,
    /// The sequences that are valid now.
    pub sequences: Sequences,
    /// The addresses that a silent gate admits, at door = forward.
    pub admitted: Admitted,
    /// Whether the log was told that the firewall does not redirect to its pool.
    pub told_of_redirect: bool,
}

impl Mirage {
    /// The length of a window in ms; 0 if there are none.
    pub fn period_ms(&self) -> u64 {
        let pattern = self.settings.pattern;
        pattern.map_or(0, |pattern| u64::from(pattern.period()) * 1_000)
    }

    /// The most sessions that it may have.
    pub fn most_sessions(&self) -> usize {
        self.settings.plain.max_sessions.unwrap_or(usize::MAX)
    }

    /// When to look at its ports again.
    pub fn next_turn(&self, now: Now) -> Option<Instant> {
        let schedule = self.schedule.as_ref()?;
        let period_ms = self.period_ms();
        let into = now.real_ms.rem_euclid(period_ms as i64) as u64;
        let turn = now.boot.after(period_ms - into);
        Some(if schedule.is_short() {
            turn.min(now.boot.after(RETRY_MS))
        } else {
            turn
        })
    }

    /// Whether it has ports open now. Behind a silent gate it has them while an address is admitted.
    pub fn is_listening(&self) -> bool {
        !self.settings.is_silent() || !self.admitted.is_empty()
    }

    /// How its service, which is at `service`, learns that a source has come.
    pub fn introduction(&self, source: Source, service: SocketAddr) -> Introduction {
        match self.settings.plain.client_address {
            Some(ClientAddress::Plain) => Introduction::Plain,
            Some(ClientAddress::Proxy(version)) => Introduction::Header(version),
            Some(ClientAddress::Loopback) | None => match &self.schedule {
                Some(schedule) if service.is_ipv4() => {
                    Introduction::From(loopback(schedule.key(), source))
                }
                _ => Introduction::Plain,
            },
        }
    }

    /// The addresses that alone may use its ports. None: all.
    pub fn filter(&self) -> Option<Vec<IpAddr>> {
        let is_silent = self.settings.is_silent();
        is_silent.then(|| self.admitted.addresses())
    }

    /// How many visitors the kernel queues for each of its listeners.
    pub fn backlog(&self) -> i32 {
        match self.settings.pool_port {
            Some(_) => POOL_BACKLOG,
            None => BACKLOG,
        }
    }

    /// The ports it has to listen on, in ascending order: those of its plan and, during a turn, of the next
    /// plan; or only its pool's port.
    pub fn bound(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        if !self.is_listening() {
            return ports;
        }
        for plan in [Some(&self.plan), self.next.as_ref()].into_iter().flatten() {
            ports.extend_from_slice(plan.ports());
        }
        if let Some(port) = self.settings.pool_port {
            ports = ports.first().map(|_| port).into_iter().collect();
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Whether the turn that is under way closes a port or changes its role. A pool's port stays open, but the
    /// role of what comes to it changes.
    pub fn is_leaving(&self, port: u16) -> bool {
        let Some(next) = &self.next else { return false };
        match self.settings.pool_port {
            Some(_) => !self.plan.ports().is_empty(),
            None => {
                self.plan.is_open(port)
                    && !(next.is_open(port) && next.role(port) == self.plan.role(port))
            }
        }
    }

    /// How many ports the next plan opens, and how many it closes.
    pub fn count_changes(&self, next: &Plan) -> (u32, u32) {
        if !self.is_listening() {
            return (0, 0);
        }
        let (now, then) = (self.plan.ports(), next.ports());
        if self.settings.pool_port.is_some() {
            let opens = now.is_empty() && !then.is_empty();
            let closes = then.is_empty() && !now.is_empty();
            return (u32::from(opens), u32::from(closes));
        }
        let opened = then.iter().filter(|&&port| !self.plan.is_open(port));
        let closed = now.iter().filter(|&&port| !next.is_open(port));
        (opened.count() as u32, closed.count() as u32)
    }

    /// Computes the sequences that are valid now.
    pub fn count_sequences(&self) -> Sequences {
        let GateSettings::Knock(rules) = &self.settings.gate_settings else {
            return Sequences::new();
        };
        if rules.is_fixed() {
            let close = Some(&rules.close_sequence).filter(|hops| !hops.is_empty());
            return knock::fixed(&rules.sequence, close);
        }
        let (Some(schedule), Some(range)) = (&self.schedule, self.settings.range()) else {
            return Sequences::new();
        };
        let (knocks, live) = (rules.knocks.into(), schedule.live());
        knock::rotating(schedule.key(), range, &live, knocks, rules.protocols)
    }

    /// The ports to which its datagrams come now.
    pub fn packet_ports(&self) -> heapless::Vec<u16, LIVE_WINDOWS> {
        match &self.settings.gate_settings {
            GateSettings::Packet(packet) => match packet.port {
                Some(port) => [port].into_iter().collect(),
                None => self.plan.reals(),
            },
            GateSettings::Port | GateSettings::Token | GateSettings::Knock(_) => {
                heapless::Vec::new()
            }
        }
    }

    /// The knocks it waits for now.
    pub fn hops(&self) -> impl Iterator<Item = Hop> {
        let sequences = self.sequences.iter();
        let knocks = sequences.flat_map(|sequence| sequence.hops.iter().copied());
        let protocol = Protocol::Udp;
        let ports = self.packet_ports().into_iter();
        knocks.chain(ports.map(move |port| Hop { port, protocol }))
    }
}

struct MirageSlot {
    /// None: nothing refers to it, and the slot is free.
    name: Option<SectionName>,
    mirage: Option<Mirage>,
}

/// The mirages by their ids.
#[derive(Default)]
pub struct Mirages {
    slots: Vec<MirageSlot>,
    /// The served mirages in the order of the configuration.
    order: Vec<MirageId>,
}

impl Mirages {
    /// The id of a section; a new one if it has none.
    pub fn intern(&mut self, section: &SectionName) -> MirageId {
        let is_its = |slot: &MirageSlot| slot.name.as_deref() == Some(section);
        let known = self.slots.iter().position(is_its);
        let place = known.or_else(|| self.slots.iter().position(|slot| slot.name.is_none()));
        let place = place.unwrap_or_else(|| {
            self.slots.push(MirageSlot {
                name: None,
                mirage: None,
            });
            self.slots.len() - 1
        });
        self.slots[place].name = Some(Rc::clone(section));
        MirageId(place as u32)
    }

    /// The section's name.
    pub fn name(&self, id: MirageId) -> SectionName {
        let slot = self.slots.get(id.0 as usize);
        let name = slot.and_then(|slot| slot.name.clone());
        name.unwrap_or_else(|| Rc::from(""))
    }

    /// A served mirage.
    pub fn get(&self, id: MirageId) -> Option<&Mirage> {
        self.slots.get(id.0 as usize)?.mirage.as_ref()
    }

    /// A served mirage, mutable.
    pub fn get_mut(&mut self, id: MirageId) -> Option<&mut Mirage> {
        self.slots.get_mut(id.0 as usize)?.mirage.as_mut()
    }

    /// The ids of the served mirages, in the order of the configuration.
    pub fn ids(&self) -> &[MirageId] {
        &self.order
    }

    /// The served mirages, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = (MirageId, &Mirage)> {
        let ids = self.order.iter();
        ids.filter_map(|&id| Some((id, self.get(id)?)))
    }

    /// Serves another mirage, after those that are served already.
    pub fn push(&mut self, id: MirageId, mirage: Mirage) {
        self.slots[id.0 as usize].mirage = Some(mirage);
        self.order.push(id);
    }

    /// Removes all served mirages. Their ids stay.
    pub fn take_all(&mut self) -> Vec<(MirageId, Mirage)> {
        let order = core::mem::take(&mut self.order);
        let slots = &mut self.slots;
        let take = |id: MirageId| Some((id, slots.get_mut(id.0 as usize)?.mirage.take()?));
        order.into_iter().filter_map(take).collect()
    }

    /// Forgets the names of mirages that are not served and to which nothing refers.
    pub fn forget(&mut self, is_referred_to: impl Fn(MirageId) -> bool) {
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if slot.mirage.is_none() && !is_referred_to(MirageId(place as u32)) {
                slot.name = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_sections_as_long_as_something_refers_to_it() {
        let mut mirages = Mirages::default();
        let (home, work) = (SectionName::from("home"), SectionName::from("work"));
        let one = mirages.intern(&home);
        assert_eq!(mirages.intern(&home), one);
        let other = mirages.intern(&work);
        assert_ne!(one, other);
        mirages.forget(|id| id == one);
        assert_eq!(&*mirages.name(one), "home");
        assert_eq!(mirages.intern(&home), one);
        // The slot of `other` is free.
        assert_eq!(mirages.intern(&"away".into()), other);
        assert_eq!(&*mirages.name(other), "away");
    }
}
