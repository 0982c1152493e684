//! Conflicts between mirages, and with the hidden services and the kernel of this machine. They are
//! found here, before a listener is opened.

use super::draft::Draft;
use super::listen::share_an_address;
use super::outgoing;
use super::reader::ConfigReader;
use crate::proto::gates::Gate;
use crate::proto::scheme::knock::Protocol;
use core::net::{IpAddr, SocketAddr};

/// Checks all mirages of a server against each other.
pub(super) fn check(reader: &mut ConfigReader, drafts: &[Draft]) {
    reader.check_neighbours(drafts);
    reader.warn_of_outgoing_ports(drafts);
}

impl ConfigReader<'_> {
    fn check_neighbours(&mut self, drafts: &[Draft]) {
        for (index, draft) in drafts.iter().enumerate() {
            self.check_service_port(draft, draft);
            for earlier in &drafts[..index] {
                self.check_service_port(earlier, draft);
                self.check_service_port(draft, earlier);
                self.check_overlap(earlier, draft);
                self.check_pools(earlier, draft);
                self.check_proofs(earlier, draft);
                self.check_hops(earlier, draft);
                self.check_hops(draft, earlier);
            }
        }
    }

    /// A listener of ours must not take the port of a hidden service, whichever mirage leads to it.
    fn check_service_port(&mut self, draft: &Draft, leading: &Draft) {
        let (Some(range), Some(service)) = (draft.claimed(), leading.door.service) else {
            return;
        };
        let port = service.port();
        let is_pool = draft.pool_port == Some(port);
        if self.is_valid(draft.section, "listen-address")
            && (range.contains(port) || is_pool)
            && is_on_this_host(service, &draft.plain.listen)
        {
            let whose = if draft.section.line == leading.section.line {
                "the port of the hidden service on this host".to_owned()
            } else {
                let label = leading.label;
                format!("the port of [mirage-{label}]'s hidden service on this host")
            };
            if is_pool {
                let what = format_args!("{port} is {whose}; choose another port");
                self.error(draft.pool_line(), Some("pool-port"), what);
            } else {
                let what = format_args!("contains {port}, {whose}; choose another range");
                self.error(draft.range_line(), Some("range"), what);
            }
        }
    }

    fn check_overlap(&mut self, earlier: &Draft, later: &Draft) {
        let (Some(a), Some(b)) = (earlier.claimed(), later.claimed()) else {
            return;
        };
        let is_valid = |draft: &Draft| self.is_valid(draft.section, "listen-address");
        if a.overlaps(&b)
            && is_valid(earlier)
            && is_valid(later)
            && share_an_address(&earlier.plain.listen, &later.plain.listen)
        {
            let (low, high, line) = (a.low(), a.high(), earlier.range_line());
            let what = format_args!(
                "overlaps {low}-{high} at line {line}, and both listen on the same address; \
                 choose another range"
            );
            self.error(later.range_line(), Some("range"), what);
        }
    }

    /// The port of a pool must not be another pool's, nor in another mirage's range.
    fn check_pools(&mut self, one: &Draft, other: &Draft) {
        let is_valid = |draft: &Draft| self.is_valid(draft.section, "listen-address");
        if !is_valid(one)
            || !is_valid(other)
            || !share_an_address(&one.plain.listen, &other.plain.listen)
        {
            return;
        }
        for (pool, neighbour) in [(one, other), (other, one)] {
            let (Some(port), Some(range)) = (pool.pool_port, neighbour.claimed()) else {
                continue;
            };
            if range.contains(port) {
                let line = neighbour.range_line();
                let what = format_args!(
                    "{port} is in the range at line {line}, and both listen on the same address; \
                     choose another port"
                );
                self.error(pool.pool_line(), Some("pool-port"), what);
            }
        }
        if let Some(port) = one.pool_port
            && other.pool_port == Some(port)
        {
            let line = one.pool_line();
            let what = format_args!("{port} is already used at line {line}; choose another port");
            self.error(other.pool_line(), Some("pool-port"), what);
        }
    }

    /// With the same name and secret, a token or a datagram for one mirage would also open the other.
    fn check_proofs(&mut self, earlier: &Draft, later: &Draft) {
        let proof = match later.gate {
            Gate::Token => "token",
            Gate::Packet => "datagram",
            Gate::Port | Gate::Knock => return,
        };
        if earlier.gate == later.gate
            && earlier.secret.is_some()
            && earlier.plain.name == later.plain.name
            && earlier.secret == later.secret
        {
            let line = earlier.section.line;
            let what = format_args!(
                "has the same name and secret as line {line}, so a {proof} for one also opens the \
                 other; give each its own"
            );
            self.error(later.section.line, None, what);
        }
    }

    /// Knocking at a trap gets an address banned.
    fn check_hops(&mut self, knocked: &Draft, other: &Draft) {
        if other.gate.is_silent() {
            return;
        }
        let Some(range) = other.claimed() else { return };
        let hops = knocked
            .knock
            .sequence
            .iter()
            .chain(&knocked.knock.close_sequence);
        let mut tcp = hops.filter(|hop| hop.protocol == Protocol::Tcp);
        if let Some(hop) = tcp.find(|hop| range.contains(hop.port)) {
            let line = other.range_line();
            let what = format_args!(
                "{} is in the range at line {line}, so knocking there gets an address banned; \
                 choose another port",
                hop.port
            );
            self.error(knocked.section.line_of("sequence"), Some("sequence"), what);
        }
    }

    /// A port that the kernel has given to an outgoing connection can't be opened when it becomes the
    /// real one.
    fn warn_of_outgoing_ports(&mut self, drafts: &[Draft]) {
        let Some((outgoing, mut reserved)) = outgoing::of_the_kernel() else {
            return;
        };
        for draft in drafts {
            let Some(range) = draft.inbound() else {
                continue;
            };
            if outgoing::has_unreserved(range, outgoing, &reserved) {
                outgoing::reserve(range, &mut reserved);
                let (low, high) = (outgoing.low(), outgoing.high());
                let what = format_args!(
                    "the kernel uses {low}-{high} for outgoing connections; keep it out with \
                     sysctl -w net.ipv4.ip_local_reserved_ports={reserved}"
                );
                let (line, key) = match draft.pool_port {
                    Some(_) => (draft.pool_line(), "pool-port"),
                    None => (draft.range_line(), "range"),
                };
                self.warn(line, key, what);
            }
        }
    }
}

/// Whether the address of a service is one of this host.
fn is_on_this_host(service: SocketAddr, listen: &[IpAddr]) -> bool {
    let address = service.ip().to_canonical();
    address.is_loopback()
        || address.is_unspecified()
        || listen.contains(&address)
        || can_bind(service)
}

/// Whether a service is at an IPv4 address that this host has now.
pub(super) fn is_own_ipv4(service: SocketAddr) -> bool {
    let address = service.ip();
    let is_one = address.is_ipv4() && !address.is_unspecified();
    is_one && (address.is_loopback() || can_bind(service))
}

/// Whether the kernel lets a socket bind this address.
fn can_bind(mut service: SocketAddr) -> bool {
    service.set_port(0);
    std::net::UdpSocket::bind(service).is_ok()
}
