//! The daemon's life: ports that turn, configurations that change under it, signals, and a machine
//! that runs out of things.

use crate::common::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

const RANGE: (u16, u16) = (10_000, 10_999);

fn start(more: &str) -> (Daemon, Member, Echo) {
    let (host, echo) = (own_address(), Echo::start());
    let daemon = Daemon::start(host, &(config(host, echo.address, "") + more));
    (daemon, Member::new(host, RANGE), echo)
}

/// Waits for the ports to be what the schedule says, at a moment when the minute does not turn.
#[track_caller]
fn wait_for_schedule(member: &Member) {
    wait_for("the scheduled ports", || {
        let before = member.open_ports();
        let open = listening(member.host);
        (open == before && before == member.open_ports()).then_some(())
    });
}

#[test]
fn the_open_ports_are_those_of_three_minutes_and_turn_with_them() {
    let (host, echo) = (own_address(), Echo::start());
    let text = config(host, echo.address, "").replace(STILL, "period = 3s\n");
    let daemon = Daemon::start(host, &text);
    let member = Member::with_pattern(daemon.host, RANGE, 15, 3);
    let mut session = member.enter(visitor(1));
    let first = member.open_ports();
    for turn in 1..4 {
        wait_for_schedule(&member);
        assert_echo(&mut session, "still in");
        daemon.wait_for_lines(" rotate mirage=ssh ", turn);
    }
    let open = wait_for("other ports", || {
        let open = listening(member.host);
        (open.intersection(&first).count() < 16).then_some(open)
    });
    assert!(open.len() > 40, "{} ports", open.len());
    assert_echo(&mut session, "and in");
}

#[test]
fn decoys_and_period_are_as_configured() {
    for (decoys, most) in [(0, 3), (63, 192)] {
        let (daemon, _, _echo) = start(&format!("decoys = {decoys}\n"));
        let member = Member::with_pattern(daemon.host, RANGE, decoys, STILL_S);
        wait_for_schedule(&member);
        let open = listening(daemon.host).len();
        assert!(open <= most && open >= most * 8 / 10, "{open} ports");
    }
}

#[test]
fn two_mirages_have_their_own_ports_and_one_list_of_bans() {
    let (host, echo, other_echo) = (own_address(), Echo::start(), Echo::start());
    let other = other_echo.address;
    let text = config(host, echo.address, "")
        + &format!(
            "[mirage-web]\nname = {NAME}\nsecret = {SECRET}\nrange = 11000-11999\n\
             forward = {other}\nlisten-address = {host}\n{STILL}"
        );
    let daemon = Daemon::start(host, &text);
    daemon.wait_for_line(" listen mirage=web ");
    let ssh = Member::new(host, RANGE);
    let web = Member::new(host, (11_000, 11_999));
    assert_echo(&mut ssh.enter(visitor(1)), "to ssh");
    assert_echo(&mut web.enter(visitor(1)), "to web");
    assert_eq!((echo.accepted(), other_echo.accepted()), (1, 1));
    ssh.connect(visitor(2), ssh.traps()[0]).unwrap();
    daemon.wait_for_line(" ban source=127.1.0.2");
    assert_closed(&mut web.enter(visitor(2)));
}

#[test]
fn it_listens_on_both_families_unless_told_otherwise() {
    let (host, echo) = (own_address(), Echo::start());
    // The one test that listens everywhere has a range of its own.
    let text = config(host, echo.address, "")
        .replace("range = 10000-10999", "range = 23000-23999")
        .replace(&format!("listen-address = {host}\n"), "");
    let daemon = Daemon::start(host, &text);
    let v4 = Member::new(host, (23_000, 23_999));
    assert_echo(&mut v4.enter(visitor(1)), "by IPv4");
    let port = v4.real(v4.minute());
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let mut stream = TcpStream::connect(v6).unwrap();
    assert_echo(&mut stream, "by IPv6");
    daemon.wait_for_line(" accept mirage=ssh source=::1 ");
    drop(stream);
    daemon.wait_for_line(" close mirage=ssh source=::1 ");
    // A ban by IPv6 is one of the whole /64.
    TcpStream::connect((Ipv6Addr::LOCALHOST, v4.traps()[0])).unwrap();
    daemon.wait_for_line(" ban source=::1 ");
    assert_closed(&mut TcpStream::connect(v6).unwrap());
    assert_echo(&mut v4.enter(visitor(1)), "IPv4 is somebody else");
}

