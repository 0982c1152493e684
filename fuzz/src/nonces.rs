//! The file of used tokens and datagrams. The fuzzer says which records are in it, and which proofs come after it
//! was read; the checksums are made here. What a file says is used never counts again, whatever else is in it.

use crate::bytes::Bytes;
use shimmer::limits::{CLOSED_RUNS, FORMER_KEYS, NONCES};
use shimmer::proto::nonces::{Memory, Past, RECORD, Use, Window};
use shimmer::proto::scheme::key::KeyId;
use shimmer::proto::source::Source;
use shimmer::proto::{Instant, Now};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};

/// Records before the nonces of a book, and of a book.
const HEAD: usize = 2 + CLOSED_RUNS;
const BOOK: usize = HEAD + NONCES;

/// Books of a file at first, and with those of all keys that may be served then.
const BOOKS: usize = 2;
const MOST_BOOKS: usize = BOOKS + KEYS.len() + OTHERS;

/// Keys that come and go, enough for some to be forgotten.
const OTHERS: usize = FORMER_KEYS + 4;

const BOOT: [u8; 16] = [7; 16];
const NAME: &[u8; 24] = b"shimmer-used 1\n\0\0\0\0\0\0\0\0\0";

/// Keys that are served after the file was read, with the length of their windows.
const KEYS: [([u8; 16], u32); 3] = [([1; 16], 60), ([1; 16], 3_600), ([2; 16], 60)];

const START: Now = Now {
    boot: Instant(1_000_000_000),
    real_ms: 1_794_000_000_000,
};

/// A file in memory, which is zeros but for the records that were touched.
struct Image {
    bytes: Vec<u8>,
    touched: Vec<usize>,
}

impl Image {
    fn new() -> Self {
        Self {
            bytes: vec![0; (HEAD + MOST_BOOKS * BOOK) * RECORD],
            touched: Vec::new(),
        }
    }

    fn record(&mut self, number: usize) -> &mut [u8] {
        self.touched.push(number);
        &mut self.bytes[number * RECORD..][..RECORD]
    }

    fn put(&mut self, number: usize, payload: &[u8; 24]) {
        let sum = checksum(number, payload);
        let record = self.record(number);
        record[..24].copy_from_slice(payload);
        record[24..].copy_from_slice(&sum.to_be_bytes());
    }

    /// What a file has after so many of what it lacks were written.
    fn write(&mut self, memory: &Memory, count: usize) {
        for write in memory.unwritten().iter().take(count) {
            let number = write.at as usize / RECORD;
            assert_eq!(number * RECORD, write.at as usize);
            assert!(write.at < memory.size(), "behind the file's end");
            self.record(number).copy_from_slice(&write.bytes);
        }
    }

    /// Leaves so many bytes. What is written behind them later has zeros around it.
    fn cut(&mut self, length: usize) {
        for &number in &self.touched {
            let start = (number * RECORD).max(length);
            let end = (number + 1) * RECORD;
            self.bytes[start.min(end)..end].fill(0);
        }
        self.touched.retain(|number| number * RECORD < length);
    }
}

