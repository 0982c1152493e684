//! Goal: whoever takes the doors' sets or rules away is noticed and told, and what comes back is mended. A stop
//! leaves the port closed, and what a killed daemon has left is not open any more.

use crate::common::gates::*;
use crate::common::nft::*;
use crate::common::*;
use shimmer::limits::{NFT_LOOK_MS, NFT_TOLD_MS};
use shimmer::sys::clock;
use std::time::Duration;

/// The rules of the door [`DOOR`].
const OURS: &str = "table inet shimmer {
    set home4 { type ipv4_addr; flags timeout; }
    set home6 { type ipv6_addr; flags timeout; }
    chain doors { tcp dport 22 ip saddr != @home4 drop; }
}\n";

const DOOR: &str = "inet/shimmer/home";

impl Turns {
    fn serve(&mut self, mirage: &str, set: &str, has_rules: bool) {
        let set = set.parse().unwrap();
        self.doors.push((mirage.into(), set, has_rules));
    }

    /// What `shimmer status` says of a mirage.
    fn status(&self, mirage: &str) -> String {
        let problem = self.netfilter.problem(mirage);
        problem.map_or("loaded".to_owned(), ToString::to_string)
    }
}

#[test]
fn what_is_gone_is_told_once_and_what_is_back_as_well() {
    let table = "inet shimmer home4: the table is not there";
    for (harm, why) in [
        ("flush ruleset", table),
        ("delete table inet shimmer", table),
        (
            "flush table inet shimmer",
            "inet shimmer home4: the rules that use it are not there",
        ),
        (
            "flush chain inet shimmer doors; delete chain inet shimmer doors; delete set inet shimmer home6",
            "inet shimmer home4: the rules that use it are not there",
        ),
        (
            "flush chain inet shimmer doors; delete set inet shimmer home4",
            "inet shimmer home4: the set is not there",
        ),
    ] {
        with_firewall(|| {
            load(OURS);
            let mut turns = Turns::new();
            turns.serve("home", DOOR, true);
            assert_eq!(turns.turn(), [""; 0]);
            assert!(turns.netfilter.closes_a_port(turns.now));
            load("add table inet other\n");
            assert_eq!(turns.pass(NFT_LOOK_MS), [""; 0]);

            load(&format!("{harm}\n"));
            assert_eq!(turns.pass(NFT_LOOK_MS), [format!("gone home: {why}")]);
            assert_eq!(
                (turns.status("home"), turns.status("other")),
                (why.into(), "loaded".into())
            );
            assert!(!turns.netfilter.closes_a_port(turns.now));
            for _ in 0..100 {
                assert_eq!(turns.next_moment(), [""; 0]);
            }
            load(OURS);
            assert_eq!(turns.next_moment(), ["back home"]);
            assert_eq!(turns.status("home"), "loaded");
            assert!(turns.netfilter.closes_a_port(turns.now));
        });
    }
}

#[test]
fn whoever_flushes_again_and_again_fills_no_log() {
    with_firewall(|| {
        load(OURS);
        let mut turns = Turns::new();
        turns.serve("home", DOOR, true);
        let minutes = 5;
        for _ in 0..minutes * NFT_TOLD_MS / NFT_LOOK_MS / 2 {
            load("flush ruleset\n");
            turns.pass(NFT_LOOK_MS);
            load(OURS);
            turns.pass(NFT_LOOK_MS);
        }
        assert!(turns.news.len() <= 2 * minutes as usize, "{:?}", turns.news);
        // What stays gone is told when its minute is over.
        load("flush ruleset\n");
        turns.pass(NFT_LOOK_MS);
        for _ in 0..NFT_TOLD_MS / NFT_LOOK_MS {
            turns.next_moment();
        }
        assert!(turns.news.last().unwrap().starts_with("gone home: "));
    });
}

#[test]
fn each_door_has_what_it_needs_and_no_more() {
    with_firewall(|| {
        load("add table ip t\nadd set ip t a4 { type ipv4_addr; flags timeout; }\n");
        let mut turns = Turns::new();
        turns.serve("one", "ip/t/a", false);
        turns.serve("two", "inet/t/a", false);
        turns.serve("three", "ip/t/b", false);
        assert_eq!(
            turns.turn(),
            [
                "gone two: inet t a4: the table is not there",
                "gone three: ip t b4: the set is not there",
            ]
        );
        // A reload: what stays is not told again.
        turns.doors.retain(|(mirage, ..)| **mirage != *"three");
        turns.serve("four", "ip6/t/a", false);
        assert_eq!(
            turns.pass(1),
            ["gone four: ip6 t a6: the table is not there"]
        );
        turns.doors.clear();
        turns.turn();
        assert!(turns.netfilter.next_deadline().is_none());
    });
}

#[test]
fn a_new_door_of_our_own_table_begins_with_an_empty_set() {
    with_firewall(|| {
        load(&(OURS.to_owned() + &sets("inet", "shimmer", "web") + &sets("inet", "fw4", "ssh")));
        let fill = |set: &str| {
            load(&format!(
                "add element inet {set}4 {{ 192.0.2.7 timeout 1h }}\n"
            ));
            load(&format!(
                "add element inet {set}6 {{ 2001:db8::7 timeout 1h }}\n"
            ));
        };
        for set in ["shimmer home", "shimmer web", "fw4 ssh"] {
            fill(set);
        }
        let counts = || {
            ["shimmer home4", "shimmer home6", "shimmer web4", "fw4 ssh4"]
                .map(|set| count(&format!("inet {set}")))
        };
        let mut turns = Turns::new();
        turns.serve("home", DOOR, true);
        turns.serve("ssh", SSH, false);
        // Whoever passes at once is in afterwards.
        turns.must_add(DOOR, "192.0.2.8", 600, 1);
        assert_eq!(turns.turn(), ["done 1"]);
        assert_eq!(counts(), [1, 0, 1, 1]);
        // A reload has another door, and another mirage with the same one.
        turns.is_in_force(DOOR, "192.0.2.8", 600);
        turns.serve("again", DOOR, true);
        turns.serve("web", "inet/shimmer/web", true);
        assert_eq!(turns.turn(), [""; 0]);
        assert_eq!(counts(), [1, 0, 0, 1]);
    });
}

