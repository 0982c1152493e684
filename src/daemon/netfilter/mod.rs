//! Adds addresses to the kernel's nft sets and takes them out: all that a turn of the loop asks for, in one
//! transaction.
//!
//! ```text
//!   add ─▶ waits ──tick──▶ in a transaction ──the kernel takes it──▶ Done
//!            ▲ │                  │
//!            │ └─ its time is over ─▶ TooLate
//!            └──── the kernel has refused
//! ```
//!
//! A transaction is all or nothing, and the kernel says which sets it refuses. Those wait, longer each time, and
//! the others do not wait for them. A set may refuse some of its elements only, as a full one does. So it is asked
//! for half as many, until it takes them or refuses a single one.
//!
//! Somebody else may empty a set, or take it away with all rules: `nft flush ruleset` does. While a door is served,
//! the kernel is asked for its generation once a second. If somebody has changed something, what is missing is put
//! back, sets that have failed are tried again, and `guard` looks whether sets and rules are there.

mod guard;
mod kernel;
pub mod message;

use self::guard::{Guard, GuardNews};
use self::kernel::{Kernel, SetChange, SetElement};
use crate::limits::{
    NFT_LONGEST_PAUSE_MS, NFT_LOOK_MS, NFT_PAUSE_MS, NFT_QUEUED, NFT_REMOVAL_MS, NFT_SETS,
};
use crate::proto::{Instant, sooner};
use crate::terms::{FamilySet, NftSet};
use core::fmt;
use core::net::IpAddr;
use std::rc::Rc;

pub use self::guard::{GuardProblem, GuardedDoor};
pub use self::kernel::SetRefusal;

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
    /// Its time ran out before the kernel took it.
    TooLate(T),
    /// A later element contradicts this one and replaces it.
    Replaced(T),
    /// A set rejects its elements; they are retried. Reported once, until the set takes one again.
    Failing {
        /// The set.
        set: FamilySet,
        /// Why.
        why: SetRefusal,
    },
    /// Somebody else has taken this many elements out of their sets. They are put back.
    Missing(usize),
    /// The set of a mirage's door, or the rules that close the port behind it, are gone.
    Gone {
        /// The mirage's section.
        mirage: Rc<str>,
        /// What is wrong.
        problem: GuardProblem,
    },
    /// They are there again. This is the mirage's section.
    Back(Rc<str>),
}

/// An element that is to be in its set.
pub struct InForce<'a> {
    /// The set, or both.
    pub set: &'a NftSet,
    /// The address.
    pub address: IpAddr,
    /// When it ends.
    pub until: Instant,
}

struct Queued<T> {
    set: FamilySet,
    address: IpAddr,
    /// Whether it should be in the set; otherwise it is taken out.
    stays: bool,
    /// When its time ends, or a removal is given up.
    until: Instant,
    /// None if nobody asks what becomes of it.
    ticket: Option<T>,
    /// The place of its set in the transaction that is under way; None if it is not in it.
    change: Option<usize>,
}

impl<T> Queued<T> {
    fn is_about(&self, set: &FamilySet, address: IpAddr) -> bool {
        self.address == address && self.set == *set
    }
}

/// A set that has rejected its elements.
struct Failing {
    set: FamilySet,
    /// The most elements that it is asked to take.
    most: usize,
    /// Its last pause; 0 if it has had none.
    pause_ms: u64,
    /// When to retry.
    again: Instant,
}

/// The elements that wait, and the kernel that takes them.
pub struct Netfilter<T> {
    kernel: Kernel,
    waiting: Vec<Queued<T>>,
    failing: Vec<Failing>,
    news: Vec<News<T>>,
    guard: Guard,
    /// When to ask whether others have changed something; None while there is nothing to ask for.
    next_look: Option<Instant>,
}

impl<T> Default for Netfilter<T> {
    /// With an empty queue. The kernel is asked for nothing yet.
    fn default() -> Self {
        Self {
            kernel: Kernel::default(),
            waiting: Vec::new(),
            failing: Vec::new(),
            news: Vec::new(),
            guard: Guard::default(),
            next_look: None,
        }
    }
}

