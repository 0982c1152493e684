//! A configuration takes over: what stays, what goes, and in which order.

use super::world::{World, but, common, home, home_with_token, mirage, settings};
use crate::proto::gates::{GateSettings, KnockSettings};
use crate::proto::input::{End, Input};
use crate::proto::scheme::key::Key;
use crate::proto::scheme::knock::parse_sequence;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::settings::{CommonSettings, MirageSettings, Settings};
use crate::terms::{ClockTrust, Door};

const MEMBER: &str = "203.0.113.5";
const STRANGER: &str = "192.0.2.7";

fn work() -> MirageSettings {
    mirage("work", (11_000, 11_999))
}

fn knocking(mirage: MirageSettings) -> MirageSettings {
    let knock = KnockSettings {
        sequence: parse_sequence("7000,7001:udp").unwrap(),
        ..KnockSettings::default()
    };
    MirageSettings {
        gate_settings: GateSettings::Knock(Box::new(knock)),
        ..mirage
    }
}

fn with_command(mirage: MirageSettings) -> MirageSettings {
    let door = Door::Command {
        open: "/bin/open".parse().unwrap(),
        close: None,
    };
    MirageSettings { door, ..mirage }
}

fn knock(world: &mut World, peer: &str) {
    for hop in ["7000", "7001:udp"] {
        world.sense(peer, hop, None);
    }
}

/// The ports that are open, whoever's they are.
fn ports(world: &World) -> Vec<u16> {
    world.shell.listeners.keys().map(|place| place.1).collect()
}

#[test]
fn the_first_has_no_line_of_its_own() {
    let mut world = World::new(common());
    world.turn();
    world.shell.trace.clear();
    world.reload(&[home(), work()]);
    let expected = [
        "> ask clock",
        "> drain",
        "> ports home",
        "> ports work",
        "listen mirage=home open=12",
        "listen mirage=work open=12",
        "> sense",
    ];
    world.assert_trace(&expected);
}

#[test]
fn what_is_new_is_opened_before_what_is_old_is_closed() {
    let mut world = World::serving(&[home(), work()]);
    world.reload(&[mirage("away", (12_000, 12_999)), work()]);
    let expected = [
        "> ask clock",
        "> drain",
        "> ports away",
        "> ports work",
        "listen mirage=away",
        "listen mirage=work",
        "> sense",
        // Its name is forgotten by then.
        "> ports",
        "reload mirages=2 dropped=1",
    ];
    world.assert_trace(&expected);
    assert!(ports(&world).iter().all(|port| *port >= 11_000));
}

#[test]
fn those_who_are_no_longer_let_in_are_told_behind_what_listens() {
    let mut world = World::serving(&[knocking(home()), knocking(work())]);
    knock(&mut world, MEMBER);
    world.shell.trace.clear();
    world.reload(&[
        with_command(knocking(work())),
        mirage("away", (12_000, 12_999)),
    ]);
    let expected = [
        "listen mirage=work",
        "listen mirage=away",
        "shut mirage=home source=203.0.113.5",
        "shut mirage=work source=203.0.113.5",
        "reload mirages=2 dropped=1",
    ];
    world.assert_log(&expected);
    assert!(ports(&world).iter().all(|port| *port >= 12_000));
}

#[test]
fn ports_stay_as_long_as_the_secret_and_the_pattern_do() {
    let other_key = |settings: &MirageSettings| {
        let mirages = vec![(settings.clone(), Some(Key::of(b"another secret")))];
        Box::new(Settings {
            common: common(),
            mirages,
        })
    };
    let pattern = Pattern::new(Range::new(10_000, 10_998).unwrap(), 3, 60);
    let others: [(Box<Settings>, bool); 7] = [
        (settings(common(), &[home()]), true),
        (settings(common(), &[home_with_token()]), true),
        (settings(common(), &[with_command(home())]), true),
        (
            settings(common(), &[but(home(), |plain| plain.trap_s = 7)]),
            true,
        ),
        // The name stays with the secret, whatever its section is.
        (
            settings(
                common(),
                &[MirageSettings {
                    section: "house".into(),
                    ..home()
                }],
            ),
            true,
        ),
        (
            settings(common(), &[MirageSettings { pattern, ..home() }]),
            false,
        ),
        (other_key(&home()), false),
    ];
    for (other, stays) in others {
        let mut world = World::serving(&[home()]);
        let before = ports(&world);
        let section = other.mirages[0].0.section.clone();
        world.handle(Input::Configuration(other));
        assert_eq!(before == ports(&world), stays);
        let id = world.id(&section);
        assert!(
            world
                .shell
                .listeners
                .values()
                .all(|listener| listener.mirage == id)
        );
    }
}

