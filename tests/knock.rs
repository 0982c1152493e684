//! Goal: who knows what a silent gate wants to see opens it, by `shimmer knock`, by `shimmer connect` or by
//! packets of his own; whatever else comes opens nothing, and costs nobody anything.
#![cfg(target_os = "linux")]

mod common;

use common::gates::*;
use common::*;
use shimmer::proto::scheme::knock::{Hop, Protocols};
use shimmer::proto::scheme::packet;
use shimmer::sys::clock;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn range() -> (u16, u16) {
    calm_range(NAME, (10_000, 10_999))
}

/// What both sides have of a mirage that draws.
fn keys() -> String {
    let (low, high) = range();
    format!("secret = {SECRET}\nrange = {low}-{high}\n{STILL}")
}

/// What three knocks are by default.
const KNOCKS: usize = 3;

/// A mirage, as both sides have it, and what only the server has.
struct Setting {
    keeper: Gatekeeper,
    member: Member,
    echo: Echo,
    /// The client's configuration.
    laptop: PathBuf,
}

impl Setting {
    /// With a secret, a range, and a service behind it.
    fn new(shared: &str, servers: &str) -> Self {
        let (host, echo) = (own_address(), Echo::start());
        let server = format!("forward = {}\n{servers}", echo.address);
        Self::with(host, echo, &(keys() + shared), &server)
    }

    fn with(host: Ipv4Addr, echo: Echo, shared: &str, server: &str) -> Self {
        let folder = Folder::new();
        let laptop = folder.file("laptop.conf");
        write_private(&laptop, format!("[mirage-{NAME}]\nhost = {host}\n{shared}"));
        let text = format!("[mirage-{NAME}]\nlisten-address = {host}\n{shared}{server}");
        Self {
            keeper: Gatekeeper::start(folder, host, &text),
            member: silent_member(host, NAME, range()),
            echo,
            laptop,
        }
    }

