//! The silent gates: knocks and datagrams, whom they let in, and until when.

use super::shell::Dial;
use super::world::{World, but, home, key, mirage};
use crate::limits::ADMITTED;
use crate::proto::gates::{GateSettings, KnockSettings, PacketSettings};
use crate::proto::input::{ElementOutcome, Input, Sensed};
use crate::proto::scheme::knock::{Hop, Lock, Scope, parse_sequence};
use crate::proto::scheme::packet::{self, Admits, PACKET};
use crate::proto::settings::MirageSettings;
use crate::terms::Door;

const MEMBER: &str = "203.0.113.5";
const STRANGER: &str = "192.0.2.7";

/// A mirage at gate = knock, whose sequence is written down.
fn knocking(mirage: MirageSettings, lock: Option<Lock>) -> MirageSettings {
    let mut knock = KnockSettings {
        sequence: parse_sequence("7000,7001:udp").unwrap(),
        close_sequence: parse_sequence("7001,7000").unwrap(),
        ..KnockSettings::default()
    };
    knock.rules.lock = lock;
    knock.rules.range = mirage.range();
    MirageSettings {
        gate_settings: GateSettings::Knock(Box::new(knock)),
        ..mirage
    }
}

fn with_packet(mirage: MirageSettings, address: Admits) -> MirageSettings {
    let port = Some(7_000);
    let packet = PacketSettings { address, port };
    MirageSettings {
        gate_settings: GateSettings::Packet(packet),
        ..mirage
    }
}

fn knock(world: &mut World, peer: &str) {
    for hop in ["7000", "7001:udp"] {
        world.sense(peer, hop, None);
    }
}

fn datagram(world: &World, address: Option<&str>, nonce: u8) -> [u8; PACKET] {
    let address = address.map(|address| address.parse().unwrap());
    packet::make(&key(&home()), world.now.unix(), address, &[nonce; 16])
}

fn send(world: &mut World, peer: &str, said: [u8; PACKET]) {
    world.sense(peer, "7000:udp", Some(said));
}

#[test]
fn who_knocks_finds_the_port_open_and_nobody_else_does() {
    let mut world = World::serving(&[knocking(home(), None)]);
    assert!(world.shell.listeners.is_empty());
    assert_eq!(world.shell.hops.len(), 3);
    knock(&mut world, MEMBER);
    world.assert_trace(&[
        "> ports home",
        "open mirage=home source=203.0.113.5 seconds=20",
    ]);
    world.join(MEMBER, "home");
    assert_eq!(world.visit(STRANGER, world.real("home")), None);
    assert_eq!(world.core.counters().visitors, 1);
}

#[test]
fn the_end_of_an_admission_serves_those_who_wait_first() {
    let mut world = World::serving(&[knocking(home(), None)]);
    knock(&mut world, MEMBER);
    world.queue(MEMBER, world.real("home"));
    world.skip(20_000);
    world.shell.dials.push_back(Dial::Accepted);
    world.shell.trace.clear();
    world.turn();
    let expected = [
        "> drain home",
        "> dial",
        "accept source=203.0.113.5",
        "> ports home",
        "shut mirage=home source=203.0.113.5",
    ];
    world.assert_trace(&expected);
    assert!(world.shell.listeners.is_empty());
}

#[test]
fn one_end_changes_the_filter_and_leaves_the_ports_to_others() {
    let mut world = World::serving(&[knocking(home(), None)]);
    knock(&mut world, MEMBER);
    world.skip(10_000);
    knock(&mut world, "203.0.113.6");
    world.pass(10_000);
    assert_eq!(world.visit(MEMBER, world.real("home")), None);
    world.join("203.0.113.6", "home");
}

#[test]
fn knocking_again_prolongs_and_says_nothing() {
    let mut world = World::serving(&[knocking(home(), None)]);
    knock(&mut world, MEMBER);
    world.skip(10_000);
    world.shell.trace.clear();
    knock(&mut world, MEMBER);
    world.assert_trace(&[]);
    world.pass(19_999);
    assert!(!world.shell.listeners.is_empty());
    world.pass(1);
    assert!(world.shell.listeners.is_empty());
}

#[test]
fn the_other_sequence_closes_at_once() {
    let mut world = World::serving(&[knocking(home(), None)]);
    knock(&mut world, MEMBER);
    world.skip(5_000);
    world.sense(MEMBER, "7001", None);
    world.sense(MEMBER, "7000", None);
    world.shell.trace.clear();
    world.turn();
    world.assert_trace(&["> drain home", "> ports home", "shut source=203.0.113.5"]);
}

