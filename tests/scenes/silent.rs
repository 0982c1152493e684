//! Stories of the gates that answer nobody.

use crate::common::gates::*;
use crate::common::*;
use crate::process::turn;
use crate::stage::*;
use shimmer::proto::scheme::knock::{Hop, Protocols};

const MINUTE: u64 = NOON / 60;

/// Whoever is let in comes to a port that is filtered, and knocks are packets that nobody answers: both take a
/// network of one's own.
fn apart_or_not_at_all(story: &(impl Fn() + Sync)) {
    let _turn = turn();
    if !only_apart(story) {
        eprintln!("no network of its own: this story is not told");
    }
}

fn ssh(stage: &Stage) -> Member {
    stage.member(NAME, RANGE, 0)
}

fn silent(gate: &str) -> String {
    "[common]\n".to_owned() + &SSH.replace("decoys = 3", &format!("gate = {gate}"))
}

#[test]
fn the_gate_knock() {
    apart_or_not_at_all(&|| {
        let stage = Stage::start("knock", &(silent("knock") + "once = yes\nlock = 5s\n"));
        let member = ssh(&stage);
        let sequence = |minute| member.sequence(minute, 3, Protocols::Tcp).to_vec();
        let live: Vec<Hop> = (MINUTE - 1..=MINUTE + 1).flat_map(sequence).collect();
        let is_wrong = |port: &u16| live.iter().all(|hop| hop.port != *port);
        let wrong = tcp((RANGE.0..RANGE.1).find(is_wrong).unwrap());
        let knocks = |number, hops: &[Hop]| {
            for hop in hops {
                touch(visitor(number), member.at(hop.port), hop.protocol);
                stage.settle();
            }
        };
        let hops = sequence(MINUTE);
        stage.note("a wrong knock behind a right one");
        knocks(2, &[hops[0], wrong]);
        stage.wait_for(" wrong ", 1);
        stage.note("whoever is locked out is not heard");
        knocks(2, &hops);
        stage.note("a member knocks, and comes in");
        knocks(1, &hops);
        stage.wait_for(" open mirage=ssh source=127.1.0.1 ", 1);
        let mut session = stage.comes(1, member.real(MINUTE));
        assert_echo(&mut session, "in");
        assert_shut(visitor(2), member.at(member.real(MINUTE)));
        stage.note("another with the same sequence");
        knocks(3, &hops);
        stage.wait_for(" used ", 1);
        stage.note("the member is let in for half a minute");
        stage.pass(29);
        stage.pass(1);
        assert_shut(visitor(1), member.at(member.real(MINUTE)));
        assert_echo(&mut session, "still in");
        stage.note("in the next minute the one who was locked out knocks right");
        stage.pass(30);
        knocks(2, &sequence(MINUTE + 2));
        stage.wait_for(" open mirage=ssh source=127.1.0.2 ", 1);
        stage.note("a clock that is set moves the port of those who are let in");
        stage.change(|world| world.real_ms += 3_600_000);
        let mut other = stage.comes(2, member.real(MINUTE + 61));
        assert_echo(&mut other, "in");
        stage.leaves(session);
        stage.leaves(other);
        stage.end();
    });
}

#[test]
fn the_gate_packet() {
    apart_or_not_at_all(&|| {
        let stage = Stage::start("packet", &silent("packet"));
        let member = ssh(&stage);
        let real = member.real(MINUTE);
        let sends = |number, bytes: &[u8]| {
            send_from(visitor(number), member.at(real), bytes);
            stage.settle();
        };
        let right = member.datagram(NOON, None);
        stage.note("a datagram with one wrong bit, and one that is too short");
        let mut wrong = right;
        wrong[71] ^= 1;
        sends(1, &wrong);
        sends(1, &right[..71]);
        stage.note("the right one");
        sends(1, &right);
        stage.wait_for(" open mirage=ssh source=127.1.0.1 ", 1);
        stage.note("somebody has seen it");
        sends(2, &right);
        stage.wait_for(" reason=replayed", 1);
        stage.note("one who is three minutes late");
        sends(3, &member.datagram(NOON - 180, None));
        stage.wait_for(" reason=clock ", 1);
        stage.note("one that lets in another");
        sends(3, &member.datagram(NOON, Some(visitor(4).into())));
        stage.wait_for(" open mirage=ssh source=127.1.0.4 ", 1);
        let mut session = stage.comes(1, real);
        assert_echo(&mut session, "in");
        stage.note("their time ends");
        stage.pass(30);
        assert_shut(visitor(4), member.at(real));
        stage.leaves(session);
        stage.end();
    });
}
