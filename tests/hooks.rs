//! The commands of the daemon: each has its outcome, a bounded number runs, and what they leave running is let go.
//! They are real processes.
#![cfg(target_os = "linux")]

mod common;

use common::processes::*;
use common::*;
use mio::{Events, Poll, Token};
use shimmer::daemon::hooks::{Hooks, Id, Outcome};
use shimmer::limits::{HOOK_LINE, HOOK_MS, HOOK_PAUSE_MS, HOOKS, HOOKS_LEFT, HOOKS_QUEUED};
use shimmer::proto::Instant;
use shimmer::sys::child::{self, Exit, Streams};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

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
                .read_output(Id::from_bits(event.token().0 as u32), self.now);
        }
        self.hooks.expire(self.now);
        while let Some(not_started) = self.hooks.start_next(self.poll.registry(), self.now) {
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
