//! Packets, seen before any port and any firewall (packet(7)): what a host is sent at ports where
//! nobody listens.

use super::{check, filter};
use crate::bpf::{self, IpVersion};
use core::mem;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use core::ops::RangeInclusive;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Sees packets of one IP version that come in by any interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    version: IpVersion,
}

impl PacketSocket {
    /// One that sees nothing until it is told what to [`watch`](Self::watch).
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW; EAFNOSUPPORT where the kernel has no packet sockets.
    pub fn open(version: IpVersion) -> io::Result<Self> {
        // Without a protocol it gets no packet, until the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), None)?;
        filter::attach(&socket, &[bpf::NOTHING])?;
        // One protocol, not all: so it does not see what this host sends, and a bridge and its VLANs
        // show a packet once.
        let protocol = match version {
            IpVersion::V4 => libc::ETH_P_IP,
            IpVersion::V6 => libc::ETH_P_IPV6,
        };
        socket.bind(&every_interface(protocol as u16))?;
        let socket = socket.into();
        Ok(Self { socket, version })
    }

    /// Sees what comes to these ports from now on, and keeps this many bytes of each.
    ///
    /// # Errors
    /// The kernel has no memory for the filter.
    pub fn watch(&self, ports: &[RangeInclusive<u16>], kept: u32) -> io::Result<()> {
        let program = bpf::arrivals(self.version, ports, kept);
        filter::attach(&self.socket, &program)
    }

    /// Whose packets it sees.
    #[must_use]
    pub fn version(&self) -> IpVersion {
        self.version
    }

    /// Takes the next packet: how many bytes it has written into the buffer, and the interface that the packet
    /// came in by, as the kernel counts them.
    ///
    /// # Errors
    /// What recvfrom(2) says; `WouldBlock` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        // SAFETY: all zeros is an address of this kind.
        let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
        let mut length = mem::size_of_val(&from) as libc::socklen_t;
        // By hand, because socket2 and rustix do not show what is in such an address.
        // SAFETY: the kernel writes into the buffer, no more than it holds, and an address, no longer
        // than it is told.
        let received = check(unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut from).cast(),
                &raw mut length,
            )
        })?;
        Ok((received as usize, from.sll_ifindex as u32))
    }

    /// Packets that found no room since this was asked last.
    #[must_use]
    pub fn lost(&self) -> u32 {
        // linux/if_packet.h: how many there were, and how many of them found no room.
        let mut statistics = [0u32; 2];
        let mut length = mem::size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: the kernel writes two numbers, for which there is room. (No crate has this option.)
        unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                statistics.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        statistics[1]
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Where one protocol comes in, by whichever interface.
fn every_interface(protocol: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the kernel has this struct for the family that is set here.
    let address: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    let length = mem::size_of_val(address) as libc::socklen_t;
    // SAFETY: it is an address of this length, and all zeros behind what is set.
    unsafe { SockAddr::new(storage, length) }
}

/// Whether an address is this host's, seen from an interface: link-local addresses belong to one each.
/// A router is also sent what it passes on.
#[must_use]
pub fn is_own_address(address: IpAddr, interface: u32) -> bool {
    let at = match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, 0, 0, interface).into()
        }
        _ => SocketAddr::new(address, 0),
    };
    if address.is_unspecified() || address.is_multicast() {
        return false;
    }
    // A socket may have a network's broadcast address, but it must not send there unless it has said
    // that it will. Nothing is sent.
    let mut towards = at;
    towards.set_port(1);
    UdpSocket::bind(at).is_ok_and(|socket| socket.connect(towards).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_told_from_others() {
        let is_own = |text: &str| is_own_address(text.parse().unwrap(), 1);
        assert!(is_own("127.0.0.1"));
        assert!(is_own("127.9.9.9"));
        for other in [
            "192.0.2.7",
            "0.0.0.0",
            "127.255.255.255",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "ff02::1",
            "2001:db8::1",
            "fe80::1:2:3:4",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