/// Makes socket(2) answer EAFNOSUPPORT for IPv6, as a kernel without it does (seccomp(2)).
fn take_ipv6_away(command: &mut Command) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let unless = |k: u32, skip: u8| libc::sock_filter {
        jf: skip,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k)
    };
    let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let answer = |k: u32| statement(libc::BPF_RET | libc::BPF_K, k);
    let is_little = cfg!(target_endian = "little");
    // struct seccomp_data: the call's number, then its arguments of 64 bits each from byte 16 on.
    let filter = [
        load(0),
        unless(libc::SYS_socket as u32, 3),
        load(if is_little { 16 } else { 20 }),
        unless(libc::AF_INET6 as u32, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: prctl is safe between fork and exec; the program lives until it has returned.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog {
                len: filter.len() as u16,
                filter: filter.as_ptr().cast_mut(),
            };
            let quiet = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let filtered = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program);
            match quiet | filtered {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    };
}

#[test]
fn without_ipv6_in_the_kernel_it_serves_ipv4() {
    let (host, echo) = (own_address(), Echo::start());
    let text = config(host, echo.address, "")
        .replace("range = 10000-10999", "range = 24000-24999")
        .replace(&format!("listen-address = {host}\n"), "");
    let daemon = Daemon::spawn(host, &text, take_ipv6_away);
    daemon.wait_for_line(" listen mirage=ssh ");
    let member = Member::new(host, (24_000, 24_999));
    assert_echo(&mut member.enter(visitor(1)), "by IPv4");
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, member.real(member.minute())));
    assert!(TcpStream::connect(v6).is_err());
    assert_eq!(daemon.count(" error "), 0);
}

#[test]
fn a_port_in_use_is_reported_and_taken_once_it_is_free() {
    let (host, echo) = (own_address(), Echo::start());
    let member = Member::new(host, RANGE);
    let real = member.real(member.minute());
    let squatter = TcpListener::bind((host, real)).unwrap();
    let text = config(host, echo.address, "");
    let daemon = Daemon::start(host, &text);
    let line = daemon.wait_for_line(" error mirage=ssh port=");
    assert!(
        line.contains(&format!("port={real} ")) && line.contains("in use"),
        "{line}"
    );
    // The others work on.
    assert_echo(
        &mut member
            .connect(visitor(1), member.real(member.minute() - 1))
            .unwrap(),
        "in",
    );
    drop(squatter);
    daemon.wait_for_line(&format!(" listen mirage=ssh port={real}"));
    assert_echo(&mut member.enter(visitor(1)), "in");
    assert_eq!(daemon.count(" error "), 1);
}

#[test]
fn our_own_and_others_outgoing_connections_keep_no_port_from_us() {
    let (host, echo) = (own_address(), Echo::start());
    let member = Member::new(host, RANGE);
    // Somebody's connection that goes out from the minute's real port.
    let outgoing = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    outgoing.set_reuse_address(true).unwrap();
    let real = SocketAddr::from((host, member.real(member.minute())));
    outgoing.bind(&SockAddr::from(real)).unwrap();
    outgoing.connect(&echo.address.into()).unwrap();
    let text = config(host, echo.address, "");
    let daemon = Daemon::start(host, &text);
    assert_echo(&mut member.enter(visitor(1)), "in");
    assert_eq!(daemon.count(" error "), 0);
}

