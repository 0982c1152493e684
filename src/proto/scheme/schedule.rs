//! Which ports are open when, and which of them is the real one.
//!
//! ```text
//!            grace          live           grace
//!         ┌────┬────┐ ┌────┬────┬────┐ ┌────┬────┐
//!  minute │ -3 │ -2 │ │ -1 │  0 │ +1 │ │ +2 │ +3 │
//!         └────┴────┘ └────┴────┴────┘ └────┴────┘
//! ```
//!
//! The ports of the live windows are open. A port that is real in a live window is real, whatever else it
//! is: with 1,000 ports, a real port is also a decoy of another minute 4.4 % of the time. A port that is
//! real in a grace window is a trap that bans nobody, so a member whose clock is two minutes off is not
//! locked out.
//!
//! A window that was served and left stays closed for ten minutes. So no port that somebody has seen opens
//! again when the clock is set back. A window that was never served opens at once.

use super::key::{DIGEST, Key};
use crate::limits::{
    CLOCK_OFF_WINDOWS, GRACE_WINDOWS, LIVE_WINDOWS, MINUTE_PORTS, PLAN_PORTS, SERVED_MEMORY_MS,
    SERVED_RUNS,
};
use crate::proto::time::Instant;
use heapless::Vec;

/// The ports of one minute; the first is the real one.
pub type MinutePorts = Vec<u16, MINUTE_PORTS>;

/// Ports from `low` to `high`, inclusive, without port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    low: u16,
    high: u16,
}

impl Range {
    /// None if `low` is 0 or greater than `high`.
    #[must_use]
    pub fn new(low: u16, high: u16) -> Option<Self> {
        (low > 0 && low <= high).then_some(Self { low, high })
    }

    /// The first port.
    #[must_use]
    pub fn low(&self) -> u16 {
        self.low
    }

    /// The last port.
    #[must_use]
    pub fn high(&self) -> u16 {
        self.high
    }

    /// The number of ports, 1 to 65,535.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::from(self.high - self.low) + 1
    }

    /// Whether the port lies in the range.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.low <= port && port <= self.high
    }

    /// Whether the ranges have a port in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

/// What both sides agree on besides the secret and the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    range: Range,
    decoys: u8,
    period: u32,
}

impl Pattern {
    /// A pattern of `decoys` traps (0 to 63) beside the real port, and windows of `period` seconds (at least
    /// 1). None if the range has fewer ports than a minute needs.
    #[must_use]
    pub fn new(range: Range, decoys: u8, period: u32) -> Option<Self> {
        let fits = usize::from(decoys) < MINUTE_PORTS && u32::from(decoys) < range.count();
        (fits && period > 0).then_some(Self {
            range,
            decoys,
            period,
        })
    }

    /// The ports that are drawn from.
    #[must_use]
    pub fn range(&self) -> Range {
        self.range
    }

    /// The number of traps beside the real port.
    #[must_use]
    pub fn decoys(&self) -> u8 {
        self.decoys
    }

    /// The length of a window in seconds.
    #[must_use]
    pub fn period(&self) -> u32 {
        self.period
    }

    /// The window of a moment, given in Unix seconds.
    #[must_use]
    pub fn minute(&self, unix: u64) -> u64 {
        unix / u64::from(self.period)
    }

    /// The ports of a minute: the real one first, then the decoys, all different.
    #[must_use]
    pub fn ports(&self, key: &Key, minute: u64) -> MinutePorts {
        let count = usize::from(self.decoys) + 1;
        Draw::new(key, b"ports", minute, self.range).distinct(count)
    }

    /// The real port of a minute.
    #[must_use]
    pub fn real(&self, key: &Key, minute: u64) -> u16 {
        Draw::new(key, b"ports", minute, self.range).port()
    }
}

/// An endless stream of ports, uniform over a range, with repeats.
pub(super) struct Draw<'a> {
    key: &'a Key,
    label: &'static [u8],
    minute: u64,
    range: Range,
    block: [u8; DIGEST],
    blocks: u32,
    used: usize,
}

