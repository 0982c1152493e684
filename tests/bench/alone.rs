//! One program, beside the same without it.

use crate::count::COUNTED;
use crate::daemon::{Bench, Daemon, LONG_S, SECRET, SHORT_S, Setup};
use crate::table::{Figure, Table};
use crate::traffic::{FLOWS, KINDS, connect, sample, trip};
use shimmer::proto::scheme::key::Key;
use shimmer::sys::clock;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Samples of each kind.
const ROUNDS: usize = 5;

/// Sessions that lie idle when their memory is measured: enough that a page more or less is no
/// matter.
const IDLE_SESSIONS: usize = 500;

/// Runs of `shimmer port`.
const PORT_RUNS: usize = 9;

impl Bench {
    /// Measures the program, and the memory of the same linked as for routers.
    pub fn alone(&self, routers: Option<PathBuf>) -> Table {
        let mut table = Table::new(ROUNDS, ["direct", "shimmer"]);
        self.rotations(&mut table);
        self.traffic(&mut table);
        self.calls(&mut table);
        self.memory(&mut table, routers);
        self.port(&mut table);
        table
    }

    /// Whole rotations are counted: from the middle of one window to the middle of the next.
    fn rotations(&self, table: &mut Table) {
        let one = self.daemon(SHORT_S, &[self.services.echo]);
        let many = self.daemon(SHORT_S, &[self.services.echo; 16]);
        let still = self.daemon(LONG_S, &[self.services.echo]);
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
        let services = self.services.all();
        let daemon = self.daemon(LONG_S, &services);
        let mut cells: Vec<[Vec<f64>; 4]> = vec![Default::default(); FLOWS.len() * KINDS.len()];
        for round in 0..ROUNDS {
            for (cell, samples) in cells.iter_mut().enumerate() {
                let (number, (flows, _)) = (cell / FLOWS.len(), FLOWS[cell % FLOWS.len()]);
                let (kind, door) = (&KINDS[number], daemon.door(number as u16));
                let (mut direct, mut shimmer, mut cost) = (0.0, 0.0, 0.0);
                // Neither is always the first.
                for turn in 0..2 {
                    if (round + turn) % 2 == 0 {
                        direct = sample(kind, flows, services[number], &daemon).0;
                    } else {
                        (shimmer, cost) = sample(kind, flows, door, &daemon);
                    }
                }
                let values = [direct, shimmer, cost, shimmer / direct];
                for (samples, value) in samples.iter_mut().zip(values) {
                    samples.push(value);
                }
            }
        }
        for (cell, [direct, shimmer, cost, ratio]) in cells.into_iter().enumerate() {
            let kind = &KINDS[cell / FLOWS.len()];
            let (_, flows) = FLOWS[cell % FLOWS.len()];
            let ratio = Figure::of(ratio).median;
            table.row(
                &format!("{}, {flows}", kind.rate),
                Some(Figure::of(direct)),
                Some(Figure::of(shimmer)),
                Some(ratio),
            );
            let cost = Some(Figure::of(cost));
            table.row(&format!("  {}", kind.cost), None, cost, None);
        }
    }

    fn calls(&self, table: &mut Table) {
        let calls = self.system_calls(&self.program);
        for ((what, _), calls) in COUNTED.iter().zip(calls) {
            let what = format!("calls {what}");
            match calls {
                Some(calls) => table.one(&what, calls),
                None => table.none(&what, "(needs strace, and leave to use it)"),
            }
        }
    }

    fn memory(&self, table: &mut Table, routers: Option<PathBuf>) {
        let daemon = self.daemon(LONG_S, &[self.services.echo]);
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
        let Some(program) = routers else {
            return table.none("idle, as on a router", "(needs the musl target)");
        };
        let daemon = self.start(&Setup::of(&program), &[self.services.echo]);
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
