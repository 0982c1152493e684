//! How often S sources that share what they learn get to the hidden service.
//!
//! What they do, at each gate, is the best that we can think of:
//!
//! - A half-open scan shows the open ports to one source for nothing: no handshake, no ban.
//! - Scans before and after the minute's turn show which 16 ports belong to one minute. One of them
//!   is its real port. To spread S touches over three minutes is worse than to touch S ports of one:
//!   of 16 ports S/16, of 48 with three real ones less (8 sources: 0.43 against 0.50).
//! - A source is banned by its first trap. One that is not banned, though it heard nothing, has found
//!   a grace port: real in a minute nearby, a coming one with a chance of a half. So it asks again at
//!   the same port in each of the next two minutes; whoever is banned is refused then, and drops out.
//! - More sources than the list of bans has room for take turns: each time that they come round the
//!   list has forgotten them, and their number sets no bound any more.
//!
//! So the theory has n ports to choose from, of which f lead in or will: the live minutes' real ones
//! and those of the next two, where they are among the n. S different ones hit none of the f with a
//! chance of C(n - f, S) / C(n, S).

use crate::held::{Held, Outcome};
use crate::network::{Scanner, fresh_source};
use crate::statistics::{Rate, filled, finds_one};
use crate::table::Report;
use shimmer::limits::{BANS, LIVE_WINDOWS};
use shimmer::proto::scheme::token;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// The ports of one minute by default.
const PORTS: usize = 1 + shimmer::limits::DEFAULT_DECOYS as usize;

/// The minutes behind the live ones whose real ports a source can wait for, being grace ports now.
const COMING: usize = shimmer::limits::GRACE_WINDOWS as usize;

/// No series of tries takes longer, however slow the machine.
const LONGEST: Duration = Duration::from_secs(60);

/// Random numbers, from a seed of the kernel's.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the kernel has random numbers");
        Self::of(u64::from_ne_bytes(seed))
    }

    /// The numbers of this seed, the same each time.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (splitmix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for place in (1..all.len()).rev() {
            all.swap(place, self.below(place + 1));
        }
    }
}

/// So many sources, and so many tries of them in each minute.
type Crew = (usize, usize);

/// One way to choose ports, by crews of several sizes, and how they fare.
struct Series(Vec<(Crew, Rate)>);

/// One try of one crew.
struct Try {
    series: usize,
    crew: usize,
    /// Who has not been refused yet, and at which port.
    sources: Vec<(Ipv4Addr, u16)>,
    minutes: usize,
    is_in: bool,
}

impl Series {
    fn new(crews: &[Crew]) -> Self {
        Self(crews.iter().map(|&crew| (crew, Rate::default())).collect())
    }

    fn tell(&self, report: &mut Report, what: &str, theory: impl Fn(usize) -> f64) {
        for &((size, _), rate) in &self.0 {
            report.rate(&format!("{what}, S = {size}"), rate, theory(size));
        }
    }
}

/// The attack at gates that ask for nothing but the right port.
struct Attack {
    held: Held,
    series: Vec<Series>,
    tries: Vec<Try>,
    dice: Dice,
}

impl Attack {
    fn new(held: Held, series: Vec<Series>) -> Self {
        Self {
            held,
            series,
            tries: Vec::new(),
            dice: Dice::new(),
        }
    }

    /// The crews of a series choose among these ports.
    fn begin(&mut self, series: usize, ports: &[u16]) {
        for (crew, &((size, repeats), _)) in self.series[series].0.iter().enumerate() {
            for _ in 0..repeats {
                let mut drawn = ports.to_vec();
                self.dice.shuffle(&mut drawn);
                drawn.truncate(size);
                self.tries.push(Try {
                    series,
                    crew,
                    sources: drawn.iter().map(|&port| (fresh_source(), port)).collect(),
                    minutes: 0,
                    is_in: false,
                });
            }
        }
    }

    /// Everybody who has not been refused yet asks at his port. Tries that have seen the coming
    /// minutes are counted.
    fn touch(&mut self) {
        let sources = self.tries.iter().flat_map(|one| &one.sources);
        let touches: Vec<(Ipv4Addr, u16)> = sources.copied().collect();
        let mut outcomes = self.held.touch(&touches).into_iter();
        for one in &mut self.tries {
            let mut outcomes = outcomes.by_ref().take(one.sources.len());
            one.sources.retain(|_| match outcomes.next() {
                Some(Outcome::Service) => {
                    one.is_in = true;
                    false
                }
                Some(Outcome::Refused) | None => false,
                Some(Outcome::Silence | Outcome::Closed) => true,
            });
            one.minutes += 1;
        }
        self.tries.retain(|one| {
            let is_over = one.is_in || one.minutes > COMING || one.sources.is_empty();
            if is_over {
                self.series[one.series].0[one.crew].1.count(one.is_in);
            }
            !is_over
        });
    }

    /// Lets the last tries end.
    fn finish(&mut self) {
        while !self.tries.is_empty() {
            self.held.next_minute();
            self.touch();
        }
    }
}

