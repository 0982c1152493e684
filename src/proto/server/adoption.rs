//! Adopts a new configuration.

use super::mirages::Mirage;
use super::tables::{Core, log};
use super::transaction::{Adopted, Transaction};
use crate::limits::{GUESTS, KNOCKERS, NFT_QUEUED, OPENINGS};
use crate::proto::doors::{Admitted, Closing};
use crate::proto::effect::{Drain, Effect, Effects};
use crate::proto::event::Event;
use crate::proto::gates::{Gate, GateSettings};
use crate::proto::scheme::key::Key;
use crate::proto::scheme::knock::{Sequences, Tracker};
use crate::proto::scheme::schedule::Schedule;
use crate::proto::settings::{MirageSettings, Settings};
use std::hash::RandomState;
use std::rc::Rc;

/// The most connections that can wait for a door.
const ALL_GUESTS: usize = OPENINGS * GUESTS + NFT_QUEUED;

impl Core {
    /// Starts to adopt a configuration. Visitors who wait at a port are still judged by the old one.
    pub(super) fn adopt(&mut self, settings: Box<Settings>, effects: &mut Effects) {
        self.look_at_clock(effects);
        self.transaction = Some(Transaction::Adopting(settings));
        effects.push_back(Effect::Drain(Drain::All));
    }

    pub(super) fn log_adopted(&mut self, adopted: Adopted, effects: &mut Effects) {
        effects.push_back(Effect::Sense);
        // Old mirages that are not in the new configuration close now that all others are open.
        let dropped = adopted.dropped.len();
        effects.extend(adopted.dropped.into_iter().map(Effect::Ports));
        for (id, address) in adopted.admitted {
            let mirage = self.mirage(id);
            if !mirage.is_some_and(|mirage| mirage.admitted.contains(address)) {
                self.log_shut(id, address, effects);
            }
        }
        if !adopted.is_first {
            let mirages = self.mirages.ids().len();
            log(effects, Event::Reload { mirages, dropped });
        }
        self.forget_names();
        self.load_if_trusted(effects);
    }

    /// Forgets the names of mirages that are not served and to which nothing refers.
    fn forget_names(&mut self) {
        let Self {
            mirages,
            conns,
            openings,
            elements,
            ..
        } = self;
        mirages.forget(|id| {
            conns.iter_from(0).any(|(_, conn)| conn.mirage == id)
                || openings.iter().any(|opening| opening.mirage == id)
                || elements.iter().any(|element| element.mirage == id)
        });
    }

    /// Switches to the new configuration. What both have in common stays: plans, admissions, sources in the
    /// middle of a sequence.
    pub(super) fn take_over(&mut self, settings: Settings, effects: &mut Effects) -> Adopted {
        let Settings { common, mirages } = settings;
        self.bans.set_ban_ms(u64::from(common.ban_s) * 1_000);
        self.conns.grow(common.max_sessions, ALL_GUESTS);
        self.clock.set_trust(common.clock);
        self.common = common;
        let is_first = self.mirages.ids().is_empty();
        let mut old = self.mirages.take_all();
        let admitted = old.iter().flat_map(|(id, mirage)| {
            let addresses = mirage.admitted.iter();
            addresses.map(|(address, _)| (*id, address))
        });
        let admitted = admitted.collect();
        let left = mirages.len();
        for (settings, key) in mirages {
            let id = self.mirages.intern(&settings.section);
            let before = old.iter().position(|(other, _)| *other == id);
            let before = before.map(|before| old.swap_remove(before).1);
            self.openings
                .adopt_orphans(id, |open_for| Closing::of(&settings, open_for));
            let mirage = self.prepare(settings, key, before);
            self.mirages.push(id, mirage);
            effects.push_back(Effect::Ports(id));
        }
        self.serve_proofs(effects);
        let dropped: Vec<_> = old.iter().map(|(id, _)| *id).collect();
        for &id in &dropped {
            let guests = self.openings.close_all(Some(id), self.now.boot);
            self.let_guests_go(guests, effects);
        }
        Adopted {
            left,
            dropped,
            admitted,
            is_first,
        }
    }

    /// Builds a mirage from its settings. It keeps its ports if nothing about them changes.
    fn prepare(
        &mut self,
        settings: MirageSettings,
        key: Option<Key>,
        before: Option<Mirage>,
    ) -> Mirage {
        let settings = Rc::new(settings);
        let key_id = key.as_ref().map(Key::id);
        let has_same_ports = |before: &Mirage| {
            let drawn_with = before.schedule.as_ref().map(|it| it.key().id());
            drawn_with == key_id && before.settings.pattern == settings.pattern
        };
        let mut mirage = match before.filter(has_same_ports) {
            Some(mut mirage) => {
                if mirage.settings.gate_settings != settings.gate_settings {
                    mirage.tracker = tracker(&settings.gate_settings);
                    mirage.admitted = Admitted::default();
                }
                // No other door has ports of its own.
                if settings.forward().is_none() {
                    mirage.admitted = Admitted::default();
                }
                mirage.told_of_redirect = false;
                mirage
            }
            None => {
                let drawn = key.zip(settings.pattern);
                let mut schedule = drawn.map(|(key, pattern)| Schedule::new(key, pattern));
                let unix = self.clock.trusted(self.now);
                let now = self.now.boot;
                let plan = schedule
                    .as_mut()
                    .and_then(|schedule| schedule.turn(unix, now));
                Mirage {
                    settings: Rc::clone(&settings),
                    plan: plan.unwrap_or_default(),
                    next: None,
                    schedule,
                    settled_at: now,
                    nonces: None,
                    tracker: tracker(&settings.gate_settings),
                    sequences: Sequences::new(),
                    admitted: Admitted::default(),
                    told_of_redirect: false,
                }
            }
        };
        mirage.settings = settings;
        let takes_nonces = matches!(mirage.settings.gate(), Gate::Token | Gate::Packet);
        mirage.nonces = key_id.filter(|_| takes_nonces);
        mirage.sequences = mirage.count_sequences();
        mirage
    }
}

/// A tracker without any source, if the gate needs one.
fn tracker(gate: &GateSettings) -> Option<Tracker<RandomState>> {
    match gate {
        GateSettings::Knock(knock) => Some(Tracker::new(KNOCKERS, knock.rules, RandomState::new())),
        GateSettings::Port | GateSettings::Token | GateSettings::Packet(_) => None,
    }
}
