//! What many sources can fill up: nothing beyond its limit, while who has the secret gets in and who
//! is in goes on.
//!
//! 65,000 sources connect 100,000 times, some mute, some with 48 bytes that are no token; others hold
//! every place there is, and come again when they are sent away; others say a byte now and then.
//! Meanwhile sessions do round trips, and twice a second somebody new comes with a token.

use crate::network::{self, Scanner, fresh_source};
use crate::process::{DAY_S, Daemon, Plan, Usage};
use crate::success::Dice;
use crate::table::Report;
use shimmer::limits::{LOG_LINES, LOG_WINDOW_MS, PIPES, TRAPS};
use shimmer::proto::scheme::token::TOKEN;
use socket2::Socket;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SOURCES: usize = 65_000;
const CONNECTS: usize = 100_000;

/// The same through a firewall, whose table of connections is not ours to fill.
const POOL_CONNECTS: usize = 30_000;

/// Of the [`CONNECTS`], those that are under way at once.
const WAVE: usize = 400;

/// Clients that hold a place each and say nothing.
const MUTE: usize = TRAPS + 44;

/// Clients that say a byte now and then.
const SLOW: usize = 100;
const SLOW_PAUSE: Duration = Duration::from_millis(250);

/// Sessions that go on meanwhile, and how long a round trip of theirs may take.
const SESSIONS: usize = 8;
const LONGEST_TRIP: Duration = Duration::from_secs(2);

/// Somebody new gets in within this time.
pub const LONGEST_ENTRY: Duration = Duration::from_secs(5);

/// The limit of descriptors, soft and hard, that Linux and OpenWrt give a service.
pub const DESCRIPTORS: (u64, u64) = (1_024, 4_096);

/// KiB that the tables may take when strangers have filled them for the first time: the bans, the
/// places, and what the allocator keeps.
const MOST_KIB: u64 = 512;

/// When the flood is over, the others go on for so long.
const AFTERWARDS: Duration = Duration::from_secs(6);

/// No attack takes longer, however slow the machine.
const LONGEST: Duration = Duration::from_secs(60);

/// A hidden service that sends back what it gets.
pub fn echo() -> SocketAddr {
    let listener = network::service();
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || -> io::Result<()> {
                stream.set_nodelay(true)?;
                let mut from = stream.try_clone()?;
                io::copy(&mut from, &mut stream)?;
                stream.shutdown(std::net::Shutdown::Write)
            });
        }
    });
    address
}

/// Comes with a token, and hears the service. As often as it takes, and as there is time.
fn enter(plan: &Plan, longest: Duration) -> io::Result<TcpStream> {
    let end = Instant::now() + longest;
    loop {
        let entered = try_to_enter(plan, end.saturating_duration_since(Instant::now()));
        if entered.is_ok() || Instant::now() >= end {
            return entered;
        }
    }
}

fn try_to_enter(plan: &Plan, longest: Duration) -> io::Result<TcpStream> {
    let (to, token) = plan.ticket();
    let socket = network::begin(fresh_source(), to)?;
    // As begin leaves it, it does not wait; a member's client does.
    let mut polled = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one descriptor, which lives through the call.
    unsafe { libc::poll(&raw mut polled, 1, longest.as_millis() as libc::c_int) };
    socket.set_nonblocking(false)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(longest.max(Duration::from_millis(1))))?;
    stream.write_all(&token)?;
    trip(&mut stream)?;
    Ok(stream)
}

pub fn trip(stream: &mut TcpStream) -> io::Result<()> {
    let (text, mut back) = ([0x5a; 64], [0; 64]);
    stream.write_all(&text)?;
    stream.read_exact(&mut back)?;
    if text == back {
        Ok(())
    } else {
        Err(ErrorKind::InvalidData.into())
    }
}

/// What the attack shares: where to, and whether it is over.
struct Attack<'a> {
    daemon: &'a Daemon,
    ports: Vec<u16>,
    sources: Vec<Ipv4Addr>,
    is_over: AtomicBool,
    connected: AtomicUsize,
}

