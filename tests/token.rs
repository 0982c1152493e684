//! gate = token: a visitor at the real port is one like any other until it has shown that it knows
//! the secret.

use crate::common::*;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

const RANGE: (u16, u16) = (10_000, 10_999);
const GATE: &str = "gate = token\n";

struct Setting {
    daemon: Daemon,
    member: Member,
    echo: Echo,
}

fn start(more: &str) -> Setting {
    let (host, echo) = (own_address(), Echo::start());
    let text = config(host, echo.address, "") + GATE + more;
    let daemon = Daemon::start(host, &text);
    let member = Member::new(host, RANGE);
    Setting {
        daemon,
        member,
        echo,
    }
}

/// The port of now.
fn real(member: &Member) -> u16 {
    member.real(member.minute())
}

#[test]
fn a_token_lets_in_and_what_follows_it_is_the_services() {
    let Setting { daemon, member, .. } = start("");
    assert_echo(&mut member.enter_with_token(visitor(1)), "in");
    daemon.wait_for_line(" accept mirage=ssh source=127.1.0.1 ");

    // In pieces.
    let (minute, port) = (member.minute(), real(&member));
    let mut pieces = member.connect(visitor(2), port).unwrap();
    for byte in member.token(minute, port) {
        pieces.write_all(&[byte]).unwrap();
    }
    assert_echo(&mut pieces, "in");

    // All in one go, with the end of the input.
    let mut all = member.token(minute, port).to_vec();
    all.extend((0..4 << 20).map(|byte: u32| (byte * 7 + byte / 251) as u8));
    let mut stream = member.connect(visitor(3), port).unwrap();
    let mut to = stream.try_clone().unwrap();
    let sent = all.clone();
    let sender = thread::spawn(move || {
        to.write_all(&sent).unwrap();
        to.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    sender.join().unwrap();
    assert!(back == all[48..], "{} bytes came back", back.len());
    daemon.wait_for_line(" close mirage=ssh source=127.1.0.3 ");
}

#[test]
fn nothing_but_a_good_token_dials_the_service() {
    let Setting {
        daemon,
        member,
        echo,
    } = start("trap-time = 12s\n");
    let (minute, port) = (member.minute(), real(&member));
    let trap = member.traps()[0];
    let mut wrong = member.token(minute, port);
    wrong[47] ^= 1;
    let tries: [(u16, &[u8]); 6] = [
        (port, b""),
        (port, &member.token(minute, port)[..47]),
        (port, &wrong),
        (port, &member.token(minute - 1, port)),
        (port, &member.token(minute, trap)),
        (trap, &member.token(minute, trap)),
    ];
    let mut held: Vec<TcpStream> = Vec::new();
    for (number, (port, said)) in (1..).zip(tries) {
        let mut stream = member.connect(visitor(number), port).unwrap();
        stream.write_all(said).unwrap();
        held.push(stream);
    }
    for number in 1..=tries.len() {
        let line = daemon.wait_for_line(&format!(" ban source=127.1.0.{number} "));
        assert!(line.contains(" seconds=900 mirage=ssh"), "{line}");
    }
    // One look at all of them: to look at each for a while would take as long as they are held.
    assert_held(&mut held[0]);
    for stream in &mut held {
        stream.set_nonblocking(true).unwrap();
        let read = stream.read(&mut [0; 64]);
        let is_held = matches!(&read, Err(error) if error.kind() == ErrorKind::WouldBlock);
        assert!(is_held, "{read:?}");
        stream.set_nonblocking(false).unwrap();
    }
    for stream in &mut held {
        assert_closed(stream);
    }
    assert_eq!(echo.accepted(), 0);
    assert_eq!(daemon.count(" accept "), 0);
}

#[test]
fn a_banned_visitor_proves_himself_and_is_banned_no_more() {
    let Setting { daemon, member, .. } = start("");
    let mut stranger = member.connect(visitor(1), member.traps()[0]).unwrap();
    stranger.write_all(&[b'x'; 48]).unwrap();
    daemon.wait_for_line(" ban source=127.1.0.1 ");
    // A ban is not to be seen: he is held, not closed.
    let mut again = member.connect(visitor(1), real(&member)).unwrap();
    again.write_all(&[b'x'; 48]).unwrap();
    assert_held(&mut again);
    assert_eq!(daemon.count(" ban "), 1);
    assert_echo(&mut member.enter_with_token(visitor(1)), "in");
    let line = daemon.wait_for_line(" unban source=127.1.0.1 ");
    assert!(line.ends_with(" attempts=2 by=token"), "{line}");
}

#[test]
fn a_token_counts_once_and_a_reload_does_not_forget_it() {
    let Setting {
        daemon,
        member,
        echo,
    } = start("");
    let (minute, port) = (member.minute(), real(&member));
    let token = member.token(minute, port);
    let with_it = |number| {
        let mut stream = member.connect(visitor(number), port).unwrap();
        stream.write_all(&token).unwrap();
        stream
    };
    assert_echo(&mut with_it(1), "in");
    assert_held(&mut with_it(2));
    daemon.wait_for_line(" ban source=127.1.0.2 ");
    let text = std::fs::read_to_string(daemon.config_path()).unwrap();
    // Its section has another name now, and its secret is the same.
    daemon.reload(&(text.replace("[mirage-ssh]", "[mirage-home]") + "name = ssh\n"));
    daemon.wait_for_line(" reload mirages=1 dropped=1");
    assert_held(&mut with_it(3));
    daemon.wait_for_line(" ban source=127.1.0.3 ");
    // Gone, and back again.
    daemon.reload(&text.replace(SECRET, "quite another secret 5678"));
    daemon.wait_for_lines(" reload mirages=1 ", 2);
    daemon.reload(&text);
    daemon.wait_for_lines(" reload mirages=1 ", 3);
    assert_held(&mut with_it(4));
    daemon.wait_for_line(" ban source=127.1.0.4 ");
    assert_eq!(echo.accepted(), 1);
    assert_echo(&mut member.enter_with_token(visitor(5)), "in");
}

#[test]
fn a_source_that_fills_the_memory_is_refused_and_nobody_else() {
    let Setting {
        daemon,
        member,
        echo,
    } = start("");
    let share = shimmer::limits::NONCES / shimmer::limits::NONCE_SHARES;
    for _ in 0..share {
        assert_echo(&mut member.enter_with_token(visitor(1)), "x");
    }
    assert_held(&mut member.enter_with_token(visitor(1)));
    // Lines that peers cause are bounded, and this one is not among them.
    let line = daemon.wait_for_line(" warn mirage=ssh source=127.1.0.1 ");
    assert!(line.contains("4096 places for used tokens"), "{line}");
    assert_echo(&mut member.enter_with_token(visitor(2)), "x");
    assert_eq!(echo.accepted(), share + 1);
    assert_eq!(daemon.count(" ban "), 0);
}

#[test]
fn a_token_that_comes_late_counts_no_more() {
    let Setting {
        daemon,
        member,
        echo,
    } = start("trap-time = 4s\n");
    let (minute, port) = (member.minute(), real(&member));
    let mut late = member.connect(visitor(1), port).unwrap();
    let token = member.token(minute, port);
    late.write_all(&token[..40]).unwrap();
    daemon.wait_for_line(" ban source=127.1.0.1 ");
    late.write_all(&token[40..]).unwrap();
    assert_closed(&mut late);
    assert_eq!(echo.accepted(), 0);
}

#[test]
fn a_member_whose_clock_is_two_minutes_off_is_held_and_not_banned() {
    stay_clear_of_its_end();
    let (host, echo) = (own_address(), Echo::start());
    let off_by = |member: &Member, off| member.minute().wrapping_add_signed(off);
    // A range in which the ports of both minutes are open now, among others.
    let is_open = |member: &Member| {
        let open = member.open_ports();
        [2, -3].map(|off| open.contains(&member.real(off_by(member, off)))) == [true; 2]
    };
    let member = (10_047..10_147)
        .map(|high| Member::new(host, (10_000, high)))
        .find(is_open)
        .expect("one of a hundred ranges");
    let range = format!("range = 10000-{}", member.pattern.range().high());
    let text = config(host, echo.address, "").replace("range = 10000-10999", &range);
    let daemon = Daemon::start(host, &(text + GATE));
    for (number, off) in [(1, 2), (2, -3)] {
        let minute = off_by(&member, off);
        let port = member.real(minute);
        let mut early = member.token(minute, port).to_vec();
        early.push(b'x');
        let mut stream = member.connect(visitor(number), port).unwrap();
        stream.write_all(&early).unwrap();
        daemon.wait_for_line(&format!(" trap mirage=ssh source=127.1.0.{number} "));
    }
    assert_eq!(daemon.count(" ban "), 0);
}

#[test]
fn outside_from_no_token_is_good() {
    let Setting {
        daemon,
        member,
        echo,
    } = start("from = 127.1.8.0/24\n");
    let inside = [127, 1, 8, 1].into();
    assert_echo(&mut member.enter_with_token(inside), "in");
    assert_held(&mut member.enter_with_token(visitor(1)));
    daemon.wait_for_line(" ban source=127.1.0.1 ");
    assert_eq!(echo.accepted(), 1);
}

#[test]
fn the_ban_holds_at_the_other_mirages() {
    let (host, echo) = (own_address(), Echo::start());
    let service = echo.address;
    let text = config(host, service, "")
        + GATE
        + &format!(
            "[mirage-web]\nname = {NAME}\nsecret = {SECRET}\nrange = 11000-11999\n\
             forward = {service}\nlisten-address = {host}\n{STILL}"
        );
    let daemon = Daemon::start(host, &text);
    daemon.wait_for_line(" listen mirage=web ");
    let (member, web) = (
        Member::new(host, RANGE),
        Member::new(host, (11_000, 11_999)),
    );
    let mut mute = member.connect(visitor(1), real(&member)).unwrap();
    mute.shutdown(Shutdown::Write).unwrap();
    daemon.wait_for_line(" ban source=127.1.0.1 ");
    assert_held(&mut mute);
    assert_closed(&mut web.enter(visitor(1)));
    assert_echo(&mut member.enter_with_token(visitor(1)), "in");
    assert_echo(&mut web.enter(visitor(1)), "in again");
}

/// More mute connections than there are places, from one source and from many.
#[test]
fn strangers_with_many_connections_keep_nobody_out() {
    let Setting { daemon, member, .. } = start("");
    let port = real(&member);
    let mut mute: Vec<TcpStream> = Vec::new();
    for number in 0..600 {
        mute.push(member.connect(visitor(1_000), port).unwrap());
        mute.push(member.connect(visitor(2_000 + number), port).unwrap());
        if number % 50 == 0 {
            assert_echo(&mut member.enter_with_token(visitor(1)), "in");
        }
    }
    assert!(daemon.descriptors() < 400, "{}", daemon.descriptors());
    assert_echo(&mut member.enter_with_token(visitor(2)), "in");
}

/// A mirage of another gate has the same name and secret, and comes first in the file.
#[test]
fn a_namesake_that_takes_no_tokens_does_not_take_their_memory() {
    let (host, echo) = (own_address(), Echo::start());
    let service = echo.address;
    let text = config(host, service, "") + GATE;
    let daemon = Daemon::start(host, &text);
    let member = Member::new(host, RANGE);
    let (minute, port) = (member.minute(), real(&member));
    let token = member.token(minute, port);
    let with_it = |number| {
        let mut stream = member.connect(visitor(number), port).unwrap();
        stream.write_all(&token).unwrap();
        stream
    };
    assert_echo(&mut with_it(1), "in");
    let namesake = format!(
        "[mirage-first]\nname = {NAME}\nsecret = {SECRET}\nrange = 11000-11999\n\
         forward = {service}\nlisten-address = {host}\n{STILL}[mirage-ssh]"
    );
    daemon.reload(&text.replace("[mirage-ssh]", &namesake));
    daemon.wait_for_line(" reload mirages=2 ");
    assert_held(&mut with_it(2));
    assert_eq!(echo.accepted(), 1);
}
