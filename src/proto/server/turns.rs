//! The steps of two transactions: a minute's turn and the end of an admission.

use super::mirages::Mirage;
use super::tables::{Core, log};
use super::transaction::{Transaction, Turn};
use crate::proto::doors::OpenFor;
use crate::proto::effect::{Drain, Effect, Effects};
use crate::proto::event::Event;
use crate::proto::ids::MirageId;
use core::net::IpAddr;
use std::rc::Rc;

impl Core {
    /// Follows the minute, for one mirage in each turn of the loop: each opens and closes many ports, which
    /// takes a router milliseconds while the sessions wait.
    pub(super) fn turn_a_mirage(&mut self, effects: &mut Effects) -> bool {
        if self.has_turned {
            return false;
        }
        let unix = self.clock.trusted(self.now);
        for place in 0..self.mirages.ids().len() {
            let id = self.mirages.ids()[place];
            let Some(mirage) = self.mirages.get_mut(id) else {
                continue;
            };
            let schedule = mirage.schedule.as_mut();
            let Some(next) = schedule.and_then(|schedule| schedule.turn(unix, self.now.boot))
            else {
                continue;
            };
            let (opened, closed) = mirage.count_changes(&next);
            mirage.next = Some(next);
            self.transaction = Some(Transaction::Opening(Turn {
                mirage: id,
                opened,
                closed,
            }));
            effects.push_back(Effect::Ports(id));
            self.has_turned = true;
            return true;
        }
        false
    }

    /// Closes the ports to addresses whose admission is over, after serving those who have come already.
    pub(super) fn shut_a_mirage(&mut self, effects: &mut Effects) -> bool {
        let now = self.now.boot;
        let is_due = |mirage: &Mirage| mirage.admitted.next_end().is_some_and(|end| end <= now);
        let due = self.mirages.iter().find(|(_, mirage)| is_due(mirage));
        let Some((id, _)) = due else { return false };
        self.transaction = Some(Transaction::ShutDraining(id));
        effects.push_back(Effect::Drain(Drain::Mirage(id)));
        true
    }

    /// Goes on once no connection waits at the drained ports.
    pub(super) fn drained(&mut self, effects: &mut Effects) {
        self.transaction = match self.transaction.take() {
            Some(Transaction::Draining(turn)) => {
                self.take_next_plan(turn.mirage, effects);
                Some(Transaction::Closing(turn))
            }
            Some(Transaction::ShutDraining(id)) => {
                let mut over = Vec::new();
                if let Some(mirage) = self.mirages.get_mut(id) {
                    while let Some(address) = mirage.admitted.expire(self.now.boot) {
                        over.push(address);
                    }
                }
                effects.push_back(Effect::Ports(id));
                Some(Transaction::Shutting(id, over))
            }
            Some(Transaction::Adopting(settings)) => {
                let adopted = self.take_over(*settings, effects);
                Some(Transaction::Adopted(adopted))
            }
            other => other,
        };
    }

    fn take_next_plan(&mut self, id: MirageId, effects: &mut Effects) {
        if let Some(mirage) = self.mirages.get_mut(id) {
            mirage.plan = mirage.next.take().unwrap_or_default();
            effects.push_back(Effect::Ports(id));
            if mirage.settings.is_silent() {
                mirage.sequences = mirage.count_sequences();
                effects.push_back(Effect::Sense);
            }
            self.close_unknown(id);
            self.record_changes(effects);
        }
    }

    /// Goes on once a mirage's ports are open. A mirage whose door opens meanwhile does not matter.
    pub(super) fn listening(&mut self, id: MirageId, open: usize, effects: &mut Effects) {
        self.transaction = match self.transaction.take() {
            Some(Transaction::Opening(turn)) if turn.mirage == id => {
                effects.push_back(Effect::Drain(Drain::Turn(id)));
                Some(Transaction::Draining(turn))
            }
            Some(Transaction::Closing(turn)) if turn.mirage == id => {
                self.log_turn(turn, open, effects);
                None
            }
            Some(Transaction::Shutting(mirage, over)) if mirage == id => {
                for address in over {
                    self.log_shut(id, address, effects);
                }
                None
            }
            Some(Transaction::Adopted(mut adopted)) => {
                if let Some(mirage) = self.mirage(id) {
                    let mirage = Rc::clone(&mirage.settings);
                    log(effects, Event::Listen { mirage, open });
                    adopted.left -= 1;
                }
                if adopted.left == 0 {
                    self.log_adopted(adopted, effects);
                    None
                } else {
                    Some(Transaction::Adopted(adopted))
                }
            }
            other => other,
        };
    }

    fn log_turn(&self, turn: Turn, open: usize, effects: &mut Effects) {
        let Turn {
            mirage,
            opened,
            closed,
        } = turn;
        if self.mirage(mirage).is_some_and(Mirage::is_listening) {
            let mirage = self.section(mirage);
            let event = Event::Rotate {
                mirage,
                open,
                opened,
                closed,
            };
            log(effects, event);
        }
    }

    pub(super) fn log_shut(&self, mirage: MirageId, address: IpAddr, effects: &mut Effects) {
        let event = Event::Shut {
            mirage: self.section(mirage),
            open_for: OpenFor::Address(address),
        };
        log(effects, event);
    }
}
