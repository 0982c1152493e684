//! A stream that blocks, even where whoever shares it with us has said that it must not (fcntl(2),
//! O_NONBLOCK belongs to the open file). Nothing to read yet would be taken for the end.

use std::io::{self, Read, Write};

/// The stream, and patience.
pub struct Patient<T>(pub T);

#[cfg(unix)]
mod platform {
    use super::super::check;
    use super::{Patient, Read, Write, io};
    use std::io::ErrorKind;
    use std::os::fd::{AsFd, AsRawFd};

    impl<T: Read + AsFd> Read for Patient<T> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            loop {
                match self.0.read(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    done => return done,
                }
                wait(&self.0, libc::POLLIN)?;
            }
        }
    }

    impl<T: Write + AsFd> Write for Patient<T> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            loop {
                match self.0.write(bytes) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    done => return done,
                }
                wait(&self.0, libc::POLLOUT)?;
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    fn wait(stream: &impl AsFd, events: i16) -> io::Result<()> {
        let mut ready = libc::pollfd {
            fd: stream.as_fd().as_raw_fd(),
            events,
            revents: 0,
        };
        // SAFETY: one pollfd is passed and said to be there, and it lives on this stack.
        check(unsafe { libc::poll(&raw mut ready, 1, -1) }).map(drop)
    }
}

#[cfg(not(unix))]
mod platform {
    use super::{Patient, Read, Write, io};

    impl<T: Read> Read for Patient<T> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl<T: Write> Write for Patient<T> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
}
