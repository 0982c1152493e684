//! A minute's turn, a clock that is waited for, and the state file.

use super::world::{World, common, home, mirage, settings};
use crate::limits::RELEASE_UNIX;
use crate::proto::input::{Input, Order, SavedBan};
use crate::proto::settings::{CommonSettings, MirageSettings};
use crate::proto::source::Source;
use crate::terms::ClockTrust;

const STRANGER: &str = "192.0.2.7";
const MEMBER: &str = "203.0.113.5";

fn waiting() -> CommonSettings {
    CommonSettings {
        clock: ClockTrust::Wait,
        ..common()
    }
}

#[test]
fn a_turn_opens_drains_closes_and_then_says_so() {
    let mut world = World::serving(&[home()]);
    let before = world.shell.listeners.len();
    assert!(world.core.deadline().unwrap() <= world.now.boot.after(60_000));
    world.pass(59_999);
    world.assert_trace(&[]);
    world.pass(1);
    // Of three windows with four ports, one is new and one is gone.
    let expected = [
        "> ports home",
        "> drain turn home",
        "> ports home",
        "rotate mirage=home open=12 opened=4 closed=4",
    ];
    world.assert_trace(&expected);
    assert_eq!((before, world.shell.listeners.len()), (12, 12));
}

#[test]
fn whoever_waits_at_a_port_that_closes_is_judged_by_the_old_plan() {
    let mut world = World::serving(&[home()]);
    world.pass(60_000);
    // It was real two minutes ago.
    let port = {
        let mut earlier = World::serving(&[home()]);
        earlier.pass(0);
        earlier.real("home")
    };
    world.queue(MEMBER, port);
    world.skip(60_000);
    world.shell.trace.clear();
    world.turn();
    let expected = [
        "> ports home",
        "> drain turn home",
        "> dial 127.0.0.1:22",
        "accept source=203.0.113.5",
        "> ports home",
        "rotate mirage=home",
    ];
    world.assert_trace(&expected);
    assert_eq!(
        world
            .way_to(MEMBER.parse().unwrap(), port)
            .map(|who| who.place),
        None
    );
}

#[test]
fn a_pools_port_stays_and_who_waits_there_is_judged_by_the_old_plan() {
    let pool = MirageSettings {
        pool_port: Some(9_000),
        ..home()
    };
    let mut world = World::serving(&[pool]);
    let port = world.real("home");
    world.pass(60_000);
    world.queue(MEMBER, port);
    world.queue(STRANGER, world.trap("home"));
    world.skip(60_000);
    world.shell.trace.clear();
    world.turn();
    let expected = [
        "> ports home",
        "> drain turn home",
        "> dial",
        "accept source=203.0.113.5",
        "ban source=192.0.2.7",
        "> hold",
        "> ports home",
        "rotate mirage=home open=1 opened=0 closed=0",
        "> save",
    ];
    world.assert_trace(&expected);
    // Now it is grace.
    world.visit("203.0.113.6", port).unwrap();
    world.assert_log(&["trap reason=grace"]);
}

#[test]
fn one_mirage_turns_in_a_turn_of_the_loop() {
    let mut world = World::serving(&[home(), mirage("work", (11_000, 11_999))]);
    world.skip(60_000);
    world.turn();
    world.assert_log(&["rotate mirage=home"]);
    assert_eq!(world.core.deadline(), Some(world.now.boot));
    world.turn();
    world.assert_log(&["rotate mirage=work"]);
    world.turn();
    world.assert_trace(&[]);
    assert_eq!(world.core.deadline(), Some(world.now.boot.after(60_000)));
}

#[test]
fn ports_that_others_have_are_not_counted_as_open() {
    let mut world = World::serving(&[home()]);
    world.shell.taken = (10_000..=10_999).collect();
    world.pass(60_000);
    world.assert_log(&["rotate mirage=home open=0 opened=4 closed=4"]);
}

#[test]
fn a_clock_that_is_set_back_opens_no_window_again() {
    let mut world = World::serving(&[home()]);
    world.pass(3 * 60_000);
    world.shell.trace.clear();
    world.set_clock(-3 * 60_000);
    world.pass(0);
    world.assert_log(&[
        "clock step=-180.000s",
        "rotate mirage=home open=0",
        "warn mirage=home",
    ]);
    assert!(world.shell.listeners.is_empty());
    // Ten minutes later nobody remembers them.
    world.pass(10 * 60_000);
    assert!(!world.shell.listeners.is_empty());
    assert!(
        world
            .shell
            .trace
            .iter()
            .any(|line| line.starts_with("clock right"))
    );
}

