//! What opens a silent gate: a sequence of knocks, or a datagram.
//!
//! A silent gate never answers, so the client can't know what was lost on the way. It sends each knock
//! [`KNOCK_TIMES`] times, which does no harm, and pauses after each, so that none overtakes another and
//! the door is open before the next connection. It sends as many datagrams, each of them new, because
//! none counts twice.
//!
//! All knocks of a sequence come from one port of ours, drawn at random. Others can send wrong knocks in our name,
//! but they don't know the port, and the gate counts what comes from it by itself.

use super::host::{any_address, dial, dial_from, own_address, send_datagram};
use crate::cli::{self, Error};
use crate::limits::{KNOCK_PAUSE_MS, KNOCK_TIMES};
use crate::proto::gates::{GateSettings, KnockSettings, PacketSettings};
use crate::proto::scheme::key::Key;
use crate::proto::scheme::knock::{self, Hop, Hops, Protocol};
use crate::proto::scheme::packet::{self, Admits, PACKET};
use crate::proto::scheme::schedule::Pattern;
use crate::proto::scheme::token::NONCE;
use core::fmt::Write;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;
use std::net::UdpSocket;

/// What opens a silent gate.
pub struct Knocks<'a> {
    /// How the gate is passed.
    pub gate_settings: &'a GateSettings,
    /// None where a fixed sequence needs no key.
    pub key: Option<&'a Key>,
    /// None where a fixed sequence needs no pattern.
    pub pattern: Option<Pattern>,
    /// The address that a datagram lets in; None: the sender's.
    pub address: Option<IpAddr>,
    /// Whether to send the close-sequence instead.
    pub closes: bool,
}

impl Knocks<'_> {
    /// Sends them to each address of a host: those of `minute`, at `unix` seconds.
    ///
    /// # Errors
    /// [`Error::Failed`] if nothing can be sent to any of the addresses.
    pub fn send(&self, minute: u64, unix: u64, addresses: &[SocketAddr]) -> Result<(), Error> {
        match self.gate_settings {
            GateSettings::Knock(knock) => knock_at(&self.hops(knock, minute), addresses),
            GateSettings::Packet(packet) => {
                let (Some(key), Some(pattern)) = (self.key, self.pattern) else {
                    return Ok(());
                };
                let port = packet.port.unwrap_or_else(|| pattern.real(key, minute));
                send_to_all(addresses, |mut address| {
                    address.set_port(port);
                    let inside = match packet.address {
                        Admits::Inside if self.address.is_none() => Some(own_address(address)?),
                        Admits::Any | Admits::Sender | Admits::Inside => self.address,
                    };
                    for _ in 0..KNOCK_TIMES {
                        // The same datagram again would be a replay.
                        send_datagram(address, &datagram(key, unix, inside)?)?;
                        pause();
                    }
                    Ok(())
                })
            }
            GateSettings::Port | GateSettings::Token => Ok(()),
        }
    }

    fn hops(&self, knock: &KnockSettings, minute: u64) -> Hops {
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

    /// Prints what would be sent, and sends nothing.
    ///
    /// # Errors
    /// [`Error::Failed`] if the system has no random bytes; those of [`cli::print`].
    pub fn print(&self, minute: u64, unix: u64) -> Result<(), Error> {
        let mut text = String::new();
        // Writing to a String can't fail.
        match (self.gate_settings, self.key, self.pattern) {
            (GateSettings::Knock(knock), ..) => {
                for hop in &self.hops(knock, minute) {
                    let _ = writeln!(text, "{hop}");
                }
            }
            (GateSettings::Packet(PacketSettings { port, .. }), Some(key), Some(pattern)) => {
                let port = port.unwrap_or_else(|| pattern.real(key, minute));
                let _ = writeln!(text, "{port}:udp");
                let datagram = datagram(key, unix, self.address)
                    .map_err(|error| Error::failed(format_args!("{error}")))?;
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

/// Knocks at the ports in this order, at each address of a host.
///
/// # Errors
/// [`Error::Failed`] if nothing can be sent to any of the addresses.
pub fn knock_at(hops: &[Hop], addresses: &[SocketAddr]) -> Result<(), Error> {
    send_to_all(addresses, |mut address| {
        let from = draw_port(address);
        for hop in hops {
            address.set_port(hop.port);
            for _ in 0..KNOCK_TIMES {
                send_knock(from.as_ref(), address, hop.protocol)?;
            }
        }
        Ok(())
    })
}

/// Sends to every address, because the host may listen at one of them only. It fails if all of them
/// fail.
fn send_to_all(
    addresses: &[SocketAddr],
    send: impl Fn(SocketAddr) -> io::Result<()>,
) -> Result<(), Error> {
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
            Err(Error::failed(format_args!("{}: {error}", address.ip())))
        }
        _ => Ok(()),
    }
}

/// EACCES, on Linux and macOS. Like "host unreachable", it says that a firewall on the way has rejected the
/// knock, so it has arrived. (A firewall on this machine gives EPERM.)
const PROHIBITED: i32 = 13;

/// How many ports are tried before each knock comes from another one.
const PORTS_TRIED: usize = 8;

/// A socket at a port of ours that nobody can guess; None if those that were drawn are taken.
fn draw_port(peer: SocketAddr) -> Option<UdpSocket> {
    (0..PORTS_TRIED).find_map(|_| {
        let mut drawn = [0; 2];
        getrandom::fill(&mut drawn).ok()?;
        // Well-known services are below.
        let port = u16::from_be_bytes(drawn) | 0x4000;
        UdpSocket::bind((any_address(peer), port)).ok()
    })
}

fn send_knock(from: Option<&UdpSocket>, address: SocketAddr, protocol: Protocol) -> io::Result<()> {
    if protocol == Protocol::Udp {
        match from {
            Some(from) => from.send_to(&[], address).map(drop)?,
            None => send_datagram(address, &[])?,
        }
        pause();
        return Ok(());
    }
    let port = from.and_then(|from| from.local_addr().ok());
    let dialled = match port.map(|own| dial_from(own.port(), address, KNOCK_PAUSE_MS)) {
        None => dial(address, KNOCK_PAUSE_MS).map(drop),
        // A program has that port, or an earlier connection from there to here is still closing.
        Some(Err(error)) if is_taken(&error) => dial(address, KNOCK_PAUSE_MS).map(drop),
        Some(dialled) => dialled,
    };
    // One SYN only: the kernel repeats it after a second, and by then the socket is closed.
    match dialled {
        Ok(()) => pause(),
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

fn is_taken(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::AddrInUse || kind == io::ErrorKind::AddrNotAvailable
}

/// A new datagram of this Unix second, for the address `inside` or for its sender.
fn datagram(key: &Key, unix: u64, inside: Option<IpAddr>) -> io::Result<[u8; PACKET]> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce)?;
    Ok(packet::make(key, unix, inside, &nonce))
}

/// Waits [`KNOCK_PAUSE_MS`], so that the next packet does not overtake the last one.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(KNOCK_PAUSE_MS));
}
