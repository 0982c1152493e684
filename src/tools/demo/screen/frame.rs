//! A frame: the whole story, as a terminal shows it now.

use super::row::{Look, Row};
use super::text::{CLOSING, invitation};
use crate::tools::demo::event::Found;
use crate::tools::demo::scene::PERIOD_S;
use crate::tools::demo::story::{Check, MemberVisit, Player, Story};
use std::iter;

/// Ports in a row of the map.
const MAP_COLUMNS: u16 = 16;

/// Where the left half begins, and the right one.
const LEFT: usize = 3;
const RIGHT: usize = 43;

/// How long the ports that changed glitter after a turn, in ms.
const GLITTER_MS: u64 = 500;

/// How long the light stays on a letter of the name, in ms, and after how many letters it comes back.
const LIGHT_MS: u64 = 100;
const LIGHT_CYCLE: u64 = 15;

/// Cells of the bar that runs down to the next turn.
const BAR: u64 = 31;

/// What stands for what.
#[derive(Debug)]
pub struct Symbols {
    way: char,
    way_beside: char,
    trap: char,
    closed: char,
    member: char,
    member_gone: char,
    glitter: char,
    shut: char,
    unknown: char,
    done: char,
    open: char,
    bar: char,
    bar_left: char,
}

/// For terminals with Unicode.
pub const UNICODE: Symbols = Symbols {
    way: '◆',
    way_beside: '◇',
    trap: '■',
    closed: '·',
    member: '●',
    member_gone: '○',
    glitter: '✦',
    shut: '×',
    unknown: '?',
    done: '✓',
    open: '·',
    bar: '━',
    bar_left: '─',
};

/// For the others.
pub const ASCII: Symbols = Symbols {
    way: '@',
    way_beside: 'o',
    trap: '#',
    closed: '.',
    member: 'M',
    member_gone: 'm',
    glitter: '*',
    shut: 'x',
    unknown: '?',
    done: '+',
    open: '.',
    bar: '=',
    bar_left: '-',
};

/// Draws frames.
#[derive(Debug)]
pub struct Painter {
    /// Whether to use colours.
    pub has_colours: bool,
    /// What the terminal can show.
    pub symbols: &'static Symbols,
}

impl Painter {
    /// The rows of a frame; `is_end` for the last one.
    pub fn frame(&self, story: &Story, is_end: bool) -> Vec<Row> {
        let mut rows = vec![
            self.title(story, is_end),
            self.address(story),
            self.row(),
            self.names(story),
        ];
        rows.extend(self.maps(story, is_end));
        rows.push(self.legends());
        rows.push(self.states(story));
        rows.push(self.row());
        if !is_end {
            rows.push(self.bar(story));
            rows.push(self.row());
        }
        if story.scene.stays && story.is_proven() {
            rows.extend(self.invitation(story));
        } else {
            rows.extend(story.checks.iter().map(|check| self.check(check)));
        }
        if is_end {
            rows.push(self.row());
            rows.extend(CLOSING.map(|line| self.row().at(LEFT).put(Look::Plain, line)));
        }
        rows
    }

    fn row(&self) -> Row {
        Row::new(self.has_colours)
    }

    /// The name, with a light that runs through it.
    fn title(&self, story: &Story, is_end: bool) -> Row {
        let lit = story.now.since_ms / LIGHT_MS % LIGHT_CYCLE;
        let mut row = self.row().at(LEFT);
        for (index, letter) in (0..).zip("SHIMMER".chars()) {
            let look = if index == lit && !is_end {
                Look::Light
            } else {
                Look::Way
            };
            row = row.symbol(look, letter, "");
        }
        row.put(
            Look::Strong,
            "  hides a service behind ports that change every minute",
        )
    }

    fn address(&self, story: &Story) -> Row {
        let scene = &story.scene;
        let (low, high) = (scene.range.low(), scene.range.high());
        let address = scene.address;
        let open = story.ports.open.len();
        let period = PERIOD_S;
        let text = format!(
            "{address}, ports {low}-{high}: {open} open. Here a minute takes {period} seconds."
        );
        self.row().at(LEFT).put(Look::Faint, &text)
    }

    fn names(&self, story: &Story) -> Row {
        let scene = &story.scene;
        self.row()
            .at(LEFT)
            .put(Look::Member, "MEMBER")
            .put(Look::Faint, &format!("  {}  has the secret", scene.member))
            .at(RIGHT)
            .put(Look::Bad, "SCANNER")
            .put(Look::Faint, &format!("  {}  has to guess", scene.scanner))
    }

    fn maps(&self, story: &Story, is_end: bool) -> Vec<Row> {
        let range = story.scene.range;
        let is_fresh = |turned| story.now.since_ms < turned + GLITTER_MS;
        let glitters = !is_end && story.turned_ms.is_some_and(is_fresh);
        let first_ports = (range.low()..=range.high()).step_by(usize::from(MAP_COLUMNS));
        let row = |first| {
            let ports = first..first + MAP_COLUMNS;
            let left = ports.clone().fold(self.row().at(LEFT), |row, port| {
                let (look, symbol) = self.insider_cell(story, port, glitters);
                row.symbol(look, symbol, " ")
            });
            ports.fold(left.at(RIGHT), |row, port| {
                let (look, symbol) = self.outsider_cell(story, port);
                row.symbol(look, symbol, " ")
            })
        };
        first_ports.map(row).collect()
    }

