//! The core, with any inputs in any order: its answers late, twice or never, and events about connections that are
//! gone. It has to hold its bounds, to count a proof once, and to end when it is told to.

use crate::bytes::Bytes;
use shimmer::config::ServerConfig;
use shimmer::limits::{BANS, OPENINGS, STOP_MS};
use shimmer::proto::conn::ConnId;
use shimmer::proto::doors::{Closing, OpenFor, RestoredOpening};
use shimmer::proto::effect::{Drain, Effect, Effects};
use shimmer::proto::ids::{JobId, MirageId};
use shimmer::proto::input::{
    ElementOutcome, End, Examined, Fault, Input, JobFailure, Order, SavedBan, Sensed,
};
use shimmer::proto::nonces::Memory;
use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::knock::{Hop, Protocol};
use shimmer::proto::scheme::packet::{self, PACKET};
use shimmer::proto::scheme::schedule::Schedule;
use shimmer::proto::scheme::token::{self, TOKEN};
use shimmer::proto::settings::{CommonSettings, MirageSettings, Settings};
use shimmer::proto::source::Source;
use shimmer::proto::{Core, Instant, Now};
use shimmer::terms::ClockTrust;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

const START: Now = Now {
    boot: Instant(1_000_000_000),
    real_ms: 1_794_000_000_000,
};

/// Effects that may be queued at once, and how many more for each mirage.
const MOST_EFFECTS: (usize, usize) = (64, 8);

/// Rounds until everything is settled, and things that are due at one moment.
const MOST_ROUNDS: usize = 4_096;

/// Traps that there are, and connections that the shell remembers.
const TRAPS: usize = 4;
const REMEMBERED: usize = 64;

/// One of each gate and of each door, and then others in their place.
const CONFIGURATIONS: [&str; 3] = [
    "[mirage-home]
secret = abcdefghijklmnopqrstuvwxyz
gate = token
port = 22
range = 10000-10099
decoys = 3
max-sessions = 3
[mirage-away]
secret = abcdefghijklmnopqrstuvwxyz
gate = packet
range = 11000-11099
packet-port = 9000
door = command
open-command = /bin/open %IP%
close-command = /bin/close %IP%
open-timeout = 20s
[mirage-knock]
gate = knock
sequence = 7000,7001:udp,7002
close-sequence = 7002,7001:udp,7000
door = nft
open-set = inet/fw4/home
open-timeout = 30s
[mirage-web]
secret = abcdefghijklmnopqrstuvwxyz
range = 12000-12099
decoys = 3
forward = 127.0.0.1:80
open-command = /bin/start
close-command = /bin/stop
open-timeout = 10s
ready-timeout = 5s
",
    "[mirage-home]
secret = abcdefghijklmnopqrstuvwxyz
range = 10000-10099
decoys = 5
exec = /bin/cat
from = 192.0.2.0/24
trap-time = 5s
[mirage-away]
secret = abcdefghijklmnopqrstuvwxyz
gate = packet
range = 11000-11099
packet-port = 9000
door = nft
open-set = inet/fw4/away
open-timeout = 20s
[mirage-knock]
secret = abcdefghijklmnopqrstuvwxyz
gate = knock
range = 13000-13099
lock = 1m
lock-scope = all
once = yes
door = command
open-command = /bin/open
",
    "[mirage-home]
secret = abcdefghijklmnopqrstuvwxyz
range = 10000-10099
decoys = 3
door = command
open-command = /bin/open %IP%
close-command = /bin/close %IP%
[mirage-away]
secret = abcdefghijklmnopqrstuvwxyz
gate = packet
range = 11000-11099
packet-port = 9000
port = 22
[mirage-web]
secret = abcdefghijklmnopqrstuvwxyz
gate = token
range = 12000-12099
decoys = 3
listen = pool
pool-port = 443
door = nft
open-set = ip/fw4/home
period = 10s
",
];

type Mirages = Vec<(MirageSettings, Option<Key>)>;

thread_local! {
    static MIRAGES: [Mirages; 3] = CONFIGURATIONS.map(mirages);
}

