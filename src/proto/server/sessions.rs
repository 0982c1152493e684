//! Admitted visitors and the hidden service: caps, dials, services on demand, ends.

use super::arrival::{Arrival, Newcomer};
use super::tables::{Core, log};
use crate::limits::{DIAL_MS, SERVICE_LOOK_MS};
use crate::proto::client_address::Client;
use crate::proto::conn::{Conn, ConnId, Stage};
use crate::proto::doors::{OpenFor, OpenRequest, Requested};
use crate::proto::effect::{Effect, Effects};
use crate::proto::event::Event;
use crate::proto::ids::MirageId;
use crate::proto::input::{End, Fault};
use crate::terms::{OnDemand, Service};
use core::net::Ipv4Addr;
use std::io;
use std::rc::Rc;

impl Core {
    /// Opens the door if there is room. `held` is the connection if a trap has it; otherwise it is in hand.
    pub(super) fn admit(&mut self, arrival: Arrival, held: Option<ConnId>, effects: &mut Effects) {
        let Some(mirage) = self.mirage(arrival.mirage) else {
            return;
        };
        let settings = Rc::clone(&mirage.settings);
        let Some(forward) = settings.forward() else {
            // The connection itself leads nowhere; closing it tells the client that the door is open.
            return self.open_door_for(arrival, held, effects);
        };
        if self.is_source_full(arrival.source) {
            return self.ask_for_room(Newcomer { arrival, held }, effects);
        }
        if let Some(what) = self.limit_of(arrival.mirage, mirage, None) {
            self.turn_away_full(arrival.peer, arrival.port, what, effects);
            return self.let_go(held, effects);
        }
        let (stage, deadline) = match &forward.to {
            Service::At(_) => (
                Stage::Dialling { is_told: false },
                Some(self.now.boot.after(DIAL_MS)),
            ),
            Service::Exec(_) => (Stage::Process, None),
        };
        let conn = match held {
            Some(conn) => {
                self.conns.begin_at(conn, self.now.boot);
                self.conns.enter(conn, stage, deadline);
                Some(conn)
            }
            None => self.keep(arrival, stage, deadline),
        };
        let start = conn.and_then(|conn| self.start(conn));
        effects.extend(start);
    }

    /// Closes a connection that is held. One in the shell's hand is closed because nothing keeps it.
    pub(super) fn let_go(&mut self, held: Option<ConnId>, effects: &mut Effects) {
        if let Some(conn) = held {
            self.conns.remove(conn);
            effects.push_back(Effect::Close(conn));
        }
    }

    /// The effect that joins a connection to its service as it is configured now.
    fn start(&self, id: ConnId) -> Option<Effect> {
        let conn = self.conns.get(id)?;
        let mirage = self.mirage(conn.mirage)?;
        let settings = &mirage.settings;
        let forward = settings.forward()?;
        Some(match &forward.to {
            Service::At(to) => Effect::Dial {
                conn: id,
                to: *to,
                source: conn.source,
                idle_ms: settings
                    .plain
                    .idle_s
                    .map(|seconds| u64::from(seconds) * 1_000),
                introduction: mirage.introduction(conn.source, *to),
            },
            Service::Exec(program) => Effect::Exec {
                conn: id,
                words: program.words(conn.peer, &settings.section),
            },
        })
    }

