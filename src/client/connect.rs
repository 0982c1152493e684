//! `shimmer connect`: stdin and stdout joined to the hidden service, for ssh's ProxyCommand.
//!
//! ```text
//!   stdin  ──a thread──▶ socket     stdin's end is the socket's half-close, and no more
//!   stdout ◀──the main── socket     the socket's end is the end
//! ```
//!
//! The thread may be in a read that nobody ever answers. So nobody waits for it.

use super::{Mirage, Wanted};
use crate::cli::{self, Failure, Words};
use crate::config;
use crate::limits::{BUFFER, CONNECT_MS};
use crate::rfc3339::Rfc3339;
use crate::scheme::gate::Gate;
use crate::scheme::key::Key;
use crate::scheme::schedule::Pattern;
use crate::scheme::token::{self, NONCE};
use crate::sys::patient::Patient;
use crate::sys::{clock, random, thread};
use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `shimmer connect MIRAGE [HOST]` and `shimmer connect NAME:LOW:HIGH HOST`
///
/// # Errors
/// Those of [`Wanted::read`], [`Mirage::find`] and [`Mirage::key`]; [`Failure::Usage`] without a
/// host; [`Failure::Failed`] if there is no connection, or none to the end; [`Failure::Unread`].
pub fn main(mut words: Words) -> Result<(), Failure> {
    let gate = words.parsed("--gate", config::parse_gate)?;
    let wanted = Wanted::read(&mut words, None)?;
    let host = words.word()?.map(cli::text);
    words.end()?;
    let mirage = Mirage::find(wanted)?;
    let Some(host) = host.or(mirage.host.as_deref()) else {
        return Err(Failure::usage(format_args!(
            "at which host? Give it behind the mirage, or the configuration's section a host ="
        )));
    };
    let addresses = resolve(host)?;
    let key = mirage.key()?;
    let visit = Visit {
        key,
        pattern: mirage.pattern,
        gate: gate.unwrap_or(mirage.gate),
        host,
        unix_ms: clock::real_ms(),
    };
    let stream = visit.enter(&addresses)?;
    join(stream).map_err(|end| visit.failure(end))
}

/// Where the host is, at any port.
#[cfg(feature = "names")]
fn resolve(host: &str) -> Result<Vec<SocketAddr>, Failure> {
    use std::net::ToSocketAddrs;
    match (host, 0).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(Failure::failed(format_args!(
            "{host}: no address found, is that its name? {error}"
        ))),
    }
}

/// The same without what it takes to find names.
#[cfg(not(feature = "names"))]
fn resolve(host: &str) -> Result<Vec<SocketAddr>, Failure> {
    match host.parse() {
        Ok(address) => Ok(vec![SocketAddr::new(address, 0)]),
        Err(_) => Err(Failure::failed(format_args!(
            "{host}: no address; this build looks no names up, so give an address"
        ))),
    }
}

/// A visit to a hidden service.
struct Visit<'a> {
    key: Key,
    pattern: Pattern,
    gate: Gate,
    host: &'a str,
    /// When it began: it goes to the ports of then.
    unix_ms: i64,
}

/// What a visit came to that did not go well.
enum End {
    /// A port was refused, and none has answered.
    Refused,
    /// No port has answered.
    Silent,
    /// No port could be dialled.
    Unreachable(io::Error),
    /// It was closed before a byte had come, after so many seconds.
    Mute(u64),
    /// It broke off in the middle.
    Broken(io::Error),
    /// stdout could not be written.
    Unwritten(io::Error),
}

