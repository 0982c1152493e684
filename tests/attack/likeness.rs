//! What a visitor at gate = token can tell apart, who has no token: it should be nothing.
//!
//! Visitors come to a real port, a grace port and a trap, unknown and banned, and say nothing, some
//! bytes, or many. What each sees is compared with what an unknown one sees at a trap who said the
//! same: when the connection ends and how, whether a word came, how much was taken from it. They are
//! mixed at random and hundreds are under way at once, so that whatever else the machine does meets
//! all of them alike.
//!
//! The tests must not cry wolf and must not be deaf: so they are also given samples with a seeded
//! difference, and have to see it.

use crate::network::{self, Answer, Scanner, fresh_source};
use crate::process::{DAY_S, Daemon, Plan};
use crate::statistics::{Rate, same_distribution, same_share};
use crate::success::Dice;
use crate::table::Report;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use shimmer::proto::scheme::token::TOKEN;
use socket2::Socket;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

/// A difference that chance makes less often than this is none of chance.
const SIGNIFICANT: f64 = 1e-6;

/// Daemons that are visited at once, and visitors that each has at once: fewer than it has places.
const DAEMONS: usize = 8;
const AT_ONCE: usize = 160;

/// Visits of each kind.
const VISITS: usize = 200;

/// Sources that each daemon has banned before.
const BANNED: usize = 200;

/// How long a trap holds, in seconds: the shortest time that gate = token allows.
const TRAP_S: u32 = shimmer::limits::MIN_TOKEN_TRAP_S;

/// What is seeded to see whether the tests see it.
const SEEDED_MS: f64 = 20.0;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Port {
    Trap,
    Real,
    Grace,
}

/// Who comes, where to, and what it says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    /// So many bytes.
    bytes: usize,
    /// And then that it has nothing more to say.
    is_ended: bool,
    port: Port,
    is_banned: bool,
}

const SAID: [(usize, bool); 9] = [
    (0, false),
    (1, false),
    (TOKEN - 1, false),
    (TOKEN, false),
    (TOKEN + 1, false),
    (5_000, false),
    (100_000, false),
    (0, true),
    (TOKEN - 1, true),
];

impl Cell {
    fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for (bytes, is_ended) in SAID {
            for port in [Port::Trap, Port::Real, Port::Grace] {
                for is_banned in [false, true] {
                    cells.push(Self {
                        bytes,
                        is_ended,
                        port,
                        is_banned,
                    });
                }
            }
        }
        cells
    }

    /// What it is compared with.
    fn usual(self) -> Self {
        Self {
            port: Port::Trap,
            is_banned: false,
            ..self
        }
    }

    fn text(self) -> String {
        let end = if self.is_ended { " and an end" } else { "" };
        format!("{} bytes{end}", self.bytes)
    }
}

/// All that the visitors of one cell have seen.
#[derive(Clone, Default)]
struct Seen {
    /// Milliseconds from the connect to the end.
    end_ms: Vec<f64>,
    /// Bytes on our side that were not taken after two seconds.
    untaken: Vec<f64>,
    /// How it ended.
    ways: Vec<String>,
}

/// One visit under way.
struct Visit {
    cell: Cell,
    socket: Socket,
    begun: Instant,
    written: usize,
    is_ended: bool,
    untaken: Option<f64>,
    heard: usize,
    /// The end, once it was seen, and how it was.
    over: Option<(Instant, &'static str)>,
}

/// A daemon, and the visits that it still gets.
struct Host {
    daemon: Daemon,
    /// A trap, a real port and a grace port.
    ports: [u16; 3],
    banned: Vec<Ipv4Addr>,
    coming: Vec<Cell>,
    under_way: usize,
}

/// A trap, a real port and a grace port that are open now.
fn one_of_each(plan: &Plan) -> Option<[u16; 3]> {
    let minute = plan.minute();
    let real = |minute| plan.pattern.real(&plan.key, minute);
    let live: Vec<u16> = (minute - 1..=minute + 1).map(real).collect();
    let nearby: Vec<u16> = (minute - 3..=minute + 3).map(real).collect();
    let open: Vec<u16> = plan.open_ports();
    let trap = open.iter().find(|port| !nearby.contains(port))?;
    let grace = nearby
        .iter()
        .find(|port| open.contains(port) && !live.contains(port))?;
    Some([*trap, live[1], *grace])
}

impl Host {
    fn start(number: usize, service: SocketAddr) -> Self {
        Self::start_beside(number, service, None)
    }

