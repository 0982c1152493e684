//! Visitors: how they are judged, held, turned away or admitted.
//!
//! ```text
//!   Accepted ─┬─ gate = port ──▶ verdict ─┬─▶ admit ──▶ a session or a guest
//!             │                           └─▶ Hold, muted ──its time──▶ Close
//!             └─ gate = token ─▶ Hold, listening ──Said, 3 s──▶ verdict ─┬─▶ admit
//!                                                                        └─▶ Mute ──its time──▶ Close
//! ```

use super::arrival::Arrival;
use super::mirages::Mirage;
use super::tables::{Core, ToldFull, log};
use crate::limits::{TELL_FULL_MS, TOKEN_MS};
use crate::proto::bans::{Touch, Why};
use crate::proto::conn::{Conn, ConnId, Stage};
use crate::proto::effect::{Effect, Effects};
use crate::proto::event::{Event, Limit, Touched, UnbanCause};
use crate::proto::gates::{self, Evidence, Gate, Reason, Verdict, Visitor};
use crate::proto::ids::MirageId;
use crate::proto::scheme::schedule::Claims;
use crate::proto::scheme::token::{Proof, TOKEN};
use crate::proto::source::{self, Network, Source};
use crate::proto::time::Instant;
use core::net::IpAddr;
use std::rc::Rc;

/// How the log names a port that was touched.
fn touched(mirage: &Mirage, port: u16) -> Touched {
    let Some(schedule) = &mirage.schedule else {
        return Touched {
            port: Some(port),
            clock_off_s: 0,
        };
    };
    Touched {
        port: (!schedule.is_to_come(port)).then_some(port),
        clock_off_s: schedule.clock_off(port).unwrap_or(0),
    }
}

impl Core {
    /// Handles a visitor whose connection is in the shell's hand.
    pub(super) fn accepted(
        &mut self,
        id: MirageId,
        peer: IpAddr,
        port: Option<u16>,
        effects: &mut Effects,
    ) {
        let Some(mirage) = self.mirages.get_mut(id) else {
            return;
        };
        let settings = Rc::clone(&mirage.settings);
        let is_its = |port: &u16| match (settings.pool_port, settings.range()) {
            (Some(_), Some(range)) => range.contains(*port),
            _ => true,
        };
        let Some(port) = port.filter(is_its) else {
            if !core::mem::replace(&mut mirage.told_of_redirect, true) {
                let event = Event::RedirectMissing {
                    mirage: Rc::clone(&settings.section),
                    port: settings.pool_port.unwrap_or(0),
                };
                log(effects, event);
            }
            return;
        };
        let peer = source::canonical(peer);
        let arrival = Arrival {
            mirage: id,
            source: Source::of(peer),
            peer,
            port,
        };
        self.counters.visitors += 1;
        match settings.gate() {
            Gate::Port => {
                let evidence = Evidence::Port(mirage.plan.role(port));
                self.judge_arrival(evidence, arrival, effects);
            }
            // At every port every visitor is held first, in the same way.
            Gate::Token => {
                let claims = mirage.plan.claims(port);
                self.hold(arrival, Some(claims), effects);
            }
            // The port's filter lets only admitted addresses through. But their time may have ended since.
            Gate::Knock | Gate::Packet => {
                if mirage.admitted.contains(peer) {
                    self.admit(arrival, None, effects);
                }
            }
        }
    }

    fn judge_arrival(&mut self, evidence: Evidence, arrival: Arrival, effects: &mut Effects) {
        match self.judge(evidence, arrival.mirage, arrival.peer) {
            Verdict::Admit => self.admit(arrival, None, effects),
            Verdict::Refuse { renews } => {
                self.counters.refused += 1;
                if renews {
                    self.bans.touch(arrival.source, Why::Trap, self.now.boot);
                } else {
                    self.bans.count_attempt(arrival.source);
                }
            }
            verdict => {
                self.turn_away(verdict, arrival, Why::Trap, effects);
                self.hold(arrival, None, effects);
            }
        }
    }

    pub(super) fn judge(&self, evidence: Evidence, mirage: MirageId, peer: IpAddr) -> Verdict {
        let Some(served) = self.mirage(mirage) else {
            return Verdict::Ignore;
        };
        let is_settled = served.settled_at <= self.now.boot;
        gates::judge(evidence, self.visitor(served, peer), is_settled)
    }

