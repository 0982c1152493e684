//! `shimmer firewall`: the rules that the mirages need, for nft. They are two tables.
//!
//! ```text
//!   shimmer-ports: while the daemon runs
//!     prerouting ──▶ fib daddr type local ──▶ pools: LOW-HIGH becomes the pool's port, the address stays
//!     output     ──▶ the same, for whoever tries it on the machine itself
//!     input      ──▶ the pool's port: only what came through pools; otherwise it looks closed
//!     silence    ──▶ packets to a silent gate's ports where nobody listens: no answer
//!   shimmer: whether the daemon runs or not
//!     doors      ──▶ the ports behind nft doors: only addresses that are in the set
//! ```
//!
//! If the rules of the doors went with the daemon, a stop would open their ports to everybody. To load them again
//! leaves the sets as they are, with whoever is let in.
//!
//! The rules tell where a mirage is, which everybody can see, but neither its secret nor the ports of a
//! minute.

use crate::cli::{self, Args, Error, warn};
use crate::config::{ServerConfig, ServerMirage};
use crate::message::{Parsed, wrong};
use crate::proto::scheme::schedule::Range;
use crate::terms::{Door, NftFamily, NftSet};
use core::fmt::{self, Write as _};
use core::net::IpAddr;
use std::path::Path;

/// The table with all rules but those of the nft doors.
const PORTS_TABLE: &str = "shimmer-ports";

const INTRODUCTION: &str = "\
# Rules for Shimmer's mirages. To load them: shimmer firewall | nft -f -
#
# An accept here overrides no drop or reject elsewhere: each table decides for
# itself. If another firewall closes ports on this machine, give it the accept
# rules of the chain input, too. In OpenWrt's fw4 they go, one a line, into
#   /usr/share/nftables.d/chain-pre/input_wan/shimmer.nft   (then: fw4 reload)

";

/// All rules of the table are made anew, and its sets stay. The kernel does both in one step, so nobody gets in
/// between, and nobody is put out.
const STAYING: &str = "\
# These stay when the daemon stops: without them the ports behind door = nft are open to everybody. To load them
# again puts out nobody who is let in. To remove everything: shimmer firewall --remove | nft -f -
";

/// `dnat to :PORT`, because `redirect` changes the address to the first one of the interface. We need not
/// listen at that one, and it may not exist. (`dnat to :PORT` needs Linux 5.19, or 5.10 from 5.10.122 on, or
/// 5.15 from 5.15.47 on.)
///
/// Packets of the machine itself pass output and not prerouting. Administrators who try it there would find
/// the ports closed, so output leads to the pools too. Loopback addresses are left out unless a mirage
/// names them: a wide range would take the ports of every program that talks to itself.
const NAT: &str = "	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		# Only what is for this machine, not what it forwards.
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

/// After the chains of other firewalls (fw4's and Debian's are at 0, firewalld's at 10), so that they drop
/// or reject what comes to a closed port in their own way. The rest is answered as the kernel answers where
/// nobody listens.
const INPUT: &str = "	chain input {
		type filter hook input priority filter + 20; policy accept;
";

/// Before the chains of other firewalls, because some of them reject, and that is an answer.
const SILENCE: &str = "	# A silent gate's ports give no answer: neither a reset nor an error.
	chain silence {
		type filter hook input priority filter - 10; policy accept;
";

/// Before the chains of other firewalls: none of them can accept what is dropped here. Connections that
/// exist go on.
const DOORS: &str = "	# Only addresses that are in a set may begin a connection.
	chain doors {
		type filter hook input priority filter - 10; policy accept;
		# This machine itself and the networks that are never banned always may.
		iif \"lo\" return
";

/// Elements in a set. Each takes kernel memory, but only addresses that have passed a gate become elements. A set
/// that exists and has another size would be an error.
const SET_SIZE: u32 = 65_535;

/// Bytes of a section's name in a comment. nft takes 128 with the NUL.
const COMMENT: usize = 100;

/// `shimmer firewall`
///
/// # Errors
/// [`Error::Configuration`] with every mistake of the file; those of [`cli::print`].
pub fn main(mut args: Args) -> Result<(), Error> {
    let file = args.value("--config")?.unwrap_or(cli::CONFIG.as_ref());
    let only = args.parsed("--only", parse_part)?;
    let is_removal = args.flag("--remove");
    args.finish()?;
    let parts = Part::ALL.into_iter();
    let parts = parts.filter(|part| only.is_none_or(|only| only == *part));
    if is_removal {
        // This needs no configuration. It may be gone.
        return cli::print(&parts.map(Part::removal).collect::<String>());
    }
    let server = super::load(Path::new(file), ServerConfig::load)?;
    for warning in &server.warnings {
        warn(format_args!("{warning}"));
    }
    let mut text = INTRODUCTION.to_owned();
    for part in parts {
        // Writing to a String can't fail.
        let _ = write!(text, "{}", PartRules { server, part });
    }
    cli::print(&text)
}

/// A part of the rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What the open ports need, in [`PORTS_TABLE`].
    Ports,
    /// Who may come in by the nft doors, in [`NftSet::TABLE`] and in other programs' tables.
    Doors,
}

impl Part {
    const ALL: [Self; 2] = [Self::Ports, Self::Doors];

    fn table(self) -> &'static str {
        match self {
            Self::Ports => PORTS_TABLE,
            Self::Doors => NftSet::TABLE,
        }
    }

    /// Removes the table, whether it exists or not: to declare a table that exists changes nothing, and to delete
    /// one that does not is an error. With the new table after it, nft does all this in one step, and sessions
    /// survive. By itself it ends the sessions that came through a pool, unless another table has NAT.
    fn removal(self) -> String {
        let table = self.table();
        format!("table inet {table}\ndelete table inet {table}\n")
    }
}

