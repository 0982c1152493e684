//! `shimmer firewall`: the rules that the mirages need, as nft reads them.
//!
//! ```text
//!   prerouting ──▶ fib daddr type local ──▶ pools: LOW-HIGH becomes the pool's port, the address stays
//!   output     ──▶ the same, for who tries it on the machine itself
//!   input      ──▶ the pool's port: only what came through pools; else as if it were closed
//!   input      ──▶ silence: what comes to a silent gate's ports, where nobody listens, goes unanswered
//! ```
//!
//! They say where a mirage may be found, which anybody can see, and neither secrets nor ports of a
//! minute.

use crate::cli::{self, Args, Error, warn};
use crate::config::{ServerConfig, ServerMirage};
use crate::proto::scheme::schedule::Range;
use crate::proto::source::Network;
use crate::terms::{Door, NftFamily, NftSet};
use core::fmt::{self, Write};
use core::net::IpAddr;
use std::path::Path;

/// Takes the table away, whether it is there or not: what is declared a second time stays as it is, and
/// what is not there can't be deleted. With the definition behind it that is one step, and sessions live
/// through it; by itself it ends those that came through a pool, where no other table has NAT.
const REMOVE: &str = "\
table inet shimmer
delete table inet shimmer
";

const INTRODUCTION: &str = "\
# Rules for Shimmer's mirages. To load them: shimmer firewall | nft -f -
#
# An accept here overrides no drop or reject elsewhere: each table decides for
# itself. If another firewall closes ports on this machine, give it the accept
# rules of the chain input, too. In OpenWrt's fw4 they go, one a line, into
#   /usr/share/nftables.d/chain-pre/input_wan/shimmer.nft   (then: fw4 reload)

";

/// `dnat to :PORT` instead of `redirect`, which leads to the first address of the interface at which a
/// visitor comes in: that need not be the one that he dialled, nor one on which we listen, and there may
/// be none. (It needs Linux 5.19, or the later ones of 5.10 and 5.15, from 5.10.122 and 5.15.47 on.)
///
/// What is made on the machine itself passes output and not prerouting. An administrator who tries it there
/// would find refused ports, so it is led there, too. Not at the loopback addresses, unless a mirage
/// listens there by name: a wide range would take the ports of every program that talks to itself.
const NAT: &str = "	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		# Only what is for this machine: what passes through keeps its way.
		fib daddr type local jump pools
	}

	chain output {
		type nat hook output priority -100; policy accept;
		fib daddr type local jump pools
	}

	# The whole range leads to one port. The address stays as it was dialled.
	chain pools {
";

const LOOPBACK: &str = "		# Local programs keep their loopback ports.
		ip daddr 127.0.0.0/8 return
		ip6 daddr ::1 return
";

/// It comes after the chains of other firewalls (fw4's and Debian's are at 0, firewalld's at 10): where
/// they drop what comes to a closed port, or reject it in their own way, they have done so. What is left
/// is answered as the kernel does where nobody listens.
const INPUT: &str = "	chain input {
		type filter hook input priority filter + 20; policy accept;
";

/// It comes before the chains of other firewalls, of which some reject, and that is an answer.
const SILENCE: &str = "	# A silent gate's ports give no answer: neither a reset nor an error.
	chain silence {
		type filter hook input priority filter - 10; policy accept;
";

/// Before the chains of other firewalls: what is dropped here none of them lets in. Connections that are
/// up stay so.
const DOORS: &str = "	# Only who is in a set may begin a connection.
	chain doors {
		type filter hook input priority filter - 10; policy accept;
		# This machine itself, and the networks that are never banned: the way back.
		iif \"lo\" return
";

/// Elements of a set: each takes memory of the kernel's, and only who has passed a gate gets one.
const SET_SIZE: u32 = 65_535;

/// nft takes 128 bytes of comment, with a NUL.
const COMMENT: usize = 100;

/// `shimmer firewall`
///
/// # Errors
/// [`Error::Configuration`] with every mistake of the file; those of [`cli::print`].
pub fn main(mut args: Args) -> Result<(), Error> {
    let file = args.value("--config")?.unwrap_or(cli::CONFIG.as_ref());
    let is_removal = args.flag("--remove");
    args.end()?;
    if is_removal {
        // Whatever the configuration has become: it may be gone.
        return cli::print(REMOVE);
    }
    let server = super::load(Path::new(file), ServerConfig::load)?;
    for warning in &server.warnings {
        warn(format_args!("{warning}"));
    }
    let ranges: Vec<Vec<Range>> = server.mirages.iter().map(ServerMirage::watched).collect();
    let mirages = server.mirages.iter().zip(&ranges);
    let silent = mirages.filter(|(mirage, _)| mirage.gate().is_silent());
    let silent: Vec<Silent> = silent
        .map(|(mirage, ranges)| Silent {
            at: Where::of(mirage),
            ranges,
        })
        .collect();
    cli::print(&rules(&server.mirages, &silent, &server.common.allow))
}

/// The ports of a gate that gives no answer.
struct Silent<'a> {
    at: Where<'a>,
    ranges: &'a [Range],
}

/// A mirage as the rules name it, and where it listens.
#[derive(Clone, Copy)]
struct Where<'a> {
    section: &'a str,
    listen: &'a [IpAddr],
}

impl<'a> Where<'a> {
    fn of(mirage: &'a ServerMirage) -> Self {
        Self {
            section: &mirage.section,
            listen: &mirage.plain.listen,
        }
    }
}

fn rules(mirages: &[ServerMirage], silent: &[Silent], allow: &[Network]) -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str(REMOVE);
    text.push_str("\ntable inet shimmer {\n");
    let ours = |mirage: &&ServerMirage| set_of(mirage).is_some_and(|(set, _)| is_ours(set));
    for mirage in mirages.iter().filter(ours) {
        add_sets(&mut text, mirage);
    }
    if mirages.iter().any(|mirage| mirage.pool_port.is_some()) {
        text.push_str(NAT);
        add_pools(&mut text, mirages, false);
        text.push_str(LOOPBACK);
        add_pools(&mut text, mirages, true);
        text.push_str("\t}\n\n");
    }
    if !silent.is_empty() {
        text.push_str(SILENCE);
        add_silence(&mut text, silent, false);
        text.push_str(LOOPBACK);
        add_silence(&mut text, silent, true);
        text.push_str("\t}\n\n");
    }
    if mirages.iter().any(|mirage| ours(&mirage)) {
        text.push_str(DOORS);
        for network in allow {
            let family = if network.is_ipv4() { "ip" } else { "ip6" };
            // Writing to a String can't fail.
            let _ = writeln!(text, "\t\t{family} saddr {network} return");
        }
        for mirage in mirages.iter().filter(ours) {
            add_doors(&mut text, mirage);
        }
        text.push_str("\t}\n\n");
    }
    text.push_str(INPUT);
    for mirage in mirages {
        add_input(&mut text, mirage);
    }
    text.push_str("\t}\n}\n");
    for mirage in mirages.iter().filter(|mirage| !ours(mirage)) {
        if let Some((set, _)) = set_of(mirage) {
            let (family, table) = (set.family.word(), &set.table);
            let _ = write!(
                text,
                "\n# In a table of another: the rule that uses it goes there, too, as in\n\
                 #   tcp dport 22 ip saddr @{}4 accept\ntable {family} {table} {{\n",
                set.name
            );
            add_sets(&mut text, mirage);
            text.push_str("}\n");
        }
    }
    text
}

