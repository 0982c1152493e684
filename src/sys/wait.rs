//! Waiting until one of a few streams is ready, where there is no loop.

use super::check;
use core::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What is wanted of a stream.
#[derive(Clone, Copy)]
pub enum Want {
    /// To read from it.
    Read,
    /// To write to it.
    Write,
    /// Whichever comes first.
    Either,
}

impl Want {
    fn events(self) -> i16 {
        match self {
            Self::Read => libc::POLLIN,
            Self::Write => libc::POLLOUT,
            Self::Either => libc::POLLIN | libc::POLLOUT,
        }
    }
}

/// Waits for any of these streams, and says which are ready, be it to fail; none is when a signal has
/// come.
///
/// # Errors
/// What poll(2) says.
pub fn for_any<const N: usize>(
    streams: [Option<(BorrowedFd<'_>, Want)>; N],
) -> io::Result<[bool; N]> {
    let mut wanted = streams.map(|stream| libc::pollfd {
        // A negative one is passed over.
        fd: stream.map_or(-1, |(stream, _)| stream.as_raw_fd()),
        events: stream.map_or(0, |(_, want)| want.events()),
        revents: 0,
    });
    poll(&mut wanted, -1)?;
    Ok(wanted.map(|stream| stream.revents != 0))
}

/// Whether a stream is ready within so many milliseconds. They begin anew when a signal comes.
///
/// # Errors
/// What poll(2) says.
pub fn for_one(stream: BorrowedFd<'_>, want: Want, milliseconds: u64) -> io::Result<bool> {
    let mut wanted = [libc::pollfd {
        fd: stream.as_raw_fd(),
        events: want.events(),
        revents: 0,
    }];
    let milliseconds = c_int::try_from(milliseconds).unwrap_or(c_int::MAX);
    loop {
        match poll(&mut wanted, milliseconds)? {
            Polled::Ready => return Ok(true),
            Polled::TimeOut => return Ok(false),
            Polled::Signal => {}
        }
    }
}

enum Polled {
    Ready,
    TimeOut,
    Signal,
}

fn poll(wanted: &mut [libc::pollfd], milliseconds: c_int) -> io::Result<Polled> {
    let count = wanted.len() as libc::nfds_t;
    // SAFETY: so many pollfds are passed, and they live as long as the call.
    match check(unsafe { libc::poll(wanted.as_mut_ptr(), count, milliseconds) }) {
        Ok(0) => Ok(Polled::TimeOut),
        Ok(_) => Ok(Polled::Ready),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Polled::Signal),
        Err(error) => Err(error),
    }
}
