//! TCP sockets that never block: ports that listen, visitors, and dials to the hidden service.
//!
//! Options are set and asked for, and visitors accepted, by the system calls themselves: the C library
//! has a kilobyte for kernels that know no option with a time of 64 bits, or no accept4.

use super::wait::{self, Want};
use super::{check, control, filter};
use core::mem::{self, MaybeUninit};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Where a port listens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On every address of both families.
    Everywhere,
    /// On one address, or on all of one family.
    At(IpAddr),
}

/// What a port is opened for.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    /// For connections: the queue's length, and what stands before the socket.
    Listen(i32, &'a [libc::sock_filter]),
    /// For datagrams.
    Datagrams,
}

/// Opens a port, with a queue for `backlog` visitors. What it accepts inherits its options: no delay,
/// keep-alive.
///
/// # Errors
/// What socket(2), bind(2) and listen(2) say: the port is in use, or needs a privilege.
pub fn listen(place: Place, port: u16, backlog: i32) -> io::Result<OwnedFd> {
    open(place, port, Purpose::Listen(backlog, &[]))
}

/// The same, for these addresses alone: see [`filter::admit_only`]. What it accepts inherits the filter.
///
/// # Errors
/// As [`listen`] and [`filter::admit_only`]. The port is not open then.
pub fn listen_only_to(
    place: Place,
    port: u16,
    backlog: i32,
    admitted: &[IpAddr],
) -> io::Result<OwnedFd> {
    let filter = filter::sources(admitted);
    open(place, port, Purpose::Listen(backlog, &filter))
}

/// Opens a port for datagrams.
///
/// # Errors
/// What socket(2) and bind(2) say: the port is in use, or needs a privilege.
pub fn take_datagrams(place: Place, port: u16) -> io::Result<OwnedFd> {
    open(place, port, Purpose::Datagrams)
}

/// A socket for datagrams to an address, from one of ours where that matters.
///
/// # Errors
/// What socket(2), bind(2) and connect(2) say: an address is not ours, there is no way to the other.
pub fn datagrams_to(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<OwnedFd> {
    let socket = new_socket(to, libc::SOCK_DGRAM)?;
    if let Some(from) = from {
        tell(&socket, libc::bind, from)?;
    }
    tell(&socket, libc::connect, to)?;
    Ok(socket)
}

/// The address of our end.
///
/// # Errors
/// What getsockname(2) says.
pub fn local_address(socket: BorrowedFd<'_>) -> io::Result<IpAddr> {
    Ok(address_of(socket, libc::getsockname)?.ip())
}

/// bind(2) or connect(2).
type AddressWord = unsafe extern "C" fn(i32, *const libc::sockaddr, libc::socklen_t) -> libc::c_int;

fn tell(socket: &OwnedFd, call: AddressWord, address: SocketAddr) -> io::Result<()> {
    let (raw, length) = to_raw(address);
    // SAFETY: raw is a socket address of this length.
    check(unsafe { call(socket.as_raw_fd(), (&raw const raw).cast(), length) }).map(drop)
}

/// Whether the kernel lets a socket have this address.
#[must_use]
pub fn is_ours(mut address: SocketAddr) -> bool {
    address.set_port(0);
    open_at(address, true, Purpose::Datagrams).is_ok()
}

fn open(place: Place, port: u16, purpose: Purpose) -> io::Result<OwnedFd> {
    match place {
        Place::At(address) => open_at(SocketAddr::new(address, port), true, purpose),
        Place::Everywhere => {
            let both = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
            match open_at(both, false, purpose) {
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                    // A kernel without IPv6.
                    let all = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
                    open_at(all, true, purpose)
                }
                other => other,
            }
        }
    }
}

fn open_at(address: SocketAddr, only_its_family: bool, purpose: Purpose) -> io::Result<OwnedFd> {
    let socket = match purpose {
        Purpose::Listen(..) => stream(address)?,
        // It does not share its port: another program's datagrams would come here.
        Purpose::Datagrams => new_socket(address, libc::SOCK_DGRAM)?,
    };
    if address.is_ipv6() {
        // Said either way, because the system's default (bindv6only) may be any.
        set(
            &socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_V6ONLY,
            i32::from(only_its_family),
        )?;
    }
    tell(&socket, libc::bind, address)?;
    if let Purpose::Listen(backlog, filter) = purpose {
        if !filter.is_empty() {
            filter::attach(&socket, filter)?;
        }
        // SAFETY: the descriptor is open.
        check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    }
    Ok(socket)
}

