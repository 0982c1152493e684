//! The real loop under a clock that we hold, so that thousands of minutes go by in one.
//!
//! The clock stands still until it is moved, and the loop tells of its turns: after a few turns
//! everybody who has come has been judged, and nobody needs to wait for a silence to be one.

use crate::network::{self, at_server, fresh_source, wait_for};
use crate::success::Dice;
use shimmer::config::ServerConfig;
use shimmer::daemon::Daemon;
use shimmer::daemon::host::Host;
use shimmer::limits::TURN_ACCEPTS;
use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::schedule::{Pattern, Range};
use shimmer::proto::{Instant, Now};
use shimmer::sys::signal::Signal;
use socket2::Socket;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The first second of a minute.
const BEGIN_UNIX: u64 = 1_794_000_000;
const BEGIN_BOOT_MS: u64 = 1_000_000_000;

/// Seconds of a minute.
pub const MINUTE_S: u64 = 60;

struct World {
    boot_ms: u64,
    real_ms: i64,
    is_over: bool,
    turns: u64,
}

type Shared = Arc<(Mutex<World>, Condvar)>;

struct HeldHost {
    world: Shared,
    waker: UnixStream,
    other: UnixStream,
}

impl Host for HeldHost {
    fn now(&mut self) -> Now {
        let mut world = self.world.0.lock().expect("nobody has panicked");
        world.turns += 1;
        self.world.1.notify_all();
        Now {
            boot: Instant(world.boot_ms),
            real_ms: world.real_ms,
        }
    }

    fn clock_is_kept(&self) -> bool {
        true
    }

    fn signal_waker(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }

    fn clock_waker(&self) -> Result<BorrowedFd<'_>, &io::Error> {
        Ok(self.other.as_fd())
    }

    fn next_signal(&mut self) -> Option<Signal> {
        let _ = (&self.waker).read(&mut [0; 64]);
        let is_over = self.world.0.lock().expect("nobody has panicked").is_over;
        is_over.then_some(Signal::Terminate)
    }
}

/// A daemon in a thread, its clock, its hidden service, and what a member knows.
pub struct Held {
    pub host: Ipv4Addr,
    pub key: Key,
    pub pattern: Pattern,
    world: Shared,
    waker: UnixStream,
    service: TcpListener,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
}

impl Held {
    /// A daemon whose mirage has these lines beside its secret and its service; HOST is its address.
    pub fn start(name: &str, range: (u16, u16), lines: &str) -> Self {
        let held = Self::start_silent(name, range, lines);
        let member = held.at(held.real());
        wait_for("the ports to open", || {
            held.settle(1);
            network::connect(fresh_source(), member).ok()
        });
        held.settle(1);
        held.served();
        held
    }

    /// The same where no port opens by itself.
    pub fn start_silent(name: &str, range: (u16, u16), lines: &str) -> Self {
        let (host, service) = (network::server_address(), network::service());
        service.set_nonblocking(true).expect("it is a socket");
        let to = service.local_addr().expect("it is bound");
        let (low, high) = range;
        // Other minutes in each run, though the clock begins at the same one.
        let secret = format!("a secret for the attack {:x}", Dice::new().next());
        let text = format!(
            "[common]\nlog = FOLDER/log\nlog-level = error\nstate-file = none\ncontrol = none\n\
             [mirage-{name}]\nsecret = {secret}\nforward = {to}\nrange = {low}-{high}\n\
             {lines}"
        );
        let folder = std::env::temp_dir().join(format!("shimmer-attack-{}", host));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("shimmer.conf");
        let text = text.replace("FOLDER", &folder.display().to_string());
        let text = text.replace("HOST", &host.to_string());
        std::fs::write(&path, text).expect("a file");

        let world = Shared::default();
        let (waker, woken) = UnixStream::pair().expect("a pair of sockets");
        woken.set_nonblocking(true).expect("it is a socket");
        let (other, _) = UnixStream::pair().expect("a pair of sockets");
        let shared = Arc::clone(&world);
        let thread = thread::spawn(move || {
            network::enter_server().expect("run has made the server's namespace");
            let host = HeldHost {
                world: shared,
                waker: woken,
                other,
            };
            let server = ServerConfig::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            let daemon = Daemon::new(&path, server, host).unwrap_or_else(|error| panic!("{error}"));
            daemon.run().unwrap_or_else(|error| panic!("{error}"));
        });
        let range = Range::new(low, high).expect("a range");
        Self {
            host,
            key: Key::stretch(secret.as_bytes(), name),
            pattern: Pattern::new(range, 15, MINUTE_S as u32).expect("a pattern"),
            world,
            waker,
            service,
            thread: Some(thread),
            folder,
        }
    }

