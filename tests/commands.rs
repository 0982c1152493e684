//! Goal: what a command opens is closed again, whatever happens to the command, to the daemon and to its
//! configuration; and a service runs while somebody needs it.

use crate::common::asking::shimmer;
use crate::common::gates::*;
use crate::common::*;
use shimmer::limits::{HOOKS, STOP_MS};
use shimmer::sys::clock;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A mirage whose gate is a datagram, and whose door is a command that notes what it does.
struct Setting {
    keeper: Gatekeeper,
    member: Member,
    diary: Diary,
}

impl Setting {
    /// With scripts that run before the notes are made.
    fn new(open: &str, close: &str, more: &str) -> Self {
        let (host, folder) = (own_address(), Folder::new());
        let diary = Diary::new(&folder);
        let open = diary.command(&folder, "open", open);
        let close = diary.command(&folder, "close", close);
        let more =
            format!("door = command\nopen-command = {open}\nclose-command = {close}\n{more}");
        Self {
            keeper: Gatekeeper::start(folder, host, &section(host, &more)),
            member: silent_member(host, NAME, RANGE),
            diary,
        }
    }

    fn pass(&self, source: Ipv4Addr) {
        let datagram = self.member.datagram(clock::unix(), None);
        self.keeper.send(source, self.member.port(), &datagram);
    }

    fn config(&self) -> String {
        std::fs::read_to_string(self.keeper.daemon.config_path()).unwrap()
    }

    fn journal(&self) -> PathBuf {
        self.keeper.daemon.folder.file("state.open")
    }

    fn kill(&mut self) {
        self.keeper.daemon.signal(libc::SIGKILL);
        self.keeper.daemon.wait();
    }
}

/// Its line of the log, for [`visitor`] number one.
fn told(verb: &str) -> String {
    format!(" {verb} mirage={NAME} source=127.1.0.1")
}

#[test]
fn a_second_pass_renews_and_opens_nothing_twice() {
    apart(|| {
        let setting = Setting::new("", "", "open-timeout = 3s\n");
        setting.pass(visitor(1));
        // Its note is there a moment before the command has ended.
        setting.keeper.daemon.wait_for_line(&told("open"));
        assert_eq!(setting.keeper.doors(), ["127.1.0.1 ssh"]);
        let seconds = || setting.keeper.ask("status")["doors"][0]["seconds"].as_u64();
        wait_for("half of its time", || (seconds() <= Some(2)).then_some(()));
        let renewed = Instant::now();
        setting.pass(visitor(1));
        assert_eq!(seconds(), Some(3));
        setting.diary.wait_for("close 127.1.0.1", 1);
        assert_took(renewed, 3);
        setting.keeper.daemon.wait_for_line(&told("shut"));
        assert_eq!(setting.diary.lines(), ["open 127.1.0.1", "close 127.1.0.1"]);
        assert!(setting.keeper.doors().is_empty());
        assert!(!setting.journal().exists());
        // The second line is of the renewal: it says until when, and opened nothing.
        assert_eq!(setting.keeper.daemon.count(" open mirage="), 2);
    });
}

#[test]
fn without_a_command_that_closes_it_the_log_says_as_well_that_its_time_is_over() {
    apart(|| {
        let (host, folder) = (own_address(), Folder::new());
        let more = "door = command\nopen-command = true\nopen-timeout = 2s\n";
        let keeper = Gatekeeper::start(folder, host, &section(host, more));
        let member = silent_member(host, NAME, RANGE);
        keeper.send(
            visitor(1),
            member.port(),
            &member.datagram(clock::unix(), None),
        );
        keeper.daemon.wait_for_line(&told("open"));
        let opened = Instant::now();
        assert_eq!(keeper.doors(), ["127.1.0.1 ssh"]);
        keeper.daemon.wait_for_line(&told("shut"));
        assert_took(opened, 2);
        assert!(keeper.doors().is_empty());
    });
}

