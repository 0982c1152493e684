//! One direction of a session: moves bytes from one socket to the other until the first has no more.
//!
//! A small message goes through the process's buffer: one receive, one send. A direction that has filled that
//! buffer twice in a row is bulk: its bytes go by splice(2) through a borrowed pipe, without passing through
//! our memory. When no bytes are left, the pipe goes back.
//!
//! Only an empty pipe is filled, and it is drained completely before the next filling. When a splice into a
//! pipe that is not empty says "would block", either the socket is empty or the pipe is full (by slots, long
//! before it is by bytes). Mistaking one for the other loses the wake-up.
//!
//! Received bytes that can't be sent need a place. So before the receive a pipe has to be available. If there
//! is none, the bytes are only peeked at (MSG_PEEK), and just those that could be sent are taken. That is
//! slower, but never gets stuck.

use super::pipes::{Pipe, Pipes, Tube};
use super::stream::Stream;
use crate::limits::{BUFFER, BULK_FILLS, SPLICE, TURN_BYTES};
use std::io;

/// What a direction does now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// It sends a header of ours.
    Introduce,
    /// It waits for bytes.
    Fill,
    /// It sends what its pipe holds.
    Drain,
    /// Its input has ended and everything is sent; the end has to be passed on.
    ShutWrite,
    /// It is finished.
    Done,
}

/// The result of an attempt to move bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to do at once.
    Go,
    /// An event will come.
    Wait,
    /// It has had its share of this turn, but there is more.
    Again,
}

/// Which end failed. How does not matter: it is gone.
pub enum Broken {
    /// The end that it reads from.
    Reading,
    /// The end that it writes to.
    Writing,
}

/// One direction of a session.
pub struct Direction<P = Pipe> {
    flow: Flow,
    /// What is left of the header.
    header: Vec<u8>,
    /// The pipe that it has borrowed, empty or not.
    pub pipe: Option<P>,
    queued: usize,
    /// Bytes passed on so far.
    pub moved: u64,
    full_buffers: u8,
    /// Its output had no room at the last attempt.
    pub is_blocked: bool,
    /// Its input has signalled its end or urgent data, so a short read need not be the last one.
    pub is_ending: bool,
    /// Its input has signalled a reset.
    pub is_reset: bool,
}

impl<P: Tube> Direction<P> {
    /// Nothing has moved yet.
    pub fn new() -> Self {
        Self {
            flow: Flow::Fill,
            header: Vec::new(),
            pipe: None,
            queued: 0,
            moved: 0,
            full_buffers: 0,
            is_blocked: false,
            is_ending: false,
            is_reset: false,
        }
    }

    /// Sends these bytes first. They do not count as moved.
    pub fn introduce(&mut self, header: Vec<u8>) {
        if !header.is_empty() {
            (self.header, self.flow) = (header, Flow::Introduce);
        }
    }

    /// Moves bytes until there are none, or no room for them, or this turn's share is used up.
    pub fn run<S: Stream<Tube = P>>(
        &mut self,
        from: &S,
        to: &S,
        pipes: &mut Pipes<P>,
        may_borrow: bool,
    ) -> Result<Step, Broken> {
        let before = self.moved;
        loop {
            let step = match self.flow {
                Flow::Introduce => self.send_header(to)?,
                Flow::Fill if self.moved - before >= TURN_BYTES as u64 => return Ok(Step::Again),
                Flow::Fill => self.fill(from, to, pipes, may_borrow)?,
                Flow::Drain => self.drain(to)?,
                Flow::ShutWrite => {
                    // After a reset, the end of input does not come from the sender. Otherwise the peer may
                    // have gone in the meantime; then the end need not be passed on.
                    if !self.is_reset {
                        to.shut();
                    }
                    self.flow = Flow::Done;
                    Step::Wait
                }
                Flow::Done => Step::Wait,
            };
            if self.flow != Flow::Drain && step == Step::Wait {
                self.release(pipes);
            }
            if step != Step::Go {
                return Ok(step);
            }
        }
    }

