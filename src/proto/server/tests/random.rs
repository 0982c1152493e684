//! Long walks of whatever can happen, from two hundred seeds. After each step both sides agree (check.rs), and
//! once all sessions have ended and all time has passed, nothing is left.

use super::shell::{Body, Dial, Dialled};
use super::world::{World, common, key, mirage, settings};
use crate::limits::DEAD_MS;
use crate::proto::conn::ConnId;
use crate::proto::doors::{OpenFor, RestoredOpening};
use crate::proto::gates::{GateSettings, KnockSettings, PacketSettings};
use crate::proto::input::{ElementOutcome, End, Input, Order};
use crate::proto::scheme::knock::{Hop, parse_sequence};
use crate::proto::scheme::packet::{self, PACKET};
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::scheme::token::{self, TOKEN};
use crate::proto::settings::{CommonSettings, MirageSettings};
use crate::proto::source::Source;
use crate::terms::{ClockTrust, Door, Forward, OnDemand, Service};
use core::net::IpAddr;
use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};

const SEEDS: u64 = 200;
const STEPS: usize = 300;

/// The number of the step that takes another configuration over.
const RELOAD: usize = 36;

/// Whoever comes: neighbours of one IPv6 network, one who is never banned, and one in two forms.
const PEERS: [&str; 8] = [
    "192.0.2.1",
    "192.0.2.2",
    "::ffff:192.0.2.2",
    "203.0.113.5",
    "198.51.100.9",
    "2001:db8::1",
    "2001:db8::2",
    "10.0.0.1",
];

fn narrow(section: &str, low: u16) -> MirageSettings {
    let range = Range::new(low, low + 23).unwrap();
    let pattern = Pattern::new(range, 3, 60);
    MirageSettings {
        pattern,
        ..mirage(section, (low, low + 23))
    }
}

fn knocking() -> GateSettings {
    let mut knock = KnockSettings {
        sequence: parse_sequence("7000,7001:udp").unwrap(),
        close_sequence: parse_sequence("7001,7000").unwrap(),
        ..KnockSettings::default()
    };
    knock.rules.range = Range::new(12_000, 12_023);
    GateSettings::Knock(Box::new(knock))
}

fn command(close: Option<&str>) -> Door {
    Door::Command {
        open: "/bin/open %IP%".parse().unwrap(),
        close: close.map(|close| close.parse().unwrap()),
    }
}

fn on_demand() -> Door {
    Door::Forward(Forward {
        to: Service::At(([127, 0, 0, 1], 23).into()),
        on_demand: Some(OnDemand {
            open: "/bin/start".parse().unwrap(),
            close: Some("/bin/stop".parse().unwrap()),
            idle_s: 30,
        }),
    })
}

/// Several configurations: mirages come and go, and change their gates and doors.
fn configurations() -> Vec<Vec<MirageSettings>> {
    let (home, work, away) = (
        narrow("home", 10_000),
        narrow("work", 11_000),
        narrow("away", 12_000),
    );
    let set = Door::Nft {
        set: "ip/fw4/ssh".parse().unwrap(),
        port: None,
    };
    let program = Door::Forward(Forward {
        to: Service::Exec("/bin/cat".parse().unwrap()),
        on_demand: None,
    });
    let closing = || command(Some("/bin/close %IP%"));
    let packet = GateSettings::Packet(PacketSettings::default());
    let with = |mirage: &MirageSettings, gate: GateSettings, door: Door| MirageSettings {
        gate_settings: gate,
        door,
        ..mirage.clone()
    };
    let forward = home.door.clone();
    vec![
        vec![
            home.clone(),
            with(&work, GateSettings::Token, forward.clone()),
            with(&away, knocking(), forward.clone()),
        ],
        vec![
            with(&home, GateSettings::Token, on_demand()),
            with(&away, knocking(), closing()),
        ],
        vec![
            MirageSettings {
                pool_port: Some(9_000),
                ..home.clone()
            },
            with(&work, GateSettings::Port, set.clone()),
            with(&away, packet.clone(), forward),
        ],
        vec![
            with(&home, GateSettings::Port, on_demand()),
            with(&work, GateSettings::Token, closing()),
            with(&away, knocking(), set),
        ],
        vec![
            with(&away, packet, program.clone()),
            with(&work, GateSettings::Port, command(None)),
            with(&home, GateSettings::Token, program),
        ],
    ]
}

