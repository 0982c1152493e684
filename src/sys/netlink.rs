//! Netlink sockets (netlink(7)): requests to a part of the kernel, and its answers.

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, send, socket_with,
};
use std::io;
use std::os::fd::OwnedFd;

/// A socket to netfilter.
#[derive(Debug)]
pub struct NetfilterSocket(OwnedFd);

impl NetfilterSocket {
    /// Opens one.
    ///
    /// # Errors
    /// What socket(2) says: EPROTONOSUPPORT if the kernel has no netfilter.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        Ok(Self(socket_with(family, kind, flags, Some(NETFILTER))?))
    }

    /// Sends requests to the kernel, which handles them before this returns.
    ///
    /// # Errors
    /// What send(2) says: EMSGSIZE if it is more than the send buffer holds. What is wrong with a request is an
    /// answer, not an error.
    pub fn send(&self, requests: &[u8]) -> io::Result<()> {
        send(&self.0, requests, SendFlags::empty())?;
        Ok(())
    }

    /// Receives the next answer, cut to the buffer; None if it is another process's and not the kernel's.
    ///
    /// # Errors
    /// What recv(2) says: `WouldBlock` if there is none, ENOBUFS if some were lost because there were too many.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let (received, _, from) = recvfrom(&self.0, buffer, RecvFlags::empty())?;
        let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
        let is_kernel = from.is_some_and(|from| from.pid() == 0);
        Ok(is_kernel.then_some(received))
    }
}
