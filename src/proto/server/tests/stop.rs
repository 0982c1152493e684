//! The end: what is open is closed, what comes is turned away, and it does not take for ever.

use super::doors::{MEMBER, come, with_command, with_set};
use super::world::{World, home, home_with_token, mirage};
use crate::limits::STOP_MS;
use crate::proto::input::{ElementOutcome, Input};
use crate::proto::settings::MirageSettings;

fn stop(world: &mut World) {
    world.handle(Input::Stop);
    world.turn();
}

#[test]
fn nothing_open_means_an_end_at_once() {
    let mut world = World::serving(&[home()]);
    assert!(!world.core.has_stopped());
    stop(&mut world);
    assert!(world.core.has_stopped());
}

#[test]
fn what_a_command_has_opened_is_closed_first() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    world.end_job(None);
    world.turn();
    world.shell.trace.clear();
    stop(&mut world);
    assert!(!world.core.has_stopped());
    assert_eq!(world.shell.jobs.len(), 1);
    world.end_job(None);
    world.turn();
    world.assert_log(&["shut mirage=home source=203.0.113.5"]);
    assert!(world.core.has_stopped() && world.shell.journal.is_empty());
}

#[test]
fn an_element_leaves_its_set() {
    let mut world = World::serving(&[with_set("inet/fw4/ssh")]);
    come(&mut world, MEMBER).unwrap();
    world.end_element(ElementOutcome::Done);
    world.turn();
    world.shell.trace.clear();
    stop(&mut world);
    assert!(!world.core.has_stopped());
    world.end_element(ElementOutcome::Done);
    world.turn();
    world.assert_log(&["shut mirage=home source=203.0.113.5"]);
    assert!(world.core.has_stopped());
}

#[test]
fn an_element_on_its_way_into_its_set_leaves_it_again() {
    let mut world = World::serving(&[with_set("inet/fw4/ssh")]);
    come(&mut world, MEMBER).unwrap();
    stop(&mut world);
    assert!(!world.core.has_stopped());
    world.end_element(ElementOutcome::Done);
    world.turn();
    assert!(!world.core.has_stopped());
    world.end_element(ElementOutcome::Done);
    world.turn();
    assert!(world.core.has_stopped());
}

#[test]
fn what_is_being_opened_is_opened_and_then_closed() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    stop(&mut world);
    assert_eq!(world.shell.jobs.len(), 1);
    world.end_job(None);
    world.turn();
    assert!(!world.core.has_stopped());
    world.shell.trace.clear();
    world.end_job(None);
    world.turn();
    world.assert_log(&["shut mirage=home source=203.0.113.5"]);
    assert!(world.core.has_stopped());
}

#[test]
fn what_a_killed_command_may_have_opened_is_closed() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    stop(&mut world);
    // It has a while, and then the shell kills it.
    assert_eq!(world.shell.hurried.len(), 1);
    assert_eq!(world.shell.journal, ["/bin/close 203.0.113.5"]);
    world.shell.trace.clear();
    world.end_job(Some("killed"));
    world.turn();
    assert!(!world.core.has_stopped());
    assert_eq!(world.shell.jobs.len(), 1);
    world.end_job(None);
    world.turn();
    world.assert_log(&[
        "error mirage=home source=203.0.113.5 open-command: killed",
        "shut mirage=home source=203.0.113.5",
    ]);
    assert!(world.core.has_stopped() && world.shell.journal.is_empty());
}

#[test]
fn what_can_not_be_closed_is_tried_again_and_stays_recorded() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    world.end_job(None);
    world.turn();
    stop(&mut world);
    let mut tries = 0;
    for _ in 0..STOP_MS / 100 {
        if !world.shell.jobs.is_empty() {
            world.end_job(Some("exit=1"));
            tries += 1;
        }
        assert!(!world.core.has_stopped());
        world.pass(100);
    }
    // At once, and after 1, 2 and 4 seconds.
    assert_eq!(tries, 4);
    assert!(world.core.has_stopped());
    assert_eq!(world.shell.journal, ["/bin/close 203.0.113.5"]);
}

#[test]
fn a_second_signal_gives_up() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    stop(&mut world);
    assert!(!world.core.has_stopped());
    stop(&mut world);
    assert!(world.core.has_stopped());
    assert_eq!(world.shell.journal.len(), 1);
}

#[test]
fn nobody_gets_in_any_more() {
    let work = MirageSettings {
        door: with_command().door,
        ..mirage("work", (11_000, 11_999))
    };
    let mut world = World::serving(&[home_with_token(), work]);
    // An opening that can't be closed keeps the daemon.
    come_to_work(&mut world, MEMBER);
    let (real, held) = (world.real("work"), world.real("home"));
    let conn = world.visit("203.0.113.9", held).unwrap();
    let token = world.token("home", 1);
    stop(&mut world);
    world.shell.trace.clear();
    world.say(conn, Some(token));
    assert_eq!(world.visit("203.0.113.8", real), None);
    world.turn();
    world.assert_log(&[]);
    let wanted = |section| world.core.wanted(world.id(section)).ports;
    assert!(wanted("home").is_empty() && wanted("work").is_empty());
    // Neither does a minute's turn open anything.
    world.pass(7_000);
    world.assert_log(&[]);
}

fn come_to_work(world: &mut World, peer: &str) {
    let port = world.real("work");
    world.visit(peer, port).unwrap();
    world.turn();
}

#[test]
fn a_reload_that_drops_a_mirage_closes_what_it_has_open() {
    let mut world = World::serving(&[with_command()]);
    come(&mut world, MEMBER).unwrap();
    world.end_job(None);
    world.turn();
    world.reload(&[mirage("work", (11_000, 11_999))]);
    world.turn();
    assert_eq!(world.shell.jobs.len(), 1);
    world.shell.trace.clear();
    world.end_job(None);
    world.turn();
    world.assert_log(&["shut mirage=home source=203.0.113.5"]);
    assert!(world.shell.journal.is_empty());
}
