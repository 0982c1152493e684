//! The real loop under a clock that the test holds: it stands still until the test moves it, and no
//! wall clock is touched.

use crate::common::driven::{DrivenDaemon, NOON, World};
use crate::common::gates::*;
use crate::common::*;
use shimmer::proto::scheme::knock::Protocols;
use shimmer::proto::scheme::schedule::{Pattern, Range};
use shimmer::sys::clock;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A daemon that the test drives, and a member of its mirage.
struct Stage {
    daemon: DrivenDaemon,
    member: Member,
    folder: Folder,
    _echo: Echo,
}

impl Stage {
    fn start(unix: u64, more: &str, mirage: &str) -> Self {
        Self::start_with(unix, more, mirage, |_| {})
    }

    fn start_with(unix: u64, more: &str, mirage: &str, prepare: impl Fn(&Folder)) -> Self {
        let stage = Self::begin(unix, more, mirage, true, prepare);
        stage.wait_for_lines(" listen mirage=ssh", 1);
        stage
    }

    fn start_anyhow(unix: u64, more: &str, mirage: &str, is_kept: bool) -> Self {
        Self::begin(unix, more, mirage, is_kept, |_| {})
    }

    fn begin(
        unix: u64,
        more: &str,
        mirage: &str,
        is_kept: bool,
        prepare: impl Fn(&Folder),
    ) -> Self {
        let (host, echo, folder) = (own_address(), Echo::start(), Folder::new());
        let more = format!("log = {}\n{more}", folder.file("log").display());
        let more = more.replace("FOLDER", &folder.0.display().to_string());
        let mut text = config(host, echo.address, &more).replace(STILL, "") + mirage;
        if more.contains("state-file") {
            text = text.replace("state-file = none\n", "");
        }
        let mut range = (10_000, 10_999);
        if mirage.contains("range") {
            text = text.replace("range = 10000-10999\n", "");
            range = (10_000, 10_047);
        }
        let path = folder.file("shimmer.conf");
        write(&path, &memory::with_memory(&folder.0, &text));
        prepare(&folder);
        let mut world = World::at(unix);
        world.is_kept = is_kept;
        Self {
            daemon: DrivenDaemon::start(path, world, |_| {}),
            member: Member::with_pattern(host, range, 15, 60),
            folder,
            _echo: echo,
        }
    }

    /// See [`DrivenDaemon::change`].
    #[track_caller]
    fn change(&self, change: impl FnOnce(&mut World)) {
        self.daemon.change(change);
    }

    /// Time goes by, on both clocks.
    fn pass(&self, seconds: u64) {
        self.change(|world| world.pass_ms(seconds * 1_000));
    }

    /// Somebody sets the clock.
    fn set(&self, unix: u64) {
        self.change(|world| world.set(unix));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.file("log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for_lines(&self, part: &str, count: usize) -> Vec<String> {
        wait_for(part, || {
            let log = self.log();
            let found: Vec<_> = log
                .lines()
                .filter(|line| line.contains(part))
                .map(String::from)
                .collect();
            (found.len() >= count).then_some(found)
        })
    }

    fn open(&self) -> BTreeSet<u16> {
        listening(self.member.host)
    }

    fn real(&self, unix: u64) -> u16 {
        self.member.real(unix / 60)
    }

    fn scheduled(&self, minutes: impl IntoIterator<Item = u64>) -> BTreeSet<u16> {
        let member = &self.member;
        let ports = |minute| member.pattern.ports(&member.key, minute);
        minutes.into_iter().flat_map(ports).collect()
    }

    fn three_around(&self, unix: u64) -> BTreeSet<u16> {
        let minute = unix / 60;
        self.scheduled(minute - 1..=minute + 1)
    }

    fn gets_in(&self, source: Ipv4Addr, port: u16) -> bool {
        let Ok(mut stream) = self.member.connect(source, port) else {
            return false;
        };
        let said = stream.write_all(b"x").and_then(|()| stream.read(&mut [0]));
        matches!(said, Ok(1))
    }

    /// Shows a silent gate what opened it at a moment, and whether it does now.
    fn opens(&self, gate: &str, source: Ipv4Addr, unix: u64) -> bool {
        if gate == "knock" {
            for hop in self.member.sequence(unix / 60, 3, Protocols::Tcp) {
                touch(source, self.member.at(hop.port), hop.protocol);
                self.change(|_| {});
            }
        } else {
            let datagram = self.member.datagram(unix, None);
            send_from(source, self.member.at(self.real(unix)), &datagram);
            self.change(|_| {});
        }
        self.log()
            .contains(&format!(" open mirage=ssh source={source} "))
    }

    /// A port that is a trap at this moment, and real in no window around.
    fn trap(&self, unix: u64) -> u16 {
        let real: Vec<u16> = (0..31)
            .map(|window| self.real(unix - 900 + window * 60))
            .collect();
        let ports = self.member.pattern.ports(&self.member.key, unix / 60);
        ports.into_iter().find(|port| !real.contains(port)).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the log:\n{}", self.log());
        }
    }
}

