//! Daemons as processes of their own, with a mirage for each service.

use crate::traffic::{PATIENCE, Services};
use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::schedule::{Pattern, Range};
use shimmer::sys::{clock, process};
use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The period of the daemons whose rotations are counted, and of the others, whose ports are to stay.
pub const SHORT_S: u32 = 2;
pub const LONG_S: u32 = 86_400;

pub const SECRET: &str = "a secret for the bench 1234";

/// The limits of all daemons here but those that have the defaults.
const LIMITS: &str = "max-sessions = 2048\nmax-sessions-per-source = 2048\n";

pub struct Bench {
    pub program: PathBuf,
    pub folder: PathBuf,
    pub services: Services,
    /// Daemons that were started.
    count: Cell<u8>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How a daemon is started.
pub struct Setup<'a> {
    pub program: &'a Path,
    /// What stands before the program on its command line.
    pub wrapper: &'a [&'a str],
    pub period: u32,
    /// Lines of `[common]`.
    pub common: &'a str,
}

impl<'a> Setup<'a> {
    /// A program with room for all that is measured, and ports that stay.
    pub fn of(program: &'a Path) -> Self {
        Self {
            program,
            wrapper: &[],
            period: LONG_S,
            common: LIMITS,
        }
    }
}

impl Bench {
    pub fn new(program: PathBuf) -> Self {
        process::raise_descriptor_limit().expect("the limit can be asked");
        let folder = std::env::temp_dir().join(format!("shimmer-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the daemons");
        Self {
            program,
            folder,
            services: Services::start(),
            count: Cell::new(0),
        }
    }

    /// Starts this bench's program with a mirage for each service.
    pub fn daemon(&self, period: u32, services: &[SocketAddr]) -> Daemon {
        let setup = Setup {
            period,
            ..Setup::of(&self.program)
        };
        self.start(&setup, services)
    }

    /// Starts a daemon with a mirage for each service, and waits until it listens.
    pub fn start(&self, setup: &Setup, services: &[SocketAddr]) -> Daemon {
        let number = self.count.get();
        self.count.set(number + 1);
        let process = std::process::id();
        let host = Ipv4Addr::new(127, 128 + number, (process >> 8) as u8, process as u8 | 1);
        let file = |what: &str| self.folder.join(format!("{what}-{number}"));
        let log = file("log");
        let mut config = format!(
            "[common]\nstate-file = none\ncontrol = none\n{}log = {}\n",
            setup.common,
            log.display()
        );
        for (service, mirage) in services.iter().zip(0..) {
            let (low, high) = range(mirage);
            let _ = write!(
                config,
                "[mirage-m{mirage}]\nname = bench\nsecret = {SECRET}\nperiod = {}\n\
                 range = {low}-{high}\nforward = {service}\nlisten-address = {host}\n",
                setup.period
            );
        }
        fs::write(file("config"), config).expect("a configuration");
        let mut words = setup.wrapper.iter().map(Path::new).chain([setup.program]);
        let mut command = Command::new(words.next().expect("there is a program"));
        command.args(words).args(["daemon", "--config"]);
        command.arg(file("config")).stdin(Stdio::null());
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
}

/// A daemon, and what it takes to get in.
pub struct Daemon {
    pub child: Child,
    log: PathBuf,
    host: Ipv4Addr,
    key: Key,
}

impl Daemon {
    /// Nanoseconds of processor time that it has used.
    pub fn busy(&self) -> u64 {
        let text = fs::read_to_string(self.proc("schedstat")).expect("proc(5) has schedstat");
        let first = text
            .split_whitespace()
            .next()
            .expect("it has three numbers");
        first.parse().expect("it has numbers")
    }

    /// A line of its memory, in KiB. What status says of it is counted for each processor and up to
    /// 256 KiB old; this is added up page by page.
    pub fn memory(&self, line: &str) -> f64 {
        let text = fs::read_to_string(self.proc("smaps_rollup")).expect("proc(5) has smaps_rollup");
        let value = text.lines().find_map(|found| found.strip_prefix(line));
        let value = value.expect("smaps_rollup has this line");
        let kib = value.trim().trim_end_matches(" kB");
        kib.parse().expect("KiB are a number")
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd"))
            .expect("proc(5) has fd")
            .count()
    }

    pub fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.child.id()).into()
    }

    /// The real port of a mirage, by its number.
    pub fn door(&self, mirage: u16) -> SocketAddr {
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

fn lines(file: &Path, part: &str) -> usize {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter(|line| line.contains(part)).count()
}

#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
