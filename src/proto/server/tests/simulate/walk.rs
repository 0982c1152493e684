//! One walk: steps of whatever can happen, and the end of it all.

use super::configurations::{configurations, narrow};
use super::promises::{Promises, Proof};
use crate::limits::DEAD_MS;
use crate::proto::conn::ConnId;
use crate::proto::doors::{Closing, OpenFor, RestoredOpening};
use crate::proto::input::{ElementOutcome, End, Input, Order};
use crate::proto::scheme::knock::Hop;
use crate::proto::scheme::packet::{self, PACKET};
use crate::proto::scheme::token::{self, TOKEN};
use crate::proto::server::tests::flaw::Flaw;
use crate::proto::server::tests::shell::{Body, Dial, Dialled};
use crate::proto::server::tests::world::{World, common, key, settings};
use crate::proto::settings::{CommonSettings, MirageSettings};
use crate::proto::source::Source;
use crate::terms::ClockTrust;
use core::net::IpAddr;
use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// The numbers of the steps that take another configuration over.
const RELOAD: usize = 36;
const RESTART: usize = 38;

/// The most effects that are performed before a crash.
const CRASH_EFFECTS: usize = 12;

/// Whoever comes: neighbours of one IPv6 network, one who is never banned, and one in two forms.
pub const PEERS: [&str; 8] = [
    "192.0.2.1",
    "192.0.2.2",
    "::ffff:192.0.2.2",
    "203.0.113.5",
    "198.51.100.9",
    "2001:db8::1",
    "2001:db8::2",
    "10.0.0.1",
];

/// A packet under way.
#[derive(Clone, Copy)]
struct Packet {
    from: IpAddr,
    hop: Hop,
    said: Option<[u8; PACKET]>,
}

pub struct Walk {
    pub world: World,
    random: TestRng,
    configurations: Vec<Vec<MirageSettings>>,
    /// Tokens that were said.
    said: Vec<[u8; TOKEN]>,
    /// Datagrams that were sent.
    sent: Vec<[u8; PACKET]>,
    /// Packets that arrive late, twice or never.
    under_way: Vec<Packet>,
    pub promises: Promises,
    nonce: u64,
    /// Each step prints what was done.
    is_told: bool,
}

