//! The relay in a network with a seed: sessions come and go, bytes arrive in any portions, peers stop reading, end
//! and reset at any byte, calls are interrupted, descriptors run out. Bytes out are bytes in, no session waits for
//! what nobody tells, and every pipe comes back.
//!
//! `src/proto/server/tests/simulate` does the same with what the daemon decides.

mod net;

use super::link::{Link, Progress, Ready};
use super::pipes::Pipes;
use crate::daemon::wake::Side;
use crate::limits::{PIPES, RESET_DRAIN_MS};
use crate::proto::Instant;
use crate::proto::input::End;
use crate::proto::source::Source;
use crate::proto::tests::simulation::{Simulator, find};
use net::{Flaw, Net, Pipe, Socket, begin, net};

const SIMULATOR: Simulator = Simulator {
    module: "relay::tests",
    seeds: 100,
    walk: |seed| simulate(seed, None),
};

/// The most seeds that it takes to find a flaw.
const FLAW_SEEDS: u32 = 50;

/// Steps of a walk.
const STEPS: usize = 1_500;

/// Sessions at a time.
const SESSIONS: usize = 5;

/// A byte of what the peer at a line sends.
fn byte(line: usize, at: usize) -> u8 {
    let spread = at ^ (at >> 8) ^ (at >> 16);
    (spread ^ (line * 37)) as u8
}

/// What is at the other end of a line.
struct Peer {
    line: usize,
    /// The line of the other peer.
    other: usize,
    sent: usize,
    sends: usize,
    received: usize,
}

impl Peer {
    fn new(line: usize, other: usize) -> Self {
        let sends = net(|net| [0, 1, 500, 20_000, 400_000][net.below(5)]);
        Self {
            line,
            other,
            sent: 0,
            sends,
            received: 0,
        }
    }

    fn send(&mut self, most: usize) {
        let count = most.min(self.sends - self.sent);
        let bytes = (self.sent..self.sent + count).map(|at| byte(self.line, at));
        net(|net| {
            let line = &mut net.lines[self.line];
            if line.is_reset || line.is_closed {
                return;
            }
            line.inbox.extend(bytes);
            line.is_ready |= count > 0;
        });
        self.sent += count;
    }

    /// It has sent everything, and ends.
    fn end(&mut self) {
        net(|net| {
            let line = &mut net.lines[self.line];
            if self.sent == self.sends && !line.has_ended && !line.is_reset {
                (line.has_ended, line.is_ready) = (true, true);
            }
        });
    }

    fn receive(&mut self, most: usize) {
        for got in net(|net| net.take(self.line, most)) {
            assert_eq!(
                got,
                byte(self.other, self.received),
                "bytes out are not bytes in"
            );
            self.received += 1;
        }
    }
}

struct Session {
    link: Link<Socket>,
    peers: [Peer; 2],
}

struct Walk {
    pipes: Pipes<Pipe>,
    sessions: Vec<Session>,
    now: Instant,
}

impl Walk {
    fn new(seed: u32, flaw: Option<Flaw>) -> Self {
        begin(seed, flaw);
        let mut pipes = Pipes::new();
        pipes.can_splice = Ok(());
        Self {
            pipes,
            sessions: Vec::new(),
            now: Instant(0),
        }
    }

    fn come(&mut self) {
        let (client, service) = (Socket::new(true), Socket::new(net(|net| net.below(2) == 0)));
        let peers = [
            Peer::new(client.0, service.0),
            Peer::new(service.0, client.0),
        ];
        let source = Source::of([192, 0, 2, 1].into());
        let link = Link::new(client, service, source, None, self.now);
        self.sessions.push(Session { link, peers });
        self.drive(self.sessions.len() - 1, None);
    }

    fn drive(&mut self, at: usize, ready: Option<Ready>) {
        let session = &mut self.sessions[at];
        let may_borrow = !self.pipes.are_scarce() || net(|net| net.below(2) == 0);
        let link = &mut session.link;
        match link.drive(ready, self.now, &mut self.pipes, may_borrow) {
            Progress::Wait => {}
            Progress::Again => link.is_due = true,
            Progress::DialFailed(_) => self.end(at, End::Reset),
            Progress::Over(end) => self.end(at, end),
        }
        let lent: usize = self.sessions.iter().map(|it| it.link.pipes()).sum();
        let open = net(|net| net.pipes);
        assert!(lent <= open && open <= PIPES, "{lent} of {open} pipes");
    }

    fn end(&mut self, at: usize, end: End) {
        let Session { link, mut peers } = self.sessions.swap_remove(at);
        let moved = link.moved();
        link.close(Some(end), &mut self.pipes);
        if end == End::Closed {
            for peer in &mut peers {
                peer.receive(usize::MAX);
            }
            let [client, service] = &peers;
            let sent = (client.sends, service.sends);
            let received = (service.received, client.received);
            assert_eq!(received, sent, "bytes are missing");
            assert_eq!((moved.0 as usize, moved.1 as usize), sent);
        }
        assert!(
            peers
                .iter()
                .all(|peer| net(|net| net.lines[peer.line].is_closed))
        );
    }