/// Begins to connect; [`connected`] tells how it ended, once the socket is writable.
///
/// # Errors
/// What socket(2) and connect(2) say, save that it is in progress.
pub fn dial(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = stream(address)?;
    match tell(&socket, libc::connect, address) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Whether a dial has succeeded; false while it is still under way.
///
/// # Errors
/// Why it failed.
pub fn connected(socket: BorrowedFd<'_>) -> io::Result<bool> {
    take_error(socket)?;
    let peer = match address_of(socket, libc::getpeername) {
        Ok(peer) => peer,
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return Ok(false),
        Err(error) => return Err(error),
    };
    // Nobody listens at a port from which the kernel dials: it has then connected to itself.
    if address_of(socket, libc::getsockname)? == peer {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    Ok(true)
}

/// Connects, and waits for it so many milliseconds. The socket does not block.
///
/// # Errors
/// What socket(2) and connect(2) say; `TimedOut` when nobody has answered by then.
pub fn connect(address: SocketAddr, milliseconds: u64) -> io::Result<OwnedFd> {
    let socket = dial(address)?;
    if !wait::for_one(socket.as_fd(), Want::Write, milliseconds)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    connected(socket.as_fd())?;
    Ok(socket)
}

/// Connects from an address of ours, which std can't, and waits for it. The stream blocks.
///
/// # Errors
/// What socket(2), bind(2) and connect(2) say; `TimedOut` when nobody has answered by then.
#[cfg(feature = "demo")]
pub fn connect_from(
    source: IpAddr,
    destination: SocketAddr,
    timeout: core::time::Duration,
) -> io::Result<std::net::TcpStream> {
    let socket = stream(destination)?;
    let (raw, length) = to_raw(SocketAddr::new(source, 0));
    // SAFETY: raw is a socket address of this length.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const raw).cast(), length) })?;
    let (raw, length) = to_raw(destination);
    // SAFETY: raw is a socket address of this length.
    match check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const raw).cast(), length) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    let timeout = timeout.as_millis() as u64;
    if !wait::for_one(socket.as_fd(), Want::Write, timeout)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    take_error(socket.as_fd())?;
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Takes the error that waits at a socket: a reset, an unreachable peer.
///
/// # Errors
/// That error.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut error: i32 = 0;
    let mut length = mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel writes one int, for which there is room.
    check(unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            &raw mut error,
            &raw mut length,
        )
    })?;
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Where a visitor wanted to go before the firewall sent it here (SO_ORIGINAL_DST, netfilter's
/// conntrack; it is 80 for both families).
///
/// # Errors
/// Nothing was redirected: `NotFound`, or that the kernel has no conntrack.
pub fn original_destination(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    const ORIGINAL_DESTINATION: i32 = 80;
    let here = address_of(socket, libc::getsockname)?;
    // On a socket of both families a visitor by IPv4 has a mapped address, and an IPv4 connection.
    let level = match here.ip().to_canonical() {
        IpAddr::V4(_) => libc::IPPROTO_IP,
        IpAddr::V6(_) => libc::IPPROTO_IPV6,
    };
    let mut raw = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes an address into the storage, no longer than it is told.
    check(unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            socket.as_raw_fd(),
            level,
            ORIGINAL_DESTINATION,
            raw.as_mut_ptr(),
            &raw mut length,
        )
    })?;
    // SAFETY: all zeros is a valid storage, and the kernel has written an address over it.
    from_raw(&unsafe { raw.assume_init() })
}

/// Takes the next visitor from a port's queue.
///
/// # Errors
/// What accept4(2) says; `WouldBlock` when nobody waits.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut raw = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes an address into the storage, no longer than it is told.
    let socket = check(unsafe {
        libc::syscall(
            libc::SYS_accept4,
            listener.as_raw_fd(),
            raw.as_mut_ptr(),
            &raw mut length,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    })?;
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket as i32) };
    // SAFETY: all zeros is a valid storage, and the kernel has written an address over it.
    let peer = from_raw(&unsafe { raw.assume_init() })?;
    Ok((socket, peer))
}

/// Receives what is there, at most a buffer full. 0 is the peer's last word.
///
/// # Errors
/// What recv(2) says; `WouldBlock` when nothing is there.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    receive_into(socket, buffer, 0)
}

/// The same, and leaves it in the socket.
///
/// # Errors
/// As [`receive`].
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    receive_into(socket, buffer, libc::MSG_PEEK)
}

fn receive_into(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
    // SAFETY: the kernel writes into the buffer, no more than it holds.
    let received = check(unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            flags,
        )
    })?;
    Ok(received as usize)
}