fn mirages(text: &str) -> Mirages {
    let server = ServerConfig::parse(Path::new("fuzz.conf"), text.as_bytes());
    let server = server.unwrap_or_else(|errors| panic!("{errors}"));
    let with_key = |mirage: shimmer::config::ServerMirage| {
        let name = &mirage.settings.plain.name;
        let stretch = |secret: shimmer::config::Secret| Key::stretch(secret.as_bytes(), name);
        let key = mirage.secret.clone().map(stretch);
        (mirage.settings, key)
    };
    server.mirages.into_iter().map(with_key).collect()
}

fn settings(bytes: &mut Bytes<'_>) -> Box<Settings> {
    let common = CommonSettings {
        ban_s: [30, 900][bytes.below(2)],
        allow: vec!["198.51.100.0/24".parse().unwrap()],
        clock: [ClockTrust::Trust, ClockTrust::Wait][bytes.below(2)],
        max_sessions: [6, 2][bytes.below(2)],
        max_sessions_per_source: [3, 1][bytes.below(2)],
    };
    let which = bytes.below(CONFIGURATIONS.len());
    let mirages = MIRAGES.with(|all| all[which].clone());
    Box::new(Settings { common, mirages })
}

fn peer(bytes: &mut Bytes<'_>) -> IpAddr {
    match bytes.below(16) {
        0 => IpAddr::V6(Ipv6Addr::from(bytes.array::<16>())),
        1 => IpAddr::V4(Ipv4Addr::from(bytes.u32())),
        2 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        3 => IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped()),
        number => IpAddr::V4(Ipv4Addr::new(192, 0, 2, (number & 3) as u8)),
    }
}

/// A connection that the core has kept, with the port that it came to.
#[derive(Clone, Copy)]
struct Known {
    conn: ConnId,
    port: u16,
    mirage: MirageId,
}

/// The core, and as much of a shell as it takes to answer it.
struct World {
    core: Core,
    now: Now,
    effects: Effects,
    answers: VecDeque<Input>,
    mirages: Vec<MirageId>,
    known: VecDeque<Known>,
    jobs: VecDeque<JobId>,
    in_hand: Option<(u16, MirageId)>,
    tokens: Vec<[u8; TOKEN]>,
    counted: Vec<[u8; TOKEN]>,
    /// Answers come in their order, and there are no others.
    is_orderly: bool,
}

/// Any inputs in any order.
pub fn core(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let is_orderly = bytes.bool();
    let first = settings(bytes);
    let mut core = Core::new(first.common.clone(), START, false, TRAPS);
    core.recall(Memory::new([7; 16], Instant(0)));
    let mut world = World {
        core,
        now: START,
        effects: Effects::new(),
        answers: VecDeque::new(),
        mirages: Vec::new(),
        known: VecDeque::new(),
        jobs: VecDeque::new(),
        in_hand: None,
        tokens: Vec::new(),
        counted: Vec::new(),
        is_orderly,
    };
    world.turn(bytes);
    world.handle(Input::Configuration(first), bytes);
    world.turn(bytes);
    while !bytes.is_empty() && !world.core.has_stopped() {
        world.step(bytes);
    }
    world.end(bytes);
}

impl World {
    fn turn(&mut self, bytes: &mut Bytes<'_>) {
        self.core.begin_turn(self.now, &mut self.effects);
        self.settle(bytes);
        for _ in 0..MOST_ROUNDS {
            let has_more = self.core.tick(&mut self.effects);
            self.settle(bytes);
            if !has_more {
                return;
            }
        }
        panic!("a turn never ends");
    }

    fn handle(&mut self, input: Input, bytes: &mut Bytes<'_>) {
        self.core.begin_turn(self.now, &mut self.effects);
        self.settle(bytes);
        self.core.handle(input, &mut self.effects);
        self.settle(bytes);
        self.in_hand = None;
    }

