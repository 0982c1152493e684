//! The daemon as it is shipped: a process of its own, at the server's side.

use crate::network::{self, wait_for};
use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::schedule::{Pattern, Range};
use shimmer::proto::scheme::token;
use shimmer::sys::{child, clock};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a member knows of a daemon, whether it runs already or not.
pub struct Plan {
    pub name: String,
    pub host: Ipv4Addr,
    pub key: Key,
    pub pattern: Pattern,
    secret: String,
}

/// What a daemon takes of the machine.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub kib: u64,
    pub descriptors: usize,
}

impl Usage {
    /// The most of both.
    pub fn max(self, other: Self) -> Self {
        Self {
            kib: self.kib.max(other.kib),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

/// A daemon, gone with this.
pub struct Daemon {
    pub plan: Plan,
    pub child: Child,
    pub folder: PathBuf,
}

impl Plan {
    pub fn new(name: &str, range: (u16, u16), period_s: u32) -> Self {
        let secret = format!("a secret for the attack on {name}");
        let range = Range::new(range.0, range.1).expect("a range");
        // Windows that long are for what is not about their turn.
        let left_s = || u64::from(DAY_S) - clock::unix() % u64::from(DAY_S);
        while period_s == DAY_S && left_s() < 300 {
            thread::sleep(Duration::from_secs(10));
        }
        Self {
            name: name.to_owned(),
            host: network::server_address(),
            key: Key::stretch(secret.as_bytes(), name),
            pattern: Pattern::new(range, 15, period_s).expect("a pattern"),
            secret,
        }
    }

    pub fn minute(&self) -> u64 {
        self.pattern.minute(clock::unix())
    }

    pub fn real(&self) -> u16 {
        self.pattern.real(&self.key, self.minute())
    }

    /// The real ports of the live minutes.
    pub fn reals(&self) -> BTreeSet<u16> {
        let minute = self.minute();
        let minutes = minute - 1..=minute + 1;
        minutes
            .map(|minute| self.pattern.real(&self.key, minute))
            .collect()
    }

    /// The ports that are open now.
    pub fn open_ports(&self) -> Vec<u16> {
        let minute = self.minute();
        let minutes = minute - 1..=minute + 1;
        let ports = minutes.flat_map(|minute| self.pattern.ports(&self.key, minute));
        ports.collect::<BTreeSet<u16>>().into_iter().collect()
    }

    pub fn at(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.host, port)
    }

    /// Where a member goes now, and what he says there.
    pub fn ticket(&self) -> (SocketAddrV4, [u8; token::TOKEN]) {
        let (minute, mut nonce) = (self.minute(), [0; token::NONCE]);
        getrandom::fill(&mut nonce).expect("the kernel has random numbers");
        let port = self.pattern.real(&self.key, minute);
        (self.at(port), token::make(&self.key, minute, port, &nonce))
    }

    /// Its section: these lines beside secret, range and period.
    pub fn mirage(&self, service: SocketAddr, lines: &str) -> String {
        let Self {
            name,
            secret,
            pattern,
            ..
        } = self;
        let (low, high) = (pattern.range().low(), pattern.range().high());
        let period = pattern.period();
        format!(
            "[mirage-{name}]\nsecret = {secret}\nrange = {low}-{high}\nperiod = {period}s\n\
             forward = {service}\n{lines}"
        )
    }

    /// A daemon for it. `mirage` are the mirage's lines beside secret, range and period; HOST is its
    /// address.
    pub fn start(
        self,
        service: SocketAddr,
        common: &str,
        mirage: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Daemon {
        let host = self.host;
        let folder = std::env::temp_dir().join(format!("shimmer-attack-{host}"));
        fs::create_dir_all(&folder).expect("a folder");
        let text = format!(
            "[common]\nlog = {}/log\nstate-file = none\ncontrol = none\n{common}{}",
            folder.display(),
            self.mirage(service, mirage)
        );
        let path = folder.join("shimmer.conf");
        let text = text.replace("HOST", &host.to_string());
        let text = crate::memory::with_memory(&folder, &text);
        fs::write(&path, text).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_shimmer"));
        command.args(["daemon", "--config"]).arg(&path);
        command.stdin(Stdio::null());
        prepare(child::dies_with_us(&mut command));
        network::run_at_server(&mut command).expect("run has made the server's namespace");
        let child = command.spawn().expect("the daemon starts");
        let daemon = Daemon {
            plan: self,
            child,
            folder,
        };
        wait_for("the daemon to listen", || {
            daemon.log().contains(" listen mirage=").then_some(())
        });
        daemon
    }
}

/// Seconds of a day: the longest window.
pub const DAY_S: u32 = 86_400;

/// Has a command begin with these limits of descriptors, soft and hard.
pub fn limit_descriptors(command: &mut Command, (soft, hard): (u64, u64)) {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let set = move || {
        // SAFETY: the limit lives through the call.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    unsafe { command.pre_exec(set) };
}

impl Daemon {
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        fs::read_dir(folder).expect("the daemon lives").count()
    }

    /// KiB of memory of its own (proc(5), RssAnon).
    pub fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the daemon lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kib.expect("proc(5) has RssAnon")
    }

    /// What it takes of the machine now.
    pub fn usage(&self) -> Usage {
        Usage {
            kib: self.memory_kib(),
            descriptors: self.descriptors(),
        }
    }

    /// Has `shimmer connect` bring some bytes to the service and back, within this time.
    pub fn connect_by_program(&self, gate: &str, longest: Duration) -> io::Result<()> {
        let plan = &self.plan;
        let (low, high) = (plan.pattern.range().low(), plan.pattern.range().high());
        let period = plan.pattern.period().to_string();
        let secret = self.folder.join("secret");
        fs::write(&secret, &plan.secret)?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_shimmer"))
            .arg("connect")
            .arg(format!("{}:{low}:{high}", plan.name))
            .arg(plan.host.to_string())
            .args(["--gate", gate, "--period", &period, "--secret-file"])
            .arg(&secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let text = [0x5a; 64];
        // Its end is the end of the session.
        child
            .stdin
            .take()
            .map_or(Ok(()), |mut stdin| stdin.write_all(&text))?;
        let end = Instant::now() + longest;
        while child.try_wait()?.is_none() && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = child.kill();
        let output = child.wait_with_output()?;
        if output.status.success() && output.stdout == text {
            Ok(())
        } else {
            let what = format!("{}, {} bytes", output.status, output.stdout.len());
            Err(io::Error::other(what))
        }
    }

    /// Has the server's kernel take what `shimmer firewall` prints with these options.
    pub fn load_firewall(&self, options: &[&str]) {
        let printed = Command::new(env!("CARGO_BIN_EXE_shimmer"))
            .args(["firewall", "--config"])
            .arg(self.folder.join("shimmer.conf"))
            .args(options)
            .output()
            .expect("the program starts");
        assert!(printed.status.success(), "shimmer firewall prints rules");
        let mut nft = Command::new("nft");
        nft.args(["-f", "-"]).stdin(Stdio::piped());
        network::run_at_server(&mut nft).expect("run has made the server's namespace");
        let mut nft = nft.spawn().expect("nft starts");
        let mut rules = nft.stdin.take().expect("it is a pipe");
        rules.write_all(&printed.stdout).expect("nft reads rules");
        drop(rules);
        let taken = nft.wait().expect("nft ends");
        assert!(taken.success(), "nft takes the rules");
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: no pointers; the child has not been waited for, so the number is its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
