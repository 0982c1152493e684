//! One visitor at the hidden service: a connection that is forwarded, with the bytes between the two, or
//! a process that has the connection to itself.
//!
//! ```text
//!               ┌──── inbound ────▶
//!     client ───┤                  ├─── service       each direction on its own:
//!               ◀──── outbound ────┘
//!
//!     Fill ──▶ Drain ──▶ Fill …  ──end of input──▶ ShutWrite ──▶ Done
//! ```

use super::direction::{Broken, Direction, Step};
use super::pipes::Pipes;
use super::wake::Side;
use crate::limits::{DIAL_MS, RESET_DRAIN_MS, RESET_LOOK_MS};
use crate::proto::Instant;
use crate::proto::source::Source;
use crate::sys::child::{Exit, Pid};
use crate::sys::socket;
use core::net::IpAddr;
use mio::event::Event;
use socket2::SockRef;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// How a session ended.
pub enum End {
    /// Both sides have said their last word.
    Closed,
    /// One side was reset, and so is the other.
    Reset,
    /// Nothing moved for the idle time.
    Idle,
    /// The service took no connection.
    NoService(io::Error),
    /// Its process has ended.
    Exit(Exit),
}

impl End {
    /// The word that the log has for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::NoService(_) => "no-service",
            Self::Exit(exit) if exit.is_success() => "closed",
            Self::Exit(_) => "failed",
        }
    }
}

/// What a session wants next.
pub enum Progress {
    /// An event, or its deadline.
    Wait,
    /// Another go in the next turn.
    Again,
    /// To be taken away.
    Over(End),
}

/// What an event says of one side. Such flags are hints: what is so is found by trying.
#[derive(Clone, Copy)]
pub struct Ready {
    side: Side,
    /// There is something to read, if only an end or an error. A socket that only takes bytes again
    /// is not asked for any.
    is_readable: bool,
    is_ending: bool,
    is_reset: bool,
}

impl Ready {
    /// What the event says.
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
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The service has so long to take the connection.
    Dialing(Instant),
    /// The service is being started, and is dialled again then.
    Waiting(Instant),
    Open,
    /// One side is gone; the other gets what was sent before, until then. Whether it has got all of
    /// it is no event, so it is looked at now and then.
    Resetting {
        until: Instant,
        look: Instant,
    },
}

/// What a source has in all its sessions together.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Its sessions.
    pub sessions: usize,
    /// Touches of traps that it was forgiven since the first of them began.
    pub forgiven: u8,
    /// Pipes that the sessions hold.
    pub pipes: usize,
}

/// Who comes, where to, and when.
pub struct Arrival {
    /// The section of the mirage that it came through; it may be gone from the configuration.
    pub mirage: Rc<str>,
    /// Who it is for the bans and the caps.
    pub source: Source,
    /// Who it is for the log.
    pub peer: IpAddr,
    /// The port that it came to.
    pub port: u16,
    /// When it came.
    pub since: Instant,
}

/// What its visitor is joined to.
enum Body {
    Link(Link),
    Process(Pid),
}

/// A visitor at the hidden service.
pub struct Session {
    /// Who it is.
    pub who: Arrival,
    /// It waits for another go.
    pub is_due: bool,
    body: Body,
}

impl Session {
    /// A visitor, and the service that is being dialled for it; `idle_ms` are the milliseconds without a
    /// byte after which it is closed.
    pub fn forward(client: OwnedFd, service: OwnedFd, idle_ms: Option<u64>, who: Arrival) -> Self {
        let link = Link {
            client,
            service,
            inbound: Direction::new(),
            outbound: Direction::new(),
            state: State::Dialing(who.since.after(DIAL_MS)),
            idle_ms,
            active: who.since,
        };
        Self {
            who,
            is_due: false,
            body: Body::Link(link),
        }
    }

