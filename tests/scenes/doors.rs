//! Stories of what opens for those who pass: a service on demand, commands, elements of sets.

use crate::common::nft::{load, with_firewall};
use crate::common::*;
use crate::stage::*;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

const FINE: &str = "exit 0\n";
const BROKEN: &str = "echo what is wrong >&2\nexit 3\n";

const COMMANDS: &str = "open-command = /bin/sh FOLDER/open.sh %IP%\n\
                        close-command = /bin/sh FOLDER/close.sh %IP%\n";

fn fine() -> Setup {
    Setup {
        files: vec![("open.sh", FINE.to_owned()), ("close.sh", FINE.to_owned())],
        ..Setup::default()
    }
}

#[test]
fn a_service_on_demand() {
    let mirage = SSH.replace("SERVICE", "HOST:2222") + &COMMANDS.replace(" %IP%", "");
    let times = "open-timeout = 60s\nready-timeout = 10s\n";
    let text = format!("[common]\nstate-file = FOLDER/state\n{mirage}{times}");
    let stage = Stage::begin("on_demand", &text, fine());
    stage.wait_for(" listen mirage=", 1);
    let script = |name: &str, text: &str| write(&stage.folder.file(name), text);
    let member = stage.ssh();
    let mut seconds = 0;
    let mut pass = |more| {
        stage.pass(more);
        seconds += more;
        member.real((NOON + seconds) / 60)
    };

    stage.note("a member comes, and the service is started");
    let mut session = stage.comes(1, member.real(NOON / 60));
    stage.wait_for(" open mirage=ssh service", 1);
    stage.note("it does not listen yet, and then it does");
    stage.pass_ms(100);
    let service = TcpListener::bind((stage.host, 2_222)).unwrap();
    session.write_all(b"hello").unwrap();
    stage.pass_ms(100);
    let (mut dialled, _) = service.accept().unwrap();
    dialled.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = [0; 5];
    dialled.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello");
    stage.note("the service hangs up, and a minute later it is closed");
    drop(dialled);
    assert_closed(&mut session);
    stage.leaves(session);
    drop(service);
    pass(59);
    stage.note("now");
    let real = pass(1);
    stage.wait_for(" shut mirage=ssh service", 1);

    stage.note("it is started, and never listens");
    let mut session = stage.comes(2, real);
    stage.wait_for(" open mirage=ssh service", 2);
    let _ = pass(9);
    stage.note("now");
    pass(1);
    stage.wait_for(" close mirage=", 2);
    assert_closed(&mut session);
    stage.note("what closes it fails, and is tried again after 1, 2 and 4 seconds");
    script("close.sh", BROKEN);
    pass(60);
    for (count, pause) in [(1, 1), (2, 2)] {
        stage.wait_for(" close-command: ", count);
        pass(pause);
    }
    stage.wait_for(" close-command: ", 3);
    script("close.sh", FINE);
    let real = pass(4);
    stage.wait_for(" shut mirage=ssh service", 2);

    stage.note("it can't be started");
    script("open.sh", BROKEN);
    let mut session = stage.comes(3, real);
    stage.wait_for(" close mirage=", 3);
    assert_closed(&mut session);
    stage.end();
}

