//! The story: what has happened so far, whether it is what should happen, and how to tell it.
//!
//! It learns everything twice: from the visitors, who say what they met, and from the daemon's log, which
//! says what it did. It reads no clock and opens no socket, so tests can tell it anything.

mod check;
mod log;
mod member;
mod scanner;

pub use self::check::{Check, Claim};
pub use self::member::MemberVisit;
pub use self::scanner::Scanner;

use self::check::CHECKS;
use super::event::{Found, Moment, ShowEvent};
use super::scene::{LivePorts, Scene};
use std::collections::BTreeSet;
use std::mem;

/// Turns that the member has to stay for. After them, the port by which it got in is gone.
const TURNS: u64 = 2;

/// How long the daemon may take to follow a turn on a busy machine, in ms.
const LAG_MS: u64 = 1_500;

/// How long the last proof stays on the screen before the end, in ms.
const REST_MS: u64 = 1_500;

/// The end waits no longer than this for the rest of the scan, in ms since the show began.
const SCAN_UNTIL_MS: u64 = 11_500;

/// Somebody at another terminal, who tries what `--stay` invites to.
#[derive(Debug)]
pub struct Player {
    /// Their address.
    pub source: String,
    /// What happened to them.
    pub what: String,
}

/// A line for those who read the show instead of watching it.
#[derive(Debug)]
pub struct StoryLine {
    /// When, in milliseconds since the show began.
    pub since_ms: u64,
    /// Who does something.
    pub who: &'static str,
    /// What they do.
    pub what: String,
}

/// How the show stands.
#[derive(Debug)]
pub enum ShowState {
    /// It goes on.
    Running,
    /// Everything is proven, and people have had time to read it.
    Finished,
    /// Something is wrong, and what.
    Failed(String),
}

/// All that has happened.
pub struct Story {
    /// Who takes part, and where.
    pub scene: Scene,
    /// The moment.
    pub now: Moment,
    /// The ports of this moment, by the schedule.
    pub ports: LivePorts,
    /// The ports of the minute before.
    pub before: LivePorts,
    /// When the ports last changed, in milliseconds since the show began.
    pub turned_ms: Option<u64>,
    /// The member, once it is in.
    pub member: Option<MemberVisit>,
    /// The scanner.
    pub scanner: Scanner,
    /// The player who came last.
    pub player: Option<Player>,
    /// By [`Claim`].
    pub checks: [Check; 5],
    /// Lines that the screen has not taken yet.
    pub lines: Vec<StoryLine>,
    failure: Option<String>,
    is_open: bool,
    /// How often the open ports were the ones of the schedule.
    matches: u32,
    /// Since when they differ, in milliseconds since the show began.
    differs_since: Option<u64>,
    proven_ms: Option<u64>,
}

impl Story {
    /// Nothing has happened yet.
    pub fn new(scene: Scene, now: Moment) -> Self {
        let ports = scene.schedule.ports(scene.schedule.minute(now.real_ms));
        Self {
            scene,
            now,
            before: ports.clone(),
            ports,
            turned_ms: None,
            member: None,
            scanner: Scanner::default(),
            player: None,
            checks: CHECKS,
            lines: Vec::new(),
            failure: None,
            is_open: false,
            matches: 0,
            differs_since: None,
            proven_ms: None,
        }
    }

    /// Whether the daemon has opened its ports.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// The port by which the member got in, once it is no longer real.
    pub fn old_port(&self) -> Option<u16> {
        let member = self.member.as_ref()?;
        let is_over =
            self.ports.minute >= member.minute + TURNS && !self.ports.real.contains(&member.port);
        // Right after the turn the daemon may still be busy with it.
        let is_settled = self.now.since_ms >= self.turned_ms? + LAG_MS / 4;
        (is_over && is_settled).then_some(member.port)
    }

    /// Whether everything is proven.
    pub fn is_proven(&self) -> bool {
        self.proven_ms.is_some()
    }

    /// The claims that are not proven yet.
    pub fn missing(&self) -> String {
        let open = self.checks.iter().filter_map(|check| match check {
            Check::Open(claim) => Some(*claim),
            _ => None,
        });
        open.collect::<Vec<_>>().join("; ")
    }

    /// How the show stands.
    pub fn state(&self) -> ShowState {
        let disproved = self.checks.iter().find_map(|check| match check {
            Check::Disproved(why) => Some(why),
            _ => None,
        });
        if let Some(why) = disproved.or(self.failure.as_ref()) {
            return ShowState::Failed(why.clone());
        }
        match self.proven_ms {
            Some(proven_ms) if !self.scene.stays && self.now.since_ms >= proven_ms + REST_MS => {
                ShowState::Finished
            }
            _ => ShowState::Running,
        }
    }

    /// Moves on to `now`, which may be in the next minute.
    pub fn advance(&mut self, now: Moment) {
        self.now = now;
        let minute = self.scene.schedule.minute(now.real_ms);
        if minute != self.ports.minute {
            let next = self.scene.schedule.ports(minute);
            self.before = mem::replace(&mut self.ports, next);
            if self.is_open {
                self.turned_ms = Some(now.since_ms);
                self.show_turn();
            } else {
                self.before = self.ports.clone();
            }
        }
        self.check_end();
    }

    /// Proves the last claim once everything else is proven.
    fn check_end(&mut self) {
        // The rest of the scan is nice to watch, and proves no more than its first ports did.
        let is_scanned = self.scanner.tried.len() as u32 >= self.scene.range.count()
            || self.now.since_ms >= SCAN_UNTIL_MS;
        let is_proven = |check: &Check| matches!(check, Check::Proven(_));
        if self.proven_ms.is_none()
            && is_scanned
            && self.checks[..Claim::PortsMatch as usize]
                .iter()
                .all(is_proven)
            && self.matches > 0
            && self.differs_since.is_none()
        {
            self.proven_ms = Some(self.now.since_ms);
            let how = format!(
                "{} looks: exactly the ports that the secret predicts were open",
                self.matches
            );
            self.prove(Claim::PortsMatch, how);
        }
    }