fn parse_part(text: &str) -> Parsed<Part> {
    match text {
        "ports" => Ok(Part::Ports),
        "doors" => Ok(Part::Doors),
        _ => wrong!("must be ports or doors"),
    }
}

/// A part of what nft is to load.
struct PartRules {
    server: &'static ServerConfig,
    part: Part,
}

/// Which addresses of a mirage a rule is for. Those that a mirage names may be loopback addresses, so
/// their rules come before [`LOOPBACK`], and those of the wildcards after it.
#[derive(Clone, Copy)]
enum Addresses {
    All,
    Named,
    /// All addresses of both families or of one.
    Wildcard,
}

impl fmt::Display for PartRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.part.table();
        match self.part {
            Part::Ports => {
                write!(f, "{}\ntable inet {table} {{\n", self.part.removal())?;
                self.write_pools(f)?;
                self.write_silence(f)?;
                self.write_input(f)?;
                f.write_str("}\n\n")
            }
            // Without doors nothing has to stay.
            Part::Doors if self.doors().all(|(_, set, _)| !set.is_ours()) => {
                f.write_str(&self.part.removal())?;
                self.write_foreign_sets(f)
            }
            Part::Doors => {
                write!(f, "{STAYING}table inet {table}\nflush table inet {table}\n")?;
                write!(f, "\ntable inet {table} {{\n")?;
                for (_, set, _) in self.doors().filter(|(_, set, _)| set.is_ours()) {
                    write_sets(f, set)?;
                }
                self.write_doors(f)?;
                f.write_str("}\n")?;
                self.write_foreign_sets(f)
            }
        }
    }
}

impl PartRules {
    /// The mirages with an nft door: each with its set and the port behind it.
    fn doors(&self) -> impl Iterator<Item = (&ServerMirage, &NftSet, Option<u16>)> {
        self.server
            .mirages
            .iter()
            .filter_map(|mirage| match &mirage.settings.door {
                Door::Nft { set, port } => Some((mirage, set, *port)),
                Door::Forward(_) | Door::Command { .. } => None,
            })
    }

    /// Where the ranges of the pools lead.
    fn write_pools(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pools = self.server.mirages.iter().filter_map(|mirage| {
            let (port, range) = (
                mirage.settings.pool_port?,
                PortMatch(mirage.settings.range()?),
            );
            Some((mirage, format!("tcp dport {range} dnat to :{port}")))
        });
        write_around_loopback(f, NAT, &pools.collect::<Vec<_>>())
    }

    /// What gets no answer: packets for which there is no socket at the ports, unless they belong to an
    /// established connection.
    fn write_silence(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rules = Vec::new();
        for mirage in &self.server.mirages {
            if mirage.settings.gate().is_silent() {
                for range in mirage.settings.watched() {
                    let ports = PortMatch(range);
                    for verdict in [
                        "socket wildcard <= 1 accept",
                        "ct state != established drop",
                    ] {
                        let rule =
                            format!("meta l4proto {{ tcp, udp }} th dport {ports} {verdict}");
                        rules.push((mirage, rule));
                    }
                }
            }
        }
        write_around_loopback(f, SILENCE, &rules)
    }

