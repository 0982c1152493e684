//! The file's form: records of 32 bytes, each written in place by one write.
//!
//! ```text
//!   head    16 records: "shimmer-used 1", the boot and the moment since when all is known, 14 free ones
//!   book    16 records: the key and its period, the moment, 14 runs of closed windows
//!           4,096 records: a nonce and its window
//!   book    …
//!   record  24 bytes, and a checksum of them, of the record's number and of its kind; a free one is all zeros
//! ```
//!
//! All numbers are big-endian. A write that is cut short damages one record at most, and a damaged record makes
//! the whole file worth nothing: it could be any nonce. No record crosses a page, so that a killed daemon leaves
//! none behind.

use crate::limits::{CLOSED_RUNS, NONCES};
use crate::proto::time::Instant;

/// Identifies a boot of the machine: /proc/sys/kernel/random/boot_id.
pub type BootId = [u8; 16];

/// Bytes of a record.
pub const RECORD: usize = 32;

/// What a record says.
pub type Payload = [u8; RECORD - CHECKSUM];

const CHECKSUM: usize = 8;

/// Records of the head, and of what a book has before its nonces.
pub const HEAD: usize = 2 + CLOSED_RUNS;

/// Records of a book.
pub const BOOK: usize = HEAD + NONCES;

/// The file's name and version.
pub const NAME: &Payload = b"shimmer-used 1\n\0\0\0\0\0\0\0\0\0";

/// One write in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where, in bytes from the file's beginning.
    pub at: u64,
    /// What.
    pub bytes: [u8; RECORD],
}

/// What a record is, and where.
#[derive(Clone, Copy)]
pub enum Place {
    /// The file's name and version.
    Name,
    /// The boot, and since when all is known.
    Boot,
    /// A book's key and the length of its windows.
    Key(usize),
    /// Since when all is known of it.
    Since(usize),
    /// One of its runs of closed windows.
    Closed(usize, usize),
    /// One of its nonces.
    Used(usize, usize),
    /// The record of this number.
    Any(usize),
}

impl Place {
    fn at(self) -> u64 {
        (self.number() * RECORD) as u64
    }

    /// The record's number.
    pub fn number(self) -> usize {
        match self {
            Self::Name => 0,
            Self::Boot => 1,
            Self::Key(book) => HEAD + book * BOOK,
            Self::Since(book) => HEAD + book * BOOK + 1,
            Self::Closed(book, run) => HEAD + book * BOOK + 2 + run,
            Self::Used(book, nonce) => HEAD + book * BOOK + HEAD + nonce,
            Self::Any(number) => number,
        }
    }
}

/// Bytes of a file with so many books; without any, none is needed.
pub fn size(books: usize) -> u64 {
    match books {
        0 => 0,
        books => ((HEAD + books * BOOK) * RECORD) as u64,
    }
}

/// The head's records.
pub fn head(boot: BootId, since: Instant) -> [(Place, Payload); 2] {
    [
        (Place::Name, *NAME),
        (Place::Boot, pair(&boot, &since.0.to_be_bytes())),
    ]
}

/// Two fields as a payload; what is left is zeros.
pub fn pair(one: &[u8], other: &[u8]) -> Payload {
    let mut payload = Payload::default();
    let (first, rest) = payload.split_at_mut(one.len());
    first.copy_from_slice(one);
    rest[..other.len()].copy_from_slice(other);
    payload
}

/// What the file does not have yet, in the order in which it has to be written. A record that is in the queue
/// already, because the file could not be written, is in it once: so it has a bound.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct Unwritten {
    writes: Vec<Write>,
    changes: u64,
}

impl Unwritten {
    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &Write> {
        self.writes.iter()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Counts changes.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn written(&mut self, changes: u64) {
        if changes == self.changes {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.writes.clear();
    }

    /// Queues a record.
    pub(super) fn put(&mut self, place: Place, payload: &Payload) {
        self.push(place, record(place, payload));
    }

    /// Queues a record that may be in the file earlier than what is queued: it only closes windows.
    pub(super) fn put_early(&mut self, place: Place, payload: &Payload) {
        let at = place.at();
        match self.writes.iter_mut().find(|write| write.at == at) {
            Some(known) => {
                self.changes += 1;
                known.bytes = record(place, payload);
            }
            None => self.put(place, payload),
        }
    }

    /// Queues the end of a record.
    pub(super) fn free(&mut self, place: Place) {
        self.push(place, [0; RECORD]);
    }

    fn push(&mut self, place: Place, bytes: [u8; RECORD]) {
        let at = place.at();
        self.changes += 1;
        self.writes.retain(|write| write.at != at);
        self.writes.push(Write { at, bytes });
    }
}

fn record(place: Place, payload: &Payload) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..payload.len()].copy_from_slice(payload);
    bytes[payload.len()..].copy_from_slice(&checksum(place, payload));
    bytes
}

/// FNV-1a of 64 bits. It finds damage, not malice: whoever can write the file can write a right one.
fn checksum(place: Place, payload: &Payload) -> [u8; CHECKSUM] {
    let number = (place.number() as u64).to_be_bytes();
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for byte in number.iter().chain(payload) {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    sum.to_be_bytes()
}

/// What a record says: nothing if it is free. None if it is damaged.
pub fn unpack(place: Place, bytes: &[u8; RECORD]) -> Option<Option<Payload>> {
    if *bytes == [0; RECORD] {
        return Some(None);
    }
    let payload = bytes.first_chunk()?;
    (bytes[payload.len()..] == checksum(place, payload)).then_some(Some(*payload))
}
