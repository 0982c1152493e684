//! Stories of what is full: descriptors, traps, the log.

use crate::common::*;
use crate::process::with_descriptors;
use crate::stage::*;
use std::io::Write as _;

const MANY: &str = "[common]\nmax-sessions = 100\nmax-sessions-per-source = 100\n";

/// Descriptors of the processes here, and visitors whom traps hold where that is the limit.
const DESCRIPTORS: u64 = 256;
const TRAPS: u16 = 32;

fn trap(member: &Member) -> u16 {
    let minute = NOON / 60;
    let minutes = minute - 16..=minute + 16;
    let real: Vec<u16> = minutes.map(|minute| member.real(minute)).collect();
    let ports = member.pattern.ports(&member.key, minute);
    ports.into_iter().find(|port| !real.contains(port)).unwrap()
}

#[test]
fn few_descriptors() {
    with_descriptors(DESCRIPTORS, || {
        let stage = Stage::start("descriptors", &(MANY.to_owned() + SSH));
        let member = stage.ssh();
        let (real, trap) = (member.real(NOON / 60), trap(&member));
        let leave = |count| stage.change(|world| world.descriptors = Some(count));
        stage.note("three strangers in traps, and not one descriptor is left");
        let mut held: Vec<_> = (11..14).map(|number| stage.comes(number, trap)).collect();
        leave(0);
        stage.note("a member gets in, and two of them have to go");
        let mut first = stage.comes(1, real);
        assert_echo(&mut first, "in");
        for held in &mut held[..2] {
            assert_closed(held);
        }
        stage.note("a stranger takes the place of the third");
        leave(0);
        let mut fourth = stage.comes(14, trap);
        assert_closed(&mut held[2]);
        stage.note("one is left and one is in a trap: a member gets in");
        leave(1);
        let mut second = stage.comes(2, real);
        assert_echo(&mut second, "in");
        assert_closed(&mut fourth);
        stage.note("one is left, which is not enough for a dial");
        leave(1);
        assert_closed(&mut stage.comes(3, real));
        stage.note("none is left");
        leave(0);
        assert_closed(&mut stage.comes(4, real));
        assert_closed(&mut stage.comes(15, trap));
        assert_echo(&mut first, "still in");
        stage.note("enough are left");
        leave(100);
        let mut third = stage.comes(5, real);
        assert_echo(&mut third, "in");
        for session in [first, second, third] {
            stage.leaves(session);
        }
        stage.end();
    });
}

#[test]
fn full_traps() {
    with_descriptors(DESCRIPTORS, || {
        let stage = Stage::start("traps", &(MANY.to_owned() + SSH + "gate = token\n"));
        let (member, minute) = (stage.ssh(), NOON / 60);
        let real = member.real(minute);
        stage.note("a member comes, and then as many as there are places");
        let mut session = stage.comes(1, real);
        let others = 100..100 + TRAPS - 1;
        let mut held: Vec<_> = others.map(|number| stage.comes(number, real)).collect();
        stage.note("one more: the member was the first, and has said a token by then");
        let (last, ()) = stage.at_once(
            || {
                let last = stage.connects(200, real);
                (
                    last,
                    session.write_all(&member.token(minute, real)).unwrap(),
                )
            },
            |_| {},
        );
        assert_echo(&mut session, "in");
        stage.note("one more: the first of the others has to go");
        let more = stage.comes(201, real);
        assert_closed(&mut held[0]);
        stage.note("the member leaves");
        stage.leaves(session);
        // Until here, or they would be judged as they leave, all at once.
        stage.end();
        drop((held, last, more));
    });
}

#[test]
fn more_lines_than_there_may_be() {
    let stage = Stage::start("lines", &("[common]\n".to_owned() + SSH));
    let member = stage.ssh();
    let (real, trap) = (member.real(NOON / 60), trap(&member));
    stage.note("strangers may fill eighty lines in ten seconds");
    for number in 0..90 {
        stage.comes(1_000 + number, trap);
    }
    stage.note("a member still has a line");
    let mut session = stage.comes(1, real);
    assert_echo(&mut session, "in");
    stage.note("ten seconds after the first that was left out");
    stage.pass(10);
    stage.note("and there is room again");
    stage.comes(2_000, trap);
    stage.leaves(session);
    stage.end();
}