    fn send_header(&mut self, to: &impl Stream) -> Result<Step, Broken> {
        match to.send(&self.header) {
            Ok(sent) => {
                self.header.drain(..sent);
                if self.header.is_empty() {
                    self.is_blocked = false;
                    (self.header, self.flow) = (Vec::new(), Flow::Fill);
                }
                Ok(Step::Go)
            }
            Err(error) => {
                self.is_blocked = true;
                self.wait_or_break(&error, Broken::Writing)
            }
        }
    }

    fn fill<S: Stream<Tube = P>>(
        &mut self,
        from: &S,
        to: &S,
        pipes: &mut Pipes<P>,
        may_borrow: bool,
    ) -> Result<Step, Broken> {
        let can_borrow = self.pipe.is_some() || (may_borrow && pipes.can_lend());
        if !can_borrow {
            return self.copy_by_peeking(from, to, &mut pipes.buffer[..]);
        }
        if self.full_buffers < BULK_FILLS {
            return self.copy(from, to, pipes);
        }
        let Some(pipe) = self.pipe.take().or_else(|| pipes.take()) else {
            return self.copy_by_peeking(from, to, &mut pipes.buffer[..]);
        };
        let filled = from.splice_to(&pipe, SPLICE);
        self.pipe = Some(pipe);
        match filled {
            // The end, or urgent data, at which splice stops: a plain receive tells which.
            Ok(0) => {
                self.full_buffers = 0;
                Ok(Step::Go)
            }
            Ok(filled) => {
                self.queued = filled;
                self.flow = Flow::Drain;
                Ok(Step::Go)
            }
            // The pipe was empty, so it is the socket that has no more.
            Err(error) => {
                self.full_buffers = 0;
                let step = self.wait_or_break(&error, Broken::Reading)?;
                // But splice stops at urgent data, and there may be more after it.
                Ok(if self.is_ending { Step::Go } else { step })
            }
        }
    }

    /// Receives and sends. Bytes that can't be sent go into a pipe, which must be available.
    fn copy<S: Stream<Tube = P>>(
        &mut self,
        from: &S,
        to: &S,
        pipes: &mut Pipes<P>,
    ) -> Result<Step, Broken> {
        let received = match from.receive(&mut pipes.buffer[..]) {
            Ok(0) => return self.end(),
            Ok(received) => received,
            Err(error) => return self.wait_or_break(&error, Broken::Reading),
        };
        self.count_fill(received);
        let sent = self.send(to, &pipes.buffer[..received])?;
        if sent < received {
            let pipe = self
                .pipe
                .take()
                .or_else(|| pipes.take())
                .ok_or(Broken::Writing)?;
            let kept = pipe.write(&pipes.buffer[sent..received]);
            self.pipe = Some(pipe);
            self.queued = received - sent;
            self.flow = Flow::Drain;
            // An empty pipe takes a whole buffer. If it ever did not, the stream would have a hole.
            if kept.is_ok_and(|kept| kept == self.queued) {
                return Ok(Step::Wait);
            }
            return Err(Broken::Writing);
        }
        Ok(self.after_fill(received))
    }

    /// Peeks, sends, and takes what was sent.
    fn copy_by_peeking(
        &mut self,
        from: &impl Stream,
        to: &impl Stream,
        buffer: &mut [u8],
    ) -> Result<Step, Broken> {
        let seen = match from.peek(buffer) {
            Ok(0) => return self.end(),
            Ok(seen) => seen,
            Err(error) => return self.wait_or_break(&error, Broken::Reading),
        };
        self.count_fill(seen);
        let sent = self.send(to, &buffer[..seen])?;
        let mut left = sent;
        while left > 0 {
            match from.discard(left) {
                Ok(thrown) if thrown > 0 => left -= thrown,
                _ => return Err(Broken::Reading),
            }
        }
        if sent < seen {
            return Ok(Step::Wait);
        }
        Ok(self.after_fill(seen))
    }

