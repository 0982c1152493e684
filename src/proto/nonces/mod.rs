//! Used tokens and datagrams: what makes a proof count once.
//!
//! A nonce is remembered with the window that its proof is for, by the number of the window and not by a time:
//! clocks are set, and a window that is served again still knows its nonces. So none ever expires. Where there is
//! no place for another, the lowest window that is not live *is closed*: its nonces are forgotten, and no proof
//! for it counts again, whenever that window comes back.
//!
//! ```text
//!   spend ─▶ was it used? ─▶ is its window closed? ─▶ has the source its share? ─▶ a free place
//!                                                                                     └─ close a window
//! ```
//!
//! Closed windows are a few runs of numbers, not a floor below which everything is closed. A clock that was a
//! year ahead for a minute closes at most the windows that it served, which lie a year ahead. With a floor, the
//! right clock would let nobody in for that year. When there are too many runs, the two that are nearest to each
//! other become one: in practice two of the past, so nobody misses what lies between.
//!
//! Of what was before [`Memory`] began, nothing is known: a file is missing or damaged, or the machine has lost
//! power with nonces that no disk had yet. What may have been live then is refused, which takes two windows at
//! most. That moment is one of the boot clock, so its window follows when the clock is set right; and what was
//! refused so while it was live is closed, so a clock that is set back later does not bring it back.
//!
//! One source can't take the places of the others: it has at most a share of those that are free. Only nonces of
//! live windows count for that, because all others make room.

mod book;
mod closed;
mod image;
mod read;

pub use image::{BootId, RECORD, Unwritten, Write};

use super::scheme::key::KeyId;
use super::scheme::token::Nonce;
use super::source::Source;
use super::time::{Instant, Now};
use crate::limits::FORMER_KEYS;
use book::Book;
use closed::Run;
use image::Place;
use std::hash::{BuildHasher, RandomState};

/// What a nonce counts for: a key, the length of its windows in seconds, and the number of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The key.
    pub key: KeyId,
    /// The length of a window.
    pub period: u32,
    /// The window's number.
    pub number: u64,
}

/// Whether a proof counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It was not used before.
    First,
    /// It was.
    Again,
    /// Nobody knows any more.
    Forgotten,
    /// There is no place left for another one of this source.
    Full,
}

/// How much is known of what was used before the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// All of it.
    Known,
    /// Nothing: there was no file.
    Missing,
    /// Nothing: the file was damaged.
    Damaged,
    /// The file is of an earlier boot, so the last nonces may be missing.
    OtherBoot,
}

/// The used nonces of all keys, as a file holds them.
#[cfg_attr(test, derive(Clone))]
pub struct Memory {
    boot: BootId,
    /// Nothing is known of what a key that has no book has used before.
    since: Instant,
    /// By their places in the file. None: the place is free.
    books: Vec<Option<Book>>,
    unwritten: Unwritten,
    hasher: RandomState,
}

impl Memory {
    /// Knows nothing of what was used before now.
    #[must_use]
    pub fn new(boot: BootId, now: Instant) -> Self {
        let mut memory = Self {
            boot,
            since: now,
            books: Vec::new(),
            unwritten: Unwritten::default(),
            hasher: RandomState::new(),
        };
        memory.write_head();
        memory
    }

    /// What a file holds; and how much that says about what was used before now. A file that is not whole holds
    /// nothing, and has to be written anew.
    #[must_use]
    pub fn read(file: Option<&[u8]>, boot: Option<BootId>, now: Instant) -> (Self, Past) {
        let new = |past| (Self::new(boot.unwrap_or_default(), now), past);
        let Some(bytes) = file.filter(|bytes| !bytes.is_empty()) else {
            return new(Past::Missing);
        };
        let Some((of, since, books)) = read::read(bytes) else {
            return new(Past::Damaged);
        };
        let mut memory = Self {
            boot: of,
            since,
            books,
            unwritten: Unwritten::default(),
            hasher: RandomState::new(),
        };
        // Whoever was killed while a book was wiped has left the rest of it to the next book in its place.
        for (place, book) in memory.books.iter().enumerate() {
            if book.is_none() {
                read::remains(bytes, place).for_each(|record| memory.unwritten.free(record));
            }
        }
        // A moment that lies ahead is one of another clock.
        let is_of_this_boot = boot == Some(of) && memory.moments().all(|moment| moment <= now);
        if is_of_this_boot {
            return (memory, Past::Known);
        }
        memory.boot = boot.unwrap_or_default();
        memory.since = now;
        // The head comes last: until it is written, the file is of another boot, and all of this is done again.
        for (place, book) in memory.books.iter_mut().enumerate() {
            if let Some(book) = book {
                book.since = now;
                let since = book.since_record();
                memory.unwritten.put(Place::Since(place), &since);
            }
        }
        memory.write_head();
        (memory, Past::OtherBoot)
    }

    fn moments(&self) -> impl Iterator<Item = Instant> {
        let books = self.books.iter().flatten().map(|book| book.since);
        books.chain([self.since])
    }

    /// Bytes of a file that has room for all; 0 if none is needed.
    #[must_use]
    pub fn size(&self) -> u64 {
        image::size(self.books.len())
    }

    /// What the file does not have yet.
    #[must_use]
    pub fn unwritten(&self) -> &Unwritten {
        &self.unwritten
    }

    /// The file has what was unwritten at this count of changes.
    pub fn written(&mut self, changes: u64) {
        self.unwritten.written(changes);
    }

