//! The story on a terminal: one frame, drawn over the last one. Where there is none, or it is too
//! small, the story's news, a line each.
//!
//! ```text
//!   what the secret shows        what guessing shows
//!   ◆ · · ■ · ■ …                · · × ? ? ? …
//!   the member                   the scanner
//!   the checks, or what to try
//! ```
//!
//! The cursor stays visible below the frame and no mode is changed, so that a terminal is as it was
//! however we end.

use super::event::Found;
use super::scene::{NAME, PERIOD_S};
use super::story::{Check, Guest, Story};
use std::env;
use std::io::{self, IsTerminal, Write};
use std::mem;

/// The frame fits into so many columns and rows, the cursor's own included.
pub const COLUMNS: u16 = 80;
/// See [`COLUMNS`].
pub const ROWS: u16 = 24;

/// Ports in a row of the map.
const MAP_COLUMNS: u16 = 16;

/// Where the left half begins, and the right one.
const LEFT: usize = 3;
const RIGHT: usize = 43;

/// After a turn, the ports that changed glitter so many milliseconds.
const GLITTER_MS: u64 = 500;

/// The light in the name moves on after so many milliseconds, and comes back after so many letters.
const LIGHT_MS: u64 = 100;
const LIGHT_CYCLE: u64 = 15;

/// Cells of the bar that runs down to the next turn.
const BAR: u64 = 31;

/// How something looks, as ECMA-48's "select graphic rendition" has it.
#[derive(Clone, Copy)]
enum Look {
    Plain,
    Strong,
    Light,
    Faint,
    Good,
    Way,
    Trap,
    Bad,
    Member,
}

impl Look {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Light => "1;97",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Way => "1;32",
            Self::Trap => "33",
            Self::Bad => "1;31",
            Self::Member => "1;36",
        }
    }
}

/// The signs of the map.
struct Signs {
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

const UNICODE: Signs = Signs {
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

const ASCII: Signs = Signs {
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

/// A line of the frame, with the column that it has reached.
#[derive(Default)]
struct Row {
    text: String,
    columns: usize,
    has_colours: bool,
}

impl Row {
    fn put(mut self, look: Look, text: &str) -> Self {
        let code = look.code();
        if self.has_colours && !code.is_empty() && !text.trim().is_empty() {
            self.text += &format!("\x1b[{code}m{text}\x1b[0m");
        } else {
            self.text += text;
        }
        self.columns += text.chars().count();
        self
    }

    /// A sign, and what it is called.
    fn sign(self, look: Look, sign: char, what: &str) -> Self {
        self.put(look, sign.encode_utf8(&mut [0; 4]))
            .put(Look::Faint, what)
    }

    fn at(mut self, column: usize) -> Self {
        while self.columns + 1 < column {
            self.text.push(' ');
            self.columns += 1;
        }
        self
    }
}

/// Where the story is told.
pub struct Screen {
    /// None: a line each.
    painter: Option<Painter>,
    /// Rows of the last frame.
    drawn: usize,
    has_begun: bool,
    has_invited: bool,
}

struct Painter {
    has_colours: bool,
    signs: &'static Signs,
}

impl Screen {
    /// Looks at what stdout is.
    pub fn new() -> Self {
        let is_drawable = io::stdout().is_terminal()
            && env::var_os("TERM").is_some_and(|terminal| terminal != "dumb")
            && is_large_enough();
        let has_colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let signs = if speaks_unicode() { &UNICODE } else { &ASCII };
        Self {
            painter: is_drawable.then_some(Painter { has_colours, signs }),
            drawn: 0,
            has_begun: false,
            has_invited: false,
        }
    }

    /// Shows how things stand.
    pub fn show(&mut self, story: &mut Story) -> io::Result<()> {
        if self.painter.is_some() && !is_large_enough() {
            // Somebody has made the window smaller. What can't be drawn can be told.
            self.painter = None;
        }
        let news = mem::take(&mut story.news);
        let text = match &self.painter {
            Some(painter) => {
                let rows = painter.frame(story, false);
                self.over_the_last(&rows)
            }
            None => {
                let mut text = String::new();
                if !mem::replace(&mut self.has_begun, true) {
                    text += OPENING;
                }
                for line in news {
                    let (seconds, tenths) = (line.since_ms / 1_000, line.since_ms % 1_000 / 100);
                    text += &format!("{seconds:>3}.{tenths}s  {:<8} {}\n", line.who, line.what);
                }
                let invites = story.scene.stays && story.is_proven();
                if invites && !mem::replace(&mut self.has_invited, true) {
                    text += &invitation(story).map(|line| line + "\n").concat();
                }
                text
            }
        };
        write(&text)
    }

    /// Shows the end.
    pub fn close(&mut self, story: &mut Story) -> io::Result<()> {
        self.show(story)?;
        let text = match &self.painter {
            Some(painter) => {
                let rows = painter.frame(story, true);
                self.over_the_last(&rows)
            }
            None => closing().map(|line| format!("{line}\n")).concat(),
        };
        write(&text)
    }

    fn over_the_last(&mut self, rows: &[Row]) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            text += &format!("\x1b[{}A\r", self.drawn);
        }
        for row in rows {
            text += &row.text;
            text += "\x1b[K\n";
        }
        text += "\x1b[J";
        let width = usize::from(terminal_size().map_or(COLUMNS, |(columns, _)| columns));
        // A command with a long path takes two rows.
        let height = |row: &Row| row.columns.div_ceil(width).max(1);
        self.drawn = rows.iter().map(height).sum();
        text
    }
}

/// In one go, so that no terminal shows half a frame.
fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The columns and rows of the terminal that stdout is (ioctl_tty(2), TIOCGWINSZ). None if it is not a
/// terminal, or has no size, as a serial line.
fn terminal_size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

fn is_large_enough() -> bool {
    terminal_size().is_none_or(|(columns, rows)| columns >= COLUMNS && rows >= ROWS)
}

/// Whether the locale says UTF-8 (locale(7)): the first of these that is set decides.
fn speaks_unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(env::var_os)
        .find(|value| !value.is_empty());
    let locale = set.unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// What stands above the news.
const OPENING: &str = "\
SHIMMER hides a service behind ports that change every minute.
Here a minute takes 3 seconds; a member has the secret, a scanner has not.
";

fn closing() -> [&'static str; 2] {
    [
        "That was the real daemon: who has the secret gets in, who guesses is banned.",
        "To hide a service: shimmer help, and README.md. To play: shimmer demo --stay",
    ]
}

/// What to type in another terminal.
fn invitation(story: &Story) -> [String; 4] {
    let scene = &story.scene;
    let (address, secret, seconds) = (scene.address, &scene.secret, scene.ban_s);
    let (low, high, period) = (scene.range.low(), scene.range.high(), PERIOD_S);
    let program = env::args_os().next().unwrap_or_default();
    let program = program.to_string_lossy();
    [
        "Now you, from another terminal. Ctrl-C here ends it all.".into(),
        format!("  export SHIMMER_SECRET={secret}"),
        format!("  nc {address} $({program} port {NAME}:{low}:{high} --period {period}s)"),
        format!("  nc -zv {address} {low}-{high}    # guesses: banned for {seconds} s"),
    ]
}

impl Painter {
    fn row(&self) -> Row {
        Row {
            has_colours: self.has_colours,
            ..Row::default()
        }
    }

