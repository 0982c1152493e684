//! Goal: `shimmer connect` is a wire between its caller and the hidden service. It finds the port
//! that answers without touching any that might be a trap, says a token where one is wanted, loses
//! no byte in either direction, and says on one line why there was no session.

mod common;

use common::{
    Daemon, Echo, Folder, Member, NAME, PATIENCE, SECRET, STILL_S, config, own_address,
    stay_clear_of_its_end, wait_for, write_private,
};
use shimmer::proto::scheme::token::{self, NONCE, TOKEN};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Few enough ports that a test can listen at them all.
const RANGE: (u16, u16) = (10_000, 10_099);

/// A member of a range as small, in which the last minute, this one and the next have a port each. With
/// so few ports, two of them have the same on a few days of each year.
fn member_at(minute: impl Fn(&Member) -> u64) -> Member {
    let host = own_address();
    let has_three = |member: &Member| {
        let minute = minute(member);
        let [last, now, next] = [minute - 1, minute, minute + 1].map(|minute| member.real(minute));
        last != now && now != next && next != last
    };
    (0..20)
        .map(|more| Member::new(host, (RANGE.0, RANGE.1 + more)))
        .find(has_three)
        .expect("one of twenty ranges")
}

/// The same for now.
fn member() -> Member {
    stay_clear_of_its_end();
    member_at(Member::minute)
}

fn range(member: &Member) -> (u16, u16) {
    let range = member.pattern.range();
    (range.low(), range.high())
}

/// `connect` with these words, no configuration, and the secret in the environment.
fn connect(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shimmer"));
    command
        .arg("connect")
        .args(words)
        .env("SHIMMER_SECRET", SECRET)
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The same, to a mirage whose ports stay as they are.
fn connect_to(range: (u16, u16), host: &str, more: &[&str]) -> Command {
    stay_clear_of_its_end();
    let mirage = format!("{NAME}:{}:{}", range.0, range.1);
    let mut command = connect(&[&mirage, host, "--period", "1d"]);
    command.args(more);
    command
}

/// A running `connect`.
struct Wire {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
}

impl Wire {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            child,
        }
    }

    #[track_caller]
    fn say(&mut self, text: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(text).unwrap();
    }

    #[track_caller]
    fn assert_hears(&mut self, text: &[u8]) {
        let mut heard = vec![0; text.len()];
        self.stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut heard)
            .unwrap();
        assert!(heard == text);
    }

    #[track_caller]
    fn assert_hears_the_end(&mut self) {
        let mut rest = Vec::new();
        self.stdout
            .as_mut()
            .unwrap()
            .read_to_end(&mut rest)
            .unwrap();
        assert_eq!(rest, b"");
    }

    /// Its exit code and what it has said on stderr. Whatever is left of stdin stays open until then.
    #[track_caller]
    fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("its end", || self.child.try_wait().unwrap());
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (status.code(), said)
    }

    #[track_caller]
    fn assert_ends_quietly(self) {
        assert_eq!(self.end(), (Some(0), String::new()));
    }

    /// It has ended with 1, and with one line that has all of this.
    #[track_caller]
    fn assert_fails(self, parts: &[&str]) {
        let (code, said) = self.end();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("shimmer: "), "{said}");
        for part in parts {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        assert_eq!(code, Some(1), "{said}");
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes among which none that is lost or swapped goes unseen.
fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bytes.extend_from_slice(&(state >> 16).to_be_bytes());
    }
    bytes.truncate(count);
    bytes
}

const MUCH: usize = 4 << 20;

/// A daemon before an echo, and the words that lead there.
fn hidden_echo() -> (Daemon, Echo) {
    let echo = Echo::start();
    let host = own_address();
    let daemon = Daemon::start(host, &config(host, echo.address, ""));
    (daemon, echo)
}

fn connect_to_daemon(daemon: &Daemon) -> Command {
    connect_to((10_000, 10_999), &daemon.host.to_string(), &[])
}

/// Takes one visitor.
#[track_caller]
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let stream = wait_for("a visitor", || listener.accept().ok()).0;
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A service at this minute's port, without a daemon before it.
struct Bare {
    member: Member,
    minute: u64,
    listener: TcpListener,
}

impl Bare {
    /// Listens at the port of the minute that is `ahead` of now.
    fn start(ahead: i64) -> Self {
        let member = member();
        let minute = member.minute().wrapping_add_signed(ahead);
        let listener = TcpListener::bind(member.at(member.real(minute))).unwrap();
        Self {
            member,
            minute,
            listener,
        }
    }

    fn wire(&self, more: &[&str]) -> Wire {
        let host = self.member.host.to_string();
        Wire::start(connect_to(range(&self.member), &host, more))
    }

