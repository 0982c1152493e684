//! A network in memory, with the manners of the kernel's: events tell of changes alone, reads and splices are short,
//! a pipe is full by slots before it is by bytes, and a reset comes behind what was sent before.

use crate::daemon::relay::pipes::Tube;
use crate::daemon::relay::stream::Stream;
use core::cell::RefCell;
use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};

/// Bytes of an empty pipe.
const PIPE: usize = 65_536;

/// What the network can do wrong. The simulator has to find each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A short splice says that all has moved.
    ShortSplice,
    /// Nobody is told that there is room again.
    WakeLost,
    /// A pipe that is closed keeps its descriptors.
    PipeKept,
}

/// One socket of a session, and who is at its other end.
#[derive(Default)]
pub struct Line {
    /// What has arrived and was not read.
    pub inbox: VecDeque<u8>,
    /// The peer sends nothing behind that.
    pub has_ended: bool,
    /// The peer has reset the connection.
    pub is_reset: bool,
    has_error: bool,
    /// What was sent and has not arrived there.
    pub outbox: VecDeque<u8>,
    /// The most that it holds.
    room: usize,
    wants_room: bool,
    pub is_shut: bool,
    /// Something has changed since the last event.
    pub is_ready: bool,
    pub is_accepted: bool,
    pub is_closed: bool,
}

pub struct Net {
    pub random: TestRng,
    pub lines: Vec<Line>,
    /// Pipes that are open.
    pub pipes: usize,
    /// There is no descriptor for another.
    pub is_short: bool,
    pub flaw: Option<Flaw>,
}

thread_local! {
    static NET: RefCell<Option<Net>> = const { RefCell::new(None) };
}

/// Begins anew.
pub fn begin(seed: u32, flaw: Option<Flaw>) {
    let mut bytes = [1; 16];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let net = Net {
        random: TestRng::from_seed(RngAlgorithm::XorShift, &bytes),
        lines: Vec::new(),
        pipes: 0,
        is_short: false,
        flaw,
    };
    NET.set(Some(net));
}

/// Does something with the network.
pub fn net<T>(act: impl FnOnce(&mut Net) -> T) -> T {
    NET.with_borrow_mut(|net| act(net.as_mut().expect("it was begun")))
}

impl Net {
    pub fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// As many as this, but at times fewer.
    fn short(&mut self, most: usize) -> usize {
        match self.below(8) {
            0 if most > 1 => 1 + self.below(most - 1),
            _ => most,
        }
    }

    /// Calls are interrupted at times.
    fn interrupt(&mut self) -> io::Result<()> {
        match self.below(50) {
            0 => Err(ErrorKind::Interrupted.into()),
            _ => Ok(()),
        }
    }

