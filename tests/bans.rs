//! A stranger touches a trap: who is shut out, from what, for how long, and what outlives a kill.

use crate::common::*;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::process::Command;

const RANGE: (u16, u16) = (10_000, 10_999);

struct Setting {
    daemon: Daemon,
    member: Member,
    echo: Echo,
}

fn start(more: &str) -> Setting {
    let (host, echo) = (own_address(), Echo::start());
    let daemon = Daemon::start(host, &config(host, echo.address, more));
    let member = Member::new(host, RANGE);
    Setting {
        daemon,
        member,
        echo,
    }
}

/// Whether a source is let in by the real port of now.
fn gets_in(member: &Member, source: Ipv4Addr) -> bool {
    let mut stream = member.enter(source);
    let said = stream.write_all(b"x").and_then(|()| stream.read(&mut [0]));
    matches!(said, Ok(1))
}

#[test]
fn a_trap_holds_the_first_touch_mute_and_bans() {
    let Setting {
        daemon,
        member,
        echo,
    } = start("");
    let trap = member.traps()[0];
    let mut held = member.connect(visitor(1), trap).unwrap();
    let line = daemon.wait_for_line(" ban source=127.1.0.1");
    assert!(
        line.contains(&format!(" port={trap} seconds=900")),
        "{line}"
    );
    held.write_all(&[b'x'; 10_000]).unwrap();
    assert_held(&mut held);

    let other = member.traps()[1];
    let mut further = member.connect(visitor(1), other).unwrap();
    assert_closed(&mut further);
    let mut real = member.enter(visitor(1));
    assert_closed(&mut real);
    assert_held(&mut held);
    assert_eq!(echo.accepted(), 0);
    assert!(gets_in(&member, visitor(2)));
}

#[test]
fn a_trap_lets_go_after_its_time() {
    let Setting { daemon, member, .. } = {
        let (host, echo) = (own_address(), Echo::start());
        let text = config(host, echo.address, "") + "trap-time = 3s\n";
        let daemon = Daemon::start(host, &text);
        let member = Member::new(host, RANGE);
        Setting {
            daemon,
            member,
            echo,
        }
    };
    let before = daemon.descriptors();
    let mut half = member.connect(visitor(1), member.traps()[0]).unwrap();
    half.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    // A last word changes nothing: it is held like the others.
    half.shutdown(Shutdown::Write).unwrap();
    assert_held(&mut half);
    assert_eq!(half.read(&mut [0; 8]).unwrap(), 0);
    wait_for("the place to be free", || {
        (daemon.descriptors() == before).then_some(())
    });
}

#[test]
fn a_ban_ends_and_each_touch_of_a_trap_starts_it_again() {
    let Setting { daemon, member, .. } = start("ban-time = 3s");
    let traps = member.traps();
    let begin = std::time::Instant::now();
    member.connect(visitor(1), traps[0]).unwrap();
    daemon.wait_for_line(" ban source=127.1.0.1");
    // Touch it again and again until well after the first ban would have ended.
    while begin.elapsed().as_secs() < 5 {
        member.connect(visitor(1), traps[1]).unwrap();
        assert_eq!(daemon.count(" unban "), 0);
        std::thread::park_timeout(std::time::Duration::from_millis(200));
    }
    let line = daemon.wait_for_line(" unban source=127.1.0.1 attempts=");
    let attempts: usize = line.rsplit_once('=').unwrap().1.parse().unwrap();
    assert!(attempts > 10, "{line}");
    assert!(gets_in(&member, visitor(1)));
}

#[test]
fn the_real_port_renews_no_ban() {
    let Setting { daemon, member, .. } = start("ban-time = 4s");
    member.connect(visitor(1), member.traps()[0]).unwrap();
    let begin = std::time::Instant::now();
    // As a member's autossh does it. If these renewed the ban, it would never end.
    wait_for("the ban's end", || {
        gets_in(&member, visitor(1)).then_some(())
    });
    assert!(begin.elapsed().as_secs() < 20);
    assert_eq!(daemon.count(" ban "), 1);
}

#[test]
fn allowed_networks_are_held_and_never_banned() {
    let Setting { daemon, member, .. } = start("allow = 127.1.7.0/24, 2001:db8::/32");
    let friend = Ipv4Addr::new(127, 1, 7, 9);
    let mut held = member.connect(friend, member.traps()[0]).unwrap();
    daemon.wait_for_line(" trap mirage=ssh source=127.1.7.9 ");
    assert_held(&mut held);
    assert!(gets_in(&member, friend));
    assert_eq!(daemon.count(" ban "), 0);
}

