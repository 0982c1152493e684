//! Stories of visitors at the gates `port` and `token`.

use crate::common::*;
use crate::stage::*;
use std::io::Write as _;
use std::net::Shutdown;

#[test]
fn a_turn_of_the_minute() {
    let stage = Stage::start("turn", &("[common]\n".to_owned() + SSH));
    let member = stage.ssh();
    let last = NOON / 60 - 1;
    let open = |minutes: &[u64]| -> Vec<u16> {
        let ports = minutes
            .iter()
            .flat_map(|&minute| member.pattern.ports(&member.key, minute));
        ports.collect()
    };
    let stays = open(&[last + 1, last + 2, last + 3]);
    let trap = open(&[last]).into_iter();
    let trap = trap
        .rev()
        .find(|port| !stays.contains(port) && *port != member.real(last));
    let trap = trap.unwrap();
    stage.note("a member and a stranger wait at ports that close as the minute turns");
    let (mut session, mut held) = stage.at_once(
        || {
            let session = member.connect(visitor(1), member.real(last)).unwrap();
            (session, member.connect(visitor(2), trap).unwrap())
        },
        |world| world.pass_ms(60_000),
    );
    assert_echo(&mut session, "in");
    stage.note("minutes go by, one and then three at once");
    stage.pass(60);
    stage.pass(180);
    assert_echo(&mut session, "still in");
    assert_closed(&mut held);
    stage.note("the member leaves");
    stage.leaves(session);
    stage.note("the end of the ban, 15 minutes after it began");
    stage.pass(659);
    stage.pass(1);
    stage.end();
}

#[test]
fn the_gate_port() {
    let text = "[common]\nallow = 127.1.0.9\n[mirage-ssh]\nsecret = SECRET\nforward = SERVICE\n\
                range = 10000-10047\nlisten-address = HOST\ntrap-time = 10s\n";
    let stage = Stage::start("port", text);
    let member = stage.member(NAME, (10_000, 10_047), 15);
    let (real, now) = (|minute| member.real(minute), NOON / 60);
    let open: Vec<u16> = (now - 1..=now + 1)
        .flat_map(|minute| member.pattern.ports(&member.key, minute))
        .filter(|port| (now - 1..=now + 1).all(|minute| real(minute) != *port))
        .collect();
    let is_off_by = |port: u16, off: i64| real(now.checked_add_signed(off).unwrap()) == port;
    let is_grace = |port: &u16| [-3, -2, 2, 3].iter().any(|&off| is_off_by(*port, off));
    let of_another = |port: &u16| (-15..=15).any(|off| is_off_by(*port, off));
    let trap = *open.iter().find(|port| !of_another(port)).unwrap();

    stage.note("a member, by the port of now");
    let mut session = stage.comes(1, real(now));
    assert_echo(&mut session, "in");
    stage.note("a stranger in a trap");
    let mut held = stage.comes(2, trap);
    stage.note("and again: it is closed at once, at a trap and at the real port");
    assert_closed(&mut stage.comes(2, trap));
    assert_closed(&mut stage.comes(2, real(now)));
    stage.note("one whose clock is two minutes off");
    let grace = open.iter().find(|port| is_grace(port)).unwrap();
    stage.comes(3, *grace);
    stage.note("one whose clock is far off");
    let far = |port: &&u16| of_another(port) && !is_grace(port);
    stage.comes(4, *open.iter().find(far).unwrap());
    stage.note("one of an allowed network, in a trap");
    stage.comes(9, trap);
    stage.note("from the member's address, in traps: forgiven twice");
    for _ in 0..3 {
        stage.comes(1, trap);
    }
    assert_echo(&mut session, "still in");
    stage.note("the trap lets go");
    stage.pass(10);
    assert_closed(&mut held);
    stage.note("a half-close of the member's is passed on, and comes back");
    session.shutdown(Shutdown::Write).unwrap();
    assert_closed(&mut session);
    stage.wait_for(" close ", 1);
    stage.note("the bans end, and the stranger comes again");
    stage.pass(890);
    let minute = (NOON + 900) / 60;
    let traps = member.pattern.ports(&member.key, minute);
    let is_real = |port: &u16| (minute - 16..=minute + 16).any(|other| real(other) == *port);
    let trap = traps.into_iter().find(|port| !is_real(port)).unwrap();
    stage.comes(2, trap);
    stage.end();
}

