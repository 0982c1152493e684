//! Goal: whoever types `shimmer demo` sees all of it, on a terminal or not, and it leaves nothing behind,
//! however it ends.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing here takes this long, unless the machine hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// The same in ms, for rexpect.
const DEADLINE_MS: u64 = 60_000;

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shimmer"));
    command
        .arg("demo")
        .env_remove("NO_COLOR")
        .env_remove("LC_ALL")
        .env_remove("LC_CTYPE")
        .env("LANG", "C.UTF-8")
        .env("TERM", "xterm");
    command
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "timed out: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn end_of(demo: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("the demo ends", || {
        status = demo.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn signal(demo: &Child, signal: i32) {
    // SAFETY: no pointers, and the child has not been waited for.
    unsafe { libc::kill(demo.id() as i32, signal) };
}

/// A running demo, and the lines that it writes.
fn start(stay: bool) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = demo();
    if stay {
        command.arg("--stay");
    }
    let mut demo = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    (demo, lines)
}

#[track_caller]
fn line_with(lines: &mut Lines<BufReader<ChildStdout>>, text: &str) -> String {
    lines
        .map(Result::unwrap)
        .find(|line| line.contains(text))
        .unwrap_or_else(|| panic!("it never said {text}"))
}

/// The daemon's address, from the line that says that its ports are open.
#[track_caller]
fn address(line: &str) -> Ipv4Addr {
    let (_, rest) = line.split_once(" at ").unwrap();
    let (address, _) = rest.split_once(',').unwrap();
    address.parse().unwrap()
}

fn is_served(address: Ipv4Addr) -> bool {
    let local = format!(" {:08X}:", u32::from_ne_bytes(address.octets()));
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    sockets
        .lines()
        .any(|line| line.contains(&local) && line.contains(" 00000000:0000 0A "))
}

#[test]
fn in_a_pipe_it_prints_lines() {
    let output = demo().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{errors}");
    assert_eq!(errors, "");
    assert!(!text.contains('\x1b'), "{text}");
    for part in [
        "from the secret, and got in",
        "is a trap",
        "it is shut out; the member is greeted",
        "the member is still in; its port",
        "exactly the ports that the secret predicts were open",
        "shimmer demo --stay",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let line = text.lines().find(|line| line.contains(" at 127.")).unwrap();
    assert!(!is_served(address(line)));
}

fn on_a_terminal(command: Command) -> String {
    let mut session = rexpect::session::spawn_command(command, Some(DEADLINE_MS)).unwrap();
    let letters = session.exp_eof().unwrap();
    // rexpect makes a char of each byte.
    let bytes = letters.chars().map(|byte| byte as u8).collect();
    let text = String::from_utf8(bytes).unwrap();
    let status = session.process().wait().unwrap();
    assert!(
        matches!(status, rexpect::process::WaitStatus::Exited(_, 0)),
        "{text}"
    );
    text
}

#[test]
fn on_a_terminal_both_maps_are_drawn_in_place() {
    let text = on_a_terminal(demo());
    for part in [
        "MEMBER",
        "SCANNER",
        "◆",
        "■",
        "×",
        "BANNED",
        "STILL IN",
        "\x1b[1;36m",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(text.contains("A\r"), "no frame was drawn over another");
    assert!(
        !text.contains("\x1b[?"),
        "a mode of the terminal was changed"
    );
    assert!(text.ends_with("\x1b[J"));
}

#[test]
fn no_color_leaves_the_colours_out() {
    let mut command = demo();
    command.env("NO_COLOR", "1").env("LANG", "C");
    let text = on_a_terminal(command);
    let escapes = text.split("\x1b[").skip(1);
    for escape in escapes {
        let end = escape.find(|letter: char| letter.is_ascii_alphabetic());
        assert!(end.is_some_and(|end| &escape[end..=end] != "m"), "{escape}");
    }
    assert!(text.contains("BANNED") && text.is_ascii());
}

#[test]
fn a_window_that_is_too_narrow_gets_lines() {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_shimmer");
    command.args([
        "-c",
        &format!("stty columns 60 rows 24; exec {program} demo"),
    ]);
    command.env("TERM", "xterm");
    let text = on_a_terminal(command);
    assert!(text.contains("banned") && !text.contains('\x1b'), "{text}");
}

#[test]
fn with_stay_it_runs_until_ctrl_c_and_leaves_nothing() {
    let (mut demo, mut lines) = start(true);
    let address = address(&line_with(&mut lines, " at 127."));
    line_with(&mut lines, "from another terminal");
    line_with(&mut lines, "export SHIMMER_SECRET=");
    line_with(&mut lines, "--period 3s)");
    assert!(is_served(address));
    signal(&demo, libc::SIGINT);
    assert!(end_of(&mut demo).success());
    assert!(!is_served(address));
}

#[test]
fn one_that_is_stopped_early_says_so() {
    let (mut demo, mut lines) = start(false);
    let address = address(&line_with(&mut lines, " at 127."));
    signal(&demo, libc::SIGTERM);
    assert_eq!(end_of(&mut demo).code(), Some(1));
    assert!(!is_served(address));
}

#[test]
fn one_that_is_killed_takes_the_daemon_with_it() {
    let (mut demo, mut lines) = start(false);
    let address = address(&line_with(&mut lines, " at 127."));
    demo.kill().unwrap();
    demo.wait().unwrap();
    wait_until("the daemon is gone", || !is_served(address));
}

#[test]
fn it_ends_when_its_reader_does() {
    let (mut demo, mut lines) = start(true);
    let address = address(&line_with(&mut lines, " at 127."));
    drop(lines);
    assert!(end_of(&mut demo).success());
    assert!(!is_served(address));
}
