//! Goal: `shimmer connect` finds the port that answers without touching any that might be a trap, says a token where
//! one is wanted, and says on one line why there was no session.

use crate::common::wire::*;
use crate::common::*;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// On these days two of three minutes have the same port in RANGE: 2027-02-17, 2027-04-23, 2027-08-02.
#[test]
fn the_members_three_ports_differ_on_every_day() {
    for day in [20_866, 20_931, 21_032] {
        let ports = |member: &Member| [day - 1, day, day + 1].map(|day| member.real(day));
        let [a, b, c] = ports(&member_at(|_| day));
        assert!(a != b && b != c && c != a, "{day}");
    }
}

/// The three ports of a member, this minute's first, and listeners at every port of the range that should
/// not refuse.
struct Street {
    member: Member,
    ports: [u16; 3],
    doors: Vec<(u16, TcpListener)>,
}

impl Street {
    fn new(refuse: usize) -> Self {
        let member = member();
        let minute = member.minute();
        let ports = [minute, minute - 1, minute + 1].map(|minute| member.real(minute));
        let (low, high) = range(&member);
        let all = low..=high;
        let open = all.filter(|port| !ports[..refuse].contains(port));
        let doors = open.map(|port| (port, TcpListener::bind(member.at(port)).unwrap()));
        Self {
            doors: doors.collect(),
            ports,
            member,
        }
    }

    /// The ports that have been dialled so far.
    fn dialled(&self) -> Vec<u16> {
        let was_dialled = |(_, door): &&(u16, TcpListener)| {
            door.set_nonblocking(true).unwrap();
            door.accept().is_ok()
        };
        let doors = self.doors.iter().filter(was_dialled);
        doors.map(|(port, _)| *port).collect()
    }
}

#[test]
fn the_first_port_that_answers_is_the_only_one_it_connects_to() {
    for refuse in 0..3 {
        let street = Street::new(refuse);
        let port = street.ports[refuse];
        let host = street.member.host.to_string();
        let mut wire = Wire::start(connect_to(range(&street.member), &host, &[]));
        let at_port = |door: &&(u16, TcpListener)| door.0 == port;
        let (_, door) = street.doors.iter().find(at_port).unwrap();
        let mut service = accept(door);
        service.write_all(b"welcome").unwrap();
        wire.assert_hears(b"welcome");
        drop(service);
        wire.assert_ends_quietly();
        assert_eq!(street.dialled(), [0; 0], "with {refuse} ports refused");
    }
}

#[test]
fn if_all_three_are_refused_it_dials_no_other() {
    let street = Street::new(3);
    let host = street.member.host.to_string();
    let wire = Wire::start(connect_to(range(&street.member), &host, &[]));
    wire.assert_fails(&[
        &host,
        "refused",
        "Z. If that is not the time in UTC",
        "secret",
        "name",
        "range",
        "daemon",
    ]);
    assert_eq!(street.dialled(), [0; 0]);
}

/// A listener with a full backlog: whoever dials it gets no answer.
fn deaf(at: SocketAddr) -> (Socket, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(at)).unwrap();
    socket.listen(0).unwrap();
    let mut callers = Vec::new();
    while let Ok(caller) = TcpStream::connect_timeout(&at, Duration::from_millis(300)) {
        callers.push(caller);
    }
    (socket, callers)
}

#[test]
fn after_a_silent_port_it_tries_the_last_minutes() {
    let bare = Bare::start(-1);
    let member = &bare.member;
    let _deaf = deaf(member.at(member.real(bare.minute + 1)));
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    service.write_all(b"welcome").unwrap();
    wire.assert_hears(b"welcome");
    drop(service);
    wire.assert_ends_quietly();
}

#[test]
fn it_waits_only_once_for_a_single_silent_port() {
    let host = own_address();
    let _deaf = deaf((host, 10_000).into());
    let host = host.to_string();
    let began = Instant::now();
    let wire = Wire::start(connect_to((10_000, 10_000), &host, &["--decoys=0"]));
    wire.assert_fails(&[
        &host,
        "did not answer",
        "Z. If that is not the time in UTC",
        "firewall",
    ]);
    // Three times would be twelve seconds, however fast the machine.
    assert!(began.elapsed() < Duration::from_secs(11));
}

#[test]
fn a_close_without_a_byte_is_explained() {
    for (gate, others) in [("port", "gate (here port)"), ("token", "gate (here token)")] {
        let bare = Bare::start(0);
        let host = bare.member.host.to_string();
        let wire = bare.wire(&["--gate", gate]);
        drop(bare.accept());
        wire.assert_fails(&[&host, "hung up", "clock", "Z)", "secret", "banned", others]);

        let mut wire = bare.wire(&["--gate", gate]);
        wire.say(b"anybody there?");
        let mut service = bare.accept();
        service.read_exact(&mut [0]).unwrap();
        reset(service);
        wire.assert_fails(&["hung up"]);
    }
}

#[test]
fn a_token_comes_before_anything_else_and_at_once() {
    let bare = Bare::start(0);
    let mut nonces = Vec::new();
    for _ in 0..3 {
        let mut wire = bare.wire(&["--gate=token"]);
        let mut service = bare.accept();
        // Nothing has been written to stdin yet.
        nonces.push(bare.assert_token(&mut service));
        let sent = noise(100_000, 5);
        let to_send = sent.clone();
        let mut stdin = wire.stdin.take().unwrap();
        let sender = thread::spawn(move || stdin.write_all(&to_send).unwrap());
        let mut heard = Vec::new();
        service.read_to_end(&mut heard).unwrap();
        assert!(heard == sent);
        sender.join().unwrap();
        service.write_all(b"welcome").unwrap();
        drop(service);
        wire.assert_hears(b"welcome");
        wire.assert_ends_quietly();
    }
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), 3, "a nonce came twice");
}