#[test]
fn whoever_waits_is_judged_by_what_they_found() {
    let mut world = World::serving(&[home()]);
    let (real, trap) = (world.real("home"), world.trap("home"));
    world.queue(MEMBER, real);
    world.queue(STRANGER, trap);
    world.shell.trace.clear();
    world.reload(&[work()]);
    let expected = [
        "> ask clock",
        "> drain",
        "> dial",
        "accept mirage=home source=203.0.113.5",
        "ban mirage=home source=192.0.2.7",
        "> hold",
    ];
    let trace = world.shell.trace.split_off(expected.len());
    world.assert_trace(&expected);
    assert!(!trace.is_empty() && world.visit(MEMBER, real).is_none());
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn a_session_outlives_its_mirage_and_keeps_its_name() {
    let mut world = World::serving(&[home()]);
    let (id, conn) = (world.id("home"), world.join(MEMBER, "home"));
    world.reload(&[work()]);
    world.reload(&[mirage("away", (12_000, 12_999))]);
    world.reload(&[work(), home()]);
    assert_eq!(world.id("home"), id);
    world.reload(&[work()]);
    world.shell.trace.clear();
    world.end(conn, End::Closed);
    world.assert_trace(&["close mirage=home source=203.0.113.5"]);
    // Nothing refers to it any more, so its place is another's.
    world.reload(&[work()]);
    world.reload(&[work(), mirage("away", (12_000, 12_999))]);
    assert_eq!(world.id("away"), id);
}

#[test]
fn whoever_is_let_in_stays_so_where_gate_and_door_do() {
    let slower = MirageSettings {
        admitted_s: 60,
        ..knocking(home())
    };
    let other = MirageSettings {
        gate_settings: GateSettings::Knock(Box::default()),
        ..home()
    };
    let others = [
        (slower, true),
        (other, false),
        (with_command(knocking(home())), false),
    ];
    for (other, stays) in others {
        let mut world = World::serving(&[knocking(home())]);
        knock(&mut world, MEMBER);
        world.reload(&[other]);
        assert_eq!(world.mirage("home").admitted.is_empty(), !stays);
        assert_eq!(ports(&world).is_empty(), !stays);
    }
}

#[test]
fn whoever_is_in_the_middle_of_a_sequence_goes_on() {
    let mut world = World::serving(&[knocking(home())]);
    world.sense(MEMBER, "7000", None);
    world.reload(&[knocking(home())]);
    world.shell.trace.clear();
    world.sense(MEMBER, "7001:udp", None);
    world.assert_log(&["open source=203.0.113.5"]);
}

#[test]
fn a_mirage_can_move_to_another_address() {
    let at = |number| {
        let listen = vec![[198, 18, 0, number].into()];
        but(home(), |plain| plain.listen = listen)
    };
    let mut world = World::serving(&[at(1)]);
    let before = ports(&world);
    world.reload(&[at(2)]);
    assert_eq!(ports(&world), before);
    let address = Some([198, 18, 0, 2].into());
    assert!(world.shell.listeners.keys().all(|place| place.0 == address));
    // At two of them, each is counted.
    let listen = [1, 2].map(|number| [198, 18, 0, number].into()).into();
    world.shell.trace.clear();
    world.reload(&[but(home(), |plain| plain.listen = listen)]);
    world.assert_log(&["listen mirage=home open=24", "reload mirages=1"]);
}

#[test]
fn a_pool_comes_and_goes() {
    let pool = MirageSettings {
        pool_port: Some(9_000),
        ..home()
    };
    let mut world = World::serving(&[home()]);
    world.reload(&[pool]);
    assert_eq!(ports(&world), [9_000]);
    world.join(MEMBER, "home");
    world.reload(&[home()]);
    assert_eq!(ports(&world).len(), 12);
}

#[test]
fn a_clock_that_need_not_be_kept_any_more_opens_the_ports() {
    let waiting = CommonSettings {
        clock: ClockTrust::Wait,
        ..common()
    };
    let mut world = World::configured(waiting.clone(), &[home()]);
    assert!(ports(&world).is_empty());
    // Kept by now, which is looked at before the first plan.
    world.shell.is_clock_kept = true;
    world.handle(Input::Configuration(settings(waiting.clone(), &[work()])));
    assert_eq!(ports(&world).len(), 12);
    let mut world = World::configured(waiting, &[home()]);
    world.reload(&[home()]);
    world.turn();
    assert_eq!(ports(&world).len(), 12);
}

#[test]
fn fewer_sessions_end_nobody() {
    let few = CommonSettings {
        max_sessions: 1,
        ..common()
    };
    let mut world = World::serving(&[home()]);
    let conns = [MEMBER, "203.0.113.6"].map(|peer| world.join(peer, "home"));
    world.handle(Input::Configuration(settings(few, &[home()])));
    assert_eq!(world.counts(), (0, 2));
    for conn in conns {
        assert_eq!(world.visit("203.0.113.7", world.real("home")), None);
        world.end(conn, End::Closed);
    }
    world.join("203.0.113.7", "home");
}
