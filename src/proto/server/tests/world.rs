//! The core and a shell in memory, and the loop that joins them. After each input it is asserted that both agree.

use super::flaw::Flaw;
use super::shell::{Body, Dial, Dialled, Shell, Waiting};
use crate::limits::RELEASE_UNIX;
use crate::proto::Core;
use crate::proto::conn::{ConnId, Stage};
use crate::proto::doors::RestoredOpening;
use crate::proto::effect::Effects;
use crate::proto::gates::GateSettings;
use crate::proto::ids::MirageId;
use crate::proto::input::{ElementOutcome, End, Input, JobFailure, Sensed};
use crate::proto::nonces::{BootId, Memory, Use, Window};
use crate::proto::scheme::key::Key;
use crate::proto::scheme::knock::Hop;
use crate::proto::scheme::packet::PACKET;
use crate::proto::scheme::schedule::{Pattern, Range, Role};
use crate::proto::scheme::token::{self, TOKEN};
use crate::proto::server::mirages::Mirage;
use crate::proto::settings::{CommonSettings, MirageSettings, PlainSettings, Settings};
use crate::proto::source::{self, Source};
use crate::proto::time::{Instant, Now};
use crate::terms::{ClockTrust, Door, Forward, Service};
use core::net::IpAddr;
use std::io;

/// Traps that there are.
pub const TRAPS: usize = 4;

/// When it all begins: the first moment of a minute.
const START: Now = Now {
    boot: Instant(1_000_000),
    real_ms: (RELEASE_UNIX as i64 + 86_400) * 1_000,
};

/// The boot of this machine.
pub const BOOT: BootId = [7; 16];

/// Effects that one input may have, and how many more for each mirage.
const MOST_EFFECTS: (usize, usize) = (64, 8);

/// Turns of the loop at one moment, before it is a loop that never sleeps.
const MOST_TURNS: usize = 300;

/// What holds for all mirages.
pub fn common() -> CommonSettings {
    CommonSettings {
        ban_s: 120,
        allow: vec!["198.51.100.0/24".parse().unwrap()],
        clock: ClockTrust::Trust,
        max_sessions: 6,
        max_sessions_per_source: 3,
    }
}

/// A mirage at gate = port with this range, which leads to a service.
pub fn mirage(section: &str, (low, high): (u16, u16)) -> MirageSettings {
    let range = Range::new(low, high).unwrap();
    MirageSettings {
        section: section.into(),
        plain: PlainSettings {
            ready_s: 5,
            ..PlainSettings::new(section)
        },
        pattern: Pattern::new(range, 3, 60),
        gate_settings: GateSettings::Port,
        door: Door::Forward(Forward {
            to: Service::At(([127, 0, 0, 1], 22).into()),
            on_demand: None,
        }),
        admitted_s: 20,
        pool_port: None,
    }
}

/// The same with something else in what all mirages have.
pub fn but(mut mirage: MirageSettings, change: impl FnOnce(&mut PlainSettings)) -> MirageSettings {
    change(&mut mirage.plain);
    mirage
}

/// The mirage of most stories.
pub fn home() -> MirageSettings {
    mirage("home", (10_000, 10_999))
}

/// The same at gate = token.
pub fn home_with_token() -> MirageSettings {
    MirageSettings {
        gate_settings: GateSettings::Token,
        ..home()
    }
}

/// A mirage's key.
pub fn key(settings: &MirageSettings) -> Key {
    Key::of(settings.plain.name.as_bytes())
}

/// A configuration.
pub fn settings(common: CommonSettings, mirages: &[MirageSettings]) -> Box<Settings> {
    let with_key = |settings: &MirageSettings| {
        let key = settings.pattern.map(|_| key(settings));
        (settings.clone(), key)
    };
    let mirages = mirages.iter().map(with_key).collect();
    Box::new(Settings { common, mirages })
}

#[track_caller]
fn assert_lines(lines: &[String], expected: &[&str]) {
    let has_all = |(line, pattern): (&String, &&str)| {
        let mut words = pattern.split(' ');
        words.all(|word| line.split(' ').any(|other| other == word))
    };
    let is_right = lines.len() == expected.len() && lines.iter().zip(expected).all(has_all);
    assert!(is_right, "{lines:#?}\nand not\n{expected:#?}");
}

