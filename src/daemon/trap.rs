//! The trap: it holds a visitor, mute, for its time, and throws away what it is sent.
//!
//! It costs a stranger a connection and us a descriptor, of which there is a fixed number. When all
//! are taken, the source that holds most gives up its oldest.
//!
//! At gate = token everybody begins here, at the real port as at any other: the trap listens for a
//! token first, and what becomes of the visitor is the same for all but the one with a good token.
//!
//! ```text
//!   Listening ──48 bytes, end of input, 3 s──▶ Ready ──verdict──▶ Judged ──its time──▶ closed
//!                                                 └──a good token──▶ a session
//! ```

use super::table::{Id, Table};
use super::tally::Tally;
use super::timers::Timers;
use crate::limits::{TOKEN_MS, TRAP_DISCARD};
use crate::proto::Instant;
use crate::proto::scheme::schedule::Claims;
use crate::proto::scheme::token::TOKEN;
use crate::proto::source::Source;
use crate::sys::socket;
use core::mem;
use core::net::IpAddr;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// One who may have a token: where it came to, and what it has said so far.
pub struct Suspect {
    /// The section of the mirage; it may be gone from the configuration by the verdict.
    pub mirage: Rc<str>,
    /// Who it is for the log.
    pub peer: IpAddr,
    /// The port that it came to.
    pub port: u16,
    /// What a token there could prove when it came.
    pub claims: Claims,
    /// The first bytes that it said.
    pub said: heapless::Vec<u8, TOKEN>,
}

enum Stage {
    Listening(Suspect),
    Ready(Suspect),
    Judged,
}

/// One visitor in a trap.
pub struct Held {
    visitor: OwnedFd,
    source: Source,
    since: Instant,
    until: Instant,
    discarded: usize,
    /// It was reset before its verdict, and is let go of after it.
    is_gone: bool,
    stage: Stage,
}

impl Held {
    /// When something is due: the verdict, or the end.
    fn deadline(&self) -> Instant {
        match self.stage {
            Stage::Listening(_) => self.since.after(TOKEN_MS).min(self.until),
            _ => self.until,
        }
    }

    /// It has said what there is to be said.
    fn finish(&mut self) {
        self.stage = match mem::replace(&mut self.stage, Stage::Judged) {
            Stage::Listening(suspect) => Stage::Ready(suspect),
            other => other,
        };
    }
}

/// The visitors that are held.
pub struct Traps {
    held: Table<Held>,
    capacity: usize,
    timers: Timers<Held>,
    /// Places that a source has.
    places: Tally<Source, u16>,
    /// Those who wait for their verdict.
    ready: VecDeque<Id<Held>>,
}

