//! Children of the daemon: what they begin with, how they end, and that nothing of them stays behind
//! which should not. They are real processes. A process reaps its children whosoever they are, so one
//! test runs at a time.

mod common;

use common::*;
use mio::{Events, Poll, Token};
use shimmer::daemon::hooks::{Hooks, Id, Outcome};
use shimmer::limits::{HOOK_LINE, HOOK_MS, HOOK_PAUSE_MS, HOOKS, HOOKS_LEFT, HOOKS_QUEUED};
use shimmer::proto::Instant;
use shimmer::sys::child::{self, Exit, Pid, Streams};
use shimmer::sys::{pipe, signal};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// One test, and what this process had before it.
struct Alone {
    _turn: MutexGuard<'static, ()>,
    descriptors: usize,
}

impl Alone {
    fn begin() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Self {
            _turn: turn,
            descriptors: descriptors(),
        }
    }

    /// All is as it was: no child, no zombie, no descriptor. The next test has its turn when this one is
    /// over with all that it has.
    #[track_caller]
    fn end(&self) {
        assert_eq!(children(), [0u32; 0]);
        assert_eq!(descriptors(), self.descriptors);
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The descriptors of this process that its children have too.
fn left_open() -> Vec<u32> {
    let all = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let is_left = |about: &str| {
        let flags = about.lines().find_map(|line| line.strip_prefix("flags:\t"));
        let flags = i32::from_str_radix(flags.unwrap(), 8).unwrap();
        flags & libc::O_CLOEXEC == 0
    };
    let all =
        all.filter(|entry| fs::read_to_string(entry.path()).is_ok_and(|about| is_left(&about)));
    all.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
        .collect()
}

fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat[0] != "Z")
}

/// Ends a process that a test has left running on purpose.
fn kill(pid: u32) {
    assert!(run(&["kill", "-9", &pid.to_string()]).1.is_empty());
    wait_for("a process to be gone", || (!is_alive(pid)).then_some(()));
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn reaped() -> (Pid, Exit) {
    wait_for("a child to end", child::reap)
}

/// Runs it to its end: how it ended, and all that it has said.
fn run(program: &[&str]) -> (Exit, String) {
    let (read, write) = pipe::pipe().unwrap();
    let streams = Streams::Pipes {
        input: None,
        output: write.as_fd(),
    };
    let pid = child::spawn(&words(program), streams).unwrap();
    drop(write);
    let said = all_of(read);
    let (ended, exit) = reaped();
    assert!(ended == pid);
    (exit, said)
}

fn all_of(pipe: OwnedFd) -> String {
    let (mut pipe, mut text) = (File::from(pipe), Vec::new());
    let mut read = || match pipe.read_to_end(&mut text) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        done => Some(done.unwrap()),
    };
    wait_for("the end of what a child says", &mut read);
    String::from_utf8(text).unwrap()
}

#[test]
fn a_child_begins_with_nothing_of_ours() {
    let alone = Alone::begin();
    // Ours: these are blocked for this thread, and Rust ignores SIGPIPE.
    let signals = signal::Signals::open().unwrap();
    let ours = fs::read_to_string("/proc/thread-self/status").unwrap();
    let mask = |status: &str, name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().to_owned()
    };
    let none = "0".repeat(16);
    assert_ne!(mask(&ours, "SigBlk"), none);
    assert_ne!(mask(&ours, "SigIgn"), none);
    let (exit, status) = run(&["cat", "/proc/self/status"]);
    assert!(exit.is_success());
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(mask(&status, name), none, "{name}");
    }
    assert_eq!(mask(&status, "Umask"), mask(&ours, "Umask"));

    let (_, environment) = run(&["/usr/bin/env"]);
    assert_eq!(environment, "PATH=/usr/sbin:/usr/bin:/sbin:/bin\n");

    // Three, the folder that is listed, and what whoever started the test has left open for all.
    let (_, open) = run(&["ls", "/proc/self/fd"]);
    let open: BTreeSet<u32> = open.lines().map(|line| line.parse().unwrap()).collect();
    let mut expected = BTreeSet::from([0, 1, 2]);
    expected.extend(left_open());
    expected.extend((3..).find(|number| !expected.contains(number)));
    assert_eq!(open, expected);
    for (descriptor, what) in [(0, "/dev/null"), (1, "pipe:"), (2, "pipe:")] {
        let (_, link) = run(&["readlink", &format!("/proc/self/fd/{descriptor}")]);
        assert!(link.starts_with(what), "{descriptor}: {link}");
    }
    let (_, about) = run(&["cat", "/proc/self/fdinfo/1"]);
    assert!(about.contains("flags:\t01\n"), "it does not block: {about}");

    let (_, stat) = run(&["cat", "/proc/self/stat"]);
    let stat: Vec<&str> = stat.split(' ').collect();
    assert_eq!(stat[4], stat[0], "a group of its own");
    drop(signals);
    alone.end();
}