#[test]
fn one_that_fails_to_open_is_told_with_its_last_line_and_is_not_open() {
    apart(|| {
        let script = "[ -e /nonexistent ] || { echo trying; echo 'no such table' >&2; exit 3; }";
        let setting = Setting::new(script, "", "");
        setting.pass(visitor(1));
        let line = setting.keeper.daemon.wait_for_line(" error ");
        let expected = "source=127.1.0.1 open-command: exit=3: no such table";
        assert!(line.ends_with(expected), "{line}");
        assert!(setting.keeper.doors().is_empty());
        setting.pass(visitor(1));
        setting.keeper.daemon.wait_for_lines(" error ", 2);
        assert!(setting.diary.lines().is_empty());
        assert_eq!(setting.keeper.counter("passed"), 0);
        assert!(!setting.journal().exists());
    });
}

#[test]
fn a_failing_close_is_tried_again_with_growing_pauses() {
    apart(|| {
        let script = "echo x >>$0.tries; [ $(wc -l <$0.tries) -gt 3 ] || { echo busy; exit 1; }";
        let setting = Setting::new("", script, "open-timeout = 1s\n");
        setting.pass(visitor(1));
        let daemon = &setting.keeper.daemon;
        let mut failed = Vec::new();
        for count in 1..=3 {
            let lines = daemon.wait_for_lines(&told("error"), count);
            failed.push(Instant::now());
            assert!(lines[count - 1].ends_with(" close-command: exit=1: busy"));
            // It may be open, and who has to close it knows.
            assert_eq!(setting.keeper.doors(), ["127.1.0.1 ssh"]);
            assert!(setting.journal().exists());
        }
        daemon.wait_for_line(&told("shut"));
        failed.push(Instant::now());
        let pauses: Vec<Duration> = failed.windows(2).map(|two| two[1] - two[0]).collect();
        for (pause, seconds) in pauses.iter().zip([1, 2, 4]) {
            assert!(
                *pause + Duration::from_millis(300) > Duration::from_secs(seconds),
                "{pauses:?}"
            );
        }
        assert_eq!(setting.diary.count("close 127.1.0.1"), 1);
        assert!(setting.keeper.doors().is_empty());
        assert!(!setting.journal().exists());
    });
}

#[test]
fn what_is_open_when_the_daemon_is_killed_is_closed_by_the_next() {
    apart(|| {
        let mut setting = Setting::new("", "", "open-timeout = 2s\n");
        setting.pass(visitor(1));
        setting.diary.wait_for("open 127.1.0.1", 1);
        setting.kill();
        let mode = std::fs::metadata(setting.journal())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // Nobody who could write to it could have a command run.
        let journal = std::fs::read_to_string(setting.journal()).unwrap();
        assert!(!journal.contains("close.sh"), "{journal}");
        let next = Daemon::start(setting.member.host, &setting.config());
        next.wait_for_line(" state open=1");
        setting.diary.wait_for("close 127.1.0.1", 1);
        next.wait_for_line(&told("shut"));
        wait_for("the journal's end", || {
            (!setting.journal().exists()).then_some(())
        });
        assert_eq!(setting.diary.lines(), ["open 127.1.0.1", "close 127.1.0.1"]);
    });
}

/// The commands are the configuration's, and this one has none for it.
#[test]
fn what_no_mirage_closes_is_told_and_stays_recorded_until_one_does() {
    apart(|| {
        let mut setting = Setting::new("", "", "open-timeout = 1s\n");
        setting.pass(visitor(1));
        setting.diary.wait_for("open 127.1.0.1", 1);
        setting.kill();
        let text = setting.config();
        let renamed = text.replace(&format!("[mirage-{NAME}]"), "[mirage-other]");
        let mut next = Daemon::start(setting.member.host, &renamed);
        let told = format!("{} is open, and no mirage ", told("error"));
        next.wait_for_line(&told);
        next.signal(libc::SIGTERM);
        assert_eq!(next.wait().code(), Some(1));
        next.wait_for_line(" error open=1 doors could not be closed");
        assert!(setting.journal().exists());

        // Nor can it be closed without a daemon.
        let closed = shimmer(&["close-all", "--config"], &[&next.config_path()]);
        assert_eq!(closed.code, 1);
        assert!(setting.journal().exists());
        assert_eq!(setting.diary.count("close 127.1.0.1"), 0);

        let next = Daemon::start(setting.member.host, &renamed);
        next.wait_for_line(&told);
        next.reload(&text);
        setting.diary.wait_for("close 127.1.0.1", 1);
        wait_for("the journal's end", || {
            (!setting.journal().exists()).then_some(())
        });
    });
}