    fn settle(&mut self, bytes: &mut Bytes<'_>) {
        let (most, for_each) = MOST_EFFECTS;
        let most = most + for_each * self.core.mirages().count().max(self.mirages.len());
        for _ in 0..MOST_ROUNDS {
            assert!(self.effects.len() < most, "{} effects", self.effects.len());
            while let Some(effect) = self.effects.pop_front() {
                self.perform(effect, bytes);
            }
            let place = match self.is_orderly {
                true => 0,
                false => bytes.below(self.answers.len().clamp(1, 256)),
            };
            let Some(answer) = self.answers.remove(place) else {
                self.mirages = self.core.mirages().map(|(id, _)| id).collect();
                assert!(self.core.is_settled() || !self.is_orderly);
                return self.check();
            };
            self.core.handle(answer, &mut self.effects);
        }
        panic!("it is never settled");
    }

    fn check(&self) {
        assert!(self.core.openings().iter().count() <= OPENINGS);
        assert!(self.core.bans().len() <= BANS);
        for table in self.core.places() {
            let has_bound = matches!(table.of, "bans" | "nonces");
            assert!(!has_bound || table.taken <= table.places);
        }
        // What is open has an end, or a command that is still to come.
        assert!(
            self.core.openings().iter().next().is_none()
                || self.core.deadline().is_some()
                || !self.jobs.is_empty()
                || !self.known.is_empty()
        );
    }

    /// Whoever is in hand is kept.
    fn keep(&mut self, conn: ConnId) {
        let Some((port, mirage)) = self.in_hand.take() else {
            return;
        };
        if self.known.len() == REMEMBERED {
            self.known.pop_front();
        }
        self.known.push_back(Known { conn, port, mirage });
    }

    fn forget(&mut self, conn: ConnId) {
        self.known.retain(|known| known.conn != conn);
    }

    /// A shell loses no answer, but it may have any.
    fn perform(&mut self, effect: Effect, bytes: &mut Bytes<'_>) {
        let answer = match effect {
            Effect::Log(event) => {
                let line = event.to_string();
                assert!(!line.contains(char::is_control), "{line:?}");
                return;
            }
            Effect::Hold { conn, .. } => {
                self.keep(conn);
                if bytes.below(16) != 1 {
                    return;
                }
                self.forget(conn);
                Input::Gone { conn }
            }
            Effect::Wait(conn) => return self.keep(conn),
            Effect::Close(conn) | Effect::Cut(conn) => return self.forget(conn),
            Effect::GiveUp(conn) if bytes.below(4) == 1 => {
                let token = Some(self.token(conn, bytes));
                Input::Said { conn, token }
            }
            Effect::GiveUp(conn) => {
                self.forget(conn);
                Input::Gone { conn }
            }
            Effect::Dial { conn, .. } => {
                self.keep(conn);
                return self.dial(conn, bytes);
            }
            Effect::Exec { conn, .. } => {
                self.keep(conn);
                let result = started(bytes);
                Input::Started { conn, result }
            }
            Effect::Examine(conns) => {
                let mut found = Vec::new();
                for conn in conns {
                    found.push(Examined {
                        conn,
                        unanswered_ms: u64::from(bytes.u8()) * 1_000,
                        bytes_in: 1,
                        bytes_out: 2,
                    });
                }
                Input::Examined(found)
            }
            Effect::Ports(mirage) => {
                let open = self.core.wanted(mirage).ports.len();
                Input::Listening { mirage, open }
            }
            Effect::Drain(Drain::All | Drain::Mirage(_) | Drain::Turn(_)) => Input::Drained,
            Effect::Run { job, .. } | Effect::Element { job, .. } => {
                self.jobs.push_back(job);
                if bytes.below(16) != 1 {
                    return;
                }
                self.end_job(job, bytes)
            }
            Effect::Journal => Input::Journalled {
                is_written: bytes.below(8) != 1,
            },
            Effect::Remember => Input::Remembered {
                changes: self.written(bytes),
            },
            Effect::Save => Input::Saved {
                changes: (bytes.below(8) != 1).then(|| self.core.bans().changes()),
            },
            Effect::Load => Input::Loaded(saved(bytes)),
            Effect::AskClock => Input::ClockKept(bytes.bool()),
            // Notices, and what has no answer.
            _ => return,
        };
        self.answers.push_back(answer);
    }

