//! By termios(3).

use super::super::signal_set::SignalSet;
use core::time::Duration;
use libc::c_int;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use zeroize::Zeroizing;

const PATH: &str = "/dev/tty";

/// Signals that end or stop the process while it asks: those that a terminal sends, and kill(1)'s.
const SIGNALS: [c_int; 5] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGTSTP,
];

/// The time between two looks at the keyboard and at the signals. macOS can't poll(2) a terminal, and a
/// blocking read would not return for a blocked signal.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// The keyboard and the screen.
pub fn open() -> io::Result<(File, File)> {
    let mut options = OpenOptions::new();
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let keyboard = options.read(true).custom_flags(flags).open(PATH)?;
    let screen = OpenOptions::new().write(true).open(PATH)?;
    Ok((keyboard, screen))
}

pub fn ask(keyboard: &File, screen: &File, question: &str) -> io::Result<Vec<u8>> {
    loop {
        if let Some(line) = ask_once(keyboard, screen, question)? {
            return Ok(line);
        }
        // A signal came, and was delivered when `ask_once` unblocked it. It has not ended the process: it has
        // stopped it, and the process was continued. The question has to be asked again.
    }
}

/// None if a signal has come.
fn ask_once(keyboard: &File, mut screen: &File, question: &str) -> io::Result<Option<Vec<u8>>> {
    // Dropped in the reverse order: the echo is on again before a signal is delivered.
    let _blocked = BlockedSignals::block()?;
    let echo_off = EchoOff::begin(keyboard)?;
    screen.write_all(question.as_bytes())?;
    let line = read_line(keyboard);
    drop(echo_off);
    // The line end that was typed was not shown either.
    screen.write_all(b"\n")?;
    line
}

fn read_line(mut keyboard: &File) -> io::Result<Option<Vec<u8>>> {
    // A terminal's line has at most so many bytes (termios(3)), so it does not grow, which would leave bytes behind.
    let mut line = Vec::with_capacity(4_096);
    let mut buffer = Zeroizing::new([0; 256]);
    loop {
        match keyboard.read(&mut *buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => line.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if SignalSet::is_any_pending(&SIGNALS) {
                    return Ok(None);
                }
                thread::sleep(READ_PAUSE);
            }
            Err(error) => return Err(error),
        }
        if line.pop_if(|byte| *byte == b'\n').is_some() {
            return Ok(Some(line));
        }
    }
}

/// Switches the echo off until it is dropped.
struct EchoOff<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> EchoOff<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
        silent.local_modes |= LocalModes::ICANON | LocalModes::ISIG;
        // Input from before the question was shown, and is not the answer: it is discarded.
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for EchoOff<'_> {
    fn drop(&mut self) {
        // It fails only if the terminal has gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Blocks [`SIGNALS`] until it is dropped, which brings this mask back.
struct BlockedSignals(SignalSet);

impl BlockedSignals {
    fn block() -> io::Result<Self> {
        SignalSet::of(&SIGNALS).block().map(Self)
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // A mask that was in force before can't be refused.
        let _ = self.0.set_mask();
    }
}
