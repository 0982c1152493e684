//! `shimmer connect`: stdin and stdout joined to the hidden service, for ssh's ProxyCommand.

use super::host::{dial, resolve};
use super::join::{self, JoinError, join};
use super::knocks::{self, Knocks};
use super::{MirageArgs, Target};
use crate::cli::{self, Args, Error};
use crate::config;
use crate::limits::CONNECT_MS;
use crate::proto::gates::{Gate, GateSettings};
use crate::proto::scheme::key::Key;
use crate::proto::scheme::schedule::Pattern;
use crate::proto::scheme::token::{self, NONCE};
use crate::rfc3339::Rfc3339;
use crate::sys::clock;
use core::{error, fmt};
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

/// `shimmer connect MIRAGE [HOST]` and `shimmer connect NAME:LOW:HIGH HOST`
///
/// # Errors
/// Those of [`MirageArgs::take`], [`Target::find`] and [`Target::key`]; [`Error::Usage`] without a
/// host; [`Error::Failed`] if there is no connection or it breaks; [`Error::BrokenPipe`].
pub fn main(mut args: Args) -> Result<(), Error> {
    let gate = args.parsed("--gate", config::parse_gate)?;
    let mirage_args = MirageArgs::take(&mut args, None)?;
    let host = args.positional()?.map(cli::text);
    args.finish()?;
    let mut target = Target::find(mirage_args)?;
    if let Some(gate) = gate.filter(|gate| *gate != target.gate_settings.gate()) {
        target.gate_settings = match gate {
            Gate::Port => GateSettings::Port,
            Gate::Token => GateSettings::Token,
            Gate::Knock | Gate::Packet => {
                return Err(Error::usage(format_args!(
                    "--gate {} needs a [mirage-NAME] section in the configuration",
                    gate.word()
                )));
            }
        };
    }
    if !target.forwards {
        return Err(Error::usage(format_args!(
            "this mirage has no port to connect to; run shimmer knock, then connect to the service itself"
        )));
    }
    let host = target.host(host)?;
    let addresses = resolve(host)?;
    let visit = Visit::new(&target, host)?;
    let stream = visit.connect(&addresses)?;
    join(stream).map_err(|error| visit.failure(VisitErrorKind::Join(error)))
}

/// Passes a gate behind which a door opens for the visitor's address. The server closes the connection
/// once the door is open, and this waits for that.
///
/// # Errors
/// [`Error::Failed`] if there is no connection; those of [`Target::key`].
pub fn pass_gate(target: &Target, host: &str, addresses: &[SocketAddr]) -> Result<(), Error> {
    join::drain(&Visit::new(target, host)?.connect(addresses)?);
    Ok(())
}

/// A visit to a hidden service.
struct Visit<'a> {
    key: Key,
    pattern: Pattern,
    gate_settings: &'a GateSettings,
    host: &'a str,
    /// When it began: it goes to the ports of that time.
    unix_ms: i64,
}

impl<'a> Visit<'a> {
    fn new(target: &'a Target, host: &'a str) -> Result<Self, Error> {
        Ok(Self {
            pattern: target.pattern()?,
            key: target.key()?,
            gate_settings: &target.gate_settings,
            host,
            // After the key, which may take seconds.
            unix_ms: clock::real_ms(),
        })
    }

    /// Tries each port until one answers. A silent gate gets its knocks or its datagram first, and again
    /// for each minute: they may have been lost, and a sequence may count only once.
    fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
        let unix = u64::try_from(self.unix_ms).unwrap_or(0) / 1_000;
        let knocks = Knocks {
            gate_settings: self.gate_settings,
            key: Some(&self.key),
            pattern: Some(self.pattern),
            address: None,
            closes: false,
        };
        let mut knocked = None;
        let mut kind = None;
        for (minute, address) in candidates(&self.key, &self.pattern, unix, addresses) {
            if self.gate_settings.gate().is_silent() && knocked.replace(minute) != Some(minute) {
                knocks.send(minute, unix, addresses)?;
                knocks::pause();
            }
            match dial(address, CONNECT_MS) {
                Ok(stream) => return self.send_token(stream, minute, address.port()),
                Err(error) => kind = Some(VisitErrorKind::of_dials(error, kind)),
            }
        }
        Err(self.failure(kind.unwrap_or(VisitErrorKind::NoAnswer)))
    }

    /// Sends the token, if the gate wants one.
    fn send_token(&self, stream: TcpStream, minute: u64, port: u16) -> Result<TcpStream, Error> {
        if matches!(self.gate_settings, GateSettings::Token) {
            let mut nonce = [0; NONCE];
            getrandom::fill(&mut nonce)
                .map_err(|error| Error::failed(format_args!("no random bytes: {error}")))?;
            let token = token::make(&self.key, minute, port, &nonce);
            if (&stream).write_all(&token).is_err() {
                let error = JoinError::HungUp { after_s: 0 };
                return Err(self.failure(VisitErrorKind::Join(error)));
            }
        }
        Ok(stream)
    }

    #[cold]
    fn failure(&self, kind: VisitErrorKind) -> Error {
        let kind = match kind {
            VisitErrorKind::Join(JoinError::Stdout(error)) => return Error::stdout(error),
            kind => kind,
        };
        let error = VisitError {
            host: self.host,
            gate: self.gate_settings.gate(),
            time: Rfc3339 {
                unix_ms: self.unix_ms,
            },
            kind,
        };
        Error::failed(format_args!("{error}"))
    }
}

