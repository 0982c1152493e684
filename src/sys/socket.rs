//! Non-blocking sockets (socket(7), tcp(7), udp(7)): ports, the visitors that they accept, and connections to
//! the hidden service.

use super::{check, filter};
use crate::limits::{KEEP_ALIVE_AGAIN_S, KEEP_ALIVE_S, KEEP_ALIVE_TIMES, UNACKNOWLEDGED_MS};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, SocketFlags};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::io;
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
/// (no delay, keep-alive, time-outs) and the filter.
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

/// A socket that is not connected, for an address of this family.
///
/// # Errors
/// What socket(2) says.
pub fn stream(address: SocketAddr) -> io::Result<OwnedFd> {
    new_stream(address).map(OwnedFd::from)
}

/// A TCP socket that sends messages at once and notices dead peers. It may be bound to a port that closed
/// connections or outgoing ones have, because those must not keep us from a port of the range.
fn new_stream(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        None,
    )?;
    socket.set_reuse_address(true)?;
    let keep_alive = TcpKeepalive::new()
        .with_time(Duration::from_secs(KEEP_ALIVE_S.into()))
        .with_interval(Duration::from_secs(KEEP_ALIVE_AGAIN_S.into()))
        .with_retries(KEEP_ALIVE_TIMES);
    socket.set_tcp_keepalive(&keep_alive)?;
    let most = Duration::from_millis(UNACKNOWLEDGED_MS.into());
    socket.set_tcp_user_timeout(Some(most))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// Makes a socket that will connect do so from this address (ip(7), IP_BIND_ADDRESS_NO_PORT, which neither socket2
/// nor rustix has). Its port is chosen by connect(2): bind(2) would take one that no other connection from that
/// address has, and there are 28,000 of these.
///
/// # Errors
/// What bind(2) says: the address is not one of this host.
pub fn set_source(socket: BorrowedFd<'_>, address: Ipv4Addr) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the call reads one int, from `yes`.
    let set = check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    });
    match set {
        // Before Linux 4.2 the ports of one address are all that there are.
        Err(error) if error.raw_os_error() != Some(libc::ENOPROTOOPT) => return Err(error),
        _ => {}
    }
    SockRef::from(&socket).bind(&SocketAddr::from((address, 0)).into())
}

/// The addresses of both ends of a visitor's connection: theirs, and the one that they dialled, before the firewall
/// redirected them.
///
/// # Errors
/// The visitor has gone.
pub fn ends(visitor: BorrowedFd<'_>) -> io::Result<(SocketAddr, SocketAddr)> {
    let socket = SockRef::from(&visitor);
    let address = |address: SockAddr| address.as_socket().ok_or(io::ErrorKind::Unsupported.into());
    let peer = socket.peer_addr().and_then(address)?;
    let dialled = original_destination(visitor);
    Ok((
        peer,
        dialled.or_else(|_| socket.local_addr().and_then(address))?,
    ))
}

/// Begins to connect. Once the socket is writable, [`connected`] says how that ended.
///
/// # Errors
/// What connect(2) says, except EINPROGRESS.
pub fn connect(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    match SockRef::from(&socket).connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(()),
    }
}

/// Whether [`connect`] has succeeded; false while it is in progress.
///
/// # Errors
/// The error of connect(2) that has arrived since.
pub fn connected(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let socket = SockRef::from(&socket);
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    let peer = match socket.peer_addr() {
        Ok(peer) => peer,
        Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
        Err(error) => return Err(error),
    };
    // Where nobody listens, the kernel may choose the same port as ours; then the socket connects to itself.
    if socket.local_addr()?.as_socket() == peer.as_socket() {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    Ok(true)
}

/// The destination of a visitor before the firewall redirected it (netfilter's SO_ORIGINAL_DST).
///
/// # Errors
/// `NotFound` if nothing was redirected; `ENOPROTOOPT` if the kernel has no connection tracking.
pub fn original_destination(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let socket = SockRef::from(&socket);
    let here = socket.local_addr()?.as_socket();
    // On a socket of both families an IPv4 visitor has a mapped address, but its connection is tracked as IPv4.
    let destination = match here.map(|here| here.ip().to_canonical()) {
        Some(IpAddr::V6(_)) => socket.original_dst_v6()?,
        _ => socket.original_dst_v4()?,
    };
    destination
        .as_socket()
        .ok_or(io::ErrorKind::Unsupported.into())
}

/// A peer's address, which is one of IPv4 or IPv6 at our sockets.
fn peer_address(address: Option<SocketAddrAny>) -> io::Result<SocketAddr> {
    let address = address.and_then(|address| address.try_into().ok());
    address.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// Takes the next visitor from a port's queue. std and socket2 need more than one system call to make it
/// non-blocking.
///
/// # Errors
/// What accept4(2) says; `WouldBlock` if the queue is empty.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    Ok((socket, peer_address(peer)?))
}

/// Receives up to a buffer full. 0 is the end of the stream.
///
/// # Errors
/// What recv(2) says; `WouldBlock` if nothing has arrived.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (received, _) = rustix::net::recv(socket, buffer, RecvFlags::empty())?;
    Ok(received)
}

