//! Goal: what the real daemon answers to the commands that ask it is what has happened.

use crate::common::asking::*;
use crate::common::*;
use std::time::Instant;

/// The real daemon, with a control socket beside its configuration.
fn daemon(more: &str) -> (Daemon, Member) {
    let host = own_address();
    let folder = Folder::new();
    let control = format!("control = {}\n{more}", folder.file("control").display());
    let text = config(host, Echo::start().address, "").replace("control = none", &control);
    let daemon = Daemon::spawn_in(folder, host, &text, |_| {});
    daemon.wait_for_line(" listen mirage=");
    (daemon, Member::new(host, (10_000, 10_999)))
}

#[track_caller]
fn ask(daemon: &Daemon, words: &[&str]) -> String {
    let config = daemon.config_path();
    let outcome = shimmer(words, &["--config".as_ref(), &config]);
    assert_eq!((outcome.code, outcome.error.as_str()), (0, ""), "{words:?}");
    outcome.out
}

/// Asks until the answer has all these parts: what a visitor does is seen a moment later.
#[track_caller]
fn ask_until(daemon: &Daemon, words: &[&str], parts: &[&str]) -> String {
    wait_for(&parts.join(" and "), || {
        let answer = ask(daemon, words);
        let has_all = parts.iter().all(|part| answer.contains(part));
        has_all.then_some(answer)
    })
}

/// Touches a trap, and waits until the daemon has seen it.
#[track_caller]
fn touch(daemon: &Daemon, member: &Member, number: u16) {
    let _held = member.connect(visitor(number), member.traps()[0]).unwrap();
    daemon.wait_for_line(&format!(" ban source={} ", visitor(number)));
}

#[test]
fn the_real_daemon_tells_of_sessions_bans_and_ports() {
    let (daemon, member) = daemon("");
    let before = ask(&daemon, &["status"]);
    for part in ["sessions: 0", "bans: 0", "nothing has happened yet"] {
        assert!(before.contains(part), "{before}");
    }
    let mut session = member.enter(visitor(1));
    assert_echo(&mut session, "twelve bytes");
    touch(&daemon, &member, 2);
    let source = format!("\n{}", visitor(1));
    let parts = [
        "\nsessions: 1\n",
        &source,
        "  12   12\n",
        "\nbans: 1\n",
        "  trap  ",
        "1 accepted, 1 banned",
    ];
    let out = ask_until(&daemon, &["status"], &parts);
    let open = member.open_ports();
    let mirage = format!("ssh     port  10000-10999  ports     {}", open.len());
    assert!(out.contains(&mirage), "{out}");
    assert!(!out.contains("\nports of"), "{out}");
    assert!(out.contains("1 of 4096 bans"), "{out}");

    let out = ask(&daemon, &["status", "--ports"]);
    let minute = member.minute();
    let [last, this, next] = [minute - 1, minute, minute + 1].map(|minute| member.real(minute));
    assert!(
        out.contains(&format!(
            "\nreal (before, now, next)  {last} {this} {next}\n"
        )),
        "{out}"
    );
    for port in open {
        assert!(out.contains(&format!(" {port}")), "{out}");
    }

    let (one, ports) = (visitor(2).to_string(), ["status", "--json", "--ports"]);
    for words in [
        ["status", "--json"].as_slice(),
        &ports,
        &["status", "--json", &one],
    ] {
        let json = ask(&daemon, words);
        let read: serde_json::Result<serde_json::Value> = serde_json::from_str(&json);
        assert!(read.is_ok_and(|value| value.is_object()), "{json}");
    }
}

#[test]
fn a_ban_by_hand_holds_until_it_is_taken_off() {
    let (daemon, member) = daemon("");
    let (source, whom) = (visitor(7), visitor(7).to_string());
    let stranger = format!(
        "{whom} is not banned. It has no sessions.\n\n\
         ssh: at the real port it gets in, at any other it is held and banned.\n\n"
    );
    assert!(ask(&daemon, &["status", &whom]).starts_with(&stranger));

    assert_eq!(
        ask(&daemon, &["ban", &whom]),
        format!("{whom} is banned for 15m\n")
    );
    assert_closed(&mut member.enter(source));
    let out = ask(&daemon, &["status", &whom]);
    for part in [
        "banned by hand (shimmer ban)",
        "\nssh: whatever it does, it is turned away: it is banned.\n",
        &format!("shimmer unban {whom}\n"),
    ] {
        assert!(out.contains(part), "{out}");
    }

    let expected = format!("{whom} is no longer banned\n");
    assert_eq!(ask(&daemon, &["unban", &whom]), expected);
    assert_echo(&mut member.enter(source), "in again");
    let config = daemon.config_path();
    let outcome = shimmer(&["unban", &whom], &["--config".as_ref(), &config]);
    assert_eq!(
        outcome.complaint(1),
        format!("shimmer: {whom} was not banned")
    );
    assert_eq!(ask(&daemon, &["unban", "all"]), "nobody was banned\n");
}