struct Walk {
    world: World,
    random: TestRng,
    configurations: Vec<Vec<MirageSettings>>,
    /// Tokens that were said, and datagrams that were sent.
    said: Vec<[u8; TOKEN]>,
    sent: Vec<[u8; PACKET]>,
    /// Those that counted.
    counted: Vec<Vec<u8>>,
    nonce: u8,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8] = 1;
        Self {
            world: World::new(common()),
            random: TestRng::from_seed(RngAlgorithm::XorShift, &bytes),
            configurations: configurations(),
            said: Vec::new(),
            sent: Vec::new(),
            counted: Vec::new(),
            nonce: 0,
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

    fn reload(&mut self) {
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
            _ => token::make(&key(&narrow(&section, 1)), minute, port, &[self.nonce; 16]),
        };
        self.said.push(token);
        token
    }

    fn say(&mut self) {
        let Some(conn) = self.conn(|body| body == Body::Trap { listens: true }) else {
            return;
        };
        let token = self.token(conn);
        let before = self.world.core.memory().unwritten().changes();
        let is_alone = self.world.shell.unread.is_empty();
        match self.below(6) {
            0 => self.world.say(conn, None),
            1 => self.world.shell.unread.push((conn, token)),
            2 => {
                // Reset, which is told after the verdict.
                self.world.shell.reset.push(conn);
                self.world.say(conn, None);
            }
            _ => {
                self.world.say(conn, Some(token));
                if is_alone {
                    self.check_once(before, &token);
                }
            }
        }
    }

    /// If something counted, it was this, for the first time. What could not be recorded let nobody in.
    fn check_once(&mut self, before: u64, proof: &[u8]) {
        let is_used = self.world.core.memory().unwritten().changes() != before;
        if is_used && !self.world.shell.is_disk_full {
            assert!(!self.counted.iter().any(|other| other == proof));
            self.counted.push(proof.to_vec());
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
            let failure = [None, None, Some("exit=1")][self.below(3)];
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

    fn sense(&mut self) {
        let from = self.peer();
        let hops = ["7000", "7001:udp", "7001", "7000"];
        match self.below(4) {
            0 => {
                let hops = ["7000", "7001:udp", "7001", "12005"];
                let hop = hops[self.below(4)];
                self.world
                    .sense_from(from, Hop::try_from(hop).unwrap(), None);
            }
            1 => {
                // At the minute's port.
                self.nonce = self.nonce.wrapping_add(1);
                let unix = self.world.now.unix() - [0, 0, 600][self.below(3)];
                let key = key(&narrow("away", 1));
                let said = packet::make(&key, unix, None, &[self.nonce; 16]);
                let hops = self.world.shell.hops.clone();
                self.sent.push(said);
                let said = self.pick(&self.sent.clone()).unwrap_or(said);
                if let Some((_, hop)) = self.pick(&hops) {
                    let before = self.world.core.memory().unwritten().changes();
                    self.world.sense_from(from, hop, Some(said));
                    self.check_once(before, &said);
                }
            }
            2 => {
                for hop in &hops[..2] {
                    self.world
                        .sense_from(from, Hop::try_from(*hop).unwrap(), None);
                }
            }
            _ => {
                for hop in &hops[2..] {
                    self.world
                        .sense_from(from, Hop::try_from(*hop).unwrap(), None);
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
            close: Some(["/bin/close".to_owned()].into()),
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
            }
        }
    }

    /// One step. Unless it is a reload, nobody gets in beyond what there is, or takes what another mirage was
    /// promised.
    fn step(&mut self) {
        let most = self.world.core.common.max_sessions;
        let (_, before) = self.world.promised();
        let sessions = self.world.counts().1;
        let number = self.below(40);
        self.do_step(number);
        if number != RELOAD {
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
            0..12 => {
                let (peer, port) = (self.peer(), self.port());
                let visit = |port| self.world.come(peer, port);
                port.and_then(visit);
            }
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
            38 => match self.below(5) {
                0 => self.restore(),
                3 => {
                    self.world.restart(common());
                    self.reload();
                }
                1 => self.world.handle(Input::Short),
                _ => {
                    let peer = self.peer();
                    self.world.handle(Input::TurnedAway { peer, port: 10_000 });
                }
            },
            _ => self.change_the_world(),
        }
    }

    /// All sessions end, all commands do their work, and all time passes.
    fn end(&mut self) {
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
        assert_eq!(core.openings().iter().count(), 0);
        assert_eq!(core.elements.iter().count(), 0);
        assert!(core.bans().is_empty());
        assert!(shell.journal.is_empty(), "{:?}", shell.journal);
        for (_, mirage) in core.mirages() {
            assert!(mirage.admitted.is_empty() && mirage.next.is_none());
            let tracker = mirage.tracker.as_ref();
            assert!(tracker.is_none_or(|tracker| tracker.next_deadline().is_none()));
        }
    }

    /// The daemon has to end, while visitors go on coming; all commands do their work.
    fn stop(&mut self) {
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
        assert_eq!(world.core.openings().iter().count(), 0);
        assert!(world.shell.journal.is_empty(), "{:?}", world.shell.journal);
        for (id, _) in world.core.mirages() {
            assert!(world.core.wanted(id).ports.is_empty());
        }
    }
}

#[test]
fn whatever_happens_nothing_is_left_of_it() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut walk = Walk::new(seed);
        walk.world.turn();
        walk.reload();
        for _ in 0..STEPS {
            walk.step();
        }
        walk.end();
    }
}

#[test]
fn whenever_it_stops_nothing_stays_open() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut walk = Walk::new(seed);
        walk.world.turn();
        walk.reload();
        for _ in 0..STEPS / 3 {
            walk.step();
        }
        walk.stop();
    }
}
