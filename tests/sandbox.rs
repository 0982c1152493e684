//! The sandbox: on unless a command is configured, and a new configuration that needs more takes a restart.
//!
//! All tests that start a daemon without commands run in it, and fail if a system call is refused. What it refuses
//! is shown in `src/sys/sandbox/tests.rs`.

use crate::common::asking::shimmer;
use crate::common::{Daemon, Echo, Folder, Member, SECRET, assert_echo, own_address, visitor};
use crate::common::{STILL, stay_clear_of_its_end, wait_for, write_private};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// A daemon whose files are in folders of its own.
struct Closed {
    daemon: Daemon,
    service: Echo,
    member: Member,
}

const COMMON: &str =
    "log = FOLDER/logs/log\nstate-file = FOLDER/state/state\ncontrol = FOLDER/run/control\n";

impl Closed {
    fn start(common: &str, mirage: &str) -> Self {
        let (folder, host, service) = (Folder::new(), own_address(), Echo::start());
        for name in ["logs", "state", "run"] {
            std::fs::create_dir(folder.file(name)).unwrap();
        }
        let config = config(&folder, host, &service, common, mirage);
        let daemon = Daemon::spawn_as_it_is(folder, host, &config);
        let closed = Self {
            daemon,
            service,
            member: Member::new(host, (10_000, 10_999)),
        };
        closed.wait_for("listen mirage=");
        closed
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.daemon.folder.file(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file("logs/log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for(&self, part: &str) -> String {
        self.wait_for_all(&[part])
    }

    /// The first line of the log that has all of these parts, as soon as there is one.
    #[track_caller]
    fn wait_for_all(&self, parts: &[&str]) -> String {
        wait_for("a line of the log", || {
            let log = self.log();
            let mut lines = log.lines();
            let found = lines.find(|line| parts.iter().all(|part| line.contains(part)));
            found.map(str::to_owned)
        })
    }

    /// A number of /proc/PID/status.
    fn status(&self, key: &str) -> String {
        let pid = self.daemon.child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    }

    fn reload(&self, common: &str, mirage: &str) {
        let (folder, host) = (&self.daemon.folder, self.daemon.host);
        let config = config(folder, host, &self.service, common, mirage);
        // As editors do.
        std::fs::write(self.file("new"), config).unwrap();
        std::fs::rename(self.file("new"), self.daemon.config_path()).unwrap();
        self.daemon.signal(libc::SIGHUP);
    }

    #[track_caller]
    fn ask(&self, words: &[&str]) -> String {
        let outcome = shimmer(words, &["--control".as_ref(), &self.file("run/control")]);
        assert_eq!(outcome.code, 0, "{}", outcome.error);
        outcome.out
    }

    #[track_caller]
    fn assert_serves(&self, number: u16) {
        let mut stream = self.member.enter(visitor(number));
        assert_echo(&mut stream, "hello");
    }
}

fn config(folder: &Folder, host: Ipv4Addr, service: &Echo, common: &str, mirage: &str) -> String {
    stay_clear_of_its_end();
    let to = service.address;
    let text = format!(
        "[common]\n{common}\n[mirage-ssh]\nforward = {to}\nrange = 10000-10999\n\
         listen-address = {host}\n{STILL}{mirage}\n"
    );
    text.replace("FOLDER", folder.0.to_str().unwrap())
}

fn secret() -> String {
    format!("secret = {SECRET}")
}

#[test]
fn it_is_on_where_nothing_is_spawned() {
    let closed = Closed::start(COMMON, &secret());
    let line = closed.wait_for(" start sandbox=");
    assert!(line.contains("sandbox=on"), "{line}");
    assert_eq!(
        (closed.status("Seccomp"), closed.status("NoNewPrivs")),
        ("2".into(), "1".into())
    );
    let status = closed.ask(&["status", "--json"]);
    assert!(status.contains("\"sandbox\":\"on\""), "{status}");
    closed.assert_serves(1);
}

#[test]
fn it_is_off_with_commands_and_for_the_desperate() {
    let command = "\nopen-command = /bin/true\nclose-command = /bin/true\nopen-timeout = 60\n";
    for (common, mirage, reason) in [
        (COMMON.to_owned(), secret() + command, "commands"),
        (format!("{COMMON}sandbox = no\n"), secret(), "configuration"),
    ] {
        let closed = Closed::start(&common, &mirage);
        closed.wait_for(&format!(" start sandbox=off reason={reason}"));
        assert_eq!(closed.status("Seccomp"), "0");
        let status = closed.ask(&["status", "--json"]);
        assert!(status.contains("\"sandbox\":\"off\""), "{status}");
    }
}

/// What has to go on working: the log is rotated, the state is saved, the control socket is made anew, and the
/// configuration and its secret are replaced.
#[test]
fn its_own_files_are_still_its_own() {
    let closed = Closed::start(COMMON, &secret());
    std::fs::rename(closed.file("logs/log"), closed.file("logs/log.1")).unwrap();
    std::fs::remove_file(closed.file("run/control")).unwrap();
    write_private(&closed.file("secret"), SECRET);
    closed.reload(COMMON, "secret-file = FOLDER/secret");
    closed.wait_for(" reload mirages=1");
    let is_socket = |path: &Path| {
        path.metadata()
            .is_ok_and(|file| file.file_type().is_socket())
    };
    wait_for("the control socket", || {
        is_socket(&closed.file("run/control")).then_some(())
    });
    closed.ask(&["ban", "192.0.2.7"]);
    closed.assert_serves(1);
    let mut closed = closed;
    closed.daemon.signal(libc::SIGTERM);
    assert!(closed.daemon.wait().success());
    let state = std::fs::read_to_string(closed.file("state/state")).unwrap();
    assert!(state.contains("192.0.2.7"), "{state}");
    assert!(!closed.log().contains("warn"), "{}", closed.log());
}

#[test]
fn a_configuration_that_needs_more_takes_a_restart() {
    let closed = Closed::start(COMMON, &secret());
    let command = "\nopen-command = /bin/true\nclose-command = /bin/true\nopen-timeout = 60\n";
    // A folder that it has no business in, and that it could use otherwise.
    let other = Folder::new();
    write_private(&other.file("secret"), SECRET);
    let other = other.0.to_str().unwrap();
    let moved = |key: &str, name: &str| {
        let place = format!("{key} = {other}/{name}");
        let kept = COMMON.lines().filter(|line| !line.starts_with(key));
        kept.chain([&*place]).collect::<Vec<_>>().join("\n")
    };
    for (number, (common, mirage, part)) in [
        (
            COMMON.to_owned(),
            secret() + command,
            "mirage=ssh has a command",
        ),
        (moved("log ", "log"), secret(), "log: "),
        (moved("state-file", "state"), secret(), "state-file: "),
        (moved("control", "control"), secret(), "control: "),
        (
            COMMON.to_owned(),
            format!("secret-file = {other}/secret"),
            "secret-file: ",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        closed.reload(&common, &mirage);
        let line = closed.wait_for_all(&["error reload: ", part]);
        assert!(line.contains("takes a restart"), "{line}");
        // The old one is in force.
        closed.assert_serves(number as u16 + 1);
    }
    assert!(
        !closed.log().contains(" reload mirages="),
        "{}",
        closed.log()
    );
}

#[test]
fn the_key_itself_takes_a_restart() {
    let closed = Closed::start(COMMON, &secret());
    closed.reload(&format!("{COMMON}sandbox = no\n"), &secret());
    closed.wait_for("warn sandbox: a change takes effect after a restart");
    closed.wait_for(" reload mirages=1");
    assert_eq!(closed.status("Seccomp"), "2");
}
