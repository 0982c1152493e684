//! The pipes for bulk, and the buffer for everything else.
//!
//! A pipe costs two descriptors and up to 64 KiB of kernel memory, and is only needed while bytes are in
//! transit. So there are few, and they are borrowed and returned. A pipe whose bytes a slow peer does not read
//! can't be returned; so while pipes are scarce, one source gets only a few.

use crate::limits::{BUFFER, PIPES};
use crate::sys::pipe;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A pipe for bytes that can't be sent yet, or that need not pass through our memory.
pub trait Tube: Sized {
    /// A pipe that takes a whole [`BUFFER`] when it is empty.
    fn new() -> io::Result<Self>;

    /// Writes to it.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// A pipe that takes at least a whole [`BUFFER`] when it is empty.
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Tube for Pipe {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe::pipe()?;
        if rustix::pipe::fcntl_getpipe_size(&write)? < BUFFER {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { read, write })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.entry(), bytes)?)
    }
}

impl Pipe {
    /// The end to read from.
    pub fn exit(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// The end to write to.
    pub fn entry(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }
}

/// What all sessions share to move their bytes.
pub struct Pipes<P = Pipe> {
    /// Holds nothing between two calls.
    pub buffer: Box<[u8; BUFFER]>,
    free: Vec<P>,
    lent: usize,
    /// Why splice(2) does not work here, if so. Then no pipe is lent, and all bytes are copied.
    pub can_splice: io::Result<()>,
}

impl<P: Tube> Pipes<P> {
    /// Without a pipe; the first is made when it is needed.
    pub fn new() -> Self {
        Self {
            buffer: Box::new([0; BUFFER]),
            free: Vec::with_capacity(PIPES),
            lent: 0,
            can_splice: pipe::can_splice(),
        }
    }

    /// Whether at least half of all pipes are lent.
    pub fn are_scarce(&self) -> bool {
        self.lent * 2 >= PIPES
    }

    /// Whether [`Pipes::take`] will return a pipe. Makes one if needed.
    pub fn can_lend(&mut self) -> bool {
        if self.free.is_empty()
            && self.lent < PIPES
            && self.can_splice.is_ok()
            && let Ok(pipe) = P::new()
        {
            self.free.push(pipe);
        }
        !self.free.is_empty()
    }

    /// Lends an empty pipe.
    pub fn take(&mut self) -> Option<P> {
        let pipe = if self.can_lend() {
            self.free.pop()
        } else {
            None
        };
        self.lent += usize::from(pipe.is_some());
        pipe
    }

    /// Takes back an empty pipe.
    pub fn give_back(&mut self, pipe: P) {
        self.lent -= 1;
        self.free.push(pipe);
    }

    /// Closes the pipes that are not lent. True if there were any.
    pub fn shed(&mut self) -> bool {
        let has_free = !self.free.is_empty();
        self.free.clear();
        has_free
    }

    /// Closes a lent pipe that still holds bytes.
    pub fn write_off(&mut self, pipe: P) {
        self.lent -= 1;
        drop(pipe);
    }
}