/// FNV-1a of 64 bits, of the record's number and what it says.
fn checksum(number: usize, payload: &[u8; 24]) -> u64 {
    let number = (number as u64).to_be_bytes();
    let bytes = number.iter().chain(payload);
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn payload<const N: usize>(first: &[u8; 16], second: [u8; N]) -> [u8; 24] {
    let mut payload = [0; 24];
    payload[..16].copy_from_slice(first);
    payload[16..16 + N].copy_from_slice(&second);
    payload
}

thread_local! {
    static IMAGE: RefCell<Image> = RefCell::new(Image::new());
}

/// A file and what comes after it was read.
pub fn nonces(bytes: &[u8]) {
    IMAGE.with_borrow_mut(|image| {
        image.cut(0);
        read_and_use(&mut Bytes::new(bytes), image);
    });
}

fn a_window(bytes: &mut Bytes<'_>) -> u64 {
    let now = START.unix();
    match bytes.below(4) {
        0 => bytes.u64(),
        1 => now / 3_600 - 4 + u64::from(bytes.u8() % 8),
        _ => now / 60 - 4 + u64::from(bytes.u8() % 8),
    }
}

/// A book is searched up to its last nonce, so most of them are in front.
fn a_place(bytes: &mut Bytes<'_>) -> usize {
    match bytes.below(16) {
        0 => usize::from(bytes.u16()) % NONCES,
        place => place,
    }
}

fn a_nonce(bytes: &mut Bytes<'_>) -> [u8; 16] {
    [bytes.u8(); 16]
}

/// Puts records into the file. Returns its length in bytes.
fn fill(bytes: &mut Bytes<'_>, image: &mut Image) -> usize {
    let shape = bytes.u8();
    let books = usize::from(shape & 3) % (BOOKS + 1);
    image.put(0, NAME);
    image.put(1, &payload(&BOOT, 0u64.to_be_bytes()));
    for book in 0..books {
        let (key, period) = KEYS[bytes.below(KEYS.len())];
        image.put(HEAD + book * BOOK, &payload(&key, period.to_be_bytes()));
        image.put(HEAD + book * BOOK + 1, &[0; 24]);
    }
    for _ in 0..bytes.below(64) {
        let book = HEAD + bytes.below(BOOKS) * BOOK;
        match bytes.below(8) {
            0 => image.put(1, &payload(&BOOT, bytes.u64().to_be_bytes())),
            1 => {
                let period = bytes.u32();
                image.put(book, &payload(&[bytes.u8(); 16], period.to_be_bytes()));
            }
            2 => image.put(book + 1, &payload(&[0; 16], bytes.array::<8>())),
            3 => {
                let (first, last) = (a_window(bytes), a_window(bytes));
                let run = u128::from(first) << 64 | u128::from(last);
                let place = book + 2 + bytes.below(CLOSED_RUNS);
                image.put(place, &payload(&run.to_be_bytes(), [0; 8]));
            }
            4 => {
                let place = usize::from(bytes.u16()) % (HEAD + BOOKS * BOOK);
                let record = bytes.array::<RECORD>();
                image.record(place).copy_from_slice(&record);
            }
            _ => {
                let place = book + HEAD + a_place(bytes);
                let (nonce, window) = (a_nonce(bytes), a_window(bytes));
                image.put(place, &payload(&nonce, window.to_be_bytes()));
            }
        }
    }
    let length = (HEAD + books * BOOK) * RECORD;
    match shape >> 2 & 7 {
        0 => usize::from(bytes.u16()).min(length),
        1 => length + bytes.below(256),
        _ => length,
    }
}

/// A proof that a file or this run says was used.
type Used = (Window, [u8; 16]);

fn used_in(image: &Image, length: usize) -> Vec<Used> {
    let mut all = Vec::new();
    for &number in &image.touched {
        let record = |number: usize| &image.bytes[number * RECORD..][..RECORD];
        let Some(of_book) = number.checked_sub(HEAD) else {
            continue;
        };
        let (book, place) = (of_book / BOOK, of_book % BOOK);
        let (key, used) = (record(HEAD + book * BOOK), record(number));
        let is_there = (number + 1) * RECORD <= length && used != [0; RECORD];
        if is_there && place >= HEAD && key != [0; RECORD] {
            let window = Window {
                key: KeyId::from_bytes(key[..16].try_into().unwrap()),
                period: u32::from_be_bytes(key[16..20].try_into().unwrap()),
                number: u64::from_be_bytes(used[16..24].try_into().unwrap()),
            };
            all.push((window, used[..16].try_into().unwrap()));
        }
    }
    all
}

/// No proof that was used counts.
fn assert_used(used: &[Used], memory: &Memory, now: Now) {
    for (window, nonce) in used {
        assert_ne!(memory.look_up(*window, nonce, now), Use::First);
    }
}

fn read_and_use(bytes: &mut Bytes<'_>, image: &mut Image) {
    let length = fill(bytes, image);
    let mut now = START;
    image.cut(length);
    let (mut memory, past) = Memory::read(Some(&image.bytes[..length]), Some(BOOT), now.boot);
    let mut used = match past {
        Past::Known | Past::OtherBoot => used_in(image, length),
        Past::Missing | Past::Damaged => Vec::new(),
    };
    if matches!(past, Past::Missing | Past::Damaged) {
        image.cut(0);
    }
    let keys = KEYS.map(|(key, period)| (KeyId::from_bytes(key), period));
    memory.serve(&keys[..=bytes.below(KEYS.len())], now);
    // So many of them are in the file.
    let mut kept = used.len();
    for _ in 0..bytes.below(16) {
        let (key, period) = keys[bytes.below(KEYS.len())];
        match bytes.below(8) {
            0 => {
                now.boot = now.boot.after(u64::from(bytes.u16()) * 100);
                now.real_ms += i64::from(bytes.u16() as i16) * 1_000;
            }
            1 => {
                let live = [a_window(bytes), a_window(bytes)];
                memory.close_unknown(key, period, &live, now);
            }
            // It is killed while it writes, then it starts again; or the machine does.
            2 => {
                image.write(&memory, bytes.below(8));
                let file = &image.bytes[..memory.size() as usize];
                let (mut torn, _) = Memory::read(Some(file), Some(BOOT), now.boot);
                torn.serve(&keys, now);
                assert_used(&used[..kept], &torn, now);
                image.write(&memory, usize::MAX);
                kept = used.len();
                let boot = if bytes.below(4) == 0 { [8; 16] } else { BOOT };
                let file = &image.bytes[..memory.size() as usize];
                let (again, past) = Memory::read(Some(file), Some(boot), now.boot);
                assert!(!matches!(past, Past::Damaged), "what we write is whole");
                memory = again;
                memory.serve(&keys, now);
                assert_used(&used, &memory, now);
            }
            3 => {
                let count = bytes.below(OTHERS + 1) as u8;
                let others = (0..count).map(|number| (KeyId::from_bytes([100 + number; 16]), 60));
                let others: Vec<_> = others.collect();
                memory.serve(&others, now);
                memory.serve(&keys, now);
                // A key may have been forgotten, and clocks are set here as nobody sets them.
                used.clear();
                kept = 0;
            }
            _ => {
                let nonce = a_nonce(bytes);
                let window = Window {
                    key,
                    period,
                    number: a_window(bytes),
                };
                let source = Source::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, bytes.u8())));
                let looked_up = memory.look_up(window, &nonce, now);
                let spent = memory.spend(window, &nonce, source, now);
                if spent != Use::Full {
                    assert_eq!(spent, looked_up);
                }
                if spent == Use::First {
                    assert!(!used.contains(&(window, nonce)), "it counted twice");
                    used.push((window, nonce));
                }
            }
        }
    }
    assert_used(&used, &memory, now);
}