    fn accept(&self) -> TcpStream {
        accept(&self.listener)
    }

    /// Reads a token, and shows that it is one for this port in this minute.
    #[track_caller]
    fn assert_token(&self, stream: &mut TcpStream) -> [u8; NONCE] {
        let mut read = [0; TOKEN];
        stream.read_exact(&mut read).unwrap();
        let nonce = *read.first_chunk::<NONCE>().unwrap();
        let port = self.member.real(self.minute);
        let made = token::make(&self.member.key, self.minute, port, &nonce);
        assert!(read == made, "no token of this port in this minute");
        nonce
    }
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    Socket::from(stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// On these days the hundred ports of RANGE have one for two of three: 2027-02-17, 2027-04-23, 2027-08-02.
#[test]
fn the_ports_that_are_told_apart_differ_on_every_day() {
    for day in [20_866, 20_931, 21_032] {
        let ports = |member: &Member| [day - 1, day, day + 1].map(|day| member.real(day));
        let [a, b, c] = ports(&member_at(|_| day));
        assert!(a != b && b != c && c != a, "{day}");
    }
}

#[test]
fn what_is_typed_comes_back_until_stdin_ends() {
    let (daemon, echo) = hidden_echo();
    let mut wire = Wire::start(connect_to_daemon(&daemon));
    for line in [b"one\n".as_slice(), b"two\n", &[0, 255, 13, 10]] {
        wire.say(line);
        wire.assert_hears(line);
    }
    // The echo ends when it has heard the end, which comes through the daemon.
    wire.stdin = None;
    wire.assert_hears_the_end();
    wire.assert_ends_quietly();
    assert_eq!(echo.accepted(), 1);
    assert_eq!(daemon.count(" ban "), 0);
}

#[test]
fn four_megabytes_go_and_come_back_unchanged() {
    let (daemon, _echo) = hidden_echo();
    let mut wire = Wire::start(connect_to_daemon(&daemon));
    let sent = noise(MUCH, 1);
    let mut stdin = wire.stdin.take().unwrap();
    let to_send = sent.clone();
    let sender = thread::spawn(move || stdin.write_all(&to_send).unwrap());
    wire.assert_hears(&sent);
    wire.assert_hears_the_end();
    sender.join().unwrap();
    wire.assert_ends_quietly();
}

#[test]
fn the_end_of_stdin_leaves_the_other_way_open() {
    let bare = Bare::start(0);
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    let (there, back) = (noise(MUCH, 2), noise(MUCH, 3));
    let to_send = there.clone();
    let mut stdin = wire.stdin.take().unwrap();
    let sender = thread::spawn(move || stdin.write_all(&to_send).unwrap());
    let mut heard = Vec::new();
    service.read_to_end(&mut heard).unwrap();
    assert!(heard == there);
    sender.join().unwrap();
    // It has said its last word, and only now it is told something.
    let to_send = back.clone();
    let sender = thread::spawn(move || service.write_all(&to_send).unwrap());
    wire.assert_hears(&back);
    sender.join().unwrap();
    wire.assert_hears_the_end();
    wire.assert_ends_quietly();
}

#[test]
fn the_end_of_the_service_is_the_end_though_stdin_is_open() {
    let bare = Bare::start(0);
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    let sent = noise(MUCH, 4);
    let to_send = sent.clone();
    let sender = thread::spawn(move || {
        service.write_all(&to_send).unwrap();
        service.shutdown(Shutdown::Write).unwrap();
        service
    });
    wire.assert_hears(&sent);
    wire.assert_hears_the_end();
    let _service = sender.join().unwrap();
    assert!(wire.stdin.is_some());
    wire.assert_ends_quietly();
}

/// A service that has closed takes nothing any more, and what it had said is all there.
#[test]
fn saying_more_than_the_service_takes_is_no_mistake() {
    let bare = Bare::start(0);
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    service.write_all(b"enough").unwrap();
    service.shutdown(Shutdown::Write).unwrap();
    let mut stdin = wire.stdin.take().unwrap();
    let talker = thread::spawn(move || while stdin.write_all(&[7; 4_096]).is_ok() {});
    wire.assert_hears(b"enough");
    wire.assert_hears_the_end();
    wire.assert_ends_quietly();
    drop(service);
    talker.join().unwrap();
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    let bare = Bare::start(0);
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    wire.stdout = None;
    let talker = thread::spawn(move || while service.write_all(&[7; 4_096]).is_ok() {});
    wire.assert_ends_quietly();
    talker.join().unwrap();
}

/// The three ports of a member, this minute's first, and listeners at every port of the range that
/// is not to refuse.
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

    /// The ports that were dialled so far.
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
fn the_first_port_that_answers_is_the_only_one_it_comes_to() {
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
fn where_all_three_are_refused_it_dials_no_other() {
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

/// A listener that has its hands full: what dials it hears nothing.
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
fn a_port_that_is_silent_is_given_up_for_the_last_minutes() {
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
fn silence_at_the_only_port_is_waited_for_once() {
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
fn a_close_without_a_byte_has_its_reasons() {
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
fn a_reset_in_the_middle_is_told() {
    let bare = Bare::start(0);
    let host = bare.member.host.to_string();
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    service.write_all(b"welcome").unwrap();
    wire.assert_hears(b"welcome");
    reset(service);
    wire.assert_fails(&[&host, "broke off", "reset", "log"]);
}

/// The reset may come to the one who writes, and is then a plain end to the one who reads.
#[test]
fn a_reset_is_told_whichever_way_hears_of_it() {
    for _ in 0..20 {
        let bare = Bare::start(0);
        let mut wire = bare.wire(&[]);
        let mut service = bare.accept();
        service.write_all(b"welcome").unwrap();
        wire.assert_hears(b"welcome");
        let mut stdin = wire.stdin.take().unwrap();
        let talker = thread::spawn(move || while stdin.write_all(&[7; 65_536]).is_ok() {});
        let mut some = vec![0; 1 << 20];
        service.read_exact(&mut some).unwrap();
        reset(service);
        wire.assert_fails(&["broke off"]);
        talker.join().unwrap();
    }
}

#[test]
fn a_token_comes_before_anything_else_and_at_once() {
    let bare = Bare::start(0);
    let mut nonces = Vec::new();
    for _ in 0..3 {
        let mut wire = bare.wire(&["--gate=token"]);
        let mut service = bare.accept();
        // Nothing was said on stdin yet.
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

    // Without one the trap has it, mute, whatever it says.
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
        // Nobody can have it at the other family's address either, or that is tried and answers.
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
fn a_name_without_an_address_is_named() {
    // No label is longer than 63 letters, so nobody has to be asked.
    let host = format!("{}.invalid", "x".repeat(64));
    let wire = Wire::start(connect_to(RANGE, &host, &[]));
    wire.assert_fails(&["cannot resolve", &host]);
}

#[test]
fn a_banned_member_is_told_what_it_may_be() {
    let (daemon, _echo) = hidden_echo();
    let member = Member::new(daemon.host, (10_000, 10_999));
    // From where `connect` comes as well.
    let trap = member.traps()[0];
    let touch = TcpStream::connect(member.at(trap)).unwrap();
    daemon.wait_for_line(" ban ");
    let wire = Wire::start(connect_to_daemon(&daemon));
    wire.assert_fails(&["hung up", "banned"]);
    drop(touch);
}

/// Whoever shares them with us may have made them so: it is the open file's, and not the process's.
#[test]
fn a_stdin_and_a_stdout_that_do_not_block_are_waited_for() {
    let bare = Bare::start(0);
    let (stdin, mut typist) = UnixStream::pair().unwrap();
    let (mut reader, stdout) = UnixStream::pair().unwrap();
    for end in [&stdin, &stdout] {
        end.set_nonblocking(true).unwrap();
    }
    let host = bare.member.host.to_string();
    let mut command = connect_to(range(&bare.member), &host, &[]);
    command
        .stdin(OwnedFd::from(stdin))
        .stdout(OwnedFd::from(stdout));
    let wire = Wire::start(command);
    let mut service = bare.accept();
    // Only now is there something to be read, and somebody who takes it.
    service.write_all(b"?").unwrap();
    reader.read_exact(&mut [0]).unwrap();
    typist.write_all(b"!").unwrap();
    service.read_exact(&mut [0]).unwrap();
    let sent = noise(MUCH, 7);
    let to_send = sent.clone();
    let sender = thread::spawn(move || service.write_all(&to_send).unwrap());
    let mut heard = vec![0; MUCH];
    reader.read_exact(&mut heard).unwrap();
    assert!(heard == sent);
    sender.join().unwrap();
    wire.assert_ends_quietly();
}

#[test]
fn a_stdin_that_is_closed_from_the_start_is_an_end() {
    let bare = Bare::start(0);
    let mut command = connect_to(range(&bare.member), &bare.member.host.to_string(), &[]);
    command.stdin(Stdio::null());
    let mut wire = Wire::start(command);
    let mut service = bare.accept();
    let mut heard = Vec::new();
    service.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"");
    service.write_all(b"welcome").unwrap();
    drop(service);
    wire.assert_hears(b"welcome");
    wire.assert_ends_quietly();
}