#[test]
fn without_the_right_to_look_it_is_told() {
    with_firewall(|| {
        load(OURS);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                drop_net_admin();
                let mut turns = Turns::new();
                turns.serve("home", DOOR, true);
                let why = "inet shimmer home4: not permitted; the daemon needs CAP_NET_ADMIN";
                assert_eq!(turns.turn(), [format!("gone home: {why}")]);
                assert_eq!(turns.status("home"), why);
            });
        });
    });
}

/// The rules that `shimmer firewall` prints for a daemon's configuration.
fn rules(keeper: &Gatekeeper, options: &[&str]) -> String {
    let output = std::process::Command::new(program())
        .args(["firewall", "--config"])
        .arg(keeper.daemon.config_path())
        .args(options)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `rules` of the only mirage is in the status.
fn state(keeper: &Gatekeeper) -> String {
    let status = keeper.ask("status");
    status["mirages"][0]["rules"].as_str().unwrap().to_owned()
}

#[test]
fn a_daemon_tells_of_it_mends_it_and_leaves_the_rules_when_it_ends() {
    with_firewall(|| {
        let (host, folder) = (own_address(), Folder::new());
        let more = format!("door = nft\nopen-set = {DOOR}\nopen-port = 22\nopen-timeout = 1h\n");
        let start = |folder| Gatekeeper::start(folder, host, &section(host, &more));
        let mut keeper = start(folder);
        // Nobody has loaded them.
        let gone =
            format!(" error mirage={NAME} rules=gone inet shimmer home4: the table is not there");
        keeper.daemon.wait_for_line(&gone);
        assert_eq!(state(&keeper), "inet shimmer home4: the table is not there");
        let text = rules(&keeper, &[]);
        load(&text);
        let back = format!(" rules mirage={NAME} state=back");
        keeper.daemon.wait_for_line(&back);
        assert_eq!(state(&keeper), "loaded");

        let member = silent_member(host, NAME, RANGE);
        let pass = |keeper: &Gatekeeper| {
            let datagram = member.datagram(clock::unix(), None);
            keeper.send(visitor(1), member.port(), &datagram);
        };
        pass(&keeper);
        wait_for("an element", || {
            (count("inet shimmer home4") == 1).then_some(())
        });
        // A reload of the rules leaves it.
        load(&text);
        assert_eq!(count("inet shimmer home4"), 1);
        let_pass(Duration::from_millis(2 * NFT_LOOK_MS));
        assert_eq!(keeper.daemon.count(" warn nft missing="), 0);

        // Somebody flushes all, and whoever loads the rules again finds the member let in.
        load("flush ruleset\n");
        keeper.daemon.wait_for_line(" warn nft missing=1: ");
        wait_for("the status", || (state(&keeper) != "loaded").then_some(()));
        load(&text);
        wait_for("the element", || {
            (count("inet shimmer home4") == 1).then_some(())
        });
        wait_for("the status", || (state(&keeper) == "loaded").then_some(()));

        // Killed, it leaves him in; the next one starts with nobody.
        keeper.daemon.signal(libc::SIGKILL);
        keeper.daemon.wait();
        assert_eq!(count("inet shimmer home4"), 1);
        let mut keeper = start(keeper.daemon.take_folder());
        wait_for("an empty set", || {
            (count("inet shimmer home4") == 0).then_some(())
        });
        assert!(keeper.doors().is_empty());

        pass(&keeper);
        wait_for("an element", || {
            (count("inet shimmer home4") == 1).then_some(())
        });
        keeper.daemon.signal(libc::SIGTERM);
        assert!(keeper.daemon.wait().success());
        let stays = keeper.daemon.wait_for_line(" rules state=stay ");
        assert!(
            stays.ends_with("shimmer firewall --remove | nft -f -"),
            "{stays}"
        );
        assert_eq!(count("inet shimmer home4"), 0);
        let listed = nft(&["list", "table", "inet", "shimmer"], "").unwrap();
        assert!(
            listed.contains("tcp dport 22 ct state new ip saddr != @home4 drop"),
            "{listed}"
        );
        load(&rules(&keeper, &["--remove"]));
        assert_eq!(nft(&["list", "ruleset"], "").unwrap(), "");
    });
}

#[test]
fn a_stop_does_not_wait_for_a_set_that_is_gone() {
    with_firewall(|| {
        let (host, folder) = (own_address(), Folder::new());
        let more = format!("door = nft\nopen-set = {DOOR}\nopen-port = 22\nopen-timeout = 1h\n");
        let mut keeper = Gatekeeper::start(folder, host, &section(host, &more));
        load(&rules(&keeper, &[]));
        let member = silent_member(host, NAME, RANGE);
        keeper.send(
            visitor(1),
            member.port(),
            &member.datagram(clock::unix(), None),
        );
        wait_for("an element", || {
            (count("inet shimmer home4") == 1).then_some(())
        });
        load("flush ruleset\n");
        keeper.daemon.signal(libc::SIGTERM);
        assert!(keeper.daemon.wait().success());
        assert_eq!(keeper.daemon.count(" rules state=stay "), 0);
        assert_eq!(keeper.daemon.count(" error open="), 0);
    });
}