    /// Gives one side its event, if something has changed there.
    fn wake(&mut self, at: usize, side: usize) {
        let line = self.sessions[at].peers[side].line;
        let ready = net(|net| {
            let line = &mut net.lines[line];
            let is_ready = core::mem::take(&mut line.is_ready);
            let is_ending = line.has_ended || line.is_reset;
            let is_readable = is_ending || !line.inbox.is_empty();
            let side = [Side::Client, Side::Service][side];
            is_ready.then(|| Ready::of(side, is_readable, is_ending, line.is_reset))
        });
        if ready.is_some() {
            self.drive(at, ready);
        }
    }

    fn step(&mut self) {
        if self.sessions.is_empty()
            || self.sessions.len() < SESSIONS && net(|net| net.below(20) == 0)
        {
            return self.come();
        }
        let draw = |net: &mut Net, end| net.below(end);
        let at = net(|net| draw(net, self.sessions.len()));
        let side = net(|net| draw(net, 2));
        let many = net(|net| [1, 100, 16_384, 70_000][draw(net, 4)]);
        let peer = &mut self.sessions[at].peers[side];
        match net(|net| draw(net, 40)) {
            0..10 => peer.send(many),
            10..18 => peer.receive(many),
            18..20 => peer.end(),
            20 if net(|net| draw(net, 20) == 0) => net(|net| net.reset(peer.line)),
            21 => net(|net| net.is_short ^= true),
            22 => self.pass(at, many as u64 / 10),
            23 => self.accept(at),
            24..30 if self.sessions[at].link.is_due => {
                self.sessions[at].link.is_due = false;
                self.drive(at, None);
            }
            _ => self.wake(at, side),
        }
    }

    fn accept(&mut self, at: usize) {
        let line = self.sessions[at].peers[1].line;
        net(|net| {
            let line = &mut net.lines[line];
            line.is_ready |= !core::mem::replace(&mut line.is_accepted, true);
        });
    }

    fn pass(&mut self, at: usize, ms: u64) {
        self.now = self.now.after(ms);
        if let Some(end) = self.sessions[at].link.expire(self.now) {
            self.end(at, end);
        }
    }

    /// All peers send the rest, end, and read: every session is over, by events alone.
    fn finish(&mut self) {
        net(|net| net.is_short = false);
        for _ in 0..20_000 {
            let Some(session) = self.sessions.last_mut() else {
                break;
            };
            for peer in &mut session.peers {
                peer.send(usize::MAX);
                peer.end();
                peer.receive(usize::MAX);
            }
            let at = self.sessions.len() - 1;
            let count = self.sessions.len();
            self.accept(at);
            if core::mem::take(&mut self.sessions[at].link.is_due) {
                self.drive(at, None);
            }
            for side in 0..2 {
                if self.sessions.len() == count {
                    self.wake(at, side);
                }
            }
            let is_quiet = self.sessions.len() == count
                && !self.sessions[at].link.is_due
                && self.sessions[at]
                    .peers
                    .iter()
                    .all(|peer| net(|net| !net.lines[peer.line].is_ready));
            if is_quiet {
                // After a reset, its time passes.
                self.pass(at, RESET_DRAIN_MS);
                let has_deadline =
                    self.sessions.len() < count || self.sessions[at].link.deadline().is_some();
                let has_room = self.sessions.len() < count
                    || self.sessions[at]
                        .peers
                        .iter()
                        .any(|peer| net(|net| !net.lines[peer.line].outbox.is_empty()));
                assert!(
                    has_deadline || has_room,
                    "a session waits for what nobody tells"
                );
            }
        }
        assert!(self.sessions.is_empty(), "a session does not end");
        let lent: Vec<_> = core::iter::from_fn(|| self.pipes.take()).collect();
        assert_eq!(lent.len(), PIPES, "pipes were not given back");
        for pipe in lent {
            self.pipes.give_back(pipe);
        }
        self.pipes.shed();
        assert_eq!(net(|net| net.pipes), 0, "pipes are open");
    }
}

fn simulate(seed: u32, flaw: Option<Flaw>) {
    let mut walk = Walk::new(seed, flaw);
    for _ in 0..STEPS {
        walk.step();
    }
    walk.finish();
}

#[test]
fn bytes_out_are_bytes_in_and_everything_comes_back() {
    SIMULATOR.walk_all();
}

#[test]
fn every_flaw_is_found() {
    let flaws = [
        (Flaw::ShortSplice, "bytes"),
        (Flaw::WakeLost, "waits for what nobody tells"),
        (Flaw::PipeKept, "pipes"),
    ];
    for (flaw, sign) in flaws {
        let name = format!("{flaw:?}");
        find(&name, sign, FLAW_SEEDS, |seed| simulate(seed, Some(flaw)));
    }
}

#[test]
fn once_more() {
    SIMULATOR.walk_once_more();
}

#[test]
#[ignore = "for as long as one likes: tests/simulate/run"]
fn on_and_on() {
    SIMULATOR.walk_on();
}