    /// Handles the beginning of a dial or a process, or its failure.
    pub(super) fn started(
        &mut self,
        id: ConnId,
        result: Result<Option<Ipv4Addr>, Fault>,
        effects: &mut Effects,
    ) {
        if let Ok(from) = result {
            self.conns.dialled_from(id, from);
        }
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let was_told = match conn.stage {
            Stage::Dialling { is_told } => is_told,
            Stage::Process => false,
            _ => return,
        };
        match result {
            Ok(_) if was_told => {}
            Ok(client_address) => {
                let mirage = self.section(conn.mirage);
                if let Some(address) = client_address {
                    self.last_clients.note(Client {
                        address,
                        source: conn.source,
                        mirage: Rc::clone(&mirage),
                    });
                }
                let event = Event::Accept {
                    mirage,
                    peer: conn.peer,
                    port: self.named(conn.port),
                    client_address,
                    times: 1,
                };
                log(effects, event);
                self.counters.accepted += 1;
                if let Stage::Dialling { .. } = conn.stage {
                    let deadline = conn.since.after(DIAL_MS);
                    let stage = Stage::Dialling { is_told: true };
                    self.conns.enter(id, stage, Some(deadline));
                }
            }
            // An admitted visitor is worth more than one in a trap.
            Err(Fault::Short(error)) => {
                if self.give_up_one(effects)
                    && let Some(start) = self.start(id)
                {
                    effects.push_back(start);
                } else {
                    self.could_not_start(id, was_told, error, effects);
                }
            }
            Err(Fault::Other(error)) => self.could_not_start(id, was_told, error, effects),
        }
    }

    fn could_not_start(
        &mut self,
        id: ConnId,
        was_told: bool,
        error: io::Error,
        effects: &mut Effects,
    ) {
        if was_told {
            return self.dial_failed(id, &error, effects);
        }
        let Some(conn) = self.conns.remove(id) else {
            return;
        };
        let mirage = self.mirage(conn.mirage);
        let forward = mirage.and_then(|mirage| mirage.settings.forward());
        let service = forward.map(|forward| forward.to.to_string());
        let event = Event::ServiceNotStarted {
            mirage: self.section(conn.mirage),
            peer: conn.peer,
            service: service.unwrap_or_default(),
            error,
        };
        log(effects, event);
        effects.push_back(Effect::Close(id));
        self.leave_service(conn.mirage);
    }

    /// Handles a dial that the service has accepted.
    pub(super) fn dialled(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let mirage = conn.mirage;
        // A waiting dial was only given up by our deadline: until the next dial, the service may still accept
        // it.
        if let Stage::Dialling { .. } | Stage::Waiting = conn.stage {
            self.conns.enter(id, Stage::Open, None);
            self.openings.service_is_used(mirage, self.now.boot);
        }
    }

    /// Handles a failed dial, whatever the reason: the command that starts a service may also bring up the way
    /// to it.
    pub(super) fn dial_failed(&mut self, id: ConnId, error: &io::Error, effects: &mut Effects) {
        let Some(Conn {
            stage: Stage::Dialling { .. },
            ..
        }) = self.conns.get(id)
        else {
            return;
        };
        if self.waits_for_service(id, error, effects) {
            let again = self.now.boot.after(SERVICE_LOOK_MS);
            self.conns.enter(id, Stage::Waiting, Some(again));
        } else {
            self.end_without_service(id, error, effects);
        }
    }

    /// Whether a visitor waits because their service is started on demand. Starts it if it is not starting yet.
    fn waits_for_service(&mut self, id: ConnId, error: &io::Error, effects: &mut Effects) -> bool {
        let now = self.now.boot;
        let Some(conn) = self.conns.get(id) else {
            return false;
        };
        let (mirage, since, peer) = (conn.mirage, conn.since, conn.peer);
        let Some(settings) = self.mirage(mirage).map(|it| Rc::clone(&it.settings)) else {
            return false;
        };
        let Some(OnDemand {
            open,
            close,
            idle_s,
        }) = settings.forward().and_then(|to| to.on_demand.as_ref())
        else {
            return false;
        };
        let ready_ms = u64::from(settings.plain.ready_s) * 1_000;
        let is_over = since.after(ready_ms) <= now;
        if !is_over && !self.openings.service_is_coming(mirage, ready_ms, now) {
            let close = close.as_ref();
            let request = OpenRequest {
                mirage,
                open_for: OpenFor::Service,
                open: open.words(peer, &settings.section),
                close: close.map(|close| close.words(peer, &settings.section)),
                stays_ms: u64::from(*idle_s) * 1_000,
            };
            match self.openings.request(request, &mut None, now) {
                Requested::Begun => {}
                // It was started, but does not answer any more.
                Requested::Renewed => self.openings.service_has_died(mirage),
                Requested::Full => return false,
            }
        }
        if is_over {
            let event = Event::ServiceNotReady {
                mirage: Rc::clone(&settings.section),
                seconds: settings.plain.ready_s,
                error: error.to_string(),
            };
            log(effects, event);
        }
        !is_over
    }

