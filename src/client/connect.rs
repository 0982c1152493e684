//! `shimmer connect`: stdin and stdout joined to the hidden service, for ssh's ProxyCommand.

use super::host::{dial, resolve};
use super::join::{self, join};
use super::knocks::{self, Knocks};
use super::{MirageArgs, Target};
use crate::cli::{self, Args, Failure};
use crate::config;
use crate::limits::CONNECT_MS;
use crate::proto::gates::{Gate, GateSettings};
use crate::proto::scheme::key::Key;
use crate::proto::scheme::schedule::Pattern;
use crate::proto::scheme::token::{self, NONCE};
use crate::rfc3339::Rfc3339;
use crate::sys::clock;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

/// `shimmer connect MIRAGE [HOST]` and `shimmer connect NAME:LOW:HIGH HOST`
///
/// # Errors
/// Those of [`MirageArgs::take`], [`Target::find`] and [`Target::key`]; [`Failure::Usage`] without a
/// host; [`Failure::Failed`] if there is no connection, or none to the end; [`Failure::Unread`].
pub fn main(mut args: Args) -> Result<(), Failure> {
    let gate = args.parsed("--gate", config::parse_gate)?;
    let mirage_args = MirageArgs::take(&mut args, None)?;
    let host = args.word()?.map(cli::text);
    args.end()?;
    let mut target = Target::find(mirage_args)?;
    if let Some(gate) = gate.filter(|gate| *gate != target.way.gate()) {
        target.way = match gate {
            Gate::Port => GateSettings::Port,
            Gate::Token => GateSettings::Token,
            Gate::Knock | Gate::Packet => {
                let word = gate.word();
                return Err(Failure::usage(format_args!(
                    "--gate {word}: what it wants to see is in the configuration's section"
                )));
            }
        };
    }
    if !target.leads {
        return Err(Failure::usage(format_args!(
            "its door leads to no port of its own; shimmer knock opens it, before whatever you come for"
        )));
    }
    let host = target.host(host)?;
    let addresses = resolve(host)?;
    let visit = Visit::new(&target, host)?;
    let stream = visit.enter(&addresses)?;
    join(stream).map_err(|end| visit.failure(End::Joined(end)))
}

/// Comes to a door that opens for the address of who has come: the connection is closed once it is open.
///
/// # Errors
/// [`Failure::Failed`] if there is no connection; those of [`Target::key`].
pub fn touch(target: &Target, host: &str, addresses: &[SocketAddr]) -> Result<(), Failure> {
    join::drain(&Visit::new(target, host)?.enter(addresses)?);
    Ok(())
}

/// A visit to a hidden service.
struct Visit<'a> {
    key: Key,
    pattern: Pattern,
    way: &'a GateSettings,
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
    /// One has, and it came to this.
    Joined(join::End),
}

impl<'a> Visit<'a> {
    fn new(target: &'a Target, host: &'a str) -> Result<Self, Failure> {
        Ok(Self {
            pattern: target.pattern()?,
            key: target.key()?,
            way: &target.way,
            host,
            // Behind the key, which may take seconds.
            unix_ms: clock::real_ms(),
        })
    }

    /// Tries each door until one answers. A silent gate is shown what it wants to see before, anew for
    /// each minute: it may have been lost, and a sequence may count once.
    fn enter(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
        let unix = u64::try_from(self.unix_ms).unwrap_or(0) / 1_000;
        let knocks = Knocks {
            way: self.way,
            key: Some(&self.key),
            pattern: Some(self.pattern),
            address: None,
            closes: false,
        };
        let mut knocked = None;
        let mut end = None;
        for (minute, address) in doors(&self.key, &self.pattern, unix, addresses) {
            if self.way.gate().is_silent() && knocked.replace(minute) != Some(minute) {
                knocks.send(minute, unix, addresses)?;
                knocks::pause();
            }
            let error = match dial(address, CONNECT_MS) {
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
        if matches!(self.way, GateSettings::Token) {
            let mut nonce = [0; NONCE];
            getrandom::fill(&mut nonce)
                .map_err(|error| Failure::failed(format_args!("no random bytes: {error}")))?;
            let token = token::make(&self.key, minute, port, &nonce);
            if (&stream).write_all(&token).is_err() {
                return Err(self.failure(End::Joined(join::End::Mute(0))));
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
        let gate = self.way.gate().word();
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
            End::Joined(join::End::Mute(seconds)) => Failure::failed(format_args!(
                "{host} closed a port of {time} after {seconds} s without a word; is that the UTC time? \
                 If so, compare secret, name, range and period with the server's, and its gate with \
                 {gate}; if they are the same, this address is banned (then it is closed at once), or \
                 the service does not run"
            )),
            End::Joined(join::End::Broken(error)) => Failure::failed(format_args!(
                "the connection to {host} broke off: {error}; the `close` line in the server's log \
                 may say why"
            )),
            End::Joined(join::End::Unwritten(error)) => cli::unwritten(&error),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::scheme::schedule::Range;

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
