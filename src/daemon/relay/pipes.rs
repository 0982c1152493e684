//! The pipes that bulk goes through, and the buffer for everything else.
//!
//! A pipe costs two descriptors and up to 64 KiB of the kernel's memory, and is needed only while
//! bytes are under way. So there are few, borrowed and given back. One that has bytes in it for a
//! peer who does not read stays away; while pipes are scarce, one source gets only a few.

use crate::limits::{BUFFER, PIPES};
use crate::sys::pipe;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A pipe that takes at least a whole [`BUFFER`] when it is empty.
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe::pipe()?;
        if rustix::pipe::fcntl_getpipe_size(&write)? < BUFFER {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { read, write })
    }

    /// Where bytes come out.
    pub fn exit(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Where bytes go in.
    pub fn entry(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }
}

/// What all sessions share to move their bytes.
pub struct Pipes {
    /// Holds nothing from one call to the next.
    pub buffer: Box<[u8; BUFFER]>,
    free: Vec<Pipe>,
    lent: usize,
    /// Where there is no splice(2), why. Then no pipe is lent, and all bytes are copied.
    pub can_splice: io::Result<()>,
}

impl Pipes {
    /// No pipe yet; the first is made when one is wanted.
    pub fn new() -> Self {
        Self {
            buffer: Box::new([0; BUFFER]),
            free: Vec::with_capacity(PIPES),
            lent: 0,
            can_splice: pipe::can_splice(),
        }
    }

    /// Whether half of all are lent.
    pub fn are_scarce(&self) -> bool {
        self.lent * 2 >= PIPES
    }

    /// Whether [`Pipes::take`] will answer with a pipe. Makes one if it must.
    pub fn can_lend(&mut self) -> bool {
        if self.free.is_empty()
            && self.lent < PIPES
            && self.can_splice.is_ok()
            && let Ok(pipe) = Pipe::new()
        {
            self.free.push(pipe);
        }
        !self.free.is_empty()
    }

    /// Lends a pipe, an empty one.
    pub fn take(&mut self) -> Option<Pipe> {
        let pipe = if self.can_lend() {
            self.free.pop()
        } else {
            None
        };
        self.lent += usize::from(pipe.is_some());
        pipe
    }

    /// Takes a pipe back, an empty one.
    pub fn give_back(&mut self, pipe: Pipe) {
        self.lent -= 1;
        self.free.push(pipe);
    }

    /// Closes the pipes that nobody has. Whether there were any.
    pub fn shed(&mut self) -> bool {
        let has_free = !self.free.is_empty();
        self.free.clear();
        has_free
    }

    /// Does away with a pipe that still has bytes in it.
    pub fn write_off(&mut self, pipe: Pipe) {
        self.lent -= 1;
        drop(pipe);
    }
}