    /// The same, with another mirage at gate = port on its host.
    fn start_beside(number: usize, service: SocketAddr, other: Option<&Plan>) -> Self {
        // Few ports, so that one of them is a grace port and open. One of the daemons has a pool.
        let (range, listen) = match number {
            0 => ((20_000, 20_059), "listen = pool\npool-port = 9999"),
            _ => ((10_000, 10_059), "listen-address = HOST"),
        };
        let plans = (0..).map(|more| Plan::new(&format!("like-{number}-{more}"), range, DAY_S));
        let (plan, ports) = plans
            .map(|plan| (one_of_each(&plan), plan))
            .find_map(|(ports, plan)| Some((plan, ports?)))
            .expect("the numbers do not end");
        let mut lines = format!("gate = token\ntrap-time = {TRAP_S}s\n{listen}\n");
        if let Some(other) = other {
            lines += &other.mirage(service, "listen-address = HOST\n");
        }
        let daemon = plan.start(service, "", &lines, |_| {});
        let banned: Vec<Ipv4Addr> = (0..BANNED).map(|_| fresh_source()).collect();
        let trap = daemon.plan.at(ports[Port::Trap as usize]);
        for &source in &banned {
            let mut socket = network::begin(source, trap).expect("a connection");
            network::wait_for_handshakes(std::slice::from_ref(&socket));
            socket.write_all(&[0; TOKEN]).expect("it takes a token");
            // It ends with a reset, which leaves the place free, and is a verdict too.
        }
        Self {
            daemon,
            ports,
            banned,
            coming: Vec::new(),
            under_way: 0,
        }
    }

    fn begin(&mut self, dice: &mut Dice) -> Option<Visit> {
        let cell = self.coming.pop()?;
        self.under_way += 1;
        let source = match cell.is_banned {
            true => self.banned[dice.below(self.banned.len())],
            false => fresh_source(),
        };
        let begun = Instant::now();
        let to = self.daemon.plan.at(self.ports[cell.port as usize]);
        Some(Visit {
            cell,
            socket: network::begin(source, to).expect("a connection"),
            begun,
            written: 0,
            is_ended: false,
            untaken: None,
            heard: 0,
            over: None,
        })
    }
}

/// When it is looked how much the other side has taken.
const LOOK: Duration = Duration::from_secs(2);

/// After the other side has closed, the answer to one more byte comes in this time.
const AFTERWARDS: Duration = Duration::from_millis(100);

impl Visit {
    /// Says what is still to be said.
    fn speak(&mut self) {
        let text = [0x5a; 16_384];
        while self.written < self.cell.bytes {
            let left = (self.cell.bytes - self.written).min(text.len());
            match (&self.socket).write(&text[..left]) {
                Ok(written) => self.written += written,
                Err(_) => return,
            }
        }
        if self.cell.is_ended && !self.is_ended {
            self.is_ended = self.socket.shutdown(Shutdown::Write).is_ok();
        }
    }

    /// Sees what has come.
    fn look(&mut self) {
        if self.over.is_some() {
            return;
        }
        let way = loop {
            match (&self.socket).read(&mut [0; 64]) {
                Ok(0) => break "closed",
                Ok(heard) => self.heard += heard,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::ConnectionReset => break "reset",
                    ErrorKind::ConnectionRefused => break "refused",
                    _ => break "an error",
                },
            }
        };
        self.over = Some((Instant::now(), way));
        let _ = (&self.socket).write(b"?");
    }

    /// Whether all has been seen, by now.
    fn is_over(&mut self, now: Instant) -> bool {
        if self.untaken.is_none() && now >= self.begun + LOOK {
            let mut bytes: libc::c_int = 0;
            // SAFETY: the kernel writes an int there.
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
            self.untaken = Some(f64::from(bytes));
        }
        self.over.is_some_and(|(at, _)| now >= at + AFTERWARDS)
    }

