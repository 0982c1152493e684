//! Reads a file of used nonces, or finds it damaged.

use super::book::Book;
use super::closed::Run;
use super::image::{BOOK, BootId, HEAD, NAME, Payload, Place, RECORD, unpack};
use crate::limits::{CLOSED_RUNS, NONCES};
use crate::proto::scheme::key::KeyId;
use crate::proto::time::Instant;

/// A whole file: its boot, since when it knows all, and its books. None if it is damaged.
pub fn read(file: &[u8]) -> Option<(BootId, Instant, Vec<Option<Book>>)> {
    let (records, rest) = file.as_chunks::<RECORD>();
    let books = records.len().checked_sub(HEAD)?;
    if !rest.is_empty() || !books.is_multiple_of(BOOK) {
        return None;
    }
    let reader = Reader(records);
    if reader.at(Place::Name)?? != *NAME {
        return None;
    }
    let (boot, since) = split(reader.at(Place::Boot)??);
    let books: Option<Vec<_>> = (0..books / BOOK).map(|book| reader.book(book)).collect();
    let books = books?;
    // Nobody would look into the second one.
    let has_twice = books.iter().enumerate().any(|(place, book)| {
        let is_same = |other: &Book| {
            let is_its = |book: &Book| (book.key, book.period) == (other.key, other.period);
            book.as_ref().is_some_and(is_its)
        };
        books[..place].iter().flatten().any(is_same)
    });
    (!has_twice).then_some((boot, moment(since), books))
}

/// What is left of a book in a place that is free.
pub fn remains(file: &[u8], book: usize) -> impl Iterator<Item = Place> {
    let first = Place::Key(book).number();
    let (records, _) = file.as_chunks::<RECORD>();
    let records = (first..).zip(records[first..].iter().take(BOOK));
    let left = records.filter(|(_, record)| **record != [0; RECORD]);
    left.map(|(number, _)| Place::Any(number))
}

fn split(payload: Payload) -> ([u8; 16], [u8; 8]) {
    let [first @ .., a, b, c, d, e, f, g, h] = payload;
    (first, [a, b, c, d, e, f, g, h])
}

fn moment(bytes: [u8; 8]) -> Instant {
    Instant(u64::from_be_bytes(bytes))
}

struct Reader<'a>(&'a [[u8; RECORD]]);

impl Reader<'_> {
    fn at(&self, place: Place) -> Option<Option<Payload>> {
        unpack(place, self.0.get(place.number())?)
    }

    /// A book; nothing if its place is free. None if it is damaged.
    fn book(&self, place: usize) -> Option<Option<Book>> {
        let Some(head) = self.at(Place::Key(place))? else {
            return Some(None);
        };
        let (key, [a, b, c, d, ..]) = split(head);
        let (since, _) = split(self.at(Place::Since(place))??);
        let since = moment(*since.first_chunk()?);
        let period = u32::from_be_bytes([a, b, c, d]);
        if period == 0 {
            return None;
        }
        let mut book = Book::new(KeyId::from_bytes(key), period, since);
        for run in 0..CLOSED_RUNS {
            if let Some(payload) = self.at(Place::Closed(place, run))? {
                let (both, _) = split(payload);
                let both = u128::from_be_bytes(both);
                let (first, last) = ((both >> 64) as u64, both as u64);
                if last < first {
                    return None;
                }
                book.closed.0[run] = Some(Run { first, last });
            }
        }
        for nonce in 0..NONCES {
            if let Some(payload) = self.at(Place::Used(place, nonce))? {
                let (bytes, window) = split(payload);
                book.put_back(nonce, bytes, u64::from_be_bytes(window));
            }
        }
        Some(Some(book))
    }
}
