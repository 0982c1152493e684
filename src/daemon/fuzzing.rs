//! For the fuzz targets in `fuzz/`: the parsers here of what others have written.

use super::arrival::{self, Packet};
use super::control::answer::Question;
use super::files::Found;
use super::store;
use crate::bpf::IpVersion;
use crate::proto::Now;
use crate::proto::doors::{Closing, RestoredOpening};
use crate::proto::input::{Order, SavedBan};
use crate::sys::own_networks;
use core::net::IpAddr;
use std::io;

/// A packet at a packet socket.
#[must_use]
pub fn packet(is_v6: bool, bytes: &[u8]) -> Option<Packet<'_>> {
    let version = if is_v6 { IpVersion::V6 } else { IpVersion::V4 };
    arrival::read(version, bytes)
}

/// A state file.
#[must_use]
pub fn bans(text: &[u8]) -> Option<Vec<SavedBan>> {
    store::parse_bans(text)
}

/// A journal of root's, and no mirage.
#[must_use]
pub fn openings(text: &[u8], now: Now) -> Option<Vec<RestoredOpening>> {
    let found = Found {
        bytes: text.to_vec(),
        is_roots: true,
    };
    store::parse_journal(&found, now, |_, _| Closing::Unknown).ok()
}

/// A line of the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// For the whole status, with or without ports.
    Status,
    /// What would happen to an address.
    Forecast(IpAddr),
    /// To do something.
    Order(Order),
    /// Nothing that there is.
    Nonsense,
}

/// What a line of the control socket asks for.
#[must_use]
pub fn asked(line: &str) -> Asked {
    match Question::parse(line) {
        Question::Status(_) => Asked::Status,
        Question::Forecast(address) => Asked::Forecast(address),
        Question::Order(order) => Asked::Order(order),
        Question::Nonsense(_) => Asked::Nonsense,
    }
}

/// A part of the kernel's answer about routes: the networks in it, and whether it was the last.
///
/// # Errors
/// It is no such answer.
pub fn routes(bytes: &[u8]) -> io::Result<(Vec<(IpAddr, u8)>, bool)> {
    let mut networks = Vec::new();
    let is_last = own_networks::read_routes(bytes, &mut networks)?;
    let networks = networks.iter().map(|it| (it.address, it.bits));
    Ok((networks.collect(), is_last))
}
