//! Verdicts at gate = port: admitted, held, banned.

use super::world::{World, but, common, home, mirage, settings};
use crate::proto::input::{End, Input, Order};
use crate::proto::settings::{CommonSettings, MirageSettings};

const STRANGER: &str = "192.0.2.7";
const MEMBER: &str = "203.0.113.5";
const ALLOWED: &str = "198.51.100.9";

#[test]
fn the_real_port_leads_to_the_service() {
    let mut world = World::serving(&[home()]);
    let conn = world.join(MEMBER, "home");
    world.assert_trace(&[
        "> dial 127.0.0.1:22",
        "accept mirage=home source=203.0.113.5",
    ]);
    world.skip(9_000);
    world.end(conn, End::Closed);
    world.assert_trace(&["close mirage=home bytes-in=5 bytes-out=7 seconds=9 end=closed"]);
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn no_line_names_a_port_of_a_minute_to_come() {
    let mut world = World::serving(&[home()]);
    // Their clock is a minute ahead, which the three live minutes allow.
    let schedule = world.mirage("home").schedule.as_ref().unwrap();
    let minute = schedule.pattern().minute(world.now.unix());
    let port = schedule.pattern().real(schedule.key(), minute + 1);
    let conn = world.visit(MEMBER, port).unwrap();
    world.take_dial(conn);
    world.end(conn, End::Closed);
    assert!(!world.shell.trace.is_empty());
    let named = format!("port={port}");
    let naming = |line: &&String| line.contains(&named);
    assert_eq!(world.shell.trace.iter().find(naming), None);
    // Once it is past, it may be named.
    world.pass(3 * 60_000);
    world.shell.trace.clear();
    let conn = world.join(MEMBER, "home");
    world.end(conn, End::Closed);
    assert_eq!(
        world
            .shell
            .trace
            .iter()
            .filter(|line| line.contains(" port="))
            .count(),
        2
    );
}

#[test]
fn a_trap_bans_and_holds_until_its_time_is_over() {
    let mut world = World::serving(&[home()]);
    world.visit(STRANGER, world.trap("home")).unwrap();
    world.assert_trace(&["ban source=192.0.2.7 seconds=120 mirage=home", "> hold"]);
    world.pass(29_999);
    assert_eq!(world.counts(), (1, 0));
    world.pass(1);
    assert_eq!(world.counts(), (0, 0));
    world.assert_trace(&["> close"]);
    assert!(world.is_banned(STRANGER));
}

#[test]
fn one_in_a_trap_who_is_reset_leaves_nothing() {
    let mut world = World::serving(&[home()]);
    let conn = world.visit(STRANGER, world.trap("home")).unwrap();
    world.reset(conn);
    assert_eq!(world.counts(), (0, 0));
    // One that can't be held was there all the same.
    world.shell.can_not_hold = true;
    world.visit("192.0.2.8", world.trap("home")).unwrap();
    assert_eq!(world.counts(), (0, 0));
    assert!(world.is_banned("192.0.2.8"));
}

#[test]
fn a_banned_source_gets_nothing_and_only_a_trap_renews_its_ban() {
    let mut world = World::serving(&[home()]);
    world.handle(Input::Operator(Order::Ban(STRANGER.parse().unwrap())));
    world.assert_trace(&["ban source=192.0.2.7 by=hand", "> reply"]);
    world.skip(100_000);
    assert_eq!(world.visit(STRANGER, world.real("home")), None);
    world.turn();
    assert_eq!(world.core.counters().refused, 1);
    world.skip(19_999);
    assert!(world.is_banned(STRANGER));
    world.shell.trace.clear();
    assert_eq!(world.visit(STRANGER, world.trap("home")), None);
    world.assert_trace(&[]);
    world.pass(119_999);
    assert!(world.is_banned(STRANGER));
    world.shell.trace.clear();
    world.pass(1);
    assert!(!world.is_banned(STRANGER));
    let unbanned = "unban source=192.0.2.7 attempts=3";
    assert!(world.shell.trace.contains(&unbanned.to_owned()));
}

#[test]
fn a_ban_that_ended_at_the_real_port_lets_in() {
    let mut world = World::serving(&[home()]);
    world.visit(STRANGER, world.trap("home")).unwrap();
    let port = world.real("home");
    world.skip(120_000);
    // Nothing was done yet about what is over.
    world.shell.trace.clear();
    world.visit(STRANGER, port).unwrap();
    world.assert_log(&["accept source=192.0.2.7"]);
}

#[test]
fn who_is_held_is_not_always_banned() {
    // So narrow that a port of grace is among the open ones.
    let narrow = mirage("home", (10_000, 10_017));
    let mut world = World::serving(&[narrow]);
    let port = world.wait_for_grace("home");
    world.shell.trace.clear();
    world.visit(STRANGER, port).unwrap();
    world.assert_trace(&["trap mirage=home source=192.0.2.7 reason=grace", "> hold"]);

    let mut world = World::serving(&[home()]);
    world.visit(ALLOWED, world.trap("home")).unwrap();
    world.assert_log(&["trap source=198.51.100.9 reason=allow"]);

    world.join(MEMBER, "home");
    world.shell.trace.clear();
    for _ in 0..2 {
        world.visit(MEMBER, world.trap("home")).unwrap();
        world.assert_log(&["trap source=203.0.113.5 reason=session"]);
    }
    world.visit(MEMBER, world.trap("home")).unwrap();
    world.assert_log(&["ban source=203.0.113.5"]);
    assert!(!world.is_banned(STRANGER) && !world.is_banned(ALLOWED));
}

#[test]
fn what_was_forgiven_ends_with_the_last_session() {
    let mut world = World::serving(&[home()]);
    let one = world.join(MEMBER, "home");
    world.visit(MEMBER, world.trap("home")).unwrap();
    let other = world.join(MEMBER, "home");
    world.end(one, End::Closed);
    world.visit(MEMBER, world.trap("home")).unwrap();
    world.end(other, End::Closed);
    world.join(MEMBER, "home");
    world.shell.trace.clear();
    world.visit(MEMBER, world.trap("home")).unwrap();
    world.assert_log(&["trap reason=session"]);
}

#[test]
fn after_a_step_of_the_clock_nobody_is_banned_for_a_window() {
    let mut world = World::serving(&[home()]);
    world.set_clock(5_000);
    world.assert_trace(&["clock step=+5.000s"]);
    world.visit(STRANGER, world.trap("home")).unwrap();
    world.assert_log(&["trap reason=clock"]);
    world.skip(59_999);
    world.visit(STRANGER, world.trap("home")).unwrap();
    world.assert_log(&["trap reason=clock"]);
    world.skip(1);
    world.visit(STRANGER, world.trap("home")).unwrap();
    world.assert_log(&["ban source=192.0.2.7"]);
    // Less than a second is none.
    world.set_clock(999);
    world.assert_log(&["rotate mirage=home"]);
}

#[test]
fn a_network_that_may_not_use_it_finds_traps_alone() {
    let from = vec!["203.0.113.0/24".parse().unwrap()];
    let mut world = World::serving(&[but(home(), |plain| plain.from = from)]);
    world.visit(STRANGER, world.real("home")).unwrap();
    world.assert_log(&["ban source=192.0.2.7"]);
    world.join(MEMBER, "home");
}

#[test]
fn a_v6_host_is_its_network_and_a_mapped_one_is_v4() {
    let mut world = World::serving(&[home()]);
    world.visit("2001:db8::7", world.trap("home")).unwrap();
    assert!(world.is_banned("2001:db8::8"));
    world.visit("::ffff:192.0.2.7", world.trap("home")).unwrap();
    assert!(world.is_banned(STRANGER));
    world.assert_log(&["ban source=2001:db8::7", "ban source=192.0.2.7"]);
}

#[test]
fn orders_are_answered() {
    let order = |world: &mut World, order| {
        world.handle(Input::Operator(order));
        format!("{:?}", world.shell.replies.pop().unwrap())
    };
    let mut world = World::serving(&[home()]);
    let [stranger, allowed] = [STRANGER, ALLOWED].map(|text| text.parse().unwrap());
    let banned = order(&mut world, Order::Ban(stranger));
    assert!(
        banned.starts_with("Banned") && banned.ends_with("seconds: 120 }"),
        "{banned}"
    );
    assert_eq!(
        order(&mut world, Order::Ban(allowed)),
        "NeverBanned(198.51.100.9)"
    );
    assert_eq!(order(&mut world, Order::Unban(allowed)), "Unbanned(0)");
    assert_eq!(order(&mut world, Order::Unban(stranger)), "Unbanned(1)");
    order(&mut world, Order::Ban(stranger));
    assert_eq!(order(&mut world, Order::UnbanAll), "Unbanned(1)");
    assert!(!world.is_banned(STRANGER));
}

#[test]
fn a_reload_changes_how_long_bans_last() {
    let mut world = World::serving(&[home()]);
    world.visit(STRANGER, world.trap("home")).unwrap();
    let common = CommonSettings {
        ban_s: 10,
        ..common()
    };
    world.handle(Input::Configuration(settings(common, &[home()])));
    world.skip(9_999);
    assert!(world.is_banned(STRANGER));
    world.pass(1);
    assert!(!world.is_banned(STRANGER));
}

#[test]
fn a_pool_has_one_port_that_stands_for_all() {
    let pool = MirageSettings {
        pool_port: Some(9_000),
        ..home()
    };
    let mut world = World::serving(&[pool]);
    let places: Vec<_> = world.shell.listeners.keys().copied().collect();
    assert_eq!(places, [(None, 9_000)]);
    world.join(MEMBER, "home");
    world.shell.trace.clear();
    // Any port of its range is a trap, open or not.
    let closed = (10_000..).find(|&port| !world.mirage("home").plan.is_open(port));
    world.visit(STRANGER, closed.unwrap()).unwrap();
    world.assert_log(&["ban source=192.0.2.7"]);
    // Past the redirect, which is told once until a reload.
    for _ in 0..2 {
        assert_eq!(world.visit("192.0.2.8", 9_000), None);
    }
    world.assert_log(&["warn mirage=home"]);
    assert!(!world.is_banned("192.0.2.8"));
}
