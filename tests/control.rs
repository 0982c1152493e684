//! The control socket: what the daemon tells of itself, to whom, and that asking holds nobody up.

use crate::common::*;
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Instant;

const RANGE: (u16, u16) = (10_000, 10_999);

struct Setting {
    daemon: Daemon,
    member: Member,
    _echo: Echo,
    socket: PathBuf,
}

fn start(common: &str) -> Setting {
    let (host, echo, folder) = (own_address(), Echo::start(), Folder::new());
    let socket = folder.file("control");
    let text = with_socket(&config(host, echo.address, common), &socket);
    let daemon = Daemon::spawn_in(folder, host, &text, |_| {});
    daemon.wait_for_line(" listen mirage=");
    Setting {
        daemon,
        member: Member::new(host, RANGE),
        _echo: echo,
        socket,
    }
}

fn with_socket(config: &str, socket: &std::path::Path) -> String {
    let line = format!("control = {}", socket.display());
    config.replace("control = none", &line)
}

/// What the daemon answers, as it comes.
#[track_caller]
fn ask(setting: &Setting, what: &str) -> String {
    let mut stream = UnixStream::connect(&setting.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{what}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[track_caller]
fn asked(setting: &Setting, what: &str) -> Value {
    let answer = ask(setting, what);
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn banned_sources(status: &Value) -> Vec<&str> {
    let bans = status["bans"].as_array().unwrap();
    bans.iter()
        .map(|ban| ban["source"].as_str().unwrap())
        .collect()
}

#[test]
fn a_ban_is_told_at_once_and_is_gone_once_lifted() {
    let setting = start("");
    let member = &setting.member;
    member.connect(visitor(1), member.traps()[0]).unwrap();
    setting.daemon.wait_for_line(" ban source=127.1.0.1 ");
    let status = asked(&setting, "status");
    assert_eq!(banned_sources(&status), ["127.1.0.1"]);
    let ban = &status["bans"][0];
    assert_eq!(ban["why"], "trap");
    assert!((890..=900).contains(&ban["seconds"].as_u64().unwrap()));
    assert_closed(&mut member.enter(visitor(1)));

    let foretold = asked(&setting, "status 127.1.0.1");
    assert_eq!(foretold["mirages"][0]["right"], "refuse");
    assert_eq!(foretold["mirages"][0]["why"], "banned");
    assert_eq!(foretold["bans"][0]["source"], "127.1.0.1");

    assert_eq!(asked(&setting, "unban 127.1.0.1")["count"], 1);
    assert!(banned_sources(&asked(&setting, "status")).is_empty());
    let line = setting.daemon.wait_for_line(" unban source=127.1.0.1 ");
    assert!(line.ends_with(" attempts=2 by=hand"), "{line}");
    assert_echo(&mut member.enter(visitor(1)), "in again");
    let foretold = asked(&setting, "status 127.1.0.1");
    assert_eq!(foretold["mirages"][0]["right"], "admit");
    assert_eq!(asked(&setting, "unban 127.1.0.1")["count"], 0);
}

#[test]
fn an_address_is_banned_by_hand_and_all_are_let_go() {
    let setting = start("allow = 127.1.9.0/24");
    assert_eq!(asked(&setting, "ban 127.1.0.1")["seconds"], 900);
    assert_eq!(asked(&setting, "ban 2001:db8:1:2::9")["ok"], "banned");
    let status = asked(&setting, "status");
    assert_eq!(banned_sources(&status), ["127.1.0.1", "2001:db8:1:2::/64"]);
    assert_eq!(status["bans"][0]["why"], "hand");
    assert_closed(&mut setting.member.enter(visitor(1)));
    setting
        .daemon
        .wait_for_line(" ban source=127.1.0.1 seconds=900 by=hand");
    let refused = asked(&setting, "ban 127.1.9.9");
    assert_eq!(
        refused["error"],
        "127.1.9.9 is in allow, and is never banned"
    );
    assert_eq!(asked(&setting, "unban all")["count"], 2);
    assert_echo(&mut setting.member.enter(visitor(1)), "in again");
}

#[test]
fn what_would_happen_is_what_happens() {
    let setting = start("allow = 127.1.9.0/24");
    let member = &setting.member;
    let foretell = |source: Ipv4Addr| {
        let answer = asked(&setting, &format!("status {source}"));
        let mirage = &answer["mirages"][0];
        let word = |key: &str| mirage[key].as_str().unwrap().to_owned();
        [word("right"), word("wrong"), word("why")]
    };
    assert_eq!(foretell(visitor(1)), ["admit", "ban", "stranger"]);
    let friend = Ipv4Addr::new(127, 1, 9, 1);
    assert_eq!(foretell(friend), ["admit", "hold", "allow"]);
    let mut session = member.enter(visitor(1));
    assert_echo(&mut session, "in");
    assert_eq!(foretell(visitor(1)), ["admit", "hold", "session"]);
    assert_eq!(asked(&setting, "status 127.1.0.1")["sessions"], 1);
    for (touch, &trap) in member.traps()[..2].iter().enumerate() {
        member.connect(visitor(1), trap).unwrap();
        let told = setting
            .daemon
            .wait_for_lines(" trap mirage=ssh ", touch + 1);
        assert_eq!(told.len(), touch + 1);
    }
    assert_eq!(foretell(visitor(1)), ["admit", "ban", "stranger"]);
    // To ask changes nothing.
    assert_eq!(setting.daemon.count(" ban "), 0);
}

#[test]
fn no_secret_and_no_port_is_told_unless_ports_are_asked_for() {
    let setting = start("");
    let member = &setting.member;
    let mut session = member.enter(visitor(1));
    assert_echo(&mut session, "in");
    let quiet = ask(&setting, "status");
    let here = format!(",\"forward\":\"{}\"", setting._echo.address);
    let mut quiet = quiet.replace(&here, "").replace("10000-10999", "");
    // Moments have digits enough for a port among them.
    let told: Value = serde_json::from_str(&quiet).unwrap();
    for moment in ["since", "now"] {
        quiet = quiet.replace(&told[moment].to_string(), "");
    }
    assert!(!quiet.contains(SECRET));
    for port in member.open_ports() {
        assert!(!quiet.contains(&port.to_string()), "{port} in {quiet}");
    }
    let told = asked(&setting, "status ports");
    let ports = |key: &str| -> Vec<u64> {
        let ports = told["mirages"][0][key].as_array().unwrap();
        ports.iter().map(|port| port.as_u64().unwrap()).collect()
    };
    let open: Vec<u64> = member.open_ports().into_iter().map(u64::from).collect();
    assert_eq!(ports("ports"), open);
    let minute = member.minute();
    let reals = (minute - 1..=minute + 1).map(|minute| u64::from(member.real(minute)));
    assert_eq!(ports("real"), reals.collect::<Vec<_>>());
}

#[test]
fn sessions_and_counters_are_told() {
    let setting = start("");
    let mut session = setting.member.enter(visitor(7));
    assert_echo(&mut session, "eleven byte");
    let status = asked(&setting, "status");
    let told = &status["sessions"][0];
    assert_eq!(told["source"], "127.1.0.7");
    assert_eq!(told["mirage"], "ssh");
    assert_eq!(
        (&told["bytes_in"], &told["bytes_out"]),
        (&11.into(), &11.into())
    );
    assert_eq!(status["counters"]["accepted"], 1);
    assert_eq!(status["mirages"][0]["gate"], "port");
    assert_eq!(status["clock"], "right");
    let places = status["places"].as_array().unwrap();
    assert!(places.iter().all(|places| places["full"] == false));
    assert_eq!(places[0]["taken"], 1);
}

#[test]
fn nonsense_gets_an_error_that_says_what_there_is() {
    let setting = start("");
    let long = "status ".repeat(200);
    for question in ["", "hello", "status a b", "ban", "unban", &long] {
        let answer = asked(&setting, question);
        assert_eq!(
            answer["error"],
            "unknown request; there are status, ban and unban"
        );
    }
    for question in ["status \"x", "ban 192.0.2", "unban 1.2.3.4/24"] {
        let answer = asked(&setting, question);
        assert_eq!(answer["error"], "not an address such as 192.0.2.7");
    }
}

#[test]
fn the_socket_is_its_owners_and_goes_with_the_daemon() {
    let mut setting = start("");
    let mode = std::fs::metadata(&setting.socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    setting.daemon.signal(libc::SIGTERM);
    assert_eq!(setting.daemon.wait().code(), Some(0));
    assert!(!setting.socket.exists());
}

#[test]
fn a_socket_that_was_left_behind_is_taken_over_and_a_live_one_is_not() {
    let mut setting = start("");
    setting.daemon.signal(libc::SIGKILL);
    setting.daemon.wait();
    assert!(setting.socket.exists());
    let text = std::fs::read_to_string(setting.daemon.config_path()).unwrap();
    let again = Daemon::start(setting.daemon.host, &text);
    assert_eq!(asked(&setting, "status")["clock"], "right");

    let other = own_address();
    let text = text.replace(&setting.daemon.host.to_string(), &other.to_string());
    let mut second = Daemon::spawn(other, &text, |_| {});
    assert_eq!(second.wait().code(), Some(1));
    second.wait_for_line("another daemon listens there; give each its own");
    drop(again);

    // A file that is something else is nobody's to delete.
    let _ = std::fs::remove_file(&setting.socket);
    write(&setting.socket, "precious");
    let mut third = Daemon::spawn(other, &text, |_| {});
    assert_eq!(third.wait().code(), Some(1));
    third.wait_for_line("is there already, and no socket");
    assert_eq!(
        std::fs::read_to_string(&setting.socket).unwrap(),
        "precious"
    );
}

#[test]
fn a_reload_moves_the_socket() {
    let mut setting = start("");
    let old = setting.socket.clone();
    let text = std::fs::read_to_string(setting.daemon.config_path()).unwrap();
    let new = setting.daemon.folder.file("elsewhere");
    let moved = text.replace(&old.display().to_string(), &new.display().to_string());
    setting.daemon.reload(&moved);
    setting.daemon.wait_for_line(" reload mirages=1 ");
    assert!(!old.exists());
    setting.socket = new;
    assert_eq!(asked(&setting, "status")["clock"], "right");

    // One that can't be had leaves the one that is there.
    let taken = setting.daemon.folder.file("taken");
    let _listener = UnixListener::bind(&taken).unwrap();
    setting
        .daemon
        .reload(&text.replace(&old.display().to_string(), &taken.display().to_string()));
    setting.daemon.wait_for_line("the old one stays");
    assert_eq!(asked(&setting, "status")["clock"], "right");
}

#[test]
fn whoever_asks_and_never_listens_holds_nobody_up() {
    let setting = start("");
    let mut session = setting.member.enter(visitor(1));
    assert_echo(&mut session, "in");
    let mute: Vec<UnixStream> = (0..30)
        .map(|_| UnixStream::connect(&setting.socket).unwrap())
        .collect();
    let deaf: Vec<UnixStream> = (0..30)
        .map(|_| {
            let mut stream = UnixStream::connect(&setting.socket).unwrap();
            stream.write_all(b"status\n").unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(asked(&setting, "status")["clock"], "right");
        assert_echo(&mut session, "still in");
    }
    drop(deaf);
    let last = UnixStream::connect(&setting.socket).unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    let begin = Instant::now();
    assert_eq!((&last).read(&mut [0; 8]).unwrap(), 0);
    assert_took(begin, 3);
    drop(mute);
    wait_for("their descriptors", || {
        (setting.daemon.descriptors() < 70).then_some(())
    });
}

/// The longest answer that there is: it is told in pieces, and the session moves on between them.
#[test]
fn a_full_list_is_told_whole() {
    let setting = start("");
    let member = &setting.member;
    let traps = member.traps();
    for number in 0..4_200u32 {
        let source = Ipv4Addr::from(0x7f05_0000 + number);
        member
            .connect(source, traps[number as usize % traps.len()])
            .unwrap();
    }
    setting.daemon.wait_for_line(" warn the ban list is full");
    let mut session = member.enter(visitor(1));
    assert_echo(&mut session, "in");
    let status = wait_for("all of them", || {
        let status = asked(&setting, "status");
        (status["counters"]["banned"].as_u64() >= Some(4_200)).then_some(status)
    });
    let mut sources = banned_sources(&status);
    assert_eq!(sources.len(), shimmer::limits::BANS);
    sources.sort_unstable();
    sources.dedup();
    assert_eq!(sources.len(), shimmer::limits::BANS);
    let full = &status["places"].as_array().unwrap()[2];
    assert_eq!((&full["of"], &full["full"]), (&"bans".into(), &true.into()));
    assert_echo(&mut session, "still in");
}

#[test]
fn a_socket_that_was_removed_is_made_again_by_a_reload() {
    let setting = start("");
    std::fs::remove_file(&setting.socket).unwrap();
    setting.daemon.signal(libc::SIGHUP);
    setting.daemon.wait_for_line(" reload mirages=1 ");
    assert_eq!(asked(&setting, "status")["clock"], "right");
}

/// Somebody listens there and never accepts: the session goes on.
#[test]
fn a_socket_whose_queue_is_full_holds_nobody_up() {
    let setting = start("");
    let mut session = setting.member.enter(visitor(1));
    assert_echo(&mut session, "in");
    let stuck = setting.daemon.folder.file("stuck");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&stuck).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _waits = UnixStream::connect(&stuck).unwrap();
    let text = std::fs::read_to_string(setting.daemon.config_path()).unwrap();
    let path = setting.socket.display().to_string();
    setting
        .daemon
        .reload(&text.replace(&path, &stuck.display().to_string()));
    setting.daemon.wait_for_line("the old one stays");
    assert_echo(&mut session, "still in");
    assert_eq!(asked(&setting, "status")["clock"], "right");
}