    fn drain(&mut self, to: &impl Stream<Tube = P>) -> Result<Step, Broken> {
        let Some(pipe) = &self.pipe else {
            return Err(Broken::Writing);
        };
        match to.splice_from(pipe, self.queued) {
            Ok(0) => Err(Broken::Writing),
            Ok(moved) => {
                self.is_blocked = false;
                self.moved += moved as u64;
                self.queued -= moved;
                if self.queued == 0 {
                    self.flow = Flow::Fill;
                }
                Ok(Step::Go)
            }
            Err(error) => {
                self.is_blocked = true;
                self.wait_or_break(&error, Broken::Writing)
            }
        }
    }

    fn send(&mut self, to: &impl Stream, bytes: &[u8]) -> Result<usize, Broken> {
        let sent = match to.send(bytes) {
            Ok(sent) => sent,
            Err(error) => match self.wait_or_break(&error, Broken::Writing)? {
                Step::Go => return self.send(to, bytes),
                _ => 0,
            },
        };
        self.is_blocked = sent < bytes.len();
        self.moved += sent as u64;
        Ok(sent)
    }

    fn count_fill(&mut self, bytes: usize) {
        self.full_buffers = if bytes == BUFFER {
            self.full_buffers.saturating_add(1)
        } else {
            0
        };
    }

    /// A short read has taken everything, and later bytes raise an event of their own; unless the end of input
    /// was there already, or urgent data, at which a read stops.
    fn after_fill(&self, bytes: usize) -> Step {
        if bytes < BUFFER && !self.is_ending {
            Step::Wait
        } else {
            Step::Go
        }
    }

    fn end(&mut self) -> Result<Step, Broken> {
        self.flow = Flow::ShutWrite;
        Ok(Step::Go)
    }

    fn wait_or_break(&self, error: &io::Error, broken: Broken) -> Result<Step, Broken> {
        match error.kind() {
            io::ErrorKind::WouldBlock => Ok(Step::Wait),
            io::ErrorKind::Interrupted => Ok(Step::Go),
            _ => Err(broken),
        }
    }

    fn release(&mut self, pipes: &mut Pipes<P>) {
        if let Some(pipe) = self.pipe.take() {
            if self.queued == 0 {
                pipes.give_back(pipe);
            } else {
                pipes.write_off(pipe);
            }
        }
    }

    /// Whether nothing more will come.
    pub fn is_done(&self) -> bool {
        self.flow == Flow::Done
    }

    /// Stops it, whatever it is doing.
    pub fn stop(&mut self, pipes: &mut Pipes<P>) {
        self.release(pipes);
        self.flow = Flow::Done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    /// Two connected sockets; the first does not block.
    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, theirs)
    }

    /// A socket takes a header in parts if it is full: each part follows the other, and the visitor's bytes follow
    /// the header.
    #[test]
    fn a_header_goes_first_and_whole_however_much_room_there_is() {
        let ((client, mut visitor), (service, mut server)) = (pair(), pair());
        let mut pipes = Pipes::new();
        let mut direction = Direction::new();
        let header: Vec<u8> = (0..2_000_000u32).map(|byte| (byte % 251) as u8).collect();
        direction.introduce(header.clone());
        visitor.write_all(b"hello").unwrap();
        drop(visitor);
        let (client, service) = (OwnedFd::from(client), OwnedFd::from(service));
        let mut received = vec![0; header.len()];
        let (mut taken, mut waits) = (0, 0);
        while taken < received.len() {
            let step = direction.run(&client, &service, &mut pipes, true);
            assert!(matches!(step, Ok(Step::Wait)));
            if taken + 1 < header.len() && direction.is_blocked {
                assert_eq!(direction.moved, 0);
                waits += 1;
            }
            taken += server.read(&mut received[taken..]).unwrap();
        }
        assert!(waits > 1, "it never had to wait");
        assert!(received == header);
        assert!(direction.run(&client, &service, &mut pipes, true).is_ok());
        let mut rest = String::new();
        server.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), direction.moved), ("hello", 5));
    }
}