#[test]
fn the_ports_turn_with_the_minute_to_the_second() {
    let stage = Stage::start(NOON, "", "");
    assert_eq!(stage.open(), stage.three_around(NOON));
    stage.pass(59);
    assert_eq!(stage.open(), stage.three_around(NOON));
    stage.change(|world| world.real_ms += 999);
    assert_eq!(stage.open(), stage.three_around(NOON));
    stage.change(|world| world.real_ms += 1);
    assert_eq!(stage.open(), stage.three_around(NOON + 60));
    for minute in 2..6 {
        stage.pass(60);
        assert_eq!(stage.open(), stage.three_around(NOON + minute * 60));
    }
}

#[test]
fn a_session_outlives_the_turns_and_its_port() {
    let stage = Stage::start(NOON, "", "");
    let port = stage.real(NOON);
    let mut session = stage.member.connect(visitor(1), port).unwrap();
    assert_echo(&mut session, "in");
    for _ in 0..5 {
        stage.pass(60);
        assert_echo(&mut session, "still in");
    }
    assert!(!stage.open().contains(&port));
}

#[test]
fn a_visitor_in_the_queue_of_a_port_that_closes_is_served() {
    let stage = Stage::start(NOON, "", "");
    let last = stage.real(NOON - 60);
    // The loop is kept from its next turn, the visitor comes, and with that turn its port goes.
    let mut session = stage.daemon.at_once(
        || stage.member.connect(visitor(1), last).unwrap(),
        |world| world.pass_ms(60_000),
    );
    assert_echo(&mut session, "served");
    stage.pass(0);
    assert_eq!(stage.open(), stage.three_around(NOON + 60));
}

#[test]
fn a_token_is_tried_for_the_minutes_that_its_visitor_found() {
    let stage = Stage::start(NOON, "", "gate = token\n");
    let (minute, port) = (NOON / 60 - 1, stage.real(NOON - 60));
    let mut early = stage.member.connect(visitor(1), port).unwrap();
    let mut late = stage.member.connect(visitor(2), port).unwrap();
    stage.change(|_| {});
    // The minute turns, and the port closes, between the handshake and the token.
    stage.set(NOON + 60);
    assert!(!stage.open().contains(&port));
    early.write_all(&stage.member.token(minute, port)).unwrap();
    assert_echo(&mut early, "in");
    // Three seconds are three seconds, though.
    stage.pass(3);
    late.write_all(&stage.member.token(minute, port)).unwrap();
    stage.change(|_| {});
    assert_held(&mut late);
}

/// Says a token of a minute at its port. Whether that leads to the service.
fn is_good(stage: &Stage, source: Ipv4Addr, unix: u64, token: &[u8]) -> bool {
    let mut stream = stage.member.connect(source, stage.real(unix)).unwrap();
    stream.write_all(token).unwrap();
    stage.change(|_| {});
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    stream.write_all(b"x").unwrap();
    matches!(stream.read(&mut [0]), Ok(1))
}

fn token_of(stage: &Stage, unix: u64) -> Vec<u8> {
    stage.member.token(unix / 60, stage.real(unix)).to_vec()
}

#[test]
fn a_clock_set_back_brings_no_used_token_back() {
    let stage = Stage::start(NOON, "", "gate = token\n");
    let token = token_of(&stage, NOON);
    assert!(is_good(&stage, visitor(1), NOON, &token));
    for _ in 0..14 {
        stage.pass(60);
    }
    stage.set(NOON);
    // The window is served again.
    assert!(!is_good(&stage, visitor(2), NOON, &token));
    stage.wait_for_lines(" trap mirage=ssh source=127.1.0.2 ", 1);
    assert!(is_good(&stage, visitor(3), NOON, &token_of(&stage, NOON)));
}