    fn end_without_service(&mut self, id: ConnId, error: &io::Error, effects: &mut Effects) {
        let Some(conn) = self.conns.remove(id) else {
            return;
        };
        let event = Event::ServiceFailed {
            mirage: self.section(conn.mirage),
            peer: conn.peer,
            error: error.to_string(),
        };
        log(effects, event);
        self.end(&conn, "no-service", (0, 0), effects);
        effects.push_back(Effect::Close(id));
    }

    /// Handles the end of a session.
    pub(super) fn over(&mut self, id: ConnId, end: End, bytes: (u64, u64), effects: &mut Effects) {
        if let Some(conn) = self.conns.remove(id) {
            self.end(&conn, end.word(), bytes, effects);
        }
    }

    pub(super) fn end(
        &mut self,
        conn: &Conn,
        end: &'static str,
        (bytes_in, bytes_out): (u64, u64),
        effects: &mut Effects,
    ) {
        let now = self.now.boot;
        let event = Event::Close {
            mirage: self.section(conn.mirage),
            peer: conn.peer,
            port: self.named(conn.port),
            bytes_in,
            bytes_out,
            seconds: now.since(conn.since) / 1_000,
            end,
        };
        log(effects, event);
        self.leave_service(conn.mirage);
    }

    /// Without a session, the service runs on for a while only.
    fn leave_service(&mut self, mirage: MirageId) {
        if self.conns.sessions_of(mirage) == 0 {
            self.openings.service_is_left(mirage, self.now.boot);
        }
    }

    /// Handles a service that could not be started: the connections that wait for it end one by one.
    pub(super) fn strand_waiting(&mut self, mirage: MirageId) {
        let now = self.now.boot;
        let is_waiting =
            |conn: &Conn| conn.mirage == mirage && matches!(conn.stage, Stage::Waiting);
        let all = self.conns.iter_from(0);
        let waiting: Vec<ConnId> = all
            .filter_map(|(id, conn)| is_waiting(conn).then_some(id))
            .collect();
        for id in waiting {
            self.conns.enter(id, Stage::Stranded, Some(now));
        }
    }

    /// Handles one connection whose deadline is over. False if there is none.
    pub(super) fn expire_conn(&mut self, effects: &mut Effects) -> bool {
        let now = self.now.boot;
        let Some(id) = self.conns.next_due(now) else {
            return false;
        };
        match self.conns.get(id).map(|conn| conn.stage) {
            Some(Stage::Listening { claims, until }) => {
                self.judge_token(id, claims, until, None, effects);
            }
            Some(Stage::Muted { .. }) => self.let_go(Some(id), effects),
            // No answer at all: for example, from a machine that has to be woken up.
            Some(Stage::Dialling { .. }) => {
                self.dial_failed(id, &io::ErrorKind::TimedOut.into(), effects);
            }
            Some(Stage::Waiting) => self.dial_again(id, effects),
            Some(Stage::Stranded) => {
                let error = io::ErrorKind::ConnectionRefused.into();
                self.end_without_service(id, &error, effects);
            }
            Some(
                Stage::Leaving { .. }
                | Stage::Proven { .. }
                | Stage::Open
                | Stage::Process
                | Stage::Guest,
            )
            | None => {}
        }
        true
    }

    /// Dials the service again for a connection that waits until it accepts.
    fn dial_again(&mut self, id: ConnId, effects: &mut Effects) {
        let deadline = self.now.boot.after(DIAL_MS);
        let stage = Stage::Dialling { is_told: true };
        self.conns.enter(id, stage, Some(deadline));
        match self.start(id) {
            Some(dial @ Effect::Dial { .. }) => effects.push_back(dial),
            _ => self.dial_failed(id, &io::ErrorKind::NotFound.into(), effects),
        }
    }
}
