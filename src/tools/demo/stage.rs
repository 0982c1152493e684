//! The stage: addresses, a secret, the hidden service, and the daemon as a child of ours.

use super::event::Event;
use super::scene::{GREETING, Insight, NAME, PERIOD_S, Scene};
use super::story::Story;
use super::visitors;
use crate::limits::{DEFAULT_DECOYS, RELEASE_UNIX};
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::sys::{child, clock};
use core::net::{Ipv4Addr, SocketAddr};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

/// Ports of the range: sixteen to a row of the map, so few that all can be seen.
const PORTS: u16 = 128;

/// Where a range may begin. Somebody may have a port of the first one open on all addresses.
const RANGES: [u16; 5] = [20_000, 21_000, 23_000, 25_000, 27_000];

/// Bytes of randomness in the secret.
const SECRET: usize = 16;

/// How long a ban lasts when visitors are invited to earn one, in seconds.
const STAY_BAN_S: u32 = 20;

/// How long it lasts otherwise: the scanner stays banned until the end.
const SHOW_BAN_S: u32 = 60;

/// Lines of the daemon's log that are told when it ends unasked.
const LAST_LINES: usize = 3;

/// The stage, set. When it goes, so does the daemon.
pub struct Stage {
    /// Who plays, and where.
    pub scene: Scene,
    daemon: Child,
    is_scanner_banned: Arc<AtomicBool>,
    has_cast: bool,
    has_newcomer: bool,
}

impl Stage {
    /// Starts the hidden service, and the daemon in front of it.
    pub fn set(began: Instant, stays: bool, teller: &Sender<Event>) -> Result<Self, String> {
        if clock::unix() < RELEASE_UNIX {
            return Err("the clock is years behind, and the ports follow the clock".into());
        }
        let [x, y, secret @ ..] = random_bytes::<{ 2 + SECRET }>()?;
        // Two digits each, for the sake of the screen's columns.
        let (x, y) = (10 + x % 90, 10 + y % 90);
        let host = |number| Ipv4Addr::new(127, x, y, number);
        let (address, service) = (host(10), host(22));
        let service = open_service(service).map_err(|error| format!("{service}: {error}"))?;
        let range = free_range(address, service)?;
        let pattern = Pattern::new(range, DEFAULT_DECOYS, PERIOD_S).ok_or("no pattern")?;
        let (secret, insight) = find_secret(secret, pattern)?;
        let ban_s = if stays { STAY_BAN_S } else { SHOW_BAN_S };
        let scene = Scene {
            began,
            address,
            member: host(77),
            scanner: host(66),
            newcomer: host(88),
            range,
            secret,
            ban_s,
            stays,
            insight: Arc::new(insight),
        };
        let daemon = start_daemon(&configuration(&scene, service), teller)
            .map_err(|error| format!("the daemon could not be started: {error}"))?;
        Ok(Self {
            scene,
            daemon,
            is_scanner_banned: Arc::default(),
            has_cast: false,
            has_newcomer: false,
        })
    }

