//! The client on a terminal: what it asks for is not shown, and the terminal echoes again however that ends.

use rexpect::session::{PtySession, spawn_command};
use std::process::Command;

const SHIMMER: &str = env!("CARGO_BIN_EXE_shimmer");

/// Nothing here takes as long, in milliseconds, unless it is broken.
const PATIENCE_MS: u64 = 30_000;

/// A terminal that shows what is typed (rexpect's does not), with a shell that runs this script
/// on it; `$0` is the program.
fn terminal(script: &str) -> PtySession {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("stty echo; {script}"), SHIMMER])
        .env_remove("SHIMMER_SECRET")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("HOME", "/nonexistent");
    spawn_command(shell, Some(PATIENCE_MS)).unwrap()
}

const ASK: &str = "\"$0\" port ssh:10000:10999 --at 0";
const SAY_WHETHER_IT_ECHOES: &str = "stty -a | grep -qe '-echo ' && echo mute || echo echoes";

#[test]
fn the_secret_is_asked_for_and_not_shown() {
    let mut terminal = terminal(&format!("{ASK}; {SAY_WHETHER_IT_ECHOES}"));
    terminal.exp_string("secret for ssh: ").unwrap();
    terminal.send_line("password").unwrap();
    assert_eq!(terminal.exp_eof().unwrap(), "\r\n10242\r\nechoes\r\n");
}

#[test]
fn only_the_port_is_on_stdout() {
    let mut terminal = terminal(&format!("port=$({ASK}); echo \"[$port]\""));
    terminal.exp_string("secret for ssh: ").unwrap();
    terminal.send_line("password").unwrap();
    assert_eq!(terminal.exp_eof().unwrap(), "\r\n[10242]\r\n");
}

#[test]
fn a_line_without_a_secret_is_refused() {
    let mut terminal = terminal(&format!("{ASK}; {SAY_WHETHER_IT_ECHOES}"));
    terminal.exp_string("secret for ssh: ").unwrap();
    terminal.send_line("").unwrap();
    terminal.exp_string("the secret is empty").unwrap();
    terminal.exp_string("echoes").unwrap();
}

#[test]
fn an_end_of_file_gives_the_echo_back() {
    let mut terminal = terminal(&format!("{ASK}; {SAY_WHETHER_IT_ECHOES}"));
    terminal.exp_string("secret for ssh: ").unwrap();
    terminal.send_control('d').unwrap();
    terminal.exp_string("no secret for ssh").unwrap();
    terminal.exp_string("echoes").unwrap();
}

#[test]
fn an_interrupt_gives_the_echo_back_and_ends_by_its_signal() {
    let mut terminal = terminal(&format!(
        "trap : INT; {ASK}; echo \"code $?\"; {SAY_WHETHER_IT_ECHOES}"
    ));
    terminal.exp_string("secret for ssh: ").unwrap();
    terminal.send("passw").unwrap();
    terminal.send_control('c').unwrap();
    terminal.exp_string("code 130").unwrap();
    terminal.exp_string("echoes").unwrap();
}

#[test]
fn a_signal_from_elsewhere_gives_the_echo_back_too() {
    let mut terminal = terminal(&format!(
        "sh -c 'echo \"process $$.\"; exec {ASK}' \"$0\"; echo \"code $?\"; \
         {SAY_WHETHER_IT_ECHOES}"
    ));
    terminal.exp_string("process ").unwrap();
    let process = terminal.exp_string(".").unwrap();
    terminal.exp_string("secret for ssh: ").unwrap();
    let kill = Command::new("kill").args(["-TERM", &process]).status();
    assert!(kill.unwrap().success());
    terminal.exp_string("code 143").unwrap();
    terminal.exp_string("echoes").unwrap();
}

/// Stopped, it leaves the terminal to the shell; continued, it asks again.
#[test]
fn a_stop_gives_the_echo_back_until_it_goes_on() {
    let mut terminal = terminal(&format!(
        "set -m; {ASK}; {SAY_WHETHER_IT_ECHOES}; fg >/dev/null; {SAY_WHETHER_IT_ECHOES}"
    ));
    terminal.exp_string("secret for ssh: ").unwrap();
    terminal.send_control('z').unwrap();
    terminal.exp_string("echoes").unwrap();
    terminal.exp_string("secret for ssh: ").unwrap();
    terminal.send_line("password").unwrap();
    terminal.exp_string("10242").unwrap();
    terminal.exp_string("echoes").unwrap();
}

/// The seconds go by in one line; the next port has a new one.
#[test]
fn watching_counts_the_seconds_in_place() {
    let mut terminal =
        terminal("SHIMMER_SECRET=password \"$0\" port ssh:10000:65535 --watch --period 3s");
    for _ in 0..2 {
        let (_, shown) = terminal.exp_regex("\r[1-6][0-9]{4}  1 s left *\r").unwrap();
        let port = &shown[1..6];
        // Its line stays, without the seconds.
        terminal.exp_string(port).unwrap();
        let (between, _) = terminal.exp_regex("\r\n\r[1-6][0-9]{4}  [0-9]").unwrap();
        assert_eq!(between.trim(), "");
    }
    terminal.send_control('c').unwrap();
}