/// After a reboot nothing is open of what was: to renew it would be to open nothing.
#[test]
fn who_passes_after_a_restart_finds_it_open() {
    apart(|| {
        let mut setting = Setting::new("", "", "open-timeout = 5s\n");
        setting.pass(visitor(1));
        setting.diary.wait_for("open 127.1.0.1", 1);
        setting.kill();
        let next = Daemon::start(setting.member.host, &setting.config());
        next.wait_for_line(" state open=1");
        assert_eq!(setting.keeper.doors(), ["127.1.0.1 ssh"]);
        setting.pass(visitor(1));
        setting.diary.wait_for("open 127.1.0.1", 2);
        setting.diary.wait_for("close 127.1.0.1", 2);
        let [open, close] = ["open 127.1.0.1", "close 127.1.0.1"];
        assert_eq!(setting.diary.lines(), [open, close, open, close]);
    });
}

/// And the other way round: it is killed while the command that opens runs.
#[test]
fn what_was_only_just_being_opened_is_closed_too() {
    apart(|| {
        let script = "echo began >>$0.began; sleep 3";
        let mut setting = Setting::new(script, "", "open-timeout = 1s\n");
        setting.pass(visitor(1));
        let began = setting.keeper.daemon.folder.file("open.sh.began");
        wait_for("the command", || began.exists().then_some(()));
        setting.kill();
        let next = Daemon::start(setting.member.host, &setting.config());
        next.wait_for_line(" state open=1");
        setting.diary.wait_for("close 127.1.0.1", 1);
    });
}

#[test]
fn a_reload_that_drops_the_mirage_or_moves_the_state_file_loses_nothing() {
    apart(|| {
        let mut setting = Setting::new("", "", "open-timeout = 4s\n");
        let text = setting.config();
        let folder = setting.keeper.daemon.folder.0.clone();
        setting.pass(visitor(1));
        setting.diary.wait_for("open 127.1.0.1", 1);
        let dropped = text.replace(&format!("[mirage-{NAME}]"), "[mirage-other]");
        setting.keeper.daemon.reload(&dropped);
        setting
            .keeper
            .daemon
            .wait_for_line(" reload mirages=1 dropped=1");
        setting.diary.wait_for("close 127.1.0.1", 1);
        setting.keeper.daemon.wait_for_line(&told("shut"));

        setting.keeper.daemon.reload(&text);
        setting
            .keeper
            .daemon
            .wait_for_lines(" reload mirages=1 ", 2);
        setting.pass(visitor(2));
        setting.diary.wait_for("open 127.1.0.2", 1);
        let [state, elsewhere] = ["state", "elsewhere"].map(|name| folder.join(name));
        let line = |path: &PathBuf| format!("state-file = {}\n", path.display());
        let moved = text.replace(&line(&state), &line(&elsewhere));
        setting.keeper.daemon.reload(&moved);
        setting
            .keeper
            .daemon
            .wait_for_lines(" reload mirages=1 ", 3);
        assert!(!setting.journal().exists());
        setting.kill();
        assert!(folder.join("elsewhere.open").exists());
        let next = Daemon::start(setting.member.host, &moved);
        next.wait_for_line(" state open=1");
        setting.diary.wait_for("close 127.1.0.2", 1);
        assert_eq!(setting.diary.count("close 127.1.0.1"), 1);
    });
}

/// A stop and a restart by the service manager are the same for the daemon.
#[test]
fn a_daemon_that_ends_closes_what_is_open() {
    apart(|| {
        let mut setting = Setting::new("", "", "open-timeout = 1h\n");
        for number in [1, 2] {
            setting.pass(visitor(number));
            setting.diary.wait_for(&format!("open 127.1.0.{number}"), 1);
        }
        let daemon = &mut setting.keeper.daemon;
        let refused = shimmer(&["close-all", "--config"], &[&daemon.config_path()]);
        let why = "shimmer: a daemon is running: stop it, and it closes its doors\n";
        assert_eq!((refused.code, &*refused.error), (1, why));
        daemon.signal(libc::SIGTERM);
        assert_eq!(daemon.wait().code(), Some(0));
        for number in [1, 2] {
            assert_eq!(setting.diary.count(&format!("close 127.1.0.{number}")), 1);
        }
        assert!(!setting.journal().exists());
    });
}

