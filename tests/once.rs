//! A token counts once: after a restart, a kill, a reload, with another clock, with another boot, without its file
//! and on a full disk.

use crate::common::memory::{this_boot, write_memory};
use crate::common::*;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

const RANGE: (u16, u16) = (10_000, 10_999);
const GATE: &str = "gate = token\n";
const USED: &str = "state.used";

/// A daemon, its member, and the hidden service.
struct Setting {
    daemon: Daemon,
    member: Member,
    echo: Echo,
    text: String,
}

impl Setting {
    fn start() -> Self {
        let (host, echo) = (own_address(), Echo::start());
        let text = config(host, echo.address, "") + GATE;
        Self {
            daemon: Daemon::start(host, &text),
            member: Member::new(host, RANGE),
            echo,
            text,
        }
    }

    /// A new token, and the port for which it is good.
    fn token(&self) -> (u16, Vec<u8>) {
        let minute = self.member.minute();
        let port = self.member.real(minute);
        (port, self.member.token(minute, port).to_vec())
    }

    fn say(&self, number: u16, (port, token): &(u16, Vec<u8>)) -> TcpStream {
        let mut stream = self.member.connect(visitor(number), *port).unwrap();
        stream.write_all(token).unwrap();
        stream
    }

    fn used(&self) -> PathBuf {
        self.daemon.folder.file(USED)
    }

    /// Ends the daemon by this signal, lets something happen to its files, and starts another one.
    fn restart(mut self, signal: i32, meanwhile: impl FnOnce(&Path)) -> Self {
        self.daemon.signal(signal);
        self.daemon.wait();
        meanwhile(&self.used());
        let Self {
            daemon,
            member,
            echo,
            text,
        } = self;
        let (host, folder) = (daemon.host, daemon.take_folder());
        // Where the file was removed, it stays so.
        let state = format!("state-file = {}", folder.file("state").display());
        let written = text.replace("state-file = none", &state);
        let daemon = Daemon::spawn_as_it_is(folder, host, &written);
        daemon.wait_for_line(" listen mirage=");
        Self {
            daemon,
            member,
            echo,
            text,
        }
    }
}

#[test]
fn a_used_token_is_used_after_a_restart_a_kill_and_a_reload() {
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let setting = Setting::start();
        let token = setting.token();
        assert_echo(&mut setting.say(1, &token), "in");
        let setting = setting.restart(signal, |_| {});
        assert_held(&mut setting.say(2, &token));
        setting.daemon.wait_for_line(" ban source=127.1.0.2 ");
        assert_echo(&mut setting.say(3, &setting.token()), "in");

        let plain = setting.text.replace(GATE, "");
        setting.daemon.reload(&plain);
        setting.daemon.wait_for_lines(" reload mirages=1", 1);
        setting.daemon.reload(&setting.text);
        setting.daemon.wait_for_lines(" reload mirages=1", 2);
        assert_held(&mut setting.say(4, &token));
        assert_echo(&mut setting.say(3, &setting.token()), "in");
        assert_eq!(setting.echo.accepted(), 3);
    }
}

#[test]
fn a_file_that_says_nothing_or_not_all_lets_nobody_in_who_may_have_been_in() {
    let damage = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[600] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    type Change<'a> = &'a dyn Fn(&Path);
    let cases: [(Change, &str); 5] = [
        (&|path| std::fs::remove_file(path).unwrap(), "is missing"),
        (&damage, "is damaged"),
        (
            &|path| std::fs::write(path, "nonsense").unwrap(),
            "is damaged",
        ),
        (&|path| write_memory(path, [1; 16]), "is of an earlier boot"),
        (
            &|path| {
                std::fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
            },
            "is damaged",
        ),
    ];
    for (change, what) in cases {
        let setting = Setting::start();
        let token = setting.token();
        assert_echo(&mut setting.say(1, &token), "in");
        let setting = setting.restart(libc::SIGTERM, change);
        let line = setting.daemon.wait_for_line(what);
        assert!(line.contains(" warn ") && line.contains(USED), "{line}");
        assert_held(&mut setting.say(2, &token));
        // Nor a new one in these windows: nobody can know that it is new.
        assert_held(&mut setting.say(3, &setting.token()));
        let refused = setting.daemon.wait_for_lines(" reason=forgotten", 2);
        assert!(refused[0].contains(" trap mirage=ssh source=127.1.0.2"));
        assert_eq!(setting.daemon.count(" ban "), 0);
        assert_eq!(setting.echo.accepted(), 1);
        assert!(setting.used().metadata().unwrap().len() > 100_000);
    }
}