#[test]
fn commands_for_an_address() {
    let mirage = SSH.replace("forward = SERVICE", "door = command") + COMMANDS;
    let text = format!("[common]\nstate-file = FOLDER/state\n{mirage}open-timeout = 30s\n");
    let stage = Stage::begin("command", &text, fine());
    stage.wait_for(" listen mirage=", 1);
    let script = |name: &str, text: &str| write(&stage.folder.file(name), text);
    let real = stage.ssh().real(NOON / 60);

    stage.note("a member comes, waits while the command runs, and is let go when it has ended");
    let mut guest = stage.comes(1, real);
    stage.wait_for(" open mirage=ssh source=127.1.0.1 ", 1);
    assert_closed(&mut guest);
    stage.note("and once more 20 seconds later: it stays open for longer");
    stage.pass(20);
    assert_closed(&mut stage.comes(1, real));
    stage.note("what was open until now stays");
    stage.pass(10);
    stage.note("what opens it for another fails");
    script("open.sh", BROKEN);
    let mut guest = stage.comes(2, real);
    stage.wait_for(" open-command: ", 1);
    assert_closed(&mut guest);
    stage.note("what closes it fails, and is tried again a second later");
    script("close.sh", BROKEN);
    stage.pass(20);
    stage.wait_for(" close-command: ", 1);
    script("close.sh", FINE);
    stage.pass(1);
    stage.wait_for(" shut mirage=ssh source=127.1.0.1", 1);
    stage.note("two more");
    script("open.sh", FINE);
    let real = stage.ssh().real(NOON / 60 + 1);
    for number in [3, 4] {
        let mut guest = stage.comes(number, real);
        let line = format!(" open mirage=ssh source=127.1.0.{number} ");
        stage.wait_for(&line, 1);
        assert_closed(&mut guest);
        stage.pass(5);
    }
    let journal = fs::read_to_string(stage.folder.file("state.open")).unwrap();
    let journal = journal.replace(stage.folder.0.to_str().unwrap(), "FOLDER");
    stage.pass(20);
    stage.wait_for(" shut mirage=ssh source=127.1.0.3", 1);
    stage.note("the other's time is not over, but the daemon ends");
    stage.end();

    let mut setup = fine();
    setup.unix = NOON + 70;
    setup.files.push(("state.open", journal));
    let stage = Stage::begin("journal", &text, setup);
    stage.wait_for(" listen mirage=", 1);
    stage.note("what a daemon that was killed had open is closed when it would have been");
    stage.pass(11);
    stage.wait_for(" shut mirage=ssh source=127.1.0.3", 1);
    stage.pass(5);
    stage.wait_for(" shut mirage=ssh source=127.1.0.4", 1);
    stage.end();
}

#[test]
fn a_program_for_each_visitor() {
    let text = "[common]\n".to_owned() + &SSH.replace("forward = SERVICE", "exec = /bin/cat");
    let stage = Stage::start("exec", &text);
    let real = stage.ssh().real(NOON / 60);
    stage.note("a member comes, and leaves after ten seconds");
    let mut session = stage.comes(1, real);
    assert_echo(&mut session, "in");
    stage.pass(10);
    stage.leaves(session);
    stage.note("the program is not there");
    stage.reload(&text.replace("/bin/cat", "/nonexistent/cat"));
    assert_closed(&mut stage.comes(2, real));
    stage.end();
}

/// The sets of a mirage.
fn sets(of: &str) -> String {
    format!(
        "add table inet t\n\
         add set inet t {of}4 {{ type ipv4_addr; flags timeout; }}\n\
         add set inet t {of}6 {{ type ipv6_addr; flags timeout; }}\n"
    )
}

/// Elements have an hour in the kernel, whose clock is not the story's.
#[test]
fn elements_of_sets() {
    with_firewall(|| {
        let door = |set: &str| format!("door = nft\nopen-set = inet/t/{set}\nopen-timeout = 1h");
        let good = SSH.replace("forward = SERVICE", &door("good"));
        let bad = SSH.replace("forward = SERVICE", &door("bad"));
        let bad = bad
            .replace("-ssh", "-bad")
            .replace("10000-10999", "20000-20999");
        load(&sets("good"));
        let stage = Stage::start("nft", &format!("[common]\n{good}{bad}"));
        let ssh = stage.ssh().real(NOON / 60);
        let other = stage.member("bad", (20_000, 20_999), DECOYS);
        let other = other.real(NOON / 60);

        stage.note("a member comes, and is let go when the element is in the set");
        assert_closed(&mut stage.comes(1, ssh));
        stage.note("a set that is not there");
        let mut guest = stage.comes(2, other);
        stage.note("the other set takes one meanwhile");
        assert_closed(&mut stage.comes(3, ssh));
        stage.pass(10);
        stage.note("the set is there again");
        load(&sets("bad"));
        stage.pass(1);
        assert_closed(&mut guest);
        stage.note("somebody empties a set");
        load("flush set inet t good4\n");
        stage.pass(1);
        stage.note("somebody empties the firewall, and loads its sets again");
        load("flush ruleset\n");
        stage.pass(1);
        load(&(sets("good") + &sets("bad")));
        stage.pass(1);
        stage.note("elements end by themselves");
        stage.pass(3_599);
        stage.wait_for(" shut ", 3);
        stage.note("a set that is not there for as long as the element would have been in it");
        load("flush ruleset\n");
        let other = stage.member("bad", (20_000, 20_999), DECOYS);
        let mut guest = stage.comes(4, other.real((NOON + 3_612) / 60));
        stage.pass(3_600);
        assert_closed(&mut guest);
        stage.end();
    });
}
