//! What a stranger sees of a silent gate before a member's visit, during it and afterwards: nothing.
//!
//! With the rules of `shimmer firewall` no port of the range answers whatever is sent to it, neither the
//! one that is open to the member nor the others. That an answer would be seen is shown as well: by a
//! port outside the range, and by the same gate without the rules, where the open port is the one that
//! does not answer.

use crate::ceilings::{LONGEST_ENTRY, echo, trip};
use crate::flood::{Gate, enter};
use crate::network::{ACK, Ear, FIN, RST, SYN, Sender, fresh_source, wait_for};
use crate::process::{DAY_S, Daemon, Plan};
use crate::table::Report;
use shimmer::proto::scheme::packet::PACKET;
use socket2::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

const RANGE: (u16, u16) = (10_000, 10_199);

/// What is sent to each port: segments with these flags, datagrams of so many bytes.
const FLAGS: [u8; 5] = [SYN, ACK, SYN | ACK, FIN | ACK, 0];
const BYTES: [usize; 2] = [0, PACKET];

/// Ports that are asked at once: the host's queue has room for that.
const AT_ONCE: usize = 20;

/// What each port has answered.
type Answers = BTreeMap<u16, BTreeSet<String>>;

/// One who asks every port.
struct Stranger<'a> {
    daemon: &'a Daemon,
    sender: &'a Sender,
    source: Ipv4Addr,
    ears: [(Protocol, Ear); 3],
}

impl<'a> Stranger<'a> {
    fn new(daemon: &'a Daemon, sender: &'a Sender) -> Self {
        let source = fresh_source();
        let ears = [Protocol::TCP, Protocol::UDP, Protocol::ICMPV4];
        Self {
            daemon,
            sender,
            source,
            ears: ears.map(|protocol| (protocol, Ear::new(protocol, source))),
        }
    }

    /// Asks all, and a port outside the range in between: once that one has answered, so have they.
    fn ask_all(&self) -> Answers {
        let (plan, mut answers) = (&self.daemon.plan, Answers::new());
        let outside = plan.at(RANGE.1 + 1);
        let from = |port| SocketAddrV4::new(self.source, port);
        self.sender.datagram(from(30_000), outside, &[]);
        let heard = |answers: &Answers, what: &str| {
            let of_it = answers.get(&outside.port());
            of_it
                .is_some_and(|heard| heard.contains(what))
                .then_some(())
        };
        wait_for("an error for a datagram outside the range", || {
            self.hear(&mut answers);
            heard(&answers, "error 3.3")
        });
        let ports: Vec<u16> = (RANGE.0..=RANGE.1).collect();
        for (number, some) in (30_001..).zip(ports.chunks(AT_ONCE)) {
            for &port in some {
                for flags in FLAGS {
                    self.sender.segment(from(number), plan.at(port), flags);
                }
                for bytes in BYTES {
                    let text = vec![0x5a; bytes];
                    self.sender.datagram(from(number), plan.at(port), &text);
                }
            }
            self.sender.segment(from(number), outside, SYN);
            wait_for("a reset from outside the range", || {
                self.hear(&mut answers);
                heard(&answers, &format!("a reset to {number}"))
            });
        }
        answers
    }

    fn hear(&self, answers: &mut Answers) {
        let host = self.daemon.plan.host.octets();
        for (protocol, ear) in &self.ears {
            ear.hear(|ip, said| {
                if ip.get(12..16) != Some(&host) {
                    return;
                }
                let word = |at: usize| match said.get(at..at + 2) {
                    Some(&[high, low]) => u16::from_be_bytes([high, low]),
                    _ => 0,
                };
                let byte = |at: usize| said.get(at).copied().unwrap_or(0);
                let (port, what) = match *protocol {
                    Protocol::TCP if byte(13) & RST != 0 => {
                        (word(0), format!("a reset to {}", word(2)))
                    }
                    Protocol::TCP => (word(0), format!("flags {}", byte(13))),
                    Protocol::UDP => (word(0), "a datagram".to_owned()),
                    // Behind its own header is ours, and the beginning of what it is about.
                    _ => (word(8 + 20 + 2), format!("error {}.{}", byte(0), byte(1))),
                };
                answers.entry(port).or_default().insert(what);
            });
        }
    }
}

pub fn silence(report: &mut Report) {
    for gate in Gate::ALL {
        look_at(report, gate);
    }
}

fn look_at(report: &mut Report, gate: Gate) {
    let word = gate.word();
    let ports = usize::from(RANGE.1 - RANGE.0 + 1);
    let asked = ports * (FLAGS.len() + BYTES.len());
    report.part(&format!(
        "gate = {word}: what answers a stranger, at {ports} ports, {asked} packets each time"
    ));
    report.columns("when", "answers", "wanted");
    let plan = Plan::new(&format!("silence-{word}"), RANGE, DAY_S);
    let lines = format!("gate = {word}\nlisten-address = HOST\nopen-timeout = 3s\n");
    let daemon = plan.start(echo(), "", &lines, |_| {});
    let sender = Sender::new();
    let ask = || Stranger::new(&daemon, &sender).ask_all();
    let shut = || daemon.log().matches(" shut mirage=").count();
    daemon.load_firewall(&[]);
    for has_rules in [true, false] {
        let shut_before = shut();
        let before = ask();
        let member = enter(&daemon.plan, gate, &sender, LONGEST_ENTRY);
        let during = ask();
        let is_up = member.is_ok_and(|mut member| trip(&mut member).is_ok());
        let was_open = shut() == shut_before;
        wait_for("the door to be shut", || {
            (shut() > shut_before).then_some(())
        });
        let after = ask();
        let phases = [("before", before), ("during", during), ("after", after)];
        for (phase, answers) in &phases {
            let inside = answers
                .iter()
                .filter(|(port, _)| (RANGE.0..=RANGE.1).contains(*port));
            if has_rules {
                let count = inside.count();
                let what = format!("{phase} a member's visit");
                report.row(&what, &format!("from {count} ports"), "none", count == 0);
            } else {
                let is_reset = |what: &String| what.starts_with("a reset");
                let resets = inside.filter(|(_, heard)| heard.iter().any(is_reset));
                let (reset, open) = (resets.count(), &daemon.plan.reals());
                let wanted = ports - if *phase == "during" { open.len() } else { 0 };
                let what = format!("without the rules, {phase} it: resets");
                let (measured, wanted_text) = (reset.to_string(), wanted.to_string());
                report.row(&what, &measured, &wanted_text, reset == wanted);
            }
        }
        report.row(
            "he is in, and the door is open all that time",
            "",
            "",
            is_up && was_open,
        );
        if has_rules {
            daemon.load_firewall(&["--remove"]);
        }
    }
}
