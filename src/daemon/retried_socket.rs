//! A socket at a port: opened, and tried again until the port is free.

use crate::terms::Level;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A socket that is open, or that waits for its port.
pub struct RetriedSocket {
    socket: Option<OwnedFd>,
    /// The level at which the log was told that the port is closed.
    told: Option<Level>,
}

/// What the log has to be told after a retry.
pub enum PortChange {
    /// The port is open; that it was closed had been told at this level.
    Open(Level),
    /// The port is closed, which matters so much.
    Closed(Level, io::Error),
}

impl RetriedSocket {
    /// The socket, or the failed first try. [`retry`](Self::retry) tells the log about that.
    pub fn new(opened: io::Result<OwnedFd>) -> Self {
        Self {
            socket: opened.ok(),
            told: None,
        }
    }

    /// The socket, if its port is open.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(OwnedFd::as_fd)
    }

    /// Whether the port is open.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Closes the port until the next retry.
    pub fn close(&mut self) {
        self.socket = None;
    }

    /// Opens a closed port. A failure is told once, and again when it matters more; so is its end. `level` is
    /// how much it matters that the port is closed; None: not yet.
    pub fn retry(
        &mut self,
        level: Option<Level>,
        open: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> Option<PortChange> {
        if self.is_open() {
            return None;
        }
        match open() {
            Ok(socket) => {
                self.socket = Some(socket);
                self.told.take().map(PortChange::Open)
            }
            Err(error) => {
                let level = level.filter(|level| self.told.is_none_or(|told| *level < told))?;
                self.told = Some(level);
                Some(PortChange::Closed(level, error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn refused() -> io::Result<OwnedFd> {
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn opened() -> io::Result<OwnedFd> {
        Ok(File::open("/dev/null")?.into())
    }

    #[test]
    fn a_closed_port_is_told_once_a_level_and_so_is_its_end() {
        let mut socket = RetriedSocket::new(refused());
        assert!(socket.retry(None, refused).is_none());
        for (level, is_told) in [
            (Level::Warn, true),
            (Level::Warn, false),
            (Level::Error, true),
            (Level::Warn, false),
        ] {
            let change = socket.retry(Some(level), refused);
            let told = matches!(change, Some(PortChange::Closed(told, _)) if told == level);
            assert_eq!(told, is_told, "{level:?}");
        }
        let change = socket.retry(Some(Level::Error), opened);
        assert!(matches!(change, Some(PortChange::Open(Level::Error))));
        assert!(socket.is_open());
    }

    #[test]
    fn a_port_that_was_never_missed_opens_without_a_word() {
        let mut socket = RetriedSocket::new(refused());
        assert!(socket.retry(None, opened).is_none());
        assert!(socket.socket().is_some());
        assert!(socket.retry(Some(Level::Error), refused).is_none());
        socket.close();
        assert!(socket.retry(None, opened).is_none());
    }
}
