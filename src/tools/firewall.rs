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
        let Some(port) = mirage.pool_port else {
            continue;
        };
        let range = mirage.pattern.range();
        let (low, high) = (range.low(), range.high());
        for place in places(mirage).filter(|place| place.is_all() == are_all) {
            let rule = format_args!("tcp dport {low}-{high} dnat to :{port}");
            add(text, mirage, place, rule);
        }
    }
}

/// Adds who may come to a mirage's ports.
fn add_input(text: &mut String, mirage: &Mirage) {
    let range = mirage.pattern.range();
    for place in places(mirage) {
        match mirage.pool_port {
            Some(port) => {
                let rule = format_args!("tcp dport {port} ct status dnat accept");
                add(text, mirage, place, rule);
                let rule = format_args!("tcp dport {port} reject with tcp reset");
                add(text, mirage, place, rule);
            }
            None => {
                let (low, high) = (range.low(), range.high());
                let rule = format_args!("tcp dport {low}-{high} accept");
                add(text, mirage, place, rule);
            }
        }
    }
}

/// Adds a rule for one place, with the mirage's name for those who list the rules.
fn add(text: &mut String, mirage: &Mirage, place: Place, rule: fmt::Arguments) {
    let section = &mirage.section;
    // Writing to a String can't fail.
    let _ = writeln!(text, "\t\t{place}{rule} comment \"{section:.COMMENT$}\"");
}

/// Where a mirage listens: at an address, or at all of them.
#[derive(Clone, Copy)]
struct Place(Option<IpAddr>);

fn places(mirage: &Mirage) -> impl Iterator<Item = Place> {
    let all = mirage.listen.is_empty().then_some(Place(None));
    let some = mirage.listen.iter().map(|address| Place(Some(*address)));
    some.chain(all)
}

impl Place {
    /// Whether it is all addresses, be it of one family.
    fn is_all(self) -> bool {
        self.0.is_none_or(|address| address.is_unspecified())
    }
}

/// What a rule for it begins with.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(IpAddr::V4(all)) if all.is_unspecified() => f.write_str("meta nfproto ipv4 "),
            Some(IpAddr::V6(all)) if all.is_unspecified() => f.write_str("meta nfproto ipv6 "),
            Some(IpAddr::V4(address)) => write!(f, "ip daddr {address} "),
            Some(IpAddr::V6(address)) => write!(f, "ip6 daddr {address} "),
        }
    }
}
