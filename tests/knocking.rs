//! Goal: `shimmer knock` and `shimmer connect` show a silent gate what it wants to see, and so may a plain knocker.

use crate::common::gates::*;
use crate::common::silent::*;
use crate::common::*;
use shimmer::proto::scheme::knock::Protocols;
use shimmer::proto::scheme::packet;
use shimmer::sys::clock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

fn fixed() -> SilentGate {
    let (host, echo) = (own_address(), Echo::start());
    let shared = "gate = knock\nsequence = 7000:tcp,8000:udp,9000\nclose-sequence = 9000,7000\n";
    let server = "open-command = true %IP%\nclose-command = true\nrange = 6990-7010\n";
    let shared = format!("{shared}door = command\n");
    SilentGate::with(host, echo, &shared, server)
}

#[test]
fn knocking_opens_and_runs_the_command_after_it() {
    apart(|| {
        for protocols in ["tcp", "udp", "mixed"] {
            let gate = format!("gate = knock\nprotocols = {protocols}\n");
            let setting = SilentGate::new(&gate, "");
            let port = setting.member.port().to_string();
            let host = setting.member.host.to_string();
            let output = setting.knock(&[NAME, "--", "sh", "-c", "echo $1; exit 7", "sh", &port]);
            assert_eq!(output.status.code(), Some(7));
            assert_eq!(String::from_utf8(output.stdout).unwrap(), port + "\n");
            setting.wait_for("open", LAPTOP);
            assert_echo(&mut setting.member.enter(LAPTOP), "in");
            // With the host as an argument, and a command that does not exist.
            let output = setting.knock(&[NAME, &host, "--", "/nonexistent/ssh", "x"]);
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("/nonexistent/ssh: "), "{said}");
            assert_eq!(setting.opened(LAPTOP), 1, "it was renewed");
        }
    });
}

#[test]
fn print_shows_what_would_be_sent_and_sends_nothing() {
    apart(|| {
        let setting = SilentGate::new("gate = knock\nprotocols = mixed\nknocks = 4\n", "");
        let member = &setting.member;
        let shown = |minute: u64| -> String {
            let hops = member.sequence(minute, 4, Protocols::Mixed);
            hops.iter().map(|hop| format!("{hop}\n")).collect()
        };
        let minute = member.minute();
        assert_eq!(setting.knocks(&[NAME, "--print"]), shown(minute));
        assert_eq!(
            setting.knocks(&[NAME, "--print", "--next"]),
            shown(minute + 1)
        );
        assert_eq!(setting.keeper.counter("passed"), 0);

        let setting = fixed();
        let shown = setting.knocks(&[NAME, "--print"]);
        assert_eq!(shown, "7000:tcp\n8000:udp\n9000:tcp\n");
        let shown = setting.knocks(&[NAME, "--print", "--close"]);
        assert_eq!(shown, "9000:tcp\n7000:tcp\n");

        let setting = SilentGate::new("gate = packet\n", "");
        let shown = setting.knocks(&[NAME, "--print", "--address", "2001:db8::7"]);
        let (port, dump) = shown.split_once('\n').unwrap();
        assert_eq!(port, format!("{}:udp", setting.member.port()));
        let bytes: Vec<u8> = dump
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let bytes: [u8; packet::PACKET] = bytes.try_into().unwrap();
        let content = packet::open(&setting.member.key, &bytes).unwrap();
        assert_eq!(content.address, Some("2001:db8::7".parse().unwrap()));
        assert!(content.unix.abs_diff(clock::unix()) < 60);
        assert!(dump.lines().all(|line| line.len() <= 80), "{dump}");
        assert_eq!(setting.keeper.counter("passed"), 0);
    });
}

#[test]
fn the_next_minutes_sequence_opens_after_this_ones_was_used() {
    apart(|| {
        let setting = SilentGate::new("gate = knock\nonce = yes\n", "open-timeout = 1s\n");
        setting.knocks(&[NAME]);
        setting.wait_for("shut", LAPTOP);
        // Another visitor: from the same source, knocks count as an echo of the network for a while.
        setting.keeper.knock(visitor(1), &setting.sequence(0));
        setting.wait_for("used", visitor(1));
        assert_eq!(setting.opened(LAPTOP), 1);
        setting.knocks(&[NAME, "--next"]);
        let open = format!(" open mirage={NAME} source={LAPTOP} ");
        setting.keeper.daemon.wait_for_lines(&open, 2);
    });
}

/// Each sequence counts once, and there are three.
#[test]
fn connecting_knocks_and_tries_the_other_minutes() {
    apart(|| {
        let setting = SilentGate::new("gate = knock\nonce = yes\n", "open-timeout = 1s\n");
        let shut = format!(" shut mirage={NAME} source={LAPTOP}");
        for count in 1..=3 {
            assert_eq!(setting.connect(), Ok(b"hello".to_vec()), "{count}");
            setting.keeper.daemon.wait_for_lines(&shut, count);
        }
        let said = setting.connect().unwrap_err();
        assert!(
            said.contains("refused the ports") || said.contains("did not answer"),
            "{said}"
        );
        assert_eq!(setting.echo.accepted(), 3);
    });
}