/// The mean over how many of the ports lead in: chances for 0, 1, 2 … more than are sure to.
pub fn mean(chances: &[f64], sure: usize, all: usize, sources: usize) -> f64 {
    let of = |(more, chance): (usize, &f64)| chance * finds_one(all, sure + more, sources);
    chances.iter().enumerate().map(of).sum()
}

/// gate = port, listen = ports, as they are by default.
pub fn port(report: &mut Report) {
    const RANGE: usize = 1_000;
    const MINUTES: usize = 1_000;
    report.part("gate = port, listen = ports: 48 open ports of 1,000, three of them real");
    report.columns("strategy, sources", RATE_COLUMN, THEORY_COLUMN);
    let held = Held::start("port", (10_000, 10_999), "listen-address = HOST\n");
    let watchers = Series::new(&[(1, 4), (8, 2), (16, 1), (100, 1)]);
    let blind = Series::new(&[(1, 4), (8, 2), (16, 1), (100, 1)]);
    let mut attack = Attack::new(held, vec![watchers, blind]);
    let mut scanner = Scanner::new();
    let mut before = BTreeSet::new();
    let end = Instant::now() + LONGEST;
    for _ in 0..MINUTES {
        attack.held.next_minute();
        let ports = attack.held.ports();
        let open = scanner.open_ports(attack.held.host, ports);
        let open = BTreeSet::from_iter(open);
        let fresh: Vec<u16> = open.difference(&before).copied().collect();
        // Now and then a port is of two minutes, and a map shows fewer. The attacker can wait.
        if fresh.len() == PORTS {
            attack.begin(0, &fresh);
        }
        if open.len() == LIVE_WINDOWS * PORTS {
            let open: Vec<u16> = open.iter().copied().collect();
            attack.begin(1, &open);
        }
        attack.touch();
        before = open;
        if Instant::now() > end {
            break;
        }
    }
    attack.finish();
    // The next two minutes' real ports may be decoys of this one.
    let coming = |decoys| filled(RANGE, decoys, COMING);
    attack.series[0].tell(report, "watches the turn: S/16", |sources| {
        mean(&coming(PORTS - 1), 1, PORTS, sources)
    });
    let (all, real) = (LIVE_WINDOWS * PORTS, LIVE_WINDOWS);
    attack.series[1].tell(report, "one scan: 1 - C(45,S)/C(48,S)", |sources| {
        mean(&coming(all - real), real, all, sources)
    });
    report.note("S = 10,000", "certain: 16 are enough");
}

/// More sources than the list of bans has room for. The first to be banned is forgotten when the last
/// one is: they can take turns for as long as they like.
pub fn turns(report: &mut Report) {
    report.part(&format!(
        "gate = port: {} sources that take turns",
        BANS + 1
    ));
    report.columns("the first source at the real port", "measured", "wanted");
    let held = Held::start("turns", (10_000, 10_999), "listen-address = HOST\n");
    held.next_minute();
    let (minute, first) = (held.minute(), fresh_source());
    let nearby: Vec<u16> = (minute - 3..=minute + 3)
        .map(|minute| held.pattern.real(&held.key, minute))
        .collect();
    let mut traps = held.pattern.ports(&held.key, minute);
    traps.retain(|port| !nearby.contains(port));
    let at_real = |outcome: Outcome| held.touch(&[(first, held.real())]) == [outcome];
    held.touch(&[(first, traps[0])]);
    let is_out = at_real(Outcome::Refused);
    report.row("banned at a trap", "", "it is refused", is_out);
    let others: Vec<(Ipv4Addr, u16)> = (0..BANS)
        .map(|number| (fresh_source(), traps[number % traps.len()]))
        .collect();
    let (last, before) = others.split_last().expect("there are some");
    for some in before.chunks(200) {
        held.touch(some);
    }
    let is_out = at_real(Outcome::Refused);
    let what = format!("when {} others have been banned", before.len());
    report.row(&what, "", "it is refused", is_out);
    held.touch(&[*last]);
    let is_in = at_real(Outcome::Service);
    report.row("when one more has", "", "it is let in", is_in);
}

/// gate = port, listen = pool.
pub fn pool(report: &mut Report) {
    const RANGE: usize = 300;
    const MINUTES: usize = 1_500;
    report.part("gate = port, listen = pool: 300 ports that all look open, three of them real");
    report.columns("strategy, sources", RATE_COLUMN, THEORY_COLUMN);
    // The firewall's redirect gives the visitor the address of the interface it came by, so the pool
    // listens at all.
    let held = Held::start(
        "pool",
        (20_000, 20_000 + RANGE as u16 - 1),
        "listen = pool\npool-port = 9999\n",
    );
    let crews = Series::new(&[(1, 12), (8, 4), (16, 2), (100, 1)]);
    let mut attack = Attack::new(held, vec![crews]);
    let ports: Vec<u16> = attack.held.ports().collect();
    let open = Scanner::new().open_ports(attack.held.host, ports.iter().copied());
    report.row(
        "a half-open scan of the range",
        &format!("{} ports open", open.len()),
        &format!("{RANGE}, so it tells nothing"),
        open.len() == RANGE,
    );
    let end = Instant::now() + LONGEST;
    for _ in 0..MINUTES {
        attack.held.next_minute();
        attack.begin(0, &ports);
        attack.touch();
        if Instant::now() > end {
            break;
        }
    }
    attack.finish();
    let theory = |range: usize, sources| {
        mean(
            &filled(range, range, LIVE_WINDOWS + COMING),
            0,
            range,
            sources,
        )
    };
    attack.series[0].tell(report, "1 - C(n-5,S)/C(n,S)", |sources| {
        theory(RANGE, sources)
    });
    for sources in [1, 16, 100, BANS] {
        let share = theory(50_000, sources);
        let what = format!("by formula with 50,000 ports, S = {sources}");
        report.note(&what, &format!("{share:.4}"));
    }
}