/// As [`receive`], but leaves the bytes in the socket (recv(2), MSG_PEEK).
///
/// # Errors
/// As [`receive`].
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (seen, _) = rustix::net::recv(socket, buffer, RecvFlags::PEEK)?;
    Ok(seen)
}

/// Receives the next datagram, cut to the buffer, and its sender.
///
/// # Errors
/// What recvfrom(2) says; `WouldBlock` if there is none.
pub fn receive_from(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let (received, _, sender) = rustix::net::recvfrom(socket, buffer, RecvFlags::empty())?;
    Ok((received, peer_address(sender)?))
}

/// Discards up to this many bytes that have arrived, without copying them (tcp(7), MSG_TRUNC). 0 is the end of
/// the stream. socket2 and rustix would ask for a buffer of that size.
///
/// # Errors
/// As [`receive`].
pub fn discard(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    let nowhere = core::ptr::null_mut();
    // SAFETY: with MSG_TRUNC a TCP socket does not write to the buffer, which may be null then.
    let discarded =
        check(unsafe { libc::recv(socket.as_raw_fd(), nowhere, bytes, libc::MSG_TRUNC) })?;
    Ok(discarded as usize)
}

/// Sends as many bytes as the socket has room for.
///
/// # Errors
/// What send(2) says; `WouldBlock` if there is no room.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
}

/// The bytes that the peer has not acknowledged yet (tcp(7), SIOCOUTQ, which neither socket2 nor rustix has); 0
/// if that can't be known.
#[must_use]
pub fn unsent(socket: BorrowedFd<'_>) -> usize {
    // After a reset the count stays, though nothing will be sent.
    if SockRef::from(&socket).peer_addr().is_err() {
        return 0;
    }
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one int, to `bytes`.
    unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    usize::try_from(bytes).unwrap_or(0)
}

/// For how long the peer has not answered the kernel's probes or acknowledged what was sent, in ms. The kernel
/// does not tell exactly; it is at least so long. 0 if the peer owes no answer, or if that can't be known.
#[must_use]
pub fn unanswered_ms(socket: BorrowedFd<'_>) -> u64 {
    // SAFETY: all zeros is a valid value: it has only numbers.
    let mut info: libc::tcp_info = unsafe { core::mem::zeroed() };
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`. socket2 and rustix have no TCP_INFO.
    let got = check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    });
    got.map_or(0, |_| unanswered(&info))
}

fn unanswered(info: &libc::tcp_info) -> u64 {
    let silent_ms = u64::from(info.tcpi_last_ack_recv);
    if info.tcpi_unacked > 0 && info.tcpi_retransmits > 0 {
        // Each pause is twice as long as the one before, so all that are over took as long as the present one
        // without the first.
        let pause_ms = u64::from(info.tcpi_rto / 1_000);
        let first_ms = pause_ms >> info.tcpi_backoff.min(63);
        let since_last_ms = u64::from(info.tcpi_last_data_sent);
        return (pause_ms - first_ms + since_last_ms).min(silent_ms);
    }
    let keep_alive_ms = u64::from(KEEP_ALIVE_S) * 1_000;
    match info.tcpi_probes {
        0 => 0,
        _ if silent_ms >= keep_alive_ms => silent_ms - keep_alive_ms,
        // The answer to the first probe of a closed window may be on its way. The pause before it was no longer
        // than those since then.
        1 => 0,
        _ => silent_ms / 2,
    }
}

/// Makes close(2) send a reset (socket(7), SO_LINGER).
pub fn reset_on_close(socket: BorrowedFd<'_>) {
    // It fails only if the peer has gone.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests;
