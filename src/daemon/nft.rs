//! Adds addresses to the kernel's nft sets: many at once, with one nft at a time and one run a second.
//!
//! ```text
//!   add ─▶ waits ──start_due──▶ in a batch ──nft ends──▶ Done
//!            ▲ │                     │
//!            │ └─ its time is over ─▶ TooLate
//!            └──── nft has failed
//! ```
//!
//! A batch is one transaction: all of it or nothing. So the batch after a failed one has only one
//! element. If that one fails as well, its set is at fault: it has to wait, longer each time, and the
//! others do not wait for it.
//!
//! A set's elements have a timeout, and kernels before 6.12 do not renew it: adding an element that is
//! there changes nothing, and deleting one that is not there is an error. So each element is added,
//! deleted and added again with its timeout; the firewall sees only the result. An element that is taken
//! out is added and deleted.

use super::child::{Child, Outcome, Telling};
use crate::config::Capability;
use crate::limits::{
    NFT_BATCH, NFT_LONGEST_PAUSE_MS, NFT_MS, NFT_NAME, NFT_PAUSE_MS, NFT_QUEUED, NFT_REMOVAL_MS,
};
use crate::proto::{Instant, sooner};
use crate::sys::child::{Exit, Pid};
use crate::sys::{pipe, privileges};
use crate::terms::NftSet;
use core::fmt::{self, Write as _};
use core::net::IpAddr;
use mio::{Registry, Token};
use std::io;
use std::os::fd::OwnedFd;

/// Most bytes of an element's three lines: each has two names, a family, an address, a timeout of ten
/// digits and the keywords between.
const ELEMENT: usize = 3 * (2 * NFT_NAME + 128);
const _: () = assert!(ELEMENT <= NFT_BATCH);

/// Why an element is not taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many elements are waiting already.
    Full,
    /// The set's table does not hold addresses of this family.
    Family,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many elements wait for nft",
            Self::Family => "the set's table is not for addresses of this family",
        })
    }
}

/// What became of an element or a set, for the caller.
pub enum News<T> {
    /// The element with this ticket is in its set, or out of it if that was asked for.
    Done(T),
    /// Its time ran out before nft took it.
    TooLate(T),
    /// A later element contradicts this one and replaces it.
    Replaced(T),
    /// A set rejects its elements; they are retried. Reported once, until the set takes one again.
    Failing {
        /// The set's name in nft's form.
        set: String,
        /// What became of nft's run.
        why: Outcome,
    },
}

struct Queued<T> {
    /// The set's name in nft's form.
    set: String,
    address: IpAddr,
    /// Whether it should be in the set; otherwise it is taken out.
    stays: bool,
    /// When its time ends, or a removal is given up.
    until: Instant,
    ticket: T,
}

impl<T> Queued<T> {
    fn contradicts(&self, other: &Self) -> bool {
        self.stays != other.stays && self.address == other.address && self.set == other.set
    }
}

/// A set that rejects its elements.
struct Failing {
    set: String,
    pause_ms: u64,
    /// When to retry.
    again: Instant,
}

/// The elements that wait, and the nft that adds some of them.
pub struct Nft<T> {
    program: String,
    token: Token,
    waiting: Vec<Queued<T>>,
    /// The elements that `child` was given.
    batch: Vec<Queued<T>>,
    child: Option<Child>,
    /// No nft is started before this.
    next_run: Instant,
    /// Most elements in the next batch.
    most: usize,
    failing: Vec<Failing>,
    news: Vec<News<T>>,
}

impl<T> Nft<T> {
    /// With an empty queue. `program` is nft's name or path; `token` wakes the loop when nft has written
    /// something.
    pub fn new(program: &str, token: Token) -> Self {
        Self {
            program: program.to_owned(),
            token,
            waiting: Vec::new(),
            batch: Vec::new(),
            child: None,
            next_run: Instant(0),
            most: NFT_QUEUED,
            failing: Vec::new(),
            news: Vec::new(),
        }
    }

    /// Queues an address for the next [`Nft::start_due`] or a later one. It stays in the set for `seconds` from
    /// now on, even if it is there already; with 0 it is taken out. The last of two contradicting elements
    /// counts.
    ///
    /// # Errors
    /// The queue is full, or the set can't hold the address.
    pub fn add(
        &mut self,
        set: &NftSet,
        address: IpAddr,
        seconds: u32,
        ticket: T,
        now: Instant,
    ) -> Result<(), Refused> {
        if !set.takes(address) {
            return Err(Refused::Family);
        }
        let stays = seconds > 0;
        let ms = if stays {
            u64::from(seconds) * 1_000
        } else {
            NFT_REMOVAL_MS
        };
        let element = Queued {
            set: set.of(address).to_string(),
            address,
            stays,
            until: now.after(ms),
            ticket,
        };
        let replaced = self.waiting.extract_if(.., |old| element.contradicts(old));
        self.news
            .extend(replaced.map(|old| News::Replaced(old.ticket)));
        if self.waiting.len() + self.batch.len() >= NFT_QUEUED {
            return Err(Refused::Full);
        }
        self.waiting.push(element);
        Ok(())
    }

    /// Starts nft for the waiting elements, if it is time.
    pub fn start_due(&mut self, registry: &Registry, now: Instant) {
        self.drop_late(now);
        if self.child.is_some() || now < self.next_run {
            return;
        }
        let text = self.take_batch(now);
        if text.is_empty() {
            return;
        }
        self.next_run = now.after(NFT_PAUSE_MS);
        match self.start(&text, registry, now) {
            Ok(child) => self.child = Some(child),
            Err(error) => self.settle(Outcome::NotStarted(error), now),
        }
    }

