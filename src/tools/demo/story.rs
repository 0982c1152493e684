//! The story: what has happened so far, whether it is what ought to, and how one would tell it.
//!
//! It hears of everything twice: from the visitors, who say what they met, and from the daemon's
//! log, which says what it did. It asks for no time and opens no socket, so a test tells it anything.

use super::event::{Event, Found, Moment};
use super::scene::{Ports, Scene};
use core::fmt;
use core::net::Ipv4Addr;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;

/// Turns that the member has to stay through: by then the port by which it came is gone.
const TURNS: u64 = 2;

/// Echoes that the member has to get after its port is gone.
const ECHOES_BEHIND: u32 = 3;

/// The daemon may need so many milliseconds to follow a turn, on a machine that has much to do.
const LAG_MS: u64 = 1_500;

/// What was proven last stays on the screen for so many milliseconds before the end.
const REST_MS: u64 = 1_500;

/// The end does not wait for the rest of the scan any longer than this.
const SCAN_UNTIL_MS: u64 = 11_500;

/// The member, once it is in.
pub struct Session {
    /// The port by which it came.
    pub door: u16,
    /// The window in which it came.
    pub minute: u64,
    /// Lines that came back.
    pub echoes: u32,
    /// Of these, after its port was gone.
    pub echoes_behind: u32,
    /// What has become of that port, once somebody has looked.
    pub fate: Option<&'static str>,
}

/// The scanner.
#[derive(Default)]
pub struct Scanner {
    /// What it knows.
    pub map: BTreeMap<u16, Found>,
    /// The ports that it has tried, in its order.
    pub tried: Vec<(u16, Found)>,
    /// The port that got it banned.
    pub ban: Option<u16>,
    /// The real port, if it met that before any trap.
    pub luck: Option<u16>,
    /// The log said that it is banned, and not by which port: that one will be real soon, and the log
    /// names no port to come.
    is_banned_unnamed: bool,
    /// Open ports that it met without a ban, by the log: real ones, and those that were or will be.
    spared: usize,
}

/// Somebody else, who tries what `--stay` invites to.
pub struct Guest {
    /// From where.
    pub source: String,
    /// What happened.
    pub what: String,
}

/// Something that the show has to prove.
#[derive(Clone, PartialEq, Eq)]
pub enum Check {
    /// Not yet; this is what.
    Open(&'static str),
    /// It is proven, and how.
    Good(String),
    /// It is not so, and what is.
    Bad(String),
}

/// A line for those who read the show instead of watching it.
pub struct News {
    /// When, in milliseconds since the show began.
    pub since_ms: u64,
    /// Who.
    pub who: &'static str,
    /// What.
    pub what: String,
}

/// How the show stands.
pub enum Outcome {
    /// It goes on.
    Open,
    /// Everything is proven, and was to be seen for a moment.
    Good,
    /// Something is not as it ought to be.
    Bad(String),
}

/// 1st, 2nd, 3rd, 4th.
struct Ordinal(usize);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match (self.0 % 10, self.0 % 100) {
            (_, 11..=13) => "th",
            (1, _) => "st",
            (2, _) => "nd",
            (3, _) => "rd",
            _ => "th",
        };
        write!(f, "{}{ending}", self.0)
    }
}

/// The checks, by their place in [`Story::checks`].
const GETS_IN: usize = 0;
const IS_CAUGHT: usize = 1;
const IS_SHUT_OUT: usize = 2;
const STAYS_IN: usize = 3;
const IS_FORETOLD: usize = 4;

/// All that has happened.
pub struct Story {
    /// Who plays, and where.
    pub scene: Scene,
    /// The moment.
    pub now: Moment,
    /// The ports of this moment, as the secret foretells them.
    pub ports: Ports,
    /// The ports of the window before.
    pub before: Ports,
    /// When the last turn was, if there was one.
    pub turned_ms: Option<u64>,
    /// The member, once it is in.
    pub member: Option<Session>,
    /// The scanner.
    pub scanner: Scanner,
    /// Who else came last.
    pub guest: Option<Guest>,
    /// What there is to prove.
    pub checks: [Check; 5],
    /// Lines that nobody has been told yet.
    pub news: Vec<News>,
    broken: Option<String>,
    is_open: bool,
    looks: u32,
    differs_since: Option<u64>,
    proven_ms: Option<u64>,
}

