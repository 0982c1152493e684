//! Tokens and datagrams: whether one counts, and that it never does again.
//!
//! The order is verify, judge, spend, record, open. What is verified was not used up by that. What is spent stays
//! spent, whatever becomes of its visitor: a token that was good and found no place is not good again. And what is
//! opened was recorded before, or a restart would let the same proof in again.

use super::arrival::Arrival;
use super::mirages::Mirage;
use super::tables::{Core, log};
use super::transaction::Proven;
use crate::proto::conn::{Conn, ConnId, Stage};
use crate::proto::effect::{Effect, Effects};
use crate::proto::event::{Event, Limit, UnbanCause};
use crate::proto::ids::MirageId;
use crate::proto::nonces::{Memory, Use, Window};
use crate::proto::scheme::key::KeyId;
use crate::proto::scheme::packet::{self, PACKET};
use crate::proto::scheme::schedule::{Claims, Role};
use crate::proto::scheme::token::{self, Nonce, Proof, TOKEN};
use crate::proto::source::Source;
use crate::proto::time::Instant;
use core::net::IpAddr;

impl Core {
    /// Takes over what was used before the start.
    pub fn recall(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// What was used, for the shell to write it down.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// A mirage's key and the length of its windows, if it takes proofs.
    pub(super) fn book(mirage: &Mirage) -> Option<(KeyId, u32)> {
        mirage
            .nonces
            .zip(mirage.settings.pattern.map(|it| it.period()))
    }

    /// Remembers what the mirages take now, and closes what nobody knows of.
    pub(super) fn serve_proofs(&mut self, effects: &mut Effects) {
        let keys: Vec<_> = self
            .mirages
            .iter()
            .filter_map(|(_, it)| Self::book(it))
            .collect();
        self.memory.serve(&keys, self.now);
        for place in 0..self.mirages.ids().len() {
            self.close_unknown(self.mirages.ids()[place]);
        }
        self.record_changes(effects);
    }

    /// Closes the windows of which nobody knows what was used in them, now that they are live.
    pub(super) fn close_unknown(&mut self, id: MirageId) {
        let Some(mirage) = self.mirages.get(id) else {
            return;
        };
        if let (Some((key, period)), Some(schedule)) = (Self::book(mirage), &mirage.schedule) {
            let live = schedule.live();
            self.memory.close_unknown(key, period, &live, self.now);
        }
    }

    /// Records what has changed although nobody waits for it.
    pub(super) fn record_changes(&mut self, effects: &mut Effects) {
        if self.memory.size() > 0 && !self.memory.unwritten().is_empty() {
            self.record(None, effects);
        }
    }

    fn record(&mut self, passage: Option<Proven>, effects: &mut Effects) {
        self.recording.push_back(passage);
        effects.push_back(Effect::Remember);
    }

    /// Whether a source may use one more proof.
    pub(super) fn has_room_for_proof(&self, id: MirageId, source: Source) -> bool {
        let book = self.mirage(id).and_then(Self::book);
        book.is_none_or(|(key, period)| self.memory.has_room(key, period, source, self.now))
    }

    /// Whether a proof of this window would count.
    pub(super) fn look_up(&self, id: MirageId, window: u64, nonce: &Nonce) -> Use {
        let window = self.mirage(id).and_then(|mirage| window_of(mirage, window));
        match window {
            Some(window) => self.memory.look_up(window, nonce, self.now),
            None => Use::Forgotten,
        }
    }

    /// Checks a visitor's token, and returns its window. Whose network is not welcome has none that counts.
    pub(super) fn prove(
        &self,
        arrival: Arrival,
        claims: &Claims,
        token: Option<&[u8; TOKEN]>,
    ) -> (Proof, u64) {
        let mirage = self.mirage(arrival.mirage);
        let welcome = mirage.filter(|it| self.visitor(it, arrival.peer).is_welcome);
        let schedule = welcome.and_then(|mirage| mirage.schedule.as_ref());
        let (Some(token), Some(schedule)) = (token, schedule) else {
            return (Proof::Nothing, 0);
        };
        let (role, window) = token::verify(schedule.key(), claims, arrival.port, token);
        let proof = match role {
            Role::Trap => Proof::Nothing,
            Role::Grace => Proof::Grace,
            Role::Real => match self.look_up(arrival.mirage, window, &token::nonce(token)) {
                Use::First => Proof::Good,
                Use::Again => Proof::Nothing,
                Use::Forgotten | Use::Full => Proof::Forgotten,
            },
        };
        (proof, window)
    }

    /// Uses up the token of a visitor who comes in. They have to wait until that is recorded.
    pub(super) fn spend_token(
        &mut self,
        (id, until): (ConnId, Instant),
        window: u64,
        token: &[u8; TOKEN],
        effects: &mut Effects,
    ) {
        let Some(&Conn { mirage, source, .. }) = self.conns.get(id) else {
            return;
        };
        if self.spend(mirage, window, &token::nonce(token), source) == Use::First {
            self.conns.enter(id, Stage::Proven { until }, None);
            self.record(Some(Proven::Visitor(id)), effects);
        } else {
            self.mute(id, until, effects);
        }
    }

    /// Uses up a datagram that lets somebody in, as soon as that is recorded. Says what it was worth.
    pub(super) fn spend_packet(
        &mut self,
        passage: (MirageId, IpAddr, IpAddr),
        window: u64,
        datagram: &[u8; PACKET],
        effects: &mut Effects,
    ) -> Use {
        let (mirage, peer, address) = passage;
        let nonce = packet::nonce(datagram);
        let used = self.spend(mirage, window, &nonce, Source::of(peer));
        if used == Use::First {
            let passage = Proven::Sender {
                mirage,
                peer,
                address,
            };
            self.record(Some(passage), effects);
        }
        used
    }

    fn spend(&mut self, id: MirageId, window: u64, nonce: &Nonce, source: Source) -> Use {
        let window = self.mirage(id).and_then(|mirage| window_of(mirage, window));
        match window {
            Some(window) => self.memory.spend(window, nonce, source, self.now),
            None => Use::Forgotten,
        }
    }

    /// Lets somebody in whose proof is recorded. What is not could count again, so it opens nothing.
    pub(super) fn remembered(&mut self, written: Option<u64>, effects: &mut Effects) {
        if let Some(changes) = written {
            self.memory.written(changes);
        }
        match self.recording.pop_front().flatten() {
            Some(Proven::Visitor(id)) => self.token_recorded(id, written.is_some(), effects),
            Some(Proven::Sender {
                mirage, address, ..
            }) if written.is_some() => self.pass(mirage, address, effects),
            Some(Proven::Sender { mirage, peer, .. }) => {
                self.counters.turned_away += 1;
                let event = Event::DoorsFull {
                    mirage: self.section(mirage),
                    peer,
                    what: Limit::Unrecorded,
                };
                log(effects, event);
            }
            None => {}
        }
    }

    fn token_recorded(&mut self, id: ConnId, is_recorded: bool, effects: &mut Effects) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let Stage::Proven { until } = conn.stage else {
            return;
        };
        let arrival = Arrival::of(conn);
        if is_recorded {
            if let Some(ban) = self.bans.lift(arrival.source) {
                let by = UnbanCause::Token;
                log(effects, Event::Unban { ban, by });
            }
            self.admit(arrival, Some(id), effects);
        } else {
            self.turn_away_full(arrival.peer, arrival.port, Limit::Unrecorded, effects);
            self.mute(id, until, effects);
        }
    }
}

fn window_of(mirage: &Mirage, number: u64) -> Option<Window> {
    let (key, period) = Core::book(mirage)?;
    Some(Window {
        key,
        period,
        number,
    })
}