/// Its process group is killed, and the command that closes it runs after that, all before the daemon ends.
#[test]
fn a_daemon_that_ends_closes_what_hangs_while_it_opens() {
    apart(|| {
        let hangs = "echo half-open >>$0.did; sleep 300; echo open >>$0.did";
        let mut setting = Setting::new(hangs, "", "open-timeout = 1h\n");
        setting.pass(visitor(1));
        let did = setting.keeper.daemon.folder.file("open.sh.did");
        wait_for("a half of it", || did.exists().then_some(()));
        let daemon = &mut setting.keeper.daemon;
        let begin = Instant::now();
        daemon.signal(libc::SIGTERM);
        assert_eq!(daemon.wait().code(), Some(0));
        assert!(begin.elapsed() < Duration::from_millis(STOP_MS));
        daemon.wait_for_line(&format!("{} open-command: killed", told("error")));
        assert_eq!(setting.diary.lines(), ["close 127.1.0.1"]);
        assert_eq!(std::fs::read_to_string(did).unwrap(), "half-open\n");
        assert!(!setting.journal().exists());
    });
}

/// It is told, and the next one that can closes it.
#[test]
fn what_can_not_be_closed_at_the_end_stays_recorded() {
    apart(|| {
        let mut setting = Setting::new("", "exit 3\n", "open-timeout = 1h\n");
        setting.pass(visitor(1));
        setting.diary.wait_for("open 127.1.0.1", 1);
        let daemon = &mut setting.keeper.daemon;
        daemon.signal(libc::SIGTERM);
        daemon.wait_for_line(&format!("{} close-command: exit=3", told("error")));
        assert_eq!(daemon.wait().code(), Some(1));
        daemon.wait_for_line(" error open=1 doors could not be closed");
        assert!(setting.journal().exists());

        // Once it can be closed, no daemon is needed for that.
        setting
            .diary
            .command(&setting.keeper.daemon.folder, "close", "");
        let config = setting.keeper.daemon.config_path();
        let close_all = || shimmer(&["close-all", "--config"], &[&config]);
        let closed = close_all();
        assert_eq!((closed.code, &*closed.out), (0, "closed 1\n"));
        assert_eq!(setting.diary.count("close 127.1.0.1"), 1);
        assert!(!setting.journal().exists());
        assert_eq!(close_all().out, "nothing was open\n");
    });
}

/// Some hang, and others pass; more hang than may run at once, and others wait until those are killed.
#[test]
fn commands_that_hang_are_killed_and_stop_nobody_for_longer() {
    apart(|| {
        let (host, folder) = (own_address(), Folder::new());
        let diary = Diary::new(&folder);
        // Its own process, so that it is not the shell alone that is killed.
        let open = diary.command(&folder, "open", "case $1 in 127.1.1.*) sleep 300; esac");
        let close = diary.command(&folder, "close", "");
        // Who comes by a port is closed once it is open, or will not be.
        let text = section(
            host,
            &format!("door = command\nopen-command = {open}\nclose-command = {close}\n"),
        )
        .replace("gate = packet", "gate = port");
        let keeper = Gatekeeper::start(folder, host, &text);
        let member = Member::new(host, RANGE);
        let hanging = |number: u8| member.enter(Ipv4Addr::new(127, 1, 1, number));
        let mut streams: Vec<TcpStream> = (1..=3).map(hanging).collect();
        assert_closed(&mut member.enter(visitor(1)));
        assert_eq!(diary.lines(), ["open 127.1.0.1"]);

        streams.extend((4..=HOOKS as u8 + 1).map(hanging));
        let mut waits = member.enter(visitor(2));
        assert_held(&mut waits);
        // As often as he likes.
        let mut others: Vec<TcpStream> = (0..8).map(|_| member.enter(visitor(2))).collect();
        let line = keeper
            .daemon
            .wait_for_line(" open-command: killed, its time was over");
        assert!(line.contains(" error mirage=ssh source=127.1.1."), "{line}");
        assert_closed(&mut waits);
        others.iter_mut().for_each(assert_closed);
        assert_eq!(diary.count("open 127.1.0.2"), 1);
        streams[..3].iter_mut().for_each(assert_closed);
        // What they may have opened is closed.
        let is_member = |door: &String| door.starts_with("127.1.0.");
        let are_closed = || keeper.doors().iter().all(is_member).then_some(());
        wait_for("the others to be closed", are_closed);
        diary.wait_for("close 127.1.1.1", 1);
    });
}

