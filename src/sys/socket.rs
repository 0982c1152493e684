//! TCP sockets that never block: ports that listen, visitors, and dials to the hidden service.

use super::{check, filter};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// The addresses of this host at which a port is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenAddress {
    /// All, of both families.
    Any,
    /// One, or all of one family.
    One(IpAddr),
}

/// Opens a port for connections, with a queue for `backlog` of them. If `admitted` is given, the port hears
/// these addresses alone from the beginning: see [`filter::admit_only`]. What it accepts inherits its options
/// (no delay, keep-alive) and the filter.
///
/// # Errors
/// What socket(2), bind(2) and listen(2) say: the port is in use, or needs a privilege; and those of
/// [`filter::admit_only`]. The port is not open then.
pub fn listen(
    address: ListenAddress,
    port: u16,
    backlog: i32,
    admitted: Option<&[IpAddr]>,
) -> io::Result<OwnedFd> {
    let socket = bind(address, port, new_stream)?;
    if let Some(admitted) = admitted {
        filter::admit_only(&socket, admitted)?;
    }
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Opens a port for datagrams. It is not shared: another program could take ours.
///
/// # Errors
/// What socket(2) and bind(2) say: the port is in use, or needs a privilege.
pub fn listen_for_datagrams(address: ListenAddress, port: u16) -> io::Result<OwnedFd> {
    let new = |at| Socket::new(Domain::for_address(at), Type::DGRAM.nonblocking(), None);
    Ok(bind(address, port, new)?.into())
}

/// A new socket, bound to a port.
fn bind(
    address: ListenAddress,
    port: u16,
    new: impl Fn(SocketAddr) -> io::Result<Socket>,
) -> io::Result<Socket> {
    let bind_to = |address: IpAddr, only_v6| {
        let address = SocketAddr::new(address, port);
        let socket = new(address)?;
        if address.is_ipv6() {
            // Set either way, because the system's default (bindv6only) may be either.
            socket.set_only_v6(only_v6)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    };
    match address {
        ListenAddress::One(address) => bind_to(address, true),
        ListenAddress::Any => match bind_to(Ipv6Addr::UNSPECIFIED.into(), false) {
            // A kernel without IPv6.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                bind_to(Ipv4Addr::UNSPECIFIED.into(), true)
            }
            bound => bound,
        },
    }
}

/// A socket on which messages go out at once and dead peers are noticed. It may share its port with
/// what has been closed or dials out, so that neither keeps a port of the range from us.
///
/// # Errors
/// What socket(2) says.
pub fn stream(address: SocketAddr) -> io::Result<OwnedFd> {
    new_stream(address).map(OwnedFd::from)
}

fn new_stream(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        None,
    )?;
    socket.set_reuse_address(true)?;
    socket.set_keepalive(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// Begins to connect; [`connected`] tells how it ended, once the socket is writable.
///
/// # Errors
/// What socket(2) and connect(2) say, save that it is in progress.
pub fn dial(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = new_stream(address)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Whether a dial has succeeded; false while it is still under way.
///
/// # Errors
/// Why it failed.
pub fn connected(socket: BorrowedFd<'_>) -> io::Result<bool> {
    take_error(socket)?;
    let socket = SockRef::from(&socket);
    let peer = match socket.peer_addr() {
        Ok(peer) => peer,
        Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
        Err(error) => return Err(error),
    };
    // Nobody listens at a port from which the kernel dials: it has then connected to itself.
    if socket.local_addr()?.as_socket() == peer.as_socket() {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    Ok(true)
}

/// Connects from an address of ours, which std can't, and waits for it. The stream blocks.
///
/// # Errors
/// What socket(2), bind(2) and connect(2) say; `TimedOut` when nobody has answered by then.
#[cfg(feature = "demo")]
pub fn connect_from(
    source: IpAddr,
    destination: SocketAddr,
    timeout: Duration,
) -> io::Result<std::net::TcpStream> {
    let socket = new_stream(destination)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&destination.into(), timeout)?;
    Ok(socket.into())
}

/// Takes the error that waits at a socket: a reset, an unreachable peer.
///
/// # Errors
/// That error.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).take_error()?.map_or(Ok(()), Err)
}

/// Where a visitor wanted to go before the firewall sent it here (SO_ORIGINAL_DST, netfilter's
/// conntrack).
///
/// # Errors
/// Nothing was redirected: `NotFound`, or that the kernel has no conntrack.
pub fn original_destination(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let socket = SockRef::from(&socket);
    let here = socket.local_addr()?.as_socket();
    // On a socket of both families a visitor by IPv4 has a mapped address, and an IPv4 connection.
    let dialled = match here.map(|here| here.ip().to_canonical()) {
        Some(IpAddr::V6(_)) => socket.original_dst_v6()?,
        _ => socket.original_dst_v4()?,
    };
    dialled.as_socket().ok_or_else(no_address)
}

/// The kernel has answered an address that belongs to neither family.
fn no_address() -> io::Error {
    io::Error::from_raw_os_error(libc::EAFNOSUPPORT)
}

/// Takes the next visitor from a port's queue. (std and socket2 take more than one system call to make it
/// non-blocking.)
///
/// # Errors
/// What accept4(2) says; `WouldBlock` when nobody waits.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| peer.try_into().ok());
    Ok((socket, peer.ok_or_else(no_address)?))
}

/// Receives what is there, at most a buffer full. 0 is the peer's last word.
///
/// # Errors
/// What recv(2) says; `WouldBlock` when nothing is there.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (received, _) = rustix::net::recv(socket, buffer, RecvFlags::empty())?;
    Ok(received)
}