    fn written(&self, bytes: &mut Bytes<'_>) -> Option<u64> {
        let changes = self.core.memory().unwritten().changes();
        (bytes.below(8) != 1).then_some(changes)
    }

    fn dial(&mut self, conn: ConnId, bytes: &mut Bytes<'_>) {
        let result = started(bytes);
        let is_ok = result.is_ok();
        self.answers.push_back(Input::Started { conn, result });
        match bytes.below(4) {
            1 if is_ok => self.answers.push_back(Input::Dialled { conn }),
            2 if is_ok => {
                let error = io::ErrorKind::ConnectionRefused.into();
                self.answers.push_back(Input::DialFailed { conn, error });
            }
            _ => {}
        }
    }

    fn end_job(&mut self, job: JobId, bytes: &mut Bytes<'_>) -> Input {
        self.jobs.retain(|other| *other != job);
        let outcome = [
            ElementOutcome::Done,
            ElementOutcome::TooLate,
            ElementOutcome::Replaced,
            ElementOutcome::Full,
            ElementOutcome::Family,
        ];
        match bytes.below(8) {
            kind @ 0..3 => {
                let failure = (kind > 0).then(|| JobFailure {
                    why: "exit=1".to_owned(),
                    was_killed: kind == 1,
                });
                Input::JobEnded { job, failure }
            }
            kind => Input::ElementEnded {
                job,
                outcome: outcome[kind - 3],
            },
        }
    }

    /// The ports of a mirage as it is served now.
    fn schedule(&self, mirage: MirageId) -> Option<&Schedule> {
        let mut mirages = self.core.mirages();
        let (_, found) = mirages.find(|(id, _)| *id == mirage)?;
        found.schedule.as_ref()
    }

    fn reals(&self, mirage: MirageId) -> Vec<u16> {
        let mut mirages = self.core.mirages();
        let found = mirages.find(|(id, _)| *id == mirage);
        found.map_or_else(Vec::new, |(_, found)| found.plan.reals().to_vec())
    }

    fn token(&mut self, conn: ConnId, bytes: &mut Bytes<'_>) -> [u8; TOKEN] {
        let known = self.known.iter().find(|known| known.conn == conn);
        let served = known.and_then(|known| Some((self.schedule(known.mirage)?, known.port)));
        let token = match (bytes.below(8), served) {
            (0, _) | (_, None) => bytes.array(),
            (1, _) => bytes.pick(&self.tokens).unwrap_or([0; TOKEN]),
            (_, Some((schedule, port))) => {
                let minute = schedule.pattern().minute(self.now.unix());
                let minute = (minute + 1).saturating_sub([1, 1, 1, 0, 2, 4][bytes.below(6)]);
                token::make(schedule.key(), minute, port, &[bytes.u8(); 16])
            }
        };
        self.tokens.push(token);
        token
    }

    fn say(&mut self, conn: ConnId, bytes: &mut Bytes<'_>) {
        let token = (bytes.below(8) != 1).then(|| self.token(conn, bytes));
        let before = self.core.counters().good_tokens;
        self.handle(Input::Said { conn, token }, bytes);
        let counted = self.core.counters().good_tokens - before;
        // More may count if somebody had to give up their place for them.
        if let Some(token) = token.filter(|_| counted == 1 && self.is_orderly) {
            assert!(!self.counted.contains(&token), "a token counted twice");
            self.counted.push(token);
        }
    }

    fn come(&mut self, bytes: &mut Bytes<'_>) {
        let Some(mirage) = bytes.pick(&self.mirages) else {
            return;
        };
        let reals = self.reals(mirage);
        let wanted = self.core.wanted(mirage).ports;
        let port = match bytes.below(8) {
            0 => Some(bytes.u16()),
            1 => None,
            2 | 3 => bytes.pick(&wanted),
            _ => bytes.pick(&reals),
        };
        self.in_hand = port.map(|port| (port, mirage));
        let peer = peer(bytes);
        self.handle(Input::Accepted { mirage, peer, port }, bytes);
    }