#[test]
fn without_a_memory_of_before_nobody_gets_in_for_two_windows() {
    let forget = |folder: &Folder| std::fs::remove_file(folder.file("state.used")).unwrap();
    let stage = Stage::start_with(NOON, "", "gate = token\n", forget);
    for unix in [NOON, NOON + 60] {
        assert!(!is_good(&stage, visitor(1), unix, &token_of(&stage, unix)));
        stage.pass(60);
    }
    stage.wait_for_lines(" trap mirage=ssh source=127.1.0.1", 2);
    stage.wait_for_lines(" reason=forgotten", 2);
    let unix = NOON + 120;
    assert!(is_good(&stage, visitor(1), unix, &token_of(&stage, unix)));
}

#[test]
fn a_clock_that_was_a_year_ahead_for_a_minute_locks_no_token_out() {
    let stage = Stage::start(NOON, "", "gate = token\n");
    let ahead = NOON + 31_536_000;
    stage.set(ahead);
    assert!(is_good(&stage, visitor(1), ahead, &token_of(&stage, ahead)));
    stage.pass(60);
    let right = NOON + 180;
    stage.set(right);
    assert!(is_good(&stage, visitor(2), right, &token_of(&stage, right)));
}

#[test]
fn a_step_moves_the_ports_at_once_and_bans_nobody_for_a_window() {
    for (step, text) in [(3_600i64, "step=+3600.000s"), (-7_200, "step=-7200.000s")] {
        let stage = Stage::start(NOON, "", "");
        let then = NOON.checked_add_signed(step).unwrap();
        stage.set(then);
        assert_eq!(stage.open(), stage.three_around(then));
        stage.wait_for_lines(text, 1);
        let mut held = stage.member.connect(visitor(1), stage.trap(then)).unwrap();
        stage.wait_for_lines("reason=clock", 1);
        assert_held(&mut held);
        stage.pass(60);
        stage
            .member
            .connect(visitor(1), stage.trap(then + 60))
            .unwrap();
        stage.wait_for_lines(" ban source=127.1.0.1", 1);
    }
}

#[test]
fn a_clock_set_back_brings_no_port_back_and_locks_nobody_out_for_long() {
    let stage = Stage::start(NOON, "", "");
    stage.pass(60);
    stage.pass(60);
    stage.set(NOON);
    // NOON + 60 is the one window of the three that is still open.
    assert_eq!(stage.open(), stage.scheduled([NOON / 60 + 1]));
    assert!(stage.gets_in(visitor(1), stage.real(NOON + 60)));
    stage.pass(60);
    assert_eq!(stage.open(), stage.scheduled([NOON / 60 + 1]));
    stage.pass(600);
    assert_eq!(stage.open(), stage.three_around(NOON + 660));
}

#[test]
fn a_glitch_of_the_clock_costs_two_minutes_at_most() {
    let stage = Stage::start(NOON, "", "");
    stage.set(2_208_988_800);
    assert_eq!(stage.open(), stage.three_around(2_208_988_800));
    stage.set(NOON + 5);
    assert_eq!(stage.open(), BTreeSet::new());
    stage.wait_for_lines("served before it was set back", 1);
    stage.pass(115);
    assert!(stage.gets_in(visitor(1), stage.real(NOON + 120)));
    stage.wait_for_lines("clock right, ports open", 1);
}

#[test]
fn before_its_release_it_opens_nothing_says_so_and_says_when_it_is_over() {
    let stage = Stage::start(1_000_000, "", "");
    assert_eq!(stage.open(), BTreeSet::new());
    stage.wait_for_lines("it is before this release", 1);
    for hour in 2..4 {
        stage.pass(3_600);
        assert_eq!(
            stage
                .wait_for_lines("it is before this release", hour)
                .len(),
            hour
        );
    }
    stage.set(NOON);
    assert_eq!(stage.open(), stage.three_around(NOON));
    stage.wait_for_lines("clock right, ports open", 1);
}

#[test]
fn a_clock_that_is_waited_for_is_looked_at_each_minute_and_on_reload() {
    for reload in [false, true] {
        let stage = Stage::start_anyhow(NOON, "clock = wait", "", false);
        stage.wait_for_lines("nobody has set it yet", 1);
        stage.pass(60);
        assert_eq!(stage.open(), BTreeSet::new());
        stage.change(|world| world.is_kept = true);
        assert_eq!(stage.open(), BTreeSet::new());
        if reload {
            stage.change(World::reload);
        } else {
            stage.pass(60);
        }
        stage.wait_for_lines("clock right, ports open", 1);
        assert!(!stage.open().is_empty());
        // It is not asked for again.
        stage.change(|world| world.is_kept = false);
        stage.pass(60);
        assert!(!stage.open().is_empty());
    }
}

