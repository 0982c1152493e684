//! Counts, which another run repeats: system calls by strace(1), instructions by callgrind. Both make the daemon
//! slow, so that more waits for it each time it looks: for bulk they show the least it can do with.

use crate::daemon::{Bench, Daemon, Setup, wait_for};
use crate::traffic::{connect, greet, trip};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

const TRIPS: usize = 1_000;
const BYTES: u64 = 256 << 20;
const CONNECTIONS: usize = 200;

/// What is counted, and how often it is done. A connection is one with a greeting.
pub const COUNTED: [(&str, f64); 3] = [
    ("a connection", CONNECTIONS as f64),
    ("a MB", BYTES as f64 / 1e6),
    ("a round trip", TRIPS as f64),
];

/// Figures of each of [`COUNTED`]; None without the tool.
pub type Counts = [Option<f64>; 3];

/// Does what the number of [`COUNTED`] says.
fn work(number: usize, daemon: &Daemon) -> io::Result<()> {
    let door = daemon.door(number as u16);
    match number {
        0 => (0..CONNECTIONS).try_for_each(|_| greet(door)),
        1 => {
            let stream = connect(door)?;
            io::copy(&mut stream.take(BYTES), &mut io::sink()).map(drop)
        }
        _ => {
            let mut stream = connect(door)?;
            (0..TRIPS).try_for_each(|_| trip(&mut stream))
        }
    }
}

impl Bench {
    /// The program's system calls.
    pub fn system_calls(&self, program: &Path) -> Counts {
        let daemon = self.start(&Setup::of(program), &self.services.all());
        let mut number = 0;
        COUNTED.map(|(_, times)| {
            let calls = self.trace(&daemon, || work(number, &daemon));
            number += 1;
            Some(calls? / times)
        })
    }

    /// The daemon's system calls while something is done.
    fn trace(&self, daemon: &Daemon, work: impl FnOnce() -> io::Result<()>) -> Option<f64> {
        let counts = self.folder.join("strace");
        let mut strace = Command::new("strace")
            .args(["-q", "-c", "-f", "-o"])
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

    /// The program's instructions in user mode.
    pub fn instructions(&self, program: &Path) -> Counts {
        if Command::new("valgrind").arg("--version").output().is_err() {
            return [None; 3];
        }
        let out = self.folder.join("callgrind");
        let file = format!("--callgrind-out-file={}", out.display());
        let setup = Setup {
            wrapper: &["valgrind", "--quiet", "--tool=callgrind", &file],
            ..Setup::of(program)
        };
        let daemon = self.start(&setup, &self.services.all());
        let mut dumps = 0;
        let mut dump = || {
            dumps += 1;
            self.dump(&daemon, &out, dumps)
        };
        let mut number = 0;
        COUNTED.map(|(_, times)| {
            // One before, so that what is made at the first time does not count.
            work(number, &daemon).expect("the daemon works under callgrind");
            dump()?;
            work(number, &daemon).expect("the daemon works under callgrind");
            number += 1;
            Some(dump()? / times)
        })
    }

    /// The instructions since the last dump. Callgrind numbers its dumps, and begins a new count with each.
    fn dump(&self, daemon: &Daemon, out: &Path, number: usize) -> Option<f64> {
        let asked = Command::new("callgrind_control")
            .args(["--dump", &daemon.child.id().to_string()])
            .output();
        let file = format!("{}.{number}", out.display());
        if !asked.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let mut total = None;
        wait_for("callgrind's dump", || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let found = text.lines().find_map(|line| line.strip_prefix("totals: "));
            total = found.and_then(|found| found.trim().parse().ok());
            total.is_some()
        });
        total
    }
}
