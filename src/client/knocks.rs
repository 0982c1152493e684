//! What a silent gate wants to see: a sequence of knocks, or a datagram.
//!
//! A silent gate answers nothing, so nobody knows what was lost on the way. Each knock is sent
//! [`KNOCK_TIMES`] times, which breaks nothing, with a pause after it, so that none overtakes another and
//! whatever comes next finds the door open. So are datagrams, each a new one, because none counts twice.

use super::host::{dial, own_address, send_datagram};
use crate::cli::{self, Failure};
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

/// What a silent gate wants to see.
pub struct Knocks<'a> {
    /// The gate.
    pub way: &'a GateSettings,
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
            GateSettings::Knock(knock) => knock_at(&self.hops(knock, minute), addresses),
            GateSettings::Packet(packet) => {
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

    /// Shows what would be sent, and sends nothing.
    ///
    /// # Errors
    /// No random bytes; those of [`cli::print`].
    pub fn print(&self, minute: u64, unix: u64) -> Result<(), Failure> {
        let mut text = String::new();
        // Writing to a String can't fail.
        match (self.way, self.key, self.pattern) {
            (GateSettings::Knock(knock), ..) => {
                for hop in &self.hops(knock, minute) {
                    let _ = writeln!(text, "{hop}");
                }
            }
            (GateSettings::Packet(PacketSettings { port, .. }), Some(key), Some(pattern)) => {
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
///
/// # Errors
/// Nothing can be sent to any of them.
pub fn knock_at(hops: &[Hop], addresses: &[SocketAddr]) -> Result<(), Failure> {
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
    getrandom::fill(&mut nonce)?;
    Ok(packet::make(key, unix, inside, &nonce))
}

/// Waits, so that what comes next does not overtake what was sent.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(KNOCK_PAUSE_MS));
}