#[test]
fn outside_from_every_port_is_a_trap() {
    let (host, echo) = (own_address(), Echo::start());
    let text = config(host, echo.address, "") + "from = 127.1.8.0/24\n";
    let daemon = Daemon::start(host, &text);
    let member = Member::new(host, RANGE);
    assert!(gets_in(&member, Ipv4Addr::new(127, 1, 8, 1)));
    let mut outsider = member.enter(visitor(1));
    daemon.wait_for_line(" ban source=127.1.0.1");
    assert_held(&mut outsider);
    assert_eq!(echo.accepted(), 1);
}

#[test]
fn a_live_session_is_forgiven_two_touches_and_never_cut() {
    let Setting { daemon, member, .. } = start("");
    let traps = member.traps();
    let mut session = member.enter(visitor(1));
    assert_echo(&mut session, "in");
    for (touch, &trap) in traps[..2].iter().enumerate() {
        let mut held = member.connect(visitor(1), trap).unwrap();
        daemon.wait_for_lines(" trap mirage=ssh source=127.1.0.1 ", touch + 1);
        assert_held(&mut held);
    }
    assert_eq!(daemon.count(" ban "), 0);
    assert!(gets_in(&member, visitor(1)));
    member.connect(visitor(1), traps[2]).unwrap();
    daemon.wait_for_line(" ban source=127.1.0.1");
    assert!(!gets_in(&member, visitor(1)));
    assert_echo(&mut session, "still in");
}

#[test]
fn bans_outlive_a_restart() {
    let (host, echo) = (own_address(), Echo::start());
    let state = Folder::new();
    let more = format!("state-file = {}", state.file("state").display());
    let text = config(host, echo.address, "").replace("state-file = none", &more);
    let mut first = Daemon::start(host, &text);
    let member = Member::new(host, RANGE);
    member.connect(visitor(1), member.traps()[0]).unwrap();
    first.wait_for_line(" ban source=127.1.0.1");
    first.signal(libc::SIGTERM);
    assert_eq!(first.wait().code(), Some(0));

    let second = Daemon::start(host, &text);
    second.wait_for_line(" state bans=1");
    assert!(!gets_in(&member, visitor(1)));
    assert!(gets_in(&member, visitor(2)));
}

#[test]
fn another_state_file_gets_the_bans_that_are_known_and_brings_its_own() {
    let (host, echo) = (own_address(), Echo::start());
    let folder = Folder::new();
    let text = |name: &str| {
        let more = format!("state-file = {}", folder.file(name).display());
        config(host, echo.address, "").replace("state-file = none", &more)
    };
    let now = shimmer::sys::clock::unix();
    let there = format!("shimmer-state 1\nban 127.1.0.9 {now} 1\nend 1\n");
    write(&folder.file("new"), &there);
    let mut daemon = Daemon::start(host, &text("old"));
    let member = Member::new(host, RANGE);
    member.connect(visitor(1), member.traps()[0]).unwrap();
    daemon.wait_for_line(" ban source=127.1.0.1");
    daemon.reload(&text("new"));
    daemon.wait_for_line(" state bans=2");
    assert!(!gets_in(&member, visitor(9)));
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    let written = std::fs::read_to_string(folder.file("new")).unwrap();
    assert!(
        written.contains("ban 127.1.0.1 ") && written.contains("ban 127.1.0.9 "),
        "{written}"
    );
}

#[test]
fn a_second_daemon_on_one_state_file_is_refused() {
    let (host, echo) = (own_address(), Echo::start());
    let state = Folder::new();
    let more = format!("state-file = {}", state.file("state").display());
    let text = config(host, echo.address, "").replace("state-file = none", &more);
    let _first = Daemon::start(host, &text);
    let other = own_address();
    let mut second = Daemon::spawn(
        other,
        &text.replace(&host.to_string(), &other.to_string()),
        |_| {},
    );
    assert_eq!(second.wait().code(), Some(1));
    second.wait_for_line("state.lock: another daemon uses this state file");
    assert_eq!(listening(other).len(), 0);
}

