//! Where a host is, and how to get there: a connection, a datagram.

use crate::cli::Failure;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use socket2::SockRef;
use std::io;
use std::net::{TcpStream, UdpSocket};

/// The host's addresses, at no port yet.
///
/// # Errors
/// [`Failure::Failed`] if there is none.
#[cfg(feature = "names")]
pub fn resolve(host: &str) -> Result<Vec<SocketAddr>, Failure> {
    use std::net::ToSocketAddrs;
    match (host, 0).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(Failure::failed(format_args!(
            "{host}: no address found, is that its name? {error}"
        ))),
    }
}

/// The same without what it takes to find names.
///
/// # Errors
/// [`Failure::Failed`] if it is no address.
#[cfg(not(feature = "names"))]
pub fn resolve(host: &str) -> Result<Vec<SocketAddr>, Failure> {
    match host.parse() {
        Ok(address) => Ok(vec![SocketAddr::new(address, 0)]),
        Err(_) => Err(Failure::failed(format_args!(
            "{host}: no address; this build looks no names up, so give an address"
        ))),
    }
}

/// Connects, for this many milliseconds and no longer. What is typed goes out at once, and a peer that is gone
/// is noticed.
///
/// # Errors
/// What the system says; `TimedOut` when nobody has answered by then.
pub fn dial(address: SocketAddr, milliseconds: u64) -> io::Result<TcpStream> {
    let timeout = Duration::from_millis(milliseconds);
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    // Nobody listens at a port from which the system dials: it has then connected to itself.
    if stream.local_addr().is_ok_and(|own| own == address) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // Typing suffers where these can't be set, no more.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_keepalive(true);
    Ok(stream)
}

/// Sends one datagram.
///
/// # Errors
/// What sendto(2) says.
pub fn send_datagram(to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    any_port(to)?.send_to(bytes, to).map(drop)
}

/// From which of our addresses a packet goes there. Behind a NAT it is another that arrives.
///
/// # Errors
/// There is no way to it.
pub fn own_address(there: SocketAddr) -> io::Result<IpAddr> {
    let socket = any_port(there)?;
    socket.connect(there)?;
    Ok(socket.local_addr()?.ip())
}

fn any_port(there: SocketAddr) -> io::Result<UdpSocket> {
    let any = match there.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    UdpSocket::bind((any, 0))
}