impl Story {
    /// Nothing has happened yet.
    pub fn new(scene: Scene, now: Moment) -> Self {
        let ports = scene.insight.ports(scene.insight.minute(now.real_ms));
        Self {
            scene,
            now,
            before: ports.clone(),
            ports,
            turned_ms: None,
            member: None,
            scanner: Scanner::default(),
            guest: None,
            checks: [
                Check::Open("the member computes the port from the secret, and gets in"),
                Check::Open("the scanner touches a trap, and is banned"),
                Check::Open("at the real port the scanner is shut out, the member is not"),
                Check::Open("the member stays in while the port it came by is closed"),
                Check::Open("the open ports are those that the secret foretells"),
            ],
            news: Vec::new(),
            broken: None,
            is_open: false,
            looks: 0,
            differs_since: None,
            proven_ms: None,
        }
    }

    /// Whether the daemon has opened its ports.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// The port by which the member came in, once it is a real one no longer.
    pub fn port_left_behind(&self) -> Option<u16> {
        let session = self.member.as_ref()?;
        let is_over =
            self.ports.minute >= session.minute + TURNS && !self.ports.real.contains(&session.door);
        // At the turn itself the daemon may need a moment.
        let is_settled = self.now.since_ms >= self.turned_ms? + LAG_MS / 4;
        (is_over && is_settled).then_some(session.door)
    }

    /// Whether all is proven.
    pub fn is_proven(&self) -> bool {
        self.proven_ms.is_some()
    }

    /// What is not proven yet.
    pub fn missing(&self) -> String {
        let open = self.checks.iter().filter_map(|check| match check {
            Check::Open(what) => Some(*what),
            _ => None,
        });
        open.collect::<Vec<_>>().join("; ")
    }

    /// How the show stands.
    pub fn outcome(&self) -> Outcome {
        for check in &self.checks {
            if let Check::Bad(why) = check {
                return Outcome::Bad(why.clone());
            }
        }
        if let Some(why) = &self.broken {
            return Outcome::Bad(why.clone());
        }
        match self.proven_ms {
            Some(proven) if !self.scene.stays && self.now.since_ms >= proven + REST_MS => {
                Outcome::Good
            }
            _ => Outcome::Open,
        }
    }

    /// Time passes, and with it perhaps a minute.
    pub fn pass(&mut self, now: Moment) {
        self.now = now;
        let minute = self.scene.insight.minute(now.real_ms);
        if minute != self.ports.minute {
            let next = self.scene.insight.ports(minute);
            self.before = mem::replace(&mut self.ports, next);
            if self.is_open {
                self.turned_ms = Some(now.since_ms);
                self.tell_turn();
            } else {
                self.before = self.ports.clone();
            }
        }
        // The whole scan is a pleasure to watch, and proves no more than its first ports.
        let is_scanned = self.scanner.tried.len() as u32 >= self.scene.range.count()
            || now.since_ms >= SCAN_UNTIL_MS;
        let is_proven = |check: &Check| matches!(check, Check::Good(_));
        if self.proven_ms.is_none()
            && is_scanned
            && self.checks[..IS_FORETOLD].iter().all(is_proven)
            && self.looks > 0
            && self.differs_since.is_none()
        {
            self.proven_ms = Some(now.since_ms);
            let looks = self.looks;
            self.prove(
                IS_FORETOLD,
                format!(
                    "{looks} looks: open were the ports that the secret foretold, and no others"
                ),
            );
        }
    }

    /// These ports are open, the kernel says.
    pub fn look(&mut self, open: &BTreeSet<u16>) {
        if !self.is_open {
            return;
        }
        if *open == self.ports.open {
            self.looks += 1;
            self.differs_since = None;
            return;
        }
        let since = *self.differs_since.get_or_insert(self.now.since_ms);
        if self.now.since_ms - since > LAG_MS {
            let differing: Vec<String> = open
                .symmetric_difference(&self.ports.open)
                .map(ToString::to_string)
                .collect();
            let differing = differing.join(", ");
            self.checks[IS_FORETOLD] = Check::Bad(format!(
                "other ports are open than the secret foretells: {differing}"
            ));
        }
    }

    /// Something happens.
    pub fn hear(&mut self, event: Event) {
        match event {
            Event::Log(line) => self.read(&line),
            // The first reason is the reason.
            Event::Broken(why) => _ = self.broken.get_or_insert(why),
            Event::Entered { port } => self.enter(port),
            Event::Echoed => self.echo(),
            Event::Tried { port, found } => self.try_port(port, found),
            Event::Compared {
                port,
                scanner,
                member,
            } => self.compare(port, scanner, member),
            Event::ScansAgain => {
                self.scanner = Scanner::default();
                self.tell("scanner", "begins anew: its ban is over".into());
            }
            Event::CameLate { found } => self.come_late(found),
        }
    }

