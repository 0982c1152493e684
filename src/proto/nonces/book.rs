//! The used nonces of one key, and its closed windows.

use super::closed::{Closed, Run};
use super::image::{self, Payload, Place, Unwritten};
use crate::limits::{CLOSED_RUNS, NONCE_SHARES, NONCES};
use crate::proto::scheme::key::KeyId;
use crate::proto::scheme::token::Nonce;
use crate::proto::time::{Instant, Now};
use core::ops::RangeInclusive;

/// The source of a nonce from before the start. None has this tag.
const UNKNOWN: u32 = 2;

/// There is no nonce in this place.
const FREE: u32 = 0;

#[derive(Clone, Copy, Debug)]
struct Used {
    nonce: Nonce,
    window: u64,
    source: u32,
}

/// What is remembered for one key and one length of its windows.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Book {
    pub key: KeyId,
    /// In seconds.
    pub period: u32,
    /// What was used before is not known, or not all of it.
    pub since: Instant,
    pub closed: Closed,
    /// In the file's places. Only who has the secret can fill it, so it is searched from end to end.
    used: Vec<Used>,
    /// The most of them.
    places: usize,
}

impl Book {
    pub fn new(key: KeyId, period: u32, since: Instant) -> Self {
        Self {
            key,
            period,
            since,
            closed: Closed::default(),
            used: Vec::new(),
            places: NONCES,
        }
    }

    /// Takes over what is known of its key where the windows have another length. The nonces stay where they are.
    pub fn inherit(&mut self, other: &Self, place: usize, writes: &mut Unwritten) {
        if self.since < other.since {
            self.since = other.since;
            writes.put(Place::Since(place), &self.since_record());
        }
        let (theirs, ours) = (u64::from(other.period), u64::from(self.period));
        for run in other.closed.0.iter().flatten() {
            let end = run.last.saturating_add(1).saturating_mul(theirs) - 1;
            let run = Run {
                first: run.first.saturating_mul(theirs) / ours,
                last: end / ours,
            };
            self.close(run, place, writes);
        }
    }

    /// Leaves it so few places that a test can fill them.
    #[cfg(test)]
    pub fn shrink(&mut self, places: usize) {
        self.places = places;
    }

    /// All that its future depends on, where all is known since the boot.
    #[cfg(test)]
    pub fn anatomy(&self) -> impl Eq + core::hash::Hash + use<> {
        let used = self.used.iter();
        let used: Vec<_> = used.map(|it| (it.nonce, it.window, it.source)).collect();
        let runs = self.closed.0;
        (used, runs.map(|run| run.map(|run| (run.first, run.last))))
    }

    /// Puts a nonce of a file back into its place.
    pub fn put_back(&mut self, place: usize, nonce: Nonce, window: u64) {
        let free = Used {
            nonce: Nonce::default(),
            window: 0,
            source: FREE,
        };
        self.used.resize(self.used.len().max(place + 1), free);
        self.used[place] = Used {
            nonce,
            window,
            source: UNKNOWN,
        };
    }

    fn now(&self, now: Now) -> u64 {
        now.unix() / u64::from(self.period)
    }

    /// The windows that are live, or were while visitors came who are still being judged.
    fn live_windows(&self, now: Now) -> RangeInclusive<u64> {
        let current = self.now(now);
        current.saturating_sub(2)..=current.saturating_add(1)
    }

    /// Whether none of its windows may be live, by a clock that is right.
    pub fn is_over(&self, now: Now) -> bool {
        self.live(now).next().is_none() && !self.is_before_start(self.now(now), now)
    }

    /// Whether a window was live, or over, before all was known.
    pub fn is_before_start(&self, window: u64, now: Now) -> bool {
        let known_ms = now.boot.since(self.since);
        let since_ms = now.real_ms.saturating_sub_unsigned(known_ms);
        let since = u64::try_from(since_ms).unwrap_or(0) / 1_000 / u64::from(self.period);
        // The next window is open before it begins.
        window <= since.saturating_add(1)
    }

    pub fn is_closed(&self, window: u64) -> bool {
        self.closed.contains(window)
    }

    /// Whether a proof for this window counts, unless it was used.
    pub fn may_count(&self, window: u64, now: Now) -> bool {
        !self.is_closed(window) && !self.is_before_start(window, now)
    }

