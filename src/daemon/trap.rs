//! The trap: it holds a visitor, mute, for its time, and throws away what it is sent.
//!
//! It costs a stranger a connection and us a descriptor, of which there is a fixed number. When all
//! are taken, the source that holds most gives up its oldest.

use super::slab::Slab;
use crate::limits::TRAP_DISCARD;
use crate::scheme::Instant;
use crate::scheme::source::Source;
use crate::sys::socket;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

struct Held {
    visitor: OwnedFd,
    source: Source,
    since: Instant,
    until: Instant,
    /// Places that its source has.
    places: u16,
    discarded: usize,
}

/// The visitors that are held.
pub struct Traps {
    held: Slab<Held>,
    capacity: usize,
    /// No visitor's time ends before this.
    soonest: Option<Instant>,
}

impl Traps {
    /// No visitors, and places for so many.
    pub fn new(capacity: usize) -> Self {
        Self {
            // A place given up is free in the next turn only, so there is one more for each.
            held: Slab::new(2 * capacity),
            capacity,
            soonest: None,
        }
    }

    /// The place for the next visitor. When all are taken, the oldest of the source that holds most
    /// is let go for it. None when that many have come in one turn that all have been let go.
    pub fn vacate(&mut self) -> Option<u32> {
        if self.held.len() >= self.capacity {
            let place = self.greediest()?;
            self.release(place);
        }
        self.held.vacancy()
    }

    /// Holds a visitor at the place that [`Traps::vacate`] has named.
    pub fn hold(&mut self, place: u32, visitor: OwnedFd, source: Source, now: Instant, ms: u64) {
        let until = now.after(ms);
        self.held.insert(
            place,
            Held {
                visitor,
                source,
                since: now,
                until,
                places: 0,
                discarded: 0,
            },
        );
        self.count_places(source);
        self.soonest = Some(self.soonest.map_or(until, |soonest| soonest.min(until)));
    }

    /// Throws away what a visitor has sent, up to a bound; then its window closes. Lets go of it if
    /// it is gone. One that has only said its last word is held like the others.
    pub fn discard(&mut self, place: u32) {
        while let Some(held) = self.held.get_mut(place) {
            let left = TRAP_DISCARD - held.discarded;
            if left == 0 {
                return;
            }
            match socket::discard(held.visitor.as_fd(), left) {
                Ok(0) => return,
                Ok(thrown) => held.discarded += thrown.min(left),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.release(place),
            }
        }
    }

    /// Lets go of a visitor.
    pub fn release(&mut self, place: u32) {
        if let Some(held) = self.held.remove(place) {
            self.count_places(held.source);
        }
    }

    /// Lets go of all whose time is over.
    pub fn expire(&mut self, now: Instant) {
        if self.soonest.is_none_or(|soonest| now < soonest) {
            return;
        }
        loop {
            let over = self.held.iter().find(|(_, held)| held.until <= now);
            let Some((place, _)) = over else { break };
            self.release(place);
        }
        self.soonest = self.held.iter().map(|(_, held)| held.until).min();
    }

    /// When [`Traps::expire`] may have something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.soonest
    }

    /// Gives the places away again that were freed in this turn.
    pub fn sweep(&mut self) {
        self.held.sweep();
    }

    /// The oldest place of the source that holds most.
    pub fn greediest(&self) -> Option<u32> {
        let rank = |held: &Held| (u16::MAX - held.places, held.since);
        let most = self.held.iter().min_by_key(|(_, held)| rank(held));
        most.map(|(place, _)| place)
    }

    fn count_places(&mut self, source: Source) {
        let of_source = |held: &Held| held.source == source;
        let places = self.held.iter().filter(|(_, held)| of_source(held)).count();
        for (_, held) in self.held.iter_mut() {
            if of_source(held) {
                held.places = u16::try_from(places).unwrap_or(u16::MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn hold(traps: &mut Traps, source: &str, now: u64) -> u32 {
        let place = traps.vacate().unwrap();
        let visitor = File::open("/dev/null").unwrap().into();
        let source = source.parse().unwrap();
        traps.hold(place, visitor, source, Instant(now), 100);
        place
    }

    #[test]
    fn the_source_that_holds_most_gives_up_its_oldest() {
        let mut traps = Traps::new(4);
        hold(&mut traps, "192.0.2.1", 0);
        let oldest = hold(&mut traps, "192.0.2.2", 1);
        hold(&mut traps, "192.0.2.2", 2);
        hold(&mut traps, "192.0.2.3", 3);
        assert_eq!(traps.greediest(), Some(oldest));
        hold(&mut traps, "192.0.2.4", 4);
        assert_eq!(traps.held.len(), 4);
        // One each now: the oldest of all.
        assert_eq!(traps.greediest(), Some(0));
        for now in 5..8 {
            hold(&mut traps, "192.0.2.5", now);
        }
        // Until the turn ends there is a place for as many as there are places.
        assert_eq!(traps.vacate(), None);
        traps.sweep();
        hold(&mut traps, "192.0.2.6", 8);
    }

    #[test]
    fn time_lets_everybody_go() {
        let mut traps = Traps::new(4);
        hold(&mut traps, "192.0.2.1", 0);
        hold(&mut traps, "192.0.2.2", 50);
        assert_eq!(traps.next_deadline(), Some(Instant(100)));
        traps.expire(Instant(100));
        assert_eq!(traps.next_deadline(), Some(Instant(150)));
        traps.expire(Instant(150));
        assert_eq!((traps.next_deadline(), traps.held.len()), (None, 0));
    }
}
