//! What a visitor, a member and an owner are promised, as seen from outside.

use crate::limits::RELEASE_UNIX;
use crate::proto::conn::Stage;
use crate::proto::gates::GateSettings;
use crate::proto::input::{End, SavedBan};
use crate::proto::scheme::packet::PACKET;
use crate::proto::scheme::schedule::Role;
use crate::proto::scheme::token::{self, TOKEN};
use crate::proto::server::tests::shell::{Body, Dial, Shell};
use crate::proto::server::tests::world::{World, key};
use crate::proto::settings::MirageSettings;
use crate::proto::source::Source;
use crate::proto::time::{Instant, Now};
use crate::terms::{Door, Service};
use core::net::IpAddr;
use std::rc::Rc;

/// After a step of the clock, a minute that was served is not served for ten minutes, and nobody is banned for one.
const STEADY_MS: u64 = 720_000;

/// A member who never touches a trap, so never is banned.
const MEMBER: &str = "192.0.2.200";

/// What shows that somebody knows the secret: a token, which is for a port, or a datagram.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    Token(u16, [u8; TOKEN]),
    Packet([u8; PACKET]),
}

/// What is expected of a visit.
pub struct Expected {
    /// Who is banned before it.
    before: Vec<Source>,
    /// Who may be banned by it: the visitor, or somebody who is held, waits or was banned.
    suspects: Vec<Source>,
    /// Who is banned after it.
    banned: Option<Source>,
}

/// What has been seen, and what follows from it.
#[derive(Default)]
pub struct Promises {
    /// Proofs that have counted.
    pub counted: Vec<Proof>,
    stepped: Option<Instant>,
    nonce: u64,
}

impl Promises {
    /// A proof has counted, which it never does again.
    pub fn counts(&mut self, proof: Proof) {
        assert!(!self.counted.contains(&proof), "a proof counts twice");
        self.counted.push(proof);
    }

    /// The clock was set.
    pub fn stepped(&mut self, now: Now) {
        self.stepped = Some(now.boot);
    }

    fn is_steady(&self, now: Now) -> bool {
        self.stepped
            .is_none_or(|stepped| now.boot.since(stepped) >= STEADY_MS)
    }

    /// What has to come of a visit.
    pub fn before_visit(&self, world: &World, peer: IpAddr, port: u16) -> Expected {
        let core = &world.core;
        let source = Source::of(peer);
        let held = core.conns.iter_from(0).map(|(_, conn)| conn.source);
        let waiting = world.shell.waiting.iter().map(|who| Source::of(who.peer));
        // The state file may be read again.
        let saved = world.shell.state.iter().map(|ban| ban.source);
        let is_allowed = core
            .common
            .allow
            .iter()
            .any(|network| network.contains(peer));
        let bans = |settings: &MirageSettings| {
            settings.pool_port.is_none() && matches!(settings.gate_settings, GateSettings::Port)
        };
        let touches = core.mirages().any(|(_, mirage)| {
            let is_open = mirage.plan.ports().contains(&port);
            is_open && bans(&mirage.settings) && mirage.plan.role(port) == Role::Trap
        });
        let is_open = world.shell.listeners.contains_key(&(None, port));
        // One with a session is forgiven. After a step of the clock, nobody is sure of anything.
        let has_reason = touches && is_open && !is_allowed && !core.conns.knows(source);
        let is_certain = has_reason && self.is_steady(world.now) && core.is_clock_trusted();
        Expected {
            before: banned(world),
            suspects: held.chain(waiting).chain(saved).chain([source]).collect(),
            banned: is_certain.then_some(source),
        }
    }

    /// Who touched a trap is banned, and nobody else.
    pub fn after_visit(&self, world: &World, expected: Expected) {
        let banned = banned(world);
        for source in banned
            .iter()
            .filter(|source| !expected.before.contains(source))
        {
            assert!(
                expected.suspects.contains(source),
                "{source} is banned for another"
            );
        }
        if let Some(source) = expected.banned {
            assert!(
                banned.contains(&source),
                "{source} touched a trap, and is not banned"
            );
        }
    }