    /// A port as the secret shows it.
    fn insider_cell(&self, story: &Story, port: u16, glitters: bool) -> (Look, char) {
        let symbols = self.symbols;
        let [last, this, next] = story.ports.real;
        let is_open = story.ports.open.contains(&port);
        let has_turned = is_open != story.before.open.contains(&port);
        let is_member = story
            .member
            .as_ref()
            .is_some_and(|member| member.port == port);
        if is_member && story.ports.real.contains(&port) {
            (Look::Member, symbols.member)
        } else if is_member {
            (Look::Member, symbols.member_gone)
        } else if glitters && has_turned {
            (Look::Strong, symbols.glitter)
        } else if port == this {
            (Look::Way, symbols.way)
        } else if port == last || port == next {
            (Look::Good, symbols.way_beside)
        } else if is_open {
            (Look::Trap, symbols.trap)
        } else {
            (Look::Faint, symbols.closed)
        }
    }

    /// A port as far as the scanner knows.
    fn outsider_cell(&self, story: &Story, port: u16) -> (Look, char) {
        let symbols = self.symbols;
        match story.scanner.map.get(&port) {
            None => (Look::Faint, symbols.unknown),
            Some(Found::Closed) => (Look::Faint, symbols.closed),
            Some(Found::Mute) => (Look::Trap, symbols.trap),
            Some(Found::Greeting) => (Look::Way, symbols.way),
            Some(Found::Shut) => (Look::Bad, symbols.shut),
        }
    }

    fn legends(&self) -> Row {
        let symbols = self.symbols;
        self.row()
            .at(LEFT)
            .symbol(Look::Way, symbols.way, "")
            .symbol(Look::Good, symbols.way_beside, " lead in  ")
            .symbol(Look::Trap, symbols.trap, " traps  ")
            .symbol(Look::Member, symbols.member, "")
            .symbol(Look::Member, symbols.member_gone, " the member's")
            .at(RIGHT)
            .symbol(Look::Faint, symbols.closed, " closed  ")
            .symbol(Look::Trap, symbols.trap, " trap  ")
            .symbol(Look::Bad, symbols.shut, " closes at once")
    }

    fn states(&self, story: &Story) -> Row {
        let row = self.row().at(LEFT);
        let row = match &story.member {
            None => row.put(Look::Faint, "computes the port ..."),
            Some(MemberVisit { port, echoes, .. }) if story.ports.real.contains(port) => row
                .put(Look::Member, "IN")
                .put(Look::Plain, &format!(" by port {port}, {echoes} echoes")),
            Some(MemberVisit { port, echoes, .. }) => {
                let is_open = story.ports.open.contains(port);
                let state = if is_open { "a trap" } else { "closed" };
                row.put(Look::Member, "STILL IN").put(
                    Look::Plain,
                    &format!(", {port} is {state}, {echoes} echoes"),
                )
            }
        };
        let (row, scanner) = (row.at(RIGHT), &story.scanner);
        let tries = match scanner.tried.len() {
            1 => "1 try".to_owned(),
            count => format!("{count} tries"),
        };
        match scanner.ban {
            None if scanner.tried.is_empty() => row.put(Look::Faint, "looks for a way in ..."),
            None => row.put(Look::Plain, &format!("guesses: {tries}")),
            Some(port) => row
                .put(Look::Bad, "BANNED")
                .put(Look::Plain, &format!(" by trap {port}, {tries}")),
        }
    }

    fn bar(&self, story: &Story) -> Row {
        let period_ms = u64::from(PERIOD_S) * 1_000;
        let into = story.now.real_ms.rem_euclid(period_ms as i64) as u64;
        let left = period_ms - into;
        let cells = (left * BAR).div_ceil(period_ms);
        let repeat = |sign: char, count: u64| sign.to_string().repeat(count as usize);
        let seconds = left.div_ceil(1_000);
        self.row()
            .at(LEFT)
            .put(Look::Good, &repeat(self.symbols.bar, cells))
            .put(Look::Faint, &repeat(self.symbols.bar_left, BAR - cells))
            .at(RIGHT)
            .put(Look::Plain, &format!("{seconds} s until the ports change"))
    }

    fn check(&self, check: &Check) -> Row {
        let row = self.row().at(LEFT);
        let symbols = self.symbols;
        match check {
            Check::Open(claim) => row
                .symbol(Look::Faint, symbols.open, " ")
                .put(Look::Faint, claim),
            Check::Proven(how) => row
                .symbol(Look::Way, symbols.done, " ")
                .put(Look::Plain, how),
            Check::Disproved(how) => row.put(Look::Bad, "! ").put(Look::Plain, how),
        }
    }

    fn invitation(&self, story: &Story) -> Vec<Row> {
        let looks = iter::once(Look::Strong).chain(iter::repeat(Look::Plain));
        let lines = looks.zip(invitation(story));
        let mut rows: Vec<Row> = lines
            .map(|(look, line)| self.row().at(LEFT).put(look, &line))
            .collect();
        rows.push(match &story.player {
            None => self.row(),
            Some(Player { source, what }) => self
                .row()
                .at(LEFT)
                .put(Look::Member, source)
                .put(Look::Plain, &format!(" {what}")),
        });
        rows
    }
}
