//! gate = token: when the verdict falls, and what it says.

use super::shell::{Body, Dial};
use super::world::{TRAPS, World, but, common, home, home_with_token, key};
use crate::proto::conn::ConnId;
use crate::proto::input::End;
use crate::proto::scheme::schedule::{Pattern, Range, Role};
use crate::proto::scheme::token::{self, TOKEN};
use crate::proto::settings::{CommonSettings, MirageSettings};

const STRANGER: &str = "192.0.2.7";
const MEMBER: &str = "203.0.113.5";

fn member(world: &mut World) -> ConnId {
    let port = world.real("home");
    world.visit(MEMBER, port).expect("they are held")
}

fn is_listened_to(world: &World, conn: ConnId) -> bool {
    world.shell.body(conn) == Some(Body::Trap { listens: true })
}

fn is_let_in(world: &World, conn: ConnId) -> bool {
    matches!(world.shell.body(conn), Some(Body::Link(_)))
}

#[test]
fn a_good_token_leads_to_the_service() {
    let mut world = World::serving(&[home_with_token()]);
    let conn = member(&mut world);
    world.assert_trace(&["> hold, listening"]);
    let token = world.token("home", 1);
    world.shell.dials.push_back(Dial::Accepted);
    world.say(conn, Some(token));
    world.assert_trace(&[
        "> dial 127.0.0.1:22",
        "accept mirage=home source=203.0.113.5",
    ]);
    assert_eq!(world.counts(), (0, 1));
    assert_eq!(world.core.counters().good_tokens, 1);
}

#[test]
fn a_wrong_token_and_the_end_of_the_input_ban() {
    for token in [None, Some([7; TOKEN])] {
        let mut world = World::serving(&[home_with_token()]);
        let conn = member(&mut world);
        world.shell.trace.clear();
        world.say(conn, token);
        world.assert_trace(&["ban source=203.0.113.5 mirage=home", "> mute"]);
        // Judged once, whatever they say.
        let good = world.token("home", 1);
        world.say(conn, Some(good));
        world.assert_trace(&[]);
        world.pass(30_000);
        assert_eq!(world.counts(), (0, 0));
    }
}

#[test]
fn the_verdict_falls_after_three_seconds_whatever_was_said() {
    let mut world = World::serving(&[home_with_token()]);
    let conn = member(&mut world);
    world.pass(2_999);
    assert!(is_listened_to(&world, conn));
    world.shell.trace.clear();
    world.pass(1);
    world.assert_trace(&["ban source=203.0.113.5", "> mute"]);
    assert_eq!(world.core.counters().bad_tokens, 1);
}

#[test]
fn a_token_of_the_last_moment_counts_and_a_later_one_does_not() {
    let mut world = World::serving(&[home_with_token()]);
    let in_time = member(&mut world);
    let token = world.token("home", 1);
    world.skip(2_999);
    world.say(in_time, Some(token));
    assert!(is_let_in(&world, in_time));
    // Seen before the end of its time was, and too late all the same.
    let late = world.visit("203.0.113.6", world.real("home")).unwrap();
    let token = world.token("home", 2);
    world.skip(3_000);
    world.shell.trace.clear();
    world.say(late, Some(token));
    world.assert_trace(&["ban source=203.0.113.6", "> mute"]);
}

#[test]
fn a_token_is_for_the_port_at_which_it_is_said() {
    let mut world = World::serving(&[home_with_token()]);
    let conn = world.visit(MEMBER, world.trap("home")).unwrap();
    let token = world.token("home", 1);
    world.say(conn, Some(token));
    world.assert_log(&["ban source=203.0.113.5"]);
}

#[test]
fn a_token_counts_once() {
    let mut world = World::serving(&[home_with_token()]);
    let token = world.token("home", 1);
    let one = member(&mut world);
    world.say(one, Some(token));
    assert!(is_let_in(&world, one));
    let other = world.visit(STRANGER, world.real("home")).unwrap();
    world.shell.trace.clear();
    world.say(other, Some(token));
    world.assert_trace(&["ban source=192.0.2.7", "> mute"]);
    // Nor after reloads, of which one has no use for tokens.
    world.reload(&[home()]);
    world.reload(&[home_with_token()]);
    let again = world.visit("192.0.2.8", world.real("home")).unwrap();
    world.say(again, Some(token));
    assert!(!is_let_in(&world, again));
}

#[test]
fn a_good_token_takes_a_ban_off_and_the_log_says_so_first() {
    let mut world = World::serving(&[home_with_token()]);
    let conn = member(&mut world);
    world.say(conn, None);
    assert!(world.is_banned(MEMBER));
    let conn = member(&mut world);
    let token = world.token("home", 1);
    world.shell.trace.clear();
    world.say(conn, Some(token));
    let expected = [
        "unban source=203.0.113.5 attempts=1 by=token",
        "> dial",
        "accept source=203.0.113.5",
    ];
    world.assert_trace(&expected);
    assert!(!world.is_banned(MEMBER));
}

#[test]
fn a_token_of_a_clock_that_is_off_bans_nobody() {
    // So narrow that a port of grace is among the open ones.
    let pattern = Pattern::new(Range::new(10_000, 10_017).unwrap(), 3, 60);
    let mut world = World::serving(&[MirageSettings {
        pattern,
        ..home_with_token()
    }]);
    let port = world.wait_for_grace("home");
    let claims = world.mirage("home").plan.claims(port);
    let mut windows = (0..).zip(claims.roles);
    let (window, _) = windows.find(|(_, role)| *role == Role::Grace).unwrap();
    let token = token::make(&key(&home()), claims.first + window, port, &[1; 16]);
    let conn = world.visit(MEMBER, port).unwrap();
    world.shell.trace.clear();
    world.say(conn, Some(token));
    world.assert_trace(&["trap source=203.0.113.5 reason=grace", "> mute"]);
}