#[test]
fn a_token_opens_the_daemons_gate() {
    let echo = Echo::start();
    let host = own_address();
    let text = config(host, echo.address, "") + "gate = token\ntrap-time = 4s\n";
    let daemon = Daemon::start(host, &text);
    let mut command = connect_to_daemon(&daemon);
    command.args(["--gate", "token"]);
    let mut wire = Wire::start(command);
    let sent = noise(MUCH, 6);
    let mut stdin = wire.stdin.take().unwrap();
    let to_send = sent.clone();
    let sender = thread::spawn(move || stdin.write_all(&to_send).unwrap());
    wire.assert_hears(&sent);
    wire.assert_hears_the_end();
    sender.join().unwrap();
    wire.assert_ends_quietly();

    // Without one it ends up in a trap, which says nothing.
    let mut wire = Wire::start(connect_to_daemon(&daemon));
    wire.say(b"SSH-2.0-OpenSSH_9.6\r\n");
    wire.assert_fails(&["hung up", "gate (here port)"]);
    assert_eq!(echo.accepted(), 1);
}

#[test]
fn a_token_is_that_of_the_minute_whose_port_was_dialled() {
    for ahead in [-1, 1] {
        let bare = Bare::start(ahead);
        let mut wire = bare.wire(&["--gate=token"]);
        let mut service = bare.accept();
        bare.assert_token(&mut service);
        service.write_all(b"welcome").unwrap();
        drop(service);
        wire.assert_hears(b"welcome");
        wire.assert_ends_quietly();
    }
}

#[test]
fn gate_and_host_come_from_the_configuration_unless_given() {
    let bare = Bare::start(0);
    let folder = Folder::new();
    let path = folder.file("shimmer.conf");
    let (host, elsewhere) = (bare.member.host.to_string(), own_address().to_string());
    let (low, high) = range(&bare.member);
    let write = |host: &str| {
        let text = format!(
            "[mirage-home]\nname = {NAME}\nsecret = {SECRET}\nrange = {low}-{high}\nperiod = {STILL_S}\n\
             host = {host}\ngate = token\n"
        );
        write_private(&path, &text);
    };
    let start = |more: &[&str]| {
        let mut command = connect(&["home", "--config", path.to_str().unwrap()]);
        command.env_remove("SHIMMER_SECRET").args(more);
        Wire::start(command)
    };
    let assert_enters = |mut wire: Wire, has_token: bool| {
        let mut service = bare.accept();
        if has_token {
            bare.assert_token(&mut service);
        }
        wire.say(b"hello");
        let mut heard = [0; 5];
        service.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        service.write_all(b"welcome").unwrap();
        drop(service);
        wire.assert_hears(b"welcome");
        wire.assert_ends_quietly();
    };
    write(&host);
    assert_enters(start(&[]), true);
    assert_enters(start(&["--gate", "port"]), false);
    write(&elsewhere);
    start(&[]).assert_fails(&[&elsewhere, "refused"]);
    assert_enters(start(&[&host]), true);

    write_private(
        &path,
        format!("[mirage-home]\nsecret = {SECRET}\nrange = 10000-10999\n"),
    );
    let (code, said) = start(&[]).end();
    assert_eq!(code, Some(2));
    assert!(said.contains("no host given"), "{said}");
}

#[test]
fn no_configuration_is_needed() {
    let (daemon, _echo) = hidden_echo();
    let secret = daemon.folder.file("secret");
    write_private(&secret, SECRET);
    let mut command = connect_to_daemon(&daemon);
    command
        .env_remove("SHIMMER_SECRET")
        .arg("--secret-file")
        .arg(&secret);
    let mut wire = Wire::start(command);
    wire.say(b"hello");
    wire.assert_hears(b"hello");
    wire.stdin = None;
    wire.assert_hears_the_end();
    wire.assert_ends_quietly();
}

#[cfg(feature = "names")]
#[test]
fn every_address_of_a_name_is_tried() {
    use std::io::ErrorKind;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};

    let addresses = ("localhost", 0).to_socket_addrs().unwrap();
    for address in addresses.map(|address| address.ip()) {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        // It has to be free at the other family's address too, or that one is dialled and answers.
        let other: IpAddr = match address {
            IpAddr::V4(_) => Ipv6Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv4Addr::LOCALHOST.into(),
        };
        let is_taken = matches!(
            TcpListener::bind((other, port)),
            Err(error) if error.kind() == ErrorKind::AddrInUse
        );
        if is_taken {
            continue;
        }
        let mut wire = Wire::start(connect_to((port, port), "localhost", &["--decoys=0"]));
        let mut service = accept(&listener);
        service.write_all(b"welcome").unwrap();
        drop(service);
        wire.assert_hears(b"welcome");
        wire.assert_ends_quietly();
    }
}

#[test]
fn a_name_without_an_address_is_reported() {
    // No label is longer than 63 letters, so no name server has to be asked.
    let host = format!("{}.invalid", "x".repeat(64));
    let wire = Wire::start(connect_to(RANGE, &host, &[]));
    wire.assert_fails(&["cannot resolve", &host]);
}

#[test]
fn a_banned_member_is_told_the_likely_reason() {
    let (daemon, _echo) = hidden_echo();
    let member = Member::new(daemon.host, (10_000, 10_999));
    // From the same address as `connect`.
    let trap = member.traps()[0];
    let touch = TcpStream::connect(member.at(trap)).unwrap();
    daemon.wait_for_line(" ban ");
    let wire = Wire::start(connect_to_daemon(&daemon));
    wire.assert_fails(&["hung up", "banned"]);
    drop(touch);
}