#[test]
fn a_clock_that_is_waited_for_is_looked_at_each_minute() {
    let mut world = World::configured(waiting(), &[home()]);
    assert!(world.shell.listeners.is_empty());
    world.pass(59_999);
    world.assert_trace(&[]);
    world.pass(1);
    world.assert_trace(&["> ask clock"]);
    world.shell.state.push(SavedBan {
        source: Source::of(STRANGER.parse().unwrap()),
        unix: world.now.unix() - 30,
        attempts: 4,
    });
    world.shell.is_clock_kept = true;
    world.pass(60_000);
    assert!(world.is_banned(STRANGER) && world.core.is_clock_trusted());
    world.pass(0);
    assert_eq!(world.shell.listeners.len(), 12);
    // The bans are there before the first port is open.
    let trace = core::mem::take(&mut world.shell.trace);
    let place = |what: &str| trace.iter().position(|line| line.contains(what)).unwrap();
    assert!(place("> ask clock") < place("> load") && place("> load") < place("> ports home"));
    // Once it is believed it stays so.
    world.shell.is_clock_kept = false;
    world.pass(600_000);
    assert!(world.core.is_clock_trusted());
    assert!(!world.shell.trace.contains(&"> ask clock".to_owned()));
}

#[test]
fn a_clock_before_the_release_is_not_believed() {
    let mut world = World::new(common());
    world.now.real_ms = (RELEASE_UNIX as i64 - 86_400) * 1_000;
    world.handle(Input::Configuration(settings(common(), &[home()])));
    world.turn();
    assert!(!world.core.is_clock_trusted() && world.shell.listeners.is_empty());
    world.set_clock(2 * 86_400_000);
    world.pass(0);
    assert_eq!(world.shell.listeners.len(), 12);
}

#[test]
fn bans_are_written_down_a_minute_after_they_changed() {
    let mut world = World::serving(&[home()]);
    world.visit(STRANGER, world.trap("home")).unwrap();
    assert!(world.shell.state.is_empty());
    world.pass(60_000);
    assert_eq!(world.shell.state.len(), 1);
    // Without a change it is not written again.
    world.shell.trace.clear();
    world.pass(59_000);
    assert!(!world.shell.trace.contains(&"> save".to_owned()));
    // A full disk is tried again.
    world.shell.is_disk_full = true;
    world.handle(Input::Operator(Order::UnbanAll));
    world.pass(61_000);
    assert_eq!(world.shell.state.len(), 1);
    world.shell.is_disk_full = false;
    world.pass(59_000);
    assert_eq!(world.shell.state.len(), 1);
    world.pass(1_000);
    assert!(world.shell.state.is_empty());
}

#[test]
fn what_was_written_down_is_banned_for_the_rest_of_its_time() {
    let source = |last: u8| Source::of([192, 0, 2, last].into());
    let mut world = World::new(common());
    let unix = world.now.unix();
    let saved = |last, unix| SavedBan {
        source: source(last),
        unix,
        attempts: 2,
    };
    // One that is over, one half-way, and one whose last touch lies ahead.
    world.shell.state = vec![
        saved(1, unix - 120),
        saved(2, unix - 60),
        saved(3, unix + 3_600),
    ];
    world.turn();
    assert!(!world.is_banned("192.0.2.1"));
    assert!(world.is_banned("192.0.2.2") && world.is_banned("192.0.2.3"));
    world.assert_trace(&["> load", "state bans=2"]);
    world.pass(60_000);
    assert!(!world.is_banned("192.0.2.2") && world.is_banned("192.0.2.3"));
    world.pass(60_000);
    assert!(!world.is_banned("192.0.2.3"));
}

#[test]
fn a_damaged_state_file_is_none_and_is_written_anew() {
    let mut world = World::new(common());
    world.turn();
    world.assert_trace(&["> load"]);
    world.handle(Input::Operator(Order::Ban(STRANGER.parse().unwrap())));
    world.pass(60_000);
    assert_eq!(world.shell.state.len(), 1);
}