    /// Sends in whoever the story waits for now.
    pub fn send_in(&mut self, story: &Story, teller: &Sender<Event>) {
        let is_banned = story.scanner.ban.is_some();
        self.is_scanner_banned.store(is_banned, Ordering::Relaxed);
        if story.is_open() && !self.has_cast {
            self.has_cast = true;
            let (scene, teller_of_member) = (self.scene.clone(), teller.clone());
            thread::spawn(move || visitors::member(&scene, &teller_of_member));
            let (scene, teller_of_scanner) = (self.scene.clone(), teller.clone());
            let is_banned = Arc::clone(&self.is_scanner_banned);
            thread::spawn(move || visitors::scanner(&scene, &is_banned, &teller_of_scanner));
        }
        if let Some(port) = story.port_left_behind().filter(|_| !self.has_newcomer) {
            self.has_newcomer = true;
            let (scene, teller) = (self.scene.clone(), teller.clone());
            thread::spawn(move || visitors::newcomer(&scene, port, &teller));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It has nothing to tidy up: no file, and its ports are the kernel's to close.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn random_bytes<const COUNT: usize>() -> Result<[u8; COUNT], String> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
    Ok(bytes)
}

fn find_secret(seed: [u8; SECRET], pattern: Pattern) -> Result<(String, Insight), String> {
    let mut bytes = seed;
    loop {
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let insight = Insight::new(&secret, pattern);
        if insight.is_tellable() {
            return Ok((secret, insight));
        }
        bytes = random_bytes()?;
    }
}

/// The hidden service greets, and sends back what it is sent.
fn open_service(address: Ipv4Addr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((address, 0))?;
    let service = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    Ok(service)
}

fn serve(mut stream: TcpStream) {
    // A visitor may leave whenever it likes.
    let _ = stream
        .write_all(format!("{GREETING}\r\n").as_bytes())
        .and_then(|()| stream.try_clone())
        .and_then(|mut from| io::copy(&mut from, &mut stream));
}

/// A range of which every port can be opened.
fn free_range(address: Ipv4Addr, service: SocketAddr) -> Result<Range, String> {
    let mut trouble = String::new();
    for low in RANGES {
        let Some(range) = Range::new(low, low + PORTS - 1) else {
            continue;
        };
        if range.contains(service.port()) {
            continue;
        }
        let mut taken = (low..=range.high())
            .filter_map(|port| TcpListener::bind((address, port)).err().map(|e| (port, e)));
        match taken.next() {
            None => return Ok(range),
            Some((port, error)) => trouble = format!("{address} port {port}: {error}"),
        }
    }
    Err(trouble)
}

fn configuration(scene: &Scene, service: SocketAddr) -> String {
    let Scene {
        address,
        range,
        secret,
        ban_s,
        ..
    } = scene;
    let (low, high) = (range.low(), range.high());
    format!(
        "[common]\n\
         log = stderr\n\
         state-file = none\n\
         control = none\n\
         ban-time = {ban_s}s\n\
         [mirage-{NAME}]\n\
         secret = {secret}\n\
         forward = {service}\n\
         listen-address = {address}\n\
         range = {low}-{high}\n\
         period = {PERIOD_S}s\n\
         trap-time = 5s\n"
    )
}

/// Our own binary, as the daemon. It reads its configuration from a pipe and logs into another.
fn start_daemon(configuration: &str, teller: &Sender<Event>) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["daemon", "--config", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C is ours to answer.
        .process_group(0);
    let mut daemon = child::dies_with_us(&mut command).spawn()?;
    if let Some(mut stdin) = daemon.stdin.take() {
        stdin.write_all(configuration.as_bytes())?;
    }
    if let Some(log) = daemon.stderr.take() {
        let teller = teller.clone();
        thread::spawn(move || read_log(log, &teller));
    }
    Ok(daemon)
}

fn read_log(log: ChildStderr, teller: &Sender<Event>) {
    let mut last = Vec::new();
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        last.push(line.clone());
        if last.len() > LAST_LINES {
            last.remove(0);
        }
        // Nobody listens any more once the show is over.
        let _ = teller.send(Event::Log(line));
    }
    let _ = teller.send(Event::Broken(format!(
        "the daemon has ended: {}",
        last.join("; ")
    )));
}

/// Which ports the kernel says are open at an address (proc(5), /proc/net/tcp).
pub fn open_ports(address: Ipv4Addr) -> Result<BTreeSet<u16>, String> {
    const PATH: &str = "/proc/net/tcp";
    const LISTEN: &str = "0A";
    let table = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
    // The kernel prints the address as the number that its bytes are in memory.
    let number = u32::from_ne_bytes(address.octets());
    let local = format!("{number:08X}:");
    let open = table.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let port = words.next()?.strip_prefix(&local)?;
        let state = words.nth(1)?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == LISTEN).then_some(port)
    });
    Ok(open.collect())
}
