//! What a flood of packets does to a silent gate: it takes no more than its share of the daemon, and
//! whoever has the secret is in soon after.
//!
//! The sensor takes 2,000 packets a second from the kernel, and those that wait there fit into one
//! socket's buffer; the kernel drops the others before they cost anything. So a flood costs the daemon
//! what 2,000 packets a second cost, and a member the knocks that are dropped with it. Nothing tells
//! him so: he dials, hears nothing, and knocks again.

use crate::ceilings::{DESCRIPTORS, LOOK_PAUSE, echo, report_usage, trip};
use crate::network::{SYN, Sender, fresh_source};
use crate::process::{DAY_S, Daemon, Plan, Usage};
use crate::success::Dice;
use crate::table::Report;
use shimmer::limits::{CONNECT_MS, KNOCK_PAUSE_MS, KNOCK_TIMES, LIVE_WINDOWS, SENSED_PER_SECOND};
use shimmer::proto::scheme::knock::{self, Hop, Protocols};
use shimmer::proto::scheme::packet::{self, PACKET};
use shimmer::proto::scheme::token::{NONCE, Nonce};
use shimmer::sys::clock;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Packets of one flood, and how long it takes them: ten times what is heard.
const PACKETS: usize = 20_000;
const LASTS: Duration = Duration::from_secs(1);
const WAVE: usize = 100;

/// A member begins when so much of the flood has passed.
const BEFORE: Duration = Duration::from_millis(200);

/// Floods, and visits without one.
const RUNS: usize = 5;
const ALONE: usize = 3;

/// Addresses that the strangers have.
const SOURCES: usize = 65_000;

/// Knocks of a sequence.
const KNOCKS: usize = shimmer::limits::DEFAULT_KNOCKS as usize;

/// A silent gate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Knock,
    Packet,
}

impl Gate {
    pub const ALL: [Self; 2] = [Self::Knock, Self::Packet];

    pub fn word(self) -> &'static str {
        match self {
            Self::Knock => "knock",
            Self::Packet => "packet",
        }
    }

    /// How long it takes to show it what it wants to see.
    fn takes(self) -> Duration {
        let packets = match self {
            Self::Knock => KNOCKS * KNOCK_TIMES,
            Self::Packet => 1,
        };
        Duration::from_millis(KNOCK_PAUSE_MS) * packets as u32
    }

    /// Shows the gate what it wants to see in a minute.
    fn show(self, plan: &Plan, minute: u64, source: Ipv4Addr, sender: &Sender) {
        let from = SocketAddrV4::new(source, 40_000);
        match self {
            Self::Knock => {
                for hop in sequence(plan, minute) {
                    for _ in 0..KNOCK_TIMES {
                        sender.segment(from, plan.at(hop.port), SYN);
                        pause();
                    }
                }
            }
            Self::Packet => {
                let to = plan.at(plan.pattern.real(&plan.key, minute));
                sender.datagram(from, to, &datagram(plan, source));
                pause();
            }
        }
    }
}

fn pause() {
    thread::sleep(Duration::from_millis(KNOCK_PAUSE_MS));
}

fn sequence(plan: &Plan, minute: u64) -> knock::Hops {
    let range = plan.pattern.range();
    knock::sequence(&plan.key, range, minute, KNOCKS, Protocols::Tcp)
}

fn datagram(plan: &Plan, address: Ipv4Addr) -> [u8; PACKET] {
    let mut nonce: Nonce = [0; NONCE];
    getrandom::fill(&mut nonce).expect("the kernel has random numbers");
    packet::make(&plan.key, clock::unix(), Some(IpAddr::V4(address)), &nonce)
}

/// Comes as `shimmer connect` does, from an address of its own: each knock is sent twice, then it dials,
/// and begins anew with another minute's where nothing answers. Hears the service.
pub fn enter(plan: &Plan, gate: Gate, sender: &Sender, longest: Duration) -> io::Result<TcpStream> {
    let (source, begun) = (fresh_source(), Instant::now());
    let now = plan.minute();
    for minute in [now, now - 1, now + 1].into_iter().cycle() {
        gate.show(plan, minute, source, sender);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
        let to = plan.at(plan.pattern.real(&plan.key, minute));
        match socket.connect_timeout(&to.into(), Duration::from_millis(CONNECT_MS)) {
            Err(error) if begun.elapsed() > longest => return Err(error),
            Err(_) => {}
            Ok(()) => {
                let mut stream = TcpStream::from(socket);
                stream.set_read_timeout(Some(longest))?;
                trip(&mut stream)?;
                return Ok(stream);
            }
        }
    }
    unreachable!("the minutes go round")
}

/// What strangers flood a gate with: SYNs and datagrams at all ports of the range. The worst of them have
/// seen a member: they know his first knock, and the datagram that he sent.
struct Flood<'a> {
    plan: &'a Plan,
    gate: Gate,
    sources: Vec<Ipv4Addr>,
    first: Hop,
    real: u16,
    used: [u8; PACKET],
}