    fn tell(&mut self, who: &'static str, what: String) {
        let since_ms = self.now.since_ms;
        self.news.push(News {
            since_ms,
            who,
            what,
        });
    }

    fn tell_turn(&mut self) {
        let opened = self.ports.open.difference(&self.before.open).count();
        let closed = self.before.open.difference(&self.ports.open).count();
        let mut what = format!("{opened} ports open, {closed} close");
        if let Some(session) = &self.member {
            let turns = self.ports.minute - session.minute;
            what += &format!("; the member is still in, {turns} turns after it came");
            if turns == 1 {
                what = what.replace("1 turns", "1 turn");
            }
        }
        self.tell("turn", what);
    }

    fn prove(&mut self, check: usize, how: String) {
        if matches!(self.checks[check], Check::Open(_)) {
            self.tell("proven", how.clone());
            self.checks[check] = Check::Good(how);
        }
    }

    fn refute(&mut self, check: usize, what: String) {
        self.checks[check] = Check::Bad(what);
    }

    fn enter(&mut self, door: u16) {
        self.member = Some(Session {
            door,
            minute: self.scene.insight.minute(self.now.real_ms),
            echoes: 0,
            echoes_behind: 0,
            fate: None,
        });
        self.prove(
            GETS_IN,
            format!("the member computed port {door} from the secret, and got in at once"),
        );
    }

    fn echo(&mut self) {
        let is_behind = self.port_left_behind().is_some();
        if let Some(session) = &mut self.member {
            session.echoes += 1;
            session.echoes_behind += u32::from(is_behind);
        }
        self.judge_stay();
    }

    fn try_port(&mut self, port: u16, found: Found) {
        self.scanner.map.insert(port, found);
        self.scanner.tried.push((port, found));
        let number = self.scanner.tried.len();
        if self.scanner.ban.is_none() || found == Found::Mute {
            let what = match found {
                Found::Closed => "closed",
                Found::Shut => "opens, and is shut in its face",
                Found::Mute => "opens, and says nothing",
                Found::Greeting => "opens, and the service greets: by luck the real one",
            };
            self.tell("scanner", format!("tries {port}: {what}"));
        }
        if number as u32 == self.scene.range.count() {
            let open = self.count_shut();
            self.tell(
                "scanner",
                format!("has tried all {number} ports: {open} shut in its face, the others closed"),
            );
        }
        self.judge_ban();
    }

    /// Open ports at which the scanner was turned away.
    pub fn count_shut(&self) -> usize {
        let shut = |found: &&Found| **found == Found::Shut;
        self.scanner.map.values().filter(shut).count()
    }

    /// Was it the first trap that it touched? Known once it has told of that port itself.
    fn judge_ban(&mut self) {
        let mute = |(_, found): &&(u16, Found)| matches!(found, Found::Mute | Found::Greeting);
        let tried = &self.scanner.tried;
        if self.scanner.is_banned_unnamed {
            // It is the first that was not spared.
            let touched = tried.iter().filter(mute).nth(self.scanner.spared);
            self.scanner.ban = touched.map(|(port, _)| *port);
        }
        let Some(ban) = self.scanner.ban else { return };
        let Some(place) = tried.iter().position(|(port, _)| *port == ban) else {
            return;
        };
        let met = tried[..place].iter().filter(mute).count();
        if met > self.scanner.spared {
            return self.refute(
                IS_CAUGHT,
                format!("the scanner touched {met} open ports before it was banned"),
            );
        }
        let number = Ordinal(place + 1);
        let how = match self.scanner.luck {
            None if place == 0 => {
                format!("the scanner was banned at its very first try: {ban} is a trap")
            }
            None => format!("the scanner was banned at its {number} try: {ban} is a trap"),
            // Three in 42 lead in. Whoever finds that too many gives the range more ports.
            Some(port) => {
                format!("the scanner met {port}, a real one, by luck; then {ban}, a trap: banned")
            }
        };
        self.prove(IS_CAUGHT, how);
    }

    fn compare(&mut self, port: u16, scanner: Found, member: Found) {
        self.scanner.map.insert(port, scanner);
        if (scanner, member) == (Found::Shut, Found::Greeting) {
            self.prove(
                IS_SHUT_OUT,
                format!("at {port}, the real port, it is shut out; the member is greeted there"),
            );
        } else if scanner != Found::Shut {
            self.refute(
                IS_SHUT_OUT,
                format!("the banned scanner was not shut out at the real port {port}"),
            );
        } else {
            self.refute(
                IS_SHUT_OUT,
                format!("the member was not greeted at the real port {port}"),
            );
        }
    }

