//! `shimmer knock`: shows a gate what it wants to see, and runs what stands behind `--`.
//!
//! A silent gate answers nothing, so nobody knows what has been lost on the way. Each knock is sent
//! [`KNOCK_TIMES`] times, which breaks nothing, with a pause behind it, so that none overtakes another and
//! what is run then finds the door open. So are datagrams, each another, since none counts twice.

use super::host::{dial, own_address, resolve, send_datagram};
use super::{Mirage, Wanted};
use crate::cli::{self, Failure, Words};
use crate::config::{self, Knock, Packet, Way};
use crate::limits::{KNOCK_PAUSE_MS, KNOCK_TIMES};
use crate::scheme::gate::Gate;
use crate::scheme::key::Key;
use crate::scheme::knock::{self, Hop, Hops, Protocol};
use crate::scheme::packet::{self, Admits, PACKET};
use crate::scheme::schedule::Pattern;
use crate::scheme::token::NONCE;
use crate::sys::{clock, output, random, replace};
use core::fmt::Write;
use core::net::{IpAddr, SocketAddr};
use std::ffi::OsStr;
use std::io;

/// `shimmer knock MIRAGE [HOST]` and `shimmer knock HOST PORT[:PROTOCOL]…`
///
/// # Errors
/// Those of [`Wanted::read`], [`Mirage::find`] and [`Mirage::key`]; [`Failure::Usage`] without a host;
/// [`Failure::Failed`] if nothing can be sent, or the command can't be run.
pub fn main(mut words: Words) -> Result<(), Failure> {
    let behind = words.behind_dashes();
    let is_dry = words.flag("--print");
    let is_next = words.flag("--next");
    let closes = words.flag("--close");
    let address = words.parsed("--address", parse_address)?;
    let wanted = Wanted::read(&mut words, None)?;
    let second = words.word()?.map(cli::text);
    if second.is_some_and(is_meant_as_a_hop) {
        // The plain knocker: the first word is no mirage but the host.
        if is_dry || is_next || closes || address.is_some() {
            return Err(Failure::usage(format_args!(
                "--address, --next, --close and --print go with a mirage; these are plain knocks"
            )));
        }
        let mut hops = Vec::new();
        let mut next = second;
        while let Some(word) = next {
            let hop = config::parse_hop(word).map_err(|wrong| cli::about(word, &wrong))?;
            hops.push(hop);
            next = words.word()?.map(cli::text);
        }
        knock_at(&hops, &resolve(wanted.word()?)?)?;
        return run(&behind);
    }
    words.end()?;
    let visit = Visit {
        host: second,
        address,
        is_dry,
        is_next,
        closes,
    };
    visit.knock(&Mirage::find(wanted)?)?;
    run(&behind)
}

/// What the command line says of one visit.
struct Visit<'a> {
    host: Option<&'a str>,
    address: Option<IpAddr>,
    is_dry: bool,
    is_next: bool,
    closes: bool,
}

impl Visit<'_> {
    fn knock(&self, mirage: &Mirage) -> Result<(), Failure> {
        let gate = mirage.way.gate();
        let is_packet = gate == Gate::Packet;
        if self.address.is_some() && !is_packet {
            return Err(Failure::usage(format_args!(
                "--address goes with gate = packet; a knock is for whoever sends it"
            )));
        }
        let is_rotating = matches!(&mirage.way, Way::Knock(knock) if !knock.is_fixed());
        if self.is_next && !is_rotating {
            return Err(Failure::usage(format_args!(
                "--next goes with gate = knock and a sequence that is drawn"
            )));
        }
        let closes = matches!(&mirage.way, Way::Knock(knock) if !knock.close_sequence.is_empty());
        if self.closes && !closes {
            return Err(Failure::usage(format_args!(
                "--close: this mirage has no close-sequence"
            )));
        }
        if !gate.is_silent() && mirage.leads && !self.is_dry {
            return Err(Failure::usage(format_args!(
                "its port leads to the service itself, and is not to be opened before: shimmer connect"
            )));
        }
        let key = mirage.key_if_any()?;
        let unix = clock::unix();
        let minute = match mirage.pattern {
            Some(pattern) => pattern.minute(unix) + u64::from(self.is_next),
            None => 0,
        };
        let knocks = Knocks {
            way: &mirage.way,
            key: key.as_ref(),
            pattern: mirage.pattern,
            address: self.address,
            closes: self.closes,
        };
        if self.is_dry {
            return knocks.print(minute, unix);
        }
        let host = mirage.host(self.host)?;
        let addresses = resolve(host)?;
        if !gate.is_silent() {
            return super::connect::touch(mirage, host, &addresses);
        }
        knocks.send(minute, unix, &addresses)
    }
}

/// What a silent gate wants to see.
pub struct Knocks<'a> {
    /// The gate.
    pub way: &'a Way,
    /// What sequences and datagrams are drawn with; a fixed sequence needs none.
    pub key: Option<&'a Key>,
    /// What ports are drawn from, likewise.
    pub pattern: Option<Pattern>,
    /// Whom a datagram is for; None: whoever sends it.
    pub address: Option<IpAddr>,
    /// The sequence is the one that closes.
    pub closes: bool,
}

