//! Whoever may write where the daemon keeps its files can neither have a command run, nor have root write to
//! another file, nor make the daemon wait.

use crate::common::*;
use shimmer::sys::clock;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::Command;

const NOBODY: u32 = 65_534;

/// A daemon's configuration whose files are all in one folder.
struct Setting {
    host: std::net::Ipv4Addr,
    folder: Folder,
    text: String,
    _echo: Echo,
}

impl Setting {
    fn new() -> Self {
        let (host, folder, echo) = (own_address(), Folder::new(), Echo::start());
        fs::set_permissions(&folder.0, Permissions::from_mode(0o700)).unwrap();
        let [state, control, log] = ["state", "control", "log"].map(|name| folder.file(name));
        let files = format!(
            "state-file = {}\ncontrol = {}\nlog = {}\n",
            state.display(),
            control.display(),
            log.display()
        );
        let text = config(host, echo.address, "")
            .replace("state-file = none\ncontrol = none\n", &files)
            + "gate = token\n";
        Self {
            host,
            folder,
            text,
            _echo: echo,
        }
    }

    /// Runs a daemon until it has ended by itself or listens, and returns its exit code and all that it has said.
    fn run(&self) -> (Option<i32>, String) {
        // That of the one before.
        if self.log().is_some() {
            fs::remove_file(self.folder.file("log")).unwrap();
        }
        let mut daemon = Daemon::spawn_as_it_is(Folder::new(), self.host, &self.text);
        let said = || self.said(&daemon);
        let has_ended = wait_for("a daemon that listens or ends", || {
            let has_ended = fs::read_to_string(format!("/proc/{}/stat", daemon.child.id()))
                .is_ok_and(|about| about.contains(") Z "));
            (has_ended || said().contains(" listen mirage=")).then_some(has_ended)
        });
        if !has_ended {
            // A ban, so that there is something to write.
            let member = Member::new(self.host, (10_000, 10_999));
            let stranger = member.connect(visitor(1), member.traps()[0]);
            stranger.unwrap().write_all(&[0; 48]).unwrap();
            wait_for("a ban", || said().contains(" ban source=").then_some(()));
        }
        // One that has just ended may still have a line on its way.
        daemon.signal(libc::SIGTERM);
        let code = daemon.wait().code();
        wait_for("its last line", || {
            (code == Some(0) || !daemon.log().is_empty()).then_some(())
        });
        (code, self.said(&daemon))
    }

    /// What is in the log, if it is a file: a pipe would keep us waiting.
    fn log(&self) -> Option<String> {
        let log = self.folder.file("log");
        let is_file = fs::symlink_metadata(&log).is_ok_and(|about| about.is_file());
        is_file.then(|| fs::read_to_string(log).unwrap())
    }

    fn said(&self, daemon: &Daemon) -> String {
        daemon.log().join("\n") + &self.log().unwrap_or_default()
    }
}

/// The daemon's own files. Those without which it does not start come first.
const FILES: [&str; 7] = [
    "log",
    "state.lock",
    "control",
    "state",
    "state.open",
    "state.used",
    "state.new",
];
const NEEDED: usize = 3;

#[test]
fn a_planted_link_is_not_followed() {
    for (at, name) in FILES.into_iter().enumerate() {
        let setting = Setting::new();
        let precious = setting.folder.file("precious");
        fs::write(&precious, "precious\n").unwrap();
        symlink(&precious, setting.folder.file(name)).unwrap();
        let (code, said) = setting.run();
        assert_eq!(code, Some(i32::from(at < NEEDED)), "{name}: {said}");
        assert_eq!(
            fs::read_to_string(&precious).unwrap(),
            "precious\n",
            "{name}"
        );
        match name {
            "control" => assert!(
                said.contains("control: is there already, and no socket"),
                "{said}"
            ),
            "state.new" => {}
            "state.used" => assert!(said.contains("state.used is damaged"), "{said}"),
            _ => assert!(said.contains(&format!("{name}: is a link")), "{said}"),
        }
    }
}

#[test]
fn a_planted_pipe_or_folder_is_told_and_not_waited_for() {
    for (at, name) in FILES.into_iter().enumerate() {
        for is_pipe in [true, false] {
            let setting = Setting::new();
            let path = setting.folder.file(name);
            if is_pipe {
                let made = Command::new("mkfifo").arg(&path).status().unwrap();
                assert!(made.success());
            } else {
                fs::create_dir(&path).unwrap();
            }
            let (code, said) = setting.run();
            assert_eq!(code, Some(i32::from(at < NEEDED)), "{name}: {said}");
            let told = match (name, is_pipe) {
                ("control", _) => "control: is there already, and no socket",
                ("state.used", true) => "state.used is damaged",
                ("state.used", false) => "state.used: Is a directory",
                // It is replaced, or the file can't be written.
                ("state.new", true) => "",
                ("state.new", false) => "state was not written: ",
                // In its sandbox the daemon can open no folder.
                ("state", _) => "state: ",
                ("log" | "state.lock", false) => "Is a directory",
                _ => "is not a regular file",
            };
            assert!(said.contains(told), "{name}: {said}");
        }
    }
}

