//! Goal: the daemon has no right that its configuration does not use, and its children have nothing of the
//! daemon's: no descriptor, no limit, no variable. Real daemons are asked by /proc what they can do.

use crate::common::*;
use std::fs::{self, Permissions};
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::process::Command;

const NET_BIND_SERVICE: u64 = 1 << 10;
const SETPCAP: u64 = 1 << 8;

/// The range of [`config`].
const RANGE: (u16, u16) = (10_000, 10_999);

/// The user of the tests that give root up.
const NOBODY: u32 = 65_534;

/// The value behind a word in a text of /proc.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map(|value| value.trim_start_matches(':').trim())
}

/// What a process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rights {
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
    bounding: u64,
    executes_nothing: bool,
}

impl Rights {
    /// As /proc/PID/status has them.
    fn of(status: &str) -> Self {
        let set = |name| u64::from_str_radix(field(status, name).unwrap(), 16).unwrap();
        Self {
            effective: set("CapEff"),
            permitted: set("CapPrm"),
            inheritable: set("CapInh"),
            ambient: set("CapAmb"),
            bounding: set("CapBnd"),
            executes_nothing: field(status, "NoNewPrivs") == Some("1"),
        }
    }

    fn of_process(pid: &str) -> Self {
        Self::of(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap())
    }

    fn of_daemon(daemon: &Daemon) -> Self {
        Self::of_process(&daemon.child.id().to_string())
    }

    /// Only these, and no program gives others.
    fn only(kept: u64) -> Self {
        Self {
            effective: kept,
            permitted: kept,
            inheritable: 0,
            ambient: 0,
            bounding: kept,
            executes_nothing: true,
        }
    }
}

/// Whether the test is root, with root's rights over users.
fn is_root() -> bool {
    let ours = Rights::of_process("self");
    // CAP_SETGID, CAP_SETUID, CAP_SETPCAP.
    let is_root = ours.effective >> 6 & 7 == 7;
    if !is_root {
        eprintln!("SKIPPED: it takes root to show what becomes of root's rights");
    }
    is_root
}

/// A configuration whose ports need CAP_NET_BIND_SERVICE.
fn low_ports(host: Ipv4Addr, more: &str) -> String {
    config(host, (Ipv4Addr::LOCALHOST, 9).into(), more).replace("10000-10999", "400-899")
}

/// A configuration whose mirage hands its visitors to a program.
fn executing(host: Ipv4Addr, program: &str) -> String {
    let text = config(host, (Ipv4Addr::LOCALHOST, 9).into(), "");
    text.replace("forward = 127.0.0.1:9", &format!("exec = {program}"))
}

