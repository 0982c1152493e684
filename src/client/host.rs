//! How to reach a host: its addresses, a connection, a datagram.

use crate::cli::Error;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::net::{TcpStream, UdpSocket};

/// The addresses of a host, each with port 0.
///
/// # Errors
/// [`Error::Failed`] if the name can't be resolved.
#[cfg(feature = "names")]
pub fn resolve(host: &str) -> Result<Vec<SocketAddr>, Error> {
    use std::net::ToSocketAddrs;
    match (host, 0).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(Error::failed(format_args!(
            "cannot resolve {host}: {error}"
        ))),
    }
}

/// The address, with port 0. A build without names has no resolver.
///
/// # Errors
/// [`Error::Failed`] if it is not an IP address.
#[cfg(not(feature = "names"))]
pub fn resolve(host: &str) -> Result<Vec<SocketAddr>, Error> {
    match host.parse() {
        Ok(address) => Ok(vec![SocketAddr::new(address, 0)]),
        Err(_) => Err(Error::failed(format_args!(
            "cannot resolve {host}: this build takes IP addresses only"
        ))),
    }
}

/// Connects within `timeout_ms`. Keystrokes are sent at once, and a peer that is gone is noticed.
///
/// # Errors
/// Those of connect(2); `TimedOut` when nobody has answered in time.
pub fn dial(address: SocketAddr, timeout_ms: u64) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_millis(timeout_ms))?;
    // Where nobody listens, the kernel may pick that very port to dial from, and connect us to ourselves.
    if stream.local_addr().is_ok_and(|own| own == address) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // Without these options a session is slower or dies later, and still works.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_keepalive(true);
    Ok(stream)
}

/// Begins to connect from this port of ours, and gives up after `timeout_ms`.
///
/// # Errors
/// Those of bind(2) and connect(2); `TimedOut` when nobody has answered in time.
pub fn dial_from(port: u16, address: SocketAddr, timeout_ms: u64) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Earlier connections from this port may still be closing.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(any_address(address), port).into())?;
    socket.connect_timeout(&address.into(), Duration::from_millis(timeout_ms))
}

/// Sends one datagram.
///
/// # Errors
/// Those of sendto(2).
pub fn send_datagram(to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    any_port(to)?.send_to(bytes, to).map(drop)
}

/// The address of ours from which packets to `peer` are sent. Behind a NAT, the peer sees another.
///
/// # Errors
/// There is no route to it.
pub fn own_address(peer: SocketAddr) -> io::Result<IpAddr> {
    let socket = any_port(peer)?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

/// A socket at any free port, of the peer's family.
fn any_port(peer: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind((any_address(peer), 0))
}

/// The address that stands for all of ours, of the peer's family.
pub fn any_address(peer: SocketAddr) -> IpAddr {
    match peer.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