#[test]
fn passes_leave_no_descriptor_and_no_memory_behind() {
    apart(|| {
        let (host, folder) = (own_address(), Folder::new());
        let more = "door = command\nopen-command = true\nclose-command = true\nopen-timeout = 1s\n";
        let keeper = Gatekeeper::start(folder, host, &section(host, more));
        let member = silent_member(host, NAME, RANGE);
        let pass = |from: u16, to: u16| {
            for number in from..to {
                let datagram = member.datagram(clock::unix(), None);
                keeper.send(visitor(number), member.port(), &datagram);
                let passed = || keeper.counter("passed") > u64::from(number);
                wait_for("the door", || passed().then_some(()));
            }
            wait_for("all to be shut", || keeper.doors().is_empty().then_some(()));
        };
        // The tables of sources that are told and of what is open are full by then.
        pass(0, 300);
        let (descriptors, memory) = (keeper.daemon.descriptors(), keeper.daemon.memory_kib());
        pass(300, 500);
        assert_eq!(keeper.daemon.descriptors(), descriptors);
        let grown = keeper.daemon.memory_kib().saturating_sub(memory);
        assert!(grown < 200, "{grown} KiB more");
    });
}

#[test]
fn a_process_is_a_session_until_it_ends() {
    apart(|| {
        let (host, folder) = (own_address(), Folder::new());
        let mut text = section(host, "exec = sh -c \"read word; echo $word; exit $word\"\n")
            .replace("gate = packet", "gate = token");
        text.insert_str(0, "max-sessions-per-source = 2\n");
        let mut keeper = Gatekeeper::start(folder, host, &text);
        let member = Member::new(host, RANGE);
        let mut sessions: Vec<TcpStream> = (0..2)
            .map(|_| member.enter_with_token(visitor(1)))
            .collect();
        let accept = format!(" accept mirage={NAME} source=127.1.0.1 ");
        keeper.daemon.wait_for_lines(&accept, 2);
        assert_eq!(
            keeper.ask("status")["sessions"].as_array().unwrap().len(),
            2
        );
        assert_closed(&mut member.enter_with_token(visitor(1)));
        let line = keeper.daemon.wait_for_line(" full source=127.1.0.1 ");
        assert!(line.ends_with(" reason=source"), "{line}");

        for (session, (word, end)) in sessions
            .iter_mut()
            .zip([("0\n", "closed"), ("3\n", "failed")])
        {
            assert_echo(session, word);
            assert_closed(session);
            let line = keeper.daemon.wait_for_line(&format!(" end={end}"));
            assert!(
                line.contains(" close mirage=ssh source=127.1.0.1 "),
                "{line}"
            );
        }
        // There is room again, and the daemon's end is not a session's.
        let mut session = member.enter_with_token(visitor(1));
        keeper.daemon.wait_for_lines(&accept, 3);
        keeper.daemon.signal(libc::SIGTERM);
        assert_eq!(keeper.daemon.wait().code(), Some(0));
        assert_echo(&mut session, "5\n");
        assert_closed(&mut session);
    });
}

/// One that can not be started is told, and costs no place.
#[test]
fn a_process_that_is_not_there_is_told() {
    let (host, folder) = (own_address(), Folder::new());
    let mut text = String::new();
    let _ = write!(text, "{}", section(host, "exec = /nonexistent/sshd -i\n"));
    let keeper = Gatekeeper::start(folder, host, &text.replace("gate = packet", "gate = port"));
    let member = Member::new(host, RANGE);
    let before = keeper.daemon.descriptors();
    for _ in 0..3 {
        assert_closed(&mut member.enter(visitor(1)));
    }
    let line = keeper
        .daemon
        .wait_for_line(" error mirage=ssh source=127.1.0.1 exec: ");
    assert!(line.contains("No such file"), "{line}");
    assert_eq!(keeper.daemon.descriptors(), before);
}