impl Flood<'_> {
    /// Sends all of it. Answers how long it took.
    fn send(&self) -> Duration {
        const WAVES: usize = PACKETS / WAVE;
        let (sender, mut dice, begun) = (Sender::new(), Dice::new(), Instant::now());
        for wave in 1..=WAVES {
            for _ in 0..WAVE / 2 {
                self.send_two(&sender, &mut dice);
            }
            let due = begun + LASTS * wave as u32 / WAVES as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        begun.elapsed()
    }

    fn send_two(&self, sender: &Sender, dice: &mut Dice) {
        let range = self.plan.pattern.range();
        let anywhere = |dice: &mut Dice| {
            let port = range.low() + dice.below(range.count() as usize) as u16;
            self.plan.at(port)
        };
        let source = self.sources[dice.below(self.sources.len())];
        let from = SocketAddrV4::new(source, 40_000);
        match (self.gate, dice.below(3)) {
            (Gate::Knock, 0) => sender.segment(from, self.plan.at(self.first.port), SYN),
            (Gate::Packet, 0) => sender.datagram(from, self.plan.at(self.real), &self.used),
            _ => {
                let random: Vec<u8> = (0..PACKET).map(|_| dice.next() as u8).collect();
                sender.datagram(from, anywhere(dice), &random);
            }
        }
        sender.segment(from, anywhere(dice), SYN);
    }
}

pub fn flood(report: &mut Report) {
    for gate in Gate::ALL {
        fill(report, gate);
    }
}

fn fill(report: &mut Report, gate: Gate) {
    let word = gate.word();
    report.part(&format!(
        "gate = {word}: {PACKETS} packets of strangers in {} s, {RUNS} times, a member in the middle",
        LASTS.as_secs()
    ));
    report.columns("what", "measured", "limit");
    // So few ports that many a guess is right at first.
    let plan = Plan::new(&format!("flood-{word}"), (10_000, 10_059), DAY_S);
    let lines = format!("gate = {word}\nlisten-address = HOST\n");
    let daemon = plan.start(echo(), "", &lines, |command| {
        crate::process::limit_descriptors(command, DESCRIPTORS);
    });
    daemon.load_firewall(&[]);
    let before = daemon.usage();
    let (plan, sender) = (&daemon.plan, Sender::new());
    // One run of `shimmer connect` tries three minutes.
    let longest = (gate.takes() + Duration::from_millis(CONNECT_MS)) * LIVE_WINDOWS as u32;
    let timed = || {
        let begun = Instant::now();
        let entered = enter(plan, gate, &sender, longest);
        entered.map(|_| begun.elapsed())
    };
    let mut alone: Vec<Duration> = (0..ALONE).filter_map(|_| timed().ok()).collect();
    let (minute, member) = (plan.minute(), SocketAddrV4::new(fresh_source(), 40_000));
    let used = datagram(plan, *member.ip());
    sender.datagram(member, plan.at(plan.real()), &used);
    let flood = Flood {
        plan,
        gate,
        sources: (0..SOURCES).map(|_| fresh_source()).collect(),
        first: sequence(plan, minute)[0],
        real: plan.real(),
        used,
    };
    let is_over = AtomicBool::new(false);
    let (mut entries, mut took) = (Vec::new(), Duration::ZERO);
    let mut failures: Vec<String> = Vec::new();
    let peak = thread::scope(|scope| {
        let watch = scope.spawn(|| watch(&daemon, &is_over));
        for _ in 0..RUNS {
            let flood = scope.spawn(|| flood.send());
            thread::sleep(BEFORE);
            match timed() {
                Ok(entry) => entries.push(entry),
                Err(error) => failures.push(error.to_string()),
            }
            took = took.max(flood.join().expect("a flood"));
        }
        is_over.store(true, Ordering::Relaxed);
        watch.join().expect("a watch")
    });
    daemon.load_firewall(&["--remove"]);

    let came = PACKETS as f64 / took.as_secs_f64();
    let heard = f64::from(SENSED_PER_SECOND);
    report.note(
        "the bucket",
        &format!(
            "of {came:.0} a second {heard:.0} are heard: each packet with a chance of {:.2}",
            heard / came
        ),
    );
    let ms = |duration: Duration| format!("{:.0} ms", duration.as_secs_f64() * 1_000.0);
    for (what, entries, wanted) in [
        ("a member alone", &mut alone, ALONE),
        ("a member amid it", &mut entries, RUNS),
    ] {
        entries.sort();
        let [median, most] = [entries.len() / 2, entries.len().saturating_sub(1)]
            .map(|place| entries.get(place).copied().unwrap_or_default());
        report.row(
            &format!("{what}, {} times: median, longest", entries.len()),
            &format!("{}, {}", ms(median), ms(most)),
            &format!("{}: a client's tries", ms(longest)),
            entries.len() == wanted && most <= longest,
        );
    }
    // The last member's session may still be about to end.
    let most = (LIVE_WINDOWS + 2 * 4, "open ports, 2 sessions");
    report_usage(report, before, peak, most, &daemon.log());
    let failed = failures.len();
    let what = failures.first().cloned().unwrap_or_default();
    report.row("failures", &format!("{failed} {what}"), "0", failed == 0);
}

/// Looks at the daemon until it is over.
fn watch(daemon: &Daemon, is_over: &AtomicBool) -> Usage {
    let mut peak = Usage::default();
    while !is_over.load(Ordering::Relaxed) {
        peak = peak.max(daemon.usage());
        thread::sleep(LOOK_PAUSE);
    }
    peak
}