#[test]
fn a_reload_takes_what_was_used_to_another_state_file() {
    let setting = Setting::start();
    let token = setting.token();
    assert_echo(&mut setting.say(1, &token), "in");
    let other = setting.daemon.folder.file("other");
    let text = format!("state-file = {}", other.display());
    let text = setting.text.replace("state-file = none", &text);
    setting.daemon.reload(&text);
    setting.daemon.wait_for_line(" reload mirages=1");
    assert_held(&mut setting.say(2, &token));
    wait_for("the old file's end", || {
        (!setting.used().exists()).then_some(())
    });
    let setting = Setting { text, ..setting }.restart(libc::SIGKILL, |_| {});
    assert_held(&mut setting.say(3, &token));
    assert_echo(&mut setting.say(4, &setting.token()), "in");
}

/// A daemon whose state is on a disk of so many KiB, which is mounted for it alone. None if that is impossible.
fn on_a_small_disk(kib: usize) -> Option<(Setting, PathBuf)> {
    let (host, echo, folder) = (own_address(), Echo::start(), Folder::new());
    let disk = folder.file("disk");
    std::fs::create_dir(&disk).unwrap();
    write_memory(&folder.file("known"), this_boot());
    let state = format!("state-file = {}", disk.join("state").display());
    let text = config(host, echo.address, "").replace("state-file = none", &state) + GATE;
    let script = format!(
        "mount -t tmpfs -o size={kib}k none {disk} && cp -p {known} {disk}/{USED} && \\
         exec {program} daemon --config {config}",
        disk = disk.display(),
        known = folder.file("known").display(),
        program = program().display(),
        config = folder.file("shimmer.conf").display(),
    );
    let can = Command::new("unshare").args(["-rm", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("this test has no disk of its own: that needs unshare(1)");
        return None;
    }
    std::fs::write(folder.file("shimmer.conf"), &text).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]);
    let daemon = Daemon::run(folder, host, command);
    daemon.wait_for_line(" listen mirage=");
    let disk = format!("/proc/{}/root{}", daemon.child.id(), disk.display());
    let member = Member::new(host, RANGE);
    let setting = Setting {
        daemon,
        member,
        echo,
        text,
    };
    Some((setting, disk.into()))
}

#[test]
fn a_disk_that_is_full_later_keeps_nobody_out() {
    let Some((setting, disk)) = on_a_small_disk(200) else {
        return;
    };
    let filler = std::fs::File::create(disk.join("filler"));
    while filler
        .as_ref()
        .is_ok_and(|mut file| file.write_all(&[1; 4096]).is_ok())
    {}
    let before = std::fs::read(disk.join(USED)).unwrap();
    assert_echo(&mut setting.say(1, &setting.token()), "in");
    let after = std::fs::read(disk.join(USED)).unwrap();
    assert!(before.len() == after.len() && before != after);
}

#[test]
fn a_disk_without_room_for_the_file_is_told_and_what_is_used_is_in_memory() {
    let Some((setting, disk)) = on_a_small_disk(60) else {
        return;
    };
    let line = setting.daemon.wait_for_line(" it is removed");
    assert!(
        line.contains("No space left on device") && line.contains(" it is removed"),
        "{line}"
    );
    // A part of it would be taken for the whole after a restart.
    assert!(!disk.join(USED).exists());
    let token = setting.token();
    assert_echo(&mut setting.say(1, &token), "in");
    assert_held(&mut setting.say(2, &token));
}

#[test]
fn what_cannot_be_recorded_is_not_opened() {
    let setting = Setting::start();
    assert_echo(&mut setting.say(1, &setting.token()), "in");
    // Another state file, in whose place there is a folder that can't be removed.
    let other = setting.daemon.folder.file("other");
    std::fs::create_dir_all(setting.daemon.folder.file("other.used/x")).unwrap();
    let text = format!("state-file = {}", other.display());
    setting
        .daemon
        .reload(&setting.text.replace("state-file = none", &text));
    setting.daemon.wait_for_line(" reload mirages=1");
    let line = setting.daemon.wait_for_line(" error ");
    assert!(line.contains("other.used: Is a directory"), "{line}");
    let token = setting.token();
    assert_held(&mut setting.say(2, &token));
    setting.daemon.wait_for_line(" full source=127.1.0.2 ");
    assert_eq!(setting.daemon.count(" ban "), 0);
    assert_eq!(setting.daemon.count(" error "), 1);
    std::fs::remove_dir_all(setting.daemon.folder.file("other.used")).unwrap();
    assert_echo(&mut setting.say(3, &setting.token()), "in");
    assert_held(&mut setting.say(4, &token));
}