    fn frame(&self, story: &Story, is_end: bool) -> Vec<Row> {
        let mut rows = vec![
            self.title(story, is_end),
            self.place(story),
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
            rows.extend(self.try_it(story));
        } else {
            rows.extend(story.checks.iter().map(|check| self.check(check)));
        }
        if is_end {
            rows.push(self.row());
            rows.extend(closing().map(|line| self.row().at(LEFT).put(Look::Plain, line)));
        }
        rows
    }

    /// The name, with a light that runs through it.
    fn title(&self, story: &Story, is_end: bool) -> Row {
        let lit = story.now.since_ms / LIGHT_MS % LIGHT_CYCLE;
        let mut row = self.row().at(LEFT);
        for (place, letter) in (0..).zip("SHIMMER".chars()) {
            let look = if place == lit && !is_end {
                Look::Light
            } else {
                Look::Way
            };
            row = row.sign(look, letter, "");
        }
        row.put(
            Look::Strong,
            "  hides a service behind ports that change every minute",
        )
    }

    fn place(&self, story: &Story) -> Row {
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
            .put(Look::Faint, &format!("  {}  has not", scene.scanner))
    }

    fn maps(&self, story: &Story, is_end: bool) -> Vec<Row> {
        let range = story.scene.range;
        let is_fresh = |turned| story.now.since_ms < turned + GLITTER_MS;
        let glitters = !is_end && story.turned_ms.is_some_and(is_fresh);
        let first_ports = (range.low()..=range.high()).step_by(usize::from(MAP_COLUMNS));
        let row = |first| {
            let ports = first..first + MAP_COLUMNS;
            let left = ports.clone().fold(self.row().at(LEFT), |row, port| {
                let (look, sign) = self.insider(story, port, glitters);
                row.sign(look, sign, " ")
            });
            ports.fold(left.at(RIGHT), |row, port| {
                let (look, sign) = self.outsider(story, port);
                row.sign(look, sign, " ")
            })
        };
        first_ports.map(row).collect()
    }

