//! Where a host is, and how to get there: a connection, a datagram.

use crate::cli::Failure;
use core::net::{IpAddr, SocketAddr};
use std::io;
use std::net::TcpStream;

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

/// Connects, for so many milliseconds and no longer. std would ask for the time, and the C library for how
/// to. What is typed goes out at once, here as elsewhere.
///
/// # Errors
/// What connect(2) says; `TimedOut` when nobody has answered by then.
#[cfg(target_os = "linux")]
pub fn dial(address: SocketAddr, milliseconds: u64) -> io::Result<TcpStream> {
    crate::sys::socket::connect(address, milliseconds).map(TcpStream::from)
}

/// Connects, for so many milliseconds and no longer.
///
/// # Errors
/// What the system says; `TimedOut` when nobody has answered by then.
#[cfg(not(target_os = "linux"))]
pub fn dial(address: SocketAddr, milliseconds: u64) -> io::Result<TcpStream> {
    let timeout = core::time::Duration::from_millis(milliseconds);
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    // Typing suffers where it can't be set, no more.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Sends one datagram.
///
/// # Errors
/// What sendto(2) says.
pub fn send_datagram(to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    platform::send_datagram(to, bytes)
}

/// From which of our addresses a packet goes there. Behind a NAT it is another that arrives.
///
/// # Errors
/// There is no way to it.
pub fn own_address(there: SocketAddr) -> io::Result<IpAddr> {
    platform::own_address(there)
}

#[cfg(target_os = "linux")]
mod platform {
    use super::{IpAddr, SocketAddr, io};
    use crate::sys::socket;
    use std::os::fd::AsFd;

    pub fn send_datagram(to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        socket::send(socket::datagrams_to(to, None)?.as_fd(), bytes).map(drop)
    }

    pub fn own_address(there: SocketAddr) -> io::Result<IpAddr> {
        socket::local_address(socket::datagrams_to(there, None)?.as_fd())
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::{IpAddr, SocketAddr, io};
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::net::UdpSocket;

    pub fn send_datagram(to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        any_port(to)?.send_to(bytes, to).map(drop)
    }

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
}