fn set_of(mirage: &ServerMirage) -> Option<(&NftSet, Option<u16>)> {
    match &mirage.door {
        Door::Nft { set, port } => Some((set, *port)),
        Door::Forward(_) | Door::Command { .. } => None,
    }
}

/// Whether a set is in the table that is made anew each time.
fn is_ours(set: &NftSet) -> bool {
    set.family == NftFamily::Inet && *set.table == *"shimmer"
}

/// The digit of a set, what its addresses are, and how a rule names theirs.
const KINDS: [(&str, &str, &str); 2] = [("4", "ipv4_addr", "ip"), ("6", "ipv6_addr", "ip6")];

fn kinds(set: &NftSet) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let family = set.family;
    KINDS.into_iter().filter(move |(digit, ..)| match family {
        NftFamily::Inet => true,
        NftFamily::Ip => *digit == "4",
        NftFamily::Ip6 => *digit == "6",
    })
}

/// Adds the sets to which a door adds addresses, for their time.
fn add_sets(text: &mut String, mirage: &ServerMirage) {
    let Some((set, _)) = set_of(mirage) else {
        return;
    };
    for (digit, kind, _) in kinds(set) {
        let name = &set.name;
        let _ = writeln!(
            text,
            "\tset {name}{digit} {{\n\t\ttype {kind}; flags timeout; size {SET_SIZE};\n\t}}\n"
        );
    }
}

/// Adds who may come to the port behind a door.
fn add_doors(text: &mut String, mirage: &ServerMirage) {
    let Some((set, port)) = set_of(mirage) else {
        return;
    };
    for (digit, _, family) in kinds(set) {
        let (name, section) = (&set.name, &mirage.section);
        // Writing to a String can't fail.
        let _ = match port {
            Some(port) => writeln!(
                text,
                "\t\ttcp dport {port} ct state new {family} saddr != @{name}{digit} drop \
                 comment \"{section:.COMMENT$}\""
            ),
            None => writeln!(
                text,
                "\t\t# With open-port = PORT in [mirage-{section}]:\n\
                 \t\t# tcp dport PORT ct state new {family} saddr != @{name}{digit} drop"
            ),
        };
    }
}

/// Adds where the pools' ranges lead, for those places that are all addresses or for the others.
fn add_pools(text: &mut String, mirages: &[ServerMirage], are_all: bool) {
    for mirage in mirages {
        if let Some(port) = mirage.pool_port {
            let Some(range) = mirage.range() else {
                continue;
            };
            let (low, high) = (range.low(), range.high());
            let rule = format_args!("tcp dport {low}-{high} dnat to :{port}");
            add(text, Where::of(mirage), Some(are_all), rule);
        }
    }
}

