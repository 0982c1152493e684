//! Stories of a clock that is set, and of one that nobody has set yet.

use crate::common::*;
use crate::stage::*;

#[test]
fn a_clock_that_is_set() {
    let stage = Stage::start("step", &("[common]\n".to_owned() + SSH));
    let member = stage.ssh();
    let trap = |unix: u64| {
        let real: Vec<u16> = (unix / 60 - 16..=unix / 60 + 16)
            .map(|minute| member.real(minute))
            .collect();
        let ports = member.pattern.ports(&member.key, unix / 60);
        ports.into_iter().find(|port| !real.contains(port)).unwrap()
    };
    let set = |unix: u64| stage.change(|world| world.real_ms = unix as i64 * 1_000);
    stage.note("a member is in, and the clock is set forward by an hour");
    let mut session = stage.comes(1, member.real(NOON / 60));
    assert_echo(&mut session, "in");
    set(NOON + 3_600);
    stage.note("for a minute traps ban nobody");
    stage.comes(2, trap(NOON + 3_600));
    stage.pass(60);
    stage.comes(3, trap(NOON + 3_660));
    stage.note("the clock is set back to where windows were served before");
    set(NOON + 30);
    stage.note("minutes that nobody has seen are open");
    stage.pass(300);
    stage.pass(360);
    stage.comes(4, trap(NOON + 690));
    assert_echo(&mut session, "still in");
    stage.note("before the release, and there for an hour");
    set(1_000_000);
    stage.pass(3_600);
    stage.note("a day ahead, and the member leaves");
    set(NOON + 86_400);
    stage.leaves(session);
    stage.note("a visitor waits as the clock is set: the step comes before the visitor");
    let held = stage.at_once(
        || stage.connects(5, trap(NOON + 86_400)),
        |world| world.real_ms += 1_000,
    );
    drop(held);
    stage.end();
}

#[test]
fn a_clock_that_is_waited_for() {
    let text = "[common]\nclock = wait\nstate-file = FOLDER/state\n".to_owned() + SSH;
    let bans = format!("shimmer-state 1\nban 127.1.0.7 {} 2\nend 1\n", NOON - 100);
    let setup = Setup {
        is_kept: false,
        files: vec![("state", bans)],
        ..Setup::default()
    };
    let stage = Stage::begin("wait", &text, setup);
    stage.wait_for(" closed: ", 1);
    stage.pass(59);
    stage.note("somebody sets it");
    stage.change(|world| world.is_kept = true);
    stage.note("it is looked at each minute");
    stage.pass(1);
    stage.wait_for(" ports open", 1);
    stage.note("nobody keeps it any more, and it is not asked for again");
    stage.change(|world| world.is_kept = false);
    stage.pass(60);
    let member = stage.ssh();
    stage.note("the one whose ban was on file is refused, another gets in");
    assert_closed(&mut stage.comes(7, member.real(NOON / 60 + 2)));
    let mut session = stage.comes(1, member.real(NOON / 60 + 2));
    assert_echo(&mut session, "in");
    stage.leaves(session);
    stage.end();
}
