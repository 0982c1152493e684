//! Stories of bans that outlive the daemon, and of those that were made by hand.

use crate::common::*;
use crate::stage::*;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

const KEPT: &str = "[common]\nstate-file = FOLDER/state\n";

fn trap(member: &Member, unix: u64) -> u16 {
    let minutes = unix / 60 - 16..=unix / 60 + 16;
    let real: Vec<u16> = minutes.map(|minute| member.real(minute)).collect();
    let ports = member.pattern.ports(&member.key, unix / 60);
    ports.into_iter().find(|port| !real.contains(port)).unwrap()
}

#[test]
fn bans_on_file() {
    let text = KEPT.to_owned() + SSH;
    let stage = Stage::start("saved", &text);
    let member = stage.ssh();
    let kept = || std::fs::read_to_string(stage.folder.file("state")).ok();
    stage.note("two strangers, and a minute until the file is written");
    stage.comes(1, trap(&member, NOON));
    stage.pass(10);
    stage.comes(2, trap(&member, NOON));
    stage.pass(49);
    assert_eq!(kept(), None);
    stage.pass(1);
    let state = kept().unwrap();
    stage.end();

    let setup = Setup {
        unix: NOON + 100,
        files: vec![("state", state)],
        ..Setup::default()
    };
    let stage = Stage::begin("loaded", &text, setup);
    stage.wait_for(" listen mirage=", 1);
    stage.note("one of them, at the real port");
    assert_closed(&mut stage.comes(1, stage.ssh().real((NOON + 100) / 60)));
    stage.note("each ban ends when it would have ended");
    stage.pass(800);
    stage.pass(10);
    stage.end();
}

#[test]
fn bans_on_another_file() {
    // Over by the time that a ban has now, and not by that of the configuration that names the file.
    let ban = format!("ban 127.1.0.1 {} 1", NOON - 1_000);
    let setup = Setup {
        files: vec![("other", format!("shimmer-state 1\n{ban}\nend 1\n"))],
        ..Setup::default()
    };
    let stage = Stage::begin("moved", &(KEPT.to_owned() + SSH), setup);
    stage.wait_for(" listen mirage=", 1);
    let other = "[common]\nban-time = 1h\nstate-file = FOLDER/other\n".to_owned() + SSH;
    stage.reload(&other);
    stage.note("who is banned there, at the real port");
    assert_closed(&mut stage.comes(1, stage.ssh().real(NOON / 60)));
    stage.end();
}

#[test]
fn a_damaged_state_file() {
    let setup = Setup {
        files: vec![("state", "shimmer-state 1\nban 127.1.0.1\n".to_owned())],
        ..Setup::default()
    };
    let stage = Stage::begin("damaged", &(KEPT.to_owned() + SSH), setup);
    stage.wait_for(" listen mirage=", 1);
    let trap = trap(&stage.ssh(), NOON);
    stage.note("a stranger");
    stage.comes(1, trap);
    stage.note("the folder is gone when the file is to be written");
    let (folder, moved) = (
        stage.folder.file(""),
        stage.folder.0.with_extension("moved"),
    );
    stage.at_once(
        || std::fs::rename(&folder, &moved).unwrap(),
        |world| world.pass_ms(60_000),
    );
    std::fs::rename(&moved, &folder).unwrap();
    stage.note("it is back a minute later");
    stage.pass(60);
    let state = std::fs::read_to_string(stage.folder.file("state")).unwrap();
    assert!(state.contains("ban 127.1.0.1 "), "{state}");
    stage.end();
}

#[test]
fn bans_by_hand() {
    let text = "[common]\ncontrol = FOLDER/control\n".to_owned() + SSH;
    let stage = Stage::start("hand", &text);
    let ask = |what: &str| {
        stage.note(what);
        let mut asker = UnixStream::connect(stage.folder.file("control")).unwrap();
        asker.write_all(format!("{what}\n").as_bytes()).unwrap();
        stage.settle();
        let mut answer = String::new();
        asker.set_read_timeout(Some(PATIENCE)).unwrap();
        asker.read_to_string(&mut answer).unwrap();
        answer
    };
    let member = stage.ssh();
    let real = member.real(NOON / 60);
    ask("ban 127.1.0.1");
    stage.note("whoever was banned by hand comes to the real port");
    assert_closed(&mut stage.comes(1, real));
    ask("ban 127.1.0.1");
    ask("unban 127.1.0.1");
    ask("unban 127.1.0.1");
    stage.note("and gets in again");
    let mut session = stage.comes(1, real);
    assert_echo(&mut session, "in");
    ask("ban 127.1.0.1");
    assert_echo(&mut session, "still in");
    stage.note("a stranger is banned by a trap");
    stage.comes(2, trap(&member, NOON));
    ask("ban 2001:db8::7");
    ask("unban all");
    ask("unban all");
    ask("ban nobody");
    stage.leaves(session);
    stage.end();
}
