//! Doors that run a command or fill a set: who waits for them, and that they are closed again.

use super::shell::Body;
use super::world::{World, common, home, home_with_token, mirage};
use crate::limits::{GUESTS, NFT_QUEUED, OPENINGS};
use crate::proto::conn::ConnId;
use crate::proto::doors::{Closing, OpenFor, RestoredOpening};
use crate::proto::input::{ElementOutcome, Input};
use crate::proto::settings::{CommonSettings, MirageSettings};
use crate::terms::Door;
use core::net::{IpAddr, Ipv4Addr};

pub const MEMBER: &str = "203.0.113.5";

fn command(close: Option<&str>) -> Door {
    let close = close.map(|close| close.parse().unwrap());
    Door::Command {
        open: "/bin/open %IP%".parse().unwrap(),
        close,
    }
}

pub fn with_command() -> MirageSettings {
    MirageSettings {
        door: command(Some("/bin/close %IP%")),
        ..home()
    }
}

pub fn with_set(set: &str) -> MirageSettings {
    let door = Door::Nft {
        set: set.parse().unwrap(),
        port: None,
    };
    MirageSettings { door, ..home() }
}

/// A member comes, and what is due is done.
pub fn come(world: &mut World, peer: &str) -> Option<ConnId> {
    let guest = world.visit(peer, world.real("home"));
    world.turn();
    guest
}

fn numbered(number: usize) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + number as u32).into()
}

#[test]
fn a_command_runs_once_it_is_written_down_what_closes_again() {
    let mut world = World::serving(&[with_command()]);
    let guest = come(&mut world, MEMBER).unwrap();
    world.assert_trace(&["> wait", "> journal", "> run /bin/open 203.0.113.5"]);
    assert_eq!(world.shell.journal, ["/bin/close 203.0.113.5"]);
    assert_eq!(world.shell.body(guest), Some(Body::Waiting));
    world.skip(7_000);
    world.end_job(None);
    world.turn();
    // Its time begins now.
    world.assert_trace(&[
        "open mirage=home source=203.0.113.5 seconds=20",
        "> close",
        "> journal",
    ]);
    world.pass(19_999);
    world.assert_trace(&[]);
    world.pass(1);
    world.assert_trace(&["> run /bin/close 203.0.113.5"]);
    assert_eq!(world.shell.journal.len(), 1);
    world.end_job(None);
    world.turn();
    world.assert_trace(&["shut mirage=home source=203.0.113.5", "> journal"]);
    assert!(world.shell.journal.is_empty());
}

#[test]
fn a_command_that_can_not_be_written_down_does_not_run() {
    let mut world = World::serving(&[with_command()]);
    world.shell.is_disk_full = true;
    come(&mut world, MEMBER).unwrap();
    world.assert_trace(&[
        "> wait",
        "> journal",
        "error mirage=home source=203.0.113.5 open-command: not run, because",
        "> close",
    ]);
    assert!(world.shell.jobs.is_empty() && world.shell.bodies.is_empty());
    // The journal is tried again in a minute. Then there is nothing to close.
    world.pass(59_999);
    world.assert_log(&[]);
    world.shell.is_disk_full = false;
    world.pass(1);
    assert!(world.shell.trace.contains(&"> journal".to_owned()));
    world.shell.trace.clear();
    come(&mut world, MEMBER).unwrap();
    world.assert_trace(&["> wait", "> journal", "> run /bin/open 203.0.113.5"]);
}

#[test]
fn what_may_still_be_open_is_closed_if_it_can_not_be_written_down_again() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    world.end_job(None);
    world.pass(20_000);
    world.end_job(Some("exit=1"));
    world.shell.is_disk_full = true;
    come(&mut world, MEMBER).unwrap();
    assert_eq!(&*world.shell.jobs[0].1, ["/bin/close", MEMBER]);
    assert_eq!(world.shell.journal, ["/bin/close 203.0.113.5"]);
}

#[test]
fn a_command_that_fails_opens_nothing() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    world.shell.trace.clear();
    world.end_job(Some("exit=1"));
    world.turn();
    world.assert_trace(&[
        "error source=203.0.113.5 open-command: exit=1",
        "> close",
        "> journal",
    ]);
    assert!(world.shell.journal.is_empty() && world.shell.bodies.is_empty());
}

#[test]
fn one_that_can_not_close_is_tried_again_with_growing_pauses() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    world.end_job(None);
    world.pass(20_000);
    for pause in [1_000, 2_000, 4_000] {
        world.shell.trace.clear();
        world.end_job(Some("exit=1"));
        world.turn();
        world.assert_trace(&["error close-command: exit=1"]);
        world.pass(pause - 1);
        assert!(world.shell.jobs.is_empty());
        world.pass(1);
        assert_eq!(world.shell.jobs.len(), 1);
    }
    // It may be open, so a restart would have to close it.
    assert_eq!(world.shell.journal.len(), 1);
    world.end_job(None);
    world.turn();
    assert!(world.shell.journal.is_empty());
}

