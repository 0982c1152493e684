//! What happens between a visitor who is in and the hidden service: every byte arrives, every end is
//! passed on, and nobody can hold up the others.

use crate::common::*;
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const RANGE: (u16, u16) = (10_000, 10_999);

/// A daemon before a service that hands its connections to the test.
struct Setting {
    daemon: Daemon,
    member: Member,
    service: TcpListener,
}

fn start(more: &str) -> Setting {
    let host = own_address();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = config(host, service.local_addr().unwrap(), "") + more;
    Setting {
        daemon: Daemon::start(host, &text),
        member: Member::new(host, RANGE),
        service,
    }
}

impl Setting {
    /// Both ends of a new session.
    fn session(&self, number: u16) -> (TcpStream, TcpStream) {
        let client = self.member.enter(visitor(number));
        let (service, _) = self.service.accept().unwrap();
        service.set_read_timeout(Some(PATIENCE)).unwrap();
        service.set_write_timeout(Some(PATIENCE)).unwrap();
        (client, service)
    }
}

/// Bytes that tell where they belong.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|byte| (byte * 7 + byte / 251) as u8)
        .collect()
}

fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn a_half_close_is_passed_on_and_the_other_way_runs_on() {
    let setting = start("");
    for swap in [false, true] {
        let (client, service) = setting.session(1);
        let (mut first, mut second) = if swap {
            (service, client)
        } else {
            (client, service)
        };
        first.write_all(b"my last word").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut second), b"my last word");
        second.write_all(&pattern(300_000)).unwrap();
        let mut half = vec![0; 150_000];
        first.read_exact(&mut half).unwrap();
        second.write_all(b"and mine").unwrap();
        drop(second);
        let rest = read_all(&mut first);
        assert!(rest.ends_with(b"and mine"));
        assert_eq!(rest.len(), 150_000 + 8);
    }
    let line = setting.daemon.wait_for_lines(" close ", 2).pop().unwrap();
    assert!(line.contains(" bytes-in=300008 bytes-out=12 "), "{line}");
}

#[test]
fn bulk_arrives_whole_both_ways_at_once() {
    let setting = start("");
    let (client, service) = setting.session(1);
    let sent = pattern(20_000_000);
    let ends = [
        (client.try_clone().unwrap(), client),
        (service.try_clone().unwrap(), service),
    ];
    let readers: Vec<_> = ends
        .into_iter()
        .map(|(mut to, mut from)| {
            let sent = sent.clone();
            thread::spawn(move || {
                to.write_all(&sent).unwrap();
                to.shutdown(Shutdown::Write).unwrap();
            });
            thread::spawn(move || read_all(&mut from))
        })
        .collect();
    for reader in readers {
        assert!(reader.join().unwrap() == sent);
    }
}

#[test]
fn bytes_that_came_before_the_service_took_the_dial_arrive() {
    let setting = start("");
    let mut client = setting.member.enter(visitor(1));
    client.write_all(b"early").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (mut service, _) = setting.service.accept().unwrap();
    assert_eq!(read_all(&mut service), b"early");
}

#[test]
fn a_reader_that_stops_costs_no_time_and_loses_nothing() {
    let setting = start("");
    let (mut client, mut service) = setting.session(1);
    let sent = pattern(8_000_000);
    let expected = sent.clone();
    let writer = thread::spawn(move || {
        service.write_all(&sent).unwrap();
        service
    });
    // Until everything between the two is full.
    let mut first = vec![0; 1_000_000];
    client.read_exact(&mut first).unwrap();
    let daemon = &setting.daemon;
    let mut last = daemon.ticks();
    let mut rest = 0;
    wait_for("the daemon to rest", || {
        thread::park_timeout(Duration::from_millis(100));
        let now = daemon.ticks();
        rest = if now == last { rest + 1 } else { 0 };
        last = now;
        (rest == 5).then_some(())
    });
    // Others go on meanwhile, and cost nothing but their own.
    let (mut other, mut others) = setting.session(2);
    others.write_all(b"hello").unwrap();
    let mut hello = [0; 5];
    other.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    // A pipe at most for the one who does not read, and a spare one.
    assert!(daemon.descriptors() < 100, "{}", daemon.descriptors());

    let service = writer.join();
    drop(service);
    let mut all = first;
    client.read_to_end(&mut all).unwrap();
    assert!(all == expected);
}

#[test]
fn stalled_readers_do_not_keep_the_pipes_from_others() {
    let setting = start("");
    // More stalled bulk than there are pipes, from several sources.
    let mut stalled = Vec::new();
    for number in 0..48 {
        let (client, service) = setting.session(10 + number);
        service.set_nonblocking(true).unwrap();
        let mut to = &service;
        let block = vec![b'x'; 1 << 20];
        wait_for("everything to be full", || match to.write(&block) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(()),
            other => other.map(|_| None).unwrap(),
        });
        stalled.push((client, service));
    }
    let (mut client, service) = setting.session(1);
    let sent = pattern(5_000_000);
    let expected = sent.clone();
    let writer = thread::spawn(move || (&service).write_all(&sent));
    let mut all = vec![0; expected.len()];
    client.read_exact(&mut all).unwrap();
    writer.join().unwrap().unwrap();
    assert!(all == expected);
}

