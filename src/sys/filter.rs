//! Filters at sockets: what the kernel drops before the socket gets it (socket(7), SO_ATTACH_FILTER).

use crate::bpf::{self, NOTHING};
use core::net::IpAddr;
use libc::sock_filter;
use socket2::{SockFilter, SockRef};
use std::io;
use std::os::fd::AsFd;

/// Has a listener hear only what comes from these addresses, from now on; from nobody, where there are
/// none. Its other peers get no answer at all, whatever they send. What it accepts inherits this.
///
/// # Errors
/// The kernel has no memory for it; or `PermissionDenied`: newer kernels (6.18.44 is one) want
/// CAP_NET_ADMIN for a filter at a TCP socket. It hears whom it heard before then, or nobody.
pub fn admit_only(listener: &impl AsFd, admitted: &[IpAddr]) -> io::Result<()> {
    attach(listener, &bpf::sources(admitted))
}

/// Has a program stand before a socket, in the place of the one that may be there.
///
/// # Errors
/// The kernel has no memory for it, or takes no such program. The old one is there then, or one that
/// lets nothing through.
pub fn attach(socket: &impl AsFd, program: &[sock_filter]) -> io::Result<()> {
    let filter = |step: &sock_filter| SockFilter::new(step.code, step.jt, step.jf, step.k);
    let program: Vec<_> = program.iter().map(filter).collect();
    let socket = SockRef::from(socket);
    match socket.attach_filter(&program) {
        // Both programs count for a moment, and a 32-bit kernel gives a socket 10 KiB for such things
        // (net.core.optmem_max). So the old one goes first, and until the new one is there nothing
        // comes through: TCP sends it again.
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
            socket.attach_filter(&[filter(&NOTHING)])?;
            socket.attach_filter(&program)
        }
        done => done,
    }
}

/// Takes away the filter that a connection has inherited from its listener.
///
/// # Errors
/// There is none: `NotFound`.
pub fn detach(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).detach_filter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::{IpVersion, arrivals};
    use crate::limits::{ADMITTED, SENSED_RANGES};

    #[test]
    fn the_kernel_takes_the_longest_programs_one_after_the_other() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let full: Vec<IpAddr> = (0..ADMITTED as u128)
            .map(|number| IpAddr::V6((u128::MAX - (number << 96 | number << 64 | number)).into()))
            .collect();
        for _ in 0..3 {
            admit_only(&socket, &full).unwrap();
        }
        admit_only(&socket, &[]).unwrap();
        let watched = vec![1..=2; SENSED_RANGES];
        for version in [IpVersion::V4, IpVersion::V6] {
            attach(&socket, &arrivals(version, &watched, 140)).unwrap();
        }
        detach(&socket).unwrap();
        assert_eq!(detach(&socket).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
