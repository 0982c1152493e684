//! Addresses to listen on, and which of them conflict.

use core::net::IpAddr;

/// The addresses without repeats and without those that a wildcard covers: a second listener would
/// find the port in use.
pub(super) fn without_covered(given: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in given {
        let covers = |other: &IpAddr| other.is_unspecified() && conflict(address, other);
        let is_covered = !address.is_unspecified() && given.iter().any(covers);
        if !is_covered && !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses
}

/// Whether two mirages listen on the same address. An empty list is all addresses.
pub(super) fn share_an_address(a: &[IpAddr], b: &[IpAddr]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| conflict(a, b)))
}

/// Whether two listeners with the same port conflict. A wildcard is all addresses of its family.
fn conflict(a: &IpAddr, b: &IpAddr) -> bool {
    let is_all = a.is_unspecified() || b.is_unspecified();
    a == b || is_all && a.is_ipv4() == b.is_ipv4()
}