impl Attack<'_> {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn target(&self, dice: &mut Dice) -> SocketAddrV4 {
        self.daemon
            .plan
            .at(self.ports[dice.below(self.ports.len())])
    }

    /// Connects and goes, again and again.
    fn flood(&self, connects: usize) {
        let mut dice = Dice::new();
        let end = Instant::now() + LONGEST;
        let mut left = connects;
        while left > 0 && Instant::now() < end {
            let wave = left.min(WAVE);
            left -= wave;
            let source = |dice: &mut Dice| self.sources[dice.below(self.sources.len())];
            let sockets: Vec<Socket> = (0..wave)
                .filter_map(|_| network::begin(source(&mut dice), self.target(&mut dice)).ok())
                .collect();
            // Whoever finds a queue full is dropped by the kernel, and not waited for.
            let (connected, _) = network::wait_a_little(&sockets, Duration::from_millis(100));
            self.connected.fetch_add(connected, Ordering::Relaxed);
            for mut socket in sockets.iter().filter(|_| dice.below(2) == 0) {
                let _ = socket.write(&[0x5a; TOKEN]);
            }
        }
    }

    /// Holds every place, and comes again when it is sent away.
    fn hold(&self) {
        let mut dice = Dice::new();
        let mut sockets: Vec<Option<Socket>> = (0..MUTE + SLOW).map(|_| None).collect();
        while self.goes_on() {
            for (number, place) in sockets.iter_mut().enumerate() {
                let is_slow = number >= MUTE;
                if let Some(mut socket) = place.as_ref() {
                    let is_gone = match socket.read(&mut [0]) {
                        Err(error) => !matches!(
                            error.kind(),
                            ErrorKind::WouldBlock | ErrorKind::NotConnected
                        ),
                        Ok(_) => true,
                    };
                    if !is_gone {
                        if is_slow {
                            let _ = socket.write(b"x");
                        }
                        continue;
                    }
                }
                *place = network::begin(fresh_source(), self.target(&mut dice)).ok();
            }
            thread::sleep(SLOW_PAUSE);
        }
    }
}

/// The most of what was seen.
#[derive(Default)]
struct Peak {
    usage: Usage,
    trip: Duration,
    entry: Duration,
    trips: usize,
    entries: usize,
    program: Duration,
    programs: usize,
    failures: Vec<String>,
}

/// Between two looks at what the daemon takes.
pub const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What it took at most over what it took before, and what it wrote; `descriptors` may be more by so many,
/// which are these.
pub fn report_usage(
    report: &mut Report,
    before: Usage,
    peak: Usage,
    (places, which): (usize, &str),
    log: &str,
) {
    let kib = peak.kib.saturating_sub(before.kib);
    report.row(
        "memory of its own, over the KiB before",
        &format!("{kib} KiB over {}", before.kib),
        &format!("{MOST_KIB} KiB"),
        kib <= MOST_KIB,
    );
    let descriptors = peak.descriptors.saturating_sub(before.descriptors);
    report.row(
        "descriptors, over those before",
        &format!("{descriptors} over {}", before.descriptors),
        &format!("{places}: {which}"),
        descriptors <= places,
    );
    let lines = busiest_window(log);
    report.row(
        "lines of the log in 10 s",
        &lines.to_string(),
        &format!("{LOG_LINES} of peers, 5 of its own"),
        lines <= LOG_LINES as usize + 5,
    );
}

pub fn ceilings(report: &mut Report) {
    let ports = Plan::new("ports", (10_000, 10_999), DAY_S);
    fill(report, ports, "listen-address = HOST\n", CONNECTS);
    let pool = Plan::new("pool", (20_000, 20_999), DAY_S);
    fill(
        report,
        pool,
        "listen = pool\npool-port = 9999\n",
        POOL_CONNECTS,
    );
}