#[test]
fn a_reset_is_passed_on_behind_what_was_sent_before_it() {
    let setting = start("");
    for swap in [false, true] {
        let (client, service) = setting.session(1);
        let (first, mut second) = if swap {
            (service, client)
        } else {
            (client, service)
        };
        (&first).write_all(b"before the reset").unwrap();
        let mut text = [0; 16];
        second.read_exact(&mut text).unwrap();
        SockRef::from(&first)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(first);
        let error = second.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    setting.daemon.wait_for_lines(" end=reset", 2);
}

/// A direction that waits for room reads nothing, so it has to be told of the reset otherwise.
#[test]
fn a_reset_behind_a_reader_that_stopped_ends_the_session_in_time() {
    let setting = start("");
    let mut kept = Vec::new();
    for swap in [false, true] {
        let (client, service) = setting.session(1);
        let (first, second) = if swap {
            (service, client)
        } else {
            (client, service)
        };
        first.set_nonblocking(true).unwrap();
        let mut quiet = 0;
        // Until nothing has gone for a while.
        while quiet < 20 {
            match (&first).write(&[0; 65_536]) {
                Ok(_) => quiet = 0,
                Err(_) => quiet += 1,
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        SockRef::from(&first)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(first);
        kept.push(second);
    }
    setting.daemon.wait_for_lines(" end=reset", 2);
}

/// The service reads nothing until the reset has come, so much of it is in the kernel's hands then.
#[test]
fn a_reset_does_not_overtake_what_the_kernel_has_yet_to_send() {
    let setting = start("");
    let (client, mut service) = setting.session(1);
    SockRef::from(&service)
        .set_recv_buffer_size(65_536)
        .unwrap();
    let sent = pattern(400_000);
    (&client).write_all(&sent).unwrap();
    // What the client's own kernel has not sent yet, its reset throws away. So wait for that.
    wait_for("the daemon to have it all", || {
        (unsent(&client) == 0).then_some(())
    });
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    let mut all = Vec::new();
    let error = service.read_to_end(&mut all).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(all == sent, "{} of {} bytes", all.len(), sent.len());
}

/// Bytes that the peer has not acknowledged yet (tcp(7), SIOCOUTQ).
fn unsent(stream: &TcpStream) -> i32 {
    use std::os::fd::AsRawFd;
    let mut bytes = 0;
    // SAFETY: the kernel writes one int, for which there is room.
    unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    bytes
}

#[test]
fn a_reset_after_a_half_close_is_passed_on() {
    let setting = start("");
    let (client, mut service) = setting.session(1);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut service), b"");
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    wait_for("the reset", || match service.write(b"x") {
        Err(_) => Some(()),
        Ok(_) => None,
    });
    setting.daemon.wait_for_line(" end=reset");
}

/// A read, and a splice, stop at urgent data although there is more behind it.
#[test]
fn urgent_data_holds_up_nothing_behind_it() {
    let setting = start("");
    for length in [3, 60_000] {
        let (client, mut service) = setting.session(1);
        (&client).write_all(b"in").unwrap();
        service.read_exact(&mut [0; 2]).unwrap();
        // All of it is there before the daemon looks.
        setting.daemon.signal(libc::SIGSTOP);
        (&client).write_all(&pattern(length)).unwrap();
        SockRef::from(&client).send_out_of_band(b"!").unwrap();
        (&client).write_all(b"behind it").unwrap();
        setting.daemon.signal(libc::SIGCONT);
        let mut all = vec![0; length + 9];
        service.read_exact(&mut all).unwrap();
        assert_eq!(all[..length], pattern(length));
        assert_eq!(all[length..], *b"behind it");
    }
}

#[test]
fn urgent_data_before_the_end_cuts_nothing_off() {
    let setting = start("");
    let (client, mut service) = setting.session(1);
    (&client).write_all(b"in").unwrap();
    service.read_exact(&mut [0; 2]).unwrap();
    setting.daemon.signal(libc::SIGSTOP);
    (&client).write_all(&pattern(40_000)).unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    (&client).write_all(&pattern(10_000)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    setting.daemon.signal(libc::SIGCONT);
    let all = read_all(&mut service);
    assert_eq!(all.len(), 50_000);
    assert!(all == [pattern(40_000), pattern(10_000)].concat());
}

#[test]
fn a_reset_that_a_send_meets_first_is_no_end_of_input() {
    let setting = start("");
    let (mut client, service) = setting.session(1);
    (&service).write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    setting.daemon.signal(libc::SIGSTOP);
    (&client).write_all(b"more").unwrap();
    SockRef::from(&service)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(service);
    setting.daemon.signal(libc::SIGCONT);
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_service_that_refuses_is_logged_and_bans_nobody() {
    let Setting {
        daemon,
        member,
        service,
    } = start("");
    let address = service.local_addr().unwrap();
    drop(service);
    for _ in 0..3 {
        let mut client = member.enter(visitor(1));
        assert_closed(&mut client);
    }
    let line = daemon
        .wait_for_lines(" error mirage=ssh source=127.1.0.1 ", 3)
        .pop()
        .unwrap();
    assert!(line.contains("Connection refused"), "{line} ({address})");
    assert_eq!(daemon.count(" ban "), 0);
}

#[test]
fn an_idle_session_ends_only_where_that_is_configured() {
    let setting = start("idle-timeout = 2s\n");
    let (mut client, mut service) = setting.session(1);
    for _ in 0..6 {
        // A byte now and then keeps it.
        service.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        thread::park_timeout(Duration::from_millis(500));
    }
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(service.read(&mut [0]).unwrap(), 0);
    setting.daemon.wait_for_line(" end=idle");
}

#[test]
fn sessions_are_bounded_in_all_and_per_source() {
    let host = own_address();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = "max-sessions = 5\nmax-sessions-per-source = 3";
    let text = config(host, service.local_addr().unwrap(), more);
    let setting = Setting {
        daemon: Daemon::start(host, &text),
        member: Member::new(host, RANGE),
        service,
    };
    let mut sessions: Vec<_> = (0..3).map(|_| setting.session(1)).collect();
    let mut fourth = setting.member.enter(visitor(1));
    assert_closed(&mut fourth);
    setting.daemon.wait_for_line(" full source=127.1.0.1 ");
    sessions.push(setting.session(2));
    sessions.push(setting.session(3));
    let mut sixth = setting.member.enter(visitor(4));
    assert_closed(&mut sixth);
    assert!(
        setting
            .daemon
            .wait_for_line("full source=127.1.0.4")
            .ends_with("reason=sessions")
    );
    drop(sessions.pop());
    setting.daemon.wait_for_line(" close ");
    let _ = setting.session(4);
}

#[test]
fn a_crowd_at_one_mirage_leaves_another_its_places() {
    let host = own_address();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = service.local_addr().unwrap();
    let text = config(host, to, "max-sessions = 8")
        + &format!(
            "[mirage-web]\nname = {NAME}\nsecret = {SECRET}\nforward = {to}\nrange = 11000-11999\n\
             listen-address = {host}\n{STILL}"
        );
    let setting = Setting {
        daemon: Daemon::start(host, &text),
        member: Member::new(host, RANGE),
        service,
    };
    let web = Member::new(host, (11_000, 11_999));
    let mut sessions = Vec::new();
    for number in 1..=6 {
        let client = web.enter(visitor(number));
        sessions.push((client, setting.service.accept().unwrap()));
    }
    assert_closed(&mut web.enter(visitor(7)));
    let line = setting.daemon.wait_for_line("full source=127.1.0.7");
    assert!(line.ends_with("reason=mirage"), "{line}");
    let _first = setting.session(8);
    let _second = setting.session(9);
}

#[test]
fn sessions_with_nothing_to_say_cost_two_descriptors() {
    let setting = start("");
    let (mut client, mut service) = setting.session(1);
    client.write_all(b"x").unwrap();
    service.read_exact(&mut [0]).unwrap();
    let before = setting.daemon.descriptors();
    let sessions: Vec<_> = (0..20)
        .map(|number| {
            let (mut client, mut service) = setting.session(2 + number);
            client.write_all(b"x").unwrap();
            service.read_exact(&mut [0]).unwrap();
            (client, service)
        })
        .collect();
    assert_eq!(setting.daemon.descriptors(), before + 2 * sessions.len());
}

#[test]
fn a_flow_that_never_pauses_does_not_hold_up_the_others() {
    let setting = start("");
    let (mut client, service) = setting.session(1);
    let (stop, stopped) = mpsc::channel::<()>();
    let flood = thread::spawn(move || {
        let block = vec![b'x'; 1 << 20];
        while stopped.try_recv().is_err() {
            if (&service).write_all(&block).is_err() {
                return;
            }
        }
    });
    let (flowing, has_flown) = mpsc::channel();
    let drain = thread::spawn(move || {
        let mut first = vec![0; 8 << 20];
        client.read_exact(&mut first).unwrap();
        flowing.send(()).unwrap();
        io::copy(&mut client, &mut io::sink()).unwrap();
    });
    has_flown.recv_timeout(PATIENCE).unwrap();
    let (mut other, mut others) = setting.session(2);
    for _ in 0..200 {
        other.write_all(b"ping").unwrap();
        let mut ping = [0; 4];
        others.read_exact(&mut ping).unwrap();
        others.write_all(&ping).unwrap();
        other.read_exact(&mut ping).unwrap();
    }
    stop.send(()).unwrap();
    flood.join().unwrap();
    drain.join().unwrap();
}
