//! Addresses to listen on: which of them get in each other's way.

use core::net::IpAddr;

/// Where to listen, with nothing twice: a second listener would find the port taken.
pub(super) fn without_covered(given: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in given {
        let covers = |other: &IpAddr| other.is_unspecified() && meet(address, other);
        let is_covered = !address.is_unspecified() && given.iter().any(covers);
        if !is_covered && !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses
}

/// Whether two mirages listen on one address. None given is all.
pub(super) fn share_an_address(a: &[IpAddr], b: &[IpAddr]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| meet(a, b)))
}

/// Whether two listeners with the same port get in each other's way: a wildcard is all of its family.
fn meet(a: &IpAddr, b: &IpAddr) -> bool {
    let is_all = a.is_unspecified() || b.is_unspecified();
    a == b || is_all && a.is_ipv4() == b.is_ipv4()
}
