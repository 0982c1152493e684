//! What Shimmer costs, measured on the real daemon; `run` starts it.
//!
//! Direct and through the daemon take turns in short samples, so that what else the machine does
//! meets both, and figures are medians. The daemon's own processor time (proc(5), schedstat, in
//! nanoseconds) stands beside each rate: on a busy machine it is the steadier of the two.
//!
//! ```text
//!   direct     client ──────────────────▶ service        client and service are threads of this
//!   through    client ──▶ the daemon ───▶ service        process, the daemon is one of its own
//! ```
//!
//! It prints figures and judges none of them.

use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::schedule::{Pattern, Range};
use shimmer::sys::{clock, process};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Samples of each kind.
const ROUNDS: usize = 5;

/// How long one sample counts, after a start that it does not count.
const SAMPLE: Duration = Duration::from_millis(400);
const START: Duration = Duration::from_millis(80);

/// Sessions that lie idle when their memory is measured: enough that a page more or less is no
/// matter.
const IDLE_SESSIONS: usize = 500;

/// What the traced daemon moves. strace makes it slow, so these are small and exact.
const TRACED_TRIPS: usize = 1_000;
const TRACED_BYTES: u64 = 256 << 20;
const TRACED_CONNECTIONS: usize = 200;

/// Runs of `shimmer port`.
const PORT_RUNS: usize = 9;

/// The period of the daemons whose rotations are counted, and of the others, whose ports are to stay.
const SHORT_S: u32 = 2;
const LONG_S: u32 = 86_400;

const SECRET: &str = "a secret for the bench 1234";
const MESSAGE: usize = 64;
const BLOCK: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    // `cargo bench` and `cargo test --all-targets` pass options; only the script passes a program.
    let mut programs = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'));
    let Some(program) = programs.next() else {
        println!("tests/bench/run builds what this needs, and runs it");
        return;
    };
    let bench = Bench::new(program.into(), programs.next().map(PathBuf::from));
    let mut table = Table::default();
    bench.rotations(&mut table);
    bench.traffic(&mut table);
    bench.calls(&mut table);
    bench.memory(&mut table);
    bench.port(&mut table);
    table.print();
}

/// The least, the median and the greatest of some samples.
struct Figure {
    low: f64,
    median: f64,
    high: f64,
}

impl Figure {
    fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self {
            low: samples[0],
            median: samples[samples.len() / 2],
            high: samples[samples.len() - 1],
        }
    }

    fn text(&self) -> String {
        let digits = |value: f64| match value {
            value if value >= 100.0 => 0,
            value if value >= 10.0 => 1,
            _ => 2,
        };
        let Self { low, median, high } = *self;
        if low.to_bits() == high.to_bits() {
            return format!("{median:>9.0$}", digits(median));
        }
        format!(
            "{median:>9.0$} {low:>8.1$} {high:>8.2$}",
            digits(median),
            digits(low),
            digits(high)
        )
    }
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn row(
        &mut self,
        what: &str,
        direct: Option<Figure>,
        shimmer: Option<Figure>,
        ratio: Option<f64>,
    ) {
        let text = |figure: Option<Figure>| figure.map_or_else(String::new, |figure| figure.text());
        let (direct, shimmer) = (text(direct), text(shimmer));
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let line = format!("{what:<44}{direct:<30}{shimmer:<30}{ratio}");
        let _ = writeln!(self.0, "{}", line.trim_end());
    }

    fn one(&mut self, what: &str, value: f64) {
        self.row(what, None, Some(Figure::of(vec![value])), None);
    }

    fn none(&mut self, what: &str, why: &str) {
        let _ = writeln!(self.0, "{what:<74}        - {why}");
    }

    fn print(&self) {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        let processors = thread::available_parallelism().map_or(1, usize::from);
        println!("{processors} processors, load {load}; medians of {ROUNDS} rounds\n");
        let heads = ["   median      min      max", "   median      min      max"];
        println!("{:<44}{:<30}shimmer", "", "direct");
        println!("{:<44}{:<30}{:<30}ratio", "", heads[0], heads[1]);
        print!("{}", self.0);
    }
}