    fn sense(&mut self, bytes: &mut Bytes<'_>) {
        let hops = self.core.hops();
        let any = Hop {
            port: 7_000 + u16::from(bytes.u8() & 3),
            protocol: [Protocol::Tcp, Protocol::Udp][bytes.below(2)],
        };
        let place = bytes.below(hops.len().clamp(1, 256));
        let known = hops.get(place).map(|(_, hop)| *hop);
        let hop = known.filter(|_| bytes.bool()).unwrap_or(any);
        let from = peer(bytes);
        let said = bytes.bool().then(|| self.datagram(bytes));
        let sensed = Sensed {
            from: shimmer::proto::source::canonical(from),
            from_port: 40_000 + u16::from(bytes.u8() & 1),
            to: bytes.bool().then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            hop,
            said,
        };
        self.handle(Input::Sensed(sensed), bytes);
    }

    fn datagram(&mut self, bytes: &mut Bytes<'_>) -> [u8; PACKET] {
        let mirage = bytes.pick(&self.mirages);
        let Some(schedule) = mirage.and_then(|mirage| self.schedule(mirage)) else {
            return bytes.array();
        };
        let unix = self
            .now
            .unix()
            .saturating_sub([0, 0, 60, 600][bytes.below(4)]);
        let inside = bytes.bool().then(|| peer(bytes));
        packet::make(schedule.key(), unix, inside, &[bytes.u8(); 16])
    }

    fn pass(&mut self, bytes: &mut Bytes<'_>) {
        const LONG: [u64; 12] = [
            0,
            1,
            100,
            1_000,
            2_999,
            5_000,
            20_000,
            61_000,
            600_000,
            3_600_000,
            86_400_000,
            31_536_000_000,
        ];
        let ms = LONG[bytes.below(LONG.len())];
        let due = self.core.deadline().map(|due| due.since(self.now.boot));
        let ms = match bytes.below(3) {
            0 => due.unwrap_or(ms),
            _ => ms,
        };
        self.skip(ms);
        match bytes.below(16) {
            1 => {
                self.now.real_ms = self
                    .now
                    .real_ms
                    .saturating_add(i64::from(bytes.u32() as i32) * 1_000)
            }
            2 => self.now.real_ms = i64::from(bytes.u32()) * 1_000,
            _ => {}
        }
        self.turn(bytes);
    }

    fn skip(&mut self, ms: u64) {
        self.now.boot = self.now.boot.after(ms);
        self.now.real_ms = self.now.real_ms.saturating_add_unsigned(ms);
    }

    /// A connection that is known, or any.
    fn conn(&mut self, bytes: &mut Bytes<'_>) -> ConnId {
        let place = bytes.below(256);
        let known = self
            .known
            .iter()
            .rev()
            .nth(place & 7)
            .map(|known| known.conn);
        let any = ConnId::from_bits(u32::from(bytes.u8() & 7) | u32::from(bytes.u8() & 3) << 17);
        known.filter(|_| place & 0xf0 != 0).unwrap_or(any)
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let kind = bytes.below(32);
        let input = match kind {
            0..6 => return self.come(bytes),
            6..10 => {
                let conn = self.conn(bytes);
                return self.say(conn, bytes);
            }
            10..13 => return self.sense(bytes),
            13..17 => return self.pass(bytes),
            17 => {
                let conn = self.conn(bytes);
                self.forget(conn);
                Input::Gone { conn }
            }
            18 => Input::Dialled {
                conn: self.conn(bytes),
            },
            19 => {
                let conn = self.conn(bytes);
                let error = io::ErrorKind::TimedOut.into();
                Input::DialFailed { conn, error }
            }
            20 | 21 => {
                let conn = self.conn(bytes);
                self.forget(conn);
                let end = [End::Closed, End::Reset, End::Idle, End::Failed][bytes.below(4)];
                Input::Over {
                    conn,
                    end,
                    bytes_in: 5,
                    bytes_out: 7,
                }
            }
            22 | 23 => match self.jobs.pop_front() {
                Some(job) => self.end_job(job, bytes),
                None => return,
            },
            24 => Input::Configuration(settings(bytes)),
            25 => Input::Operator(match bytes.below(4) {
                0 => Order::UnbanAll,
                1 => Order::Unban(peer(bytes)),
                _ => Order::Ban(peer(bytes)),
            }),
            26 => Input::Short,
            27 => Input::TurnedAway {
                peer: peer(bytes),
                port: bytes.u16(),
            },
            28 => Input::Restored(restored(bytes)),
            29 => Input::ClockKept(bytes.bool()),
            30 if bytes.below(4) == 1 => Input::Stop,
            _ if self.is_orderly => return,
            _ => self.stray(bytes),
        };
        self.handle(input, bytes);
    }

