//! Goal: the rules do what the configuration says, nft accepts them, and whoever reads them learns nothing
//! that a visitor could not find out.

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
fn removing_needs_no_configuration_and_loading_removes_first() {
    let configuration = Configuration::new("remove", "[mirage-home]\nnonsense = 1\n");
    let removal = configuration.firewall(&["--remove"]);
    assert_eq!(removal.status.code(), Some(0));
    let removal = String::from_utf8(removal.stdout).unwrap();
    assert_eq!(removal, "table inet shimmer\ndelete table inet shimmer\n");
    assert_nft_takes(&removal);

    assert_eq!(configuration.firewall(&[]).status.code(), Some(2));
    assert!(configuration.firewall(&[]).stdout.is_empty());

    let good = "[mirage-home]\nsecret = SECRET\nport = 22\nrange = 10000-10999\n";
    let rules = Configuration::new("load", good).rules();
    let commands = rules
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first: Vec<&str> = commands.take(2).collect();
    assert_eq!(first, removal.lines().collect::<Vec<_>>());
}