#[test]
fn whoever_comes_while_it_opens_waits_as_long_as_there_are_places() {
    let mut world = World::serving(&[with_command()]);
    let guests: Vec<_> = (0..=GUESTS).map(|_| come(&mut world, MEMBER)).collect();
    assert!(guests[..GUESTS].iter().all(Option::is_some));
    assert_eq!(guests[GUESTS], None);
    assert_eq!(
        (world.shell.jobs.len(), world.shell.bodies.len()),
        (1, GUESTS)
    );
    world.end_job(None);
    assert!(world.shell.bodies.is_empty());
    // Now it is open, and there is nothing to wait for.
    world.pass(15_000);
    world.shell.trace.clear();
    assert_eq!(come(&mut world, MEMBER), None);
    world.assert_trace(&["open source=203.0.113.5 seconds=20", "> journal"]);
    world.pass(19_999);
    assert!(world.shell.jobs.is_empty());
}

#[test]
fn whoever_comes_while_it_closes_finds_it_open_afterwards() {
    for failure in [None, Some("exit=1")] {
        let mut world = World::serving(&[with_command()]);
        come(&mut world, MEMBER).unwrap();
        world.end_job(None);
        world.pass(20_000);
        let guest = come(&mut world, MEMBER).unwrap();
        world.end_job(failure);
        world.turn();
        assert_eq!(world.shell.jobs[0].1[0], "/bin/open");
        world.end_job(None);
        assert_eq!(world.shell.body(guest), None);
    }
}

#[test]
fn one_with_a_token_who_was_held_becomes_a_guest() {
    let door = with_command().door;
    let mut world = World::serving(&[MirageSettings {
        door,
        ..home_with_token()
    }]);
    let conn = come(&mut world, MEMBER).unwrap();
    let token = world.token("home", 1);
    world.say(conn, Some(token));
    assert_eq!(
        (world.shell.body(conn), world.counts()),
        (Some(Body::Waiting), (0, 0))
    );
    world.turn();
    world.end_job(None);
    assert_eq!(world.shell.body(conn), None);
    // The next one has nothing to wait for.
    let conn = come(&mut world, MEMBER).unwrap();
    let token = world.token("home", 2);
    world.shell.trace.clear();
    world.say(conn, Some(token));
    world.assert_trace(&["open source=203.0.113.5", "> close"]);
}

#[test]
fn without_a_command_that_closes_its_time_ends_by_itself() {
    let door = command(None);
    let mut world = World::serving(&[MirageSettings { door, ..home() }]);
    come(&mut world, MEMBER).unwrap();
    world.end_job(None);
    world.turn();
    assert!(world.shell.journal.is_empty());
    world.shell.trace.clear();
    world.pass(20_000);
    world.assert_log(&["shut mirage=home source=203.0.113.5"]);
}

#[test]
fn what_is_open_is_closed_though_nobody_serves_it_any_more() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    world.end_job(None);
    world.reload(&[mirage("work", (11_000, 11_999))]);
    world.pass(20_000);
    world.shell.trace.clear();
    world.end_job(None);
    world.assert_log(&["shut mirage=home source=203.0.113.5"]);
}

#[test]
fn there_are_only_so_many_openings() {
    let mut world = World::serving(&[with_command()]);
    let port = world.real("home");
    for number in 0..OPENINGS {
        assert!(world.come(numbered(number), port).is_some());
    }
    world.shell.trace.clear();
    assert_eq!(world.come(numbered(OPENINGS), port), None);
    world.assert_trace(&["full mirage=home source=10.0.1.0 reason=openings"]);
    // Only so many commands are asked for at once.
    world.turn();
    assert_eq!(world.shell.jobs.len(), 72);
    while !world.shell.jobs.is_empty() {
        world.end_job(None);
        world.turn();
        assert!(world.shell.jobs.len() <= 72);
    }
    assert!(world.shell.bodies.is_empty());
}

fn restored(until: u64, world: &World) -> Input {
    Input::Restored(vec![RestoredOpening {
        section: "home".into(),
        open_for: OpenFor::Address(MEMBER.parse().unwrap()),
        close: Closing::Command(["/bin/close".to_owned()].into()),
        until: world.now.boot.after(until),
    }])
}