    /// An answer that nobody has asked for.
    fn stray(&mut self, bytes: &mut Bytes<'_>) -> Input {
        match bytes.below(8) {
            0 => Input::Drained,
            1 => match bytes.pick(&self.mirages) {
                Some(mirage) => Input::Listening {
                    mirage,
                    open: bytes.below(9),
                },
                None => Input::Drained,
            },
            2 => Input::Journalled {
                is_written: bytes.bool(),
            },
            3 => Input::Remembered {
                changes: self.written(bytes),
            },
            4 => Input::Saved {
                changes: bytes.bool().then(|| self.core.bans().changes()),
            },
            5 => Input::Loaded(saved(bytes)),
            6 => Input::Started {
                conn: self.conn(bytes),
                result: started(bytes),
            },
            _ => Input::Examined(vec![Examined {
                conn: self.conn(bytes),
                unanswered_ms: 1_000_000,
                bytes_in: 1,
                bytes_out: 2,
            }]),
        }
    }

    /// It ends in its time, whatever is open.
    fn end(&mut self, bytes: &mut Bytes<'_>) {
        self.handle(Input::Stop, bytes);
        self.turn(bytes);
        for _ in 0..16 {
            while let Some(job) = self.jobs.pop_front() {
                self.handle(Input::JobEnded { job, failure: None }, bytes);
            }
            self.turn(bytes);
        }
        self.skip(STOP_MS);
        self.turn(bytes);
        assert!(self.core.has_stopped(), "it never ends");
        for (id, _) in self.core.mirages() {
            assert!(self.core.wanted(id).ports.is_empty());
        }
    }
}

fn started(bytes: &mut Bytes<'_>) -> Result<Option<Ipv4Addr>, Fault> {
    match bytes.below(16) {
        1 => Err(Fault::Short(io::ErrorKind::OutOfMemory.into())),
        2 => Err(Fault::Other(io::ErrorKind::PermissionDenied.into())),
        3 => Ok(Some(Ipv4Addr::new(127, 7, 7, 7))),
        _ => Ok(None),
    }
}

fn saved(bytes: &mut Bytes<'_>) -> Vec<SavedBan> {
    let mut all = Vec::new();
    for _ in 0..bytes.below(4) {
        all.push(SavedBan {
            source: Source::of(peer(bytes)),
            unix: match bytes.bool() {
                true => bytes.u64(),
                false => START.unix(),
            },
            attempts: u32::from(bytes.u8()),
        });
    }
    all
}

fn restored(bytes: &mut Bytes<'_>) -> Vec<RestoredOpening> {
    let mut all = Vec::new();
    for _ in 0..bytes.below(4) {
        all.push(RestoredOpening {
            section: ["away", "web", "gone"][bytes.below(3)].into(),
            open_for: match bytes.bool() {
                true => OpenFor::Service,
                false => OpenFor::Address(peer(bytes)),
            },
            close: match bytes.below(3) {
                0 => Closing::ByItself,
                1 => Closing::Command(["/bin/close".to_owned()].into()),
                _ => Closing::Unknown,
            },
            until: START.boot.after(u64::from(bytes.u16()) * 100),
        });
    }
    all
}