#[test]
fn the_gate_token() {
    let text = "[common]\nban-time = 60s\n".to_owned() + SSH + "gate = token\ntrap-time = 10s\n";
    let stage = Stage::start("token", &text);
    let (member, minute) = (stage.ssh(), NOON / 60);
    let real = member.real(minute);
    let says = |number: u16, bytes: &[u8]| {
        let mut stream = stage.comes(number, real);
        stream.write_all(bytes).unwrap();
        stage.settle();
        stream
    };
    let good = member.token(minute, real);
    stage.note("47 bytes of a good token, and then the last");
    let mut session = says(1, &good[..47]);
    stage.settle();
    session.write_all(&good[47..]).unwrap();
    assert_echo(&mut session, "in");
    stage.note("the same token once more");
    let _replayed = says(2, &good);
    stage.note("48 bytes that are no token");
    let mut bad = says(3, &[b'x'; 48]);
    stage.note("47 bytes, and then the end");
    says(4, &good[..47]).shutdown(Shutdown::Write).unwrap();
    stage.wait_for(" source=127.1.0.4 ", 1);
    stage.note("one who says nothing, and one who says 47 bytes");
    let mut silent = stage.comes(5, real);
    stage.pass_ms(1);
    let mut short = says(6, &member.token(minute, real)[..47]);
    stage.pass_ms(2_998);
    stage.note("three seconds after they came");
    stage.pass_ms(1);
    stage.pass_ms(1);
    stage.note("what comes now is too late");
    // It may be closed already, as far as this end knows.
    let _ = short.write_all(b"x");
    stage.note("the banned one has a good token, and leaves the list");
    let mut proven = says(3, &member.token(minute, real));
    assert_echo(&mut proven, "in");
    stage.note("the traps let go");
    stage.pass(10);
    for held in [&mut bad, &mut silent, &mut short] {
        assert_closed(held);
    }
    stage.note("both members leave");
    stage.leaves(session);
    stage.leaves(proven);
    stage.note("a good token for a port that is a trap of this minute");
    let ports = member.pattern.ports(&member.key, minute);
    let trap = ports.into_iter().find(|port| *port != real).unwrap();
    let mut stream = stage.comes(7, trap);
    stream.write_all(&member.token(minute, trap)).unwrap();
    stage.settle();
    stage.note("the bans end");
    stage.pass(60);
    stage.end();
}

#[test]
fn a_service_that_is_not_there() {
    let text = "[common]\n".to_owned() + SSH;
    let stage = Stage::start("refused", &text.replace("SERVICE", "HOST:9"));
    let real = stage.ssh().real(NOON / 60);
    stage.note("a member, and nobody takes the dial");
    assert_closed(&mut stage.comes(1, real));
    stage.end();
}

#[test]
fn as_many_sessions_as_there_may_be() {
    let caps = "[common]\nmax-sessions = 3\nmax-sessions-per-source = 2\n";
    let stage = Stage::start("caps", &(caps.to_owned() + SSH));
    let real = stage.ssh().real(NOON / 60);
    let enter = |number| {
        let mut session = stage.comes(number, real);
        assert_echo(&mut session, "in");
        session
    };
    stage.note("two of one source, and a third");
    let first = (enter(1), enter(1));
    assert_closed(&mut stage.comes(1, real));
    stage.note("one more is as many as there may be, and a fourth");
    let other = enter(2);
    assert_closed(&mut stage.comes(3, real));
    stage.note("one leaves, and there is room");
    stage.leaves(first.0);
    let last = enter(3);
    stage.note("all leave");
    for session in [first.1, other, last] {
        stage.leaves(session);
    }
    stage.end();
}