    /// What is known about an address at a mirage.
    pub(super) fn visitor(&self, mirage: &Mirage, peer: IpAddr) -> Visitor {
        let source = Source::of(peer);
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(peer));
        let from = &mirage.settings.plain.from;
        Visitor {
            is_allowed: is_in(&self.common.allow),
            is_welcome: from.is_empty() || is_in(from),
            is_banned: self.bans.is_banned(source, self.now.boot),
            forgiven: self.conns.forgiven(source),
        }
    }

    /// What follows for a held visitor from a verdict that does not admit them.
    fn turn_away(&mut self, verdict: Verdict, arrival: Arrival, why: Why, effects: &mut Effects) {
        let Arrival {
            mirage,
            source,
            peer,
            port,
        } = arrival;
        let Some(served) = self.mirage(mirage) else {
            return;
        };
        let (section, touched) = (Rc::clone(&served.settings.section), touched(served, port));
        match verdict {
            Verdict::Hold(reason) => {
                self.counters.held += 1;
                if reason == Reason::Forgiven {
                    self.conns.forgive(source);
                }
                let event = Event::Trap {
                    peer,
                    mirage: section,
                    touched,
                    reason,
                };
                log(effects, event);
            }
            Verdict::Ban => {
                if !self.bans.is_banned(source, self.now.boot) {
                    let event = Event::Ban {
                        peer,
                        mirage: section,
                        touched,
                        seconds: self.common.ban_s,
                    };
                    log(effects, event);
                }
                self.ban(source, why, effects);
            }
            Verdict::Admit | Verdict::Refuse { .. } | Verdict::Ignore => {}
        }
    }

    /// Bans a source, or renews its ban.
    pub(super) fn ban(&mut self, source: Source, why: Why, effects: &mut Effects) {
        let touch = self.bans.touch(source, why, self.now.boot);
        if touch != Touch::Renewed {
            self.counters.banned += 1;
        }
        if let Touch::BannedInsteadOf(ban) = touch {
            let by = UnbanCause::Time;
            log(effects, Event::Unban { ban, by });
            if self.is_news(|told| &mut told.bans) {
                let bans = self.bans.len();
                log(effects, Event::BansFull { bans });
            }
        }
    }

    /// Counts and logs a visitor who is turned away because a limit is reached.
    pub(super) fn turn_away_full(
        &mut self,
        peer: IpAddr,
        port: u16,
        what: Limit,
        effects: &mut Effects,
    ) {
        self.counters.turned_away += 1;
        let port = self.named(port);
        log(effects, Event::Full { peer, port, what });
    }

    /// A port as the log may name it: not if it will be a real one within the next minutes.
    pub(super) fn named(&self, port: u16) -> Option<u16> {
        let mut schedules = self
            .mirages
            .iter()
            .filter_map(|(_, it)| it.schedule.as_ref());
        let is_to_come = schedules.any(|schedule| schedule.is_to_come(port));
        (!is_to_come).then_some(port)
    }

    pub(super) fn log_nonces_full(
        &mut self,
        mirage: MirageId,
        peer: IpAddr,
        effects: &mut Effects,
    ) {
        if self.is_news(|told| &mut told.nonces) {
            let mirage = self.section(mirage);
            log(effects, Event::NoncesFull { mirage, peer });
        }
    }

    /// Whether the last line about this full table was long enough ago for another.
    fn is_news(&mut self, of: fn(&mut ToldFull) -> &mut Option<Instant>) -> bool {
        let now = self.now.boot;
        let told = of(&mut self.told_full);
        let is_news = told.is_none_or(|told| told.after(TELL_FULL_MS) <= now);
        if is_news {
            *told = Some(now);
        }
        is_news
    }

    /// Keeps a visitor in a trap. With claims they may still send a token.
    fn hold(&mut self, arrival: Arrival, claims: Option<Claims>, effects: &mut Effects) {
        let Some(mirage) = self.mirage(arrival.mirage) else {
            return;
        };
        let now = self.now.boot;
        let until = now.after(u64::from(mirage.settings.plain.trap_s) * 1_000);
        self.make_room_in_traps(1, effects);
        let (stage, deadline) = match claims {
            Some(claims) => {
                let stage = Stage::Listening { claims, until };
                (stage, now.after(TOKEN_MS).min(until))
            }
            None => (Stage::Muted { until }, until),
        };
        if let Some(conn) = self.keep(arrival, stage, Some(deadline)) {
            let listens = claims.is_some();
            effects.push_back(Effect::Hold { conn, listens });
        }
    }

    /// Stores the connection in hand. The effect that keeps it has to follow.
    pub(super) fn keep(
        &mut self,
        arrival: Arrival,
        stage: Stage,
        deadline: Option<Instant>,
    ) -> Option<ConnId> {
        let conn = self.conns.insert(Conn {
            mirage: arrival.mirage,
            source: arrival.source,
            peer: arrival.peer,
            port: arrival.port,
            client_address: None,
            since: self.now.boot,
            stage,
        })?;
        self.conns.enter(conn, stage, deadline);
        Some(conn)
    }

    /// Gives up connections in traps until there is room for `more`.
    fn make_room_in_traps(&mut self, more: usize, effects: &mut Effects) {
        loop {
            let (held, most) = self.conns.held();
            if held + more <= most || !self.give_up_one(effects) {
                return;
            }
        }
    }

    /// Gives up the least useful connection in a trap, unless it turns out to have sent a complete token. False
    /// if there is none.
    pub(super) fn give_up_one(&mut self, effects: &mut Effects) -> bool {
        let Some(conn) = self.conns.most_dispensable() else {
            return false;
        };
        let (claims, until) = match self.conns.get(conn).map(|conn| conn.stage) {
            Some(Stage::Listening { claims, until }) => (Some(claims), until),
            Some(Stage::Muted { until }) => (None, until),
            _ => return false,
        };
        self.conns
            .enter(conn, Stage::Leaving { claims, until }, None);
        effects.push_back(Effect::GiveUp(conn));
        true
    }

    /// Handles a token, or the end of the input before one.
    pub(super) fn said(&mut self, id: ConnId, token: Option<[u8; TOKEN]>, effects: &mut Effects) {
        let now = self.now.boot;
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        // Too late is too late, whether the token or the end of its time was seen first.
        let token = token.filter(|_| now < conn.since.after(TOKEN_MS));
        if let Stage::Listening { claims, until }
        | Stage::Leaving {
            claims: Some(claims),
            until,
        } = conn.stage
        {
            self.judge_token(id, claims, until, token, effects);
        }
    }

    /// Judges a visitor at gate = token. A mirage that a reload has dropped judges nobody.
    pub(super) fn judge_token(
        &mut self,
        id: ConnId,
        claims: Claims,
        until: Instant,
        token: Option<[u8; TOKEN]>,
        effects: &mut Effects,
    ) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let arrival = Arrival::of(conn);
        if self.mirage(arrival.mirage).is_some() {
            // What the source may not use is not read, so it is not used up either.
            if token.is_some() && !self.has_room_for_proof(arrival.mirage, arrival.source) {
                self.turn_away_full(arrival.peer, arrival.port, Limit::Nonces, effects);
                self.log_nonces_full(arrival.mirage, arrival.peer, effects);
                return self.mute(id, until, effects);
            }
            let (proof, window) = self.prove(arrival, &claims, token.as_ref());
            match proof {
                Proof::Good => self.counters.good_tokens += 1,
                _ => self.counters.bad_tokens += 1,
            }
            let verdict = self.judge(Evidence::Token(proof), arrival.mirage, arrival.peer);
            if let (Verdict::Admit, Some(token)) = (verdict, token) {
                return self.spend_token((id, until), window, &token, effects);
            }
            self.turn_away(verdict, arrival, Why::Token, effects);
        }
        self.mute(id, until, effects);
    }

    /// Holds a visitor who was judged until their time is over.
    pub(super) fn mute(&mut self, id: ConnId, until: Instant, effects: &mut Effects) {
        self.conns.enter(id, Stage::Muted { until }, Some(until));
        effects.push_back(Effect::Mute(id));
        // A connection that was to leave but stays after all needs a place.
        self.make_room_in_traps(0, effects);
    }

    /// Forgets a held or waiting connection that no longer exists.
    pub(super) fn gone(&mut self, id: ConnId) {
        self.conns.remove(id);
    }
}