/// The same, and leaves it in the socket.
///
/// # Errors
/// As [`receive`].
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (seen, _) = rustix::net::recv(socket, buffer, RecvFlags::PEEK)?;
    Ok(seen)
}

/// Receives the next datagram, at most a buffer full, and who sent it.
///
/// # Errors
/// What recvfrom(2) says; `WouldBlock` when nothing is there.
pub fn receive_from(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let (received, _, sender) = rustix::net::recvfrom(socket, buffer, RecvFlags::empty())?;
    let sender = sender.and_then(|sender| sender.try_into().ok());
    Ok((received, sender.ok_or_else(no_address)?))
}

/// Throws away at most this many bytes of what is there, without copying them (tcp(7), MSG_TRUNC).
/// 0 is the peer's last word. Crates want a buffer.
///
/// # Errors
/// As [`receive`].
pub fn discard(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    let nowhere = core::ptr::null_mut();
    // SAFETY: with MSG_TRUNC a TCP socket writes nothing, so no buffer is needed.
    let thrown = check(unsafe { libc::recv(socket.as_raw_fd(), nowhere, bytes, libc::MSG_TRUNC) })?;
    Ok(thrown as usize)
}

/// Sends as much as there is room for.
///
/// # Errors
/// What send(2) says; `WouldBlock` when there is no room.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
}

/// Bytes that the peer has not acknowledged yet (tcp(7), SIOCOUTQ, which no crate has); 0 where that can't be
/// known.
#[must_use]
pub fn unsent(socket: BorrowedFd<'_>) -> usize {
    // A socket that was reset keeps its count, and will never send.
    if SockRef::from(&socket).peer_addr().is_err() {
        return 0;
    }
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, for which there is room.
    unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    usize::try_from(bytes).unwrap_or(0)
}

/// Says the last word of this direction.
///
/// # Errors
/// What shutdown(2) says; `NotConnected` when the peer has gone.
pub fn shut_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).shutdown(Shutdown::Write)
}

/// Makes the coming close a reset (socket(7), SO_LINGER).
pub fn reset_on_close(socket: BorrowedFd<'_>) {
    // It can fail only where there is no peer left to tell.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}