    fn come_late(&mut self, found: Found) {
        let Some(session) = &mut self.member else {
            return;
        };
        session.fate = match found {
            Found::Closed => Some("closed"),
            Found::Mute | Found::Shut => Some("a trap"),
            Found::Greeting => {
                let what = format!("port {} let a newcomer in, too late", session.door);
                return self.refute(STAYS_IN, what);
            }
        };
        self.judge_stay();
    }

    /// Is the member still in, although nobody else would get in where it did?
    fn judge_stay(&mut self) {
        let Some(session) = &self.member else { return };
        let (door, turns) = (session.door, self.ports.minute - session.minute);
        if let Some(fate) = session
            .fate
            .filter(|_| session.echoes_behind >= ECHOES_BEHIND)
        {
            let how =
                format!("{turns} turns later the member was still in; its port {door} was {fate}");
            self.prove(STAYS_IN, how);
        }
    }

    /// Reads a line of the daemon's log: the time, a verb, `key=value`.
    fn read(&mut self, line: &str) {
        let mut words = line.split(' ').skip(1);
        let verb = words.next().unwrap_or_default();
        let value = |key: &str| {
            let mut words = line.split(' ');
            words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        };
        if verb == "listen" {
            self.is_open = true;
            let (open, real) = (self.ports.open.len(), self.ports.real.len());
            let Scene { address, range, .. } = &self.scene;
            let (low, high) = (range.low(), range.high());
            return self.tell(
                "daemon",
                format!("at {address}, {open} of the ports {low}-{high} open, {real} lead in"),
            );
        }
        let Some(source) = value("source") else {
            return;
        };
        let port = value("port").and_then(|port| port.parse::<u16>().ok());
        match source.parse::<Ipv4Addr>() {
            Ok(address) if address == self.scene.scanner => self.read_of_scanner(verb, port),
            Ok(address) if address == self.scene.member => {
                if verb == "ban" {
                    self.refute(GETS_IN, "the member was banned".into());
                }
            }
            Ok(address) if address == self.scene.newcomer => {
                if let ("accept", Some(port)) = (verb, port) {
                    self.refute(STAYS_IN, format!("port {port} let a newcomer in"));
                }
            }
            _ => self.read_of_guest(verb, source, port),
        }
    }

    fn read_of_scanner(&mut self, verb: &str, port: Option<u16>) {
        match (verb, port) {
            ("ban", None) => {
                self.scanner.is_banned_unnamed = true;
                let (source, seconds) = (self.scene.scanner, self.scene.ban_s);
                self.tell(
                    "daemon",
                    format!("bans {source} for {seconds} s: that port is a trap"),
                );
                self.judge_ban();
            }
            ("ban", Some(port)) => {
                if self.ports.real.contains(&port) && self.before.real.contains(&port) {
                    return self.refute(IS_CAUGHT, format!("{port}, a real port, banned"));
                }
                self.scanner.ban = Some(port);
                let (source, seconds) = (self.scene.scanner, self.scene.ban_s);
                self.tell(
                    "daemon",
                    format!("bans {source} for {seconds} s: {port} is a trap"),
                );
                self.judge_ban();
            }
            ("unban", _) => {
                self.scanner.ban = None;
                self.scanner.is_banned_unnamed = false;
            }
            ("accept", port) => {
                self.scanner.spared += 1;
                self.scanner.luck = port;
            }
            ("trap", _) => {
                self.scanner.spared += 1;
                self.tell(
                    "daemon",
                    "spares it: that port was or will be a real one".into(),
                );
            }
            _ => {}
        }
    }

    fn read_of_guest(&mut self, verb: &str, source: &str, port: Option<u16>) {
        let port = port.map_or_else(String::new, |port| format!(" {port}"));
        let seconds = self.scene.ban_s;
        let what = match verb {
            "accept" => format!("is in by port{port}"),
            "close" => format!("was in by port{port}, and has left"),
            "ban" => format!("is banned for {seconds} s: port{port} is a trap"),
            "trap" => "met a port that was or will be real: no ban".into(),
            "unban" => "is no longer banned".into(),
            _ => return,
        };
        self.tell("guest", format!("{source} {what}"));
        self.guest = Some(Guest {
            source: source.into(),
            what,
        });
    }
}

#[cfg(test)]
pub mod tests;