fn fill(report: &mut Report, plan: Plan, listen: &str, connects: usize) {
    let name = plan.name.clone();
    report.part(&format!(
        "{name} at gate = token: {connects} connects from {SOURCES} sources, {MUTE} mute, {SLOW} slow clients"
    ));
    report.columns("what", "measured at most", "limit");
    let lines = format!("gate = token\n{listen}");
    let daemon = plan.start(echo(), "", &lines, |command| {
        crate::process::limit_descriptors(command, DESCRIPTORS);
    });
    let plan = &daemon.plan;
    let range = plan.pattern.range();
    let mut sessions: Vec<TcpStream> = (0..SESSIONS)
        .map(|_| enter(plan, LONGEST_ENTRY).expect("nobody is in the way yet"))
        .collect();
    let before = daemon.usage();
    let attack = Attack {
        daemon: &daemon,
        ports: Scanner::new().open_ports(plan.host, range.low()..=range.high()),
        sources: (0..SOURCES).map(|_| fresh_source()).collect(),
        is_over: AtomicBool::new(false),
        connected: AtomicUsize::new(0),
    };
    let mut peak = Peak::default();
    let begun = Instant::now();
    let took = thread::scope(|scope| {
        let floods: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| attack.flood(connects / 2)))
            .collect();
        scope.spawn(|| attack.hold());
        let mut last_entry = Instant::now();
        let mut flood = begun.elapsed();
        loop {
            if floods.iter().any(|flood| !flood.is_finished()) {
                flood = begun.elapsed();
            } else if begun.elapsed() > flood + AFTERWARDS {
                break;
            }
            for session in &mut sessions {
                let begun = Instant::now();
                match trip(session) {
                    Ok(()) => peak.trips += 1,
                    Err(error) => peak.failures.push(format!("a session: {error}")),
                }
                peak.trip = peak.trip.max(begun.elapsed());
            }
            if last_entry.elapsed() > Duration::from_millis(500) {
                last_entry = Instant::now();
                match enter(plan, LONGEST_ENTRY) {
                    Ok(_) => peak.entries += 1,
                    Err(error) => peak.failures.push(format!("a new user: {error}")),
                }
                peak.entry = peak.entry.max(last_entry.elapsed());
                let begun = Instant::now();
                match daemon.connect_by_program("token", LONGEST_ENTRY) {
                    Ok(()) => peak.programs += 1,
                    Err(error) => peak.failures.push(format!("shimmer connect: {error}")),
                }
                peak.program = peak.program.max(begun.elapsed());
            }
            peak.usage = peak.usage.max(daemon.usage());
            thread::sleep(LOOK_PAUSE);
        }
        attack.is_over.store(true, Ordering::Relaxed);
        flood
    });

    let connected = attack.connected.load(Ordering::Relaxed);
    let rate = connected as f64 / took.as_secs_f64();
    report.note(
        "handshakes",
        &format!(
            "{connected} in {:.1} s, {rate:.0} a second",
            took.as_secs_f64()
        ),
    );
    let ms = |duration: Duration| format!("{:.0} ms", duration.as_secs_f64() * 1_000.0);
    // A new user's session may still be about to end.
    let places = TRAPS + 2 * PIPES + 2 * 4;
    let most = (places, "TRAPS, PIPES, 4");
    report_usage(report, before, peak.usage, most, &daemon.log());
    report.row(
        &format!("a round trip of {SESSIONS} sessions, {} in all", peak.trips),
        &ms(peak.trip),
        &ms(LONGEST_TRIP),
        peak.trip <= LONGEST_TRIP && peak.trips > 0,
    );
    report.row(
        &format!("a new user is in, {} in all", peak.entries),
        &ms(peak.entry),
        &ms(LONGEST_ENTRY),
        peak.entry <= LONGEST_ENTRY && peak.entries > 0,
    );
    report.row(
        &format!("one by shimmer connect, {} in all", peak.programs),
        &ms(peak.program),
        &ms(LONGEST_ENTRY),
        peak.program <= LONGEST_ENTRY && peak.programs > 0,
    );
    let failed = peak.failures.len();
    let what = peak.failures.first().cloned().unwrap_or_default();
    report.row("failures", &format!("{failed} {what}"), "0", failed == 0);
    let is_whole = connected >= connects * 9 / 10;
    report.row(
        "handshakes that were finished",
        &connected.to_string(),
        "most",
        is_whole,
    );
}

/// The most lines of a log within [`LOG_WINDOW_MS`].
fn busiest_window(log: &str) -> usize {
    let at = |line: &str| -> Option<u64> {
        // 2026-11-21T09:00:12.404Z
        let time = line.get(11..23)?;
        let number = |from: usize, to: usize| time.get(from..to)?.parse::<u64>().ok();
        let seconds = number(0, 2)? * 3_600 + number(3, 5)? * 60 + number(6, 8)?;
        Some(seconds * 1_000 + number(9, 12)?)
    };
    let times: Vec<u64> = log.lines().filter_map(at).collect();
    let from = |first: usize| {
        let end = times[first] + LOG_WINDOW_MS;
        times[first..]
            .iter()
            .take_while(|time| **time < end)
            .count()
    };
    (0..times.len()).map(from).max().unwrap_or(0)
}
