//! The whole of a daemon on one screen: first what is wrong, then the mirages, and of sessions and
//! bans the latest.

use super::answer::{behind, field, number, rows};
use super::table::{lay_out, wrap};
use super::words::{fill, push_number, push_time};
use crate::limits::STATUS_ROWS;

/// How much of a table is taken: 3 of 4096 tokens.
const TAKEN: &str = "{taken} of {places} {of:of}";

/// A list of which the latest rows are shown.
struct List {
    name: &'static str,
    /// The number by which the rows are sorted, and whether the largest comes first.
    order: &'static str,
    is_falling: bool,
    heading: &'static str,
    row: &'static str,
}

const SESSIONS: List = List {
    name: "sessions",
    order: "age",
    is_falling: false,
    heading: "SOURCE\tMIRAGE\t>AGE\t>IN\t>OUT",
    row: "\n{source}\t{mirage}\t>{age:time}\t>{bytes_in:bytes}\t>{bytes_out:bytes}",
};

const DOORS: List = List {
    name: "doors",
    order: "seconds",
    is_falling: true,
    heading: "SOURCE\tMIRAGE\t>FOR",
    row: "\n{source}\t{mirage}\t>{seconds:time}",
};

/// The latest ban is the one that ends last.
const BANS: List = List {
    name: "bans",
    order: "seconds",
    is_falling: true,
    heading: "SOURCE\tWHY\t>ATTEMPTS\t>ENDS IN",
    row: "\n{source}\t{why:why}\t>{attempts}\t>{seconds:time}",
};

/// Adds the answer to `status` or `status ports`, for a person.
pub fn push(text: &mut String, answer: &str) {
    let now = number(answer, "now");
    fill(text, "shimmer {version}, up ", answer);
    // A clock that was set back may be before the start.
    push_time(text, now.saturating_sub(number(answer, "since")) as u32);
    text.push('\n');
    let is_waiting = field(answer, "clock") == Some("waiting");
    if is_waiting {
        text.push_str("CLOCK: it is not believed yet, and no port is open until it is\n");
    }
    push_full(text, answer);
    push_mirages(text, answer, if is_waiting { None } else { Some(now) });
    for row in rows(answer, "mirages") {
        push_ports(text, row);
    }
    push_list(text, answer, &SESSIONS);
    if rows(answer, DOORS.name).next().is_some() {
        push_list(text, answer, &DOORS);
    }
    push_list(text, answer, &BANS);
    push_figures(text, answer);
}

/// The tables that have no place left, and what that means.
fn push_full(text: &mut String, answer: &str) {
    for row in rows(answer, "places") {
        if field(row, "full") == Some("true") {
            text.push_str("FULL: ");
            push_taken(text, row);
            fill(text, ": {of:full}\n", row);
        }
    }
}

fn push_taken(text: &mut String, row: &str) {
    fill(text, TAKEN, row);
    if field(row, "mirage").is_some() {
        fill(text, " of {mirage}", row);
    }
}

/// The mirages. Where the clock is not believed, no moment is known at which ports turn.
fn push_mirages(text: &mut String, answer: &str, now: Option<u64>) {
    text.push('\n');
    let start = text.len();
    text.push_str("MIRAGE\tGATE\tRANGE\tLISTEN\t>OPEN\t>TURNS IN\tLEADS TO");
    for row in rows(answer, "mirages") {
        fill(
            text,
            "\n{mirage}\t{gate}\t{range}\t{listen}\t>{open}\t>",
            row,
        );
        let period = number(row, "period");
        match now.and_then(|now| now.checked_rem(period)) {
            Some(gone) => push_time(text, (period - gone) as u32),
            None => text.push('-'),
        }
        let is_forward = field(row, "forward").is_some();
        fill(
            text,
            if is_forward {
                "\t{forward}"
            } else {
                "\t{door}"
            },
            row,
        );
    }
    lay_out(text, start);
}

/// The open ports of a mirage, if they were asked for.
fn push_ports(text: &mut String, row: &str) {
    if field(row, "real").is_some() {
        fill(text, "\nports of {mirage}\n", row);
        for list in &["real (before, now, next)  \t{real}", "open  \t{ports}"] {
            let line = text.len();
            fill(text, list, row);
            wrap(text, line, ',');
        }
    }
}

/// The first rows of a list in its order, and how many there are in all.
///
/// The list may have thousands: only the rows that are shown are sorted, by moving each up to its
/// place and letting the last one go.
fn push_list(text: &mut String, answer: &str, list: &List) {
    let mut latest = [(0u32, ""); STATUS_ROWS + 1];
    let mut count = 0;
    for row in rows(answer, list.name) {
        let mut own = number(row, list.order) as u32;
        if list.is_falling {
            own = !own;
        }
        let mut place = STATUS_ROWS.min(count);
        while place > 0 && latest[place - 1].0 > own {
            latest[place] = latest[place - 1];
            place -= 1;
        }
        latest[place] = (own, row);
        count += 1;
    }
    text.push('\n');
    text.push_str(list.name);
    text.push_str(": ");
    push_number(text, count as u32);
    text.push('\n');
    if count == 0 {
        return;
    }
    let start = text.len();
    text.push_str(list.heading);
    for (_, row) in latest.iter().take(STATUS_ROWS.min(count)) {
        fill(text, list.row, row);
    }
    lay_out(text, start);
    if count > STATUS_ROWS {
        text.push_str("… and ");
        push_number(text, (count - STATUS_ROWS) as u32);
        text.push_str(" more (shimmer status --json has all)\n");
    }
}

/// What has happened since the start, without what has not; and how much room is taken.
fn push_figures(text: &mut String, answer: &str) {
    text.push('\n');
    let line = text.len();
    text.push_str("since the start  \t");
    let counters = behind(answer, "counters").unwrap_or_default();
    let counters = counters.split('\n').next().unwrap_or_default();
    // What stands between two names has no value.
    for name in counters.split('"') {
        let count = field(counters, name).unwrap_or("0");
        if count != "0" {
            begin_next(text);
            text.push_str(count);
            text.push(' ');
            for letter in name.chars() {
                text.push(if letter == '_' { ' ' } else { letter });
            }
        }
    }
    if text.ends_with("\t") {
        text.push_str("nothing has happened yet");
    }
    wrap(text, line, '\n');
    let line = text.len();
    text.push_str("room taken       \t");
    for row in rows(answer, "places") {
        begin_next(text);
        push_taken(text, row);
    }
    wrap(text, line, '\n');
}

/// Parts the words of a line that may be wrapped.
fn begin_next(text: &mut String) {
    if !text.ends_with("\t") {
        text.push_str(",\n");
    }
}