    /// A port as the secret shows it.
    fn insider(&self, story: &Story, port: u16, glitters: bool) -> (Look, char) {
        let signs = self.signs;
        let [last, this, next] = story.ports.real;
        let is_open = story.ports.open.contains(&port);
        let has_turned = is_open != story.before.open.contains(&port);
        let is_member = story
            .member
            .as_ref()
            .is_some_and(|member| member.door == port);
        if is_member && story.ports.real.contains(&port) {
            (Look::Member, signs.member)
        } else if is_member {
            (Look::Member, signs.member_gone)
        } else if glitters && has_turned {
            (Look::Strong, signs.glitter)
        } else if port == this {
            (Look::Way, signs.way)
        } else if port == last || port == next {
            (Look::Good, signs.way_beside)
        } else if is_open {
            (Look::Trap, signs.trap)
        } else {
            (Look::Faint, signs.closed)
        }
    }

    /// A port as far as the scanner knows.
    fn outsider(&self, story: &Story, port: u16) -> (Look, char) {
        let signs = self.signs;
        match story.scanner.map.get(&port) {
            None => (Look::Faint, signs.unknown),
            Some(Found::Closed) => (Look::Faint, signs.closed),
            Some(Found::Mute) => (Look::Trap, signs.trap),
            Some(Found::Greeting) => (Look::Way, signs.way),
            Some(Found::Shut) => (Look::Bad, signs.shut),
        }
    }

    fn legends(&self) -> Row {
        let signs = self.signs;
        self.row()
            .at(LEFT)
            .sign(Look::Way, signs.way, "")
            .sign(Look::Good, signs.way_beside, " lead in  ")
            .sign(Look::Trap, signs.trap, " traps  ")
            .sign(Look::Member, signs.member, "")
            .sign(Look::Member, signs.member_gone, " the member's")
            .at(RIGHT)
            .sign(Look::Faint, signs.closed, " closed  ")
            .sign(Look::Trap, signs.trap, " trap  ")
            .sign(Look::Bad, signs.shut, " shut in its face")
    }

    fn states(&self, story: &Story) -> Row {
        let row = self.row().at(LEFT);
        let row = match &story.member {
            None => row.put(Look::Faint, "computes the port ..."),
            Some(session) => {
                let (door, echoes) = (session.door, session.echoes);
                let (state, how) = if story.ports.real.contains(&door) {
                    ("IN", format!(" by port {door}, {echoes} echoes"))
                } else {
                    let is_trap = story.ports.open.contains(&door);
                    let fate = if is_trap { "a trap" } else { "closed" };
                    ("STILL IN", format!(", port {door} {fate}, {echoes} echoes"))
                };
                row.put(Look::Member, state).put(Look::Plain, &how)
            }
        }
        .at(RIGHT);
        let scanner = &story.scanner;
        let tries = scanner.tried.len();
        let count = match tries {
            1 => "1 try".to_owned(),
            _ => format!("{tries} tries"),
        };
        match scanner.ban {
            None if tries == 0 => row.put(Look::Faint, "looks for a way in ..."),
            None => row.put(Look::Plain, &format!("guesses: {count}")),
            Some(port) => row
                .put(Look::Bad, "BANNED")
                .put(Look::Plain, &format!(" by trap {port}, {count}")),
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
            .put(Look::Good, &repeat(self.signs.bar, cells))
            .put(Look::Faint, &repeat(self.signs.bar_left, BAR - cells))
            .at(RIGHT)
            .put(Look::Plain, &format!("{seconds} s until the ports change"))
    }

    fn check(&self, check: &Check) -> Row {
        let row = self.row().at(LEFT);
        let sign = |sign: char| format!("{sign} ");
        match check {
            Check::Open(what) => row
                .put(Look::Faint, &sign(self.signs.open))
                .put(Look::Faint, what),
            Check::Good(how) => row
                .put(Look::Way, &sign(self.signs.done))
                .put(Look::Plain, how),
            Check::Bad(what) => row.put(Look::Bad, "! ").put(Look::Plain, what),
        }
    }

    fn try_it(&self, story: &Story) -> Vec<Row> {
        let line = |(number, text): (usize, String)| {
            let look = if number == 0 {
                Look::Strong
            } else {
                Look::Plain
            };
            self.row().at(LEFT).put(look, &text)
        };
        let mut rows: Vec<Row> = invitation(story)
            .into_iter()
            .enumerate()
            .map(line)
            .collect();
        let guest = |guest: &Guest| {
            self.row()
                .at(LEFT)
                .put(Look::Member, &guest.source)
                .put(Look::Plain, &format!(" {}", guest.what))
        };
        rows.push(story.guest.as_ref().map_or_else(|| self.row(), guest));
        rows
    }
}

#[cfg(test)]
mod tests;
