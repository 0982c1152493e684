//! Children of the daemon: what they begin with, how they end, and that nothing of them stays behind
//! which should not. They are real processes. A process reaps its children whosoever they are, so one
//! test runs at a time.

mod common;

use common::processes::*;
use common::*;
use shimmer::sys::child::{self, Exit, Streams};
use shimmer::sys::{pipe, signal};
use std::fs::{self};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

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

    // Three, and the folder that is listed; not what somebody has left open for all.
    let left_open = rustix::io::dup(&signals).unwrap();
    let (_, open) = run(&["ls", "/proc/self/fd"]);
    let open: Vec<&str> = open.lines().collect();
    assert_eq!(open, ["0", "1", "2", "3"]);
    drop(left_open);
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
    let streams = Streams::Output(write.as_fd());
    let script = "trap '' TERM; (trap '' TERM; sleep 1000) & wait";
    let pid = child::spawn(&words(&["sh", "-c", script]), streams).unwrap();
    drop(write);
    child::kill_group(pid);
    // The end of what they say is the end of the last of them.
    assert_eq!(all_of(read), "");
    assert!(reaped() == (pid, Exit::Signal(9)));
    alone.end();
}