    /// `shimmer knock` or `connect`, as it is on the laptop.
    fn laptop(&self, words: &[&str]) -> Output {
        let mut child = Command::new(program())
            .args(words)
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("HOME", "/nonexistent")
            .env_remove("SHIMMER_SECRET")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever does not want it has gone.
        let _ = child.stdin.take().unwrap().write_all(b"hello");
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn knock(&self, words: &[&str]) -> Output {
        let config = self.laptop.to_str().unwrap();
        self.laptop(&[&["knock", "--config", config], words].concat())
    }

    /// The same, and all goes well.
    #[track_caller]
    fn knocks(&self, words: &[&str]) -> String {
        let output = self.knock(words);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Joins the service, or says why not.
    fn connect(&self) -> Result<Vec<u8>, String> {
        let config = self.laptop.to_str().unwrap();
        let output = self.laptop(&["connect", "--config", config, NAME]);
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(String::from_utf8(output.stderr).unwrap())
    }

    fn sequence(&self, off: i64) -> Vec<Hop> {
        let minute = self.member.minute().wrapping_add_signed(off);
        let hops = self.member.sequence(minute, KNOCKS, Protocols::Tcp);
        hops.to_vec()
    }

    /// A knock that is never right when it comes: the next of nobody who is in the sequence of now. It is
    /// one of the next minute's, or a daemon without CAP_NET_RAW would not see it.
    fn wrong(&self) -> Hop {
        self.sequence(1)[2]
    }

    fn opened(&self, source: Ipv4Addr) -> usize {
        self.keeper
            .daemon
            .count(&format!(" open mirage={NAME} source={source} "))
    }

    #[track_caller]
    fn wait_for(&self, verb: &str, source: Ipv4Addr) -> String {
        let line = format!(" {verb} mirage={NAME} source={source}");
        self.keeper.daemon.wait_for_line(&line)
    }
}

/// Where `shimmer knock` comes from.
const LAPTOP: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn fixed() -> Setting {
    let (host, echo) = (own_address(), Echo::start());
    let shared = "gate = knock\nsequence = 7000:tcp,8000:udp,9000\nclose-sequence = 9000,7000\n";
    let server = "open-command = true %IP%\nclose-command = true\nrange = 6990-7010\n";
    let shared = format!("{shared}door = command\n");
    Setting::with(host, echo, &shared, server)
}

#[test]
fn knocking_opens_and_runs_what_stands_behind_it() {
    apart(|| {
        for protocols in ["tcp", "udp", "mixed"] {
            let gate = format!("gate = knock\nprotocols = {protocols}\n");
            let setting = Setting::new(&gate, "");
            let port = setting.member.port().to_string();
            let host = setting.member.host.to_string();
            let output = setting.knock(&[NAME, "--", "sh", "-c", "echo $1; exit 7", "sh", &port]);
            assert_eq!(output.status.code(), Some(7));
            assert_eq!(String::from_utf8(output.stdout).unwrap(), port + "\n");
            setting.wait_for("open", LAPTOP);
            assert_echo(&mut setting.member.enter(LAPTOP), "in");
            // With the host beside it; and a command that is not there.
            let output = setting.knock(&[NAME, &host, "--", "/nonexistent/ssh", "x"]);
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("/nonexistent/ssh: "), "{said}");
            assert_eq!(setting.opened(LAPTOP), 1, "it was renewed");
        }
    });
}

#[test]
fn what_would_be_sent_is_shown_and_not_sent() {
    apart(|| {
        let setting = Setting::new("gate = knock\nprotocols = mixed\nknocks = 4\n", "");
        let member = &setting.member;
        let shown = |minute: u64| -> String {
            let hops = member.sequence(minute, 4, Protocols::Mixed);
            hops.iter().map(|hop| format!("{hop}\n")).collect()
        };
        let minute = member.minute();
        assert_eq!(setting.knocks(&[NAME, "--print"]), shown(minute));
        assert_eq!(
            setting.knocks(&[NAME, "--print", "--next"]),
            shown(minute + 1)
        );
        assert_eq!(setting.keeper.counter("passed"), 0);

        let setting = fixed();
        let shown = setting.knocks(&[NAME, "--print"]);
        assert_eq!(shown, "7000:tcp\n8000:udp\n9000:tcp\n");
        let shown = setting.knocks(&[NAME, "--print", "--close"]);
        assert_eq!(shown, "9000:tcp\n7000:tcp\n");

        let setting = Setting::new("gate = packet\n", "");
        let shown = setting.knocks(&[NAME, "--print", "--address", "2001:db8::7"]);
        let (port, dump) = shown.split_once('\n').unwrap();
        assert_eq!(port, format!("{}:udp", setting.member.port()));
        let bytes: Vec<u8> = dump
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let bytes: [u8; packet::PACKET] = bytes.try_into().unwrap();
        let content = packet::open(&setting.member.key, &bytes).unwrap();
        assert_eq!(content.address, Some("2001:db8::7".parse().unwrap()));
        assert!(content.unix.abs_diff(clock::unix()) < 60);
        assert!(dump.lines().all(|line| line.len() <= 80), "{dump}");
        assert_eq!(setting.keeper.counter("passed"), 0);
    });
}

#[test]
fn the_next_minutes_sequence_opens_where_this_ones_is_used() {
    apart(|| {
        let setting = Setting::new("gate = knock\nonce = yes\n", "open-timeout = 1s\n");
        setting.knocks(&[NAME]);
        setting.wait_for("shut", LAPTOP);
        // Whoever comes: for the same source it could be the network's echo, a while longer.
        setting.keeper.knock(visitor(1), &setting.sequence(0));
        setting.wait_for("used", visitor(1));
        assert_eq!(setting.opened(LAPTOP), 1);
        setting.knocks(&[NAME, "--next"]);
        let open = format!(" open mirage={NAME} source={LAPTOP} ");
        setting.keeper.daemon.wait_for_lines(&open, 2);
    });
}

/// Each sequence counts once, and there are three.
#[test]
fn connecting_knocks_and_goes_on_to_another_minute() {
    apart(|| {
        let setting = Setting::new("gate = knock\nonce = yes\n", "open-timeout = 1s\n");
        let shut = format!(" shut mirage={NAME} source={LAPTOP}");
        for count in 1..=3 {
            assert_eq!(setting.connect(), Ok(b"hello".to_vec()), "{count}");
            setting.keeper.daemon.wait_for_lines(&shut, count);
        }
        let said = setting.connect().unwrap_err();
        assert!(
            said.contains("refused the ports") || said.contains("did not answer"),
            "{said}"
        );
        assert_eq!(setting.echo.accepted(), 3);
    });
}

#[test]
fn connecting_works_at_each_silent_gate() {
    apart(|| {
        for gate in [
            "gate = knock\nprotocols = udp\nknocks = 6\n",
            "gate = knock\nsequence = 7000,8000:udp\n",
            "gate = packet\n",
            "gate = packet\npacket-port = 62201\n",
            "gate = packet\npacket-address = inside\n",
        ] {
            let setting = Setting::new(gate, "");
            assert_eq!(setting.connect(), Ok(b"hello".to_vec()), "{gate}");
            setting.wait_for("open", LAPTOP);
        }
    });
}

#[test]
fn a_plain_knocker_opens_a_sequence_and_closes_it() {
    apart(|| {
        let setting = fixed();
        let host = setting.member.host.to_string();
        setting.knocks(&[&host, "7000:tcp", "8000:udp", "9000"]);
        setting.wait_for("open", LAPTOP);
        assert_eq!(setting.keeper.doors(), ["127.0.0.1 ssh"]);
        setting.knocks(&[NAME, "--close"]);
        setting.wait_for("shut", LAPTOP);
        assert!(setting.keeper.doors().is_empty());
        setting.knocks(&[NAME]);
        let open = format!(" open mirage={NAME} source={LAPTOP} ");
        setting.keeper.daemon.wait_for_lines(&open, 2);
    });
}

#[test]
fn a_door_behind_a_token_is_open_when_the_knock_returns() {
    let (host, echo) = (own_address(), Echo::start());
    let shared = keys() + "gate = token\ndoor = command\n";
    let file = Folder::new().file("open");
    let server = format!(
        "open-command = touch {0}\nclose-command = rm {0}\n",
        file.display()
    );
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let setting = Setting::with(host, echo, &shared, &server);
    let seen = setting.knocks(&[NAME, "--", "ls", file.to_str().unwrap()]);
    assert_eq!(seen.trim(), file.to_str().unwrap());
    setting.wait_for("open", LAPTOP);
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn what_makes_no_sense_says_so_and_sends_nothing() {
    apart(|| {
        let rotating = Setting::new("gate = knock\n", "");
        let packet = Setting::new("gate = packet\n", "");
        let token = Setting::new("gate = token\n", "");
        let fixed = fixed();
        let host = &rotating.member.host.to_string();
        for (setting, words, code, wrong) in [
            (&rotating, &["nowhere"][..], 2, "nowhere"),
            (&rotating, &[], 2, "no mirage given"),
            (
                &rotating,
                &[NAME, "no-such-host.invalid"],
                1,
                "cannot resolve no-such-host.invalid",
            ),
            (&rotating, &[NAME, host, "more"], 2, "more"),
            (&rotating, &[NAME, "--close"], 2, "no close-sequence"),
            (
                &rotating,
                &[NAME, "--address", "192.0.2.7"],
                2,
                "goes with gate = packet",
            ),
            (&rotating, &[host, "7000", "--print"], 2, "go with a mirage"),
            (&rotating, &[host, "7000", "8000:icmp"], 2, "8000:icmp"),
            (&rotating, &[host, "8000:icmp"], 2, "8000:icmp: "),
            (&rotating, &[host, "70000"], 2, "70000: "),
            (&packet, &[NAME, "--close"], 2, "no close-sequence"),
            (
                &packet,
                &[NAME, "--next"],
                2,
                "--next goes with gate = knock",
            ),
            (
                &packet,
                &[NAME, "--address", "here"],
                2,
                "here is not an address",
            ),
            (
                &fixed,
                &[NAME, "--next"],
                2,
                "--next goes with gate = knock",
            ),
            (&token, &[NAME], 2, "shimmer connect"),
        ] {
            let output = setting.knock(words);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
            assert!(
                said.contains(wrong),
                "{words:?} has to say {wrong}, but says {said}"
            );
        }
        for setting in [&rotating, &packet, &fixed] {
            assert_eq!(setting.keeper.counter("passed"), 0);
        }
        // And there is no port of the minute to connect to.
        assert!(fixed.connect().unwrap_err().contains("shimmer knock"));
    });
}

#[test]
fn three_minutes_are_live_and_no_fourth() {
    apart(|| {
        let setting = Setting::new("gate = knock\n", "");
        for (number, off) in [(1, -1), (2, 0), (3, 1)] {
            setting
                .keeper
                .knock(visitor(number), &setting.sequence(off));
            setting.wait_for("open", visitor(number));
        }
        for (number, off) in [(4, -2), (5, 2)] {
            setting
                .keeper
                .knock(visitor(number), &setting.sequence(off));
            assert_eq!(setting.opened(visitor(number)), 0);
        }
        assert_eq!(setting.keeper.counter("passed"), 3);
    });
}

#[test]
fn a_wrong_knock_begins_anew_and_a_doubled_one_breaks_nothing() {
    apart(|| {
        let setting = Setting::new("gate = knock\n", "");
        let (keeper, hops) = (&setting.keeper, setting.sequence(0));
        let wrong = setting.wrong();
        keeper.knock(visitor(1), &[hops[0], hops[1], wrong, hops[2]]);
        let line = setting.wait_for("wrong", visitor(1));
        assert!(line.ends_with(" knocks=2"), "{line}");
        assert_eq!(keeper.counter("passed"), 0);
        keeper.knock(visitor(1), &hops);
        setting.wait_for("open", visitor(1));

        let doubled: Vec<Hop> = hops.iter().flat_map(|&hop| [hop, hop]).collect();
        keeper.knock(visitor(2), &doubled);
        setting.wait_for("open", visitor(2));
        // A knock of another's is none of his.
        keeper.knock(visitor(3), &hops[..2]);
        keeper.knock(visitor(4), &hops[2..]);
        assert_eq!(keeper.counter("passed"), 2);
    });
}

/// Its echo is over by then, which would last as long as this.
#[test]
fn who_is_let_in_for_a_short_time_knocks_again_and_stays() {
    apart(|| {
        let setting = Setting::new("gate = knock\n", "open-timeout = 4s\n");
        let (keeper, hops) = (&setting.keeper, setting.sequence(0));
        let seconds = || keeper.ask("status")["doors"][0]["seconds"].as_u64();
        keeper.knock(visitor(1), &hops);
        for _ in 0..2 {
            wait_for("half of his time", || (seconds() <= Some(2)).then_some(()));
            keeper.knock(visitor(1), &hops);
            assert!(seconds() > Some(2));
        }
        assert_eq!(setting.opened(visitor(1)), 1, "it was renewed");
    });
}

/// Where packets of neighbours come in each other's place, or twice, nothing is wrong: each knock is sent
/// twice, so one of them is there before the next.
#[test]
fn a_network_that_shuffles_keeps_nobody_out() {
    apart(|| {
        for (word, protocols) in [("tcp", Protocols::Tcp), ("udp", Protocols::Udp)] {
            let gate = format!("gate = knock\nprotocols = {word}\n");
            // Whoever was wrong once would be out for longer than this lasts.
            let setting = Setting::new(&gate, "lock = 1h\n");
            let (keeper, member) = (&setting.keeper, &setting.member);
            let hops = member.sequence(member.minute(), KNOCKS, protocols);
            for (number, order) in (1..).zip([
                &[0, 2, 1, 4, 3, 5][..],
                &[1, 0, 3, 2, 5, 4],
                &[0, 0, 2, 2, 1, 1, 4, 4, 3, 3, 5, 5],
                // One that comes when all is over.
                &[0, 1, 3, 4, 5, 2],
            ]) {
                let network = Shuffler::new(&hops);
                let there = network.host.to_string();
                thread::scope(|scope| {
                    scope.spawn(|| network.pass_on(keeper, visitor(number), order));
                    setting.knocks(&[NAME, &there]);
                });
                setting.wait_for("open", visitor(number));
                assert_echo(&mut member.enter(visitor(number)), "in");
            }
            assert_eq!(keeper.counter("passed"), 4, "each passed once");
            assert!(keeper.counter("sensed") >= 4);
            assert_eq!(keeper.counter("lost_packets"), 0);
            assert_eq!(keeper.daemon.count(" wrong "), 0);
        }
    });
}

#[test]
fn a_lock_ignores_its_source_for_its_time_and_tells_nobody() {
    apart(|| {
        let setting = Setting::new("gate = knock\n", "lock = 3s\nopen-timeout = 1s\n");
        let (keeper, hops) = (&setting.keeper, setting.sequence(0));
        keeper.daemon.wait_for_line(" can lock you out with it");
        let begin = Instant::now();
        keeper.knock(visitor(1), &[hops[0], setting.wrong()]);
        setting.wait_for("wrong", visitor(1));
        let lines = keeper.daemon.log().len();
        keeper.knock(visitor(1), &hops);
        if begin.elapsed() < Duration::from_secs(2) {
            assert_eq!(keeper.counter("passed"), 0);
            assert_eq!(keeper.daemon.log().len(), lines);
        }
        keeper.knock(visitor(2), &hops);
        setting.wait_for("open", visitor(2));
        wait_for("the lock's end", || {
            keeper.knock(visitor(1), &hops);
            (setting.opened(visitor(1)) > 0).then_some(())
        });
        assert_took(begin, 3);
    });
}

#[test]
fn a_lock_of_all_ignores_everybody() {
    apart(|| {
        let setting = Setting::new("gate = knock\n", "lock = 3s\nlock-scope = all\n");
        let (keeper, hops) = (&setting.keeper, setting.sequence(0));
        keeper
            .daemon
            .wait_for_line(" can lock everybody out with it");
        let begin = Instant::now();
        keeper.knock(visitor(1), &[hops[0], setting.wrong()]);
        setting.wait_for("wrong", visitor(1));
        wait_for("the lock's end", || {
            keeper.knock(visitor(2), &hops);
            (setting.opened(visitor(2)) > 0).then_some(())
        });
        assert_took(begin, 3);
    });
}

#[test]
fn a_datagram_lets_in_whom_it_names_once_and_in_its_time() {
    apart(|| {
        let setting = Setting::new("gate = packet\n", "");
        let (keeper, member) = (&setting.keeper, &setting.member);
        let now = clock::unix();
        let mine = member.datagram(now, None);
        keeper.send(visitor(1), member.port(), &mine);
        setting.wait_for("open", visitor(1));
        // Whoever has seen it comes too late, from wherever.
        keeper.send(visitor(2), member.port(), &mine);
        let line = setting.wait_for("refuse", visitor(2));
        assert!(line.ends_with(" reason=replayed"), "{line}");

        let anothers = member.datagram(now, Some(IpAddr::V4(visitor(3))));
        keeper.send(visitor(2), member.port(), &anothers);
        setting.wait_for("open", visitor(3));
        assert_echo(&mut member.enter(visitor(3)), "in");

        let late = member.datagram(now - 3 * u64::from(STILL_S), None);
        keeper.send(visitor(4), member.port(), &late);
        let line = setting.wait_for("refuse", visitor(4));
        assert!(line.contains(" reason=clock off=2592"), "{line}");

        // Another port, another length, another key.
        keeper.send(
            visitor(5),
            setting.wrong().port,
            &member.datagram(now, None),
        );
        keeper.send(visitor(5), member.port(), &member.datagram(now, None)[..71]);
        let stranger = silent_member(member.host, "other", range());
        keeper.send(visitor(5), member.port(), &stranger.datagram(now, None));
        assert_eq!(keeper.counter("passed"), 2);
        assert_eq!(keeper.daemon.count("127.1.0.5"), 0);
    });
}

#[test]
fn whose_address_counts_is_configured() {
    apart(|| {
        let setting = Setting::new("gate = packet\n", "packet-address = sender\n");
        let (keeper, member) = (&setting.keeper, &setting.member);
        let inside = |number| member.datagram(clock::unix(), Some(IpAddr::V4(visitor(number))));
        keeper.send(visitor(1), member.port(), &inside(2));
        let line = setting.wait_for("refuse", visitor(1));
        assert!(line.ends_with(" reason=address"), "{line}");
        keeper.send(visitor(2), member.port(), &inside(2));
        setting.wait_for("open", visitor(2));

        let setting = Setting::new("gate = packet\n", "packet-address = inside\n");
        let (keeper, member) = (&setting.keeper, &setting.member);
        keeper.send(
            visitor(1),
            member.port(),
            &member.datagram(clock::unix(), None),
        );
        let line = setting.wait_for("refuse", visitor(1));
        assert!(line.ends_with(" reason=no-address"), "{line}");
        setting.knocks(&[NAME, "--address", "127.1.0.9"]);
        setting.wait_for("open", visitor(9));
        assert_eq!(keeper.counter("passed"), 1);
    });
}

#[test]
fn outside_from_nobody_is_let_in() {
    apart(|| {
        let inside = Ipv4Addr::new(127, 1, 8, 1);
        for gate in ["gate = packet\n", "gate = knock\n"] {
            let setting = Setting::new(gate, "from = 127.1.8.0/24\n");
            let (keeper, member) = (&setting.keeper, &setting.member);
            for source in [visitor(1), inside] {
                keeper.knock(source, &setting.sequence(0));
                let datagram = member.datagram(clock::unix(), None);
                keeper.send(source, member.port(), &datagram);
            }
            // Whom it is for counts, and not who sends it.
            let forwarded = member.datagram(clock::unix(), Some(IpAddr::V4(visitor(2))));
            keeper.send(inside, member.port(), &forwarded);
            setting.wait_for("open", inside);
            assert_eq!(keeper.counter("passed"), 1);
        }
    });
}

#[test]
fn who_is_banned_elsewhere_may_knock() {
    apart(|| {
        let (host, echo) = (own_address(), Echo::start());
        let loud = format!(
            "[mirage-loud]\nsecret = {SECRET}\nrange = 20000-20999\nport = 22\n{STILL}\
             listen-address = {host}\n"
        );
        let server = format!("forward = {}\n{loud}", echo.address);
        let setting = Setting::with(host, echo, &(keys() + "gate = packet\n"), &server);
        let (keeper, member) = (&setting.keeper, &setting.member);
        keeper.ask("ban 127.1.0.1");
        let stranger = SocketAddr::from((host, 20_000));
        assert_eq!(
            keeper.ask("status 127.1.0.1")["mirages"][1]["right"],
            "refuse",
            "{stranger}"
        );
        keeper.send(
            visitor(1),
            member.port(),
            &member.datagram(clock::unix(), None),
        );
        setting.wait_for("open", visitor(1));
        assert_echo(&mut member.enter(visitor(1)), "in");
        assert_eq!(keeper.daemon.count(" unban "), 0);
    });
}

/// Once begun and never ended, a sequence kept the loop awake for ever.
#[test]
fn a_sequence_that_is_broken_off_costs_nothing() {
    apart(|| {
        let setting = Setting::new("gate = knock\n", "seq-timeout = 1s\nlock = 1s\n");
        let (keeper, hops) = (&setting.keeper, setting.sequence(0));
        keeper.knock(visitor(1), &hops[..1]);
        keeper.knock(visitor(2), &[hops[0], setting.wrong()]);
        setting.wait_for("wrong", visitor(2));
        // Longer than anything of theirs is remembered.
        let_pass(Duration::from_secs(6));
        let before = keeper.daemon.ticks();
        let_pass(Duration::from_secs(2));
        let used = keeper.daemon.ticks() - before;
        assert!(used < 20, "{used} ticks in two seconds");
    });
}

/// A reload gives the port of a silent gate to a loud one, while somebody is let in.
#[test]
fn a_port_that_was_for_some_is_for_all_after_a_reload() {
    apart(|| {
        let setting = Setting::new("gate = packet\n", "");
        let (keeper, member) = (&setting.keeper, &setting.member);
        keeper.send(
            visitor(1),
            member.port(),
            &member.datagram(clock::unix(), None),
        );
        setting.wait_for("open", visitor(1));
        let text = std::fs::read_to_string(keeper.daemon.config_path()).unwrap();
        keeper
            .daemon
            .reload(&text.replace("gate = packet", "gate = port"));
        keeper.daemon.wait_for_line(" reload mirages=1 ");
        setting.wait_for("shut", visitor(1));
        assert_echo(&mut member.enter(visitor(2)), "in");
        assert!(keeper.doors().is_empty());
        // And back: whoever was let in is so no more.
        keeper.daemon.reload(&text);
        keeper.daemon.wait_for_lines(" reload mirages=1 ", 2);
        assert_shut(visitor(1), member.at(member.port()));
        // A new minute would do the same to who is in: nothing.
        keeper.send(
            visitor(3),
            member.port(),
            &member.datagram(clock::unix(), None),
        );
        setting.wait_for("open", visitor(3));
        let mut session = member.enter(visitor(3));
        keeper.daemon.reload(&text);
        keeper.daemon.wait_for_lines(" reload mirages=1 ", 3);
        assert_echo(&mut session, "still in");
        assert_eq!(keeper.doors(), ["127.1.0.3 ssh"]);
        assert_echo(&mut member.enter(visitor(3)), "in again");
        assert_shut(visitor(4), member.at(member.port()));
    });
}
