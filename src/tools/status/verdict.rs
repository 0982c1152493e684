//! What would happen to an address, in sentences: at each mirage, why, and what to do about it.

use super::answer::{field, number, rows};
use super::table::{Counted, Grouped, Seconds, write_wrapped};
use core::fmt::Write;

/// The answer to `status ADDRESS`, for a person.
pub fn text(answer: &str) -> String {
    let source = field(answer, "source").unwrap_or_default();
    let sessions = Counted(number(answer, "sessions"), "session");
    let ban = rows(answer, "bans").next();
    let mut text = String::new();
    let who = match ban {
        Some(row) => format!("{source} is banned {}. It has {sessions}.", told(row)),
        None => format!("{source} is not banned. It has {sessions}."),
    };
    write_wrapped(&mut text, "", &who, ' ');
    text.push('\n');
    let mut is_admitted = false;
    for row in rows(answer, "mirages") {
        let label = format!("{}: ", field(row, "mirage").unwrap_or_default());
        write_wrapped(&mut text, &label, &judged(row), ' ');
        is_admitted |= field(row, "right") == Some("admit");
    }
    if ban.is_some() {
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "\nTo let it try again at once: shimmer unban {source}"
        );
    } else if is_admitted {
        text.push_str(
            "\nIf it gets in nowhere: clock, secret, name, range, decoys and period have to be\n\
             the same on both sides.\n",
        );
    }
    text
}

/// For how long, why, and how often it came.
fn told(ban: &str) -> String {
    let time = Seconds(number(ban, "seconds"));
    let why = match field(ban, "why") {
        Some("trap") => "it touched a trap",
        Some("token") => "it had no good token",
        Some("hand") => "somebody typed shimmer ban",
        Some("state") => "it was so before the daemon's last start",
        _ => "the daemon does not say why",
    };
    let mut text = format!("for {time} more: {why}");
    // The one that began the ban is counted, too.
    match number(ban, "attempts") {
        0 | 1 => {}
        2 => text.push_str(", and came once since"),
        count => {
            let _ = write!(text, ", and came {} times since", Grouped(count - 1));
        }
    }
    text
}

/// What whoever has the mirage's secret gets, what a guess gets, and why.
fn judged(row: &str) -> String {
    let (with, without) = match field(row, "gate") {
        Some("token") => ("with a good token", "without one"),
        _ => ("at the real port", "at any other"),
    };
    let (right, wrong) = (field(row, "right"), field(row, "wrong"));
    let fates = if right == wrong {
        format!("whatever it tries, it {}", fate(right))
    } else {
        let (right, wrong) = (fate(right), fate(wrong));
        format!("{with} it {right}, {without} it {wrong}")
    };
    let why = match field(row, "why") {
        Some("banned") if right != wrong => ": it is banned, but a token counts more",
        Some("banned") => ": it is banned",
        Some("allow") => ": allow covers it",
        Some("from") => ": the mirage's from does not cover it",
        Some("session") => ": it has a session, and a touch is forgiven",
        Some("clock") => ": the clock was set a moment ago",
        _ => "",
    };
    format!("{fates}{why}.")
}

/// What it gets.
fn fate(verdict: Option<&str>) -> &str {
    match verdict {
        Some("admit") => "gets in",
        Some("hold") => "is held, but not banned",
        Some("ban") => "is held and banned",
        Some("refuse") => "is turned away",
        verdict => verdict.unwrap_or("gets what the daemon does not say"),
    }
}
