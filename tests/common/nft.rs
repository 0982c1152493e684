//! The kernel's sets, as nft shows them, and the daemon's part that changes them.

use super::gates::only_apart;
use shimmer::daemon::netfilter::{GuardedDoor, InForce, Netfilter, News, Refused};
use shimmer::proto::Instant;
use shimmer::terms::NftSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;

/// What nft says, with a text on its stdin. None if it is not installed, or has failed.
pub fn nft(words: &[&str], text: &str) -> Option<String> {
    let mut child = Command::new("nft")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = child.wait_with_output().unwrap();
    let is_done = output.status.success();
    is_done.then(|| String::from_utf8(output.stdout).unwrap())
}

/// Changes the firewall of this network.
#[track_caller]
pub fn load(text: &str) {
    assert!(nft(&["-f", "-"], text).is_some(), "nft refuses {text}");
}

/// Runs a test in a network with a firewall of its own; or says that it can't.
pub fn with_firewall(test: impl Fn() + Sync) {
    let folders = ["/usr/sbin/nft", "/usr/bin/nft", "/sbin/nft"];
    if !folders.iter().any(|nft| Path::new(nft).exists()) {
        return eprintln!("SKIPPED: nft is not installed, so the kernel's sets are not shown");
    }
    if !only_apart(&test) {
        eprintln!(
            "SKIPPED: no network of its own (that takes root), so the kernel's sets are not shown"
        );
    }
}

/// A loop that has the kernel's sets only. The clock is the test's.
pub struct Turns {
    pub netfilter: Netfilter<u32>,
    pub now: Instant,
    /// What has happened, with tickets as numbers.
    pub news: Vec<String>,
    /// What is to be in sets.
    pub in_force: Vec<(NftSet, IpAddr, Instant)>,
    /// The doors that are served: each mirage with its set, and whether rules of ours use it.
    pub doors: Vec<(Rc<str>, NftSet, bool)>,
}

pub fn set(text: &str) -> NftSet {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is not a set"))
}

impl Turns {
    pub fn new() -> Self {
        Self {
            netfilter: Netfilter::default(),
            now: Instant(1_000_000),
            news: Vec::new(),
            in_force: Vec::new(),
            doors: Vec::new(),
        }
    }

    pub fn add(
        &mut self,
        name: &str,
        address: &str,
        seconds: u32,
        ticket: u32,
    ) -> Result<(), Refused> {
        let address: IpAddr = address.parse().unwrap();
        self.netfilter
            .add(&set(name), address, seconds, ticket, self.now)
    }

    #[track_caller]
    pub fn must_add(&mut self, set: &str, address: &str, seconds: u32, ticket: u32) {
        assert!(self.add(set, address, seconds, ticket).is_ok());
    }

    /// Something that is in a set already, for this many more seconds.
    pub fn is_in_force(&mut self, name: &str, address: &str, seconds: u64) {
        let until = self.now.after(seconds * 1_000);
        self.in_force
            .push((set(name), address.parse().unwrap(), until));
    }

    /// One turn, and what has happened in it.
    pub fn turn(&mut self) -> Vec<String> {
        let in_force = self.in_force.iter().map(|(set, address, until)| InForce {
            set,
            address: *address,
            until: *until,
        });
        let doors = self
            .doors
            .iter()
            .map(|(mirage, set, has_rules)| GuardedDoor {
                mirage,
                set,
                has_rules: *has_rules,
            });
        let doors: Vec<_> = doors.collect();
        self.netfilter.tick(in_force, &doors, self.now);
        let begin = self.news.len();
        while let Some(news) = self.netfilter.next_news() {
            self.news.push(match news {
                News::Done(ticket) => format!("done {ticket}"),
                News::TooLate(ticket) => format!("late {ticket}"),
                News::Replaced(ticket) => format!("replaced {ticket}"),
                News::Failing { set, why } => format!("failing {set}: {why}"),
                News::Missing(count) => format!("missing {count}"),
                News::Gone { mirage, problem } => format!("gone {mirage}: {problem}"),
                News::Back(mirage) => format!("back {mirage}"),
            });
        }
        self.news[begin..].to_vec()
    }

    pub fn pass(&mut self, ms: u64) -> Vec<String> {
        self.now = self.now.after(ms);
        self.turn()
    }

    /// Goes to the next moment at which there is something to do, and does it.
    #[track_caller]
    pub fn next_moment(&mut self) -> Vec<String> {
        let next = self.netfilter.next_deadline().expect("something waits");
        self.now = self.now.max(next);
        self.turn()
    }
}

/// What nft lists of a set, in one line.
#[track_caller]
pub fn list(name: &str) -> String {
    let [family, table, set] = name.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{name}: a family, a table and a set");
    };
    let text = nft(&["list", "set", family, table, set], "").expect("it is there");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How many elements a set has.
#[track_caller]
pub fn count(name: &str) -> usize {
    list(name).matches(" expires ").count()
}

/// Two sets of a table, of the usual form.
pub fn sets(family: &str, table: &str, name: &str) -> String {
    format!(
        "add table {family} {table}\n\
         add set {family} {table} {name}4 {{ type ipv4_addr; flags timeout; }}\n\
         add set {family} {table} {name}6 {{ type ipv6_addr; flags timeout; }}\n"
    )
}

pub const SSH: &str = "inet/fw4/ssh";

pub fn load_ssh() {
    load(&sets("inet", "fw4", "ssh"));
}

/// This thread may no longer change the firewall.
pub fn drop_net_admin() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut ours = capabilities(None).unwrap();
    ours.effective.remove(CapabilitySet::NET_ADMIN);
    set_capabilities(None, ours).unwrap();
}
