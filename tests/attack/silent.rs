//! How often strangers pass a gate that answers nothing.
//!
//! At gate = knock a source is let in when it has touched the k ports of a minute in their order. There
//! are N = n (n - 1) … (n - k + 1) sequences of k different ports out of n, where each may be tcp or
//! udp 2^k times as many, and three of them count. Who knocks k times only passes with one of the three
//! themselves, for he has no knock to spare: of S sources that share what they try, and so try
//! different ones, none passes with a chance of C(N - 3, S) / C(N, S). Nothing tells them that a part
//! was right, so the parts can't be found one after the other.
//!
//! Who knocks on has other last k knocks with each one more: n - k + 1 times in a sweep of the range,
//! L - k + 1 times in a walk of L. Each is worth what a source was worth before. A little more, because
//! a knock for which one minute's sequence waits takes nothing away from the others'; a little less,
//! where a walk meets itself. [`Model`] has the rules in twenty lines, and the theory of sweep and walk
//! is what it comes to with a million drawn sequences.
//!
//! Each knock counts for its source, and for its source and port: whoever knocks from several ports in turn tries
//! two sequences with each knock, and no more.
//!
//! At gate = packet nothing is guessed but a tag of 32 bytes.

use crate::held::{Held, Outcome};
use crate::network::{Ear, SYN, Sender, fresh_source, wait_for};
use crate::statistics::{Rate, filled};
use crate::success::{Dice, RATE_COLUMN, THEORY_COLUMN, mean};
use crate::table::Report;
use shimmer::limits::{LIVE_WINDOWS, SENSED_PER_SECOND};
use shimmer::proto::scheme::knock::{self, Hop, Protocol, Protocols};
use shimmer::proto::scheme::packet::{self, PACKET};
use shimmer::proto::scheme::token::{NONCE, Nonce};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// The ports of the range: few, so that the theory can be measured.
const RANGE: usize = 24;
const LOW: u16 = 10_000;

/// No series of tries takes longer, however slow the machine.
const LONGEST: Duration = Duration::from_secs(10);

/// Packets under way at once: they fit into the sensor's receive buffer.
const AT_ONCE: usize = 64;

/// What a stranger sends.
struct Guess {
    source: Ipv4Addr,
    /// How many ports of theirs take turns.
    ports: usize,
    said: Vec<Said>,
}

/// One packet of it: where to, and what a datagram says.
type Said = (Hop, Vec<u8>);

/// A daemon with a silent gate, and what it takes to guess at it.
struct Gate {
    held: Held,
    sender: Sender,
    ear: Ear,
}

impl Gate {
    fn start(name: &str, ports: usize, lines: &str) -> Self {
        let range = (LOW, LOW + (ports - 1) as u16);
        let lines = format!("listen-address = HOST\n{lines}");
        Self {
            held: Held::start_silent(name, range, &lines),
            sender: Sender::new(),
            ear: Ear::new(socket2::Protocol::TCP, Ipv4Addr::UNSPECIFIED),
        }
    }

    /// Waits until a member gets in.
    fn wait_for_member(&self, mut member: impl FnMut(&Held) -> Guess) {
        wait_for("the gate to let a member in", || {
            let member = member(&self.held);
            self.send(std::slice::from_ref(&member));
            let visitors = self.visit(&[member.source]);
            self.held.pass(1);
            visitors.contains(&member.source).then_some(())
        });
    }

    /// Sends all of it. The daemon's clock moves on before its bucket is empty.
    fn send(&self, guesses: &[Guess]) {
        let (mut at_once, mut in_bucket) = (0, 0);
        for Guess {
            source,
            ports,
            said,
        } in guesses
        {
            if in_bucket + said.len() > SENSED_PER_SECOND as usize / 2 {
                self.held.pass(1);
                in_bucket = 0;
            }
            for (number, (hop, text)) in said.iter().enumerate() {
                let from = SocketAddrV4::new(*source, 50_000 + (number % ports) as u16);
                let to = self.held.at(hop.port);
                match hop.protocol {
                    Protocol::Tcp => self.sender.segment(from, to, SYN),
                    Protocol::Udp => self.sender.datagram(from, to, text),
                }
                (at_once, in_bucket) = (at_once + 1, in_bucket + 1);
                if at_once == AT_ONCE {
                    self.held.settle(1);
                    at_once = 0;
                }
            }
        }
        self.held.pass(1);
    }