    /// The bans that a state file has, if the clock is what it was when they were saved.
    pub fn saved(&self, world: &World) -> Vec<SavedBan> {
        let is_steady = self.is_steady(world.now);
        world
            .shell
            .state
            .iter()
            .copied()
            .filter(|_| is_steady)
            .collect()
    }

    /// After a restart, saved bans go on.
    pub fn check_loaded(&self, world: &World, saved: &[SavedBan]) {
        if world.has_crashed || !world.core.is_clock_trusted() {
            return;
        }
        let banned = banned(world);
        for ban in saved {
            let is_over = ban.unix + u64::from(world.core.common.ban_s) <= world.now.unix() + 1;
            assert!(
                is_over || banned.contains(&ban.source),
                "{} is free",
                ban.source
            );
        }
    }

    /// What commands have opened is in the journal, for a restart.
    pub fn check_house(&self, shell: &Shell) {
        for open in &shell.house {
            let mut recorded = shell.recorded.iter().filter_map(|it| it.close.as_ref());
            let is_known = recorded.any(|close| close[1..].join(" ") == *open);
            assert!(is_known, "a restart would leave {open} open");
        }
    }

    /// Once everybody has left, a member whose clock is right gets in, in three tries at most.
    pub fn check_member(&mut self, world: &mut World) {
        world.shell.waiting.clear();
        world.shell.is_disk_full = false;
        world.shell.can_not_hold = false;
        world.shell.is_clock_kept = true;
        if !self.is_steady(world.now) {
            world.pass(STEADY_MS);
        }
        // Whether the clock is kept is asked once a minute.
        world.pass(60_000);
        for conn in world.shell.conns() {
            if let Some(Body::Link(_) | Body::Process) = world.shell.body(conn) {
                world.end(conn, End::Closed);
            }
        }
        world.shell.dials.clear();
        if world.true_unix() < RELEASE_UNIX {
            return;
        }
        let mirages: Vec<Rc<MirageSettings>> = world
            .core
            .mirages()
            .map(|(_, mirage)| Rc::clone(&mirage.settings))
            .collect();
        for settings in &mirages {
            let leads_somewhere = match &settings.door {
                Door::Forward(door) => {
                    door.on_demand.is_none() && matches!(door.to, Service::At(_))
                }
                _ => false,
            };
            let is_loud = matches!(
                settings.gate_settings,
                GateSettings::Port | GateSettings::Token
            );
            if leads_somewhere && is_loud && !world.has_crashed {
                let gets_in = (0..3).any(|tries| self.gets_in(world, settings, tries));
                let trace = &world.shell.trace;
                let last = &trace[trace.len().saturating_sub(40)..];
                let section = &settings.section;
                assert!(
                    gets_in || world.has_crashed,
                    "{last:#?}\na member does not get in at {section}"
                );
            }
        }
    }

    /// Whether a member gets in at the port of this minute, of the one before, or of the one after.
    fn gets_in(&mut self, world: &mut World, settings: &MirageSettings, tries: usize) -> bool {
        let Some(pattern) = &settings.pattern else {
            return false;
        };
        let key = key(settings);
        let minute = pattern.minute(world.true_unix());
        let minute = [minute, minute - 1, minute + 1][tries];
        let port = pattern.real(&key, minute);
        world.shell.dials.push_back(Dial::Accepted);
        let Some(conn) = world.come(MEMBER.parse().unwrap(), port) else {
            return false;
        };
        if let GateSettings::Token = settings.gate_settings {
            self.nonce += 1;
            let nonce = (1 << 100 | u128::from(self.nonce)).to_be_bytes();
            world.say(conn, Some(token::make(&key, minute, port, &nonce)));
        }
        let stage = world.core.conns.get(conn).map(|conn| conn.stage);
        let is_in = matches!(stage, Some(Stage::Open));
        if is_in && !world.has_crashed {
            world.end(conn, End::Closed);
        }
        is_in
    }
}

fn banned(world: &World) -> Vec<Source> {
    world.core.bans().iter().map(|ban| ban.source).collect()
}
