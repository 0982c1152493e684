//! Goal: `shimmer connect` is a wire between its caller and the hidden service, which loses no byte in either
//! direction. How it finds the port is in `dialling.rs`.

use crate::common::wire::*;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;

#[test]
fn what_is_typed_comes_back_until_stdin_ends() {
    let (daemon, echo) = hidden_echo();
    let mut wire = Wire::start(connect_to_daemon(&daemon));
    for line in [b"one\n".as_slice(), b"two\n", &[0, 255, 13, 10]] {
        wire.say(line);
        wire.assert_hears(line);
    }
    // The echo ends when the end of stdin has come through the daemon.
    wire.stdin = None;
    wire.assert_hears_the_end();
    wire.assert_ends_quietly();
    assert_eq!(echo.accepted(), 1);
    assert_eq!(daemon.count(" ban "), 0);
}

#[test]
fn four_megabytes_go_and_come_back_unchanged() {
    let (daemon, _echo) = hidden_echo();
    let mut wire = Wire::start(connect_to_daemon(&daemon));
    let sent = noise(MUCH, 1);
    let mut stdin = wire.stdin.take().unwrap();
    let to_send = sent.clone();
    let sender = thread::spawn(move || stdin.write_all(&to_send).unwrap());
    wire.assert_hears(&sent);
    wire.assert_hears_the_end();
    sender.join().unwrap();
    wire.assert_ends_quietly();
}

#[test]
fn the_end_of_stdin_leaves_the_other_way_open() {
    let bare = Bare::start(0);
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    let (there, back) = (noise(MUCH, 2), noise(MUCH, 3));
    let to_send = there.clone();
    let mut stdin = wire.stdin.take().unwrap();
    let sender = thread::spawn(move || stdin.write_all(&to_send).unwrap());
    let mut heard = Vec::new();
    service.read_to_end(&mut heard).unwrap();
    assert!(heard == there);
    sender.join().unwrap();
    // It has sent everything, and only now gets an answer.
    let to_send = back.clone();
    let sender = thread::spawn(move || service.write_all(&to_send).unwrap());
    wire.assert_hears(&back);
    sender.join().unwrap();
    wire.assert_hears_the_end();
    wire.assert_ends_quietly();
}

#[test]
fn it_ends_with_the_service_even_if_stdin_is_open() {
    let bare = Bare::start(0);
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    let sent = noise(MUCH, 4);
    let to_send = sent.clone();
    let sender = thread::spawn(move || {
        service.write_all(&to_send).unwrap();
        service.shutdown(Shutdown::Write).unwrap();
        service
    });
    wire.assert_hears(&sent);
    wire.assert_hears_the_end();
    let _service = sender.join().unwrap();
    assert!(wire.stdin.is_some());
    wire.assert_ends_quietly();
}

/// A service that has closed reads nothing any more, but all that it sent arrives.
#[test]
fn sending_more_than_the_service_reads_is_not_an_error() {
    let bare = Bare::start(0);
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    service.write_all(b"enough").unwrap();
    service.shutdown(Shutdown::Write).unwrap();
    let mut stdin = wire.stdin.take().unwrap();
    let talker = thread::spawn(move || while stdin.write_all(&[7; 4_096]).is_ok() {});
    wire.assert_hears(b"enough");
    wire.assert_hears_the_end();
    wire.assert_ends_quietly();
    drop(service);
    talker.join().unwrap();
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    let bare = Bare::start(0);
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    wire.stdout = None;
    let talker = thread::spawn(move || while service.write_all(&[7; 4_096]).is_ok() {});
    wire.assert_ends_quietly();
    talker.join().unwrap();
}

#[test]
fn a_reset_in_the_middle_is_reported() {
    let bare = Bare::start(0);
    let host = bare.member.host.to_string();
    let mut wire = bare.wire(&[]);
    let mut service = bare.accept();
    service.write_all(b"welcome").unwrap();
    wire.assert_hears(b"welcome");
    reset(service);
    wire.assert_fails(&[&host, "broke off", "reset", "log"]);
}

/// The kernel may report the reset to the write. Then the read sees an ordinary end.
#[test]
fn a_reset_is_reported_whichever_direction_meets_it() {
    for _ in 0..20 {
        let bare = Bare::start(0);
        let mut wire = bare.wire(&[]);
        let mut service = bare.accept();
        service.write_all(b"welcome").unwrap();
        wire.assert_hears(b"welcome");
        let mut stdin = wire.stdin.take().unwrap();
        let talker = thread::spawn(move || while stdin.write_all(&[7; 65_536]).is_ok() {});
        let mut some = vec![0; 1 << 20];
        service.read_exact(&mut some).unwrap();
        reset(service);
        wire.assert_fails(&["broke off"]);
        talker.join().unwrap();
    }
}

/// Another process that shares the open file may have set O_NONBLOCK for all.
#[test]
fn it_waits_for_a_stdin_and_a_stdout_that_do_not_block() {
    let bare = Bare::start(0);
    let (stdin, mut typist) = UnixStream::pair().unwrap();
    let (mut reader, stdout) = UnixStream::pair().unwrap();
    for end in [&stdin, &stdout] {
        end.set_nonblocking(true).unwrap();
    }
    let host = bare.member.host.to_string();
    let mut command = connect_to(range(&bare.member), &host, &[]);
    command
        .stdin(OwnedFd::from(stdin))
        .stdout(OwnedFd::from(stdout));
    let wire = Wire::start(command);
    let mut service = bare.accept();
    // Only now there is something to read, and somebody who reads what it writes.
    service.write_all(b"?").unwrap();
    reader.read_exact(&mut [0]).unwrap();
    typist.write_all(b"!").unwrap();
    service.read_exact(&mut [0]).unwrap();
    let sent = noise(MUCH, 7);
    let to_send = sent.clone();
    let sender = thread::spawn(move || service.write_all(&to_send).unwrap());
    let mut heard = vec![0; MUCH];
    reader.read_exact(&mut heard).unwrap();
    assert!(heard == sent);
    sender.join().unwrap();
    wire.assert_ends_quietly();
}

#[test]
fn a_stdin_that_is_closed_from_the_start_counts_as_its_end() {
    let bare = Bare::start(0);
    let mut command = connect_to(range(&bare.member), &bare.member.host.to_string(), &[]);
    command.stdin(Stdio::null());
    let mut wire = Wire::start(command);
    let mut service = bare.accept();
    let mut heard = Vec::new();
    service.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"");
    service.write_all(b"welcome").unwrap();
    drop(service);
    wire.assert_hears(b"welcome");
    wire.assert_ends_quietly();
}
