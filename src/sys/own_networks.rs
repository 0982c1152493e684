//! What is addressed to this host, as the kernel routes it (rtnetlink(7)): addresses, and networks such as 127/8.

use super::check;
use crate::bpf::{IpVersion, OwnNetwork};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// linux/netlink.h: the header's length, its flags, the last answer's type, and the option by which the kernel
/// does not answer with all routes that there are.
const HEADER: usize = 16;
const REQUEST_DUMP: u16 = 0x301;
const DONE: u16 = 3;
const STRICT_CHECK: libc::c_int = 12;

/// linux/rtnetlink.h: the length of a route without its attributes, and the groups of news about addresses.
const ROUTE: usize = 12;
const ADDRESS_GROUPS: u32 = 0x110;

/// News of addresses that this host gets or loses.
#[derive(Debug)]
pub struct AddressNews(OwnedFd);

impl AddressNews {
    /// Subscribes to them.
    ///
    /// # Errors
    /// What socket(2) and bind(2) say.
    pub fn open() -> io::Result<Self> {
        let socket = open()?;
        bind(&socket, &SocketAddrNetlink::new(0, ADDRESS_GROUPS))?;
        Ok(Self(socket))
    }

    /// Discards all news that have come.
    pub fn discard(&self) {
        // Any other error than "would block" says that there was too much: that is news as well, and the next
        // call succeeds.
        let is_over = |error: rustix::io::Errno| error == rustix::io::Errno::AGAIN;
        while !recv(&self.0, &mut [0; 4][..], RecvFlags::empty()).is_err_and(is_over) {}
    }
}

impl AsFd for AddressNews {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    Ok(socket_with(family, kind, flags, None)?)
}

/// The networks whose packets the kernel delivers here.
///
/// # Errors
/// The kernel is older than 4.20, or forbids the question.
pub fn own_networks(version: IpVersion) -> io::Result<Vec<OwnNetwork>> {
    let socket = open()?;
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int. rustix and socket2 have no such option.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            STRICT_CHECK,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    })?;
    let family = match version {
        IpVersion::V4 => libc::AF_INET,
        IpVersion::V6 => libc::AF_INET6,
    };
    let mut request = [0; HEADER + ROUTE];
    request[..4].copy_from_slice(&((HEADER + ROUTE) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&libc::RTM_GETROUTE.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request[HEADER] = family as u8;
    request[HEADER + 4] = libc::RT_TABLE_LOCAL;
    request[HEADER + 7] = libc::RTN_LOCAL;
    send(&socket, &request, SendFlags::empty())?;
    let mut networks = Vec::new();
    let mut buffer = vec![0; 32_768];
    // The kernel has the next part of its answer ready as soon as it is asked for.
    loop {
        let (received, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        if read_routes(&buffer[..received], &mut networks)? {
            return Ok(networks);
        }
    }
}

/// Reads a part of the kernel's answer. True: it was the last one.
pub(crate) fn read_routes(mut bytes: &[u8], networks: &mut Vec<OwnNetwork>) -> io::Result<bool> {
    while let Some(header) = bytes.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let message = bytes
            .get(HEADER..length)
            .ok_or(io::ErrorKind::InvalidData)?;
        match u16::from_ne_bytes([header[4], header[5]]) {
            DONE => return Ok(true),
            libc::RTM_NEWROUTE => networks.extend(read_route(message)),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn read_route(message: &[u8]) -> Option<OwnNetwork> {
    let (route, mut attributes) = message.split_at_checked(ROUTE)?;
    let bits = route[1];
    if route[7] != libc::RTN_LOCAL {
        return None;
    }
    while let Some(&[low, high, kind_low, kind_high]) = attributes.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([kind_low, kind_high]) == libc::RTA_DST {
            let address = match i32::from(route[0]) {
                libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*value.first_chunk::<4>()?)),
                _ => IpAddr::V6(Ipv6Addr::from(*value.first_chunk::<16>()?)),
            };
            return Some(OwnNetwork { address, bits });
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_networks_are_ours() {
        let four = own_networks(IpVersion::V4).unwrap();
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0));
        assert!(four.contains(&OwnNetwork { address, bits: 8 }), "{four:?}");
        let six = own_networks(IpVersion::V6).unwrap();
        let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let is_without = std::fs::metadata("/proc/net/if_inet6").is_err();
        assert!(
            is_without || six.contains(&OwnNetwork { address, bits: 128 }),
            "{six:?}"
        );
    }

    #[test]
    fn no_answer_is_read_beyond_its_end() {
        let mut answer = vec![0; 64];
        answer[4] = libc::RTM_NEWROUTE as u8;
        for length in 0..80u32 {
            answer[..4].copy_from_slice(&length.to_ne_bytes());
            for attribute in 0..40 {
                answer[HEADER + ROUTE] = attribute;
                let mut networks = Vec::new();
                let _ = read_routes(&answer, &mut networks);
                assert!(networks.is_empty());
            }
        }
    }
}
