//! `shimmer connect` as a process, and services at a member's ports without a daemon in front of them.

use super::*;
use shimmer::proto::scheme::token::{NONCE, TOKEN};
use std::process::{ChildStdin, ChildStdout};

/// Few enough ports for a test to listen on all of them.
pub const RANGE: (u16, u16) = (10_000, 10_099);

/// A member of such a small range whose last, current and next minute have different ports. With so few ports,
/// two of them are equal on a few days of each year.
pub fn member_at(minute: impl Fn(&Member) -> u64) -> Member {
    let host = own_address();
    let has_three = |member: &Member| {
        let minute = minute(member);
        let [last, now, next] = [minute - 1, minute, minute + 1].map(|minute| member.real(minute));
        last != now && now != next && next != last
    };
    (0..20)
        .map(|more| Member::new(host, (RANGE.0, RANGE.1 + more)))
        .find(has_three)
        .expect("one of twenty ranges")
}

/// Such a member for the current minute.
pub fn member() -> Member {
    stay_clear_of_its_end();
    member_at(Member::minute)
}

pub fn range(member: &Member) -> (u16, u16) {
    let range = member.pattern.range();
    (range.low(), range.high())
}

/// `connect` with these arguments, no configuration, and the secret in the environment.
pub fn connect(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shimmer"));
    command
        .arg("connect")
        .args(words)
        .env("SHIMMER_SECRET", SECRET)
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// `connect` to a mirage whose ports do not change during a test.
pub fn connect_to(range: (u16, u16), host: &str, more: &[&str]) -> Command {
    stay_clear_of_its_end();
    let mirage = format!("{NAME}:{}:{}", range.0, range.1);
    let mut command = connect(&[&mirage, host, "--period", "1d"]);
    command.args(more);
    command
}

/// A running `connect`.
pub struct Wire {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<ChildStdout>,
}

impl Wire {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            child,
        }
    }

    #[track_caller]
    pub fn say(&mut self, text: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(text).unwrap();
    }

    #[track_caller]
    pub fn assert_hears(&mut self, text: &[u8]) {
        let mut heard = vec![0; text.len()];
        self.stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut heard)
            .unwrap();
        assert!(heard == text);
    }

    #[track_caller]
    pub fn assert_hears_the_end(&mut self) {
        let mut rest = Vec::new();
        self.stdout
            .as_mut()
            .unwrap()
            .read_to_end(&mut rest)
            .unwrap();
        assert_eq!(rest, b"");
    }

    /// Waits for the end. Returns the exit code and stderr. stdin stays open until then, unless it has been
    /// taken.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("its end", || self.child.try_wait().unwrap());
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (status.code(), said)
    }

    #[track_caller]
    pub fn assert_ends_quietly(self) {
        assert_eq!(self.end(), (Some(0), String::new()));
    }

    /// Asserts that it exits with 1 and one line on stderr, which contains all of these parts.
    #[track_caller]
    pub fn assert_fails(self, parts: &[&str]) {
        let (code, said) = self.end();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("shimmer: "), "{said}");
        for part in parts {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        assert_eq!(code, Some(1), "{said}");
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Accepts one visitor.
#[track_caller]
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let stream = wait_for("a visitor", || listener.accept().ok()).0;
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A service at this minute's port, without a daemon in front of it.
pub struct Bare {
    pub member: Member,
    pub minute: u64,
    pub listener: TcpListener,
}

impl Bare {
    /// Listens on the real port of the minute that is `ahead` minutes from now.
    pub fn start(ahead: i64) -> Self {
        let member = member();
        let minute = member.minute().wrapping_add_signed(ahead);
        let listener = TcpListener::bind(member.at(member.real(minute))).unwrap();
        Self {
            member,
            minute,
            listener,
        }
    }

    pub fn wire(&self, more: &[&str]) -> Wire {
        let host = self.member.host.to_string();
        Wire::start(connect_to(range(&self.member), &host, more))
    }

    pub fn accept(&self) -> TcpStream {
        accept(&self.listener)
    }

    /// Reads a token, and asserts that it is one for this port in this minute.
    #[track_caller]
    pub fn assert_token(&self, stream: &mut TcpStream) -> [u8; NONCE] {
        let mut read = [0; TOKEN];
        stream.read_exact(&mut read).unwrap();
        let nonce = *read.first_chunk::<NONCE>().unwrap();
        let port = self.member.real(self.minute);
        let made = token::make(&self.member.key, self.minute, port, &nonce);
        assert!(read == made, "no token of this port in this minute");
        nonce
    }
}

/// Closes with a reset.
pub fn reset(stream: TcpStream) {
    Socket::from(stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Bytes in which a lost or swapped one is noticed.
pub fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bytes.extend_from_slice(&(state >> 16).to_be_bytes());
    }
    bytes.truncate(count);
    bytes
}

pub const MUCH: usize = 4 << 20;

/// A daemon in front of an echo service.
pub fn hidden_echo() -> (Daemon, Echo) {
    let echo = Echo::start();
    let host = own_address();
    let daemon = Daemon::start(host, &config(host, echo.address, ""));
    (daemon, echo)
}

pub fn connect_to_daemon(daemon: &Daemon) -> Command {
    connect_to((10_000, 10_999), &daemon.host.to_string(), &[])
}
