//! Goal: a service runs while somebody needs it, and whoever comes while it starts waits for it.

use crate::common::driven::{DrivenDaemon, NOON, World};
use crate::common::gates::*;
use crate::common::*;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// A mirage at gate = port whose service is started for it.
struct OnDemand {
    keeper: Gatekeeper,
    member: Member,
    diary: Diary,
    service: Service,
}

impl OnDemand {
    fn new(before: &str, more: &str) -> Self {
        Self::at(own_address(), before, more)
    }

    fn at(there: Ipv4Addr, before: &str, more: &str) -> Self {
        let (host, folder) = (own_address(), Folder::new());
        let service = Service::at(there, &folder, "running");
        let diary = Diary::new(&folder);
        let file = service.file.display();
        let open = diary.command(&folder, "open", &format!("{before}\ntouch {file}"));
        let close = diary.command(&folder, "close", &format!("rm {file}"));
        let more = format!(
            "forward = {}\nopen-command = {open}\nclose-command = {close}\n{more}",
            service.address
        );
        let text = section(host, &more).replace("gate = packet", "gate = port");
        Self {
            keeper: Gatekeeper::start(folder, host, &text),
            member: Member::new(host, RANGE),
            diary,
            service,
        }
    }

    fn notes(&self, word: &str) -> usize {
        let lines = self.diary.lines();
        lines.iter().filter(|line| line.starts_with(word)).count()
    }
}

#[test]
fn a_service_is_started_once_for_all_who_come_and_stopped_after_the_last() {
    apart(|| {
        let setting = OnDemand::new("sleep 1", "open-timeout = 2s\n");
        let mut sessions: Vec<TcpStream> = (1..=3)
            .map(|number| setting.member.enter(visitor(number)))
            .collect();
        for session in &mut sessions {
            assert_echo(session, "in");
        }
        assert_eq!(setting.notes("open"), 1);
        assert_eq!(setting.keeper.doors(), ["service ssh"]);
        drop(sessions.drain(..2));
        setting
            .keeper
            .daemon
            .wait_for_lines(" close mirage=ssh ", 2);
        // As long as one is in; and a while longer.
        let_pass(Duration::from_secs(3));
        assert_echo(&mut sessions[0], "still in");
        drop(sessions);
        let left = Instant::now();
        setting
            .keeper
            .daemon
            .wait_for_line(" shut mirage=ssh service");
        assert_took(left, 2);
        assert_eq!(setting.notes("close"), 1);
        assert!(!setting.service.runs());
        // And anew.
        wait_for("its end", || {
            TcpStream::connect(setting.service.address)
                .is_err()
                .then_some(())
        });
        assert_echo(&mut setting.member.enter(visitor(4)), "in");
        assert_eq!(setting.notes("open"), 2);
    });
}

#[test]
fn a_service_that_has_died_is_started_again_at_the_next_visit() {
    apart(|| {
        let setting = OnDemand::new("", "");
        assert_echo(&mut setting.member.enter(visitor(1)), "in");
        std::fs::remove_file(&setting.service.file).unwrap();
        wait_for("its end", || {
            TcpStream::connect(setting.service.address)
                .is_err()
                .then_some(())
        });
        assert_echo(&mut setting.member.enter(visitor(2)), "in again");
        assert_eq!(setting.notes("open"), 2);
    });
}

/// There is no way to it before: a dial fails at once.
#[test]
fn a_service_that_brings_up_its_own_address_is_started() {
    let is_shown = only_apart(&|| {
        let there = Ipv4Addr::new(192, 0, 2, 1);
        let (host, folder) = (own_address(), Folder::new());
        let text = section(host, &format!("forward = {there}:2222\n"));
        let keeper = Gatekeeper::start(folder, host, &text.replace("gate = packet", "gate = port"));
        assert_closed(&mut Member::new(host, RANGE).enter(visitor(1)));
        let told = " error mirage=ssh source=127.1.0.1 service: Network is unreachable";
        keeper.daemon.wait_for_line(told);
        keeper.daemon.wait_for_line(" end=no-service");

        let setting = OnDemand::at(there, "", "");
        assert_echo(&mut setting.member.enter(visitor(1)), "in");
        assert_eq!(setting.notes("open"), 1);
        assert_eq!(setting.keeper.daemon.count(" error "), 0);
    });
    if !is_shown {
        eprintln!("no network of its own: a service that can't be reached is not shown");
    }
}

#[test]
fn a_service_that_ran_already_is_used_and_not_stopped() {
    apart(|| {
        let setting = OnDemand::new("", "open-timeout = 1s\n");
        write(&setting.service.file, "");
        wait_for("the service", || {
            TcpStream::connect(setting.service.address).ok()
        });
        let session = setting.member.enter(visitor(1));
        assert_echo(&mut { session }, "in");
        setting.keeper.daemon.wait_for_line(" close mirage=ssh ");
        let_pass(Duration::from_secs(2));
        assert!(setting.diary.lines().is_empty() && setting.service.runs());
        assert!(setting.keeper.doors().is_empty());
    });
}