#[test]
fn a_folder_that_others_may_write_is_named_with_what_is_right() {
    let setting = Setting::new();
    let folder = setting.folder.0.display();
    fs::set_permissions(&setting.folder.0, Permissions::from_mode(0o777)).unwrap();
    let (code, said) = setting.run();
    assert_eq!(code, Some(1), "{said}");
    let told = format!(": others may write to {folder}; run chmod go-w {folder}");
    assert!(said.contains(&told), "{said}");
    // As /tmp.
    fs::set_permissions(&setting.folder.0, Permissions::from_mode(0o1777)).unwrap();
    let (code, said) = setting.run();
    assert_eq!(code, Some(0), "{said}");
}

/// A journal of version 1 that has a command in it, which makes a file.
fn plant(setting: &Setting, owner: u32) -> (PathBuf, PathBuf) {
    let [journal, made] = ["state.open", "made"].map(|name| setting.folder.file(name));
    let end = clock::unix() - 1;
    let text = format!(
        "shimmer-open 1\nopen {NAME} 127.1.0.1 {end} 30 /usr/bin/touch\u{1f}{}\nend 1\n",
        made.display()
    );
    write(&journal, &text);
    fs::set_permissions(&journal, Permissions::from_mode(0o600)).unwrap();
    chown(&journal, Some(owner), Some(owner)).unwrap();
    (journal, made)
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: only root can give a file to somebody else");
    }
    is_root
}

/// The service's user had this command run by root.
#[test]
fn a_planted_journal_is_set_aside_and_not_run() {
    if !is_root() {
        return;
    }
    let setting = Setting::new();
    let (journal, made) = plant(&setting, NOBODY);
    let (code, said) = setting.run();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("state.open: "), "{said}");
    let aside = setting.folder.file("state.open.set-aside");
    assert!(
        said.contains(&format!("and is now {}", aside.display())),
        "{said}"
    );
    assert!(aside.exists() && !journal.exists() && !made.exists());

    // Where the whole folder is theirs, nothing in it is used.
    let (_, made) = plant(&setting, 0);
    chown(&setting.folder.0, Some(NOBODY), None).unwrap();
    let (code, said) = setting.run();
    assert_eq!(code, Some(1), "{said}");
    let told = format!("{} belongs to ", setting.folder.0.display());
    assert!(said.contains(&told) && !made.exists(), "{said}");
}

#[test]
fn an_old_journal_of_root_s_is_taken_over() {
    if !is_root() {
        return;
    }
    let setting = Setting::new();
    let (journal, made) = plant(&setting, 0);
    let (code, said) = setting.run();
    assert_eq!(code, Some(0), "{said}");
    assert!(made.exists() && !journal.exists(), "{said}");
}

/// Who can change it could be root.
#[test]
fn a_configuration_that_others_may_write_is_not_served_by_root() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    fs::set_permissions(&folder.0, Permissions::from_mode(0o755)).unwrap();
    let path = folder.file("shimmer.conf");
    let start = |user: &str, owner: u32, mode: u32| {
        let text = format!(
            "[common]\nlog = /proc/none/log\n{user}[mirage-{NAME}]\nsecret = {SECRET}\nport = 22\n\
             range = 10000-10999\n"
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(owner), None).unwrap();
        let arguments: [&std::path::Path; 3] = ["daemon".as_ref(), "--config".as_ref(), &path];
        let ended = Command::new(program()).args(arguments).output().unwrap();
        (
            ended.status.code(),
            String::from_utf8(ended.stderr).unwrap(),
        )
    };
    // A log that can't be had ends the daemon whose configuration is good.
    let good = "log: /proc/none/log";
    for (user, owner, mode, code, told) in [
        ("", 0, 0o600, 1, good),
        ("", 0, 0o640, 1, good),
        ("", 0, 0o602, 2, "others may write to "),
        ("", NOBODY, 0o600, 2, " belongs to "),
        ("user = nobody\n", 0, 0o602, 2, "others may write to "),
        // Who it becomes can change it, and stays who they are.
        ("user = nobody\n", NOBODY, 0o600, 1, good),
        ("user = nobody\n", 1, 0o600, 2, " belongs to "),
    ] {
        let (ended, said) = start(user, owner, mode);
        assert_eq!(ended, Some(code), "{user}{owner} {mode:o}: {said}");
        assert!(said.contains(told), "{said}");
    }
}