/// What the program tells a visitor.
#[track_caller]
fn told(daemon: &Daemon) -> String {
    let mut said = String::new();
    let mut stream = Member::new(daemon.host, RANGE).enter(visitor(1));
    stream.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn root_keeps_what_its_mirages_use() {
    if !is_root() {
        return;
    }
    let host = own_address();
    let daemon = Daemon::start(host, &config(host, (Ipv4Addr::LOCALHOST, 9).into(), ""));
    assert_eq!(Rights::of_daemon(&daemon), Rights::only(0));
    drop(daemon);
    let host = own_address();
    let daemon = Daemon::start(host, &low_ports(host, ""));
    assert_eq!(Rights::of_daemon(&daemon), Rights::only(NET_BIND_SERVICE));
}

#[test]
fn the_configured_user_keeps_what_its_mirages_use() {
    if !is_root() {
        return;
    }
    let (host, folder) = (own_address(), Folder::new());
    chown(&folder.0, Some(NOBODY), Some(NOBODY)).unwrap();
    let text = low_ports(host, "user = nobody\n");
    let daemon = Daemon::spawn_in(folder, host, &text, |_| {});
    daemon.wait_for_line(" listen mirage=");
    assert_eq!(Rights::of_daemon(&daemon), Rights::only(NET_BIND_SERVICE));
    drop(daemon);

    // A program of theirs can't get more, either, but it may become another user.
    let (host, folder) = (own_address(), Folder::new());
    chown(&folder.0, Some(NOBODY), Some(NOBODY)).unwrap();
    let text =
        executing(host, "cat /proc/self/status").replace("[mirage-", "user = nobody\n[mirage-");
    let daemon = Daemon::spawn_in(folder, host, &text, |_| {});
    daemon.wait_for_line(" listen mirage=");
    let expected = Rights {
        executes_nothing: false,
        ..Rights::only(0)
    };
    assert_eq!(Rights::of_daemon(&daemon), expected);
    assert_eq!(Rights::of(&told(&daemon)), expected);
}

#[test]
fn another_user_loses_what_was_given_in_vain() {
    if !is_root() {
        return;
    }
    let start = |given: &str, text: &str, host| {
        let folder = Folder::new();
        chown(&folder.0, Some(NOBODY), Some(NOBODY)).unwrap();
        let text = memory::with_memory(&folder.0, text);
        let path = folder.file("shimmer.conf");
        write(&path, &text);
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(format!("--inh-caps={given}"))
            .arg(format!("--ambient-caps={given}"))
            .arg(program())
            .args(["daemon", "--config"])
            .arg(path);
        let daemon = Daemon::run(folder, host, command);
        daemon.wait_for_line(" listen mirage=");
        daemon
    };
    let host = own_address();
    let all = "+net_bind_service,+net_raw,+setpcap";
    let daemon = start(all, &low_ports(host, ""), host);
    assert_eq!(Rights::of_daemon(&daemon), Rights::only(NET_BIND_SERVICE));
    drop(daemon);

    // Without CAP_SETPCAP the bounding set is not ours to change.
    let host = own_address();
    let bounding = Rights::of_process("self").bounding;
    assert_ne!(bounding & SETPCAP, 0);
    let text = executing(host, "cat /proc/self/status");
    let daemon = start("+net_bind_service,+net_raw", &text, host);
    let expected = Rights {
        bounding,
        executes_nothing: false,
        ..Rights::only(0)
    };
    assert_eq!(Rights::of_daemon(&daemon), expected);
    assert_eq!(Rights::of(&told(&daemon)), expected);
}

#[test]
fn programs_of_root_have_what_root_has() {
    if !is_root() {
        return;
    }
    let ours = Rights::of_process("self");
    let host = own_address();
    let daemon = Daemon::start(host, &executing(host, "cat /proc/self/status"));
    for theirs in [Rights::of_daemon(&daemon), Rights::of(&told(&daemon))] {
        assert_eq!(theirs, ours);
    }
    drop(daemon);

    // As su and sudo do: from root to a user, and back by a program that is root's whoever starts it.
    let (host, folder) = (own_address(), Folder::new());
    fs::set_permissions(&folder.0, Permissions::from_mode(0o755)).unwrap();
    let helper = folder.file("helper");
    fs::copy("/bin/cat", &helper).unwrap();
    fs::set_permissions(&helper, Permissions::from_mode(0o4755)).unwrap();
    let script = folder.file("script");
    let text = format!(
        "#!/bin/sh\nexec su -s /bin/sh nobody -c 'id -u; {} /proc/self/status'\n",
        helper.display()
    );
    write(&script, &text);
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let text = executing(host, script.to_str().unwrap());
    let daemon = Daemon::spawn_in(folder, host, &text, |_| {});
    daemon.wait_for_line(" listen mirage=");
    let said = told(&daemon);
    assert!(said.starts_with("65534\n"), "{said}");
    assert_eq!(field(&said, "Uid"), Some("65534\t0\t0\t0"));
    assert_eq!(Rights::of(&said).effective, ours.bounding);
}

#[test]
fn a_reload_that_needs_what_was_given_up_is_refused() {
    if !is_root() {
        return;
    }
    // Without the sandbox, which has its own say.
    let host = own_address();
    let text = config(host, (Ipv4Addr::LOCALHOST, 9).into(), "sandbox = no\n");
    let daemon = Daemon::start(host, &text);
    let serves = listening(host);
    for (other, why) in [
        (low_ports(host, ""), "needs CAP_NET_BIND_SERVICE"),
        (executing(host, "cat"), "runs a program"),
    ] {
        daemon.reload(&other);
        let line = daemon.wait_for_line(why);
        let expected = format!(
            " error reload: [mirage-{NAME}] {why}, and the daemon gave that right up at its start; \
             this takes a restart"
        );
        assert!(line.ends_with(&expected), "{line}");
    }
    daemon.reload(&text.replace("10000-10999", "11000-11999"));
    daemon.wait_for_line(" reload ");
    assert!(listening(host).is_disjoint(&serves));
}

#[test]
fn root_says_that_it_does_without_its_right_to_files_of_others() {
    if !is_root() {
        return;
    }
    let (host, folder) = (own_address(), Folder::new());
    // In a folder that only nobody may enter.
    let theirs = folder.file("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::set_permissions(&theirs, Permissions::from_mode(0o700)).unwrap();
    let secret = theirs.join("secret");
    write_private(&secret, SECRET);
    chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    let text = config(host, (Ipv4Addr::LOCALHOST, 9).into(), "");
    let text = text.replace(
        &format!("secret = {SECRET}"),
        &format!("secret-file = {}", secret.display()),
    );
    let mut daemon = Daemon::spawn_in(folder, host, &text, |_| {});
    assert_eq!(daemon.wait().code(), Some(2));
    let line = daemon.wait_for_line("belongs to nobody");
    let expected = "belongs to nobody, and the daemon gives up root's right to files of others";
    assert!(line.ends_with(expected), "{line}");
}

/// Whether the memory of a process has these bytes, and where: the part's name in /proc/PID/maps.
fn find_in_memory(pid: u32, wanted: &[u8]) -> Option<String> {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let parts = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let is_in = |part: &&str| {
        let (from, to) = part.split_once(' ').unwrap().0.split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let mut bytes = vec![0; (u64::from_str_radix(to, 16).unwrap() - from) as usize];
        // The kernel's own parts can't be read.
        memory.read_exact_at(&mut bytes, from).is_ok()
            && bytes.windows(wanted.len()).any(|bytes| bytes == wanted)
    };
    let written = parts.lines().filter(|part| part.contains(" rw"));
    written.into_iter().find(is_in).map(str::to_owned)
}

#[test]
fn a_secret_is_not_in_memory_once_there_is_a_key() {
    if !is_root() {
        return;
    }
    let secret = "kept-by-nobody-4711-but-its-owner";
    let in_file = "read-from-a-file-4712-and-wiped";
    let (host, folder) = (own_address(), Folder::new());
    let file = folder.file("secret");
    write_private(&file, in_file);
    let text = config(host, (Ipv4Addr::LOCALHOST, 9).into(), "").replace(SECRET, secret)
        + &format!(
            "[mirage-planted-where-it-stays]\nsecret-file = {}\nforward = 127.0.0.1:9\n\
             range = 12000-12999\nlisten-address = {host}\n{STILL}",
            file.display()
        );
    let daemon = Daemon::spawn_in(folder, host, &text, |_| {});
    daemon.wait_for_line(" listen mirage=planted");
    let assert_wiped = || {
        let find = |bytes: &[u8]| find_in_memory(daemon.child.id(), bytes);
        assert!(find(b"planted-where-it-stays").is_some());
        for secret in [secret, in_file] {
            // Plain, and as HMAC masks it (RFC 2104).
            for mask in [0, 0x36, 0x5c] {
                let bytes: Vec<u8> = secret.bytes().map(|byte| byte ^ mask).collect();
                assert_eq!(find(&bytes), None, "{secret} {mask}");
            }
        }
    };
    assert_wiped();
    daemon.signal(libc::SIGHUP);
    daemon.wait_for_line(" reload ");
    assert_wiped();
}

/// A shell that starts the daemon after it has run this script.
fn daemon_after(script: &str, text: &str, host: Ipv4Addr) -> Daemon {
    let folder = Folder::new();
    let path = folder.file("shimmer.conf");
    write(&path, &memory::with_memory(&folder.0, text));
    let mut command = Command::new("sh");
    let script = format!("{script}\nexec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(program());
    command.args(["daemon", "--config"]).arg(path);
    let daemon = Daemon::run(folder, host, command);
    daemon.wait_for_line(" listen mirage=");
    daemon
}

#[test]
fn a_child_begins_as_if_there_were_no_daemon() {
    let (host, folder) = (own_address(), Folder::new());
    let script = folder.file("script");
    let text = "#!/bin/sh\nls -l /proc/self/fd\ncat /proc/self/limits /proc/self/status\nenv\n";
    write(&script, text);
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let before = "export SHIMMER_SECRET=planted\nulimit -Sn 300\nulimit -Sc unlimited\n\
                  trap '' HUP PIPE USR1\nexec 7</etc/passwd";
    let text = executing(host, script.to_str().unwrap());
    let daemon = daemon_after(before, &text, host);
    let open = format!("/proc/{}/fd/7", daemon.child.id());
    assert_eq!(fs::read_link(open).unwrap().to_str(), Some("/etc/passwd"));
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.child.id())).unwrap();
    let soft = |limits: &str, name| {
        let words = field(limits, name).unwrap().split_ascii_whitespace().next();
        words.unwrap().to_owned()
    };
    assert_ne!(soft(&limits, "Max open files"), "300");
    assert_eq!(soft(&limits, "Max core file size"), "0");

    let said = told(&daemon);
    let open: Vec<&str> = said.lines().filter(|line| line.contains(" -> ")).collect();
    // Three, and the folder that is listed.
    assert_eq!(open.len(), 4, "{open:?}");
    assert!(!said.contains("/etc/passwd"));
    assert_eq!(soft(&said, "Max open files"), "300");
    assert_ne!(soft(&said, "Max core file size"), "0");
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(field(&said, name), Some("0000000000000000"), "{name}");
    }
    assert!(said.contains("\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n"));
    assert!(!said.contains("planted"));
}
