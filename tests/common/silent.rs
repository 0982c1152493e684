//! A daemon with a silent gate, and a member's laptop with its configuration.

use super::gates::*;
use super::*;
use shimmer::proto::scheme::knock::{Hop, Protocols};
use std::process::Output;

pub fn range() -> (u16, u16) {
    calm_range(NAME, (10_000, 10_999))
}

/// The settings that both sides share if ports are drawn from a secret.
pub fn keys() -> String {
    let (low, high) = range();
    format!("secret = {SECRET}\nrange = {low}-{high}\n{STILL}")
}

/// The default number of knocks.
pub const KNOCKS: usize = 3;

/// A daemon with one mirage, and a laptop that knows it.
pub struct SilentGate {
    pub keeper: Gatekeeper,
    pub member: Member,
    pub echo: Echo,
    /// The client's configuration file.
    pub laptop: PathBuf,
}

impl SilentGate {
    /// A mirage with a secret, a range and a service behind it.
    pub fn new(shared: &str, servers: &str) -> Self {
        let (host, echo) = (own_address(), Echo::start());
        let server = format!("forward = {}\n{servers}", echo.address);
        Self::with(host, echo, &(keys() + shared), &server)
    }

    pub fn with(host: Ipv4Addr, echo: Echo, shared: &str, server: &str) -> Self {
        let folder = Folder::new();
        let laptop = folder.file("laptop.conf");
        write_private(&laptop, format!("[mirage-{NAME}]\nhost = {host}\n{shared}"));
        let text = format!("[mirage-{NAME}]\nlisten-address = {host}\n{shared}{server}");
        Self {
            keeper: Gatekeeper::start(folder, host, &text),
            member: silent_member(host, NAME, range()),
            echo,
            laptop,
        }
    }

    /// Runs `shimmer knock` or `connect` on the laptop.
    fn laptop(&self, words: &[&str]) -> Output {
        let mut child = Command::new(program())
            .args(words)
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("HOME", "/nonexistent")
            .env_remove("SHIMMER_SECRET")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have ended without reading this.
        let _ = child.stdin.take().unwrap().write_all(b"hello");
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    pub fn knock(&self, words: &[&str]) -> Output {
        let config = self.laptop.to_str().unwrap();
        self.laptop(&[&["knock", "--config", config], words].concat())
    }

    /// Knocks, and asserts that it succeeds.
    #[track_caller]
    pub fn knocks(&self, words: &[&str]) -> String {
        let output = self.knock(words);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Connects to the service. An error holds the text of stderr.
    pub fn connect(&self) -> Result<Vec<u8>, String> {
        let config = self.laptop.to_str().unwrap();
        let output = self.laptop(&["connect", "--config", config, NAME]);
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(String::from_utf8(output.stderr).unwrap())
    }

    pub fn sequence(&self, off: i64) -> Vec<Hop> {
        let minute = self.member.minute().wrapping_add_signed(off);
        let hops = self.member.sequence(minute, KNOCKS, Protocols::Tcp);
        hops.to_vec()
    }

    /// A knock that is wrong at every step of this minute's sequence. It belongs to the next minute's sequence,
    /// because a daemon without CAP_NET_RAW sees no other knocks.
    pub fn wrong(&self) -> Hop {
        self.sequence(1)[2]
    }

    pub fn opened(&self, source: Ipv4Addr) -> usize {
        self.keeper
            .daemon
            .count(&format!(" open mirage={NAME} source={source} "))
    }

    #[track_caller]
    pub fn wait_for(&self, verb: &str, source: Ipv4Addr) -> String {
        let line = format!(" {verb} mirage={NAME} source={source}");
        self.keeper.daemon.wait_for_line(&line)
    }
}

/// The address that `shimmer knock` comes from.
pub const LAPTOP: Ipv4Addr = Ipv4Addr::LOCALHOST;