#[test]
fn dates_after_2038_and_2106_are_like_any_other() {
    for unix in [(1u64 << 31) - 30, (1 << 32) - 30, 253_402_300_700] {
        let stage = Stage::start(unix, "", "");
        stage.pass(60);
        assert_eq!(stage.open(), stage.three_around(unix + 60));
        assert!(stage.gets_in(visitor(1), stage.real(unix + 60)));
    }
}

#[test]
fn a_ban_lasts_fifteen_minutes_from_the_last_touch() {
    let stage = Stage::start(NOON, "", "");
    stage.member.connect(visitor(1), stage.trap(NOON)).unwrap();
    stage.wait_for_lines(" ban source=127.1.0.1", 1);
    stage.pass(600);
    assert!(!stage.gets_in(visitor(1), stage.real(NOON + 600)));
    let mut again = stage
        .member
        .connect(visitor(1), stage.trap(NOON + 600))
        .unwrap();
    assert_closed(&mut again);
    stage.pass(899);
    assert!(!stage.gets_in(visitor(1), stage.real(NOON + 1_499)));
    stage.pass(1);
    stage.wait_for_lines(" unban source=127.1.0.1 attempts=", 1);
    assert!(stage.gets_in(visitor(1), stage.real(NOON + 1_500)));
}

#[test]
fn the_state_is_written_once_a_minute_and_only_when_there_is_news() {
    let stage = Stage::start(NOON, "state-file = FOLDER/state", "");
    let state = stage.folder.file("state");
    stage.member.connect(visitor(1), stage.trap(NOON)).unwrap();
    stage.wait_for_lines(" ban source=127.1.0.1", 1);
    stage.pass(59);
    assert!(!state.exists());
    stage.pass(1);
    let text = std::fs::read_to_string(&state).unwrap();
    assert!(
        text.contains(&format!("ban 127.1.0.1 {NOON} 1\n")),
        "{text}"
    );
    // A daemon that is killed now leaves just this to the next one.
    let next = Stage::start_with(NOON + 70, "state-file = FOLDER/state", "", |folder| {
        write(&folder.file("state"), &text);
    });
    next.wait_for_lines(" state bans=1", 1);
    assert!(!next.gets_in(visitor(1), next.real(NOON + 70)));
    next.pass(830);
    assert!(next.gets_in(visitor(1), next.real(NOON + 900)));

    std::fs::remove_file(&state).unwrap();
    stage.pass(300);
    assert!(!state.exists());
}

/// A client whose clock is off computes the port of another minute. The range is so narrow that
/// most of them are open.
#[test]
fn a_client_whose_clock_is_off_is_forgiven_or_told_of_in_the_log() {
    let range = Range::new(10_000, 10_047).unwrap();
    let key = shimmer::proto::scheme::key::Key::stretch(SECRET.as_bytes(), NAME);
    let pattern = Pattern::new(range, 15, 60).unwrap();
    let real = |minute: u64| pattern.real(&key, minute);
    for (off, is_banned) in [
        (-3i64, false),
        (-2, false),
        (2, false),
        (3, false),
        (5, true),
        (15, true),
        (-5, true),
    ] {
        // A minute in which the port that such a client dials is open, and off by just that.
        let minute = (NOON / 60..).find(|&minute| {
            let dialled = real(minute.checked_add_signed(off).unwrap());
            let live: Vec<u16> = (minute - 1..=minute + 1).map(real).collect();
            let open = (minute - 1..=minute + 1)
                .any(|minute| pattern.ports(&key, minute).contains(&dialled));
            let nearest = (-15i64..=15)
                .filter(|&other| real(minute.checked_add_signed(other).unwrap()) == dialled)
                .min_by_key(|other| other.abs());
            open && !live.contains(&dialled) && nearest == Some(off)
        });
        let minute = minute.unwrap();
        let stage = Stage::start(minute * 60, "", "range = 10000-10047\n");
        let dialled = real(minute.checked_add_signed(off).unwrap());
        let mut held = stage.member.connect(visitor(1), dialled).unwrap();
        assert_held(&mut held);
        let verb = if is_banned { " ban " } else { " trap " };
        let line = stage.wait_for_lines(verb, 1).pop().unwrap();
        assert!(
            line.ends_with(&format!(" clock-off={off}m")),
            "{off}: {line}"
        );
        // A port to come is never named.
        let names_it = line.contains(&format!("port={dialled}"));
        assert!(off < 0 || !names_it, "{off}: {line}");
        assert_eq!(stage.gets_in(visitor(1), real(minute)), !is_banned, "{off}");
    }
}