    pub fn at(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.host, port)
    }

    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        self.pattern.range().low()..=self.pattern.range().high()
    }

    pub fn minute(&self) -> u64 {
        self.pattern.minute(self.unix())
    }

    /// What a member computes. The attackers do not ask for it.
    pub fn real(&self) -> u16 {
        self.pattern.real(&self.key, self.minute())
    }

    /// Lets the loop do so many turns and two: who has come until now is judged then, if not more
    /// than a turn's visitors came for each.
    pub fn settle(&self, turns: usize) {
        for _ in 0..turns + 2 {
            let (world, turned) = (&self.world.0, &self.world.1);
            let mut world = world.lock().expect("nobody has panicked");
            let before = world.turns;
            while world.turns <= before {
                // The loop may take this byte together with the one before it, and sleep again.
                (&self.waker).write_all(b"x").expect("the loop reads it");
                let waited = turned.wait_timeout(world, Duration::from_millis(1));
                world = waited.expect("nobody has panicked").0;
            }
        }
    }

    /// A minute goes by.
    pub fn next_minute(&self) {
        self.pass(MINUTE_S);
    }

    /// The next minute begins.
    pub fn begin_minute(&self) {
        self.pass(MINUTE_S - self.unix() % MINUTE_S);
    }

    /// So many seconds go by.
    pub fn pass(&self, seconds: u64) {
        {
            let mut world = self.world.0.lock().expect("nobody has panicked");
            world.boot_ms += seconds * 1_000;
            world.real_ms += seconds as i64 * 1_000;
        }
        self.settle(2);
    }

    /// What the daemon's clock says, in seconds of unix time.
    pub fn unix(&self) -> u64 {
        let real_ms = self.world.0.lock().expect("nobody has panicked").real_ms;
        real_ms as u64 / 1_000
    }

    /// How many have reached the hidden service since this was asked last. It greets them.
    pub fn served(&self) -> Vec<Socket> {
        let mut served = Vec::new();
        while let Ok((mut visitor, _)) = self.service.accept() {
            let _ = visitor.write_all(b"S");
            served.push(visitor.into());
        }
        served
    }

    /// Sources touch a port each, and see what comes of it.
    pub fn touch(&self, touches: &[(Ipv4Addr, u16)]) -> Vec<Outcome> {
        let sockets: Vec<Socket> = touches
            .iter()
            .map(|&(source, port)| network::begin(source, self.at(port)).expect("a connection"))
            .collect();
        network::wait_for_handshakes(&sockets);
        self.settle(1 + sockets.len() / TURN_ACCEPTS);
        self.outcomes(&sockets)
    }

    /// Sources say something at a port each, and see what comes of it.
    pub fn say(&self, said: &[(Ipv4Addr, u16, Vec<u8>)]) -> Vec<Outcome> {
        let begin = |source, port| network::begin(source, self.at(port)).expect("a connection");
        let sockets: Vec<Socket> = said
            .iter()
            .map(|&(source, port, _)| begin(source, port))
            .collect();
        network::wait_for_handshakes(&sockets);
        for (mut socket, (_, _, text)) in sockets.iter().zip(said) {
            let _ = socket.write_all(text);
        }
        self.settle(2 + sockets.len() / TURN_ACCEPTS);
        self.outcomes(&sockets)
    }

    /// What visitors who have all been judged have got.
    pub fn outcomes(&self, sockets: &[Socket]) -> Vec<Outcome> {
        let served = self.served();
        let mut outcomes = vec![Outcome::Silence; sockets.len()];
        wait_for("the service's word to come through", || {
            for (outcome, socket) in outcomes.iter_mut().zip(sockets) {
                if *outcome == Outcome::Silence {
                    *outcome = Outcome::of(socket);
                }
            }
            let in_service = |outcome: &&Outcome| **outcome == Outcome::Service;
            let count = outcomes.iter().filter(in_service).count();
            (count == served.len()).then_some(())
        });
        outcomes
    }
}

/// What a visitor gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The hidden service has spoken.
    Service,
    /// The connection was closed at once.
    Refused,
    /// The port is not open.
    Closed,
    /// Nothing so far.
    Silence,
}

impl Outcome {
    fn of(mut socket: &Socket) -> Self {
        match socket.read(&mut [0]) {
            Ok(1) => Self::Service,
            Ok(_) => Self::Refused,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => Self::Silence,
                ErrorKind::ConnectionRefused => Self::Closed,
                _ => Self::Refused,
            },
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            boot_ms: BEGIN_BOOT_MS,
            real_ms: BEGIN_UNIX as i64 * 1_000,
            is_over: false,
            turns: 0,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.world.0.lock().expect("nobody has panicked").is_over = true;
        let _ = self.waker.write_all(b"x");
        let ended = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_dir_all(&self.folder);
        assert!(
            ended.is_some_and(|ended| ended.is_ok()),
            "the daemon ended well"
        );
    }
}

/// Makes sure that this program may do what it has to.
pub fn check() {
    at_server(|| ());
}