/// A daemon, and what it takes to get in.
struct Daemon {
    child: Child,
    log: PathBuf,
    host: Ipv4Addr,
    key: Key,
}

impl Daemon {
    /// Nanoseconds of processor time that it has used.
    fn busy(&self) -> u64 {
        let text = fs::read_to_string(self.proc("schedstat")).expect("proc(5) has schedstat");
        let first = text
            .split_whitespace()
            .next()
            .expect("it has three numbers");
        first.parse().expect("it has numbers")
    }

    /// A line of its memory, in KiB. What status says of it is counted for each processor and up to
    /// 256 KiB old; this is added up page by page.
    fn memory(&self, line: &str) -> f64 {
        let text = fs::read_to_string(self.proc("smaps_rollup")).expect("proc(5) has smaps_rollup");
        let value = text.lines().find_map(|found| found.strip_prefix(line));
        let value = value.expect("smaps_rollup has this line");
        let kib = value.trim().trim_end_matches(" kB");
        kib.parse().expect("KiB are a number")
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd"))
            .expect("proc(5) has fd")
            .count()
    }

    fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.child.id()).into()
    }

    /// The real port of a mirage, by its number.
    fn door(&self, mirage: u16) -> SocketAddr {
        let pattern = pattern(mirage, LONG_S);
        let port = pattern.real(&self.key, pattern.minute(clock::unix()));
        (self.host, port).into()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn range(mirage: u16) -> (u16, u16) {
    let low = 10_000 + mirage * 1_000;
    (low, low + 999)
}

fn pattern(mirage: u16, period: u32) -> Pattern {
    let (low, high) = range(mirage);
    let range = Range::new(low, high).expect("the range runs forwards");
    Pattern::new(range, 15, period).expect("the range holds a minute's ports")
}

/// The services behind the daemon. They work until this process ends.
struct Services {
    /// Says one byte and closes.
    greeter: SocketAddr,
    /// Sends blocks for as long as they are taken.
    source: SocketAddr,
    /// Sends messages back.
    echo: SocketAddr,
}

fn serve(answer: fn(TcpStream) -> io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

impl Services {
    fn start() -> Self {
        // A greeter needs no thread for each: its byte fits into any socket.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let greeter = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(b".");
            }
        });
        Self {
            greeter,
            source: serve(|mut stream| {
                let block = vec![0x5a; BLOCK];
                loop {
                    stream.write_all(&block)?;
                }
            }),
            echo: serve(|mut stream| {
                stream.set_nodelay(true)?;
                let mut message = [0; MESSAGE];
                loop {
                    stream.read_exact(&mut message)?;
                    stream.write_all(&message)?;
                }
            }),
        }
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn greet(to: SocketAddr) -> io::Result<()> {
    let mut text = Vec::new();
    connect(to)?.read_to_end(&mut text)?;
    if text == b"." {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn trip(stream: &mut TcpStream) -> io::Result<()> {
    let mut message = [0x5a; MESSAGE];
    stream.write_all(&message)?;
    stream.read_exact(&mut message)
}

/// What one flow does again and again: each time it answers how much that was.
type Work = Box<dyn FnMut() -> io::Result<u64> + Send>;

#[derive(Clone, Copy)]
enum Traffic {
    Connections,
    Bytes,
    Trips,
}

impl Traffic {
    fn work(self, to: SocketAddr) -> io::Result<Work> {
        Ok(match self {
            Self::Connections => Box::new(move || greet(to).map(|()| 1)),
            Self::Bytes => {
                let (mut stream, mut block) = (connect(to)?, vec![0; BLOCK]);
                Box::new(move || Ok(stream.read(&mut block)? as u64))
            }
            Self::Trips => {
                let mut stream = connect(to)?;
                Box::new(move || trip(&mut stream).map(|()| 1))
            }
        })
    }
}

/// Flows that are under way.
struct Load {
    amount: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    flows: Vec<JoinHandle<io::Result<()>>>,
}

impl Load {
    fn start(traffic: Traffic, flows: usize, to: SocketAddr) -> Self {
        let amount = Arc::new(AtomicU64::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let flow = |_| {
            let (amount, is_over) = (Arc::clone(&amount), Arc::clone(&is_over));
            thread::spawn(move || {
                let mut work = traffic.work(to)?;
                while !is_over.load(Ordering::Relaxed) {
                    amount.fetch_add(work()?, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        let flows = (0..flows).map(flow).collect();
        Self {
            amount,
            is_over,
            flows,
        }
    }

    fn amount(&self) -> u64 {
        self.amount.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for flow in self.flows {
            flow.join()
                .expect("a flow does not panic")
                .expect("a flow goes on to its end");
        }
    }
}

/// How much a second, and how many nanoseconds of the daemon for each.
fn sample(traffic: Traffic, flows: usize, to: SocketAddr, daemon: &Daemon) -> (f64, f64) {
    let load = Load::start(traffic, flows, to);
    thread::sleep(START);
    let (begin, amount, busy) = (Instant::now(), load.amount(), daemon.busy());
    thread::sleep(SAMPLE);
    let (amount, busy) = ((load.amount() - amount) as f64, daemon.busy() - busy);
    let seconds = begin.elapsed().as_secs_f64();
    load.end();
    (amount / seconds, busy as f64 / amount)
}

struct Bench {
    program: PathBuf,
    /// The same, linked as for routers.
    routers: Option<PathBuf>,
    folder: PathBuf,
    services: Services,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Bench {
    fn new(program: PathBuf, routers: Option<PathBuf>) -> Self {
        process::raise_descriptor_limit().expect("the limit can be asked");
        let folder = std::env::temp_dir().join(format!("shimmer-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the daemons");
        Self {
            program,
            routers,
            folder,
            services: Services::start(),
        }
    }

    /// Starts a daemon with a mirage for each service, and waits until it listens.
    fn daemon(&self, number: u8, period: u32, services: &[SocketAddr]) -> Daemon {
        self.daemon_of(&self.program, number, period, services)
    }

    fn daemon_of(
        &self,
        program: &Path,
        number: u8,
        period: u32,
        services: &[SocketAddr],
    ) -> Daemon {
        let process = std::process::id();
        let host = Ipv4Addr::new(127, 128 + number, (process >> 8) as u8, process as u8 | 1);
        let file = |what: &str| self.folder.join(format!("{what}-{number}"));
        let log = file("log");
        let mut config = format!(
            "[common]\nstate-file = none\ncontrol = none\nmax-sessions = 2048\nmax-sessions-per-source = 2048\n\
             log = {}\n",
            log.display()
        );
        for (service, mirage) in services.iter().zip(0..) {
            let (low, high) = range(mirage);
            let _ = write!(
                config,
                "[mirage-m{mirage}]\nname = bench\nsecret = {SECRET}\nperiod = {period}\n\
                 range = {low}-{high}\nforward = {service}\nlisten-address = {host}\n"
            );
        }
        fs::write(file("config"), config).expect("a configuration");
        let mut command = Command::new(program);
        command.args(["daemon", "--config"]).arg(file("config"));
        command.stdin(Stdio::null());
        // SAFETY: prctl(2) may be called between fork and exec; it takes no pointers here.
        unsafe {
            command.pre_exec(|| {
                // However the bench ends, its daemons end with it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let daemon = Daemon {
            child: command.spawn().expect("the daemon starts"),
            key: Key::stretch(SECRET.as_bytes(), "bench"),
            log,
            host,
        };
        wait_for("the daemon", || {
            lines(&daemon.log, " listen mirage=") == services.len()
        });
        daemon
    }

    /// Whole rotations are counted: from the middle of one window to the middle of the next.
    fn rotations(&self, table: &mut Table) {
        let one = self.daemon(0, SHORT_S, &[self.services.echo]);
        let many = self.daemon(1, SHORT_S, &[self.services.echo; 16]);
        let still = self.daemon(2, LONG_S, &[self.services.echo]);
        let daemons = [&one, &many, &still];
        let middle = || {
            let period_ms = i64::from(SHORT_S) * 1_000;
            let into = clock::real_ms().rem_euclid(period_ms);
            let rest = (period_ms * 3 / 2 - into) % period_ms;
            thread::sleep(Duration::from_millis(
                if rest < 100 { rest + period_ms } else { rest } as u64,
            ));
        };
        middle();
        let mut samples = daemons.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            let before = daemons.map(Daemon::busy);
            middle();
            for ((daemon, before), samples) in daemons.iter().zip(before).zip(&mut samples) {
                samples.push((daemon.busy() - before) as f64 / 1_000.0);
            }
        }
        let [one, many, still] = samples.map(Figure::of);
        table.row("rotation, 1 mirage, us CPU", None, Some(one), None);
        table.row("rotation, 16 mirages, us CPU", None, Some(many), None);
        table.row("no rotation for as long, us CPU", None, Some(still), None);
    }

    fn traffic(&self, table: &mut Table) {
        let Services {
            greeter,
            source,
            echo,
        } = self.services;
        let kinds = [
            (
                Traffic::Connections,
                greeter,
                1.0,
                "connections/s",
                "us CPU a connection",
            ),
            (Traffic::Bytes, source, 1e6, "MB/s", "us CPU a MB"),
            (
                Traffic::Trips,
                echo,
                1.0,
                "64-byte round trips/s",
                "us CPU a round trip",
            ),
        ];
        let daemon = self.daemon(3, LONG_S, &[greeter, source, echo]);
        let mut cells: Vec<[Vec<f64>; 4]> = vec![Default::default(); 2 * kinds.len()];
        for round in 0..ROUNDS {
            for (cell, samples) in cells.iter_mut().enumerate() {
                let (traffic, service, unit, ..) = kinds[cell / 2];
                let flows = [1, 64][cell % 2];
                let door = daemon.door((cell / 2) as u16);
                let (mut direct, mut shimmer, mut cost) = (0.0, 0.0, 0.0);
                // Neither is always the first.
                for turn in 0..2 {
                    if (round + turn) % 2 == 0 {
                        direct = sample(traffic, flows, service, &daemon).0 / unit;
                    } else {
                        (shimmer, cost) = sample(traffic, flows, door, &daemon);
                        shimmer /= unit;
                        cost *= unit / 1_000.0;
                    }
                }
                for (samples, value) in
                    samples
                        .iter_mut()
                        .zip([direct, shimmer, cost, shimmer / direct])
                {
                    samples.push(value);
                }
            }
        }
        for (cell, [direct, shimmer, cost, ratio]) in cells.into_iter().enumerate() {
            let (.., rate, costs) = kinds[cell / 2];
            let flows = ["1 flow", "64 flows"][cell % 2];
            let ratio = Figure::of(ratio).median;
            table.row(
                &format!("{rate}, {flows}"),
                Some(Figure::of(direct)),
                Some(Figure::of(shimmer)),
                Some(ratio),
            );
            table.row(&format!("  {costs}"), None, Some(Figure::of(cost)), None);
        }
    }

    /// System calls, by strace. It slows the daemon down, so that more waits for it each time it
    /// looks: for bulk that is the fewest calls it can do with.
    fn calls(&self, table: &mut Table) {
        let Services {
            greeter,
            source,
            echo,
        } = self.services;
        let daemon = self.daemon(4, LONG_S, &[greeter, source, echo]);
        let trips = self.trace(&daemon, || {
            let mut stream = connect(daemon.door(2))?;
            (0..TRACED_TRIPS).try_for_each(|_| trip(&mut stream))
        });
        let bytes = self.trace(&daemon, || {
            let stream = connect(daemon.door(1))?;
            io::copy(&mut stream.take(TRACED_BYTES), &mut io::sink()).map(drop)
        });
        let connections = self.trace(&daemon, || {
            (0..TRACED_CONNECTIONS).try_for_each(|_| greet(daemon.door(0)))
        });
        for (what, calls, amount) in [
            ("calls a round trip", trips, TRACED_TRIPS as f64),
            ("calls a MB", bytes, TRACED_BYTES as f64 / 1e6),
            ("calls a connection", connections, TRACED_CONNECTIONS as f64),
        ] {
            match calls {
                Some(calls) => table.one(what, calls / amount),
                None => table.none(what, "(needs strace, and leave to use it)"),
            }
        }
    }

    /// The daemon's system calls while something is done.
    fn trace(&self, daemon: &Daemon, work: impl FnOnce() -> io::Result<()>) -> Option<f64> {
        let counts = self.folder.join("strace");
        let mut strace = Command::new("strace")
            .args(["-q", "-c", "-o"])
            .arg(&counts)
            .args(["-p", &daemon.child.id().to_string()])
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let is_traced = || {
            let status = fs::read_to_string(daemon.proc("status")).unwrap_or_default();
            !status.contains("TracerPid:\t0\n")
        };
        wait_for("strace", || {
            is_traced() || strace.try_wait().is_ok_and(|end| end.is_some())
        });
        if is_traced() {
            work().expect("the traced daemon works");
            // SAFETY: no pointers; the child has not been waited for, so the number is its own.
            unsafe { libc::kill(strace.id() as i32, libc::SIGINT) };
        }
        let _ = strace.wait();
        let counts = fs::read_to_string(counts).ok()?;
        // % time, seconds, usecs/call, calls, errors (may be empty), the call's name
        let total = counts.lines().find(|line| line.ends_with(" total"))?;
        total.split_whitespace().nth(3)?.parse().ok()
    }

    fn memory(&self, table: &mut Table) {
        let daemon = self.daemon(5, LONG_S, &[self.services.echo]);
        table.one("idle, KiB resident", daemon.memory("Rss:"));
        table.one("  of which its own (RssAnon)", daemon.memory("Anonymous:"));
        let enter = |_| {
            let mut stream = connect(daemon.door(0)).expect("the door is open");
            trip(&mut stream).expect("the service is there");
            stream
        };
        // The first one has the pool's first pipe made, which stays.
        let _first = enter(0);
        let (own, descriptors) = (daemon.memory("Anonymous:"), daemon.descriptors());
        let sessions: Vec<TcpStream> = (0..IDLE_SESSIONS).map(enter).collect();
        let each = |value: f64| value / sessions.len() as f64;
        table.one(
            "an idle session, bytes of RssAnon",
            each((daemon.memory("Anonymous:") - own) * 1_024.0),
        );
        table.one(
            "  descriptors",
            each((daemon.descriptors() - descriptors) as f64),
        );
        drop(daemon);
        let Some(program) = &self.routers else {
            return table.none("idle, as on a router", "(needs the musl target)");
        };
        let daemon = self.daemon_of(program, 6, LONG_S, &[self.services.echo]);
        table.one(
            "idle, static as on a router, KiB resident",
            daemon.memory("Rss:"),
        );
        table.one("  of which its own (RssAnon)", daemon.memory("Anonymous:"));
    }

    /// What a member waits for before each ssh.
    fn port(&self, table: &mut Table) {
        let secret = self.folder.join("secret");
        fs::write(&secret, SECRET).expect("a secret");
        let ms = |work: &mut dyn FnMut() -> bool| {
            let begin = Instant::now();
            work().then(|| begin.elapsed().as_secs_f64() * 1_000.0)
        };
        let mut ask = || {
            let mut command = Command::new(&self.program);
            command
                .args(["port", "bench:10000:10999", "--secret-file"])
                .arg(&secret);
            command
                .stderr(Stdio::null())
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let mut stretch =
            || std::hint::black_box(Key::stretch(SECRET.as_bytes(), "bench")).hmac(&[]) != [0; 32];
        let (mut whole, mut key) = (Vec::new(), Vec::new());
        for _ in 0..PORT_RUNS {
            whole.extend(ms(&mut ask));
            key.extend(ms(&mut stretch));
        }
        if whole.len() == PORT_RUNS {
            table.row("shimmer port, ms", None, Some(Figure::of(whole)), None);
        } else {
            table.none("shimmer port, ms", "(this program has no such command)");
        }
        table.row("  of which the key", None, Some(Figure::of(key)), None);
    }
}

fn lines(file: &Path, part: &str) -> usize {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter(|line| line.contains(part)).count()
}

#[track_caller]
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