/// Who is let in by a silent gate comes to a port that is filtered, which not everybody may.
fn apart_or_not_at_all(test: &(impl Fn() + Sync)) {
    if !only_apart(test) {
        eprintln!("no network of its own: clocks at silent gates are not shown");
    }
}

#[test]
fn a_clock_that_jumps_changes_nothing_for_who_is_let_in_by_a_silent_gate() {
    apart_or_not_at_all(&|| {
        for gate in ["knock", "packet"] {
            let stage = Stage::start(NOON, "", &format!("gate = {gate}\n"));
            let at = |unix| stage.member.at(stage.real(unix));
            assert!(stage.opens(gate, visitor(1), NOON));
            let mut session = connect_from(visitor(1), at(NOON)).unwrap();
            assert_echo(&mut session, "in");

            let later = NOON + 3_600;
            stage.set(later);
            assert_echo(&mut session, "still in");
            // He finds the port of the minute that it is now, and nobody else does.
            assert!(stage.gets_in(visitor(1), stage.real(later)));
            assert_shut(visitor(2), at(later));
            assert_shut(visitor(1), at(NOON));
            assert!(!stage.opens(gate, visitor(2), NOON));
            assert!(stage.opens(gate, visitor(2), later));

            // His time is that of the boot clock.
            stage.pass(29);
            assert!(stage.gets_in(visitor(1), stage.real(later)));
            stage.pass(1);
            stage.wait_for_lines(" shut mirage=ssh source=127.1.0.1", 1);
            assert_shut(visitor(1), at(later));
            assert_echo(&mut session, "still in");

            // Whoever has seen what opened it at noon can do nothing with it when it is noon again.
            stage.set(NOON + 30);
            assert!(!stage.opens(gate, visitor(3), NOON + 30));
            stage.pass(600);
            assert!(stage.opens(gate, visitor(3), NOON + 630));
            assert!(stage.gets_in(visitor(3), stage.real(NOON + 630)));
        }
    });
}

/// The client's clock is this machine's, so it is the daemon's that is another.
#[test]
fn a_client_whose_clock_is_off_gets_in_by_a_silent_gate_or_is_asked_for_the_time() {
    apart_or_not_at_all(&|| {
        for (gate, ahead_m, is_in) in [
            ("knock", 2, true),
            ("knock", -1, true),
            ("knock", 5, false),
            ("knock", -5, false),
            ("packet", 1, true),
            ("packet", -5, false),
            ("packet\npacket-port = 62201", 5, false),
        ] {
            let unix = clock::unix().checked_add_signed(ahead_m * 60).unwrap();
            let stage = Stage::start(unix, "", &format!("gate = {gate}\n"));
            let laptop = stage.folder.file("laptop.conf");
            let text = format!(
                "[mirage-{NAME}]\nsecret = {SECRET}\nrange = 10000-10999\nhost = {}\ngate = {gate}\n",
                stage.member.host
            );
            write_private(&laptop, text);
            let mut client = Command::new(program());
            client.stdin(std::fs::File::open(&laptop).unwrap());
            client.arg("connect").arg("--config").arg(laptop).arg(NAME);
            let output = client.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), is_in, "{gate}, {ahead_m}: {said}");
            assert_eq!(stage.log().contains(" accept "), is_in);
            assert_eq!(stage.log().contains(" open "), is_in);
            assert!(
                is_in || said.contains(". If that is not the time in UTC, "),
                "{said}"
            );
            if gate.contains("packet-port") {
                // There all that was made with the secret is read, and the log says what is wrong with it.
                let line = stage.wait_for_lines(" reason=clock off=", 1).remove(0);
                let (_, off) = line.rsplit_once("off=").unwrap();
                let off_s: i64 = off.trim_end_matches('s').parse().unwrap();
                assert!(
                    off_s <= ahead_m * 60 && off_s > (ahead_m - 1) * 60,
                    "{line}"
                );
            }
        }
    });
}