#[test]
fn a_reload_keeps_what_both_configurations_have() {
    let (host, echo) = (own_address(), Echo::start());
    let text = config(host, echo.address, "");
    let mut daemon = Daemon::start(host, &text);
    let member = Member::new(host, RANGE);
    let mut session = member.enter(visitor(1));
    assert_echo(&mut session, "in");
    member.connect(visitor(2), member.traps()[0]).unwrap();
    daemon.wait_for_line(" ban source=127.1.0.2");
    let sockets = inodes(&daemon);
    let more = format!(
        "[mirage-web]\nname = web\nsecret = {SECRET}\nrange = 11000-11999\nforward = {}\nlisten-address = {host}\n{STILL}",
        echo.address
    );
    daemon.reload(&(text.clone() + &more));
    daemon.wait_for_line(" reload mirages=2 dropped=0");
    // Not one of the ports was closed and opened again.
    assert!(sockets.is_subset(&inodes(&daemon)));
    assert_echo(&mut session, "still in");
    assert_closed(&mut member.enter(visitor(2)));
    assert!(listening(host).iter().any(|&port| port >= 11_000));

    daemon.reload(&text);
    daemon.wait_for_line(" reload mirages=1 dropped=1");
    assert!(listening(host).iter().all(|&port| port < 11_000));
    assert!(sockets.is_subset(&inodes(&daemon)));
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

/// The sockets that the daemon listens with, by their inodes.
fn inodes(daemon: &Daemon) -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let host = format!("{:08X}:", u32::from_ne_bytes(daemon.host.octets()));
    let listening = table
        .lines()
        .filter(|line| line.contains(&host) && line.contains(" 0A "));
    listening
        .map(|line| line.split_whitespace().nth(9).unwrap().to_owned())
        .collect()
}

#[test]
fn another_secret_moves_the_ports_and_sessions_live_on() {
    let (daemon, member, echo) = start("");
    let mut session = member.enter(visitor(1));
    assert_echo(&mut session, "in");
    let other = "quite another secret 5678";
    let text = config(daemon.host, echo.address, "").replace(SECRET, other);
    daemon.reload(&text);
    daemon.wait_for_line(" reload mirages=1 ");
    assert_echo(&mut session, "still in");
    let mut stranger = Member::new(daemon.host, RANGE);
    stranger.key = shimmer::proto::scheme::key::Key::stretch(other.as_bytes(), NAME);
    wait_for_schedule(&stranger);
    assert_echo(&mut stranger.enter(visitor(2)), "in by the new secret");
}

#[test]
fn a_session_of_a_dropped_mirage_runs_on() {
    let (daemon, member, echo) = start("");
    let mut session = member.enter(visitor(1));
    assert_echo(&mut session, "in");
    daemon.reload(&config(daemon.host, echo.address, "").replace("[mirage-ssh]", "[mirage-web]"));
    daemon.wait_for_line(" reload mirages=1 dropped=1");
    assert_echo(&mut session, "still in");
    drop(session);
    daemon.wait_for_line(" close mirage=ssh ");
}

#[test]
fn a_bad_configuration_is_logged_and_the_old_one_stays() {
    let (daemon, member, echo) = start("");
    let text = config(daemon.host, echo.address, "") + "ragne = 5\ndecoys = 70\n";
    daemon.reload(&text);
    daemon.wait_for_line(" error reload: ");
    let line = daemon.wait_for_line("shimmer.conf:11: ");
    assert!(line.contains("range"), "{line}");
    daemon.wait_for_line("shimmer.conf:12: decoys: ");
    assert_echo(&mut member.enter(visitor(1)), "in");
    assert_eq!(daemon.count(" reload mirages"), 0);
}