impl Visit<'_> {
    /// Tries each door until one answers.
    fn enter(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
        let unix = u64::try_from(self.unix_ms).unwrap_or(0) / 1_000;
        let mut end = None;
        for (minute, address) in doors(&self.key, &self.pattern, unix, addresses) {
            let dial = TcpStream::connect_timeout(&address, Duration::from_millis(CONNECT_MS));
            let error = match dial {
                Ok(stream) => return self.introduce(stream, minute, address.port()),
                Err(error) => error,
            };
            // A refusal tells most: there is a host. That there is no way to an address says nothing
            // of the others, where a name has one of each family.
            end = Some(match (error.kind(), end) {
                (ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset, _) => End::Refused,
                (_, Some(End::Refused)) => End::Refused,
                (ErrorKind::TimedOut, _) | (_, Some(End::Silent)) => End::Silent,
                _ => End::Unreachable(error),
            });
        }
        Err(self.failure(end.unwrap_or(End::Silent)))
    }

    /// Shows what the gate wants to see.
    fn introduce(&self, stream: TcpStream, minute: u64, port: u16) -> Result<TcpStream, Failure> {
        // Typing suffers where it can't be set, no more.
        let _ = stream.set_nodelay(true);
        if self.gate == Gate::Token {
            let mut nonce = [0; NONCE];
            random::fill(&mut nonce)
                .map_err(|error| Failure::failed(format_args!("no random bytes: {error}")))?;
            let token = token::make(&self.key, minute, port, &nonce);
            if (&stream).write_all(&token).is_err() {
                return Err(self.failure(End::Mute(0)));
            }
        }
        Ok(stream)
    }

    /// What happened, and where to look.
    #[cold]
    fn failure(&self, end: End) -> Failure {
        let host = self.host;
        let time = Rfc3339 {
            unix_ms: self.unix_ms,
        };
        let gate = match self.gate {
            Gate::Port => "port",
            Gate::Token => "token",
        };
        match end {
            End::Refused => Failure::failed(format_args!(
                "{host} refused the ports of {time}; is that the UTC time? If so, compare secret, name, \
                 range and period with the server's, and see whether its daemon runs and, with listen = \
                 pool, its firewall's rules are there"
            )),
            End::Silent => Failure::failed(format_args!(
                "{host} did not answer at the ports of {time}; is that the UTC time? If so, see whether \
                 it is the right host, and whether its firewall lets the whole range through"
            )),
            End::Unreachable(error) => Failure::failed(format_args!("{host}: {error}")),
            End::Mute(seconds) => Failure::failed(format_args!(
                "{host} closed a port of {time} after {seconds} s without a word; is that the UTC time? \
                 If so, compare secret, name, range and period with the server's, and its gate with \
                 {gate}; if they are the same, this address is banned (then it is closed at once), or \
                 the service does not run"
            )),
            End::Broken(error) => Failure::failed(format_args!(
                "the connection to {host} broke off: {error}; the `close` line in the server's log \
                 may say why"
            )),
            End::Unwritten(error) => cli::unwritten(&error),
        }
    }
}

/// Where to dial, and whose minute's port that is: this minute's at each address, the last one's,
/// the next one's. All are real while the clock is right, and ban nobody while it is off by a minute
/// or two; any other port may be a trap.
fn doors(
    key: &Key,
    pattern: &Pattern,
    unix: u64,
    addresses: &[SocketAddr],
) -> Vec<(u64, SocketAddr)> {
    let now = pattern.minute(unix);
    let mut doors: Vec<(u64, SocketAddr)> = Vec::new();
    for minute in [now, now.saturating_sub(1), now.saturating_add(1)] {
        let port = pattern.real(key, minute);
        for address in addresses {
            let mut address = *address;
            address.set_port(port);
            // Two minutes may have one port, and a name one address twice.
            if !doors.iter().any(|(_, known)| *known == address) {
                doors.push((minute, address));
            }
        }
    }
    doors
}

/// What both ways share.
struct Session {
    stream: TcpStream,
    /// Why stdin could not be passed on. Locked while it is, for a reset is told to one way alone,
    /// and is an ordinary end to the other.
    broken: Mutex<Option<io::Error>>,
}

