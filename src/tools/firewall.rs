//! `shimmer firewall`: the rules that the mirages need, as nft reads them.
//!
//! ```text
//!   prerouting ──▶ fib daddr type local ──▶ pools: LOW-HIGH becomes the pool's port, the address stays
//!   output     ──▶ the same, for who tries it on the machine itself
//!   input      ──▶ the pool's port: only what came through pools; else as if it were closed
//! ```
//!
//! They say where a mirage may be found, which anybody can see, and neither secrets nor ports of a
//! minute.

use crate::cli::{self, Failure, Words, warn};
use crate::config::{Mirage, Server};
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

/// nft takes 128 bytes of comment, with a NUL.
const COMMENT: usize = 100;

/// `shimmer firewall`
///
/// # Errors
/// [`Failure::Configuration`] with every mistake of the file; those of [`cli::print`].
pub fn main(mut words: Words) -> Result<(), Failure> {
    let file = words.value("--config")?.unwrap_or(cli::CONFIG.as_ref());
    let is_removal = words.flag("--remove");
    words.end()?;
    if is_removal {
        // Whatever the configuration has become: it may be gone.
        return cli::print(REMOVE);
    }
    let server = super::load(Path::new(file), Server::load)?;
    for warning in &server.warnings {
        warn(format_args!("{warning}"));
    }
    cli::print(&rules(&server.mirages))
}

fn rules(mirages: &[Mirage]) -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str(REMOVE);
    text.push_str("\ntable inet shimmer {\n");
    if mirages.iter().any(|mirage| mirage.pool_port.is_some()) {
        text.push_str(NAT);
        add_pools(&mut text, mirages, false);
        text.push_str(LOOPBACK);
        add_pools(&mut text, mirages, true);
        text.push_str("\t}\n\n");
    }
    text.push_str(INPUT);
    for mirage in mirages {
        add_input(&mut text, mirage);
    }
    text.push_str("\t}\n}\n");
    text
}

/// Adds where the pools' ranges lead, for those places that are all addresses or for the others.
fn add_pools(text: &mut String, mirages: &[Mirage], are_all: bool) {
    for mirage in mirages {
        if let Some(port) = mirage.pool_port {
            let range = mirage.pattern.range();
            let (low, high) = (range.low(), range.high());
            let rule = format_args!("tcp dport {low}-{high} dnat to :{port}");
            add(text, mirage, Some(are_all), rule);
        }
    }
}

/// Adds who may come to a mirage's ports.
fn add_input(text: &mut String, mirage: &Mirage) {
    if let Some(port) = mirage.pool_port {
        let rule = format_args!("tcp dport {port} ct status dnat accept");
        add(text, mirage, None, rule);
        let rule = format_args!("tcp dport {port} reject with tcp reset");
        add(text, mirage, None, rule);
    } else {
        let range = mirage.pattern.range();
        let (low, high) = (range.low(), range.high());
        let rule = format_args!("tcp dport {low}-{high} accept");
        add(text, mirage, None, rule);
    }
}

/// Adds a rule for each place where a mirage listens, with its name for those who list the rules. With
/// `are_all`, for those places alone that are all addresses, be it of one family, or for the others.
fn add(text: &mut String, mirage: &Mirage, are_all: Option<bool>, rule: fmt::Arguments) {
    let section = &mirage.section;
    // No address is all of both families.
    for index in 0..mirage.listen.len().max(1) {
        let address = mirage.listen.get(index);
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
