//! Children of the test's own process. It reaps all of them, whichever test started them, so one test at a time
//! has children.

use super::{children, stat, wait_for};
use shimmer::sys::child::{self, Exit, Pid, Streams};
use shimmer::sys::pipe;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};

/// One test, and the state of this process before it.
pub struct Alone {
    _turn: MutexGuard<'static, ()>,
    descriptors: usize,
}

impl Alone {
    pub fn begin() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Self {
            _turn: turn,
            descriptors: descriptors(),
        }
    }

    /// Asserts that everything is as before: no child, no zombie, no descriptor. Dropping it lets the next test
    /// run.
    #[track_caller]
    pub fn end(&self) {
        assert_eq!(children(), [0u32; 0]);
        assert_eq!(descriptors(), self.descriptors);
    }
}

pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat[0] != "Z")
}

/// Ends a process that a test has left running on purpose.
pub fn kill(pid: u32) {
    assert!(run(&["kill", "-9", &pid.to_string()]).1.is_empty());
    wait_for("a process to be gone", || (!is_alive(pid)).then_some(()));
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

pub fn reaped() -> (Pid, Exit) {
    wait_for("a child to end", child::reap)
}

/// Runs a program to its end. Returns its exit and all of its output.
pub fn run(program: &[&str]) -> (Exit, String) {
    let (read, write) = pipe::pipe().unwrap();
    let streams = Streams::Output(write.as_fd());
    let pid = child::spawn(&words(program), streams).unwrap();
    drop(write);
    let said = all_of(read);
    let (ended, exit) = reaped();
    assert!(ended == pid);
    (exit, said)
}

pub fn all_of(pipe: OwnedFd) -> String {
    let (mut pipe, mut text) = (File::from(pipe), Vec::new());
    let mut read = || match pipe.read_to_end(&mut text) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        done => Some(done.unwrap()),
    };
    wait_for("the end of what a child says", &mut read);
    String::from_utf8(text).unwrap()
}
