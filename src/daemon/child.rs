//! A child process as the loop sees it: the line of its output that matters, and its deadline.
//!
//! It ends when the process that was started ends, and is killed at its deadline with its whole process
//! group. Its output does not tell: a process that closes it may live on, and one left running may keep it.

use crate::limits::{HOOK_LINE, HOOK_PAUSE_MS, HOOK_READ};
use crate::proto::input::JobFailure;
use crate::proto::{Instant, sooner};
use crate::sys::child::{self, Exit, Pid, Streams};
use crate::sys::pipe;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};

/// A child that runs, or that has left something running.
pub struct Child {
    /// None once it has been reaped: then the kernel may reuse the number.
    pid: Option<Pid>,
    /// When to kill it; None once that is done.
    until: Option<Instant>,
    /// None once every process has closed its end.
    output: Option<File>,
    line: LastLine,
    /// When to read on after a pause; None without one.
    again: Option<Instant>,
}

/// The last line of the output: it usually says why a child failed.
#[derive(Default)]
struct LastLine {
    bytes: heapless::Vec<u8, HOOK_LINE>,
    /// Whether the next byte starts a new line.
    is_whole: bool,
}

/// How a child ended.
pub enum Outcome {
    /// With exit code 0.
    Done,
    /// With another code or a signal, and its last line.
    Failed(Exit, String),
    /// Killed at its deadline, with its last line.
    TimedOut(String),
    /// It could not be started: why.
    NotStarted(io::Error),
}

impl Outcome {
    /// How it failed; None if it succeeded.
    #[must_use]
    pub fn failure(&self) -> Option<JobFailure> {
        let was_killed = match self {
            Self::Done => return None,
            Self::Failed(exit, _) => matches!(exit, Exit::Signal(_)),
            Self::TimedOut(_) => true,
            Self::NotStarted(_) => false,
        };
        let why = self.to_string();
        Some(JobFailure { why, was_killed })
    }
}

/// As in a line of the log: `exit=1: permission denied`.
impl core::fmt::Display for Outcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let line = match self {
            Self::Done => return f.write_str("done"),
            Self::NotStarted(error) => return write!(f, "not started: {error}"),
            Self::Failed(exit, line) => {
                write!(f, "{exit}")?;
                line
            }
            Self::TimedOut(line) => {
                f.write_str("killed, its time was over")?;
                line
            }
        };
        if line.is_empty() {
            return Ok(());
        }
        write!(f, ": {line}")
    }
}

impl Child {
    /// Starts a child that wakes the loop when it has written something. It is killed after `ms` milliseconds.
    ///
    /// # Errors
    /// It can't be started, or no descriptors are left for it.
    pub fn start(
        words: &[String],
        (registry, token): (&Registry, Token),
        now: Instant,
        ms: u64,
    ) -> io::Result<Self> {
        let (read, write) = pipe::pipe()?;
        let descriptor = read.as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        let streams = Streams::Output(write.as_fd());
        Ok(Self {
            pid: Some(child::spawn(words, streams)?),
            until: Some(now.after(ms)),
            output: Some(File::from(read)),
            line: LastLine::default(),
            again: None,
        })
    }

    /// Whether this child has that pid and has not been reaped.
    pub fn is(&self, pid: Pid) -> bool {
        self.pid == Some(pid)
    }

    /// Whether it has not been reaped.
    pub fn is_running(&self) -> bool {
        self.pid.is_some()
    }

    /// Whether a process still has its output open.
    pub fn is_heard(&self) -> bool {
        self.output.is_some()
    }

    /// Reads its output, unless it has written so much that it has to pause.
    pub fn read_output(&mut self, now: Instant) {
        if self.again.is_none() {
            self.read(now);
        }
    }