impl<'a> Draw<'a> {
    /// What a key draws for a purpose (`label`) in a minute.
    pub fn new(key: &'a Key, label: &'static [u8], minute: u64, range: Range) -> Self {
        Self {
            key,
            label,
            minute,
            range,
            block: [0; DIGEST],
            blocks: 0,
            used: DIGEST,
        }
    }

    fn word(&mut self) -> u16 {
        if self.used == DIGEST {
            let (minute, block) = (self.minute.to_be_bytes(), self.blocks.to_be_bytes());
            self.block = self.key.hmac(&[self.label, &minute, &block]);
            self.blocks = self.blocks.wrapping_add(1);
            self.used = 0;
        }
        let word = u16::from_be_bytes([self.block[self.used], self.block[self.used + 1]]);
        self.used += 2;
        word
    }

    /// The next port. Values in the last, incomplete run of the range are skipped: they would make the low
    /// ports likelier.
    fn port(&mut self) -> u16 {
        let count = self.range.count();
        let even = 65_536 / count * count;
        loop {
            let word = u32::from(self.word());
            if word < even {
                return self.range.low + (word % count) as u16;
            }
        }
    }

    /// The first `count` different ports, but no more than a minute can have or the range contains.
    pub fn distinct(mut self, count: usize) -> MinutePorts {
        let mut ports = MinutePorts::new();
        while ports.len() < count.min(self.range.count() as usize) {
            let port = self.port();
            if !ports.contains(&port) && ports.push(port).is_err() {
                break;
            }
        }
        ports
    }
}

/// What a port means to a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads to the hidden service.
    Real,
    /// It is real within two windows before or after the live ones: a trap that bans nobody.
    Grace,
    /// Touching it bans.
    Trap,
}

/// What is open at one moment: the ports of the live windows, and the role of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    open: Vec<u16, PLAN_PORTS>,
    /// The minute of the first neighbour.
    first: u64,
    /// The real port of each window around now, and whether its role is real or grace.
    neighbours: Vec<(u16, Role), NEIGHBOURS>,
}

/// The number of windows whose real ports are never traps.
pub const NEIGHBOURS: usize = LIVE_WINDOWS + 2 * GRACE_WINDOWS as usize;

/// The role of a port in each window around a moment: what a token at it can prove.
#[derive(Clone, Copy, Debug)]
pub struct Claims {
    /// The first window.
    pub first: u64,
    /// Real in a live window, grace in one nearby, otherwise a trap.
    pub roles: [Role; NEIGHBOURS],
}

/// One step from a plan to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The port opens.
    Open(u16),
    /// The port stays open but changes its role.
    Turn(u16),
    /// The port closes.
    Close(u16),
}

impl Plan {
    /// The open ports, in ascending order.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.open
    }

    /// The real ports of the live windows, in order of time.
    #[must_use]
    pub fn reals(&self) -> Vec<u16, LIVE_WINDOWS> {
        let is_real = |&&(_, role): &&(u16, Role)| role == Role::Real;
        let reals = self.neighbours.iter().filter(is_real);
        reals.map(|&(port, _)| port).collect()
    }

    /// Whether the port is open.
    #[must_use]
    pub fn is_open(&self, port: u16) -> bool {
        self.open.binary_search(&port).is_ok()
    }

    /// The role of any port, open or not.
    #[must_use]
    pub fn role(&self, port: u16) -> Role {
        let of_port = self.neighbours.iter().filter(|(real, _)| *real == port);
        of_port.fold(Role::Trap, |role, &(_, neighbour)| match role {
            Role::Real => role,
            _ => neighbour,
        })
    }

    /// The port's role in each window around now: what a token at it can prove.
    #[must_use]
    pub fn claims(&self, port: u16) -> Claims {
        let mut claims = Claims {
            first: self.first,
            roles: [Role::Trap; NEIGHBOURS],
        };
        for (claim, &(real, role)) in claims.roles.iter_mut().zip(&self.neighbours) {
            if real == port {
                *claim = role;
            }
        }
        claims
    }

    /// The steps from this plan to the next. Ports open before others close.
    pub fn difference<'a>(&'a self, next: &'a Self) -> impl Iterator<Item = Change> + 'a {
        let opened = next.open.iter().filter_map(|&port| {
            if !self.is_open(port) {
                Some(Change::Open(port))
            } else if self.role(port) != next.role(port) {
                Some(Change::Turn(port))
            } else {
                None
            }
        });
        let closed = self.open.iter().filter(|&&port| !next.is_open(port));
        opened.chain(closed.map(|&port| Change::Close(port)))
    }

    fn insert(&mut self, port: u16) {
        if let Err(place) = self.open.binary_search(&port) {
            // There is room for the ports of all live windows.
            let _ = self.open.insert(place, port);
        }
    }
}

