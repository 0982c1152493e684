//! `shimmer port`: the port that leads to the service, now or at another time, or each new one.

use super::{MirageArgs, Target, moment};
use crate::cli::{self, Args, Error};
use crate::proto::scheme::key::Key;
use crate::proto::scheme::schedule::Pattern;
use crate::sys::{clock, stdio};
use core::fmt::Write;
use std::io::{self, IsTerminal};

/// Columns of a line of `--watch` on a terminal, so that each covers the one before.
const LINE_WIDTH: usize = 24;

/// `shimmer port MIRAGE`, `shimmer port NAME:LOW:HIGH` and `shimmer --open NAME:LOW:HIGH`
///
/// # Errors
/// Those of [`MirageArgs::take`], [`Target::find`], [`Target::key`] and [`cli::print`].
pub fn main(mut args: Args) -> Result<(), Error> {
    let all = args.flag("--all");
    let watch = args.flag("--watch");
    let at = args.parsed("--at", moment::parse)?;
    if watch && (all || at.is_some()) {
        return Err(Error::usage(format_args!(
            "--watch shows the real port of each minute, and works with neither --all nor --at"
        )));
    }
    let open = args.value("--open")?;
    let mirage_args = MirageArgs::take(&mut args, open)?;
    args.finish()?;
    let target = Target::find(mirage_args)?;
    let pattern = target.pattern()?;
    let key = target.key()?;
    if watch {
        return watch_ports(&key, &pattern);
    }
    let minute = pattern.minute(at.unwrap_or_else(clock::unix));
    let mut text = String::new();
    for port in pattern.ports(&key, minute) {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{port}");
        if !all {
            break;
        }
    }
    cli::print(&text)
}

/// Prints the port and each new one, until nobody reads them any more.
///
/// It wakes at the turn of each second, so it notices within a second when the clock is set.
fn watch_ports(key: &Key, pattern: &Pattern) -> Result<(), Error> {
    let is_terminal = io::stdout().is_terminal();
    let mut shown = None;
    loop {
        let now_ms = clock::real_ms().max(0).unsigned_abs();
        let unix = now_ms / 1_000;
        let port = pattern.real(key, pattern.minute(unix));
        if is_terminal {
            let period = u64::from(pattern.period());
            redraw(shown, port, period - unix % period)?;
        } else if shown != Some(port) {
            cli::print(&format!("{port}\n"))?;
        }
        shown = Some(port);
        let left_ms = 1_000 - (now_ms % 1_000) as u32;
        if !stdio::wait_while_read(left_ms) {
            return Err(Error::BrokenPipe);
        }
    }
}

/// Draws the last line again. A port that is over keeps a line of its own, without its seconds.
fn redraw(shown: Option<u16>, port: u16, left_s: u64) -> Result<(), Error> {
    let mut text = String::new();
    if let Some(old) = shown.filter(|old| *old != port) {
        let _ = writeln!(text, "\r{old:<LINE_WIDTH$}");
    }
    let left = format!("{port}  {left_s} s left");
    let _ = write!(text, "\r{left:<LINE_WIDTH$}");
    cli::print(&text)
}