/// Receives the next datagram, at most a buffer full, and who sent it.
///
/// # Errors
/// What recvfrom(2) says; `WouldBlock` when nothing is there.
pub fn receive_from(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let mut raw = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes into the buffer, no more than it holds, and an address, no longer than
    // it is told.
    let received = check(unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            raw.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    // SAFETY: all zeros is a valid storage, and the kernel has written an address over it.
    let sender = from_raw(&unsafe { raw.assume_init() })?;
    Ok((received as usize, sender))
}

/// Throws away at most so many bytes of what is there, without copying them (tcp(7), MSG_TRUNC).
/// 0 is the peer's last word.
///
/// # Errors
/// As [`receive`].
pub fn discard(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    // SAFETY: with MSG_TRUNC a TCP socket writes nothing, so no buffer is needed.
    let thrown = check(unsafe {
        libc::recv(
            socket.as_raw_fd(),
            core::ptr::null_mut(),
            bytes,
            libc::MSG_TRUNC,
        )
    })?;
    Ok(thrown as usize)
}

/// Sends as much as there is room for.
///
/// # Errors
/// What send(2) says; `WouldBlock` when there is no room.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads the bytes, no more than there are.
    let sent = check(unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    })?;
    Ok(sent as usize)
}

/// Bytes that the peer has not acknowledged yet (tcp(7), SIOCOUTQ); 0 where that can't be known.
#[must_use]
pub fn unsent(socket: BorrowedFd<'_>) -> usize {
    // A socket that was reset keeps its count, and will never send.
    if address_of(socket, libc::getpeername).is_err() {
        return 0;
    }
    let mut bytes: i32 = 0;
    // SAFETY: the kernel writes one int, for which there is room.
    let _ = unsafe { control::ask(socket.as_raw_fd(), libc::TIOCOUTQ as i32, &raw mut bytes) };
    usize::try_from(bytes).unwrap_or(0)
}

/// Says the last word of this direction.
///
/// # Errors
/// What shutdown(2) says; `NotConnected` when the peer has gone.
pub fn shut_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    check(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) }).map(drop)
}

/// Makes the coming close a reset (socket(7), SO_LINGER).
pub fn reset_on_close(socket: BorrowedFd<'_>) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // It can fail only where there is no peer left to tell.
    let _ = set(&socket, libc::SOL_SOCKET, libc::SO_LINGER, linger);
}

/// A socket on which messages go out at once and dead peers are noticed. It may share its port with
/// what has been closed or dials out, so that neither keeps a port of the range from us.
///
/// # Errors
/// What socket(2) says.
pub fn stream(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = new_socket(address, libc::SOCK_STREAM)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    Ok(socket)
}

fn new_socket(address: SocketAddr, kind: i32) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let socket = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

pub(super) fn set<T: Copy>(
    socket: &impl AsRawFd,
    level: i32,
    option: i32,
    value: T,
) -> io::Result<()> {
    let (value, length) = ((&raw const value).cast(), mem::size_of::<T>());
    // SAFETY: the value has this size.
    unsafe { set_bytes(socket.as_raw_fd(), level, option, value, length) }
}

/// One for all types of values.
///
/// # Safety
/// The kernel may read so many bytes there.
unsafe fn set_bytes(
    socket: i32,
    level: i32,
    option: i32,
    value: *const u8,
    length: usize,
) -> io::Result<()> {
    let length = length as libc::socklen_t;
    // SAFETY: as the caller says.
    check(unsafe { libc::syscall(libc::SYS_setsockopt, socket, level, option, value, length) })
        .map(drop)
}

type AddressCall =
    unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn address_of(socket: BorrowedFd<'_>, call: AddressCall) -> io::Result<SocketAddr> {
    let mut raw = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes an address into the storage, no longer than it is told.
    check(unsafe { call(socket.as_raw_fd(), raw.as_mut_ptr().cast(), &raw mut length) })?;
    // SAFETY: all zeros is a valid storage, and the kernel has written an address over it.
    from_raw(&unsafe { raw.assume_init() })
}

fn to_raw(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeros is a valid storage.
    let mut raw: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(v4) => {
            // SAFETY: a storage has room and alignment for an address of any family.
            let to = unsafe { &mut *(&raw mut raw).cast::<libc::sockaddr_in>() };
            to.sin_family = libc::AF_INET as libc::sa_family_t;
            to.sin_port = v4.port().to_be();
            to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            mem::size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let to = unsafe { &mut *(&raw mut raw).cast::<libc::sockaddr_in6>() };
            to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            to.sin6_port = v6.port().to_be();
            to.sin6_addr.s6_addr = v6.ip().octets();
            to.sin6_scope_id = v6.scope_id();
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (raw, length as libc::socklen_t)
}

fn from_raw(raw: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    match i32::from(raw.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is this struct, and a storage has room for it.
            let from = unsafe { &*(&raw const *raw).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(from.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddrV4::new(address, u16::from_be(from.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let from = unsafe { &*(&raw const *raw).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(from.sin6_addr.s6_addr);
            let port = u16::from_be(from.sin6_port);
            Ok(SocketAddrV6::new(address, port, 0, from.sin6_scope_id).into())
        }
        _ => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    }
}
