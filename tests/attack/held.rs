//! The real loop under a clock that we hold, so that thousands of minutes go by in one.
//!
//! The clock stands still until it is moved, and the loop tells of its turns: after a few turns
//! everybody who has come has been judged, and nobody needs to wait for a silence to be one.

use crate::driven::{DrivenDaemon, NOON, World};
use crate::network::{self, at_server, fresh_source, wait_for};
use crate::success::Dice;
use shimmer::limits::TURN_ACCEPTS;
use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::schedule::{Pattern, Range};
use socket2::Socket;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::PathBuf;

/// Seconds of a minute.
pub const MINUTE_S: u64 = 60;

/// A daemon whose clock we hold, its hidden service, and what a member knows.
pub struct Held {
    pub host: Ipv4Addr,
    pub key: Key,
    pub pattern: Pattern,
    daemon: DrivenDaemon,
    service: TcpListener,
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
        let text = crate::memory::with_memory(&folder, &text);
        std::fs::write(&path, text).expect("a file");

        let daemon = DrivenDaemon::start(path, World::at(NOON), |_| {
            network::enter_server().expect("run has made the server's namespace");
        });
        let range = Range::new(low, high).expect("a range");
        Self {
            host,
            key: Key::stretch(secret.as_bytes(), name),
            pattern: Pattern::new(range, 15, MINUTE_S as u32).expect("a pattern"),
            daemon,
            service,
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
        self.daemon.turn(turns as u64 + 2);
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
        self.daemon.change(|world| world.pass_ms(seconds * 1_000));
        self.daemon.turn(1);
    }

    /// What the daemon's clock says, in seconds of unix time.
    pub fn unix(&self) -> u64 {
        self.daemon.unix()
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

impl Drop for Held {
    fn drop(&mut self) {
        let ended = self.daemon.end(|world| world.pass_ms(1_000));
        let _ = std::fs::remove_dir_all(&self.folder);
        ended.expect("the daemon ended well");
    }
}

/// Makes sure that this program may do what it has to.
pub fn check() {
    at_server(|| ());
}