    /// Which of these sources the minute's real port answers with a SYN-ACK.
    fn visit(&self, sources: &[Ipv4Addr]) -> BTreeSet<Ipv4Addr> {
        const FROM: u16 = 40_001;
        let real = self.held.at(self.held.real());
        // The answers to all that was sent before.
        self.ear.hear(|_, _| ());
        let mut answered = BTreeSet::new();
        for some in sources.chunks(AT_ONCE) {
            for &source in some {
                self.sender
                    .segment(SocketAddrV4::new(source, FROM), real, SYN);
            }
            // The kernel has answered, or it does not. These SYNs are knocks, too, of which there may be
            // as many as the bucket holds.
            self.held.settle(1);
            self.ear.hear(|ip, tcp| {
                let is_open = tcp.get(13).is_some_and(|flags| flags & 0x17 == 0x12);
                let is_ours = tcp.get(..2) == Some(&real.port().to_be_bytes())
                    && tcp.get(2..4) == Some(&FROM.to_be_bytes());
                if let (true, true, Some(to)) = (is_open, is_ours, ip.get(16..20)) {
                    answered.insert(Ipv4Addr::new(to[0], to[1], to[2], to[3]));
                }
            });
        }
        answered
    }

    /// What they send, and who gets to the hidden service by it.
    fn try_all(&self, guesses: &[Guess]) -> BTreeSet<Ipv4Addr> {
        self.send(guesses);
        let sources: Vec<Ipv4Addr> = guesses.iter().map(|guess| guess.source).collect();
        let answered = self.visit(&sources);
        let visits: Vec<(Ipv4Addr, u16)> = answered
            .iter()
            .map(|&source| (source, self.held.real()))
            .collect();
        let outcomes = self.held.touch(&visits);
        let served = |outcome: &Outcome| *outcome == Outcome::Service;
        assert!(outcomes.iter().all(served), "an open port leads in");
        answered
    }
}

/// The rules of gate = knock, in the fewest words: one source's knocks, three sequences. Knocks count for the
/// source, and for each of its ports.
struct Model<'a> {
    sequences: &'a [Vec<u16>; LIVE_WINDOWS],
}

impl Model<'_> {
    /// Whether one of the sequences is complete at some knock, by either count. The ports take turns.
    fn passes(&self, knocks: &[u16], ports: usize) -> bool {
        let of_port = |port| -> Vec<u16> {
            let turns = knocks.iter().skip(port).step_by(ports);
            turns.copied().collect()
        };
        self.complete(knocks) || ports > 1 && (0..ports).any(|port| self.complete(&of_port(port)))
    }

    fn complete(&self, knocks: &[u16]) -> bool {
        let mut right = [0; LIVE_WINDOWS];
        for knock in knocks {
            let (mut is_next, mut is_behind) = (false, false);
            for (sequence, right) in self.sequences.iter().zip(&mut right) {
                if sequence[*right] == *knock {
                    is_next = true;
                    *right += 1;
                    if *right == sequence.len() {
                        return true;
                    }
                } else {
                    // A doubled packet, or a SYN sent anew.
                    is_behind |= sequence[..*right].contains(knock);
                }
            }
            if !is_next && !is_behind {
                right = [0; LIVE_WINDOWS];
            }
        }
        false
    }

    /// How often it is, over sequences drawn at random.
    fn share(knocks: usize, ports: usize, mut path: impl FnMut(&mut Dice) -> Vec<u16>) -> f64 {
        const DRAWN: u32 = 1_000_000;
        let mut dice = Dice::of(1);
        let mut passed = 0;
        for _ in 0..DRAWN {
            let sequences = [(); LIVE_WINDOWS].map(|()| draw_ports(knocks, &mut dice));
            let path = path(&mut dice);
            let model = Model {
                sequences: &sequences,
            };
            passed += u32::from(model.passes(&path, ports));
        }
        f64::from(passed) / f64::from(DRAWN)
    }
}