/// What a stranger may try instead of a token.
#[derive(Clone, Copy)]
enum Forgery {
    /// 48 random bytes.
    Random,
    /// A good token that was used, seen on its way: at its own port.
    Replay,
    /// The same at another open port.
    Elsewhere,
    /// The same with one bit changed.
    Changed,
    /// A random nonce before the tag of a good token.
    OtherNonce,
    /// The first 47 bytes of a good one, and an end.
    Short,
}

const FORGERIES: [Forgery; 6] = [
    Forgery::Random,
    Forgery::Replay,
    Forgery::Elsewhere,
    Forgery::Changed,
    Forgery::OtherNonce,
    Forgery::Short,
];

/// gate = token: a port alone is worth nothing.
pub fn token(report: &mut Report) {
    const MINUTES: usize = 600;
    const MANY: usize = 10_000;
    const MANY_TRIES: u64 = 3;
    report.part("gate = token: every open port, with forged and with used tokens");
    report.columns("sources", RATE_COLUMN, "theory: nobody");
    let held = Held::start(
        "token",
        (10_000, 10_999),
        "listen-address = HOST\ngate = token\ntrap-time = 4s\n",
    );
    let (mut dice, mut scanner) = (Dice::new(), Scanner::new());
    let end = Instant::now() + LONGEST;
    let mut crews = [1, 8, 16, 100, MANY].map(|size| (size, Rate::default()));
    let (mut guesses, mut members) = (Rate::default(), Rate::default());
    for _ in 0..MINUTES {
        held.next_minute();
        let open = scanner.open_ports(held.host, held.ports());
        // A member comes, and the attackers see each byte.
        let (minute, real) = (held.minute(), held.real());
        let mut nonce = [0; token::NONCE];
        getrandom::fill(&mut nonce).expect("the kernel has random numbers");
        let seen = token::make(&held.key, minute, real, &nonce);
        let outcome = held.say(&[(fresh_source(), real, seen.to_vec())]);
        members.count(outcome == [Outcome::Service]);
        for (size, rate) in &mut crews {
            if *size == MANY && rate.tries == MANY_TRIES {
                continue;
            }
            let said: Vec<(Ipv4Addr, u16, Vec<u8>)> = (0..*size)
                .map(|_| {
                    let kind = FORGERIES[dice.below(FORGERIES.len())];
                    let (port, text) = kind.make(&seen, real, &open, &mut dice);
                    (fresh_source(), port, text)
                })
                .collect();
            let outcomes: Vec<Outcome> = said.chunks(200).flat_map(|some| held.say(some)).collect();
            let hits = outcomes
                .iter()
                .filter(|outcome| **outcome == Outcome::Service);
            let hits = hits.count();
            rate.count(hits > 0);
            guesses.hits += hits as u64;
            guesses.tries += outcomes.len() as u64;
        }
        if Instant::now() > end {
            break;
        }
    }
    for (size, rate) in crews {
        report.rate(&format!("S = {size}"), rate, 0.0);
    }
    let bound = format!(
        "0 of {}, so below {:.1e}",
        guesses.tries,
        guesses.bound_of_none()
    );
    report.row("each guess", &bound, "below 2^-128", guesses.hits == 0);
    report.rate("a member among them, with a token of his own", members, 1.0);
    report.note("by formula, S = 10,000", "below 10,000 / 2^128 = 3e-35");
}

impl Forgery {
    fn make(self, seen: &[u8], real: u16, open: &[u16], dice: &mut Dice) -> (u16, Vec<u8>) {
        let mut text = seen.to_vec();
        let anywhere = open[dice.below(open.len())];
        let port = match self {
            Self::Random => {
                text.fill_with(|| dice.next() as u8);
                anywhere
            }
            Self::Replay => real,
            Self::Elsewhere if anywhere == real => real,
            Self::Elsewhere => anywhere,
            Self::Changed => {
                let bit = dice.below(text.len() * 8);
                text[bit / 8] ^= 1 << (bit % 8);
                real
            }
            Self::OtherNonce => {
                text[..token::NONCE].fill_with(|| dice.next() as u8);
                real
            }
            Self::Short => {
                text.truncate(token::TOKEN - 1);
                real
            }
        };
        (port, text)
    }
}

pub const RATE_COLUMN: &str = " share  95 % lie between   tries";
pub const THEORY_COLUMN: &str = "theory   off by";