/// The daemon without an operating system.
pub struct World {
    pub core: Core,
    pub shell: Shell,
    pub now: Now,
    /// How far the right clock is ahead of ours, which has missed a step.
    missed_ms: i64,
    /// How many effects are performed before the daemon is killed, if it is.
    pub crash_in: Option<usize>,
    /// It was killed, and nothing happens until it starts again.
    pub has_crashed: bool,
    effects: Effects,
}

impl World {
    /// One that serves nothing yet.
    pub fn new(common: CommonSettings) -> Self {
        let mut core = Core::new(common, START, false, TRAPS);
        // It has been up for long enough to know all that was used.
        core.recall(Memory::new(BOOT, Instant(0)));
        Self {
            core,
            shell: Shell::default(),
            now: START,
            missed_ms: 0,
            crash_in: None,
            has_crashed: false,
            effects: Effects::new(),
        }
    }

    /// One that serves these mirages.
    pub fn serving(mirages: &[MirageSettings]) -> Self {
        Self::configured(common(), mirages)
    }

    /// One that serves these mirages, with what holds for all of them.
    pub fn configured(common: CommonSettings, mirages: &[MirageSettings]) -> Self {
        let mut world = Self::new(common.clone());
        world.turn();
        world.handle(Input::Configuration(settings(common, mirages)));
        world.turn();
        world.shell.trace.clear();
        world
    }

    /// The daemon is killed, and another one starts, which knows what its files say.
    pub fn restart(&mut self, common: CommonSettings) {
        let before = core::mem::take(&mut self.shell);
        self.effects.clear();
        (self.has_crashed, self.crash_in) = (false, None);
        let used = Some(&before.used[..]).filter(|used| !used.is_empty());
        let (memory, _) = Memory::read(used, Some(BOOT), self.now.boot);
        self.core = Core::new(common, self.now, before.is_clock_kept, TRAPS);
        let restored = before.recorded.iter().map(|it| RestoredOpening {
            section: it.section.clone(),
            open_for: it.open_for,
            close: it.close.clone().into(),
            until: self.now.boot.after(it.stays_ms),
        });
        self.core.restore(restored.collect());
        self.core.recall(memory);
        self.shell = before.after_a_restart();
        self.turn();
    }

    /// Takes another configuration over.
    pub fn reload(&mut self, mirages: &[MirageSettings]) {
        self.handle(Input::Configuration(settings(common(), mirages)));
    }

    /// Begins a turn of the loop, and does what is due.
    pub fn turn(&mut self) {
        self.begin();
        while self.tick() {}
    }

    /// Does one thing that is due, if there is one.
    pub fn tick(&mut self) -> bool {
        if self.has_crashed {
            return false;
        }
        let has_more = self.core.tick(&mut self.effects);
        self.settle();
        has_more
    }

    /// Whether all effects were performed.
    pub fn is_idle(&self) -> bool {
        self.effects.is_empty()
    }

    fn begin(&mut self) {
        if self.has_crashed {
            return;
        }
        self.core.begin_turn(self.now, &mut self.effects);
        self.settle();
    }

    /// Something has happened.
    pub fn handle(&mut self, input: Input) {
        self.begin();
        self.handle_now(input);
    }

