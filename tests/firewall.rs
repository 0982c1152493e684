//! Goal: the rules do what the configuration says, nft accepts them, and whoever reads them learns nothing
//! that a visitor could not find out.

use crate::common::nft::{load, nft, with_firewall};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const SECRET: &str = "b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai";

/// A configuration that is removed at the end of the test.
struct Configuration(PathBuf);

impl Configuration {
    fn new(test: &str, mirages: &str) -> Self {
        let name = format!("shimmer-firewall-{}-{test}.conf", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, mirages.replace("SECRET", SECRET)).unwrap();
        Self(path)
    }

    fn firewall(&self, options: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_shimmer"))
            .args(["firewall", "--config"])
            .arg(&self.0)
            .args(options)
            .output()
            .unwrap()
    }

    fn rules(&self) -> String {
        let output = self.firewall(&[]);
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The rules of a chain, without its first line and its comments.
fn chain<'a>(rules: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!("\tchain {name} {{\n");
    let (_, chain) = rules.split_once(&start).unwrap();
    let (chain, _) = chain.split_once("\n\t}\n").unwrap();
    chain
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("type ") && !line.starts_with('#'))
        .collect()
}

/// Asserts that nft accepts the rules, if it is installed and we may run it.
#[track_caller]
fn assert_nft_takes(rules: &str) {
    let nft = |rules: &str| {
        let child = Command::new("nft")
            .args(["--check", "--file", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.ok()?;
        let _ = child.stdin.take().unwrap().write_all(rules.as_bytes());
        child.wait_with_output().ok()
    };
    let is_there = nft("table inet shimmer\n").is_some_and(|output| output.status.success());
    if is_there {
        let output = nft(rules).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}\n{rules}");
    }
}

#[test]
fn a_pools_range_leads_to_its_port_and_nothing_else_does() {
    let configuration = Configuration::new(
        "pool",
        "[mirage-home]
secret = SECRET
port = 22
range = 10000-59999
listen = pool
",
    );
    let rules = configuration.rules();
    assert_eq!(
        chain(&rules, "prerouting"),
        ["fib daddr type local jump pools"]
    );
    assert_eq!(chain(&rules, "output"), ["fib daddr type local jump pools"]);
    assert_eq!(
        chain(&rules, "pools"),
        [
            "ip daddr 127.0.0.0/8 return",
            "ip6 daddr ::1 return",
            "tcp dport 10000-59999 dnat to :9999 comment \"home\"",
        ]
    );
    assert_eq!(
        chain(&rules, "input"),
        [
            "tcp dport 9999 ct status dnat accept comment \"home\"",
            "tcp dport 9999 reject with tcp reset comment \"home\"",
        ]
    );
    assert_nft_takes(&rules);
}

#[test]
fn a_listen_address_is_in_every_rule_and_a_wildcard_is_its_family() {
    let configuration = Configuration::new(
        "addresses",
        "[mirage-home]
secret = SECRET
port = 22
range = 10000-10999
listen = pool
pool-port = 4000
listen-address = 0.0.0.0 2001:db8::7 ::1
",
    );
    let rules = configuration.rules();
    // Named addresses come before the loopback exception, because they may be loopback addresses.
    assert_eq!(
        chain(&rules, "pools"),
        [
            "ip6 daddr 2001:db8::7 tcp dport 10000-10999 dnat to :4000 comment \"home\"",
            "ip6 daddr ::1 tcp dport 10000-10999 dnat to :4000 comment \"home\"",
            "ip daddr 127.0.0.0/8 return",
            "ip6 daddr ::1 return",
            "meta nfproto ipv4 tcp dport 10000-10999 dnat to :4000 comment \"home\"",
        ]
    );
    assert_eq!(
        chain(&rules, "input"),
        [
            "meta nfproto ipv4 tcp dport 4000 ct status dnat accept comment \"home\"",
            "ip6 daddr 2001:db8::7 tcp dport 4000 ct status dnat accept comment \"home\"",
            "ip6 daddr ::1 tcp dport 4000 ct status dnat accept comment \"home\"",
            "meta nfproto ipv4 tcp dport 4000 reject with tcp reset comment \"home\"",
            "ip6 daddr 2001:db8::7 tcp dport 4000 reject with tcp reset comment \"home\"",
            "ip6 daddr ::1 tcp dport 4000 reject with tcp reset comment \"home\"",
        ]
    );
    assert_nft_takes(&rules);
}

#[test]
fn without_a_pool_there_is_no_nat() {
    let configuration = Configuration::new(
        "ports",
        "[mirage-home]
secret = SECRET
port = 22
range = 10000-10999
[mirage-mail@example.org]
secret = SECRET
port = 25
range = 20000-20999
listen-address = 192.0.2.7 ::
",
    );
    let rules = configuration.rules();
    assert!(!rules.contains("type nat"));
    assert_eq!(
        chain(&rules, "input"),
        [
            "tcp dport 10000-10999 accept comment \"home\"",
            "ip daddr 192.0.2.7 tcp dport 20000-20999 accept comment \"mail@example.org\"",
            "meta nfproto ipv6 tcp dport 20000-20999 accept comment \"mail@example.org\"",
        ]
    );
    assert_nft_takes(&rules);
}

#[test]
fn a_name_may_be_longer_than_a_comment() {
    let mirage = format!(
        "[mirage-{}]\nsecret = SECRET\nport = 22\nrange = 10000-10999\nlisten = pool\n",
        "x".repeat(300)
    );
    let rules = Configuration::new("long", &mirage).rules();
    assert!(!rules.contains(&"x".repeat(101)));
    assert_nft_takes(&rules);
}

#[test]
fn a_silent_gate_drops_before_all_others_what_has_no_socket() {
    let mirage = "[mirage-home]
secret = SECRET
port = 22
range = 10000-10999
gate = packet
packet-port = 7
";
    let rules = Configuration::new("silent", mirage).rules();
    assert_nft_takes(&rules);
    let start =
        "\tchain silence {\n\t\ttype filter hook input priority filter - 10; policy accept;\n";
    assert!(rules.contains(start), "{rules}");
    assert_eq!(
        chain(&rules, "silence"),
        [
            "ip daddr 127.0.0.0/8 return",
            "ip6 daddr ::1 return",
            "meta l4proto { tcp, udp } th dport 10000-10999 socket wildcard <= 1 accept comment \"home\"",
            "meta l4proto { tcp, udp } th dport 10000-10999 ct state != established drop comment \"home\"",
            "meta l4proto { tcp, udp } th dport 7 socket wildcard <= 1 accept comment \"home\"",
            "meta l4proto { tcp, udp } th dport 7 ct state != established drop comment \"home\"",
        ]
    );

    let loud = mirage.replace("gate = packet\npacket-port = 7\n", "");
    let rules = Configuration::new("loud", &loud).rules();
    assert!(!rules.contains("silence"), "{rules}");
}

#[test]
fn a_silent_address_comes_before_the_loopback_exception() {
    let rules = Configuration::new(
        "silent-addresses",
        "[mirage-home]
secret = SECRET
port = 22
range = 10000-10999
gate = knock
listen-address = ::, 127.0.0.9
",
    )
    .rules();
    assert_nft_takes(&rules);
    assert_eq!(
        chain(&rules, "silence"),
        [
            "ip daddr 127.0.0.9 meta l4proto { tcp, udp } th dport 10000-10999 socket wildcard <= 1 accept comment \"home\"",
            "ip daddr 127.0.0.9 meta l4proto { tcp, udp } th dport 10000-10999 ct state != established drop comment \"home\"",
            "ip daddr 127.0.0.0/8 return",
            "ip6 daddr ::1 return",
            "meta nfproto ipv6 meta l4proto { tcp, udp } th dport 10000-10999 socket wildcard <= 1 accept comment \"home\"",
            "meta nfproto ipv6 meta l4proto { tcp, udp } th dport 10000-10999 ct state != established drop comment \"home\"",
        ]
    );
}

#[test]
fn they_contain_no_secret_and_do_not_depend_on_the_time() {
    let configuration = Configuration::new(
        "secret",
        "[mirage-home]
secret = SECRET
port = 22
range = 10000-10999
period = 2s
listen = pool
",
    );
    let rules = configuration.rules();
    assert!(!rules.contains(SECRET));
    // Of the range, only its ends.
    let inside = |word: &str| {
        word.parse()
            .is_ok_and(|port| (10_001..10_999).contains(&port))
    };
    assert!(
        !rules
            .split(|letter: char| !letter.is_ascii_digit())
            .any(inside)
    );
}

#[test]
fn removing_needs_no_configuration() {
    let configuration = Configuration::new("remove", "[mirage-home]\nnonsense = 1\n");
    let removal = |options: &[&str]| {
        let output = configuration.firewall(&[&["--remove"], options].concat());
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let ports = "table inet shimmer-ports\ndelete table inet shimmer-ports\n";
    let doors = "table inet shimmer\ndelete table inet shimmer\n";
    assert_eq!(removal(&["--only", "ports"]), ports);
    assert_eq!(removal(&["--only=doors"]), doors);
    let all = removal(&[]);
    assert_eq!(all, format!("{ports}{doors}"));
    assert_nft_takes(&all);

    assert_eq!(configuration.firewall(&[]).status.code(), Some(2));
    assert!(configuration.firewall(&[]).stdout.is_empty());
    let unknown = configuration.firewall(&["--remove", "--only", "door"]);
    assert_eq!(unknown.status.code(), Some(2));
    let error = String::from_utf8(unknown.stderr).unwrap();
    assert!(error.contains("must be ports or doors"), "{error}");
}

/// Sets and ports of our own table and of another's, and a pool.
const ALL: &str = "[common]
allow = 192.0.2.0/24
[mirage-home]
secret = SECRET
range = 20000-20999
gate = packet
door = nft
open-set = inet/shimmer/home
open-port = 22
[mirage-other]
secret = SECRET
range = 30000-30999
gate = packet
door = nft
open-set = inet/fw4/ssh
[mirage-pool]
secret = SECRET
port = 23
range = 10000-10999
listen = pool
";

#[test]
fn what_stays_at_a_stop_is_a_part_of_its_own() {
    let configuration = Configuration::new("parts", ALL);
    let part = |name| String::from_utf8(configuration.firewall(&["--only", name]).stdout).unwrap();
    let (ports, doors) = (part("ports"), part("doors"));
    for rules in [&ports, &doors] {
        assert_nft_takes(rules);
    }
    assert_eq!(
        chain(&doors, "doors"),
        [
            "iif \"lo\" return",
            "ip saddr 192.0.2.0/24 return",
            "tcp dport 22 ct state new ip saddr != @home4 drop comment \"home\"",
            "tcp dport 22 ct state new ip6 saddr != @home6 drop comment \"home\"",
        ]
    );
    assert!(!doors.contains("shimmer-ports") && doors.contains("table inet fw4 {"));
    assert!(!ports.contains("table inet shimmer ") && !ports.contains("\tset "));
    let removal = "table inet shimmer-ports\ndelete table inet shimmer-ports\n";
    let first = ports
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first: Vec<&str> = first.take(2).collect();
    assert_eq!(first, removal.lines().collect::<Vec<_>>());
    // Both parts are all of it.
    let (_, rest) = doors.split_once("\n\n").unwrap();
    assert_eq!(configuration.rules(), format!("{ports}{rest}"));

    // The doors of a configuration of before are gone.
    let pool = ALL.split_once("[mirage-pool]").unwrap().1;
    let pool = Configuration::new("pool-alone", &format!("[mirage-pool]{pool}"));
    let rules = pool.rules();
    assert!(
        rules.ends_with("}\n\ntable inet shimmer\ndelete table inet shimmer\n"),
        "{rules}"
    );
    assert_nft_takes(&rules);
}

#[test]
fn loading_again_puts_out_nobody_and_a_stop_leaves_the_doors() {
    let configuration = Configuration::new("again", ALL);
    let rules = configuration.rules();
    let part =
        |options: &[&str]| String::from_utf8(configuration.firewall(options).stdout).unwrap();
    with_firewall(|| {
        let list = || nft(&["list", "ruleset"], "").unwrap();
        let has = |word: &str| list().contains(word);
        load(&rules);
        load("add element inet shimmer home4 { 198.51.100.7 timeout 1h expires 40m }\n");
        load("add element inet shimmer home6 { 2001:db8::7 timeout 1h }\n");
        load("add element inet fw4 ssh4 { 198.51.100.8 timeout 1h }\n");
        let lines = list().lines().count();
        // A rule that is no longer wanted is no longer there.
        load("add rule inet shimmer doors tcp dport 99 drop\n");
        for _ in 0..2 {
            load(&rules);
            assert_eq!(list().lines().count(), lines, "{}", list());
            for element in [
                "198.51.100.7 timeout 1h expires 39m5",
                "2001:db8::7",
                "198.51.100.8",
            ] {
                assert!(has(element), "{element}: {}", list());
            }
        }
        // What a stop does, twice.
        for _ in 0..2 {
            load(&part(&["--remove", "--only", "ports"]));
            assert!(!has("shimmer-ports") && !has("dnat"));
            assert!(has("ip saddr != @home4 drop") && has("198.51.100.7"));
        }
        load(&part(&["--only", "doors"]));
        assert!(has("198.51.100.7") && !has("shimmer-ports"));
        load(&part(&["--remove"]));
        assert!(!has("shimmer"), "{}", list());
    });
}