/// Consecutive windows that were served and left, the last of them at `at`.
#[derive(Clone, Copy)]
struct ServedRun {
    first: u64,
    last: u64,
    at: Instant,
}

/// The windows that were served and left within the last ten minutes.
#[derive(Default)]
struct Served(Vec<ServedRun, SERVED_RUNS>);

impl Served {
    fn leave(&mut self, minute: u64, period_ms: u64, now: Instant) {
        self.forget(now);
        let regular = |run: &&mut ServedRun| {
            run.last.checked_add(1) == Some(minute)
                && run.at.after(period_ms / 2) <= now
                && now <= run.at.after(period_ms * 2)
        };
        if let Some(run) = self.0.iter_mut().find(regular) {
            run.last = minute;
            run.at = now;
            return;
        }
        if self.0.is_full() {
            let oldest = (0..self.0.len()).min_by_key(|&run| self.0[run].at);
            oldest.map(|run| self.0.swap_remove(run));
        }
        let run = ServedRun {
            first: minute,
            last: minute,
            at: now,
        };
        // There is room: it was made above.
        let _ = self.0.push(run);
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|run| now < run.at.after(SERVED_MEMORY_MS));
    }

    fn remembers(&self, minute: u64, period_ms: u64, now: Instant) -> bool {
        self.0.iter().any(|run| {
            let age = now.since(run.at);
            run.first <= minute
                && minute <= run.last
                && (run.last - minute)
                    .saturating_mul(period_ms)
                    .saturating_add(age)
                    < SERVED_MEMORY_MS
        })
    }
}

/// The open windows: the first of three, and which of the three are open.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Windows {
    first: u64,
    open: [bool; LIVE_WINDOWS],
}

impl Windows {
    fn open(self) -> Vec<u64, LIVE_WINDOWS> {
        let mut minutes = Vec::new();
        for (window, is_open) in (0..).zip(self.open) {
            if is_open {
                // There is room for all.
                let _ = minutes.push(self.first.wrapping_add(window));
            }
        }
        minutes
    }

    fn contains(self, minute: u64) -> bool {
        self.open().contains(&minute)
    }
}

/// The number of real ports kept: of this window and of fifteen on either side.
const HORIZON: usize = 2 * CLOCK_OFF_WINDOWS as usize + 1;

/// The ports of one mirage over time.
pub struct Schedule {
    key: Key,
    pattern: Pattern,
    served: Served,
    windows: Option<Windows>,
    /// The real ports from [`CLOCK_OFF_WINDOWS`] windows before this minute to as many after it.
    reals: [u16; HORIZON],
}

impl Schedule {
    /// A schedule that has served nothing yet.
    #[must_use]
    pub fn new(key: Key, pattern: Pattern) -> Self {
        Self {
            key,
            pattern,
            served: Served::default(),
            windows: None,
            reals: [0; HORIZON],
        }
    }