    /// Reads up to [`HOOK_READ`] bytes.
    fn read(&mut self, now: Instant) {
        let mut buffer = [0; 4_096];
        let mut left = HOOK_READ;
        self.again = None;
        while let Some(mut output) = self.output.as_ref() {
            if left == 0 {
                self.again = Some(now.after(HOOK_PAUSE_MS));
                return;
            }
            let room = left.min(buffer.len());
            match output.read(&mut buffer[..room]) {
                Ok(0) => self.output = None,
                Ok(count) => {
                    left -= count;
                    self.line.follow(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing more for now.
                Err(_) => return,
            }
        }
    }

    /// Reads on or kills it, if it is time. A killed child is reaped later, like any other.
    pub fn expire(&mut self, now: Instant) {
        if self.again.is_some_and(|again| again <= now) {
            self.read(now);
        }
        if self.until.is_some_and(|until| until <= now)
            && let Some(pid) = self.pid
        {
            self.until = None;
            child::kill_group(pid);
        }
    }

    /// Kills it by then, if not before.
    pub fn hurry(&mut self, until: Instant) {
        self.until = self.until.map(|own| own.min(until));
    }

    /// When to call [`Child::expire`].
    pub fn next_deadline(&self) -> Option<Instant> {
        sooner(self.until, self.again)
    }

    /// Handles its end, once it has been reaped.
    pub fn end(&mut self, exit: Exit, now: Instant) -> Outcome {
        // The last output is still in the pipe.
        self.read(now);
        self.pid = None;
        match (exit, self.until.take()) {
            (Exit::Code(0), _) => Outcome::Done,
            (Exit::Signal(_), None) => Outcome::TimedOut(self.line.text()),
            _ => Outcome::Failed(exit, self.line.text()),
        }
    }
}

impl LastLine {
    fn follow(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // Programs that show their progress return to the start of the line.
            if matches!(byte, b'\n' | b'\r') {
                self.is_whole = true;
            } else if !self.is_whole {
                // A longer line is cut.
                let _ = self.bytes.push(byte);
            } else if !matches!(byte, b' ' | b'\t') {
                // A blank line says nothing, so the one before it stays.
                self.is_whole = false;
                self.bytes.clear();
                let _ = self.bytes.push(byte);
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for chunk in self.bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                text.push('?');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(said: &[&[u8]]) -> String {
        let mut line = LastLine::default();
        said.iter().for_each(|bytes| line.follow(bytes));
        line.text()
    }

    #[test]
    fn the_last_line_is_kept_however_it_comes() {
        for (said, expected) in [
            (&[b"" as &[u8]] as &[&[u8]], ""),
            (&[b"one"], "one"),
            (&[b"one\ntwo\n"], "two"),
            (&[b"one\ntwo"], "two"),
            (&[b"on", b"e\nt", b"wo\n"], "two"),
            (&[b"one\r\ntwo\r\n"], "two"),
            (&[b"10%\r20%\rdone"], "done"),
            (&[b"one\n\n \t\n\n"], "one"),
            (&[b"\n\none"], "one"),
            (&[b"one\n  two "], "two "),
            (&[b"a\xffb\xc3"], "a?b?"),
            (&["é\n€".as_bytes()], "€"),
        ] {
            assert_eq!(line(said), expected);
        }
    }

    #[test]
    fn a_long_line_is_cut() {
        let long = [b'x'; 3 * HOOK_LINE];
        let cut = "x".repeat(HOOK_LINE);
        assert_eq!(line(&[&long]), cut);
        assert_eq!(line(&[&long, b"\nshort"]), "short");
    }

    #[test]
    fn an_outcome_reads_as_the_end_of_a_line() {
        let line = || "no such table".to_owned();
        for (outcome, expected) in [
            (Outcome::Done, "done"),
            (
                Outcome::Failed(Exit::Code(1), line()),
                "exit=1: no such table",
            ),
            (
                Outcome::Failed(Exit::Signal(11), String::new()),
                "signal=11",
            ),
            (
                Outcome::TimedOut(line()),
                "killed, its time was over: no such table",
            ),
        ] {
            assert_eq!(outcome.to_string(), expected);
        }
    }
}