#[test]
fn a_wrong_knock_is_told_and_may_lock_out() {
    let lock = Some(Lock {
        ms: 10_000,
        scope: Scope::Source,
    });
    let mut world = World::serving(&[knocking(home(), lock)]);
    world.sense(STRANGER, "7000", None);
    world.sense(STRANGER, "10500", None);
    world.assert_trace(&["wrong mirage=home source=192.0.2.7 knocks=1"]);
    knock(&mut world, STRANGER);
    world.assert_trace(&[]);
    knock(&mut world, MEMBER);
    world.assert_log(&["open source=203.0.113.5"]);
    world.pass(10_000);
    knock(&mut world, STRANGER);
    world.assert_log(&["open source=192.0.2.7"]);
}

#[test]
fn a_turn_of_the_minute_says_what_is_to_be_watched() {
    let gate = GateSettings::Knock(Box::default());
    let mut world = World::serving(&[MirageSettings {
        gate_settings: gate,
        ..home()
    }]);
    let before = world.shell.hops.clone();
    assert_eq!(before.len(), 9);
    world.pass(60_000);
    // Its ports are closed, so there is no line.
    world.assert_trace(&[
        "> ports home",
        "> drain turn home",
        "> ports home",
        "> sense",
    ]);
    assert_ne!(world.shell.hops, before);
}

#[test]
fn a_datagram_lets_in_once() {
    let mut world = World::serving(&[with_packet(home(), Admits::Any)]);
    let said = datagram(&world, None, 1);
    send(&mut world, MEMBER, said);
    world.assert_trace(&[
        "> ports home",
        "open mirage=home source=203.0.113.5 seconds=20",
    ]);
    send(&mut world, STRANGER, said);
    world.assert_trace(&["refuse mirage=home source=192.0.2.7 reason=replayed"]);
    // Nor where it does not belong.
    let said = datagram(&world, None, 2);
    world.sense(MEMBER, "7001:udp", Some(said));
    world.sense(MEMBER, "7000", Some(said));
    world.sense(MEMBER, "7000:udp", None);
    send(&mut world, STRANGER, [7; PACKET]);
    world.assert_trace(&[]);
}

#[test]
fn a_datagram_says_why_it_does_not_count() {
    let stale = packet::make(&key(&home()), 1_000, None, &[1; 16]);
    let cases = [
        (Admits::Inside, None, "reason=no-address"),
        (Admits::Sender, Some("203.0.113.6"), "reason=address"),
        (Admits::Any, Some("0.0.0.0"), "reason=address"),
    ];
    for (admits, address, reason) in cases {
        let mut world = World::serving(&[with_packet(home(), admits)]);
        let said = datagram(&world, address, 1);
        send(&mut world, MEMBER, said);
        world.assert_trace(&[&format!("refuse source=203.0.113.5 {reason}")]);
    }
    let mut world = World::serving(&[with_packet(home(), Admits::Any)]);
    send(&mut world, MEMBER, stale);
    world.assert_trace(&["refuse reason=clock"]);
    world.use_up("home", MEMBER);
    let said = datagram(&world, None, 1);
    send(&mut world, MEMBER, said);
    world.assert_trace(&["full source=203.0.113.5 reason=nonces", "warn mirage=home"]);
}

#[test]
fn a_datagram_that_cannot_be_recorded_opens_nothing_and_is_used_up() {
    let mut world = World::serving(&[with_packet(home(), Admits::Any)]);
    world.shell.is_disk_full = true;
    let said = datagram(&world, None, 1);
    send(&mut world, MEMBER, said);
    world.assert_log(&["full mirage=home source=203.0.113.5 reason=unrecorded"]);
    world.shell.is_disk_full = false;
    send(&mut world, MEMBER, said);
    world.assert_log(&["refuse source=203.0.113.5 reason=replayed"]);
}

#[test]
fn a_datagram_for_whom_is_not_welcome_is_not_used_up() {
    let from = vec!["203.0.113.0/24".parse().unwrap()];
    let welcome = but(with_packet(home(), Admits::Any), |plain| plain.from = from);
    let mut world = World::serving(&[welcome]);
    let said = datagram(&world, None, 1);
    send(&mut world, STRANGER, said);
    world.assert_trace(&[]);
    send(&mut world, MEMBER, said);
    world.assert_log(&["open source=203.0.113.5"]);
}