    /// The range, the decoys and the period.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The plan of this moment, if it differs from the last one. `unix` is in seconds, and None while the
    /// clock can't be trusted.
    pub fn turn(&mut self, unix: Option<u64>, now: Instant) -> Option<Plan> {
        let minute = unix.map(|unix| self.pattern.minute(unix));
        let windows = minute.map(|minute| self.windows_at(minute, now));
        if windows == self.windows {
            return None;
        }
        if let Some(minute) = minute {
            self.look_around(minute);
        }
        let period_ms = self.period_ms();
        for left in self.live() {
            if !windows.is_some_and(|windows| windows.contains(left)) {
                self.served.leave(left, period_ms, now);
            }
        }
        self.windows = windows;
        Some(windows.map_or_else(Plan::default, |windows| self.plan(windows)))
    }

    /// The key that everything is drawn with.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The live windows in order, without those that were served and left before.
    #[must_use]
    pub fn live(&self) -> Vec<u64, LIVE_WINDOWS> {
        self.windows.map(Windows::open).unwrap_or_default()
    }

    /// Whether a port is the real one of this minute or of the last, so that naming it reveals no future
    /// port.
    #[must_use]
    pub fn was_real(&self, port: u16) -> bool {
        let here = CLOCK_OFF_WINDOWS as usize;
        self.windows.is_some() && self.reals[here - 1..=here].contains(&port)
    }

    /// Whether a port will be the real one within the next fifteen minutes.
    #[must_use]
    pub fn is_to_come(&self, port: u16) -> bool {
        let here = CLOCK_OFF_WINDOWS as usize;
        self.windows.is_some() && self.reals[here + 1..].contains(&port)
    }

    /// Whether a window is closed only because it was served before.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.windows
            .is_some_and(|windows| windows.open.contains(&false))
    }

    /// How many seconds a clock is ahead (positive) or behind if this is its real port now. Looks at fifteen
    /// windows on either side; None if the port is real in none of them.
    #[must_use]
    pub fn clock_off(&self, port: u16) -> Option<i64> {
        self.windows?;
        let here = CLOCK_OFF_WINDOWS as usize;
        (0..HORIZON)
            .filter(|&window| self.reals[window] == port)
            .map(|window| window as i64 - here as i64)
            .min_by_key(|windows| windows.abs())
            .map(|windows| windows * i64::from(self.pattern.period))
    }

    fn period_ms(&self) -> u64 {
        u64::from(self.pattern.period) * 1_000
    }

    fn windows_at(&self, minute: u64, now: Instant) -> Windows {
        let first = minute.wrapping_sub(1);
        let open = core::array::from_fn(|window| {
            let minute = first.wrapping_add(window as u64);
            let is_open = self.windows.is_some_and(|windows| windows.contains(minute));
            is_open || !self.served.remembers(minute, self.period_ms(), now)
        });
        Windows { first, open }
    }

    /// Fills in the real ports around a minute. When a minute turns, all but one are known.
    fn look_around(&mut self, minute: u64) {
        let known = self.windows.map(|windows| windows.first.wrapping_add(1));
        let from = if known == Some(minute) {
            HORIZON
        } else if known.is_some_and(|known| known.wrapping_add(1) == minute) {
            self.reals.rotate_left(1);
            HORIZON - 1
        } else {
            0
        };
        let first = minute.wrapping_sub(CLOCK_OFF_WINDOWS);
        for window in from..HORIZON {
            self.reals[window] = self
                .pattern
                .real(&self.key, first.wrapping_add(window as u64));
        }
    }

    fn plan(&self, windows: Windows) -> Plan {
        let mut plan = Plan::default();
        for minute in windows.open() {
            for port in self.pattern.ports(&self.key, minute) {
                plan.insert(port);
            }
        }
        plan.first = windows.first.wrapping_sub(GRACE_WINDOWS);
        let known = CLOCK_OFF_WINDOWS as usize - NEIGHBOURS / 2;
        plan.neighbours = (0..)
            .zip(&self.reals[known..known + NEIGHBOURS])
            .map(|(window, &real)| {
                let is_live = windows.contains(plan.first.wrapping_add(window));
                (real, if is_live { Role::Real } else { Role::Grace })
            })
            .collect();
        plan
    }
}

#[cfg(test)]
mod tests;