/// Adds what has no answer, for those places that are all addresses or for the others.
///
/// What has a socket is left to it: a door's listener, which hears admitted addresses alone, a port that
/// the sensor has to open, another program's. (`wildcard <= 1` is any socket; Linux 5.10.) What belongs to
/// a connection is let through when its socket has gone, for the last words of both sides.
fn add_silence(text: &mut String, silent: &[Silent], are_all: bool) {
    for Silent { at, ranges } in silent {
        for range in *ranges {
            let (low, high) = (range.low(), range.high());
            let what = format_args!("meta l4proto {{ tcp, udp }} th dport {low}");
            for verdict in [
                "socket wildcard <= 1 accept",
                "ct state != established drop",
            ] {
                // Older nft takes no range of one port.
                if low == high {
                    add(text, *at, Some(are_all), format_args!("{what} {verdict}"));
                } else {
                    let rule = format_args!("{what}-{high} {verdict}");
                    add(text, *at, Some(are_all), rule);
                }
            }
        }
    }
}

/// Adds who may come to a mirage's ports.
fn add_input(text: &mut String, mirage: &ServerMirage) {
    if let Some(port) = mirage.pool_port {
        let rule = format_args!("tcp dport {port} ct status dnat accept");
        add(text, Where::of(mirage), None, rule);
        let rule = format_args!("tcp dport {port} reject with tcp reset");
        add(text, Where::of(mirage), None, rule);
    } else if let Some(range) = mirage.bound() {
        let (low, high) = (range.low(), range.high());
        let rule = format_args!("tcp dport {low}-{high} accept");
        add(text, Where::of(mirage), None, rule);
    }
}

/// Adds a rule for each place where a mirage listens, with its name for those who list the rules. With
/// `are_all`, for those places alone that are all addresses, be it of one family, or for the others.
fn add(text: &mut String, at: Where, are_all: Option<bool>, rule: fmt::Arguments) {
    let Where { section, listen } = at;
    // No address is all of both families.
    for index in 0..listen.len().max(1) {
        let address = listen.get(index);
        let is_all = address.is_none_or(IpAddr::is_unspecified);
        if are_all.is_some_and(|are_all| are_all != is_all) {
            continue;
        }
        text.push_str("\t\t");
        if let Some(address) = address {
            // Writing to a String can't fail.
            let _ = match (address.is_ipv4(), is_all) {
                (true, true) => text.write_str("meta nfproto ipv4 "),
                (false, true) => text.write_str("meta nfproto ipv6 "),
                (true, false) => write!(text, "ip daddr {address} "),
                (false, false) => write!(text, "ip6 daddr {address} "),
            };
        }
        let _ = writeln!(text, "{rule} comment \"{section:.COMMENT$}\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// Whether nft would take the rules, where it is and may be asked.
    #[track_caller]
    fn assert_nft_takes(rules: &str) {
        let nft = |rules: &str| {
            let mut child = Command::new("nft")
                .args(["--check", "--file", "-"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .ok()?;
            let _ = child.stdin.take()?.write_all(rules.as_bytes());
            child.wait_with_output().ok()
        };
        if nft("table inet shimmer\n").is_some_and(|output| output.status.success()) {
            let output = nft(rules).unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{error}\n{rules}");
        }
    }

    /// The rules of the chain.
    fn silence(listen: &[IpAddr], ports: &[(u16, u16)]) -> Vec<String> {
        let ranges: Vec<Range> = ports
            .iter()
            .map(|&(low, high)| Range::new(low, high).unwrap())
            .collect();
        let at = Where {
            section: "home",
            listen,
        };
        let silent = Silent {
            at,
            ranges: &ranges,
        };
        let text = rules(&[], &[silent], &[]);
        assert_nft_takes(&text);
        let (_, chain) = text.split_once("\tchain silence {\n").unwrap();
        let (chain, _) = chain.split_once("\n\t}\n").unwrap();
        let lines = chain.lines().map(|line| line.trim().to_owned());
        lines.filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn a_silent_gate_drops_before_all_others_what_has_no_socket() {
        assert_eq!(
            silence(&[], &[(10_000, 10_999), (7, 7)]),
            [
                "type filter hook input priority filter - 10; policy accept;",
                "ip daddr 127.0.0.0/8 return",
                "ip6 daddr ::1 return",
                "meta l4proto { tcp, udp } th dport 10000-10999 socket wildcard <= 1 accept comment \"home\"",
                "meta l4proto { tcp, udp } th dport 10000-10999 ct state != established drop comment \"home\"",
                "meta l4proto { tcp, udp } th dport 7 socket wildcard <= 1 accept comment \"home\"",
                "meta l4proto { tcp, udp } th dport 7 ct state != established drop comment \"home\"",
            ]
        );
    }

    #[test]
    fn a_silent_address_comes_before_the_loopback_exception() {
        let listen = ["::", "127.0.0.9"].map(|address| address.parse().unwrap());
        assert_eq!(
            silence(&listen, &[(10_000, 10_999)])[1..],
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
    fn no_silent_gate_changes_nothing() {
        assert!(!rules(&[], &[], &[]).contains("silence"));
    }
}
