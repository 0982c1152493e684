//! The silent gates: what came to ports where no service listens, and what it means.

use super::tables::{Core, log};
use crate::proto::effect::Effects;
use crate::proto::event::{DatagramRefusal, Event, Limit};
use crate::proto::gates::GateSettings;
use crate::proto::ids::MirageId;
use crate::proto::input::Sensed;
use crate::proto::nonces::Use;
use crate::proto::scheme::knock::{KnockAnswer, Protocol, Which};
use crate::proto::scheme::packet::{self, Shown};
use crate::proto::source::Source;

impl Core {
    /// Passes a packet to every mirage that listens on its destination address.
    pub(super) fn sensed(&mut self, sensed: &Sensed, effects: &mut Effects) {
        for place in 0..self.mirages.ids().len() {
            let id = self.mirages.ids()[place];
            let Some(mirage) = self.mirage(id) else {
                continue;
            };
            // An admitted client connects to the minute's port; that is not a knock.
            let is_visit = sensed.hop.protocol == Protocol::Tcp
                && mirage.admitted.contains(sensed.from)
                && mirage.plan.is_open(sensed.hop.port);
            if !mirage.settings.is_at(sensed.to) || is_visit {
                continue;
            }
            match &mirage.settings.gate_settings {
                GateSettings::Knock(_) => self.advance_knock(id, sensed, effects),
                GateSettings::Packet(_) => self.read_packet(id, sensed, effects),
                GateSettings::Port | GateSettings::Token => {}
            }
        }
    }

    /// Forgets sequences and locks whose time is over.
    pub(super) fn expire_trackers(&mut self) {
        let now = self.now.boot;
        for place in 0..self.mirages.ids().len() {
            let id = self.mirages.ids()[place];
            let mirage = self.mirages.get_mut(id);
            if let Some(tracker) = mirage.and_then(|mirage| mirage.tracker.as_mut()) {
                tracker.expire(now);
            }
        }
    }

    fn advance_knock(&mut self, id: MirageId, sensed: &Sensed, effects: &mut Effects) {
        let (now, peer) = (self.now.boot, sensed.from);
        let Some(mirage) = self.mirages.get_mut(id) else {
            return;
        };
        let Some(tracker) = &mut mirage.tracker else {
            return;
        };
        let answer = tracker.knock(
            Source::of(peer),
            sensed.from_port,
            sensed.hop,
            &mirage.sequences,
            now,
        );
        let mirage = self.section(id);
        match answer {
            KnockAnswer::Passed(Which::Close) => self.close_door(id, peer, effects),
            KnockAnswer::Passed(Which::Open | Which::Minute(_)) => self.pass(id, peer, effects),
            KnockAnswer::Wrong { position: knocks } => {
                let event = Event::WrongKnock {
                    mirage,
                    peer,
                    knocks,
                };
                log(effects, event);
            }
            KnockAnswer::Used(_) => log(effects, Event::UsedKnock { mirage, peer }),
            KnockAnswer::Nothing
            | KnockAnswer::Ignored
            | KnockAnswer::Waiting { .. }
            | KnockAnswer::Again => {}
        }
    }

    fn read_packet(&mut self, id: MirageId, sensed: &Sensed, effects: &mut Effects) {
        let (peer, port) = (sensed.from, sensed.hop.port);
        let Some(mirage) = self.mirages.get(id) else {
            return;
        };
        let GateSettings::Packet(rules) = &mirage.settings.gate_settings else {
            return;
        };
        let is_its = sensed.hop.protocol == Protocol::Udp && mirage.packet_ports().contains(&port);
        let (Some(datagram), Some(schedule), true) = (&sensed.said, &mirage.schedule, is_its)
        else {
            return;
        };
        let reason = match packet::verify(schedule, datagram, peer, rules.address) {
            Shown::Good { address, minute } => {
                // Who may not come in uses nothing up, and gets no answer.
                if !self.may_pass(id, address) {
                    return;
                }
                let passage = (id, peer, address);
                match self.spend_packet(passage, minute, datagram, effects) {
                    Use::First => return,
                    Use::Full => {
                        self.turn_away_full(peer, port, Limit::Nonces, effects);
                        return self.log_nonces_full(id, peer, effects);
                    }
                    Use::Again => DatagramRefusal::Replayed,
                    Use::Forgotten => DatagramRefusal::Forgotten,
                }
            }
            // Anybody could have sent these bytes.
            Shown::NotOurs => return,
            Shown::Stale { unix } => DatagramRefusal::Clock(self.now.unix().abs_diff(unix)),
            Shown::NoAddress => DatagramRefusal::NoAddress,
            Shown::WrongAddress { .. } => DatagramRefusal::Address,
        };
        let mirage = self.section(id);
        let event = Event::Refuse {
            mirage,
            peer,
            reason,
        };
        log(effects, event);
    }
}