#[test]
fn a_damaged_state_file_is_set_aside_and_an_empty_one_is_fine() {
    for (content, is_damaged) in [
        ("", false),
        ("nonsense\n", true),
        ("shimmer-state 1\nban x", true),
    ] {
        let (host, echo) = (own_address(), Echo::start());
        let state = Folder::new();
        let path = state.file("state");
        write(&path, content);
        let more = format!("state-file = {}", path.display());
        let text = config(host, echo.address, "").replace("state-file = none", &more);
        let daemon = Daemon::start(host, &text);
        let aside = state.file("state.damaged");
        assert_eq!(aside.exists(), is_damaged, "{content:?}");
        assert_eq!(daemon.count("warn state "), usize::from(is_damaged));
        if is_damaged {
            assert_eq!(std::fs::read_to_string(aside).unwrap(), content);
        }
    }
}

#[test]
fn a_state_file_that_cannot_be_made_stops_the_daemon_only_where_it_was_asked_for() {
    let (host, echo) = (own_address(), Echo::start());
    let text = config(host, echo.address, "")
        .replace("state-file = none", "state-file = /proc/none/state");
    let mut daemon = Daemon::spawn(host, &text, |_| {});
    assert_eq!(daemon.wait().code(), Some(1));
    daemon.wait_for_line("state-file: /proc/none/state.lock: ");
}

#[test]
fn all_strangers_together_write_a_hundred_lines_at_most() {
    let Setting { daemon, member, .. } = start("");
    let begin = std::time::Instant::now();
    let traps = member.traps();
    for number in 0..400 {
        member
            .connect(visitor(number), traps[usize::from(number) % traps.len()])
            .unwrap();
    }
    let line = daemon.wait_for_line(" warn left-out=");
    let windows = begin.elapsed().as_secs() as usize / 10 + 1;
    let bans = daemon.count(" ban ");
    assert!(
        bans >= 80 && bans <= 80 * windows,
        "{bans} lines in {windows} windows"
    );
    assert!(line.contains(" seconds=10"), "{line}");
}

/// More sources than the list has places, each with a byte to throw away.
#[test]
fn a_full_list_is_said_once_and_strangers_do_not_grow_the_daemon() {
    let Setting { daemon, member, .. } = start("");
    let traps = member.traps();
    let come = |from: u32, to: u32| {
        for number in from..to {
            let source = Ipv4Addr::from(0x7f04_0000 + number);
            let mut stream = member
                .connect(source, traps[number as usize % traps.len()])
                .unwrap();
            let _ = stream.write_all(b"x");
        }
    };
    // Every place has been used once.
    come(0, 4_200);
    daemon.wait_for_line(" warn the ban list is full, bans=4096");
    let before = daemon.memory_kib();
    come(4_200, 9_000);
    let grown = daemon.memory_kib().saturating_sub(before);
    assert!(grown < 512, "{grown} KiB");
    assert_eq!(daemon.count(" warn the ban list is full"), 1);
    assert!(gets_in(&member, visitor(1)));
}

#[test]
fn no_line_of_the_log_has_the_secret_or_a_port_to_come() {
    let Setting { daemon, member, .. } = start("log-level = debug");
    member.connect(visitor(1), member.traps()[0]).unwrap();
    assert!(gets_in(&member, visitor(2)));
    daemon.signal(libc::SIGHUP);
    daemon.wait_for_line(" reload ");
    let minute = member.minute();
    let next = format!("port={}", member.real(minute + 1));
    // One day in a thousand it is the port of today as well.
    let is_to_come = member.real(minute + 1) != member.real(minute);
    for line in daemon.log() {
        assert!(!line.contains(SECRET), "{line}");
        assert!(!is_to_come || !line.contains(&next), "{line}");
    }
}

#[test]
fn fail2ban_finds_the_address_in_a_ban_line() {
    let Setting { daemon, member, .. } = start("");
    member.connect(visitor(1), member.traps()[0]).unwrap();
    let line = daemon.wait_for_line(" ban source=127.1.0.1");
    let has_fail2ban = Command::new("fail2ban-regex")
        .arg("--version")
        .output()
        .is_ok();
    // tests/real/run installs it; here it is used where it is.
    if has_fail2ban {
        let filter = r"^\s*ban source=<HOST> ";
        let found = Command::new("fail2ban-regex")
            .args([&line, filter])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(text.contains("1 matched"), "{text}");
    }
}