#[test]
fn what_it_is_given_is_its_stdin() {
    let alone = Alone::begin();
    let (input, to) = pipe::pipe().unwrap();
    let (read, write) = pipe::pipe().unwrap();
    let streams = Streams::Pipes {
        input: Some(input.as_fd()),
        output: write.as_fd(),
    };
    child::spawn(&words(&["cat"]), streams).unwrap();
    drop((input, write));
    assert_eq!(rustix::io::write(&to, b"a text").unwrap(), 6);
    drop(to);
    assert_eq!(all_of(read), "a text");
    assert!(reaped().1.is_success());
    alone.end();
}

#[test]
fn a_connection_is_its_stdin_and_its_stdout() {
    let alone = Alone::begin();
    let (mut client, server) = UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    let pid = child::spawn(&words(&["cat"]), Streams::Socket(server.as_fd())).unwrap();
    drop(server);
    client.write_all(b"one").unwrap();
    let mut back = [0; 3];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"one");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut back).unwrap(), 0);
    let (ended, exit) = reaped();
    assert!(ended == pid && exit.is_success());
    drop(client);

    let (mut client, server) = UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    let script = "echo mistake >&2; readlink /proc/self/fd/2; cat /proc/self/fdinfo/0";
    child::spawn(
        &words(&["sh", "-c", script]),
        Streams::Socket(server.as_fd()),
    )
    .unwrap();
    drop(server);
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    let (errors, about) = said.split_once('\n').unwrap();
    assert_eq!(errors, "/dev/null");
    assert!(about.contains("flags:\t02\n"), "it does not block: {about}");
    assert!(reaped().1.is_success());
    drop(client);
    alone.end();
}

