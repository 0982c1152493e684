//! Filters at sockets: what the kernel drops before the socket gets it (socket(7), SO_ATTACH_FILTER).

use crate::bpf::{self, NOTHING};
use core::net::IpAddr;
use libc::sock_filter;
use socket2::{SockFilter, SockRef};
use std::io;
use std::os::fd::AsFd;

/// Makes a listener hear only these addresses from now on, or nobody if there are none. Others get no answer
/// at all, whatever they send. The sockets that it accepts inherit the filter.
///
/// # Errors
/// The kernel has no memory for it; or `PermissionDenied`, because newer kernels (6.18.44 is one) ask for
/// CAP_NET_ADMIN to filter a TCP socket. The listener then hears whom it heard before, or nobody.
pub fn admit_only(listener: &impl AsFd, admitted: &[IpAddr]) -> io::Result<()> {
    attach(listener, &bpf::sources(admitted))
}

/// Attaches a program to a socket, instead of the one that it may have.
///
/// # Errors
/// The kernel has no memory for the program, or rejects it. Then the old one is attached, or one that keeps
/// nothing.
pub fn attach(socket: &impl AsFd, program: &[sock_filter]) -> io::Result<()> {
    let filter = |step: &sock_filter| SockFilter::new(step.code, step.jt, step.jf, step.k);
    let program: Vec<_> = program.iter().map(filter).collect();
    let socket = SockRef::from(socket);
    match socket.attach_filter(&program) {
        // For a moment the memory of both counts, and a 32-bit kernel allows a socket 10 KiB of it
        // (net.core.optmem_max). So the old one is replaced by a short one first. What arrives until the new
        // one is attached is dropped, and TCP sends it again.
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
            socket.attach_filter(&[filter(&NOTHING)])?;
            socket.attach_filter(&program)
        }
        done => done,
    }
}

/// Removes the filter that a connection has inherited from its listener.
///
/// # Errors
/// `NotFound` if it has none.
pub fn detach(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).detach_filter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::{IpVersion, OwnNetwork, arrivals};
    use crate::limits::{ADMITTED, SENSED_NETWORKS, SENSED_RANGES};

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
            let one = OwnNetwork {
                address: full[0],
                bits: 127,
            };
            let networks = vec![one; SENSED_NETWORKS];
            attach(&socket, &arrivals(version, &watched, Some(&networks), 140)).unwrap();
        }
        detach(&socket).unwrap();
        assert_eq!(detach(&socket).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