    fn tell(self, seen: &mut Seen) {
        let Some((at, way)) = self.over else { return };
        let afterwards = match (&self.socket).write(b"?").map_err(|error| error.kind()) {
            Ok(_) => "goes",
            Err(ErrorKind::BrokenPipe) => "breaks",
            Err(ErrorKind::ConnectionReset) => "resets",
            Err(_) => "fails",
        };
        let took = at.duration_since(self.begun);
        seen.end_ms.push(took.as_secs_f64() * 1_000.0);
        seen.untaken.push(self.untaken.unwrap_or(-1.0));
        let (heard, written) = (self.heard, self.written);
        seen.ways.push(format!(
            "{way}, a byte more {afterwards}, {heard} heard, {written} sent"
        ));
    }
}

/// All visits, mixed. Answers what each cell has seen.
fn visit(hosts: &mut [Host]) -> BTreeMap<Cell, Seen> {
    let (mut dice, mut seen) = (Dice::new(), BTreeMap::<Cell, Seen>::new());
    for host in hosts.iter_mut() {
        for cell in Cell::all() {
            let visits = VISITS / DAEMONS;
            host.coming.extend(std::iter::repeat_n(cell, visits));
        }
        dice.shuffle(&mut host.coming);
    }
    let mut poll = Poll::new().expect("a poll");
    let mut events = Events::with_capacity(1_024);
    let mut visits: BTreeMap<usize, (usize, Visit)> = BTreeMap::new();
    let (mut next, mut next_start) = (0, Instant::now());
    // The visits of one daemon follow each other evenly.
    let pause = Duration::from_secs(u64::from(TRAP_S)) / AT_ONCE as u32;
    while !visits.is_empty() || hosts.iter().any(|host| !host.coming.is_empty()) {
        if Instant::now() >= next_start {
            next_start += pause;
            for (number, host) in hosts.iter_mut().enumerate() {
                if host.under_way >= AT_ONCE {
                    continue;
                }
                let Some(visit) = host.begin(&mut dice) else {
                    continue;
                };
                poll.registry()
                    .register(
                        &mut SourceFd(&visit.socket.as_raw_fd()),
                        Token(next),
                        Interest::READABLE | Interest::WRITABLE,
                    )
                    .expect("the poll takes it");
                visits.insert(next, (number, visit));
                next += 1;
            }
        }
        let _ = poll.poll(&mut events, Some(Duration::from_millis(2)));
        for event in &events {
            if let Some((_, visit)) = visits.get_mut(&event.token().0) {
                if event.is_writable() {
                    visit.speak();
                }
                visit.look();
            }
        }
        let now = Instant::now();
        let over: Vec<usize> = visits
            .iter_mut()
            .filter_map(|(&key, (_, visit))| visit.is_over(now).then_some(key))
            .collect();
        for key in over {
            if let Some((host, visit)) = visits.remove(&key) {
                hosts[host].under_way -= 1;
                let seen = seen.entry(visit.cell).or_default();
                visit.tell(seen);
            }
        }
    }
    seen
}

/// The least likely of the differences between two ways of ending: how probable it is, were they one
/// and the same.
fn same_ways(one: &[String], other: &[String]) -> f64 {
    let ways: BTreeSet<&String> = one.iter().chain(other).collect();
    let count = |sample: &[String], way: &String| Rate {
        hits: sample.iter().filter(|seen| **seen == *way).count() as u64,
        tries: sample.len() as u64,
    };
    let each = ways
        .iter()
        .map(|way| same_share(count(one, way), count(other, way)));
    // So many were tried.
    each.fold(1.0, f64::min).min(1.0) * ways.len() as f64
}