impl Knocks<'_> {
    /// Sends it to each address of a host.
    ///
    /// # Errors
    /// Nothing can be sent to any of them.
    pub fn send(&self, minute: u64, unix: u64, addresses: &[SocketAddr]) -> Result<(), Failure> {
        match self.way {
            Way::Knock(knock) => knock_at(&self.hops(knock, minute), addresses),
            Way::Packet(packet) => {
                let (Some(key), Some(pattern)) = (self.key, self.pattern) else {
                    return Ok(());
                };
                let port = packet.port.unwrap_or_else(|| pattern.real(key, minute));
                to_any(addresses, |mut address| {
                    address.set_port(port);
                    let inside = match packet.address {
                        Admits::Inside if self.address.is_none() => Some(own_address(address)?),
                        Admits::Any | Admits::Sender | Admits::Inside => self.address,
                    };
                    for _ in 0..KNOCK_TIMES {
                        // One that came twice would be a replay.
                        send_datagram(address, &datagram(key, unix, inside)?)?;
                        pause();
                    }
                    Ok(())
                })
            }
            Way::Port | Way::Token => Ok(()),
        }
    }

    fn hops(&self, knock: &Knock, minute: u64) -> Hops {
        if self.closes {
            return knock.close_sequence.clone();
        }
        if knock.is_fixed() {
            return knock.sequence.clone();
        }
        let (Some(key), Some(pattern)) = (self.key, self.pattern) else {
            return Hops::new();
        };
        let range = pattern.range();
        knock::sequence(key, range, minute, knock.knocks.into(), knock.protocols)
    }

    /// Shows what would be sent, and sends nothing.
    fn print(&self, minute: u64, unix: u64) -> Result<(), Failure> {
        let mut text = String::new();
        // Writing to a String can't fail.
        match (self.way, self.key, self.pattern) {
            (Way::Knock(knock), ..) => {
                for hop in &self.hops(knock, minute) {
                    let _ = writeln!(text, "{hop}");
                }
            }
            (Way::Packet(Packet { port, .. }), Some(key), Some(pattern)) => {
                let port = port.unwrap_or_else(|| pattern.real(key, minute));
                let _ = writeln!(text, "{port}:udp");
                let datagram = datagram(key, unix, self.address)
                    .map_err(|error| Failure::failed(format_args!("{error}")))?;
                for (index, byte) in datagram.iter().enumerate() {
                    let end = if index % 24 == 23 { "\n" } else { " " };
                    let _ = write!(text, "{byte:02x}{end}");
                }
            }
            (_, Some(key), Some(pattern)) => {
                let _ = writeln!(text, "{}:tcp", pattern.real(key, minute));
            }
            _ => {}
        }
        cli::print(&text)
    }
}

/// Touches ports in their order, at each address of a host.
fn knock_at(hops: &[Hop], addresses: &[SocketAddr]) -> Result<(), Failure> {
    to_any(addresses, |mut address| {
        for hop in hops {
            address.set_port(hop.port);
            for _ in 0..KNOCK_TIMES {
                touch(address, hop.protocol)?;
            }
        }
        Ok(())
    })
}

/// Sends to all of them: which of them the host listens at is not known. That one can't be reached
/// matters where none can.
fn to_any(
    addresses: &[SocketAddr],
    send: impl Fn(SocketAddr) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut failed = None;
    let mut is_sent = false;
    for &address in addresses {
        match send(address) {
            Ok(()) => is_sent = true,
            Err(error) => failed = Some((address, error)),
        }
    }
    match failed {
        Some((address, error)) if !is_sent => {
            Err(Failure::failed(format_args!("{}: {error}", address.ip())))
        }
        _ => Ok(()),
    }
}

/// EACCES, on Linux and macOS. As a host that can't be reached, it is a far firewall's way to reject: the
/// knock has come there. (Our own firewall says EPERM.)
const PROHIBITED: i32 = 13;

fn touch(address: SocketAddr, protocol: Protocol) -> io::Result<()> {
    if protocol == Protocol::Udp {
        send_datagram(address, &[])?;
        pause();
        return Ok(());
    }
    // One SYN: its repetition would come a second later, and the socket is gone by then.
    match dial(address, KNOCK_PAUSE_MS) {
        Ok(_) => pause(),
        Err(error) => match error.kind() {
            io::ErrorKind::TimedOut => {}
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable => pause(),
            _ if error.raw_os_error() == Some(PROHIBITED) => pause(),
            _ => return Err(error),
        },
    }
    Ok(())
}

/// A datagram of a moment, for an address or for whoever sends it.
fn datagram(key: &Key, unix: u64, inside: Option<IpAddr>) -> io::Result<[u8; PACKET]> {
    let mut nonce = [0; NONCE];
    random::fill(&mut nonce)?;
    Ok(packet::make(key, unix, inside, &nonce))
}

/// Waits, so that what comes next does not overtake what was sent.
pub fn pause() {
    output::wait(KNOCK_PAUSE_MS as u32);
}

/// Whether this begins with a number as PORT does. A wrong one is told as a wrong port, and not taken for
/// the host of a mirage, which may be an address or a name.
fn is_meant_as_a_hop(word: &str) -> bool {
    let number = word.split(':').next().unwrap_or_default();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number && word.parse::<IpAddr>().is_err()
}

fn parse_address(text: &str) -> config::Parsed<IpAddr> {
    text.parse().map_err(|_| {
        crate::message::Message::new(format_args!(
            "{text} is no address, such as 192.0.2.7 or 2001:db8::7"
        ))
    })
}

/// Becomes the command behind `--`, if there is one.
fn run(command: &[&'static OsStr]) -> Result<(), Failure> {
    let Some(program) = command.first() else {
        return Ok(());
    };
    let error = replace::become_program(command);
    Err(Failure::failed(format_args!(
        "{}: {error}",
        cli::text(program)
    )))
}