    /// Who may connect to the ports behind nft doors.
    fn write_doors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DOORS)?;
        for network in &self.server.common.allow {
            let family = if network.is_ipv4() { "ip" } else { "ip6" };
            writeln!(f, "\t\t{family} saddr {network} return")?;
        }
        for (mirage, set, port) in self.doors().filter(|(_, set, _)| set.is_ours()) {
            write_door_rules(f, &mirage.settings.section, set, port)?;
        }
        f.write_str("\t}\n")
    }

    /// The sets of other programs' tables.
    fn write_foreign_sets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, set, _) in self.doors().filter(|(_, set, _)| !set.is_ours()) {
            let (family, table, name) = (set.family.word(), &set.table, &set.name);
            write!(
                f,
                "\n# For another program's table. The rule that uses the set goes there too, for example\n\
                 #   tcp dport 22 ip saddr @{name}4 accept\ntable {family} {table} {{\n"
            )?;
            write_sets(f, set)?;
            f.write_str("}\n")?;
        }
        Ok(())
    }

    /// Who may connect to the ports of the mirages themselves.
    fn write_input(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(INPUT)?;
        for mirage in &self.server.mirages {
            if let Some(port) = mirage.settings.pool_port {
                let rule = format!("tcp dport {port} ct status dnat accept");
                write_rule(f, mirage, Addresses::All, &rule)?;
                let rule = format!("tcp dport {port} reject with tcp reset");
                write_rule(f, mirage, Addresses::All, &rule)?;
            } else if let Some(range) = mirage.bound() {
                let rule = format!("tcp dport {} accept", PortMatch(range));
                write_rule(f, mirage, Addresses::All, &rule)?;
            }
        }
        f.write_str("\t}\n")
    }
}

/// Writes a chain, with rules for wildcard addresses after [`LOOPBACK`]. Without rules there is no chain.
fn write_around_loopback(
    f: &mut fmt::Formatter<'_>,
    chain: &str,
    rules: &[(&ServerMirage, String)],
) -> fmt::Result {
    if rules.is_empty() {
        return Ok(());
    }
    f.write_str(chain)?;
    for (mirage, rule) in rules {
        write_rule(f, mirage, Addresses::Named, rule)?;
    }
    f.write_str(LOOPBACK)?;
    for (mirage, rule) in rules {
        write_rule(f, mirage, Addresses::Wildcard, rule)?;
    }
    f.write_str("\t}\n\n")
}

/// Writes a rule for each of the mirage's addresses that are wanted. Its comment is the mirage's section, for
/// people who list the rules.
fn write_rule(
    f: &mut fmt::Formatter<'_>,
    mirage: &ServerMirage,
    wanted: Addresses,
    rule: &str,
) -> fmt::Result {
    let (section, listen) = (&mirage.settings.section, &mirage.settings.plain.listen);
    // No address at all stands for all addresses of both families.
    for index in 0..listen.len().max(1) {
        let address = listen.get(index);
        let is_wildcard = address.is_none_or(IpAddr::is_unspecified);
        match wanted {
            Addresses::Wildcard if !is_wildcard => continue,
            Addresses::Named if is_wildcard => continue,
            _ => f.write_str("\t\t")?,
        }
        match address {
            Some(IpAddr::V4(_)) if is_wildcard => f.write_str("meta nfproto ipv4 ")?,
            Some(IpAddr::V6(_)) if is_wildcard => f.write_str("meta nfproto ipv6 ")?,
            Some(IpAddr::V4(address)) => write!(f, "ip daddr {address} ")?,
            Some(IpAddr::V6(address)) => write!(f, "ip6 daddr {address} ")?,
            None => {}
        }
        writeln!(f, "{rule} comment \"{section:.COMMENT$}\"")?;
    }
    Ok(())
}

/// Ports as a rule matches them. Older versions of nft refuse a range of one port.
struct PortMatch(Range);

impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.0.low(), self.0.high());
        match low == high {
            true => write!(f, "{low}"),
            false => write!(f, "{low}-{high}"),
        }
    }
}

/// The families of addresses in a set: the digit at the end of the set's name, and the header in which a rule
/// finds the address.
fn address_families(set: &NftSet) -> &'static [(char, &'static str)] {
    match set.family {
        NftFamily::Inet => &[('4', "ip"), ('6', "ip6")],
        NftFamily::Ip => &[('4', "ip")],
        NftFamily::Ip6 => &[('6', "ip6")],
    }
}

/// Defines the sets of a door, whose elements time out.
fn write_sets(f: &mut fmt::Formatter<'_>, set: &NftSet) -> fmt::Result {
    let name = &set.name;
    for (digit, _) in address_families(set) {
        writeln!(
            f,
            "\tset {name}{digit} {{\n\t\ttype ipv{digit}_addr; flags timeout; size {SET_SIZE};\n\t}}\n"
        )?;
    }
    Ok(())
}

/// Drops new connections to the port behind a door, unless their source is in its set.
fn write_door_rules(
    f: &mut fmt::Formatter<'_>,
    section: &str,
    set: &NftSet,
    port: Option<u16>,
) -> fmt::Result {
    let name = &set.name;
    for (digit, header) in address_families(set) {
        match port {
            Some(port) => writeln!(
                f,
                "\t\ttcp dport {port} ct state new {header} saddr != @{name}{digit} drop \
                 comment \"{section:.COMMENT$}\""
            )?,
            None => writeln!(
                f,
                "\t\t# With open-port = PORT in [mirage-{section}]:\n\
                 \t\t# tcp dport PORT ct state new {header} saddr != @{name}{digit} drop"
            )?,
        }
    }
    Ok(())
}