    /// What can be read now; 0 at the end.
    fn available(&mut self, line: usize, most: usize) -> io::Result<usize> {
        let line = &mut self.lines[line];
        let count = line.inbox.len().min(most);
        match count {
            0 if line.is_reset => {
                line.has_error = false;
                Err(ErrorKind::ConnectionReset.into())
            }
            0 if line.has_ended => Ok(0),
            0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    /// The same of a read that may be short. Then the rest is told by an event, as if it had arrived later.
    fn readable(&mut self, line: usize, most: usize) -> io::Result<usize> {
        let available = self.available(line, most)?;
        let count = self.short(available);
        self.lines[line].is_ready |= count < available;
        Ok(count)
    }

    /// How many of these bytes can be sent now.
    fn sendable(&mut self, line: usize, most: usize) -> io::Result<usize> {
        let line = &mut self.lines[line];
        if line.is_reset || line.is_shut {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let free = line.room - line.outbox.len();
        line.wants_room = free < most;
        if free == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(free.min(most))
    }

    /// The peer has received so many bytes, and there is room.
    pub fn take(&mut self, line: usize, count: usize) -> Vec<u8> {
        let flaw = self.flaw;
        let line = &mut self.lines[line];
        let count = count.min(line.outbox.len());
        let taken = line.outbox.drain(..count).collect();
        if core::mem::take(&mut line.wants_room) && flaw != Some(Flaw::WakeLost) {
            line.is_ready = true;
        }
        taken
    }

    /// The peer has reset the connection.
    pub fn reset(&mut self, line: usize) {
        let line = &mut self.lines[line];
        (line.is_reset, line.has_error, line.is_ready) = (true, true, true);
        line.outbox.clear();
    }
}

/// A socket of a session.
pub struct Socket(pub usize);

impl Socket {
    pub fn new(is_accepted: bool) -> Self {
        net(|net| {
            let room = [1_000, 40_000, 300_000][net.below(3)];
            net.lines.push(Line {
                room,
                is_accepted,
                ..Line::default()
            });
            Self(net.lines.len() - 1)
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        net(|net| net.lines[self.0].is_closed = true);
    }
}

impl Stream for Socket {
    type Tube = Pipe;

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        net(|net| {
            net.interrupt()?;
            let count = net.readable(self.0, buffer.len())?;
            let inbox = &mut net.lines[self.0].inbox;
            for (to, from) in buffer.iter_mut().zip(inbox.drain(..count)) {
                *to = from;
            }
            Ok(count)
        })
    }

    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        net(|net| {
            net.interrupt()?;
            let count = net.readable(self.0, buffer.len())?;
            let inbox = &net.lines[self.0].inbox;
            for (to, from) in buffer.iter_mut().zip(inbox.range(..count)) {
                *to = *from;
            }
            Ok(count)
        })
    }

    fn discard(&self, bytes: usize) -> io::Result<usize> {
        net(|net| {
            let available = net.available(self.0, bytes)?;
            let count = net.short(available);
            net.lines[self.0].inbox.drain(..count);
            Ok(count)
        })
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        net(|net| {
            net.interrupt()?;
            let room = net.sendable(self.0, bytes.len())?;
            let count = net.short(room);
            let line = &mut net.lines[self.0];
            line.outbox.extend(&bytes[..count]);
            line.wants_room |= count < bytes.len();
            Ok(count)
        })
    }

    fn splice_to(&self, pipe: &Pipe, bytes: usize) -> io::Result<usize> {
        net(|net| {
            net.interrupt()?;
            let mut held = pipe.held.borrow_mut();
            // Full by slots: nothing will tell that the socket has more.
            if !held.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            let available = net.available(self.0, bytes.min(PIPE))?;
            let count = net.short(available);
            held.extend(net.lines[self.0].inbox.drain(..count));
            Ok(count)
        })
    }

    fn splice_from(&self, pipe: &Pipe, bytes: usize) -> io::Result<usize> {
        net(|net| {
            net.interrupt()?;
            let mut held = pipe.held.borrow_mut();
            assert!(bytes <= held.len(), "the pipe has less");
            let room = net.sendable(self.0, bytes)?;
            let count = net.short(room);
            net.lines[self.0].outbox.extend(held.drain(..count));
            if net.flaw == Some(Flaw::ShortSplice) && count < room {
                held.drain(..room - count);
                return Ok(room);
            }
            Ok(count)
        })
    }

    fn shut(&self) {
        net(|net| net.lines[self.0].is_shut = true);
    }

    fn connected(&self) -> io::Result<bool> {
        net(|net| {
            let line = &net.lines[self.0];
            match line.is_reset {
                true => Err(ErrorKind::ConnectionRefused.into()),
                false => Ok(line.is_accepted),
            }
        })
    }

    fn has_error(&self) -> bool {
        net(|net| core::mem::take(&mut net.lines[self.0].has_error))
    }

    fn unsent(&self) -> usize {
        net(|net| net.lines[self.0].outbox.len())
    }

    fn reset_on_close(&self) {
        net(|net| net.lines[self.0].outbox.clear());
    }
}

/// A pipe.
#[derive(Default)]
pub struct Pipe {
    held: RefCell<VecDeque<u8>>,
}

impl Tube for Pipe {
    fn new() -> io::Result<Self> {
        net(|net| {
            if net.is_short {
                return Err(io::Error::from_raw_os_error(libc::EMFILE));
            }
            net.pipes += 1;
            Ok(Self::default())
        })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.held.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        net(|net| net.pipes -= usize::from(net.flaw != Some(Flaw::PipeKept)));
    }
}