/// Joins stdin and stdout to the service, until that has closed.
fn join(stream: TcpStream) -> Result<(), End> {
    // The thread outlives this function, by nothing but the end of the process.
    let session: &Session = Box::leak(Box::new(Session {
        stream,
        broken: Mutex::new(None),
    }));
    thread::spawn(|| send(session)).map_err(End::Broken)?;
    let mut stdout = Patient(cli::bare(io::stdout()).map_err(End::Unwritten)?);
    let mut buffer = [0; BUFFER];
    let (mut is_mute, began) = (true, clock::real_ms());
    let mut end = loop {
        match read(&mut &session.stream, &mut buffer) {
            Ok(0) => break None,
            Ok(count) => {
                is_mute = false;
                let written = stdout.write_all(&buffer[..count]);
                written
                    .and_then(|()| stdout.flush())
                    .map_err(End::Unwritten)?;
            }
            Err(error) => break Some(error),
        }
    };
    if is_mute {
        return Err(End::Mute((clock::real_ms() - began).max(0) as u64 / 1_000));
    }
    // A write that still waits ends by this.
    let _ = session.stream.shutdown(Shutdown::Both);
    // Windows tells a reset to both ways. What else the thread meets there is how late it was, in words
    // of its own, and a write that waits may go on to.
    if cfg!(unix) && end.is_none() {
        end = session.broken().take();
    }
    // Nobody minds what could not be said to a service that had closed.
    match end {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(End::Broken(error)),
        _ => Ok(()),
    }
}

/// Passes stdin on. What can't be read any more is at its end.
fn send(session: &Session) {
    if let Ok(stdin) = cli::bare(io::stdin()) {
        let mut stdin = Patient(stdin);
        let mut buffer = [0; BUFFER];
        while let Ok(count @ 1..) = read(&mut stdin, &mut buffer) {
            let mut broken = session.broken();
            if let Err(error) = (&session.stream).write_all(&buffer[..count]) {
                *broken = Some(error);
                return;
            }
        }
    }
    let _ = session.stream.shutdown(Shutdown::Write);
}

impl Session {
    fn broken(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what there is, 0 bytes at the end.
fn read(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::schedule::Range;

    /// Unix seconds in minute 100 of 60 s.
    const NOW: u64 = 6_030;

    fn dials(range: (u16, u16), unix: u64, addresses: &[&str]) -> Vec<(u64, String)> {
        let range = Range::new(range.0, range.1).unwrap();
        let pattern = Pattern::new(range, 0, 60).unwrap();
        let key = Key::stretch(b"password", "ssh");
        let parse = |address: &&str| SocketAddr::new(address.parse().unwrap(), 0);
        let addresses: Vec<SocketAddr> = addresses.iter().map(parse).collect();
        let doors = doors(&key, &pattern, unix, &addresses);
        for (minute, address) in &doors {
            assert_eq!(address.port(), pattern.real(&key, *minute));
        }
        let show = |(minute, address): &(u64, SocketAddr)| (*minute, address.ip().to_string());
        doors.iter().map(show).collect()
    }

    #[test]
    fn each_address_comes_before_the_next_minute() {
        let (six, four) = ("2001:db8::7", "192.0.2.7");
        let wanted = [100, 99, 101]
            .into_iter()
            .flat_map(|minute| [(minute, six.to_owned()), (minute, four.to_owned())]);
        let dials = dials((1_024, 65_535), NOW, &[six, four]);
        assert_eq!(dials, wanted.collect::<Vec<_>>());
    }

    #[test]
    fn no_port_is_dialled_twice() {
        let (address, twice) = ("192.0.2.7", ["192.0.2.7", "192.0.2.7"]);
        let once = [(100, address.to_owned())];
        assert_eq!(dials((22, 22), NOW, &twice), once);
        assert_eq!(dials((1_024, 65_535), NOW, &twice).len(), 3);
        // With two ports, two of any three minutes have the same.
        assert!(dials((22, 23), NOW, &[address]).len() < 3);
    }

    #[test]
    fn in_1970_there_is_no_minute_before() {
        let minutes: Vec<u64> = dials((1_024, 65_535), 0, &["192.0.2.7"])
            .into_iter()
            .map(|(minute, _)| minute)
            .collect();
        assert_eq!(minutes, [0, 1]);
    }
}