/// So many ports of the range that all differ.
fn draw_ports(count: usize, dice: &mut Dice) -> Vec<u16> {
    let mut ports = Vec::with_capacity(count);
    while ports.len() < count {
        let port = LOW + dice.below(RANGE) as u16;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

fn tcp(port: u16) -> Hop {
    let protocol = Protocol::Tcp;
    Hop { port, protocol }
}

fn walk(knocks: usize, dice: &mut Dice) -> Vec<u16> {
    (0..knocks)
        .map(|_| LOW + dice.below(RANGE) as u16)
        .collect()
}

fn sweep() -> Vec<u16> {
    (LOW..).take(RANGE).collect()
}

/// How many sequences there are.
fn sequences(ports: usize, knocks: usize, protocols: Protocols) -> usize {
    let each = match protocols {
        Protocols::Mixed => 2,
        Protocols::Tcp | Protocols::Udp => 1,
    };
    (0..knocks).map(|knock| (ports - knock) * each).product()
}

/// gate = knock, one number of knocks after the other.
pub fn knock(report: &mut Report) {
    report.part(&format!(
        "gate = knock: {RANGE} ports, each source one sequence of its own; three count"
    ));
    report.columns("strategy, sources", RATE_COLUMN, THEORY_COLUMN);
    // Each is hit so often that its share says something.
    guess_sequences(report, 1, Protocols::Tcp, &[(1, 4), (8, 2), (16, 1)], 0);
    guess_sequences(report, 2, Protocols::Tcp, &[(1, 4), (16, 2), (100, 1)], 48);
    guess_sequences(report, 2, Protocols::Mixed, &[(16, 2), (100, 1)], 0);
    guess_sequences(report, 3, Protocols::Tcp, &[(100, 2), (300, 1)], 300);
    const PORTS: usize = 1_000;
    let all = sequences(PORTS, 3, Protocols::Tcp) as f64;
    for sources in [1, 8, 16, 100, 10_000] {
        let what = format!("by formula, 3 knocks in {PORTS} ports, S = {sources}");
        let share = f64::from(sources) * LIVE_WINDOWS as f64 / all;
        report.note(&what, &format!("{share:.1e}"));
    }
    // The bucket is the host's, however many they are.
    let each_second = f64::from(SENSED_PER_SECOND) * LIVE_WINDOWS as f64 / all;
    // From several ports each knock counts twice.
    let hours = 2f64.ln() / (2.0 * each_second) / 3_600.0;
    report.note(
        &format!("a walk of {SENSED_PER_SECOND} a second, all that is heard"),
        &format!("in after {hours:.0} hours with a chance of a half"),
    );
}

/// So many sources, and so many tries of them in each minute.
type Crew = (usize, usize);

fn guess_sequences(
    report: &mut Report,
    knocks: usize,
    protocols: Protocols,
    crews: &[Crew],
    walked: usize,
) {
    const MINUTES: usize = 1_500;
    let word = protocols.word();
    let lines = format!("gate = knock\nknocks = {knocks}\nprotocols = {word}\n");
    let gate = Gate::start(&format!("knock-{knocks}-{word}"), RANGE, &lines);
    let member = |held: &Held| {
        let range = held.pattern.range();
        let hops = knock::sequence(&held.key, range, held.minute(), knocks, protocols);
        guess(hops.iter().copied())
    };
    gate.wait_for_member(member);
    let is_swept = protocols == Protocols::Tcp && knocks < 3;
    let mut dice = Dice::new();
    let mut rates: Vec<Rate> = crews.iter().map(|_| Rate::default()).collect();
    let [mut sweeps, mut walks, mut turns, mut members] = [Rate::default(); 4];
    let end = Instant::now() + LONGEST;
    for number in 0..MINUTES {
        gate.held.begin_minute();
        let mut guesses = Vec::new();
        let mut tries: Vec<(usize, Vec<Ipv4Addr>)> = Vec::new();
        for (crew, &(size, repeats)) in crews.iter().enumerate() {
            for _ in 0..repeats {
                let hops = draw_sequences(size, knocks, protocols, &mut dice);
                let drawn: Vec<Guess> = hops.into_iter().map(guess).collect();
                tries.push((crew, drawn.iter().map(|guess| guess.source).collect()));
                guesses.extend(drawn);
            }
        }
        // The same sweep finds the same sequence in each minute in which it is live, and a share is of
        // tries that know nothing of each other.
        let is_swept = is_swept && number % LIVE_WINDOWS == 0;
        let sweep = is_swept.then(|| guess(sweep().into_iter().map(tcp)));
        let mut walk_from = |ports| {
            let knocks = (walked > 0).then(|| walk(walked, &mut dice));
            knocks.map(|knocks| Guess {
                ports,
                ..guess(knocks.into_iter().map(tcp))
            })
        };
        let (walk, turn) = (walk_from(1), walk_from(2));
        let member = member(&gate.held);
        let [of_sweep, of_walk, of_turn] =
            [&sweep, &walk, &turn].map(|one| one.as_ref().map(|one| one.source));
        let of_member = member.source;
        guesses.extend([sweep, walk, turn].into_iter().flatten());
        guesses.push(member);
        dice.shuffle(&mut guesses);
        let served = gate.try_all(&guesses);
        for (crew, sources) in tries {
            rates[crew].count(sources.iter().any(|source| served.contains(source)));
        }
        for (source, rate) in [
            (of_sweep, &mut sweeps),
            (of_walk, &mut walks),
            (of_turn, &mut turns),
        ] {
            if let Some(source) = source {
                rate.count(served.contains(&source));
            }
        }
        members.count(served.contains(&of_member));
        if Instant::now() > end {
            break;
        }
    }
    let all = sequences(RANGE, knocks, protocols);
    let name = format!("k = {knocks}, {word}");
    for (&(size, _), rate) in crews.iter().zip(rates) {
        // Two minutes may have one sequence.
        let theory = mean(&filled(all, all, LIVE_WINDOWS), 0, all, size);
        let what = format!("{name}: 1 - C({all}-3,S)/C({all},S), S = {size}");
        report.rate(&what, rate, theory);
    }
    if sweeps.tries > 0 {
        let what = format!("{name}: a sweep, about 3*{}/{all}", RANGE - knocks + 1);
        report.rate(&what, sweeps, Model::share(knocks, 1, |_| sweep()));
    }
    if walks.tries > 0 {
        let what = format!("{name}: a walk of {walked}, about 3*{walked}/{all}");
        let theory = Model::share(knocks, 1, |dice| walk(walked, dice));
        report.rate(&what, walks, theory);
        let what = format!("{name}: the same from two ports, about twice as often");
        let theory = Model::share(knocks, 2, |dice| walk(walked, dice));
        report.rate(&what, turns, theory);
    }
    report.rate(&format!("{name}: a member among them"), members, 1.0);
}

/// A new source that knocks.
fn guess(hops: impl IntoIterator<Item = Hop>) -> Guess {
    Guess {
        source: fresh_source(),
        ports: 1,
        said: hops.into_iter().map(|hop| (hop, Vec::new())).collect(),
    }
}

/// So many sequences that all differ.
fn draw_sequences(
    count: usize,
    knocks: usize,
    protocols: Protocols,
    dice: &mut Dice,
) -> Vec<Vec<Hop>> {
    let (mut drawn, mut known) = (Vec::new(), BTreeSet::new());
    while drawn.len() < count {
        let ports = draw_ports(knocks, dice);
        let mix: Vec<bool> = (0..knocks)
            .map(|_| protocols == Protocols::Mixed && dice.below(2) == 1)
            .collect();
        let hop = |(&port, &is_udp): (&u16, &bool)| Hop {
            port,
            protocol: match is_udp {
                true => Protocol::Udp,
                false => Protocol::Tcp,
            },
        };
        let hops = ports.iter().zip(&mix).map(hop).collect();
        if known.insert((ports, mix)) {
            drawn.push(hops);
        }
    }
    drawn
}

/// What a stranger may try instead of a datagram.
#[derive(Clone, Copy)]
enum Forgery {
    /// 72 random bytes.
    Random,
    /// A good one that was used, seen on its way.
    Replay,
    /// The same with one bit changed.
    Changed,
    /// One that never arrived, with one bit changed.
    ChangedUnused,
    /// That one with the stranger's address in the place of the one inside, which it knows.
    Readdressed,
    /// A random nonce before the rest of it.
    OtherNonce,
    /// One that has never arrived, of five minutes ago, for whoever sends it.
    Stale,
    /// A good one, a byte short.
    Short,
    /// A good one, and a byte.
    Long,
    /// The used one, twice in a row.
    Twice,
}

const FORGERIES: [Forgery; 10] = [
    Forgery::Random,
    Forgery::Replay,
    Forgery::Changed,
    Forgery::ChangedUnused,
    Forgery::Readdressed,
    Forgery::OtherNonce,
    Forgery::Stale,
    Forgery::Short,
    Forgery::Long,
    Forgery::Twice,
];

/// What the strangers have seen in a minute.
struct Loot {
    /// A datagram that was used.
    used: [u8; PACKET],
    /// One that they have kept back.
    kept: [u8; PACKET],
    /// Whom the kept one is for.
    owner: Ipv4Addr,
    /// One that is not sent before it is old.
    aged: [u8; PACKET],
}

/// gate = packet: whatever is sent, nobody is let in but whom a good datagram names.
pub fn packet(report: &mut Report) {
    const GUESSES: u64 = 20_000;
    const EACH_MINUTE: usize = 100;
    const OLD: usize = 5;
    report.part("gate = packet: forged, changed, used and intercepted datagrams at the real port");
    report.columns("what", RATE_COLUMN, "theory");
    let gate = Gate::start("packet", 1_000, "gate = packet\n");
    gate.wait_for_member(|held| datagram(held, fresh_source(), make(held, None)));
    let mut dice = Dice::new();
    let [mut guesses, mut sent_on, mut members, mut owners, mut early] = [Rate::default(); 5];
    let mut loots: Vec<Loot> = Vec::new();
    let end = Instant::now() + LONGEST + LONGEST;
    while guesses.tries < GUESSES && Instant::now() < end {
        gate.held.begin_minute();
        let held = &gate.held;
        let (member, owner) = (fresh_source(), fresh_source());
        let loot = Loot {
            used: make(held, Some(member)),
            kept: make(held, Some(owner)),
            owner,
            aged: make(held, None),
        };
        let served = gate.try_all(&[datagram(held, member, loot.used)]);
        members.count(served.contains(&member));
        loots.push(loot);
        let (old, loot) = (
            &loots[loots.len().saturating_sub(OLD + 1)],
            &loots[loots.len() - 1],
        );
        let kinds: Vec<Forgery> = FORGERIES
            .into_iter()
            .filter(|kind| !matches!(kind, Forgery::Stale) || loots.len() > OLD)
            .collect();
        let forged: Vec<Guess> = (0..EACH_MINUTE)
            .map(|_| {
                let source = fresh_source();
                let text = kinds[dice.below(kinds.len())].make(source, loot, old, &mut dice);
                datagram_of(held, source, text)
            })
            .collect();
        let served = gate.try_all(&forged);
        for guess in &forged {
            guesses.count(served.contains(&guess.source));
        }
        early.count(gate.visit(&[owner]).contains(&owner));
        // At last the one that was kept, from elsewhere: it was good all the time.
        let thief = datagram(held, fresh_source(), loot.kept);
        gate.send(std::slice::from_ref(&thief));
        let served = gate.visit(&[thief.source, owner]);
        sent_on.count(served.contains(&thief.source));
        owners.count(served.contains(&owner));
    }
    let bound = format!(
        "0 of {}, so below {:.1e}",
        guesses.tries,
        guesses.bound_of_none()
    );
    let is_none = guesses.hits == 0 && guesses.tries == GUESSES;
    report.row(
        "each forged, changed or used one",
        &bound,
        "2^-256: a tag of 32 bytes",
        is_none,
    );
    report.rate("whose datagram was changed on its way", early, 0.0);
    report.rate("sent on from elsewhere: who sends it", sent_on, 0.0);
    report.rate("the same: whose address is inside", owners, 1.0);
    report.rate("a member among them", members, 1.0);
    drop(gate);
    for (address, theory) in [("any", 1.0), ("inside", 0.0)] {
        let lines = format!("gate = packet\npacket-address = {address}\n");
        let gate = Gate::start(&format!("packet-{address}"), 1_000, &lines);
        gate.wait_for_member(|held| {
            let source = fresh_source();
            datagram(held, source, make(held, Some(source)))
        });
        let mut thieves = Rate::default();
        for _ in 0..50 {
            gate.held.begin_minute();
            let thief = datagram(&gate.held, fresh_source(), make(&gate.held, None));
            let served = gate.try_all(std::slice::from_ref(&thief));
            thieves.count(served.contains(&thief.source));
        }
        let what = format!("zeros inside, kept back, packet-address = {address}");
        report.rate(&what, thieves, theory);
    }
    report.note(
        "by formula, S = 10,000",
        "10,000 / 2^256 = 9e-74; the secret of keygen is one of 2^160",
    );
}

/// A good datagram of now.
fn make(held: &Held, address: Option<Ipv4Addr>) -> [u8; PACKET] {
    let mut nonce: Nonce = [0; NONCE];
    getrandom::fill(&mut nonce).expect("the kernel has random numbers");
    packet::make(&held.key, held.unix(), address.map(IpAddr::V4), &nonce)
}

fn datagram(held: &Held, source: Ipv4Addr, text: [u8; PACKET]) -> Guess {
    datagram_of(held, source, text.to_vec())
}

/// To the minute's real port: let the strangers know that much.
fn datagram_of(held: &Held, source: Ipv4Addr, text: Vec<u8>) -> Guess {
    let hop = Hop {
        port: held.real(),
        protocol: Protocol::Udp,
    };
    Guess {
        source,
        ports: 1,
        said: vec![(hop, text)],
    }
}

impl Forgery {
    fn make(self, source: Ipv4Addr, loot: &Loot, old: &Loot, dice: &mut Dice) -> Vec<u8> {
        let mut flip = |mut text: Vec<u8>| {
            let bit = dice.below(text.len() * 8);
            text[bit / 8] ^= 1 << (bit % 8);
            text
        };
        let (used, kept) = (loot.used.to_vec(), loot.kept.to_vec());
        match self {
            Self::Random => (0..PACKET).map(|_| dice.next() as u8).collect(),
            Self::Replay => used,
            Self::Changed => flip(used),
            Self::ChangedUnused => flip(kept),
            Self::Readdressed => {
                // The last four bytes of the body are the address, covered.
                let mut text = kept;
                let bytes = loot.owner.octets().into_iter().zip(source.octets());
                for (byte, (inside, own)) in text[NONCE + 20..].iter_mut().zip(bytes) {
                    *byte ^= inside ^ own;
                }
                text
            }
            Self::OtherNonce => {
                let mut text = kept;
                text[..NONCE].fill_with(|| dice.next() as u8);
                text
            }
            Self::Stale => old.aged.to_vec(),
            Self::Short => kept[..PACKET - 1].to_vec(),
            Self::Long => [&kept[..], &[0x5a]].concat(),
            Self::Twice => used.repeat(2),
        }
    }
}
