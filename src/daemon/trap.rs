//! Reads from one visitor in a trap: first what may be a token; everything else is discarded.
//!
//! All visitors are treated alike, except for one with a good token: at gate = token everybody begins here, at
//! the real port as at any other.

use crate::limits::TRAP_DISCARD;
use crate::proto::scheme::token::TOKEN;
use crate::sys::socket;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

#[derive(Clone, Copy, PartialEq, Eq)]
enum TrapStage {
    Listening,
    /// Bytes after a token belong to the service, so nothing is read before the verdict.
    Said,
    Muted,
}

/// A visitor who is held.
pub struct Trap {
    visitor: OwnedFd,
    stage: TrapStage,
    said: heapless::Vec<u8, TOKEN>,
    discarded: usize,
    /// It was reset. Before the verdict it is still held, like one that was not.
    is_gone: bool,
}

/// What reading has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Nothing that matters.
    Nothing,
    /// A complete token; or None, because the input ended before.
    Said(Option<[u8; TOKEN]>),
    /// The connection was reset.
    Gone,
}

impl Trap {
    /// Holds a visitor. With `listens` they may send a token.
    pub fn new(visitor: OwnedFd, listens: bool) -> Self {
        Self {
            visitor,
            stage: if listens {
                TrapStage::Listening
            } else {
                TrapStage::Muted
            },
            said: heapless::Vec::new(),
            discarded: 0,
            is_gone: false,
        }
    }

    /// Reads what has arrived.
    pub fn receive(&mut self) -> Received {
        match self.stage {
            TrapStage::Listening => self.listen(),
            TrapStage::Said => Received::Nothing,
            TrapStage::Muted => self.throw_away(),
        }
    }

    /// Discards what the visitor has sent and will send.
    pub fn mute(&mut self) -> Received {
        self.stage = TrapStage::Muted;
        self.throw_away()
    }

    /// The connection. Nothing after a token was read from it.
    pub fn into_visitor(self) -> OwnedFd {
        self.visitor
    }

    fn listen(&mut self) -> Received {
        loop {
            match receive(&self.visitor, &mut self.said) {
                Ok(1..) if !self.said.is_full() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Received::Nothing;
                }
                received => {
                    self.is_gone = received.is_err();
                    self.stage = TrapStage::Said;
                    return Received::Said(self.said.as_slice().first_chunk().copied());
                }
            }
        }
    }

    /// Discards what has arrived, up to a bound; then the sender's window closes. A visitor who has only sent
    /// their last bytes is held like the others.
    fn throw_away(&mut self) -> Received {
        loop {
            let left = TRAP_DISCARD - self.discarded;
            let thrown = match left {
                _ if self.is_gone => return Received::Gone,
                0 => return Received::Nothing,
                _ => socket::discard(self.visitor.as_fd(), left),
            };
            match thrown {
                Ok(0) => return Received::Nothing,
                Ok(thrown) => self.discarded += thrown.min(left),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Received::Nothing;
                }
                Err(_) => self.is_gone = true,
            }
        }
    }
}

/// Receives the missing bytes of a token, and no more.
fn receive(visitor: &OwnedFd, said: &mut heapless::Vec<u8, TOKEN>) -> io::Result<usize> {
    let mut buffer = [0; TOKEN];
    let missing = TOKEN - said.len();
    let received = socket::receive(visitor.as_fd(), &mut buffer[..missing])?;
    // There is room for the missing bytes.
    let _ = said.extend_from_slice(&buffer[..received]);
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    /// A visitor's end of a connection, and the trap that holds the other end.
    fn hold(listens: bool) -> (TcpStream, Trap) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (theirs, Trap::new(ours.into(), listens))
    }

    /// Waits until this many bytes have arrived; 0 waits for the end of input.
    fn wait_for_bytes(trap: &Trap, bytes: usize) {
        let arrived = || socket::peek(trap.visitor.as_fd(), &mut [0; 2_048]);
        while !arrived().is_ok_and(|arrived| arrived == bytes) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn exactly_a_token_is_read_and_the_rest_stays_until_the_verdict() {
        let (mut visitor, mut trap) = hold(true);
        visitor.write_all(&[7; TOKEN - 1]).unwrap();
        wait_for_bytes(&trap, TOKEN - 1);
        assert_eq!(trap.receive(), Received::Nothing);
        visitor.write_all(&[8; 1_000]).unwrap();
        wait_for_bytes(&trap, 1_000);
        let Received::Said(Some(token)) = trap.receive() else {
            panic!("it has said a whole token");
        };
        assert_eq!(token[TOKEN - 2..], [7, 8]);
        assert_eq!(trap.receive(), Received::Nothing);
        let mut rest = TcpStream::from(trap.into_visitor());
        let mut behind = [0; 999];
        rest.read_exact(&mut behind).unwrap();
        assert_eq!(behind, [8; 999]);
    }

    #[test]
    fn the_end_of_the_input_says_no_token() {
        let (gone, mut trap) = hold(true);
        drop(gone);
        wait_for_bytes(&trap, 0);
        assert_eq!(trap.receive(), Received::Said(None));
        // It is still held.
        assert_eq!(trap.mute(), Received::Nothing);
    }

    #[test]
    fn what_is_said_after_the_verdict_is_thrown_away_up_to_a_bound() {
        let (mut visitor, mut trap) = hold(true);
        assert_eq!(trap.mute(), Received::Nothing);
        visitor.write_all(&[7; 1_000]).unwrap();
        wait_for_bytes(&trap, 1_000);
        assert_eq!(trap.receive(), Received::Nothing);
        assert!(socket::peek(trap.visitor.as_fd(), &mut [0]).is_err());
        trap.discarded = TRAP_DISCARD;
        visitor.write_all(&[7; 1_000]).unwrap();
        wait_for_bytes(&trap, 1_000);
        assert_eq!(trap.receive(), Received::Nothing);
        wait_for_bytes(&trap, 1_000);
    }

    #[test]
    fn one_that_was_reset_is_judged_first_and_then_gone() {
        let (gone, mut trap) = hold(true);
        socket::reset_on_close(gone.as_fd());
        drop(gone);
        loop {
            match trap.receive() {
                Received::Nothing => std::thread::yield_now(),
                received => break assert_eq!(received, Received::Said(None)),
            }
        }
        assert_eq!(trap.receive(), Received::Nothing);
        assert_eq!(trap.mute(), Received::Gone);
    }
}