#[test]
fn who_waits_in_vain_is_closed_and_the_log_says_why() {
    apart(|| {
        // It says that it has started, and has not.
        let setting = OnDemand::new("exit 0", "ready-timeout = 1s\n");
        let begin = Instant::now();
        assert_closed(&mut setting.member.enter(visitor(1)));
        assert_took(begin, 1);
        let line = setting
            .keeper
            .daemon
            .wait_for_line(" service: not ready within 1s: ");
        assert!(line.contains(" error mirage=ssh "), "{line}");
        setting.keeper.daemon.wait_for_line(" end=no-service");

        let setting = OnDemand::new("echo no host keys; exit 1", "");
        assert_closed(&mut setting.member.enter(visitor(1)));
        let line = setting.keeper.daemon.wait_for_line(" open-command: ");
        assert!(
            line.ends_with(" service open-command: exit=1: no host keys"),
            "{line}"
        );
        assert!(setting.keeper.doors().is_empty());
    });
}

#[test]
fn who_waits_for_the_service_of_a_mirage_that_is_dropped_is_closed() {
    apart(|| {
        let setting = OnDemand::new("exit 0", "ready-timeout = 1h\n");
        let mut waits = setting.member.enter(visitor(1));
        setting
            .keeper
            .daemon
            .wait_for_line(" open mirage=ssh service ");
        assert_held(&mut waits);
        let text = std::fs::read_to_string(setting.keeper.daemon.config_path()).unwrap();
        let dropped = text.replace(&format!("[mirage-{NAME}]"), "[mirage-other]");
        setting.keeper.daemon.reload(&dropped);
        assert_closed(&mut waits);
        setting.keeper.daemon.wait_for_line(" end=no-service");
    });
}

/// Whatever the dials hinted at that have failed, it is nothing of the connection that there is in the end.
#[test]
fn whoever_has_waited_for_a_service_may_read_slowly() {
    apart(|| {
        let setting = OnDemand::new("", "");
        let mut session = setting.member.enter(visitor(1));
        let mut to = session.try_clone().unwrap();
        let sent: Vec<u8> = (0..24 << 20)
            .map(|byte: u32| (byte * 7 + byte / 251) as u8)
            .collect();
        let copy = sent.clone();
        let sender = thread::spawn(move || {
            to.write_all(&copy).unwrap();
            to.shutdown(Shutdown::Write).unwrap();
        });
        let moved = || setting.keeper.ask("status")["sessions"][0]["bytes_out"].as_u64();
        let mut last = None;
        wait_for("a standstill", || {
            let before = std::mem::replace(&mut last, moved());
            thread::park_timeout(Duration::from_millis(100));
            (before == last && last > Some(0)).then_some(())
        });
        let mut back = Vec::new();
        session.read_to_end(&mut back).unwrap();
        sender.join().unwrap();
        assert!(back == sent, "{} bytes came back", back.len());
        let line = setting.keeper.daemon.wait_for_line(" close mirage=ssh ");
        assert!(line.ends_with(" end=closed"), "{line}");
    });
}

/// A machine that is being woken answers when it can, and not when it is dialled.
#[test]
fn a_service_that_accepts_after_the_time_for_a_dial_is_over_keeps_its_visitor() {
    // Nobody more can connect to it while one waits to be accepted.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let service = TcpListener::from(socket);
    let address = service.local_addr().unwrap();
    let waits = TcpStream::connect(address).unwrap();

    let (host, folder) = (own_address(), Folder::new());
    let more = format!("log = {}\n", folder.file("log").display());
    let text = config(host, address, &more) + "open-command = /bin/true\nready-timeout = 1h\n";
    let path = folder.file("shimmer.conf");
    write(&path, &text);
    let daemon = DrivenDaemon::start(path, World::at(NOON), |_| {});
    let member = Member::new(host, RANGE);
    let real = member.real(member.pattern.minute(NOON));
    wait_for("an open port", || {
        listening(host).contains(&real).then_some(())
    });
    let mut session = member.connect(visitor(1), real).unwrap();
    session.write_all(b"before").unwrap();
    daemon.turn(3);
    daemon.change(|world| world.pass_ms(10_000));
    // It is dialled again in 100 ms, and the clock stands still.
    drop((service.accept().unwrap(), waits));
    let (mut accepted, _) = service.accept().unwrap();
    let mut heard = [0; 6];
    accepted.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"before");
    daemon.change(|world| world.pass_ms(100));
    session.write_all(b"behind").unwrap();
    accepted.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"behind");
}