    /// A visitor whose connection a process has.
    pub fn process(pid: Pid, who: Arrival) -> Self {
        Self {
            who,
            is_due: false,
            body: Body::Process(pid),
        }
    }

    /// The client's socket and the service's; a process has the connection to itself.
    pub fn sockets(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        let link = self.link()?;
        Some((link.client.as_fd(), link.service.as_fd()))
    }

    /// Its process, if it is one.
    pub fn pid(&self) -> Option<Pid> {
        match self.body {
            Body::Process(pid) => Some(pid),
            Body::Link(_) => None,
        }
    }

    fn link(&self) -> Option<&Link> {
        match &self.body {
            Body::Link(link) => Some(link),
            Body::Process(_) => None,
        }
    }

    fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.body {
            Body::Link(link) => Some(link),
            Body::Process(_) => None,
        }
    }

    /// Bytes from the client to the service, and back; none are known of a process.
    pub fn moved(&self) -> (u64, u64) {
        self.link().map_or((0, 0), Link::moved)
    }

    /// Pipes that it holds.
    pub fn pipes(&self) -> usize {
        self.link().map_or(0, Link::pipes)
    }

    /// When it has to be looked at even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.link()?.deadline()
    }

    /// Ends it if its deadline has passed.
    pub fn expire(&mut self, now: Instant) -> Option<End> {
        self.link_mut()?.expire(now)
    }

    /// Goes on after an event at one side, or (None) with both, and settles what follows from it.
    pub fn drive(
        &mut self,
        ready: Option<Ready>,
        now: Instant,
        pipes: &mut Pipes,
        may_borrow: bool,
    ) -> Progress {
        match self.link_mut() {
            Some(link) => link.drive(ready, now, pipes, may_borrow),
            None => Progress::Wait,
        }
    }

    /// Waits until the moment to dial the service again, which does not accept yet. False where it has
    /// been spoken to already.
    pub fn wait_to_dial(&mut self, until: Instant) -> bool {
        match self.link_mut() {
            Some(link) if link.is_dialing() || link.is_waiting() => {
                link.state = State::Waiting(until);
                true
            }
            _ => false,
        }
    }

    /// Whether its service is dialled, and has not answered.
    pub fn is_dialing(&self) -> bool {
        self.link().is_some_and(Link::is_dialing)
    }

    /// Whether it waits until its service is dialled again.
    pub fn is_waiting(&self) -> bool {
        self.link().is_some_and(Link::is_waiting)
    }

    /// Whether it is time to dial its service again.
    pub fn is_to_be_dialled(&self, now: Instant) -> bool {
        let state = self.link().map(|link| link.state);
        matches!(state, Some(State::Waiting(until)) if until <= now)
    }

    /// The service is dialled again, by this socket.
    pub fn dial_again(&mut self, service: OwnedFd, now: Instant) {
        if let Some(link) = self.link_mut() {
            link.service = service;
            link.state = State::Dialing(now.after(DIAL_MS));
            // What the last dial hinted at when it failed is not this one's.
            link.outbound.is_ending = false;
            link.outbound.is_reset = false;
        }
    }

    /// Closes both sides: with a reset where one side was reset.
    pub fn close(self, end: &End, pipes: &mut Pipes) {
        if let Body::Link(link) = self.body {
            link.close(end, pipes);
        }
    }
}

/// A visitor's connection and the service's, and the bytes between them.
struct Link {
    client: OwnedFd,
    service: OwnedFd,
    inbound: Direction,
    outbound: Direction,
    state: State,
    idle_ms: Option<u64>,
    active: Instant,
}

impl Link {
    fn moved(&self) -> (u64, u64) {
        (self.inbound.moved, self.outbound.moved)
    }

    fn pipes(&self) -> usize {
        usize::from(self.inbound.pipe.is_some()) + usize::from(self.outbound.pipe.is_some())
    }

    fn is_dialing(&self) -> bool {
        matches!(self.state, State::Dialing(_))
    }

    fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Dialing(until) | State::Waiting(until) => Some(until),
            State::Open => self.idle_ms.map(|idle| self.active.after(idle)),
            State::Resetting { until, look } => Some(until.min(look)),
        }
    }

    fn expire(&mut self, now: Instant) -> Option<End> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match self.state {
            State::Dialing(_) => Some(End::NoService(io::ErrorKind::TimedOut.into())),
            // Whoever dials for it looks after that.
            State::Waiting(_) => None,
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

    fn drive(
        &mut self,
        ready: Option<Ready>,
        now: Instant,
        pipes: &mut Pipes,
        may_borrow: bool,
    ) -> Progress {
        let mut ready = ready;
        if let Some(ready) = ready {
            self.hint(ready);
        }
        if let State::Waiting(_) = self.state {
            return Progress::Wait;
        }
        if self.is_dialing() {
            match socket::connected(self.service.as_fd()) {
                Ok(false) => return Progress::Wait,
                // What the client has sent already raises no second event: try both directions.
                Ok(true) => {
                    self.state = State::Open;
                    ready = None;
                }
                Err(error) => return Progress::Over(End::NoService(error)),
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
            // An event at its input, or one at its output when it waits for that.
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
            match direction.run(from.as_fd(), to.as_fd(), pipes, may_borrow) {
                Ok(step) => again |= step == Step::Again,
                Err(Broken::Writing) => {
                    direction.stop(pipes);
                    self.begin_reset(now);
                    // What the other end had sent before it went is still on its way.
                    again = true;
                }
                Err(Broken::Reading) => {
                    // All that it had sent is passed on; and it takes nothing any more.
                    self.inbound.stop(pipes);
                    self.outbound.stop(pipes);
                    self.begin_reset(now);
                }
            }
        }
        if before != self.moved() {
            self.active = now;
        }
        // A direction without room does not read, so it does not find its input reset. What it has
        // gets the same time as after any reset.
        let is_stuck = |direction: &Direction| direction.is_reset && direction.is_blocked;
        if is_stuck(&self.inbound) || is_stuck(&self.outbound) {
            self.begin_reset(now);
        }
        // Nobody reads any more from a side that has said its last word, so a reset of it shows
        // only here.
        let said_all = match ready.map(|ready| ready.side) {
            Some(Side::Client) if self.inbound.is_done() => Some(&self.client),
            Some(Side::Service) if self.outbound.is_done() => Some(&self.service),
            _ => None,
        };
        if said_all.is_some_and(has_error) {
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

    /// One side is gone. The other has some time to take what was sent before that.
    fn begin_reset(&mut self, now: Instant) {
        if self.state == State::Open {
            let (until, look) = (now.after(RESET_DRAIN_MS), now.after(RESET_LOOK_MS));
            self.state = State::Resetting { until, look };
            // What either reads from now on, its end has not said it.
            self.inbound.is_reset = true;
            self.outbound.is_reset = true;
        }
    }

    fn is_done(&self) -> bool {
        self.inbound.is_done() && self.outbound.is_done()
    }

    /// Whether both directions are done, and the kernel has sent all that we gave it: a reset would
    /// throw the rest away.
    fn is_delivered(&self) -> bool {
        let has_sent = |socket: &OwnedFd| socket::unsent(socket.as_fd()) == 0;
        self.is_done() && has_sent(&self.client) && has_sent(&self.service)
    }

    fn close(mut self, end: &End, pipes: &mut Pipes) {
        self.inbound.stop(pipes);
        self.outbound.stop(pipes);
        if let End::Reset = end {
            socket::reset_on_close(self.client.as_fd());
            socket::reset_on_close(self.service.as_fd());
        }
    }
}

/// Whether an error is pending at a socket, such as a reset (socket(7), SO_ERROR). It is taken by this.
fn has_error(socket: &OwnedFd) -> bool {
    !matches!(SockRef::from(socket).take_error(), Ok(None))
}
