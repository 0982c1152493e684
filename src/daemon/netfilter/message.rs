//! Messages to the kernel's nf_tables, and its answers, as bytes (netlink(7), linux/netfilter/nf_tables.h).
//!
//! ```text
//!   header:     length, kind, flags, sequence, port       16 bytes, the machine's order
//!   nf_tables:  family, version, resource                  4 bytes
//!   attributes: length, kind, payload                      4 bytes and the payload, which the network's order has
//! ```
//!
//! Each message and each attribute begins at a multiple of four bytes. A payload may be attributes again.

use core::net::IpAddr;
use std::ops::Range;

/// What a message asks for or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(u16);

/// The part of netfilter that has tables and sets.
const NF_TABLES: u16 = 10;

impl Kind {
    /// An error, or with 0 an acknowledgement.
    const ERROR: Self = Self(2);
    /// The messages from here on are one transaction.
    pub const BATCH_BEGIN: Self = Self(16);
    /// The transaction is complete.
    pub const BATCH_END: Self = Self(17);
    /// What is known of a table.
    pub const GET_TABLE: Self = Self::nf_tables(1);
    /// What is known of a chain.
    pub const GET_CHAIN: Self = Self::nf_tables(4);
    /// What is known of a set.
    pub const GET_SET: Self = Self::nf_tables(10);
    /// Elements of a set.
    pub const NEW_ELEMENTS: Self = Self::nf_tables(12);
    /// What is known of elements.
    pub const GET_ELEMENTS: Self = Self::nf_tables(13);
    /// Elements to be taken out of a set.
    pub const DELETE_ELEMENTS: Self = Self::nf_tables(14);
    /// Which generation it is.
    pub const GET_GENERATION: Self = Self::nf_tables(16);

    const fn nf_tables(number: u16) -> Self {
        Self(NF_TABLES << 8 | number)
    }
}

/// The kinds of attributes that we write or read.
pub mod attribute {
    /// Of a batch's begin, and of a generation: its number.
    pub const GENERATION: u16 = 1;
    /// Of a table, a set, and a list of elements: the table's name.
    pub const TABLE: u16 = 1;
    /// Of a chain: its name.
    pub const CHAIN: u16 = 3;
    /// Of a chain: how many rules it has.
    pub const CHAIN_USE: u16 = 6;
    /// Of a set, and a list of elements: the set's name.
    pub const SET: u16 = 2;
    /// Of a set.
    pub const SET_FLAGS: u16 = 3;
    /// Of a set: nft's number for what its elements are.
    pub const KEY_TYPE: u16 = 4;
    /// Of a list of elements: the list.
    pub const ELEMENTS: u16 = 3;
    /// Of the list: one of them.
    pub const ELEMENT: u16 = 1;
    /// Of an element.
    pub const KEY: u16 = 1;
    /// Of a key: its bytes.
    pub const VALUE: u16 = 1;
    /// Of an element.
    pub const ELEMENT_FLAGS: u16 = 3;
    /// Of an element: when it ends, in ms.
    pub const TIMEOUT: u16 = 4;
}

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
/// In an attribute's kind: its payload is attributes.
const NESTED: u16 = 1 << 15;
/// In an attribute's kind: flags.
const KIND: u16 = 0x3FFF;
const HEADER: usize = 16;
/// The length of nf_tables' own header.
const FAMILY: usize = 4;
const ATTRIBUTE: usize = 4;

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Messages one behind the other, as one datagram to the kernel.
#[derive(Debug, Default)]
pub struct Requests {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
}

impl Requests {
    /// Begins a message about tables of a family.
    pub fn begin(&mut self, kind: Kind, family: u8, sequence: u32) {
        // A batch is for a part of netfilter, other messages have that in their kind.
        let resource = match kind {
            Kind::BATCH_BEGIN | Kind::BATCH_END => NF_TABLES,
            _ => 0,
        };
        self.last = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.0.to_ne_bytes());
        self.bytes.extend(REQUEST.to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        // The kernel knows our port.
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.end_message();
    }