impl Traps {
    /// No visitors, and places for so many.
    pub fn new(capacity: usize) -> Self {
        Self {
            // One more is held where all the others wait for their verdict.
            held: Table::new(capacity + 1),
            capacity,
            timers: Timers::new(),
            places: Tally::new(),
            ready: VecDeque::new(),
        }
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// How many can be.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Holds a visitor: as a suspect, or as one who has been judged. Where all places are taken, others are
    /// let go for it: more than one where a crowd that waits for its verdicts had to be lent a place.
    ///
    /// `register` has the loop woken for it. None, and the visitor is let go, where that fails.
    pub fn hold(
        &mut self,
        (visitor, source): (OwnedFd, Source),
        suspect: Option<Suspect>,
        now: Instant,
        ms: u64,
        register: impl FnOnce(&OwnedFd, Id<Held>) -> io::Result<()>,
    ) -> Option<Id<Held>> {
        while self.held.len() >= self.capacity && self.give_up_one(now) {}
        let vacant = self.held.vacancy()?;
        register(&visitor, vacant.id()).ok()?;
        let held = Held {
            visitor,
            source,
            since: now,
            until: now.after(ms),
            discarded: 0,
            is_gone: false,
            stage: suspect.map_or(Stage::Judged, Stage::Listening),
        };
        let deadline = held.deadline();
        let id = vacant.insert(held);
        self.timers.set(id, Some(deadline));
        self.places.change(source, |places| *places += 1);
        Some(id)
    }

    /// Takes what a visitor has sent: first as its token, then to throw it away.
    pub fn hear(&mut self, id: Id<Held>, now: Instant) {
        match self.held.get_mut(id).map(|held| &held.stage) {
            Some(Stage::Listening(_)) => self.listen(id, now),
            Some(Stage::Judged) => self.throw_away(id),
            // What is behind a token belongs to the service.
            Some(Stage::Ready(_)) | None => {}
        }
    }

    /// Takes what there is of a token. With its 48th byte, with the end of the input, a reset or the
    /// end of its time there is no more to come, and its verdict is due.
    fn listen(&mut self, id: Id<Held>, now: Instant) {
        while let Some(held) = self.held.get_mut(id)
            && let Stage::Listening(suspect) = &mut held.stage
        {
            let is_late = held.since.after(TOKEN_MS) <= now;
            let heard = match is_late {
                true => Ok(0),
                false => receive(&held.visitor, &mut suspect.said),
            };
            match heard {
                Ok(1..) if !suspect.said.is_full() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                heard => {
                    held.is_gone = heard.is_err();
                    self.await_verdict(id);
                }
            }
        }
    }

    /// Throws away what there is, up to a bound; then the sender's window closes. Lets go of a visitor
    /// that is gone. One that has only said its last word is held like the others.
    fn throw_away(&mut self, id: Id<Held>) {
        while let Some(held) = self.held.get_mut(id) {
            let left = TRAP_DISCARD - held.discarded;
            let thrown = match left {
                _ if held.is_gone => return drop(self.take(id)),
                0 => return,
                _ => socket::discard(held.visitor.as_fd(), left),
            };
            match thrown {
                Ok(0) => return,
                Ok(thrown) => held.discarded += thrown.min(left),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => held.is_gone = true,
            }
        }
    }

    fn await_verdict(&mut self, id: Id<Held>) {
        if let Some(held) = self.held.get_mut(id) {
            held.finish();
            let deadline = held.deadline();
            self.timers.set(id, Some(deadline));
            self.ready.push_back(id);
        }
    }

    /// The one who has waited longest for a verdict. It is judged by being taken out here; what it sends from now
    /// on is thrown away.
    pub fn next_ready(&mut self) -> Option<(Id<Held>, Source, Suspect)> {
        while let Some(id) = self.ready.pop_front() {
            if let Some(held) = self.held.get_mut(id)
                && let Stage::Ready(_) = held.stage
                && let Stage::Ready(suspect) = mem::replace(&mut held.stage, Stage::Judged)
            {
                return Some((id, held.source, suspect));
            }
        }
        None
    }

    /// Takes out the connection of one whose token is good.
    pub fn take(&mut self, id: Id<Held>) -> Option<OwnedFd> {
        let held = self.held.remove(id)?;
        self.timers.set(id, None);
        self.places.change(held.source, |places| *places -= 1);
        Some(held.visitor)
    }

    /// Does what is due: verdicts, and ends.
    pub fn expire(&mut self, now: Instant) {
        while let Some(id) = self.timers.next_due(now) {
            let is_unheard = |held: &Held| matches!(held.stage, Stage::Listening(_));
            if self.held.get(id).is_some_and(is_unheard) {
                self.await_verdict(id);
            } else {
                self.take(id);
            }
        }
    }

    /// When [`Traps::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.soonest()
    }

    /// Lets one go. What has arrived from it is read first, and whoever has said a whole token stays.
    /// False when all that are left have.
    pub fn give_up_one(&mut self, now: Instant) -> bool {
        while let Some(id) = self.most_dispensable() {
            self.hear(id, now);
            let is_ready = |held: &mut Held| matches!(held.stage, Stage::Ready(_));
            if !self.held.get_mut(id).is_some_and(is_ready) {
                drop(self.take(id));
                return true;
            }
        }
        false
    }

    /// One who was judged before one who was not; of those the source that holds most, and of that
    /// its oldest.
    fn most_dispensable(&self) -> Option<Id<Held>> {
        let rank = |held: &Held| {
            let is_unheard = matches!(held.stage, Stage::Listening(_));
            (
                is_unheard,
                u16::MAX - self.places.get(&held.source),
                held.since,
            )
        };
        let is_waiting = |held: &Held| matches!(held.stage, Stage::Ready(_));
        let all = self.held.iter().filter(|(_, held)| !is_waiting(held));
        all.min_by_key(|(_, held)| rank(held)).map(|(id, _)| id)
    }
}