#[test]
fn what_a_port_was_when_they_came_is_what_counts() {
    let mut world = World::serving(&[home_with_token()]);
    // Two minutes later its window is closed.
    let (port, token) = (world.real("home"), world.token("home", 1));
    world.pass(119_000);
    let conn = world.visit(MEMBER, port).unwrap();
    world.pass(1_500);
    assert!(!world.mirage("home").plan.is_open(port));
    world.say(conn, Some(token));
    assert!(is_let_in(&world, conn));
}

#[test]
fn a_mirage_that_is_no_longer_served_judges_nobody() {
    let mut world = World::serving(&[home_with_token()]);
    let conn = member(&mut world);
    let token = world.token("home", 1);
    let other = MirageSettings {
        section: "work".into(),
        ..home()
    };
    world.reload(&[other]);
    world.shell.trace.clear();
    world.say(conn, Some(token));
    world.assert_trace(&["> mute"]);
    assert!(!world.is_banned(MEMBER));
    assert_eq!(world.core.counters().bad_tokens, 0);
    world.pass(30_000);
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn one_that_was_brought_back_judges_who_came_before() {
    let mut world = World::serving(&[home_with_token()]);
    let conn = member(&mut world);
    let token = world.token("home", 1);
    world.reload(&[MirageSettings {
        section: "work".into(),
        ..home()
    }]);
    world.reload(&[home_with_token()]);
    world.say(conn, Some(token));
    assert!(is_let_in(&world, conn));
}

#[test]
fn a_whole_token_is_heard_before_its_place_is_given_to_another() {
    let mut world = World::serving(&[home_with_token()]);
    let said = member(&mut world);
    let token = world.token("home", 1);
    world.shell.unread.push((said, token));
    for number in 1..=TRAPS {
        world
            .visit(&format!("192.0.2.{number}"), world.trap("home"))
            .unwrap();
    }
    assert!(is_let_in(&world, said));
    assert_eq!(world.counts(), (TRAPS, 1));
}

#[test]
fn a_source_that_has_used_too_many_tokens_is_refused_and_nobody_else() {
    let mut world = World::serving(&[home_with_token()]);
    world.use_up("home", MEMBER);
    let conn = member(&mut world);
    let token = world.token("home", 1);
    world.shell.trace.clear();
    world.say(conn, Some(token));
    let expected = [
        "full source=203.0.113.5 reason=nonces",
        "warn mirage=home source=203.0.113.5",
        "> mute",
    ];
    world.assert_trace(&expected);
    assert!(!world.is_banned(MEMBER));
    // What was not read was not used up.
    let other = world.visit(STRANGER, world.real("home")).unwrap();
    world.say(other, Some(token));
    assert!(is_let_in(&world, other));
    // Nor is it refused once its windows are over.
    world.pass(240_000);
    let conn = member(&mut world);
    let token = world.token("home", 2);
    world.say(conn, Some(token));
    assert!(is_let_in(&world, conn));
}

#[test]
fn a_token_of_a_network_that_is_not_welcome_is_not_used_up() {
    let from = vec!["203.0.113.0/24".parse().unwrap()];
    let mut world = World::serving(&[but(home_with_token(), |plain| plain.from = from)]);
    let token = world.token("home", 1);
    let conn = world.visit(STRANGER, world.real("home")).unwrap();
    world.say(conn, Some(token));
    assert!(world.is_banned(STRANGER));
    let conn = member(&mut world);
    world.say(conn, Some(token));
    assert!(is_let_in(&world, conn));
}

#[test]
fn a_token_that_finds_no_place_is_used_up_all_the_same() {
    let common = CommonSettings {
        max_sessions: 1,
        ..common()
    };
    let mut world = World::configured(common, &[home_with_token()]);
    let conn = world.visit(STRANGER, world.real("home")).unwrap();
    let token = world.token("home", 1);
    world.shell.dials.push_back(Dial::Accepted);
    world.say(conn, Some(token));
    let late = member(&mut world);
    let token = world.token("home", 2);
    world.shell.trace.clear();
    world.say(late, Some(token));
    world.assert_trace(&["full source=203.0.113.5 reason=sessions", "> close"]);
    world.end(conn, End::Closed);
    let again = member(&mut world);
    world.say(again, Some(token));
    assert!(!is_let_in(&world, again) && world.is_banned(MEMBER));
}

#[test]
fn a_token_that_cannot_be_recorded_opens_nothing_and_is_used_up() {
    let mut world = World::serving(&[home_with_token()]);
    world.shell.is_disk_full = true;
    let conn = member(&mut world);
    let token = world.token("home", 1);
    world.shell.trace.clear();
    world.say(conn, Some(token));
    world.assert_trace(&["full source=203.0.113.5 reason=unrecorded", "> mute"]);
    assert!(!world.is_banned(MEMBER));
    world.shell.is_disk_full = false;
    let again = world.visit(STRANGER, world.real("home")).unwrap();
    world.say(again, Some(token));
    assert!(!is_let_in(&world, again));
    // The next one is recorded, and with it what could not be before.
    let conn = member(&mut world);
    let token = world.token("home", 2);
    world.say(conn, Some(token));
    assert!(is_let_in(&world, conn));
    assert!(world.core.memory().unwritten().is_empty());
}
