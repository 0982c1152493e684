//! Stories of another configuration.

use crate::common::*;
use crate::stage::*;

/// Most of these ports are open at once, so two mirages that have them one after the other share many.
const NARROW: (u16, u16) = (10_000, 10_047);

fn mirage(name: &str, low: u16, high: u16) -> String {
    format!(
        "[mirage-{name}]\nsecret = SECRET\nforward = SERVICE\nrange = {low}-{high}\n\
         listen-address = HOST\n"
    )
}

#[test]
fn another_configuration() {
    let (a, b) = (mirage("a", NARROW.0, NARROW.1), mirage("b", 20_000, 20_047));
    let stage = Stage::start("reload", &format!("[common]\n{a}{b}"));
    let now = NOON / 60;
    let enter = |name: &str, range, number| {
        let mut session = stage.comes(number, stage.member(name, range, 15).real(now));
        assert_echo(&mut session, "in");
        session
    };
    stage.note("members at both");
    let first = enter("a", NARROW, 1);
    let mut second = enter("b", (20_000, 20_047), 2);
    stage.note("the same once more");
    stage.reload(&format!("[common]\n{a}{b}"));
    stage.note("the ports of one go to the other, and a third is new");
    let (b, c) = (mirage("b", NARROW.0, NARROW.1), mirage("c", 30_000, 30_047));
    stage.reload(&format!("[common]\n{b}{c}"));
    assert_echo(&mut second, "still in");
    let third = enter("b", NARROW, 3);
    stage.note("the session of the one that was dropped ends");
    stage.leaves(first);
    stage.note("the configuration is gone");
    std::fs::remove_file(stage.config_path()).unwrap();
    stage.change(World::reload);
    stage.wait_for(" reload", 3);
    stage.note("what comes before the reload is judged by what it found");
    let held = stage.at_once(
        || {
            let held = stage.connects(4, stage.member("c", (30_000, 30_047), 15).real(now));
            stage.writes(&format!("[common]\n{b}"));
            held
        },
        World::reload,
    );
    stage.wait_for(" reload", 4);
    drop(held);
    stage.wait_for(" close ", 2);
    stage.note("the minute turns");
    stage.pass(60);
    stage.leaves(second);
    stage.leaves(third);
    stage.end();
}

#[test]
fn a_port_in_use() {
    let member = Member::with_pattern([127, 0, 0, 1].into(), RANGE, DECOYS, 60);
    let real = member.real(NOON / 60);
    let (unopened, setup) = (std::cell::OnceCell::new(), Setup::default());
    let text = "[common]\n".to_owned() + SSH;
    let stage = Stage::begin_before("in_use", &text, setup, |host| {
        let listener = std::net::TcpListener::bind((host, real)).unwrap();
        let _ = unopened.set(listener);
    });
    stage.wait_for(" listen mirage=", 1);
    stage.note("the port is looked at each second");
    stage.pass(1);
    stage.pass(1);
    stage.note("and opened as soon as it is free");
    drop(unopened);
    stage.pass(1);
    let mut session = stage.comes(1, real);
    assert_echo(&mut session, "in");
    stage.leaves(session);
    stage.end();
}