#[test]
fn a_reload_opens_the_log_again() {
    let (host, echo, folder) = (own_address(), Echo::start(), Folder::new());
    let log = folder.file("shimmer.log");
    let text = config(host, echo.address, &format!("log = {}", log.display()));
    let mut daemon = Daemon::spawn(host, &text, |_| {});
    let lines = |name: &str| std::fs::read_to_string(folder.file(name)).unwrap_or_default();
    wait_for("the first line", || {
        lines("shimmer.log").contains(" listen ").then_some(())
    });
    std::fs::rename(&log, folder.file("shimmer.log.1")).unwrap();
    daemon.signal(libc::SIGHUP);
    wait_for("the new log", || {
        lines("shimmer.log").contains(" reload ").then_some(())
    });
    daemon.signal(libc::SIGTERM);
    daemon.wait();
    assert!(!lines("shimmer.log.1").contains(" end"));
    for line in lines("shimmer.log").lines() {
        let time = line.split(' ').next().unwrap();
        assert!(
            time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
            "{line}"
        );
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_that_names_it() {
    let (host, echo) = (own_address(), Echo::start());
    let text = config(host, echo.address, "log = /proc/none/log");
    let mut daemon = Daemon::spawn(host, &text, |_| {});
    assert_eq!(daemon.wait().code(), Some(1));
    daemon.wait_for_line("shimmer: log: /proc/none/log: ");
}

#[test]
fn a_reader_of_the_log_that_stops_does_not_stop_the_daemon() {
    let (host, echo) = (own_address(), Echo::start());
    let folder = Folder::new();
    let path = folder.file("shimmer.conf");
    write(&path, &config(host, echo.address, "log-level = debug"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_shimmer"));
    command.args(["daemon", "--config"]).arg(&path);
    // Its stderr is a pipe that nobody reads.
    let mut child = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the ports", || (listening(host).len() > 40).then_some(()));
    let member = Member::new(host, RANGE);
    // Reloads write lines that are not bounded: until the pipe has no room, and once more.
    let reader = child.stderr.take().unwrap();
    let writer = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let writer = File::options().write(true).open(writer).unwrap();
    let is_full = || {
        let mut room = [PollFd::new(&writer, PollFlags::OUT)];
        poll(&mut room, Some(&Timespec::default())).unwrap() == 0
    };
    // SAFETY: no pointers.
    let reload = || unsafe { libc::kill(child.id() as i32, libc::SIGHUP) };
    wait_for("a full pipe", || {
        assert_eq!(reload(), 0);
        is_full().then_some(())
    });
    assert_eq!(reload(), 0);
    assert_echo(&mut member.enter(visitor(1)), "in");
    // SAFETY: no pointers.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(
        wait_for("its end", || child.try_wait().unwrap()).code(),
        Some(0)
    );
}

#[test]
fn a_signal_ends_it_whatever_the_sessions_do() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let (mut daemon, member, _echo) = start("");
        let mut sessions: Vec<_> = (0..10)
            .map(|number| member.enter(visitor(number)))
            .collect();
        assert_echo(&mut sessions[9], "in");
        member.connect(visitor(100), member.traps()[0]).unwrap();
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0));
    }
}

#[test]
fn a_crash_leaves_its_signal_and_its_address_in_the_log() {
    let (mut daemon, _, _echo) = start("");
    // No core file for a crash that is wanted.
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let (pid, core) = (daemon.child.id() as i32, libc::RLIMIT_CORE);
    // SAFETY: one struct is read.
    unsafe { libc::prlimit(pid, core, &raw const none, std::ptr::null_mut()) };
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let code = maps.lines().filter(|line| line.contains(" r-xp "));
    let code: Vec<_> = code
        .map(|line| {
            let (low, rest) = line.split_once('-').unwrap();
            let high = rest.split(' ').next().unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            number(low)..number(high)
        })
        .collect();
    daemon.signal(libc::SIGILL);
    let line = daemon.wait_for_line("error crash signal=04 address=0x");
    // Where it was: in a mapping that can be executed, the program's or the kernel's own.
    let (_, address) = line.rsplit_once("0x").unwrap();
    let address = u64::from_str_radix(address, 16).unwrap();
    assert!(code.iter().any(|code| code.contains(&address)), "{line}");
    assert_eq!(daemon.wait().code(), None);
}