    fn handle_now(&mut self, input: Input) {
        if self.has_crashed {
            return;
        }
        self.core.handle(input, &mut self.effects);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let (most, for_each) = MOST_EFFECTS;
            let most = most + for_each * self.core.mirages().count();
            assert!(self.effects.len() < most, "{} effects", self.effects.len());
            while let Some(effect) = self.effects.pop_front() {
                if self.is_killed() {
                    return;
                }
                self.shell.perform(effect, &self.core);
            }
            let Some(answer) = self.shell.next_answer() else {
                break;
            };
            self.core.handle(answer, &mut self.effects);
        }
        self.shell.has_in_hand = false;
        self.check();
    }

    /// Whether the daemon is killed before it performs another effect.
    fn is_killed(&mut self) -> bool {
        self.has_crashed = self.crash_in == Some(0);
        self.crash_in = self.crash_in.map(|effects| effects.saturating_sub(1));
        self.has_crashed
    }

    /// Lets time pass, with a turn whenever something is due.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.boot.after(ms);
        let mut turns = 0;
        while let Some(due) = self.core.deadline().filter(|due| *due <= end)
            && !self.core.has_stopped()
            && !self.has_crashed
        {
            let step = due.since(self.now.boot);
            turns = if step == 0 { turns + 1 } else { 0 };
            assert!(
                turns < MOST_TURNS,
                "the loop never sleeps: {:?}",
                self.core.openings()
            );
            self.skip(step);
            self.turn();
        }
        self.skip(end.since(self.now.boot));
        self.turn();
    }

    /// Lets time pass, and does nothing yet.
    pub fn skip(&mut self, ms: u64) {
        self.now.boot = self.now.boot.after(ms);
        self.now.real_ms += ms as i64;
    }

    /// Somebody sets the clock.
    pub fn set_clock(&mut self, ms: i64) {
        match self.shell.flaw {
            Some(Flaw::StepIgnored) => self.missed_ms += ms,
            _ => self.now.real_ms += ms,
        }
        self.turn();
    }

    /// The time by a clock that is right, in Unix seconds.
    pub fn true_unix(&self) -> u64 {
        let real_ms = self.now.real_ms + self.missed_ms;
        Now {
            real_ms,
            ..self.now
        }
        .unix()
    }

    /// The id of a section that is served.
    pub fn id(&self, section: &str) -> MirageId {
        let mut mirages = self.core.mirages();
        let found = mirages.find(|(_, mirage)| &*mirage.settings.section == section);
        found.expect("it is served").0
    }

    pub fn mirage(&self, section: &str) -> &Mirage {
        self.core.mirage(self.id(section)).unwrap()
    }

    /// An open port of a mirage that has this role.
    pub fn find_port(&self, section: &str, role: Role) -> Option<u16> {
        let plan = &self.mirage(section).plan;
        let mut ports = plan.ports().iter().copied();
        ports.find(|&port| plan.role(port) == role)
    }

    /// A port that bans.
    pub fn trap(&self, section: &str) -> u16 {
        self.find_port(section, Role::Trap).expect("it has a trap")
    }

    /// An open port that bans nobody, in the next minute that has one.
    pub fn wait_for_grace(&mut self, section: &str) -> u16 {
        loop {
            match self.find_port(section, Role::Grace) {
                Some(port) => return port,
                None => self.pass(60_000),
            }
        }
    }

    /// The port that is real in this minute.
    pub fn real(&self, section: &str) -> u16 {
        let mirage = self.mirage(section);
        let schedule = mirage.schedule.as_ref().unwrap();
        let minute = schedule.pattern().minute(self.now.unix());
        schedule.pattern().real(schedule.key(), minute)
    }

    /// A token for this minute's port, another one for each nonce.
    pub fn token(&self, section: &str, nonce: u8) -> [u8; TOKEN] {
        let mirage = self.mirage(section);
        let schedule = mirage.schedule.as_ref().unwrap();
        let minute = schedule.pattern().minute(self.now.unix());
        let port = self.real(section);
        token::make(schedule.key(), minute, port, &[nonce; 16])
    }

    /// A source uses up as many tokens of this minute as it may.
    pub fn use_up(&mut self, section: &str, peer: &str) {
        let source = Source::of(peer.parse().unwrap());
        let (now, id) = (self.now, self.id(section));
        let mirage = self.core.mirage(id).unwrap();
        let (key, period) = Core::book(mirage).unwrap();
        let number = now.unix() / u64::from(period);
        let window = Window {
            key,
            period,
            number,
        };
        let mut nonces = (1u128 << 64..).map(u128::to_be_bytes);
        while self.core.has_room_for_proof(id, source) {
            let nonce = nonces.next().unwrap();
            let used = self.core.memory.spend(window, &nonce, source, now);
            assert_eq!(used, Use::First);
        }
    }

    /// Somebody comes to a port. Whom the core keeps has an id. None where nothing listens, too.
    pub fn visit(&mut self, peer: &str, port: u16) -> Option<ConnId> {
        self.come(peer.parse().unwrap(), port)
    }

    pub fn come(&mut self, peer: IpAddr, port: u16) -> Option<ConnId> {
        let who = self.way_to(peer, port)?;
        self.begin();
        self.shell.kept = None;
        let accepted = self.shell.accept(who)?;
        self.handle_now(accepted);
        self.shell.kept.take()
    }

    /// Somebody waits at a port until it is drained.
    pub fn queue(&mut self, peer: &str, port: u16) {
        let who = self.way_to(peer.parse().unwrap(), port);
        self.shell.waiting.extend(who);
    }

    /// Where somebody comes in who dials a port: there, or at the pool to which the firewall sends them.
    pub fn way_to(&self, peer: IpAddr, port: u16) -> Option<Waiting> {
        let dialled = Some(port);
        let mut places = self.shell.listeners.keys();
        if let Some(&place) = places.find(|place| place.1 == port) {
            return Some(Waiting {
                place,
                peer,
                dialled,
            });
        }
        let mut mirages = self.core.mirages();
        let pool = mirages.find_map(|(_, mirage)| {
            let range = mirage.settings.range()?;
            mirage.settings.pool_port.filter(|_| range.contains(port))
        })?;
        let place = (None, pool);
        let is_open = self.shell.listeners.contains_key(&place);
        is_open.then_some(Waiting {
            place,
            peer,
            dialled,
        })
    }

    /// One in a trap says something; None ends the input.
    pub fn say(&mut self, conn: ConnId, token: Option<[u8; TOKEN]>) {
        self.handle(Input::Said { conn, token });
    }

    /// A member comes to the minute's port, and the service accepts.
    pub fn join(&mut self, peer: &str, section: &str) -> ConnId {
        self.shell.dials.push_back(Dial::Accepted);
        let port = self.real(section);
        let conn = self.visit(peer, port).expect("they are let in");
        assert_eq!(self.shell.body(conn), Some(Body::Link(Dialled::Open)));
        conn
    }

    /// The service accepts a dial that was under way.
    pub fn take_dial(&mut self, conn: ConnId) {
        self.begin();
        self.shell
            .bodies
            .insert(conn.bits(), Body::Link(Dialled::Open));
        self.handle_now(Input::Dialled { conn });
    }

    /// The service refuses one.
    pub fn fail_dial(&mut self, conn: ConnId) {
        self.begin();
        let failed = Body::Link(Dialled::Failed);
        self.shell.bodies.insert(conn.bits(), failed);
        let error = io::ErrorKind::ConnectionRefused.into();
        self.handle_now(Input::DialFailed { conn, error });
    }

    /// A session ends.
    pub fn end(&mut self, conn: ConnId, end: End) {
        self.begin();
        self.shell.drop_conn(conn);
        let (bytes_in, bytes_out) = (5, 7);
        self.handle_now(Input::Over {
            conn,
            end,
            bytes_in,
            bytes_out,
        });
    }

    /// One in a trap is reset.
    pub fn reset(&mut self, conn: ConnId) {
        self.begin();
        self.shell.drop_conn(conn);
        self.handle_now(Input::Gone { conn });
    }

    /// What was done since this was asked last, in its order: each line has all words of its pattern.
    #[track_caller]
    pub fn assert_trace(&mut self, expected: &[&str]) {
        let trace = core::mem::take(&mut self.shell.trace);
        assert_lines(&trace, expected);
    }

    /// The same of the log alone.
    #[track_caller]
    pub fn assert_log(&mut self, expected: &[&str]) {
        let mut log = core::mem::take(&mut self.shell.trace);
        log.retain(|line| !line.starts_with("> "));
        assert_lines(&log, expected);
    }

    /// The command that was started first ends.
    pub fn end_job(&mut self, failure: Option<&str>) {
        self.begin();
        let job = self.shell.end_child(failure);
        if self.shell.flaw == Some(Flaw::ChildForgotten) {
            return;
        }
        let failure = failure.map(|why| JobFailure {
            why: why.to_owned(),
            was_killed: why.starts_with("killed"),
        });
        self.handle_now(Input::JobEnded { job, failure });
    }

    /// The element that was asked for first is done, or not.
    pub fn end_element(&mut self, outcome: ElementOutcome) {
        self.begin();
        let job = self.shell.elements.remove(0).job;
        self.handle_now(Input::ElementEnded { job, outcome });
    }

    /// A packet comes to a port where nobody listens.
    pub fn sense(&mut self, from: &str, hop: &str, said: Option<[u8; PACKET]>) {
        self.sense_from(from.parse().unwrap(), Hop::try_from(hop).unwrap(), said);
    }

    pub fn sense_from(&mut self, from: IpAddr, hop: Hop, said: Option<[u8; PACKET]>) {
        let from = source::canonical(from);
        let to = None;
        let sensed = Sensed {
            from,
            from_port: 40_000,
            to,
            hop,
            said,
        };
        self.handle(Input::Sensed(sensed));
    }

    pub fn is_waiting(&self, conn: ConnId) -> bool {
        let stage = self.core.conns.get(conn).map(|conn| conn.stage);
        matches!(stage, Some(Stage::Waiting))
    }

    pub fn is_banned(&self, peer: &str) -> bool {
        let source = Source::of(peer.parse().unwrap());
        self.core.ban_of(source).is_some()
    }

    /// How many are held, and how many sessions there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.core.conns.held().0, self.core.conns.sessions())
    }
}