impl Walk {
    pub fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8] = 1;
        let mut world = World::new(common());
        world.shell.flaw = flaw;
        Self {
            world,
            random: TestRng::from_seed(RngAlgorithm::XorShift, &bytes),
            configurations: configurations(),
            said: Vec::new(),
            sent: Vec::new(),
            under_way: Vec::new(),
            promises: Promises::default(),
            nonce: 0,
            is_told: std::env::var_os("SHIMMER_TRACE").is_some(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())].clone())
    }

    fn peer(&mut self) -> IpAddr {
        PEERS[self.below(PEERS.len())].parse().unwrap()
    }

    fn nonce_bytes(&self) -> [u8; 16] {
        u128::from(self.nonce).to_be_bytes()
    }

    /// A connection whose body is like this.
    fn conn(&mut self, is_it: fn(Body) -> bool) -> Option<ConnId> {
        let world = &self.world;
        let mut conns = world.shell.conns();
        conns.retain(|&conn| world.shell.body(conn).is_some_and(is_it));
        self.pick(&conns)
    }

    /// Any port that somebody may come to, of which the real ones are likelier.
    fn port(&mut self) -> Option<u16> {
        let mut ports = Vec::new();
        for (_, mirage) in self.world.core.mirages() {
            ports.extend_from_slice(mirage.plan.ports());
            ports.extend(mirage.plan.reals().repeat(4));
            ports.extend(mirage.settings.pool_port);
        }
        self.pick(&ports)
    }

    pub fn reload(&mut self) {
        let configuration = self.below(self.configurations.len());
        let mirages = self.configurations[configuration].clone();
        let common = CommonSettings {
            ban_s: [30, 120][self.below(2)],
            max_sessions: [3, 6][self.below(2)],
            clock: [ClockTrust::Trust, ClockTrust::Wait][self.below(2)],
            ..common()
        };
        let settings = settings(common, &mirages);
        self.world.handle(Input::Configuration(settings));
        if self.world.shell.flaw == Some(Flaw::JournalDropped) {
            self.world.shell.recorded.clear();
            self.world.shell.journal.clear();
        }
    }

    fn dial(&mut self) {
        const DIALS: [Dial; 6] = [
            Dial::Accepted,
            Dial::Brief,
            Dial::Refused,
            Dial::Short,
            Dial::Failed,
            Dial::Pending,
        ];
        let dial = DIALS[self.below(6)];
        self.world.shell.dials.push_back(dial);
    }

    /// A token for somebody in a trap: a good one, one of a minute before, a used or a wrong one.
    fn token(&mut self, conn: ConnId) -> [u8; TOKEN] {
        let conn = self.world.core.conns.get(conn).unwrap();
        let (section, port) = (self.world.core.name(conn.mirage), conn.port);
        self.nonce = self.nonce.wrapping_add(1);
        let minutes_ago = [0, 0, 0, 1, 3][self.below(5)];
        let minute = self.world.now.unix() / 60 - minutes_ago;
        let token = match self.below(6) {
            0 => self.pick(&self.said.clone()).unwrap_or([1; TOKEN]),
            1 => [1; TOKEN],
            _ => token::make(
                &key(&narrow(&section, 1)),
                minute,
                port,
                &self.nonce_bytes(),
            ),
        };
        self.said.push(token);
        token
    }

    fn say(&mut self) {
        let Some(conn) = self.conn(|body| body == Body::Trap { listens: true }) else {
            return;
        };
        let token = self.token(conn);
        match self.below(6) {
            0 => self.world.say(conn, None),
            1 => self.world.shell.unread.push((conn, token)),
            2 => {
                // Reset, which is told after the verdict.
                self.world.shell.reset.push(conn);
                self.world.say(conn, None);
            }
            _ => self.prove(conn, token),
        }
    }

    /// Says a token, and nothing else that could count.
    fn prove(&mut self, conn: ConnId, token: [u8; TOKEN]) {
        let port = self.world.core.conns.get(conn).map(|conn| conn.port);
        let before = self.world.shell.remembered;
        let is_alone = self.world.shell.unread.is_empty();
        self.world.say(conn, Some(token));
        let is_used = self.world.shell.remembered != before;
        if let Some(port) = port.filter(|_| is_alone && is_used) {
            self.promises.counts(Proof::Token(port, token));
        }
    }

    /// Somebody shows again what has counted before.
    fn replay(&mut self) {
        let counted = &self.promises.counted;
        let last: Vec<Proof> = counted.iter().rev().take(8).cloned().collect();
        match self.pick(&last) {
            Some(Proof::Token(port, token)) => {
                let peer = self.peer();
                let conn = self.world.come(peer, port);
                let listens = |conn: &ConnId| {
                    self.world.shell.body(*conn) == Some(Body::Trap { listens: true })
                };
                if let Some(conn) = conn.filter(listens) {
                    self.prove(conn, token);
                }
            }
            Some(Proof::Packet(said)) => {
                let hops = self.world.shell.hops.clone();
                if let Some((_, hop)) = self.pick(&hops) {
                    let (from, said) = (self.peer(), Some(said));
                    self.arrive(Packet { from, hop, said });
                }
            }
            None => {}
        }
    }

    fn reset(&mut self) {
        if let Some(conn) = self.conn(|body| body == Body::Trap { listens: false }) {
            self.world.reset(conn);
        }
    }

    /// Something becomes of a dial or a session.
    fn advance(&mut self) {
        let Some(conn) = self.conn(|body| matches!(body, Body::Link(_) | Body::Process)) else {
            return;
        };
        let ends = [End::Closed, End::Reset, End::Idle];
        let end = ends[self.below(3)];
        match (self.world.shell.body(conn), self.below(3)) {
            (Some(Body::Link(Dialled::Pending)), 0) => self.world.take_dial(conn),
            (Some(Body::Link(Dialled::Pending)), 1) => {
                self.world.fail_dial(conn);
            }
            (Some(Body::Link(Dialled::Failed)), _) => {}
            _ => self.world.end(conn, end),
        }
    }

    /// A client does not answer any more, or does again.
    fn fall_silent(&mut self) {
        if let Some(conn) = self.conn(|body| matches!(body, Body::Link(_))) {
            let ms = [0, DEAD_MS - 1, DEAD_MS, 60_000][self.below(4)];
            self.world.shell.unanswered_ms.insert(conn.bits(), ms);
        }
    }

    fn end_job(&mut self) {
        if !self.world.shell.jobs.is_empty() {
            let failures = [None, None, None, Some("exit=1"), Some("killed")];
            let failure = failures[self.below(5)];
            self.world.end_job(failure);
        }
    }

    fn end_element(&mut self) {
        const OUTCOMES: [ElementOutcome; 3] = [
            ElementOutcome::Done,
            ElementOutcome::Done,
            ElementOutcome::TooLate,
        ];
        if !self.world.shell.elements.is_empty() {
            let outcome = OUTCOMES[self.below(3)];
            self.world.end_element(outcome);
        }
    }

    /// A packet is sent: it arrives at once, later, twice, or never.
    fn send(&mut self, from: IpAddr, hop: Hop, said: Option<[u8; PACKET]>) {
        let packet = Packet { from, hop, said };
        match self.below(8) {
            0 => {}
            1 => self.under_way.push(packet),
            2 => {
                self.under_way.push(packet);
                self.arrive(packet);
            }
            _ => self.arrive(packet),
        }
    }

    fn arrive(&mut self, Packet { from, hop, said }: Packet) {
        let before = self.world.shell.remembered;
        self.world.sense_from(from, hop, said);
        let is_used = self.world.shell.remembered != before;
        if let Some(said) = said.filter(|_| is_used) {
            self.promises.counts(Proof::Packet(said));
        }
    }

    fn sense(&mut self) {
        let from = self.peer();
        let hops = ["7000", "7001:udp", "7001", "7000"];
        let hops = hops.map(|hop| Hop::try_from(hop).unwrap());
        match self.below(5) {
            0 => {
                let elsewhere = Hop::try_from("12005").unwrap();
                let hop = [hops[0], hops[1], hops[2], elsewhere][self.below(4)];
                self.send(from, hop, None);
            }
            1 => {
                // At the minute's port.
                self.nonce += 1;
                let unix = self.world.now.unix() - [0, 0, 600][self.below(3)];
                let key = key(&narrow("away", 1));
                let said = packet::make(&key, unix, None, &self.nonce_bytes());
                let hops = self.world.shell.hops.clone();
                self.sent.push(said);
                let said = self.pick(&self.sent.clone()).unwrap_or(said);
                if let Some((_, hop)) = self.pick(&hops) {
                    self.send(from, hop, Some(said));
                }
            }
            2 => hops[..2].iter().for_each(|hop| self.send(from, *hop, None)),
            3 => hops[2..].iter().for_each(|hop| self.send(from, *hop, None)),
            _ => {
                for _ in 0..self.under_way.len() {
                    let place = self.below(self.under_way.len());
                    let packet = self.under_way.swap_remove(place);
                    self.arrive(packet);
                }
            }
        }
    }

    fn pass(&mut self) {
        const LONG: [u64; 8] = [0, 1, 100, 1_000, 2_999, 5_000, 20_000, 61_000];
        let ms = LONG[self.below(8)];
        match self.below(8) {
            // Turns are late.
            0 => self.world.skip(ms),
            1 => self.world.turn(),
            _ => self.world.pass(ms),
        }
    }

    fn order(&mut self) {
        let peer = self.peer();
        let order = match self.below(5) {
            0 => Order::UnbanAll,
            1 => Order::Unban(peer),
            _ => Order::Ban(peer),
        };
        self.world.handle(Input::Operator(order));
    }

    fn restore(&mut self) {
        let sections = ["home", "work", "gone"];
        let open_for = match self.below(3) {
            0 => OpenFor::Service,
            _ => OpenFor::Address(self.peer().to_canonical()),
        };
        let restored = RestoredOpening {
            section: sections[self.below(3)].into(),
            open_for,
            close: Closing::Command(["/bin/close".to_owned()].into()),
            until: self.world.now.boot.after([0, 5_000, 60_000][self.below(3)]),
        };
        self.world.handle(Input::Restored(vec![restored]));
    }

    fn change_the_world(&mut self) {
        let shell = &mut self.world.shell;
        match self.random.random_range(0..4) {
            0 => shell.can_not_hold ^= true,
            1 => shell.is_disk_full ^= true,
            2 => shell.is_clock_kept ^= true,
            _ => {
                const YEAR_MS: i64 = 31_536_000_000;
                const STEPS_MS: [i64; 8] = [
                    500, 5_000, 61_000, -5_000, -200_000, -840_000, YEAR_MS, -YEAR_MS,
                ];
                let ms = STEPS_MS[self.below(8)];
                self.world.set_clock(ms);
                self.promises.stepped(self.world.now);
            }
        }
    }

    /// Somebody comes to a port: who touches a trap is banned, and nobody else.
    fn visit(&mut self) {
        let (peer, port) = (self.peer(), self.port());
        let Some(port) = port else { return };
        let expected = self.promises.before_visit(&self.world, peer, port);
        self.world.come(peer, port);
        if !self.world.has_crashed {
            self.promises.after_visit(&self.world, expected);
        }
    }

    /// The daemon was killed, at any effect, and starts again.
    fn restart(&mut self) {
        // Commands go on without it, and end as they would.
        let children = self.world.shell.jobs.len();
        for _ in 0..children {
            let failure = [None, Some("exit=1")][self.below(2)];
            self.world.shell.end_child(failure);
        }
        let saved = self.promises.saved(&self.world);
        self.world.restart(common());
        self.reload();
        self.promises.check_loaded(&self.world, &saved);
        while self.below(2) == 0 {
            self.replay();
        }
    }

    /// One step, in which the daemon may be killed. Unless it is a reload, nobody gets in beyond what there is, or
    /// takes what another mirage was promised.
    pub fn step(&mut self) {
        if self.below(40) == 0 {
            self.world.crash_in = Some(self.below(CRASH_EFFECTS));
        }
        self.step_unless_killed();
        self.world.crash_in = None;
        let trace = core::mem::take(&mut self.world.shell.trace);
        if self.is_told {
            println!(
                "{} {trace:#?} {:?}",
                self.world.now.boot.0, self.world.shell.house
            );
        }
        if self.world.has_crashed {
            self.restart();
        }
        self.promises.check_house(&self.world.shell);
    }

    fn step_unless_killed(&mut self) {
        let most = self.world.core.common.max_sessions;
        let (_, before) = self.world.promised();
        let sessions = self.world.counts().1;
        let number = self.below(42);
        self.do_step(number);
        let is_same = ![RELOAD, RESTART].contains(&number);
        if is_same && !self.world.has_crashed {
            let (promised, after) = self.world.promised();
            assert!(
                after <= before.max(most - promised),
                "{after} take what was promised"
            );
            assert!(self.world.counts().1 <= sessions.max(most));
        }
    }

    fn do_step(&mut self, number: usize) {
        match number {
            0..12 => self.visit(),
            12..14 => {
                let (peer, port) = (self.peer(), self.port());
                let who = port.and_then(|port| self.world.way_to(peer, port));
                self.world.shell.waiting.extend(who);
            }
            14..19 => self.say(),
            19 => self.reset(),
            20..22 => self.dial(),
            22..24 => self.advance(),
            24 => self.fall_silent(),
            25..27 => self.end_job(),
            27 => self.end_element(),
            28..31 => self.sense(),
            31..36 => self.pass(),
            RELOAD => self.reload(),
            37 => self.order(),
            RESTART => match self.below(5) {
                0 => self.restore(),
                3 => self.restart(),
                1 => self.world.handle(Input::Short),
                _ => {
                    let peer = self.peer();
                    self.world.handle(Input::TurnedAway { peer, port: 10_000 });
                }
            },
            39 => self.change_the_world(),
            40 => self.replay(),
            _ => self.promises.check_member(&mut self.world),
        }
    }

    /// All sessions end, all commands do their work, and all time passes.
    pub fn end(&mut self) {
        let world = &mut self.world;
        world.shell.dials.clear();
        world.shell.waiting.clear();
        (world.shell.is_disk_full, world.shell.is_clock_kept) = (false, true);
        for _ in 0..20 {
            for conn in world.shell.conns() {
                if matches!(
                    world.shell.body(conn),
                    Some(Body::Link(Dialled::Pending | Dialled::Open) | Body::Process)
                ) {
                    world.end(conn, End::Closed);
                }
            }
            while !world.shell.jobs.is_empty() {
                world.end_job(None);
                world.turn();
            }
            while !world.shell.elements.is_empty() {
                world.end_element(ElementOutcome::Done);
            }
            world.pass(60_000);
        }
        let Self { world, .. } = self;
        let (core, shell) = (&world.core, &world.shell);
        assert_eq!(world.counts(), (0, 0));
        assert_eq!(
            (shell.bodies.len(), core.conns.iter_from(0).count()),
            (0, 0)
        );
        assert!(core.conns.next_deadline().is_none() && core.conns.most_dispensable().is_none());
        for peer in PEERS {
            let peer = peer.parse().unwrap();
            assert!(!core.conns.knows(Source::of(peer)), "{peer} has something");
        }
        assert_eq!(core.openings().iter().count(), 0, "what is open has no end");
        assert_eq!(core.elements.iter().count(), 0);
        assert!(core.bans().is_empty());
        assert!(shell.journal.is_empty(), "{:?}", shell.journal);
        assert!(shell.house.is_empty(), "{:?} stay open", shell.house);
        for (_, mirage) in core.mirages() {
            assert!(mirage.admitted.is_empty() && mirage.next.is_none());
            let tracker = mirage.tracker.as_ref();
            assert!(tracker.is_none_or(|tracker| tracker.next_deadline().is_none()));
        }
    }

    /// The daemon has to end, while visitors go on coming; all commands do their work.
    pub fn stop(&mut self) {
        self.world.shell.is_disk_full = false;
        self.world.handle(Input::Stop);
        self.world.turn();
        while !self.world.core.has_stopped() {
            let world = &mut self.world;
            let is_busy = !world.shell.jobs.is_empty() || !world.shell.elements.is_empty();
            if !world.shell.jobs.is_empty() {
                world.end_job(None);
            }
            if !world.shell.elements.is_empty() {
                world.end_element(ElementOutcome::Done);
            }
            let peer = PEERS[0].parse().unwrap();
            for port in [10_000, 10_443, 11_000] {
                world.come(peer, port);
            }
            match is_busy {
                true => world.turn(),
                // A closing that has failed before is tried again within a second.
                false => world.pass(100),
            }
        }
        let Self { world, .. } = self;
        assert_eq!(
            world.core.openings().iter().count(),
            0,
            "what is open has no end"
        );
        assert!(world.shell.journal.is_empty(), "{:?}", world.shell.journal);
        assert!(
            world.shell.house.is_empty(),
            "{:?} stay open",
            world.shell.house
        );
        for (id, _) in world.core.mirages() {
            assert!(world.core.wanted(id).ports.is_empty());
        }
    }
}
