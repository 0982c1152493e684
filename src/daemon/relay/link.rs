//! One visitor's session at the hidden service: forwards a connection, or gives it to a process.
//!
//! ```text
//!               ┌──── inbound ────▶
//!     client ───┤                  ├─── service       each direction independently:
//!               ◀──── outbound ────┘
//!
//!     Fill ──▶ Drain ──▶ Fill …  ──end of input──▶ ShutWrite ──▶ Done
//! ```

use super::direction::{Broken, Direction, Step};
use super::pipes::Pipes;
use super::stream::Stream;
use crate::daemon::wake::Side;
use crate::limits::{RESET_DRAIN_MS, RESET_LOOK_MS};
use crate::proto::Instant;
use crate::proto::input::End;
use crate::proto::source::Source;
use mio::event::Event;
use std::io;
use std::os::fd::OwnedFd;

/// What a link needs next.
pub enum Progress {
    /// An event, or its deadline.
    Wait,
    /// Another go in the next turn.
    Again,
    /// The service has not accepted. It may be dialled again.
    DialFailed(io::Error),
    /// It has ended and can be removed.
    Over(End),
}

/// What an event says about one side. Such flags are hints: only an attempt shows the truth.
#[derive(Clone, Copy)]
pub struct Ready {
    side: Side,
    /// There may be something to read, if only an end or an error. An event that only says that the socket has
    /// room again is no reason to read.
    is_readable: bool,
    is_ending: bool,
    is_reset: bool,
}

impl Ready {
    /// The flags of an event.
    pub fn new(side: Side, event: &Event) -> Self {
        let is_reset = event.is_error();
        let is_ending = is_reset || event.is_read_closed() || event.is_priority();
        Self {
            side,
            is_readable: is_ending || event.is_readable(),
            is_ending,
            is_reset,
        }
    }

    /// These flags.
    #[cfg(test)]
    pub fn of(side: Side, is_readable: bool, is_ending: bool, is_reset: bool) -> Self {
        Self {
            side,
            is_readable,
            is_ending,
            is_reset,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The service is being dialled.
    Dialling,
    /// A dial has failed; another may follow.
    Apart,
    Open,
    /// One side is gone. The other gets what was sent before, until this deadline. No event tells when it has
    /// got everything, so the link checks now and then.
    Resetting {
        until: Instant,
        look: Instant,
    },
}

/// A visitor's connection, the service's connection, and the bytes between them.
pub struct Link<S: Stream = OwnedFd> {
    /// The visitor's connection.
    pub client: S,
    service: S,
    /// The source that its pipes count for.
    pub source: Source,
    /// Whether it waits for another go.
    pub is_due: bool,
    inbound: Direction<S::Tube>,
    outbound: Direction<S::Tube>,
    state: State,
    idle_ms: Option<u64>,
    active: Instant,
}

impl<S: Stream> Link<S> {
    /// A visitor and the service that is being dialled. The link ends after `idle_ms` milliseconds without a
    /// byte.
    pub fn new(client: S, service: S, source: Source, idle_ms: Option<u64>, now: Instant) -> Self {
        Self {
            client,
            service,
            source,
            is_due: false,
            inbound: Direction::new(),
            outbound: Direction::new(),
            state: State::Dialling,
            idle_ms,
            active: now,
        }
    }

    /// Sends a header to the service before the client's first byte.
    pub fn introduce(&mut self, header: Vec<u8>) {
        self.inbound.introduce(header);
    }

    /// Dials the service again, with this socket.
    pub fn dial_again(&mut self, service: S) {
        self.service = service;
        self.state = State::Dialling;
        // The hints of the failed dial do not apply to this one.
        self.outbound.is_ending = false;
        self.outbound.is_reset = false;
    }

    /// Ends a dial that has failed; another may follow.
    pub fn part(&mut self) {
        self.state = State::Apart;
    }

    /// Bytes from the client to the service, and back.
    pub fn moved(&self) -> (u64, u64) {
        (self.inbound.moved, self.outbound.moved)
    }

    /// The number of pipes that it has borrowed.
    pub fn pipes(&self) -> usize {
        usize::from(self.inbound.pipe.is_some()) + usize::from(self.outbound.pipe.is_some())
    }

    /// Whether its service has not accepted yet.
    pub fn is_dialling(&self) -> bool {
        self.state == State::Dialling
    }

    /// When to look at it even without an event.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Dialling | State::Apart => None,
            State::Open => self.idle_ms.map(|idle| self.active.after(idle)),
            State::Resetting { until, look } => Some(until.min(look)),
        }
    }