#[test]
fn it_also_starts_as_shimmerd() {
    let (host, echo, folder) = (own_address(), Echo::start(), Folder::new());
    let path = folder.file("shimmer.conf");
    write(&path, &config(host, echo.address, ""));
    let mut command = Command::new(env!("CARGO_BIN_EXE_shimmer"));
    command
        .arg0("shimmerd")
        .arg(format!("--config={}", path.display()));
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_for("the ports", || (listening(host).len() > 40).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Lets a command have so many descriptors, and no more.
fn limit_descriptors(command: &mut Command, most: u64) {
    let limit = libc::rlimit {
        rlim_cur: most as libc::rlim_t,
        rlim_max: most as libc::rlim_t,
    };
    // SAFETY: setrlimit is safe between fork and exec, and reads one struct.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
}

#[test]
fn it_lives_through_a_lack_of_descriptors_and_goes_on_after_it() {
    let (host, echo) = (own_address(), Echo::start());
    let more = "max-sessions = 1000\nmax-sessions-per-source = 1000";
    let text = config(host, echo.address, more);
    let daemon = Daemon::spawn(host, &text, |command| limit_descriptors(command, 100));
    daemon.wait_for_line(" listen mirage=");
    let member = Member::new(host, RANGE);
    let mut sessions: Vec<TcpStream> = Vec::new();
    let mut turned_away = 0;
    while turned_away < 20 {
        let mut stream = member.enter(visitor(1));
        use std::io::{Read, Write};
        let said = stream.write_all(b"x").and_then(|()| stream.read(&mut [0]));
        if matches!(said, Ok(1)) {
            sessions.push(stream);
        } else {
            turned_away += 1;
        }
    }
    assert!(sessions.len() > 10, "{} sessions", sessions.len());
    // It does not spin while it is full.
    let before = daemon.ticks();
    let_pass(std::time::Duration::from_secs(1));
    assert!(
        daemon.ticks() - before < 20,
        "{} ticks",
        daemon.ticks() - before
    );
    for session in &mut sessions {
        assert_echo(session, "still in");
    }
    sessions.truncate(sessions.len() / 2);
    let mut stream = wait_for("a place", || {
        use std::io::{Read, Write};
        let mut stream = member.enter(visitor(1));
        let said = stream.write_all(b"x").and_then(|()| stream.read(&mut [0]));
        matches!(said, Ok(1)).then_some(stream)
    });
    assert_echo(&mut stream, "in again");
}

/// Whoever may come in needs two descriptors; those in the traps give up theirs.
#[test]
fn visitors_in_traps_keep_no_descriptors_from_members() {
    let (host, echo) = (own_address(), Echo::start());
    let text = config(host, echo.address, "");
    let daemon = Daemon::spawn(host, &text, |command| limit_descriptors(command, 64));
    daemon.wait_for_line(" listen mirage=");
    let member = Member::new(host, RANGE);
    let traps = member.traps();
    let mut held: Vec<TcpStream> = Vec::new();
    for number in 0..200u16 {
        let trap = traps[usize::from(number) % traps.len()];
        held.push(member.connect(visitor(100 + number), trap).unwrap());
    }
    daemon.wait_for_lines(" ban ", 80);
    let mut sessions: Vec<TcpStream> = (1..3)
        .map(|number| {
            let mut session = member.enter(visitor(number));
            assert_echo(&mut session, "in");
            session
        })
        .collect();
    assert_echo(&mut sessions[0], "still in");
}

#[test]
fn many_strangers_take_no_more_than_their_places() {
    let (daemon, member, _echo) = start("");
    let traps = member.traps();
    let mut held: Vec<TcpStream> = Vec::new();
    for number in 0..1_200u16 {
        let source = Ipv4Addr::new(127, 2, (number >> 8) as u8, number as u8);
        held.push(
            member
                .connect(source, traps[usize::from(number) % traps.len()])
                .unwrap(),
        );
    }
    wait_for("all of them to be seen", || {
        (daemon.descriptors() > 300).then_some(())
    });
    assert!(daemon.descriptors() < 400, "{}", daemon.descriptors());
    assert_echo(&mut member.enter(visitor(1)), "in");
}