    fn start(&self, text: &str, registry: &Registry, now: Instant) -> io::Result<Child> {
        let words = [self.program.clone(), "-f".to_owned(), "-".to_owned()];
        let input = filled_pipe(text.as_bytes())?;
        let wakes = (registry, self.token);
        // Only this child of a daemon that is not root needs a capability.
        privileges::lend(Capability::NetAdmin.number(), || {
            Child::start(&words, Some(input), Telling::First, wakes, now, NFT_MS)
        })
    }

    /// Reads what nft has written.
    pub fn read_output(&mut self, now: Instant) {
        if let Some(child) = &mut self.child {
            child.read_output(now);
        }
    }

    /// Handles a child that was reaped. True if it was nft: then there is news.
    pub fn ended(&mut self, pid: Pid, exit: Exit, now: Instant) -> bool {
        match self.child.take_if(|child| child.is(pid)) {
            Some(mut child) => {
                let outcome = child.end(exit, now);
                self.settle(outcome, now);
                true
            }
            None => false,
        }
    }

    /// Kills nft if its time is over. The news follows when it has ended.
    pub fn expire(&mut self, now: Instant) {
        if let Some(child) = &mut self.child {
            child.expire(now);
        }
    }

    /// What has happened since the last call; call again until it returns None.
    pub fn next_news(&mut self) -> Option<News<T>> {
        if self.news.is_empty() {
            return None;
        }
        Some(self.news.remove(0))
    }

    /// When to call [`Nft::expire`] or [`Nft::start_due`].
    pub fn next_deadline(&self) -> Option<Instant> {
        let mut soonest = self.child.as_ref().and_then(Child::next_deadline);
        for element in &self.waiting {
            soonest = sooner(soonest, Some(element.until));
            if self.child.is_none() {
                let again = self.failing(&element.set).map(|set| set.again);
                soonest = sooner(
                    soonest,
                    Some(self.next_run.max(again.unwrap_or(Instant(0)))),
                );
            }
        }
        soonest
    }

    fn failing(&self, set: &str) -> Option<&Failing> {
        self.failing.iter().find(|failing| failing.set == set)
    }

    fn drop_late(&mut self, now: Instant) {
        let mut place = 0;
        while let Some(element) = self.waiting.get(place) {
            if now < element.until {
                place += 1;
                continue;
            }
            let late = self.waiting.remove(place);
            self.news.push(News::TooLate(late.ticket));
        }
        // A set with no waiting element is forgotten: the next element finds out whether it works.
        let (waiting, batch) = (&self.waiting, &self.batch);
        let is_wanted = |set: &str| {
            let mut all = waiting.iter().chain(batch);
            all.any(|element| element.set == set)
        };
        self.failing.retain(|failing| is_wanted(&failing.set));
    }

    /// Takes the elements that are due, as many as fit in one batch, and returns nft's input.
    fn take_batch(&mut self, now: Instant) -> String {
        let mut text = String::new();
        let mut place = 0;
        while place < self.waiting.len() && self.batch.len() < self.most {
            let failing = self.failing(&self.waiting[place].set);
            // A set that has failed is tried alone, or the others would fail with it.
            let (is_time, is_alone) = match failing {
                None => (true, false),
                Some(set) => (set.again <= now && self.batch.is_empty(), true),
            };
            if !is_time {
                place += 1;
                continue;
            }
            if text.len() + ELEMENT > NFT_BATCH {
                break;
            }
            let element = self.waiting.remove(place);
            let Queued { set, address, .. } = &element;
            let _ = write!(
                text,
                "add element {set} {{ {address} }}\n\
                 delete element {set} {{ {address} }}\n"
            );
            if element.stays {
                let seconds = element.until.since(now).div_ceil(1_000);
                let _ = writeln!(text, "add element {set} {{ {address} timeout {seconds}s }}");
            }
            self.batch.push(element);
            if is_alone {
                break;
            }
        }
        text
    }

    /// Records the result of a batch.
    fn settle(&mut self, outcome: Outcome, now: Instant) {
        let mut batch = core::mem::take(&mut self.batch);
        if matches!(outcome, Outcome::Done) {
            self.most = NFT_QUEUED.min(2 * self.most);
            for element in batch {
                self.failing.retain(|failing| failing.set != element.set);
                self.news.push(News::Done(element.ticket));
            }
            return;
        }
        if let [element] = &batch[..] {
            let set = element.set.clone();
            self.set_has_failed(set, outcome, now);
            self.most = NFT_QUEUED;
            // A later element of the same set may succeed.
            let is_replaced =
                |old: &mut Queued<T>| self.waiting.iter().any(|new| new.contradicts(old));
            let replaced = batch.extract_if(.., is_replaced);
            self.news
                .extend(replaced.map(|old| News::Replaced(old.ticket)));
            self.waiting.append(&mut batch);
        } else {
            self.most = 1;
            batch.append(&mut self.waiting);
            self.waiting = batch;
        }
    }

    fn set_has_failed(&mut self, set: String, why: Outcome, now: Instant) {
        if let Some(failing) = self.failing.iter_mut().find(|failing| failing.set == set) {
            failing.pause_ms = NFT_LONGEST_PAUSE_MS.min(2 * failing.pause_ms);
            failing.again = now.after(failing.pause_ms);
            return;
        }
        self.failing.push(Failing {
            set: set.clone(),
            pause_ms: NFT_PAUSE_MS,
            again: now.after(NFT_PAUSE_MS),
        });
        self.news.push(News::Failing { set, why });
    }
}

/// The reading end of a pipe that holds a text and has no writer any more.
fn filled_pipe(text: &[u8]) -> io::Result<OwnedFd> {
    let (read, write) = pipe::pipe()?;
    if rustix::io::write(&write, text)? < text.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(read)
}
