//! The calls that move a session's bytes. The kernel answers them, or in a test a network in memory.

use super::pipes::{Pipe, Tube};
use crate::sys::{pipe, socket};
use socket2::SockRef;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};

/// One end of a session.
pub trait Stream {
    type Tube: Tube;

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn discard(&self, bytes: usize) -> io::Result<usize>;
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Moves up to this many bytes into a pipe.
    fn splice_to(&self, pipe: &Self::Tube, bytes: usize) -> io::Result<usize>;
    /// Moves up to this many bytes out of a pipe.
    fn splice_from(&self, pipe: &Self::Tube, bytes: usize) -> io::Result<usize>;
    /// Passes the end of input on. Whoever has gone need not know.
    fn shut(&self);
    /// Whether a dial was accepted.
    fn connected(&self) -> io::Result<bool>;
    /// Whether an error is pending, such as a reset (socket(7), SO_ERROR). Asking clears it.
    fn has_error(&self) -> bool;
    /// Bytes that the peer has not acknowledged yet.
    fn unsent(&self) -> usize;
    fn reset_on_close(&self);
}

impl Stream for OwnedFd {
    type Tube = Pipe;

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        socket::receive(self.as_fd(), buffer)
    }

    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        socket::peek(self.as_fd(), buffer)
    }

    fn discard(&self, bytes: usize) -> io::Result<usize> {
        socket::discard(self.as_fd(), bytes)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        socket::send(self.as_fd(), bytes)
    }

    fn splice_to(&self, pipe: &Self::Tube, bytes: usize) -> io::Result<usize> {
        pipe::splice(self.as_fd(), pipe.entry(), bytes)
    }

    fn splice_from(&self, pipe: &Self::Tube, bytes: usize) -> io::Result<usize> {
        pipe::splice(pipe.exit(), self.as_fd(), bytes)
    }

    fn shut(&self) {
        let _ = SockRef::from(self).shutdown(Shutdown::Write);
    }

    fn connected(&self) -> io::Result<bool> {
        socket::connected(self.as_fd())
    }

    fn has_error(&self) -> bool {
        !matches!(SockRef::from(self).take_error(), Ok(None))
    }

    fn unsent(&self) -> usize {
        socket::unsent(self.as_fd())
    }

    fn reset_on_close(&self) {
        socket::reset_on_close(self.as_fd());
    }
}
