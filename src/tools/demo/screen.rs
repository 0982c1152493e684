//! The story on a terminal: one frame, drawn over the last one. Without a terminal, or on one that is too
//! small: a line for each thing that happens.
//!
//! ```text
//!   what the secret shows        what guessing shows
//!   ◆ · · ■ · ■ …                · · × ? ? ? …
//!   the member                   the scanner
//!   the checks, or what to try
//! ```
//!
//! The cursor stays visible below the frame and no mode is changed, so the terminal is as it was however
//! the demo ends.

mod frame;
mod row;
mod text;

use self::frame::{ASCII, Painter, UNICODE};
use self::row::Row;
use self::text::{CLOSING, OPENING, invitation};
use super::error::DemoError;
use super::story::{Story, StoryLine};
use std::env;
use std::io::{self, IsTerminal, Write};
use std::mem;

/// Columns and rows that a frame needs, with the row of the cursor.
pub const COLUMNS: u16 = 80;
/// See [`COLUMNS`].
pub const ROWS: u16 = 24;

/// Shows the story on stdout.
#[derive(Debug)]
pub struct Screen {
    /// None: it writes lines.
    painter: Option<Painter>,
    /// Rows of the terminal that the last frame takes.
    drawn: usize,
    has_begun: bool,
    has_invited: bool,
}

impl Screen {
    /// A screen that suits what stdout is.
    pub fn new() -> Self {
        let is_drawable = io::stdout().is_terminal()
            && env::var_os("TERM").is_some_and(|terminal| terminal != "dumb")
            && is_large_enough();
        let has_colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let symbols = if has_unicode() { &UNICODE } else { &ASCII };
        Self {
            painter: is_drawable.then_some(Painter {
                has_colours,
                symbols,
            }),
            drawn: 0,
            has_begun: false,
            has_invited: false,
        }
    }

    /// Shows how things stand.
    ///
    /// # Errors
    /// [`DemoError::Stdout`]
    pub fn show(&mut self, story: &mut Story) -> Result<(), DemoError> {
        if self.painter.is_some() && !is_large_enough() {
            // The window was made smaller. From now on it gets lines.
            self.painter = None;
        }
        let lines = mem::take(&mut story.lines);
        let text = match &self.painter {
            Some(painter) => {
                let rows = painter.frame(story, false);
                self.draw_over(&rows)
            }
            None => self.lines(story, &lines),
        };
        write(&text)
    }

    /// Shows the end.
    ///
    /// # Errors
    /// [`DemoError::Stdout`]
    pub fn close(&mut self, story: &mut Story) -> Result<(), DemoError> {
        self.show(story)?;
        let text = match &self.painter {
            Some(painter) => {
                let rows = painter.frame(story, true);
                self.draw_over(&rows)
            }
            None => CLOSING.map(|line| format!("{line}\n")).concat(),
        };
        write(&text)
    }

    /// What has happened since the last call, in lines.
    fn lines(&mut self, story: &Story, lines: &[StoryLine]) -> String {
        let mut text = String::new();
        if !mem::replace(&mut self.has_begun, true) {
            text += OPENING;
        }
        for StoryLine {
            since_ms,
            who,
            what,
        } in lines
        {
            let (seconds, tenths) = (since_ms / 1_000, since_ms % 1_000 / 100);
            text += &format!("{seconds:>3}.{tenths}s  {who:<8} {what}\n");
        }
        let invites = story.scene.stays && story.is_proven();
        if invites && !mem::replace(&mut self.has_invited, true) {
            text += &invitation(story).map(|line| line + "\n").concat();
        }
        text
    }

    /// The frame, drawn over the one before.
    fn draw_over(&mut self, rows: &[Row]) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            text += &format!("\x1b[{}A\r", self.drawn);
        }
        for row in rows {
            text += row.text();
            text += "\x1b[K\n";
        }
        text += "\x1b[J";
        let width = usize::from(terminal_size().map_or(COLUMNS, |(columns, _)| columns));
        // A command with a long path takes two rows.
        let height = |row: &Row| row.columns().div_ceil(width).max(1);
        self.drawn = rows.iter().map(height).sum();
        text
    }
}

/// Writes all at once, so that no terminal shows half a frame.
fn write(text: &str) -> Result<(), DemoError> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written
        .and_then(|()| stdout.flush())
        .map_err(DemoError::Stdout)
}

/// Columns and rows of the terminal (ioctl_tty(2), TIOCGWINSZ). None if stdout is not a terminal, or one
/// without a size, such as a serial line.
fn terminal_size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

fn is_large_enough() -> bool {
    terminal_size().is_none_or(|(columns, rows)| columns >= COLUMNS && rows >= ROWS)
}

/// Whether the locale says UTF-8 (locale(7)): the first of these that is set decides.
fn has_unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(env::var_os)
        .find(|value| !value.is_empty());
    let locale = set.unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests;
