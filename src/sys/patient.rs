//! A stream that blocks even if another process that shares it has made it non-blocking (fcntl(2): O_NONBLOCK
//! belongs to the open file). Otherwise a stdin without input yet would end the session.

use std::io::{self, ErrorKind, Read, Write};
#[cfg(unix)]
use std::os::fd::AsFd as Descriptor;
#[cfg(windows)]
use std::os::windows::io::AsHandle as Descriptor;

/// The stream.
#[derive(Debug)]
pub struct Patient<T>(pub T);

impl<T: Read + Descriptor> Read for Patient<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait(&self.0, false)?,
                done => return done,
            }
        }
    }
}

impl<T: Write + Descriptor> Write for Patient<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait(&self.0, true)?,
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Waits until the stream can be read from or written to (poll(2)).
#[cfg(unix)]
fn wait(stream: &impl Descriptor, to_write: bool) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};

    let wanted = if to_write {
        PollFlags::OUT
    } else {
        PollFlags::IN
    };
    poll(&mut [PollFd::new(stream, wanted)], None)?;
    Ok(())
}

/// Waits a moment. Windows has no such streams.
#[cfg(not(unix))]
fn wait(_: &impl Descriptor, _: bool) -> io::Result<()> {
    std::thread::sleep(core::time::Duration::from_millis(10));
    Ok(())
}