    /// Gives the last message another number, and asks for its acknowledgement.
    pub fn acknowledge(&mut self, sequence: u32) {
        let asked = (REQUEST | ACKNOWLEDGE).to_ne_bytes();
        self.set(6, &asked);
        self.set(8, &sequence.to_ne_bytes());
    }

    /// Changes bytes of the last message.
    fn set(&mut self, place: usize, bytes: &[u8]) {
        let start = self.last + place;
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Adds an attribute to the last message.
    pub fn add(&mut self, kind: u16, payload: &[u8]) {
        let start = self.open(kind);
        self.bytes.extend(payload);
        self.close(start);
    }

    /// Adds a name, which ends in a NUL.
    pub fn add_name(&mut self, kind: u16, name: &str) {
        let start = self.open(kind);
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.close(start);
    }

    /// Adds an attribute that consists of those that `fill` adds.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.open(kind | NESTED);
        fill(self);
        self.close(start);
    }

    /// Begins an attribute whose length is not known yet.
    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(aligned(self.bytes.len()), 0);
        self.end_message();
    }

    /// The last message ends here, as far as is known.
    fn end_message(&mut self) {
        let length = (self.bytes.len() - self.last) as u32;
        self.set(0, &length.to_ne_bytes());
    }

    /// What to send.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// An address as a key's bytes.
pub fn key(address: IpAddr) -> heapless::Vec<u8, 16> {
    let octets = match address {
        IpAddr::V4(address) => heapless::Vec::from_slice(&address.octets()),
        IpAddr::V6(address) => heapless::Vec::from_slice(&address.octets()),
    };
    octets.unwrap_or_default()
}

/// What the kernel answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// The request has failed with this errno, or was done if it is 0.
    Ended(i32),
    /// What was asked for.
    Attributes(Attributes<'a>),
}

/// An answer, and the sequence number of the request that it is for.
#[derive(Debug, PartialEq, Eq)]
pub struct KernelAnswer<'a> {
    /// The request's number.
    pub sequence: u32,
    /// What it says.
    pub said: Said<'a>,
}

impl<'a> KernelAnswer<'a> {
    /// Parses the first message of a datagram, which may have been cut. None if it is not an answer.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let length = u32::from_ne_bytes(array(bytes, 0..4)?) as usize;
        let kind = Kind(u16::from_ne_bytes(array(bytes, 4..6)?));
        let sequence = u32::from_ne_bytes(array(bytes, 8..12)?);
        let message = bytes.get(..length).unwrap_or(bytes);
        let body = message.get(HEADER..)?;
        let said = if kind == Kind::ERROR {
            let errno = i32::from_ne_bytes(array(body, 0..4)?);
            Said::Ended(errno.saturating_neg())
        } else {
            Said::Attributes(Attributes(body.get(FAMILY..)?))
        };
        Some(Self { sequence, said })
    }
}

fn array<const N: usize>(bytes: &[u8], range: Range<usize>) -> Option<[u8; N]> {
    bytes.get(range)?.try_into().ok()
}

/// Attributes one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The payload of the first attribute of this kind.
    #[must_use]
    pub fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(its, payload)| (its == kind).then_some(payload))
    }

    /// The number in the first attribute of this kind.
    #[must_use]
    pub fn number(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.find(kind)?.try_into().ok()?))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    /// The next kind and payload; None at the end, and where what follows is not an attribute.
    fn next(&mut self) -> Option<Self::Item> {
        let length = u16::from_ne_bytes(array(self.0, 0..2)?).into();
        let kind = u16::from_ne_bytes(array(self.0, 2..4)?) & KIND;
        let payload = self.0.get(ATTRIBUTE..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((kind, payload))
    }
}

#[cfg(test)]
mod tests;