/// The three tests of what one cell has seen against the usual.
fn compare(cell: &Seen, usual: &Seen) -> [f64; 3] {
    [
        same_distribution(&cell.end_ms, &usual.end_ms),
        same_distribution(&cell.untaken, &usual.untaken),
        same_ways(&cell.ways, &usual.ways).min(1.0),
    ]
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The whole of it.
pub fn likeness(report: &mut Report) {
    report.part(&format!(
        "gate = token: what a visitor can tell apart, {VISITS} visits of each kind"
    ));
    let service = network::service().local_addr().expect("it is bound");
    let mut hosts: Vec<Host> = (0..DAEMONS)
        .map(|number| Host::start(number, service))
        .collect();
    let seen = visit(&mut hosts);

    report.columns("said at a trap, by unknown ones", "medians", "how it ended");
    for (cell, seen) in seen.iter().filter(|(cell, _)| **cell == cell.usual()) {
        let ends = median(&seen.end_ms);
        let untaken = median(&seen.untaken);
        let ways: BTreeSet<&String> = seen.ways.iter().collect();
        let ways: Vec<&str> = ways.into_iter().map(String::as_str).collect();
        let medians = format!("{ends:>8.1} ms, {untaken:>6} untaken");
        report.note(&cell.text(), &format!("{medians:<34} {}", ways.join("; ")));
    }
    println!();
    report.columns(
        "said elsewhere",
        "p of time, of taken bytes, of way",
        "none below 1e-6",
    );
    for (cell, here) in seen.iter().filter(|(cell, _)| **cell != cell.usual()) {
        let p = compare(here, &seen[&cell.usual()]);
        let who = if cell.is_banned { "banned" } else { "unknown" };
        let what = format!("{:?}, {who}, {}", cell.port, cell.text());
        let is_good = p.iter().all(|p| *p >= SIGNIFICANT) && here.end_ms.len() == VISITS;
        let measured = format!("{:>8.1e}  {:>8.1e}  {:>8.1e}", p[0], p[1], p[2]);
        report.row(&what, &measured, "", is_good);
    }
    println!();
    report.columns("tests of the tests", "p", "below 1e-6");
    deafness(report, &seen);
    println!();
    answers(report, &mut hosts);
}

/// Seeds differences, which the tests have to see.
fn deafness(report: &mut Report, seen: &BTreeMap<Cell, Seen>) {
    let (cell, usual) = seen
        .iter()
        .find(|(cell, _)| cell.port == Port::Real && cell.bytes == TOKEN)
        .map(|(cell, here)| (here, &seen[&cell.usual()]))
        .expect("real ports were visited");
    let mut late = cell.clone();
    late.end_ms.iter_mut().for_each(|ms| *ms += SEEDED_MS);
    let mut other = cell.clone();
    for way in &mut other.ways {
        *way = way.replace("closed", "reset");
    }
    let row = |report: &mut Report, what: &str, p: f64| {
        report.row(what, &format!("{p:>8.1e}"), "", p < SIGNIFICANT);
    };
    let late = compare(&late, usual)[0];
    row(report, "20 ms later at the real port", late);
    let other = compare(&other, usual)[2];
    row(report, "a reset for a close at the real port", other);
}

/// What the kernel says to a SYN: from a banned source and an unknown one, at each kind of port.
fn answers(report: &mut Report, hosts: &mut [Host]) {
    const SCANS: usize = 40;
    report.columns("answers to a SYN", "different ones", "one: all the same");
    let mut answers: BTreeMap<(Port, bool), BTreeSet<Answer>> = BTreeMap::new();
    for host in hosts.iter_mut() {
        for is_banned in [false, true] {
            let mut scanner = Scanner::new();
            if is_banned {
                let trap = host.daemon.plan.at(host.ports[Port::Trap as usize]);
                let mut socket = network::connect(scanner.source, trap).expect("it is open");
                socket.write_all(&[0; TOKEN]).expect("it takes a token");
            }
            for _ in 0..SCANS {
                let seen = scanner.scan(host.daemon.plan.host, host.ports);
                for (port, kind) in [Port::Trap, Port::Real, Port::Grace].iter().enumerate() {
                    let answer = seen[&host.ports[port]].clone();
                    answers
                        .entry((*kind, is_banned))
                        .or_default()
                        .insert(answer);
                }
            }
        }
    }
    let usual = answers[&(Port::Trap, false)].clone();
    for ((port, is_banned), seen) in &answers {
        let who = if *is_banned { "banned" } else { "unknown" };
        let is_good = seen.len() == 1 && *seen == usual;
        let scans = SCANS * hosts.len();
        let measured = format!("{} in {scans}", seen.len());
        report.row(&format!("{port:?}, {who}"), &measured, "", is_good);
    }
    for answer in usual {
        if let Answer::Open(bytes) = answer {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            report.note("fragment bits, TTL, flags, window, options", &hex.join(""));
        }
    }
}

/// When the verdict falls, as it can be read elsewhere: a mirage with gate = port on the same host
/// closes at once for whoever is banned. What was said where must not show in when that begins.
pub fn verdicts(report: &mut Report) {
    const READERS: usize = 4;
    const TRIES: usize = 10;
    // Silence is judged after three seconds, the rest at once.
    const WHEN_MS: [u64; 3] = [500, 2_500, 3_500];
    const SAID: [(usize, bool); 3] = [(0, false), (TOKEN, false), (0, true)];
    report.part("gate = token: when the ban falls, read at another mirage with gate = port");
    report.columns(
        "port, said, read after",
        "banned, at traps",
        "p not below 1e-6",
    );
    let service = network::service().local_addr().expect("it is bound");
    let pairs: Vec<(Host, Vec<u16>)> = (1..=READERS)
        .map(|number| {
            let other = Plan::new(&format!("other-{number}"), (30_000, 30_999), DAY_S);
            let host = Host::start_beside(100 + number, service, Some(&other));
            let minute = other.minute();
            let real = |minute| other.pattern.real(&other.key, minute);
            let reals: Vec<u16> = (minute - 3..=minute + 3).map(real).collect();
            let mut traps = other.open_ports();
            traps.retain(|port| !reals.contains(port));
            (host, traps)
        })
        .collect();
    let mut rates = BTreeMap::<(u64, Cell), Rate>::new();
    for when in WHEN_MS {
        let mut dice = Dice::new();
        let mut cells: Vec<(usize, Cell, u16)> = Vec::new();
        for cell in Cell::all() {
            if SAID.contains(&(cell.bytes, cell.is_ended)) && !cell.is_banned {
                for number in 0..READERS * TRIES {
                    let traps = &pairs[number % READERS].1;
                    cells.push((number % READERS, cell, traps[dice.below(traps.len())]));
                }
            }
        }
        dice.shuffle(&mut cells);
        let banned = thread::scope(|scope| {
            let visits: Vec<_> = cells
                .iter()
                .map(|&(number, cell, elsewhere)| {
                    let host = &pairs[number].0;
                    scope.spawn(move || is_banned_after(host, cell, elsewhere, when))
                })
                .collect();
            let ended = visits.into_iter().map(|visit| visit.join());
            ended.map(|end| end.expect("a visit")).collect::<Vec<_>>()
        });
        for ((_, cell, _), is_banned) in cells.into_iter().zip(banned) {
            rates.entry((when, cell)).or_default().count(is_banned);
        }
    }
    for (&(when, cell), &rate) in &rates {
        let usual = rates[&(when, cell.usual())];
        let p = same_share(rate, usual);
        let what = format!("{:?}, {}, {when} ms", cell.port, cell.text());
        let measured = format!("{:.2}  {:.2}  p {p:.1e}", rate.share(), usual.share());
        report.row(&what, &measured, "", p >= SIGNIFICANT);
    }
    let fell = |bytes, when| {
        let of = |(key, rate): (&(u64, Cell), &Rate)| {
            let is_it = key.0 == when && key.1.bytes == bytes && !key.1.is_ended;
            is_it.then_some(rate.share())
        };
        rates.iter().filter_map(of).sum::<f64>() / 3.0
    };
    let is_seen = fell(0, 500) < 0.1 && fell(0, 3_500) > 0.9 && fell(TOKEN, 500) > 0.9;
    report.row("it does fall, and this does read it", "", "", is_seen);
}

/// Comes, says its piece, waits, and asks at another mirage's trap: held is not banned.
fn is_banned_after(host: &Host, cell: Cell, elsewhere: u16, when_ms: u64) -> bool {
    let (source, plan) = (fresh_source(), &host.daemon.plan);
    let to = plan.at(host.ports[cell.port as usize]);
    let mut visit = network::connect(source, to).expect("an open port");
    visit
        .write_all(&[0x5a; TOKEN][..cell.bytes])
        .expect("it is open");
    if cell.is_ended {
        visit.shutdown(Shutdown::Write).expect("it is connected");
    }
    thread::sleep(Duration::from_millis(when_ms));
    let mut reading = network::connect(source, plan.at(elsewhere)).expect("an open port");
    let soon = Some(Duration::from_millis(300));
    reading.set_read_timeout(soon).expect("it is a socket");
    let read = reading.read(&mut [0]);
    !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