#[test]
fn what_can_not_be_started_says_why() {
    let alone = Alone::begin();
    let folder = Folder::new();
    let plain = folder.file("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let no_script = folder.file("no-script");
    fs::write(&no_script, "echo it is not for a shell\n").unwrap();
    fs::set_permissions(&no_script, fs::Permissions::from_mode(0o755)).unwrap();
    let null = UnixStream::pair().unwrap().0;
    for (program, expected) in [
        (&[] as &[&str], ErrorKind::InvalidInput),
        (&["true", "a\0b"], ErrorKind::InvalidInput),
        (&[""], ErrorKind::PermissionDenied),
        (&["no-program-has-this-name"], ErrorKind::NotFound),
        (&["/no/program/has/this/name"], ErrorKind::NotFound),
        (&[plain.to_str().unwrap()], ErrorKind::PermissionDenied),
        (&["/"], ErrorKind::PermissionDenied),
    ] {
        let error = child::spawn(&words(program), Streams::Socket(null.as_fd())).err();
        assert_eq!(error.unwrap().kind(), expected, "{program:?}");
    }
    let error = child::spawn(
        &words(&[no_script.to_str().unwrap()]),
        Streams::Socket(null.as_fd()),
    );
    assert_eq!(error.err().unwrap().raw_os_error(), Some(libc::ENOEXEC));
    drop(null);
    alone.end();
}

#[test]
fn how_a_child_has_ended_is_told_once() {
    let alone = Alone::begin();
    assert!(child::reap().is_none());
    assert!(run(&["true"]).0 == Exit::Code(0));
    assert!(run(&["false"]).0 == Exit::Code(1));
    assert!(run(&["sh", "-c", "exit 255"]).0 == Exit::Code(255));
    assert!(run(&["sh", "-c", "kill -TERM $$"]).0 == Exit::Signal(15));
    assert!(child::reap().is_none());
    assert_eq!(Exit::Code(7).to_string(), "exit=7");
    assert_eq!(Exit::Signal(9).to_string(), "signal=9");
    alone.end();
}

#[test]
fn ends_are_told_also_to_who_was_started_ignoring_them() {
    let alone = Alone::begin();
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    child::keep_ended();
    assert!(run(&["false"]).0 == Exit::Code(1));
    alone.end();
}

#[test]
fn a_child_is_killed_with_all_that_it_has_started() {
    let alone = Alone::begin();
    let (read, write) = pipe::pipe().unwrap();
    let streams = Streams::Pipes {
        input: None,
        output: write.as_fd(),
    };
    let script = "trap '' TERM; (trap '' TERM; sleep 1000) & wait";
    let pid = child::spawn(&words(&["sh", "-c", script]), streams).unwrap();
    drop(write);
    child::kill_group(pid);
    // The end of what they say is the end of the last of them.
    assert_eq!(all_of(read), "");
    assert!(reaped() == (pid, Exit::Signal(9)));
    alone.end();
}

/// A loop that has commands only, and a clock that the test sets.
struct Turns {
    poll: Poll,
    events: Events,
    hooks: Hooks<usize>,
    now: Instant,
    /// How long a turn takes.
    step_ms: u64,
    outcomes: Vec<(usize, Outcome)>,
}

impl Turns {
    fn new() -> Self {
        Self {
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(64),
            hooks: Hooks::new(|id| Token(id.bits() as usize)),
            now: Instant(1_000_000),
            step_ms: 0,
            outcomes: Vec::new(),
        }
    }

    fn start(&mut self, ticket: usize, command: &[&str]) {
        let words: Rc<[String]> = words(command).into();
        assert!(self.hooks.start(words, ticket).is_ok());
    }

    fn shell(&mut self, ticket: usize, script: &str) {
        self.start(ticket, &["sh", "-c", script]);
    }

    fn turn(&mut self) {
        let a_little = Some(Duration::from_millis(2));
        self.poll.poll(&mut self.events, a_little).unwrap();
        self.now = self.now.after(self.step_ms);
        while let Some((pid, exit)) = child::reap() {
            let ended = self.hooks.ended(pid, exit, self.now);
            self.outcomes.push(ended.expect("it is a command's"));
            assert!(self.hooks.ended(pid, exit, self.now).is_none());
        }
        for event in &self.events {
            self.hooks
                .hear(Id::from_bits(event.token().0 as u32), self.now);
        }
        self.hooks.expire(self.now);
        while let Some(not_started) = self.hooks.go_on(self.poll.registry(), self.now) {
            self.outcomes.push(not_started);
        }
    }

    #[track_caller]
    fn until<T>(&mut self, what: &str, mut condition: impl FnMut(&Self) -> Option<T>) -> T {
        wait_for(what, || {
            self.turn();
            condition(self)
        })
    }

    /// The next outcome, as the log has it.
    #[track_caller]
    fn outcome(&mut self, ticket: usize) -> String {
        self.until("an outcome", |turns| {
            (!turns.outcomes.is_empty()).then_some(())
        });
        let (whose, outcome) = self.outcomes.remove(0);
        assert_eq!(whose, ticket);
        outcome.to_string()
    }

    /// The number that a script has written to a file.
    #[track_caller]
    fn written(&mut self, path: &std::path::Path) -> u32 {
        self.until("a number in a file", |_| {
            let text = fs::read_to_string(path).ok()?;
            text.strip_suffix('\n')?.parse().ok()
        })
    }
}

#[test]
fn a_command_has_its_outcome() {
    let alone = Alone::begin();
    let mut turns = Turns::new();
    // Who says much has to wait for some pauses.
    turns.step_ms = 10;
    for (ticket, script, expected) in [
        (1, "true", "done"),
        (2, "echo all is well", "done"),
        (3, "exit 3", "exit=3"),
        (4, "echo one; echo two >&2; exit 4", "exit=4: two"),
        (5, "printf 'one\\ntwo'; exit 5", "exit=5: two"),
        (6, "echo bye; kill -9 $$", "signal=9: bye"),
        (7, "printf 'a\\377\\033b'; exit 1", "exit=1: a?\u{1b}b"),
        (8, "exec >&- 2>&-; exit 8", "exit=8"),
        (
            9,
            "head -c 300000 /dev/zero | tr '\\0' '\\n'; echo end; exit 9",
            "exit=9: end",
        ),
    ] {
        turns.shell(ticket, script);
        assert_eq!(turns.outcome(ticket), expected);
    }
    turns.start(10, &["no-program-has-this-name"]);
    assert!(turns.outcome(10).starts_with("not started: "));
    assert!(turns.hooks.next_deadline().is_none());
    drop(turns);
    alone.end();
}

#[test]
fn who_hangs_is_killed_at_the_deadline_and_not_before() {
    let alone = Alone::begin();
    let folder = Folder::new();
    let (ready, other) = (folder.file("ready"), folder.file("other"));
    let (ready_file, other_file) = (ready.display(), other.display());
    let said = format!("echo $$ > {ready_file}");
    let mut turns = Turns::new();
    for (script, expected) in [
        (format!("echo busy; {said}; sleep 1000"), ": busy"),
        (format!("trap '' TERM INT HUP; {said}; sleep 1000"), ""),
        (format!("{said}; kill -STOP $$; echo on"), ""),
        (format!("exec >&- 2>&-; {said}; sleep 1000"), ""),
        (
            format!("sleep 1000 & echo $! > {other_file}; {said}; wait"),
            "",
        ),
    ] {
        let _ = fs::remove_file(&ready);
        turns.shell(1, &script);
        let pid = turns.written(&ready);
        if script.contains("STOP") {
            turns.until("it to be stopped", |_| (stat(pid)?[0] == "T").then_some(()));
        }
        let deadline = turns.hooks.next_deadline().unwrap();
        assert!(deadline == turns.now.after(HOOK_MS));
        turns.now = Instant(deadline.0 - 1);
        turns.turn();
        turns.turn();
        assert!(is_alive(pid) && turns.outcomes.is_empty(), "{script}");
        turns.now = deadline;
        let expected = format!("killed, its time was over{expected}");
        assert_eq!(turns.outcome(1), expected, "{script}");
    }
    let other = turns.written(&other);
    turns.until("its child's end", |_| (!is_alive(other)).then_some(()));
    drop(turns);
    alone.end();
}

#[test]
fn who_prints_for_ever_is_read_with_pauses_and_killed() {
    let alone = Alone::begin();
    let cut = "x".repeat(HOOK_LINE);
    for (script, last_line) in [("yes", "y"), ("yes x | tr -d '\\n'", cut.as_str())] {
        let mut turns = Turns::new();
        turns.shell(1, script);
        let again = turns.until("a pause", |turns| {
            let again = turns.hooks.next_deadline()?;
            (again <= turns.now.after(HOOK_PAUSE_MS)).then_some(again)
        });
        // The loop sleeps until then, whatever they print.
        assert!(again > turns.now);
        turns.turn();
        assert!(turns.hooks.next_deadline() == Some(again));
        turns.now = turns.now.after(HOOK_MS);
        let expected = format!("killed, its time was over: {last_line}");
        assert_eq!(turns.outcome(1), expected);
    }
    alone.end();
}

#[test]
fn what_a_command_leaves_running_lives_on_and_is_heard() {
    let alone = Alone::begin();
    let folder = Folder::new();
    let mut turns = Turns::new();
    let before = descriptors();
    turns.step_ms = 10;
    let (silent, loud) = (folder.file("silent"), folder.file("loud"));
    let count = folder.file("count");
    turns.shell(1, &format!("sleep 1000 & echo $! > {}", silent.display()));
    assert_eq!(turns.outcome(1), "done");
    // Without a reader it would end at its next line, or stand still once the pipe is full.
    let script = format!(
        "while echo a line of some letters; do echo x >> {}; done & echo $! > {}; echo why; exit 1",
        count.display(),
        loud.display()
    );
    turns.shell(2, &script);
    let outcome = turns.outcome(2);
    assert!(outcome.starts_with("exit=1: "), "{outcome}");
    let (silent, loud) = (turns.written(&silent), turns.written(&loud));
    // Far more than a pipe takes.
    turns.until("many lines", |_| {
        (fs::metadata(&count).ok()?.len() > 2 * 20_000).then_some(())
    });
    turns.now = turns.now.after(10 * HOOK_MS);
    turns.turn();
    turns.turn();
    assert!(is_alive(silent) && is_alive(loud));
    kill(silent);
    kill(loud);
    // Then nothing of them is left, and nothing is waited for.
    turns.until("the end of what they left", |turns| {
        turns.hooks.next_deadline().is_none().then_some(())
    });
    turns.until("closed pipes", |_| (descriptors() == before).then_some(()));
    drop(turns);
    alone.end();
}

#[test]
fn of_many_that_leave_something_the_oldest_is_let_go() {
    let alone = Alone::begin();
    let folder = Folder::new();
    let mut turns = Turns::new();
    turns.step_ms = 1;
    let before = descriptors();
    let mut left = Vec::new();
    for ticket in 0..HOOKS_LEFT + 3 {
        let pid = folder.file(&ticket.to_string());
        // It says something once it is told to, and is gone by that if nobody hears it.
        let script = format!(
            "(read line < {0}.fifo; echo x; echo > {0}.heard) & echo $! > {0}",
            pid.display()
        );
        let fifo = format!("{}.fifo", pid.display());
        assert!(run(&["mkfifo", &fifo]).0.is_success());
        turns.shell(ticket, &script);
        assert_eq!(turns.outcome(ticket), "done");
        left.push((turns.written(&pid), fifo));
    }
    assert_eq!(descriptors(), before + HOOKS_LEFT);
    for (number, (pid, fifo)) in left.iter().enumerate() {
        assert!(is_alive(*pid));
        fs::write(fifo, "go on\n").unwrap();
        turns.until("it to end", |_| (!is_alive(*pid)).then_some(()));
        let is_heard = folder.file(&format!("{number}.heard")).exists();
        assert_eq!(is_heard, number >= 3, "{number}");
    }
    turns.until("closed pipes", |_| (descriptors() == before).then_some(()));
    drop(turns);
    alone.end();
}

#[test]
fn a_bounded_number_runs_and_a_bounded_number_waits() {
    let alone = Alone::begin();
    let folder = Folder::new();
    let started = folder.file("started");
    let mut turns = Turns::new();
    let all = HOOKS + HOOKS_QUEUED;
    for ticket in 0..all {
        let script = format!("echo {ticket} >> {}; exec sleep 1000", started.display());
        turns.shell(ticket, &script);
    }
    let refused = turns.hooks.start(words(&["true"]).into(), all);
    assert!(refused.is_err());
    for round in 0..all / HOOKS {
        let running = turns.until("those that may run", |_| {
            let text = fs::read_to_string(&started).ok()?;
            let lines: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
            (lines.len() >= (round + 1) * HOOKS).then_some(lines)
        });
        // Nobody else has begun, and each in its turn.
        let mut running = running[round * HOOKS..].to_vec();
        running.sort_unstable();
        assert_eq!(running, Vec::from_iter(round * HOOKS..(round + 1) * HOOKS));
        assert_eq!(children().len(), HOOKS);
        turns.now = turns.now.after(HOOK_MS);
        turns.until("their ends", |turns| {
            (turns.outcomes.len() == HOOKS).then_some(())
        });
        for (_, outcome) in turns.outcomes.drain(..) {
            assert!(matches!(outcome, Outcome::TimedOut(_)));
        }
    }
    assert!(turns.hooks.next_deadline().is_none());
    turns.shell(1, "true");
    assert_eq!(turns.outcome(1), "done");
    drop(turns);
    alone.end();
}

#[test]
fn half_of_many_fail_or_hang_and_each_has_its_outcome() {
    let alone = Alone::begin();
    let mut turns = Turns::new();
    turns.step_ms = HOOK_MS / 50;
    let scripts = ["true", "exit 1", "true", "sleep 1000", "true", "kill -9 $$"];
    let (mut next, mut seen) = (0, [0; 120]);
    wait_for("all outcomes", || {
        while next < seen.len() {
            let script = words(&["sh", "-c", scripts[next % scripts.len()]]);
            if turns.hooks.start(script.into(), next).is_err() {
                break;
            }
            next += 1;
        }
        turns.turn();
        for (ticket, outcome) in turns.outcomes.drain(..) {
            seen[ticket] += 1;
            // A busy machine may need longer than the time that this clock gives it.
            let is_expected = match scripts[ticket % scripts.len()] {
                "true" => matches!(outcome, Outcome::Done | Outcome::TimedOut(_)),
                "sleep 1000" => matches!(outcome, Outcome::TimedOut(_)),
                _ => matches!(outcome, Outcome::Failed(..) | Outcome::TimedOut(_)),
            };
            assert!(is_expected, "{ticket}: {outcome}");
        }
        (seen == [1; 120]).then_some(())
    });
    assert!(turns.hooks.next_deadline().is_none());
    drop(turns);
    alone.end();
}

#[test]
fn what_runs_when_the_daemon_ends_is_left_running() {
    let alone = Alone::begin();
    let folder = Folder::new();
    let file = folder.file("pid");
    let mut turns = Turns::new();
    turns.shell(1, &format!("echo $$ > {}; exec sleep 1000", file.display()));
    let pid = turns.written(&file);
    drop(turns);
    assert!(is_alive(pid));
    // This process goes on, and reaps it.
    assert!(exit_of_killed(pid) == Exit::Signal(9));
    alone.end();
}

/// Kills a child of ours: how it has ended.
fn exit_of_killed(pid: u32) -> Exit {
    let null = UnixStream::pair().unwrap().0;
    let killer = words(&["kill", "-9", &pid.to_string()]);
    let killer = child::spawn(&killer, Streams::Socket(null.as_fd())).unwrap();
    let ends = [reaped(), reaped()];
    let killed = ends.into_iter().find(|(pid, _)| *pid != killer);
    killed.unwrap().1
}