/// Receives what is missing of a token, and no more.
fn receive(visitor: &OwnedFd, said: &mut heapless::Vec<u8, TOKEN>) -> io::Result<usize> {
    let mut buffer = [0; TOKEN];
    let missing = TOKEN - said.len();
    let received = socket::receive(visitor.as_fd(), &mut buffer[..missing])?;
    // There is room for what was missing.
    let _ = said.extend_from_slice(&buffer[..received]);
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::scheme::schedule::{NEIGHBOURS, Role};
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    const TRAP_MS: u64 = 30_000;

    fn suspect() -> Suspect {
        Suspect {
            mirage: "ssh".into(),
            peer: [192, 0, 2, 1].into(),
            port: 10_443,
            claims: Claims {
                first: 0,
                roles: [Role::Trap; NEIGHBOURS],
            },
            said: heapless::Vec::new(),
        }
    }

    /// A visitor's end of a connection that is held for 100 ms, and its place.
    fn hold(traps: &mut Traps, source: &str, now: u64) -> (TcpStream, Id<Held>) {
        hold_as(traps, source, None, now, 100)
    }

    /// The same for one who may have a token.
    fn suspect_at(traps: &mut Traps, source: &str, now: u64) -> (TcpStream, Id<Held>) {
        hold_as(traps, source, Some(suspect()), now, TRAP_MS)
    }

    fn hold_as(
        traps: &mut Traps,
        source: &str,
        suspect: Option<Suspect>,
        now: u64,
        ms: u64,
    ) -> (TcpStream, Id<Held>) {
        let now = Instant(now);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let who = (ours.into(), source.parse().unwrap());
        let held = traps.hold(who, suspect, now, ms, |_, _| Ok(()));
        (theirs, held.unwrap())
    }

    /// Waits until so many bytes have arrived from a visitor; none is the end of its input.
    fn wait_for_bytes(traps: &mut Traps, id: Id<Held>, bytes: usize) {
        let visitor = &traps.held.get(id).unwrap().visitor;
        let arrived = || socket::peek(visitor.as_fd(), &mut [0; 2_048]);
        while !arrived().is_ok_and(|arrived| arrived == bytes) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_source_that_holds_most_gives_up_its_oldest() {
        let mut traps = Traps::new(4);
        let (_first, first) = hold(&mut traps, "192.0.2.1", 0);
        let (_oldest, oldest) = hold(&mut traps, "192.0.2.2", 1);
        let _others = [
            hold(&mut traps, "192.0.2.2", 2),
            hold(&mut traps, "192.0.2.3", 3),
        ];
        assert_eq!(traps.most_dispensable(), Some(oldest));
        let _next = hold(&mut traps, "192.0.2.4", 4);
        assert_eq!(traps.len(), 4);
        // One each now: the oldest of all.
        assert_eq!(traps.most_dispensable(), Some(first));
        let _more: Vec<_> = (5..20)
            .map(|now| hold(&mut traps, "192.0.2.5", now))
            .collect();
        assert_eq!(traps.len(), 4);
    }

    #[test]
    fn time_lets_everybody_go() {
        let mut traps = Traps::new(4);
        let _early = hold(&mut traps, "192.0.2.1", 0);
        let _late = hold(&mut traps, "192.0.2.2", 50);
        assert_eq!(traps.next_deadline(), Some(Instant(100)));
        traps.expire(Instant(100));
        assert_eq!(traps.next_deadline(), Some(Instant(150)));
        traps.expire(Instant(150));
        assert_eq!((traps.next_deadline(), traps.len()), (None, 0));
    }

    #[test]
    fn exactly_a_token_is_read_and_the_rest_stays_until_the_verdict() {
        let mut traps = Traps::new(4);
        let (mut visitor, place) = suspect_at(&mut traps, "192.0.2.1", 0);
        visitor.write_all(&[7; TOKEN - 1]).unwrap();
        wait_for_bytes(&mut traps, place, TOKEN - 1);
        traps.hear(place, Instant(1));
        assert!(traps.next_ready().is_none());
        visitor.write_all(&[8; 1_000]).unwrap();
        wait_for_bytes(&mut traps, place, 1_000);
        traps.hear(place, Instant(2));
        traps.hear(place, Instant(3));
        let (ready, _, suspect) = traps.next_ready().unwrap();
        assert_eq!((ready, suspect.said.len()), (place, TOKEN));
        assert_eq!(suspect.said[TOKEN - 2..], [7, 8]);
        assert!(traps.next_ready().is_none());
        let mut rest = TcpStream::from(traps.take(place).unwrap());
        let mut behind = [0; 999];
        rest.read_exact(&mut behind).unwrap();
        assert_eq!(behind, [8; 999]);
    }

    #[test]
    fn the_end_of_the_input_and_the_end_of_its_time_are_verdicts() {
        let mut traps = Traps::new(4);
        let (gone, place) = suspect_at(&mut traps, "192.0.2.1", 0);
        drop(gone);
        wait_for_bytes(&mut traps, place, 0);
        traps.hear(place, Instant(1));
        let (_, _, suspect) = traps.next_ready().unwrap();
        assert!(suspect.said.is_empty());

        let (mut late, place) = suspect_at(&mut traps, "192.0.2.2", 10);
        traps.expire(Instant(10 + TOKEN_MS - 1));
        assert_eq!(traps.next_deadline(), Some(Instant(10 + TOKEN_MS)));
        assert!(traps.next_ready().is_none());
        late.write_all(&[7; TOKEN]).unwrap();
        wait_for_bytes(&mut traps, place, TOKEN);
        // What comes at the end of its time is too late, whichever is seen first.
        traps.hear(place, Instant(10 + TOKEN_MS));
        let (_, _, suspect) = traps.next_ready().unwrap();
        assert!(suspect.said.is_empty());
        // And it is held on, and its bytes are thrown away.
        traps.hear(place, Instant(10 + TOKEN_MS));
        assert_eq!(traps.len(), 2);
        traps.expire(Instant(10 + TRAP_MS));
        assert_eq!((traps.len(), traps.next_deadline()), (0, None));
    }

    #[test]
    fn what_has_arrived_is_read_before_a_place_is_given_up() {
        let mut traps = Traps::new(2);
        let (mut member, place) = suspect_at(&mut traps, "192.0.2.1", 0);
        let (_mute, mute) = suspect_at(&mut traps, "192.0.2.2", 1);
        member.write_all(&[7; TOKEN]).unwrap();
        wait_for_bytes(&mut traps, place, TOKEN);
        // The member is the oldest, and the mute one goes for it.
        let _other = suspect_at(&mut traps, "192.0.2.3", 2);
        assert!(traps.held.get_mut(mute).is_none());
        let (ready, _, suspect) = traps.next_ready().unwrap();
        assert_eq!((ready, suspect.said.len()), (place, TOKEN));
        // Once judged, it is the first to go.
        let _another = suspect_at(&mut traps, "192.0.2.4", 3);
        assert!(traps.held.get_mut(place).is_none());
    }

    /// All have said a whole token before any of it is heard: one more is let in beside them, and the
    /// place that it was lent is taken back.
    #[test]
    fn a_place_lent_to_a_crowd_is_taken_back() {
        let mut traps = Traps::new(2);
        for _ in 0..2 {
            let (mut visitor, place) = suspect_at(&mut traps, "192.0.2.1", 0);
            visitor.write_all(&[7; TOKEN]).unwrap();
            wait_for_bytes(&mut traps, place, TOKEN);
        }
        let _lent = suspect_at(&mut traps, "192.0.2.2", 1);
        assert_eq!(traps.len(), 3);
        while traps.next_ready().is_some() {}
        let _next = suspect_at(&mut traps, "192.0.2.3", 2);
        assert_eq!(traps.len(), 2);
    }

    #[test]
    fn one_that_was_reset_is_judged_and_keeps_no_place() {
        let mut traps = Traps::new(2);
        let (gone, place) = suspect_at(&mut traps, "192.0.2.1", 0);
        socket::reset_on_close(gone.as_fd());
        drop(gone);
        while traps.next_ready().is_none() {
            traps.hear(place, Instant(1));
        }
        traps.hear(place, Instant(1));
        assert_eq!(traps.len(), 0);
    }
}