#[test]
fn connecting_works_at_each_silent_gate() {
    apart(|| {
        for gate in [
            "gate = knock\nprotocols = udp\nknocks = 6\n",
            "gate = knock\nsequence = 7000,8000:udp\n",
            "gate = packet\n",
            "gate = packet\npacket-port = 62201\n",
            "gate = packet\npacket-address = inside\n",
        ] {
            let setting = SilentGate::new(gate, "");
            assert_eq!(setting.connect(), Ok(b"hello".to_vec()), "{gate}");
            setting.wait_for("open", LAPTOP);
        }
    });
}

#[test]
fn a_plain_knocker_opens_a_sequence_and_closes_it() {
    apart(|| {
        let setting = fixed();
        let host = setting.member.host.to_string();
        setting.knocks(&[&host, "7000:tcp", "8000:udp", "9000"]);
        setting.wait_for("open", LAPTOP);
        assert_eq!(setting.keeper.doors(), ["127.0.0.1 ssh"]);
        setting.knocks(&[NAME, "--close"]);
        setting.wait_for("shut", LAPTOP);
        assert!(setting.keeper.doors().is_empty());
        setting.knocks(&[NAME]);
        let open = format!(" open mirage={NAME} source={LAPTOP} ");
        setting.keeper.daemon.wait_for_lines(&open, 2);
    });
}

#[test]
fn a_door_behind_a_token_is_open_when_the_knock_returns() {
    let (host, echo) = (own_address(), Echo::start());
    let shared = keys() + "gate = token\ndoor = command\n";
    let file = Folder::new().file("open");
    let server = format!(
        "open-command = touch {0}\nclose-command = rm {0}\n",
        file.display()
    );
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let setting = SilentGate::with(host, echo, &shared, &server);
    let seen = setting.knocks(&[NAME, "--", "ls", file.to_str().unwrap()]);
    assert_eq!(seen.trim(), file.to_str().unwrap());
    setting.wait_for("open", LAPTOP);
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn what_makes_no_sense_is_an_error_and_sends_nothing() {
    apart(|| {
        let rotating = SilentGate::new("gate = knock\n", "");
        let packet = SilentGate::new("gate = packet\n", "");
        let token = SilentGate::new("gate = token\n", "");
        let fixed = fixed();
        let host = &rotating.member.host.to_string();
        for (setting, words, code, wrong) in [
            (&rotating, &["nowhere"][..], 2, "nowhere"),
            (&rotating, &[], 2, "no mirage given"),
            (
                &rotating,
                &[NAME, "no-such-host.invalid"],
                1,
                "cannot resolve no-such-host.invalid",
            ),
            (&rotating, &[NAME, host, "more"], 2, "more"),
            (&rotating, &[NAME, "--close"], 2, "no close-sequence"),
            (
                &rotating,
                &[NAME, "--address", "192.0.2.7"],
                2,
                "goes with gate = packet",
            ),
            (&rotating, &[host, "7000", "--print"], 2, "go with a mirage"),
            (&rotating, &[host, "7000", "8000:icmp"], 2, "8000:icmp"),
            (&rotating, &[host, "8000:icmp"], 2, "8000:icmp: "),
            (&rotating, &[host, "70000"], 2, "70000: "),
            (&packet, &[NAME, "--close"], 2, "no close-sequence"),
            (
                &packet,
                &[NAME, "--next"],
                2,
                "--next goes with gate = knock",
            ),
            (
                &packet,
                &[NAME, "--address", "here"],
                2,
                "here is not an address",
            ),
            (
                &fixed,
                &[NAME, "--next"],
                2,
                "--next goes with gate = knock",
            ),
            (&token, &[NAME], 2, "shimmer connect"),
        ] {
            let output = setting.knock(words);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
            assert!(
                said.contains(wrong),
                "{words:?} has to say {wrong}, but says {said}"
            );
        }
        for setting in [&rotating, &packet, &fixed] {
            assert_eq!(setting.keeper.counter("passed"), 0);
        }
        // And there is no port that changes to connect to.
        assert!(fixed.connect().unwrap_err().contains("shimmer knock"));
    });
}

/// Somebody sends 50 SYNs a second in the member's name, at ports of the range. By the count of the source alone no
/// sequence is ever complete.
#[test]
fn forged_knocks_do_not_keep_a_member_out() {
    apart(|| {
        for protocols in ["tcp", "mixed"] {
            let gate = format!("gate = knock\nprotocols = {protocols}\n");
            let setting = SilentGate::new(&gate, "open-timeout = 1s\n");
            let host = setting.member.host;
            thread::scope(|scope| {
                // It ends when the sender is dropped, also by a panic.
                let (over, is_over) = mpsc::channel::<()>();
                let forger = scope.spawn(move || {
                    let ports = (range().0..range().1).cycle().step_by(7);
                    let mut sent = 0;
                    let pause = Duration::from_millis(20);
                    let goes_on = || is_over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout);
                    for port in ports.take_while(|_| goes_on()) {
                        send_from(LAPTOP, (host, port).into(), b"");
                        // It answers with a reset, so this takes no time.
                        let _ = connect_from(LAPTOP, (host, port).into());
                        sent += 1;
                    }
                    sent
                });
                wait_for("forged knocks", || {
                    (setting.keeper.counter("sensed") > 20).then_some(())
                });
                let shut = format!(" shut mirage={NAME} source={LAPTOP}");
                for count in 1..=5 {
                    setting.knocks(&[NAME]);
                    setting.keeper.daemon.wait_for_lines(&shut, count);
                    assert_eq!(setting.opened(LAPTOP), count, "{protocols}");
                }
                drop(over);
                assert!(forger.join().unwrap() > 100);
            });
        }
    });
}