#[test]
fn what_a_restart_finds_open_is_closed_in_its_time() {
    let mut world = World::new(common());
    world.handle(restored(5_000, &world));
    world.assert_trace(&["> load", "> journal"]);
    assert_eq!(world.shell.journal, ["/bin/close"]);
    world.pass(4_999);
    assert!(world.shell.jobs.is_empty());
    world.pass(1);
    assert_eq!(world.shell.jobs.len(), 1);
    world.end_job(None);
    world.turn();
    assert!(world.shell.journal.is_empty());
}

#[test]
fn what_a_restart_finds_open_may_be_closed_so_it_is_before_it_opens() {
    let mut world = World::serving(&[with_command()]);
    world.handle(restored(5_000, &world));
    let guest = come(&mut world, MEMBER).unwrap();
    assert_eq!(&world.shell.jobs[0].1[..], ["/bin/close"]);
    world.end_job(None);
    world.turn();
    assert_eq!(&world.shell.jobs[0].1[..], ["/bin/open", MEMBER]);
    assert!(world.shell.body(guest).is_some());
    world.end_job(None);
    assert_eq!(world.shell.body(guest), None);
}

#[test]
fn what_is_known_to_be_open_is_closed_once() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    world.end_job(None);
    // Another state file's journal has it too.
    world.handle(restored(60_000, &world));
    assert_eq!(world.core.openings().iter().count(), 1);
    world.pass(20_000);
    assert_eq!(&world.shell.jobs[0].1[..], ["/bin/close", MEMBER]);
    world.end_job(None);
    world.pass(60_000);
    assert!(world.shell.jobs.is_empty() && world.shell.journal.is_empty());
}

#[test]
fn an_address_becomes_an_element_and_its_end_is_told() {
    let mut world = World::serving(&[with_set("inet/fw4/ssh")]);
    let guest = come(&mut world, MEMBER).unwrap();
    world.assert_trace(&["> wait", "> element 203.0.113.5 20 s"]);
    world.skip(3_000);
    world.end_element(ElementOutcome::Done);
    world.assert_trace(&["open mirage=home source=203.0.113.5 seconds=20", "> close"]);
    assert_eq!(world.shell.body(guest), None);
    world.pass(20_000);
    world.assert_log(&["shut mirage=home source=203.0.113.5"]);
}

#[test]
fn whatever_becomes_of_an_element_its_guest_is_let_go() {
    let outcomes: [(ElementOutcome, &[&str]); 3] = [
        (
            ElementOutcome::TooLate,
            &["error source=203.0.113.5 nft: it took too long", "> close"],
        ),
        (ElementOutcome::Replaced, &["> close"]),
        (
            ElementOutcome::Full,
            &["full mirage=home reason=openings", "> close"],
        ),
    ];
    for (outcome, expected) in outcomes {
        let mut world = World::serving(&[with_set("inet/fw4/ssh")]);
        come(&mut world, MEMBER).unwrap();
        world.shell.trace.clear();
        world.end_element(outcome);
        world.assert_trace(expected);
        assert!(world.shell.bodies.is_empty());
    }
}

#[test]
fn an_element_that_can_not_be_asked_for_is_told_at_once() {
    let mut world = World::serving(&[with_set("ip6/fw4/ssh")]);
    come(&mut world, MEMBER).unwrap();
    world.assert_trace(&[
        "> wait",
        "> element",
        "error source=203.0.113.5 set's",
        "> close",
    ]);

    let mut world = World::serving(&[with_set("inet/fw4/ssh")]);
    let port = world.real("home");
    for number in 0..NFT_QUEUED {
        world.come(numbered(number), port).unwrap();
    }
    world.shell.trace.clear();
    come(&mut world, MEMBER).unwrap();
    world.assert_trace(&["> wait", "> element", "full reason=openings", "> close"]);
    assert_eq!(world.shell.bodies.len(), NFT_QUEUED);
}

#[test]
fn an_element_gives_its_place_to_what_has_to_be_closed() {
    let work = MirageSettings {
        door: with_set("inet/fw4/ssh").door,
        ..mirage("work", (11_000, 11_999))
    };
    let mut world = World::serving(&[with_command(), work]);
    let (home, work) = (world.real("home"), world.real("work"));
    world.come(numbered(0), work).unwrap();
    world.end_element(ElementOutcome::Done);
    for number in 0..OPENINGS {
        assert!(world.come(numbered(number), home).is_some(), "{number}");
    }
    assert_eq!(world.core.openings().iter().count(), OPENINGS);
}

#[test]
fn guests_have_places_beside_sessions_and_traps() {
    let few = CommonSettings {
        max_sessions: 0,
        ..common()
    };
    let mut world = World::configured(few, &[with_command()]);
    for number in 0..OPENINGS {
        assert!(world.come(numbered(number), world.real("home")).is_some());
    }
}