/// Where to dial, and which minute's port that is: first this minute's at each address, then the last
/// one's, then the next one's. While the clock is right all three are real, and while it is off by a
/// minute or two none of them bans. Any other port may be a trap.
fn candidates(
    key: &Key,
    pattern: &Pattern,
    unix: u64,
    addresses: &[SocketAddr],
) -> Vec<(u64, SocketAddr)> {
    let now = pattern.minute(unix);
    let mut candidates: Vec<(u64, SocketAddr)> = Vec::new();
    for minute in [now, now.saturating_sub(1), now.saturating_add(1)] {
        let port = pattern.real(key, minute);
        for address in addresses {
            let mut address = *address;
            address.set_port(port);
            // Two minutes may have the same port, and a name the same address twice.
            if !candidates.iter().any(|(_, known)| *known == address) {
                candidates.push((minute, address));
            }
        }
    }
    candidates
}

/// Why a visit failed, and where to look.
#[derive(Debug)]
struct VisitError<'a> {
    host: &'a str,
    gate: Gate,
    /// When it began, by this computer's clock.
    time: Rfc3339,
    kind: VisitErrorKind,
}

#[derive(Debug)]
enum VisitErrorKind {
    /// At least one port was refused, and none answered.
    Refused,
    /// Nothing answered in time.
    NoAnswer,
    /// No port could be dialled.
    Unreachable(io::Error),
    /// There was a connection, and it did not end well.
    Join(JoinError),
}

impl VisitErrorKind {
    /// The kind after one more port could not be dialled.
    fn of_dials(error: io::Error, before: Option<Self>) -> Self {
        // A refusal tells most: there is a host. That one address can't be reached says little where a
        // name has one of each family.
        match (error.kind(), before) {
            (ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset, _) => Self::Refused,
            (_, Some(Self::Refused)) => Self::Refused,
            (ErrorKind::TimedOut, _) | (_, Some(Self::NoAnswer)) => Self::NoAnswer,
            _ => Self::Unreachable(error),
        }
    }
}

impl fmt::Display for VisitError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            gate,
            time,
            kind,
        } = self;
        let gate = gate.word();
        match kind {
            VisitErrorKind::Refused => write!(
                f,
                "{host} refused the ports of {time}. If that is not the time in UTC, set this \
                 computer's clock. Otherwise compare secret, name, range, period and gate with the \
                 server's, and check that its daemon runs and, with listen = pool, that its firewall \
                 rules are loaded"
            ),
            VisitErrorKind::NoAnswer => write!(
                f,
                "{host} did not answer at the ports of {time}. If that is not the time in UTC, set this \
                 computer's clock. Otherwise check that it is the right host, and that its firewall \
                 lets the whole range through"
            ),
            VisitErrorKind::Unreachable(error) => write!(f, "{host}: {error}"),
            VisitErrorKind::Join(error @ JoinError::HungUp { after_s: 0 }) => write!(
                f,
                "{host} {error}. Most likely this address is banned: wait until the ban is over, or run \
                 shimmer unban ADDRESS on the server. Otherwise the service is down; or this computer's \
                 clock ({time}), or secret, name, range, period or gate (here {gate}) differ from the \
                 server's"
            ),
            VisitErrorKind::Join(error @ JoinError::HungUp { .. }) => write!(
                f,
                "{host} {error}. Most likely that port is a trap: compare secret, name, range, period \
                 and gate (here {gate}) with the server's, and this computer's clock ({time}) with the \
                 time in UTC. Otherwise the service is down, or this address is banned"
            ),
            VisitErrorKind::Join(error) => write!(
                f,
                "the connection to {host} {error}; the close line in the server's log may say why"
            ),
        }
    }
}

impl error::Error for VisitError<'_> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.kind {
            VisitErrorKind::Refused | VisitErrorKind::NoAnswer => None,
            VisitErrorKind::Unreachable(error) => Some(error),
            VisitErrorKind::Join(error) => Some(error),
        }
    }
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
        let candidates = candidates(&key, &pattern, unix, &addresses);
        for (minute, address) in &candidates {
            assert_eq!(address.port(), pattern.real(&key, *minute));
        }
        let show = |(minute, address): &(u64, SocketAddr)| (*minute, address.ip().to_string());
        candidates.iter().map(show).collect()
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
