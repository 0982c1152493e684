//! `shimmer port`: the port that leads to the service, now, at another moment, or minute by minute.

use super::{MirageArgs, Target, moment};
use crate::cli::{self, Args, Failure};
use crate::proto::scheme::key::Key;
use crate::proto::scheme::schedule::Pattern;
use crate::sys::{clock, stdio};
use core::fmt::Write;
use std::io::{self, IsTerminal};

/// A line of `--watch` on a terminal is at least so wide, so that it covers the one before it.
const LINE: usize = 24;

/// `shimmer port MIRAGE`, `shimmer port NAME:LOW:HIGH` and `shimmer --open NAME:LOW:HIGH`
///
/// # Errors
/// Those of [`MirageArgs::take`], [`Target::find`], [`Target::key`] and [`cli::print`].
pub fn main(mut args: Args) -> Result<(), Failure> {
    let all = args.flag("--all");
    let watch = args.flag("--watch");
    let at = args.parsed("--at", moment::parse)?;
    if watch && (all || at.is_some()) {
        return Err(Failure::usage(format_args!(
            "--watch shows the real port of each minute; it goes with neither --all nor --at"
        )));
    }
    let open = args.value("--open")?;
    let mirage_args = MirageArgs::take(&mut args, open)?;
    args.end()?;
    let target = Target::find(mirage_args)?;
    let pattern = target.pattern()?;
    let key = target.key()?;
    if watch {
        return follow(&key, &pattern);
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

/// Prints the port, and each that comes after it, until nobody reads any more.
///
/// The clock is read anew each second, at the second's turn, so one that is set is seen within a
/// second.
fn follow(key: &Key, pattern: &Pattern) -> Result<(), Failure> {
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
            return Err(Failure::Unread);
        }
    }
}

/// Draws the last line anew. The port that was shown before keeps its own, without the seconds.
fn redraw(shown: Option<u16>, port: u16, left_s: u64) -> Result<(), Failure> {
    let mut text = String::new();
    if let Some(old) = shown.filter(|old| *old != port) {
        let _ = writeln!(text, "\r{old:<LINE$}");
    }
    let left = format!("{port}  {left_s} s left");
    let _ = write!(text, "\r{left:<LINE$}");
    cli::print(&text)
}