#[test]
fn an_address_that_is_never_banned_is_not_banned_by_hand() {
    let (daemon, _) = daemon("allow = 127.1.0.0/16\n");
    let whom = visitor(7).to_string();
    let config = daemon.config_path();
    let outcome = shimmer(&["ban", &whom], &["--config".as_ref(), &config]);
    let complaint = outcome.complaint(1);
    assert!(
        complaint.starts_with(&format!("shimmer: {whom} is in allow")),
        "{complaint}"
    );
    let out = ask(&daemon, &["status", &whom]);
    assert!(out.contains("is held, but not banned:"), "{out}");
    assert!(out.contains("covers it."), "{out}");
}

#[test]
fn an_answer_of_many_pieces_is_whole() {
    let (daemon, member) = daemon("");
    let trap = member.traps()[0];
    for number in 0..600 {
        member.connect(visitor(number), trap).unwrap();
    }
    let json = ask_until(&daemon, &["status", "--json"], &["\"banned\":600,"]);
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read["bans"].as_array().unwrap().len(), 600);
    for number in 0..600 {
        let source = format!("\n{{\"source\":\"{}\",\"seconds\":", visitor(number));
        assert_eq!(json.matches(&source).count(), 1, "{source}");
    }
    let out = ask(&daemon, &["status"]);
    assert!(
        out.contains("\nbans: 600\n") && out.contains("\n… and 590 more ("),
        "{out}"
    );
    assert_eq!(ask(&daemon, &["unban", "all"]), "all 600 bans are lifted\n");
}

#[test]
fn a_daemon_that_hangs_or_is_killed_keeps_nobody_waiting() {
    let (mut daemon, _) = daemon("");
    let config = daemon.config_path();
    daemon.signal(libc::SIGSTOP);
    let before = Instant::now();
    let outcome = shimmer(&["status"], &["--config".as_ref(), &config]);
    assert!(before.elapsed() < PATIENCE);
    let complaint = outcome.complaint(1);
    assert!(
        complaint.ends_with(": the daemon has not answered for 5 s"),
        "{complaint}"
    );
    daemon.signal(libc::SIGCONT);
    daemon.signal(libc::SIGKILL);
    daemon.wait();
    let outcome = shimmer(&["status"], &["--config".as_ref(), &config]);
    assert!(
        outcome
            .complaint(1)
            .contains(": nobody listens; the daemon is not running")
    );
}

/// What a real daemon answers, before and after somebody has passed, and to somebody who is banned.
#[test]
fn a_silent_mirage_tells_who_is_let_in_and_no_port() {
    let (host, folder) = (own_address(), Folder::new());
    let (control, service) = (folder.file("control"), "127.0.0.1:22");
    let text = format!(
        "[common]\nstate-file = none\ncontrol = {}\n[mirage-ssh]\nsecret = {}\nforward = {service}\n\
         range = 10000-10999\nlisten-address = {host}\ngate = packet\n{}\
         [mirage-knock]\nlisten-address = {host}\ngate = knock\nsequence = 7000,8000\n\
         door = command\nopen-command = true\n",
        control.display(),
        SECRET,
        STILL
    );
    stay_clear_of_its_end();
    let daemon = Daemon::spawn_in(folder, host, &text, |_| {});
    daemon.wait_for_lines(" listen mirage=", 2);
    let ask = |words: &[&str]| {
        let words = [&["status"], words].concat();
        let outcome = shimmer(&words, &["--control".as_ref(), &control]);
        assert_eq!(outcome.error, "");
        outcome.out
    };
    let before = ask(&["--ports"]);
    assert!(!before.contains("doors: "), "{before}");
    assert!(before.contains("\nopen  -\n"), "{before}");
    assert!(!before.contains("ports of knock"), "{before}");

    let member = gates::silent_member(host, "ssh", (10_000, 10_999));
    let datagram = member.datagram(shimmer::sys::clock::unix(), None);
    gates::send_from(visitor(1), member.at(member.port()), &datagram);
    daemon.wait_for_line(" open mirage=ssh source=127.1.0.1 ");
    let after = ask(&[]);
    assert!(
        after.contains("doors: 1\nSOURCE     MIRAGE  FOR\n127.1.0.1  ssh     "),
        "{after}"
    );
    assert!(after.contains("1 passed"), "{after}");
    assert!(!after.contains(&member.port().to_string()), "{after}");

    let banned = shimmer(&["ban", "127.1.0.2"], &["--control".as_ref(), &control]);
    assert_eq!(banned.code, 0);
    let told = ask(&["127.1.0.2"]);
    let silent = "with a valid datagram it gets in, with another it is not answered.\n";
    assert!(told.contains(silent), "{told}");
    let silent = "with the right knocks it gets in, with others it is not answered.\n";
    assert!(told.contains(silent), "{told}");
}