#[test]
fn who_fills_their_share_of_the_memory_keeps_nobody_else_out() {
    let mut world = World::serving(&[with_packet(home(), Admits::Any)]);
    let mut sent = 0u128;
    world.shell.trace.clear();
    while !world
        .shell
        .trace
        .iter()
        .any(|line| line.starts_with("full "))
    {
        sent += 1;
        let nonce = sent.to_be_bytes();
        let said = packet::make(&key(&home()), world.now.unix(), None, &nonce);
        send(&mut world, STRANGER, said);
    }
    assert_eq!(sent, 513);
    world.shell.trace.clear();
    let said = datagram(&world, None, 1);
    send(&mut world, MEMBER, said);
    world.assert_log(&["open source=203.0.113.5"]);
    // Their windows end.
    world.pass(240_000);
    world.shell.trace.clear();
    let said = datagram(&world, None, 2);
    send(&mut world, STRANGER, said);
    world.assert_log(&["open source=192.0.2.7"]);
}

#[test]
fn two_mirages_weigh_one_packet() {
    let work = mirage("work", (11_000, 11_999));
    let mut world = World::serving(&[knocking(home(), None), knocking(work, None)]);
    knock(&mut world, MEMBER);
    world.assert_log(&["open mirage=home", "open mirage=work"]);
}

#[test]
fn a_packet_is_for_those_at_its_address() {
    let at = |number, mirage| {
        let listen = vec![[198, 18, 0, number].into()];
        but(knocking(mirage, None), |plain| plain.listen = listen)
    };
    let work = mirage("work", (11_000, 11_999));
    let mut world = World::serving(&[at(1, home()), at(2, work)]);
    for hop in ["7000", "7001:udp"] {
        let hop = Hop::try_from(hop).unwrap();
        let from = MEMBER.parse().unwrap();
        let to = Some([198, 18, 0, 2].into());
        let said = None;
        world.handle(Input::Sensed(Sensed {
            from,
            from_port: 40_000,
            to,
            hop,
            said,
        }));
    }
    world.assert_log(&["open mirage=work"]);
}

#[test]
fn whoever_is_let_in_does_not_knock_at_an_open_port() {
    let lock = Some(Lock {
        ms: 10_000,
        scope: Scope::All,
    });
    let mut world = World::serving(&[knocking(home(), lock)]);
    knock(&mut world, MEMBER);
    world.skip(5_000);
    world.sense(MEMBER, "7000", None);
    world.shell.trace.clear();
    let real = world.real("home").to_string();
    world.sense(MEMBER, &real, None);
    world.assert_trace(&[]);
    world.sense(STRANGER, "7000", None);
    world.sense(STRANGER, &real, None);
    world.assert_trace(&["wrong source=192.0.2.7"]);
}

#[test]
fn a_network_that_is_not_welcome_is_not_told_so() {
    let from = vec!["203.0.113.0/24".parse().unwrap()];
    let mut world = World::serving(&[but(knocking(home(), None), |plain| plain.from = from)]);
    knock(&mut world, STRANGER);
    world.assert_trace(&[]);
}

#[test]
fn there_are_only_so_many_who_are_let_in() {
    let mut world = World::serving(&[knocking(home(), None)]);
    for number in 0..ADMITTED {
        knock(&mut world, &format!("10.0.0.{number}"));
    }
    world.shell.trace.clear();
    knock(&mut world, MEMBER);
    world.assert_trace(&["full mirage=home source=203.0.113.5 reason=admitted"]);
    world.pass(20_000);
    assert!(world.shell.listeners.is_empty());
}

#[test]
fn a_set_behind_a_silent_gate_needs_no_port() {
    let set = "inet/fw4/ssh".parse().unwrap();
    let door = Door::Nft { set, port: None };
    let mut world = World::serving(&[MirageSettings {
        door,
        ..knocking(home(), None)
    }]);
    knock(&mut world, MEMBER);
    world.assert_trace(&["> element 203.0.113.5 20 s"]);
    world.end_element(ElementOutcome::Done);
    world.assert_trace(&["open source=203.0.113.5"]);
    world.skip(5_000);
    world.sense(MEMBER, "7001", None);
    world.sense(MEMBER, "7000", None);
    world.assert_trace(&["> element 203.0.113.5 0 s"]);
    world.end_element(ElementOutcome::Done);
    world.turn();
    world.assert_trace(&["shut source=203.0.113.5"]);
}