    /// Whether a nonce has to stay.
    fn is_known(&self, used: &Used) -> bool {
        used.source != FREE && !self.is_closed(used.window)
    }

    pub fn has(&self, nonce: &Nonce) -> bool {
        let mut used = self.used.iter();
        used.any(|used| used.nonce == *nonce && self.is_known(used))
    }

    fn live(&self, now: Now) -> impl Iterator<Item = &Used> {
        let live = self.live_windows(now);
        let is_live = move |used: &&Used| live.contains(&used.window) && self.is_known(used);
        self.used.iter().filter(is_live)
    }

    pub fn count(&self, now: Now) -> usize {
        self.live(now).count()
    }

    /// Whether a source has its share of the places that no other has. Nonces of windows that are not live
    /// make room, so they do not count.
    pub fn has_room(&self, source: u32, now: Now) -> bool {
        let (mut own, mut free) = (0, self.places);
        for used in self.live(now) {
            own += usize::from(used.source == source);
            free -= 1;
        }
        own * (NONCE_SHARES - 1) < free
    }

    /// Remembers a nonce. There has to be room.
    pub fn spend(
        &mut self,
        (window, nonce, source): (u64, Nonce, u32),
        place: usize,
        writes: &mut Unwritten,
        now: Now,
    ) {
        let used = Used {
            nonce,
            window,
            source,
        };
        let Some(free) = self.free_place(place, writes, now) else {
            return;
        };
        match self.used.get_mut(free) {
            Some(known) => *known = used,
            None => self.used.push(used),
        }
        let payload = image::pair(&nonce, &window.to_be_bytes());
        writes.put(Place::Used(place, free), &payload);
    }

    /// A free place, even if the lowest window that is not live has to be closed for it.
    fn free_place(&mut self, place: usize, writes: &mut Unwritten, now: Now) -> Option<usize> {
        if let Some(free) = self.used.iter().position(|used| !self.is_known(used)) {
            return Some(free);
        }
        if self.used.len() < self.places {
            return Some(self.used.len());
        }
        let live = self.live_windows(now);
        let windows = self.used.iter().map(|used| used.window);
        let lowest = windows.filter(|window| !live.contains(window)).min()?;
        self.close(Run::of(lowest), place, writes);
        self.used.iter().position(|used| used.window == lowest)
    }

    /// Closes windows for ever.
    pub fn close(&mut self, run: Run, place: usize, writes: &mut Unwritten) {
        self.closed.insert(run, |at, run| {
            let place = Place::Closed(place, at);
            match run {
                Some(run) => writes.put_early(place, &run_record(run)),
                None => writes.free(place),
            }
        });
    }

    fn key_record(&self) -> Payload {
        image::pair(self.key.as_bytes(), &self.period.to_be_bytes())
    }

    pub fn since_record(&self) -> Payload {
        image::pair(&self.since.0.to_be_bytes(), &[])
    }

    /// Queues all of it. Its key comes last: without it, its place in the file is free.
    pub fn write(&self, place: usize, writes: &mut Unwritten) {
        writes.put(Place::Since(place), &self.since_record());
        for (at, run) in self.closed.0.iter().enumerate() {
            if let Some(run) = run {
                writes.put(Place::Closed(place, at), &run_record(*run));
            }
        }
        for (at, used) in self.used.iter().enumerate() {
            if used.source != FREE {
                let payload = image::pair(&used.nonce, &used.window.to_be_bytes());
                writes.put(Place::Used(place, at), &payload);
            }
        }
        writes.put(Place::Key(place), &self.key_record());
    }

    /// Queues the end of all of it. Its key goes first.
    pub fn wipe(&self, place: usize, writes: &mut Unwritten) {
        writes.free(Place::Key(place));
        writes.free(Place::Since(place));
        for run in 0..CLOSED_RUNS {
            writes.free(Place::Closed(place, run));
        }
        for nonce in 0..self.used.len() {
            writes.free(Place::Used(place, nonce));
        }
    }
}

fn run_record(run: Run) -> Payload {
    let both = u128::from(run.first) << 64 | u128::from(run.last);
    image::pair(&both.to_be_bytes(), &[])
}
