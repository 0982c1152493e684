//! The testbed: addresses, a secret, the hidden service, and the daemon as a child process.

use super::error::DemoError;
use super::event::ShowEvent;
use super::scene::{GREETING, NAME, PERIOD_S, PortSchedule, Scene};
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
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

/// Ports in the range: sixteen to a row of the map, and few enough to see them all.
const RANGE_PORTS: u16 = 128;

/// Where a range may begin. Another program may have a port of the first one open on all addresses.
const RANGE_STARTS: [u16; 5] = [20_000, 21_000, 23_000, 25_000, 27_000];

/// Random bytes in the secret.
const SECRET_BYTES: usize = 16;

/// Seconds of a ban when people are invited to try it.
const STAY_BAN_S: u32 = 20;

/// Seconds of a ban otherwise: the scanner stays banned until the end.
const SHOW_BAN_S: u32 = 60;

/// Lines of the daemon's log that are shown if it ends by itself.
const LAST_LINES: usize = 3;

/// The running daemon and what belongs to it. The daemon is stopped when this is dropped.
pub struct Testbed {
    /// Who takes part, and where.
    pub scene: Scene,
    daemon: Child,
}

impl Testbed {
    /// Starts the hidden service, and the daemon in front of it.
    pub fn start(
        began: Instant,
        stays: bool,
        events: &Sender<ShowEvent>,
    ) -> Result<Self, DemoError> {
        if clock::unix() < RELEASE_UNIX {
            return Err(DemoError::ClockBehind);
        }
        let [x, y, secret @ ..] = random_bytes::<{ 2 + SECRET_BYTES }>()?;
        // Two digits each, so that the screen's columns stand still.
        let (x, y) = (10 + x % 90, 10 + y % 90);
        let host = |number| Ipv4Addr::new(127, x, y, number);
        let (address, service) = (host(10), host(22));
        let service = open_service(service).map_err(DemoError::system(service))?;
        let pattern = find_pattern(address, service)?;
        let (secret, schedule) = find_secret(secret, pattern)?;
        let ban_s = if stays { STAY_BAN_S } else { SHOW_BAN_S };
        let scene = Scene {
            began,
            address,
            member: host(77),
            scanner: host(66),
            newcomer: host(88),
            range: pattern.range(),
            secret,
            ban_s,
            stays,
            schedule: Arc::new(schedule),
        };
        let daemon = start_daemon(&configuration(&scene, service), events)
            .map_err(DemoError::system("the daemon can't be started"))?;
        Ok(Self { scene, daemon })
    }

    /// The ports that are open at the daemon's address, by the kernel's list (proc(5), /proc/net/tcp).
    pub fn open_ports(&self) -> Result<BTreeSet<u16>, DemoError> {
        const PATH: &str = "/proc/net/tcp";
        const LISTEN: &str = "0A";
        let table = fs::read_to_string(PATH).map_err(DemoError::system(PATH))?;
        // The kernel prints the address as the number that its bytes are in memory.
        let number = u32::from_ne_bytes(self.scene.address.octets());
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
}

impl Drop for Testbed {
    fn drop(&mut self) {
        // It has no file to remove, and the kernel closes its ports.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn random_bytes<const COUNT: usize>() -> Result<[u8; COUNT], DemoError> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes).map_err(DemoError::system("no random bytes"))?;
    Ok(bytes)
}

/// A secret whose real ports differ for as long as the show lasts.
fn find_secret(
    seed: [u8; SECRET_BYTES],
    pattern: Pattern,
) -> Result<(String, PortSchedule), DemoError> {
    let mut bytes = seed;
    loop {
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let schedule = PortSchedule::new(&secret, pattern);
        if schedule.has_distinct_ports() {
            return Ok((secret, schedule));
        }
        bytes = random_bytes()?;
    }
}

/// Starts the hidden service, which greets and sends back what it gets.
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
    // A visitor may leave at any time.
    let _ = stream
        .write_all(format!("{GREETING}\r\n").as_bytes())
        .and_then(|()| stream.try_clone())
        .and_then(|mut from| io::copy(&mut from, &mut stream));
}

/// A pattern whose range can be opened from end to end.
fn find_pattern(address: Ipv4Addr, service: SocketAddr) -> Result<Pattern, DemoError> {
    let is_free = |range: &Range| {
        let mut ports = range.low()..=range.high();
        // The configuration refuses a range with the service's own port.
        !range.contains(service.port())
            && ports.all(|port| TcpListener::bind((address, port)).is_ok())
    };
    RANGE_STARTS
        .into_iter()
        .filter_map(|low| Range::new(low, low + RANGE_PORTS - 1))
        .find(is_free)
        .and_then(|range| Pattern::new(range, DEFAULT_DECOYS, PERIOD_S))
        .ok_or(DemoError::NoFreeRange(address))
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

/// Starts our own binary as the daemon. It reads its configuration from a pipe and logs to another.
fn start_daemon(configuration: &str, events: &Sender<ShowEvent>) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["daemon", "--config", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C goes to us alone.
        .process_group(0);
    let mut daemon = child::dies_with_us(&mut command).spawn()?;
    if let Some(mut stdin) = daemon.stdin.take() {
        stdin.write_all(configuration.as_bytes())?;
    }
    if let Some(log) = daemon.stderr.take() {
        let events = events.clone();
        thread::spawn(move || read_log(log, &events));
    }
    Ok(daemon)
}

fn read_log(log: ChildStderr, events: &Sender<ShowEvent>) {
    let mut last = Vec::new();
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        last.push(line.clone());
        if last.len() > LAST_LINES {
            last.remove(0);
        }
        // Nobody receives it once the show is over.
        let _ = events.send(ShowEvent::Log(line));
    }
    let _ = events.send(ShowEvent::Failed(format!(
        "the daemon has ended: {}",
        last.join("; ")
    )));
}
