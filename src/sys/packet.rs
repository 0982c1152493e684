//! Packet sockets (packet(7)): what is sent to this host before ports and firewalls look at it.

use super::filter;
use crate::bpf::{self, IpVersion, OwnNetwork};
use core::mem;
use core::ops::RangeInclusive;
use rustix::net::{RecvFlags, recvfrom};
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Receives packets of one IP version that arrive at any interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    version: IpVersion,
}

impl PacketSocket {
    /// Opens one that gets nothing before [`watch`](Self::watch).
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW; EAFNOSUPPORT if the kernel has no packet sockets.
    pub fn open(version: IpVersion) -> io::Result<Self> {
        // Without a protocol it gets no packet until the filter is attached.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), None)?;
        filter::attach(&socket, &[bpf::NOTHING])?;
        // With one protocol instead of all, it does not get what this host sends, and gets a packet once that
        // passes a bridge and its VLANs.
        let protocol = match version {
            IpVersion::V4 => libc::ETH_P_IP,
            IpVersion::V6 => libc::ETH_P_IPV6,
        };
        socket.bind(&every_interface(protocol as u16))?;
        let socket = socket.into();
        Ok(Self { socket, version })
    }

    /// Receives what is sent to these ports from now on, and addressed to one of the networks if there are any, cut
    /// to `kept` bytes.
    ///
    /// # Errors
    /// The kernel has no memory for the filter.
    pub fn watch(
        &self,
        ports: &[RangeInclusive<u16>],
        networks: Option<&[OwnNetwork]>,
        kept: u32,
    ) -> io::Result<()> {
        let program = bpf::arrivals(self.version, ports, networks, kept);
        filter::attach(&self.socket, &program)
    }

    /// Whose packets it receives.
    #[must_use]
    pub fn version(&self) -> IpVersion {
        self.version
    }

    /// Receives the next packet into the buffer: its length there, and the index of the interface at which
    /// it arrived.
    ///
    /// # Errors
    /// What recvfrom(2) says; `WouldBlock` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        let (received, _, from) = recvfrom(&self.socket, buffer, RecvFlags::empty())?;
        let from = from.ok_or(io::ErrorKind::InvalidData)?;
        let from = from.as_ptr().cast::<libc::sockaddr_ll>();
        // SAFETY: the kernel gives a sockaddr_ll with each packet of such a socket, up to its address at
        // least, and rustix's storage is large enough and aligned for every socket address.
        let interface = unsafe { (&raw const (*from).sll_ifindex).read() };
        Ok((received, interface as u32))
    }

    /// The packets that the kernel has dropped since the last call because the queue was full (packet(7),
    /// PACKET_STATISTICS, which neither socket2 nor rustix has).
    #[must_use]
    pub fn lost(&self) -> u32 {
        // The packets that arrived, and those dropped (linux/if_packet.h, struct tpacket_stats).
        let mut statistics = [0u32; 2];
        let mut length = mem::size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `statistics`.
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

/// The address of one protocol at all interfaces.
fn every_interface(protocol: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a sockaddr_ll is a socket address, and all zeros are valid for it.
    let address: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    let length = mem::size_of_val(address) as libc::socklen_t;
    // SAFETY: the storage holds an address of this family and length.
    unsafe { SockAddr::new(storage, length) }
}