    /// Another file is used from now on, which has nothing yet.
    pub fn rewrite(&mut self) {
        self.unwritten.clear();
        for (place, book) in self.books.iter().enumerate() {
            if let Some(book) = book {
                book.write(place, &mut self.unwritten);
            }
        }
        self.write_head();
    }

    fn write_head(&mut self) {
        for (place, payload) in image::head(self.boot, self.since) {
            self.unwritten.put(place, &payload);
        }
    }

    /// Serves these keys, each with the length of its windows. Others are remembered too, for they may come back;
    /// but of too many, one is forgotten of which no window is live.
    pub fn serve(&mut self, keys: &[(KeyId, u32)], now: Now) {
        for &(key, period) in keys {
            let place = self.place(key, period);
            let place = place.unwrap_or_else(|| self.begin(key, period));
            self.inherit(place);
        }
        let is_former = |book: &Book| !keys.contains(&(book.key, book.period));
        while self
            .books
            .iter()
            .flatten()
            .filter(|book| is_former(book))
            .count()
            > FORMER_KEYS
        {
            let is_over = |book: &Book| is_former(book) && book.is_over(now);
            let mut books = self.books.iter();
            let Some(place) = books.position(|book| book.as_ref().is_some_and(is_over)) else {
                return;
            };
            self.forget(place, now.boot);
        }
    }

    /// Forgets a book. If its key comes back, nobody knows any more what it has used until now.
    fn forget(&mut self, place: usize, now: Instant) {
        let Some(book) = self.books[place].take() else {
            return;
        };
        self.since = now;
        self.write_head();
        for (place, other) in self.books.iter_mut().enumerate() {
            if let Some(other) = other.as_mut().filter(|other| other.key == book.key) {
                other.since = now;
                self.unwritten
                    .put(Place::Since(place), &other.since_record());
            }
        }
        book.wipe(place, &mut self.unwritten);
    }

    fn begin(&mut self, key: KeyId, period: u32) -> usize {
        let book = Book::new(key, period, self.since);
        let free = self.books.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.books.push(None);
            self.books.len() - 1
        });
        book.write(place, &mut self.unwritten);
        self.books[place] = Some(book);
        place
    }

    /// What is known of a key still counts where its windows have another length.
    fn inherit(&mut self, place: usize) {
        let Some(mut book) = self.books[place].take() else {
            return;
        };
        let key = book.key;
        for other in self.books.iter().flatten().filter(|other| other.key == key) {
            book.inherit(other, place, &mut self.unwritten);
        }
        self.books[place] = Some(book);
    }

    fn place(&self, key: KeyId, period: u32) -> Option<usize> {
        let is_its = |book: &Book| book.key == key && book.period == period;
        let mut books = self.books.iter();
        books.position(|book| book.as_ref().is_some_and(is_its))
    }

    fn book(&self, key: KeyId, period: u32) -> Option<&Book> {
        self.books[self.place(key, period)?].as_ref()
    }

    /// Closes those live windows of which nobody knows what was used in them. Without this, a clock that is set
    /// back later would bring them back as if they had been live after the start only.
    pub fn close_unknown(&mut self, key: KeyId, period: u32, live: &[u64], now: Now) {
        let Some(place) = self.place(key, period) else {
            return;
        };
        if let Some(book) = &mut self.books[place] {
            for &number in live {
                if book.is_before_start(number, now) && !book.is_closed(number) {
                    book.close(Run::of(number), place, &mut self.unwritten);
                }
            }
        }
    }

    /// Whether a source may use one more proof of a key.
    #[must_use]
    pub fn has_room(&self, key: KeyId, period: u32, source: Source, now: Now) -> bool {
        let book = self.book(key, period);
        book.is_some_and(|book| book.has_room(self.tag(source), now))
    }

    /// Whether a proof would count. Changes nothing.
    #[must_use]
    pub fn look_up(&self, window: Window, nonce: &Nonce, now: Now) -> Use {
        // One key may have had windows of another length, whose tokens look the same.
        let mut of_key = self.books.iter().flatten();
        if of_key.any(|book| book.key == window.key && book.has(nonce)) {
            return Use::Again;
        }
        match self.book(window.key, window.period) {
            Some(book) if book.may_count(window.number, now) => Use::First,
            _ => Use::Forgotten,
        }
    }

    /// Uses a proof up, if it counts. Before anything is opened for it, [`Self::unwritten`] has to be written.
    pub fn spend(&mut self, window: Window, nonce: &Nonce, source: Source, now: Now) -> Use {
        let tag = self.tag(source);
        match self.look_up(window, nonce, now) {
            Use::First => {}
            other => return other,
        }
        let Some(place) = self.place(window.key, window.period) else {
            return Use::Forgotten;
        };
        let Some(book) = &mut self.books[place] else {
            return Use::Forgotten;
        };
        if !book.has_room(tag, now) {
            return Use::Full;
        }
        book.spend(
            (window.number, *nonce, tag),
            place,
            &mut self.unwritten,
            now,
        );
        Use::First
    }

    /// How many nonces of a key have to stay, because their windows are live.
    #[must_use]
    pub fn count(&self, key: KeyId, period: u32, now: Now) -> usize {
        let book = self.book(key, period);
        book.map_or(0, |book| book.count(now))
    }

    /// A source in four bytes: strangers can't choose sources that have the same.
    fn tag(&self, source: Source) -> u32 {
        self.hasher.hash_one(source) as u32 | 1
    }
}

#[cfg(test)]
mod tests;