impl<T> Netfilter<T> {
    /// Queues an address for the next [`Netfilter::tick`] or a later one. It stays in the set for `seconds` from
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
        let set = set.of(address);
        let contradicts = |old: &mut Queued<T>| old.stays != stays && old.is_about(&set, address);
        let replaced = self.waiting.extract_if(.., contradicts);
        let tickets = replaced.filter_map(|old| old.ticket);
        self.news.extend(tickets.map(News::Replaced));
        if self.waiting.len() >= NFT_QUEUED {
            return Err(Refused::Full);
        }
        let element = Queued {
            set,
            address,
            stays,
            until: now.after(ms),
            ticket: Some(ticket),
            change: None,
        };
        let mut failing = self.failing.iter_mut();
        match failing.find(|failing| failing.set == element.set) {
            // What closes a door does not wait behind what a full set has no room for.
            Some(failing) if !stays => {
                failing.again = now;
                self.waiting.insert(0, element);
            }
            _ => self.waiting.push(element),
        }
        Ok(())
    }

    /// Does what is due: puts back what others have taken out of what is in force, and hands what waits to the
    /// kernel.
    pub fn tick<'a>(
        &mut self,
        in_force: impl Iterator<Item = InForce<'a>>,
        doors: &[GuardedDoor<'_>],
        now: Instant,
    ) {
        let mut in_force = in_force.peekable();
        let new_sets = self.guard.take(doors);
        let is_used =
            in_force.peek().is_some() || !self.waiting.is_empty() || self.guard.is_needed();
        let is_due = new_sets.is_some() || self.next_look.is_none_or(|look| look <= now);
        if is_used && is_due {
            self.look(in_force, new_sets, now);
        }
        self.drop_late(now);
        while self.commit(now) {}
        if !is_used {
            self.next_look = None;
        } else if is_due {
            self.next_look = Some(now.after(NFT_LOOK_MS));
        }
    }

    /// What has happened since the last call; call again until it returns None.
    pub fn next_news(&mut self) -> Option<News<T>> {
        if self.news.is_empty() {
            return None;
        }
        Some(self.news.remove(0))
    }

    /// When to call [`Netfilter::tick`].
    pub fn next_deadline(&self) -> Option<Instant> {
        let mut soonest = self.next_look;
        for element in &self.waiting {
            let failing = self.failing.iter().find(|it| it.set == element.set);
            let again = failing.map_or(Instant(0), |failing| failing.again);
            soonest = sooner(soonest, Some(element.until.min(again)));
        }
        soonest
    }

    /// Looks whether others have changed something, and at new doors.
    fn look<'a>(
        &mut self,
        in_force: impl Iterator<Item = InForce<'a>>,
        new_sets: Option<Vec<NftSet>>,
        now: Instant,
    ) {
        let has_changed = self.kernel.has_changed();
        let tell = |news| {
            self.news.push(match news {
                GuardNews::Gone(mirage, problem) => News::Gone { mirage, problem },
                GuardNews::Back(mirage) => News::Back(mirage),
            });
        };
        let may_differ = has_changed.map(|has_changed| has_changed || new_sets.is_some());
        self.guard.look(&mut self.kernel, may_differ, tell, now);
        for set in new_sets.into_iter().flatten() {
            self.empty(&set);
        }
        // What is wrong is told of the set that is to be changed.
        if has_changed != Ok(true) {
            return;
        }
        for failing in &mut self.failing {
            failing.again = now;
        }
        // What ends in a moment may have ended in the kernel.
        let soon = now.after(2 * NFT_LOOK_MS);
        let mut missing = 0;
        for InForce {
            set,
            address,
            until,
        } in in_force
        {
            let set = set.of(address);
            let is_asked = self.waiting.iter().any(|it| it.is_about(&set, address));
            if until <= soon || is_asked || self.kernel.has(&set, address) != Ok(false) {
                continue;
            }
            if self.waiting.len() >= NFT_QUEUED {
                break;
            }
            missing += 1;
            self.waiting.push(Queued {
                set,
                address,
                stays: true,
                until,
                ticket: None,
                change: None,
            });
        }
        if missing > 0 {
            self.news.push(News::Missing(missing));
        }
    }

    /// Takes out of a set of our own table what a daemon that was killed has left in it. In another program's table
    /// nobody knows whose elements they are.
    fn empty(&mut self, set: &NftSet) {
        if !set.is_ours() {
            return;
        }
        for set in set.both() {
            let elements = Vec::new();
            // Where there is no set, nobody is let in.
            self.kernel.change(&[SetChange { set, elements }]);
        }
    }

    /// What is wrong with the set or the rules of a mirage's door, if anything is.
    pub fn problem(&self, mirage: &str) -> Option<&GuardProblem> {
        self.guard.problem(mirage)
    }

    /// Whether rules of ours close a port, and go on with that when the daemon has ended. There is no tick after it.
    pub fn closes_a_port(&mut self, now: Instant) -> bool {
        if !self.guard.is_needed() {
            return false;
        }
        let has_changed = self.kernel.has_changed();
        self.guard.look(&mut self.kernel, has_changed, |_| {}, now);
        self.guard.closes_a_port()
    }

    fn drop_late(&mut self, now: Instant) {
        let late = self.waiting.extract_if(.., |element| element.until <= now);
        let tickets = late.filter_map(|late| late.ticket);
        self.news.extend(tickets.map(News::TooLate));
        // A set with no waiting element is forgotten: the next element finds out whether it works.
        let waiting = &self.waiting;
        self.failing
            .retain(|failing| waiting.iter().any(|element| element.set == failing.set));
    }

    /// Hands a transaction to the kernel. False if there is nothing to hand over now.
    fn commit(&mut self, now: Instant) -> bool {
        let changes = self.take_due(now);
        if changes.is_empty() {
            return false;
        }
        let mut refused = self.kernel.change(&changes);
        // An element that could not be added to a full set is not in it.
        if let ([change], [(_, SetRefusal::Full)]) = (&changes[..], &refused[..])
            && let [SetElement { seconds: 0, .. }] = change.elements[..]
        {
            refused.clear();
        }
        if refused.is_empty() {
            let is_changed = |failing: &Failing| changes.iter().any(|it| it.set == failing.set);
            self.failing.retain(|failing| !is_changed(failing));
            let done = self.waiting.extract_if(.., |it| it.change.is_some());
            self.news
                .extend(done.filter_map(|it| it.ticket).map(News::Done));
        }
        for (place, why) in refused {
            let SetChange { set, elements } = &changes[place];
            if why.is_absence() && elements.iter().all(|element| element.seconds == 0) {
                let done = self.waiting.extract_if(.., |it| it.change == Some(place));
                self.news
                    .extend(done.filter_map(|it| it.ticket).map(News::Done));
                continue;
            }
            self.set_has_failed(set, elements.len(), why, now);
            if elements.len() == 1 {
                // Another element of the set may succeed.
                let failed = self.waiting.extract_if(.., |it| it.change == Some(place));
                let mut failed: Vec<_> = failed.collect();
                self.waiting.append(&mut failed);
            }
        }
        true
    }

    /// What is due, as much as one transaction may have.
    fn take_due(&mut self, now: Instant) -> Vec<SetChange> {
        let mut changes: Vec<SetChange> = Vec::new();
        for queued in &mut self.waiting {
            queued.change = None;
            let set = &queued.set;
            let failing = self.failing.iter().find(|failing| failing.set == *set);
            let most = match failing {
                Some(failing) if now < failing.again => continue,
                Some(failing) => failing.most,
                None => NFT_QUEUED,
            };
            let place = changes.iter().position(|change| change.set == *set);
            let place = place.unwrap_or(changes.len());
            if place == NFT_SETS {
                continue;
            }
            if place == changes.len() {
                let (set, elements) = (set.clone(), Vec::new());
                changes.push(SetChange { set, elements });
            }
            let seconds = match queued.stays {
                true => queued.until.since(now).div_ceil(1_000),
                false => 0,
            };
            let (elements, address) = (&mut changes[place].elements, queued.address);
            // None contradicts another: only their ends may differ.
            match elements.iter().position(|known| known.address == address) {
                Some(known) => elements[known].seconds = elements[known].seconds.max(seconds),
                None if elements.len() < most => elements.push(SetElement { address, seconds }),
                None => continue,
            }
            queued.change = Some(place);
        }
        changes
    }

    /// Remembers that a set has refused so many elements at once.
    fn set_has_failed(&mut self, set: &FamilySet, count: usize, why: SetRefusal, now: Instant) {
        let place = self.failing.iter().position(|failing| failing.set == *set);
        let place = place.unwrap_or_else(|| {
            self.failing.push(Failing {
                set: set.clone(),
                most: NFT_QUEUED,
                pause_ms: 0,
                again: now,
            });
            self.failing.len() - 1
        });
        let failing = &mut self.failing[place];
        if count > 1 && why.depends_on_elements() {
            failing.most = count / 2;
            return;
        }
        failing.most = 1;
        if failing.pause_ms == 0 {
            let set = set.clone();
            self.news.push(News::Failing { set, why });
        }
        failing.pause_ms = (2 * failing.pause_ms).clamp(NFT_PAUSE_MS, NFT_LONGEST_PAUSE_MS);
        failing.again = now.after(failing.pause_ms);
    }
}

#[cfg(test)]
mod tests;