    /// Ends it if its deadline is over.
    pub fn expire(&mut self, now: Instant) -> Option<End> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match self.state {
            State::Dialling | State::Apart => None,
            State::Open => Some(End::Idle),
            State::Resetting { until, .. } if until <= now || self.is_delivered() => {
                Some(End::Reset)
            }
            State::Resetting { until, .. } => {
                let look = now.after(RESET_LOOK_MS);
                self.state = State::Resetting { until, look };
                None
            }
        }
    }

    fn hint(&mut self, ready: Ready) {
        let from_here = match ready.side {
            Side::Client => &mut self.inbound,
            Side::Service => &mut self.outbound,
        };
        from_here.is_ending |= ready.is_ending;
        from_here.is_reset |= ready.is_reset;
    }

    /// Continues after an event at one side, or (None) with both, and handles what follows.
    pub fn drive(
        &mut self,
        ready: Option<Ready>,
        now: Instant,
        pipes: &mut Pipes<S::Tube>,
        may_borrow: bool,
    ) -> Progress {
        let mut ready = ready;
        if let Some(ready) = ready {
            self.hint(ready);
        }
        if self.state == State::Apart {
            return Progress::Wait;
        }
        if self.is_dialling() {
            match self.service.connected() {
                Ok(false) => return Progress::Wait,
                // The client's first bytes raise no second event: try both directions.
                Ok(true) => {
                    self.state = State::Open;
                    ready = None;
                }
                Err(error) => {
                    self.part();
                    return Progress::DialFailed(error);
                }
            }
        }
        let before = self.moved();
        let mut again = false;
        for inward in [true, false] {
            let (from, to) = if inward {
                (Side::Client, Side::Service)
            } else {
                (Side::Service, Side::Client)
            };
            let direction = if inward {
                &self.inbound
            } else {
                &self.outbound
            };
            // Events at its input matter, and events at its output while it waits for room.
            let concerns = match ready {
                None => true,
                Some(ready) if direction.is_blocked => ready.side == to,
                Some(ready) => ready.side == from && ready.is_readable,
            };
            if !concerns {
                continue;
            }
            let (direction, from, to) = if inward {
                (&mut self.inbound, &self.client, &self.service)
            } else {
                (&mut self.outbound, &self.service, &self.client)
            };
            match direction.run(from, to, pipes, may_borrow) {
                Ok(step) => again |= step == Step::Again,
                Err(Broken::Writing) => {
                    direction.stop(pipes);
                    self.begin_reset(now);
                    // What the other end had sent before it went is still on its way.
                    again = true;
                }
                Err(Broken::Reading) => {
                    // All that it had sent has been passed on, and it no longer receives.
                    self.inbound.stop(pipes);
                    self.outbound.stop(pipes);
                    self.begin_reset(now);
                }
            }
        }
        if before != self.moved() {
            self.active = now;
        }
        // A direction without room does not read, so it does not notice a reset of its input. What it holds
        // gets the same time as after any reset.
        let is_stuck = |direction: &Direction<S::Tube>| direction.is_reset && direction.is_blocked;
        if is_stuck(&self.inbound) || is_stuck(&self.outbound) {
            self.begin_reset(now);
        }
        // A side that has sent its last bytes is not read any more, so only this check shows its reset.
        let finished = match ready.map(|ready| ready.side) {
            Some(Side::Client) if self.inbound.is_done() => Some(&self.client),
            Some(Side::Service) if self.outbound.is_done() => Some(&self.service),
            _ => None,
        };
        if finished.is_some_and(S::has_error) {
            self.inbound.stop(pipes);
            self.outbound.stop(pipes);
            self.begin_reset(now);
        }
        match self.state {
            State::Resetting { .. } if self.is_delivered() => Progress::Over(End::Reset),
            State::Open if self.is_done() => Progress::Over(End::Closed),
            _ if again => Progress::Again,
            _ => Progress::Wait,
        }
    }

    /// One side is gone. The other has some time to receive what was sent before.
    fn begin_reset(&mut self, now: Instant) {
        if self.state == State::Open {
            let (until, look) = (now.after(RESET_DRAIN_MS), now.after(RESET_LOOK_MS));
            self.state = State::Resetting { until, look };
            // An end of input that is read from now on does not come from the peer.
            self.inbound.is_reset = true;
            self.outbound.is_reset = true;
        }
    }

    fn is_done(&self) -> bool {
        self.inbound.is_done() && self.outbound.is_done()
    }

    /// Whether both directions are finished and the kernel has sent everything: a reset would discard the rest.
    fn is_delivered(&self) -> bool {
        self.is_done() && self.client.unsent() == 0 && self.service.unsent() == 0
    }

    /// Closes both sides, with a reset if one side was reset.
    pub fn close(mut self, end: Option<End>, pipes: &mut Pipes<S::Tube>) {
        self.inbound.stop(pipes);
        self.outbound.stop(pipes);
        if end == Some(End::Reset) {
            self.client.reset_on_close();
            self.service.reset_on_close();
        }
    }
}