    /// Compares the schedule with the ports that the kernel says are open.
    pub fn compare_ports(&mut self, open: &BTreeSet<u16>) {
        if !self.is_open {
            return;
        }
        if *open == self.ports.open {
            self.matches += 1;
            self.differs_since = None;
            return;
        }
        let since_ms = *self.differs_since.get_or_insert(self.now.since_ms);
        if self.now.since_ms - since_ms > LAG_MS {
            let differing: Vec<String> = open
                .symmetric_difference(&self.ports.open)
                .map(ToString::to_string)
                .collect();
            let differing = differing.join(", ");
            let how = format!("other ports are open than the secret predicts: {differing}");
            self.disprove(Claim::PortsMatch, how);
        }
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, event: ShowEvent) {
        match event {
            ShowEvent::Log(line) => self.read_log(&line),
            // The first failure is the cause of the others.
            ShowEvent::Failed(why) => _ = self.failure.get_or_insert(why),
            ShowEvent::Entered { port } => self.handle_entry(port),
            ShowEvent::Echoed => self.handle_echo(),
            ShowEvent::Tried { port, found } => self.handle_try(port, found),
            ShowEvent::Compared {
                port,
                scanner,
                member,
            } => self.handle_comparison(port, scanner, member),
            ShowEvent::ScansAgain => {
                self.scanner = Scanner::default();
                self.tell("scanner", "starts again: its ban is over".into());
            }
            ShowEvent::CameLate { found } => self.handle_newcomer(found),
        }
    }

    fn tell(&mut self, who: &'static str, what: String) {
        let since_ms = self.now.since_ms;
        self.lines.push(StoryLine {
            since_ms,
            who,
            what,
        });
    }

    fn show_turn(&mut self) {
        let opened = self.ports.open.difference(&self.before.open).count();
        let closed = self.before.open.difference(&self.ports.open).count();
        let mut what = format!("{opened} ports open, {closed} close");
        if let Some(member) = &self.member {
            let turns = self.ports.minute - member.minute;
            let plural = if turns == 1 { "" } else { "s" };
            what += &format!("; the member is still in, {turns} turn{plural} after it came");
        }
        self.tell("turn", what);
    }

    /// Notes how a claim was checked. It is proven once, and can be disproved at any time.
    fn settle(&mut self, claim: Claim, check: Check) {
        let settled = &mut self.checks[claim as usize];
        match check {
            Check::Open(_) => {}
            Check::Disproved(_) => *settled = check,
            Check::Proven(ref how) => {
                if matches!(settled, Check::Open(_)) {
                    let how = how.clone();
                    *settled = check;
                    self.tell("proven", how);
                }
            }
        }
    }

    fn prove(&mut self, claim: Claim, how: String) {
        self.settle(claim, Check::Proven(how));
    }

    fn disprove(&mut self, claim: Claim, how: String) {
        self.settle(claim, Check::Disproved(how));
    }

    fn handle_entry(&mut self, port: u16) {
        let minute = self.scene.schedule.minute(self.now.real_ms);
        self.member = Some(MemberVisit::new(port, minute));
        self.prove(
            Claim::GetsIn,
            format!("the member computed port {port} from the secret, and got in at once"),
        );
    }

    fn handle_echo(&mut self) {
        let is_late = self.old_port().is_some();
        if let Some(member) = &mut self.member {
            member.count_echo(is_late);
        }
        self.check_stay();
    }

    fn handle_newcomer(&mut self, found: Found) {
        if let Some(member) = &mut self.member {
            member.note_newcomer(found);
        }
        self.check_stay();
    }

    fn check_stay(&mut self) {
        let member = self.member.as_ref();
        if let Some(check) = member.and_then(|member| member.check_stay(self.ports.minute)) {
            self.settle(Claim::StaysIn, check);
        }
    }

    fn handle_try(&mut self, port: u16, found: Found) {
        self.scanner.note(port, found);
        let count = self.scanner.tried.len();
        if self.scanner.ban.is_none() || found == Found::Mute {
            let what = match found {
                Found::Closed => "closed",
                Found::Shut => "opens, then closes at once",
                Found::Mute => "opens, and says nothing",
                Found::Greeting => "opens, and the service greets: the real one, by luck",
            };
            self.tell("scanner", format!("tries {port}: {what}"));
        }
        if count as u32 == self.scene.range.count() {
            let shut = self.scanner.count_shut();
            self.tell(
                "scanner",
                format!(
                    "has tried all {count} ports: {shut} hung up at once, the others were closed"
                ),
            );
        }
        self.check_ban();
    }

    fn check_ban(&mut self) {
        if let Some(check) = self.scanner.check_ban() {
            self.settle(Claim::IsBanned, check);
        }
    }

    fn handle_comparison(&mut self, port: u16, scanner: Found, member: Found) {
        self.scanner.map.insert(port, scanner);
        match (scanner, member) {
            (Found::Shut, Found::Greeting) => self.prove(
                Claim::IsShutOut,
                format!("at {port}, the real port, it is shut out; the member is greeted there"),
            ),
            (Found::Shut, _) => self.disprove(
                Claim::IsShutOut,
                format!("the member was not greeted at the real port {port}"),
            ),
            _ => self.disprove(
                Claim::IsShutOut,
                format!("the banned scanner was not shut out at the real port {port}"),
            ),
        }
    }
}

#[cfg(test)]
pub mod tests;
