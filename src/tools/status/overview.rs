//! The whole of a daemon on one screen: first what is wrong, then the mirages, and of sessions and
//! bans the latest.

use super::answer::{counters, field, number, rows};
use super::table::{Bytes, Counted, Grouped, Seconds, write_table, write_wrapped};
use crate::limits::STATUS_ROWS;
use core::fmt::Write;

/// What stands where the daemon said nothing.
const NOTHING: &str = "-";

/// What is between the parts of a list that may be wrapped, and the end of that.
const BETWEEN: &str = ",\n";
const END: char = '\n';

/// The answer to `status` or `status ports`, for a person.
pub fn text(answer: &str) -> String {
    let mut text = String::new();
    let now = number(answer, "now");
    // A clock that was set back may be before the start.
    let age = now.saturating_sub(number(answer, "since"));
    // Writing to a String can't fail.
    let _ = writeln!(
        text,
        "shimmer {}, up {}",
        shown(answer, "version"),
        Seconds(age)
    );
    let is_waiting = field(answer, "clock") == Some("waiting");
    if is_waiting {
        text.push_str("CLOCK: it is not believed yet, and no port is open until it is\n");
    }
    write_full(&mut text, answer);
    write_mirages(&mut text, answer, if is_waiting { None } else { Some(now) });
    write_ports(&mut text, answer);
    write_sessions(&mut text, answer);
    write_bans(&mut text, answer);
    write_figures(&mut text, answer);
    text
}

/// The tables that have no place left, and what that means.
fn write_full(text: &mut String, answer: &str) {
    let is_full = |row: &&str| field(row, "full") == Some("true");
    for row in rows(answer, "places").filter(is_full) {
        text.push_str("FULL: ");
        write_taken(text, row);
        text.push_str(match field(row, "of") {
            Some("sessions") => ": nobody else gets in\n",
            Some("traps") => ": the oldest visitors make room\n",
            Some("bans") => ": the oldest make room\n",
            Some("nonces") => ": nobody gets in until one is forgotten\n",
            _ => "\n",
        });
    }
}

/// How much of a table is taken: 3 of 4,096 tokens of home.
fn write_taken(text: &mut String, row: &str) {
    let of = match shown(row, "of") {
        "nonces" => "tokens",
        of => of,
    };
    let (taken, places) = (number(row, "taken"), number(row, "places"));
    let _ = write!(text, "{} of {} {of}", Grouped(taken), Grouped(places));
    if let Some(mirage) = field(row, "mirage") {
        let _ = write!(text, " of {mirage}");
    }
}

/// The mirages. Where the clock is not believed, no moment is known at which ports turn.
fn write_mirages(text: &mut String, answer: &str, now: Option<u64>) {
    let mut table = "MIRAGE\tGATE\tRANGE\t>OPEN\t>TURNS IN\tLEADS TO\n".to_owned();
    for row in rows(answer, "mirages") {
        let _ = write!(
            table,
            "{}\t{}\t{}\t{}\t",
            shown(row, "mirage"),
            shown(row, "gate"),
            shown(row, "range"),
            match shown(row, "open") {
                "0" => "none",
                _ if field(row, "listen") == Some("pool") => "pool",
                open => open,
            }
        );
        let end = number(row, "minute")
            .saturating_add(1)
            .saturating_mul(number(row, "period"));
        let _ = match now {
            Some(now) => write!(table, "{}", Seconds(end.saturating_sub(now))),
            None => write!(table, "{NOTHING}"),
        };
        let leads_to = match shown(row, "door") {
            "forward" => shown(row, "forward"),
            door => door,
        };
        let _ = writeln!(table, "\t{leads_to}");
    }
    text.push('\n');
    write_table(text, &table);
}

/// The open ports of each mirage, if they were asked for.
fn write_ports(text: &mut String, answer: &str) {
    for row in rows(answer, "mirages") {
        let (Some(real), Some(ports)) = (field(row, "real"), field(row, "ports")) else {
            continue;
        };
        let _ = writeln!(text, "\nports of {}", shown(row, "mirage"));
        let mut reals = real.split(',');
        if let (Some(last), Some(this), Some(next)) = (reals.next(), reals.next(), reals.next()) {
            let _ = writeln!(text, "real   {this} now, {last} before, {next} next");
        }
        let mut traps = String::new();
        for port in ports.split(',') {
            if !real.split(',').any(|real| real == port) {
                traps.push_str(port);
                traps.push(' ');
            }
        }
        if traps.is_empty() {
            traps.push_str("none");
        }
        write_wrapped(text, "traps  ", &traps, ' ');
    }
}

fn write_sessions(text: &mut String, answer: &str) {
    let latest = Latest::of(answer, "sessions", |row| number(row, "age"));
    let mut table = "SOURCE\tMIRAGE\t>AGE\t>IN\t>OUT\n".to_owned();
    for row in &latest.rows {
        let _ = writeln!(
            table,
            "{}\t{}\t{}\t{}\t{}",
            shown(row, "source"),
            shown(row, "mirage"),
            Seconds(number(row, "age")),
            Bytes(number(row, "bytes_in")),
            Bytes(number(row, "bytes_out"))
        );
    }
    latest.write(text, "session", &table);
}

fn write_bans(text: &mut String, answer: &str) {
    // The latest ban is the one that ends last.
    let latest = Latest::of(answer, "bans", |row| u64::MAX - number(row, "seconds"));
    let mut table = "SOURCE\tWHY\t>ATTEMPTS\t>ENDS IN\n".to_owned();
    for row in &latest.rows {
        let _ = writeln!(
            table,
            "{}\t{}\t{}\t{}",
            shown(row, "source"),
            match shown(row, "why") {
                "token" => "no token",
                "hand" => "by hand",
                "state" => "restart",
                why => why,
            },
            Grouped(number(row, "attempts")),
            Seconds(number(row, "seconds"))
        );
    }
    latest.write(text, "ban", &table);
}

/// What has happened since the start, without what has not; and how much room is taken.
fn write_figures(text: &mut String, answer: &str) {
    let mut counts = String::new();
    for (name, count) in counters(answer).filter(|(_, count)| *count > 0) {
        let between = if counts.is_empty() { "" } else { BETWEEN };
        let _ = write!(counts, "{between}{}", Grouped(count));
        for word in name.split('_') {
            let _ = write!(counts, " {word}");
        }
    }
    if counts.is_empty() {
        counts.push_str("nothing has happened yet");
    }
    text.push('\n');
    write_wrapped(text, "since the start  ", &counts, END);
    let mut places = String::new();
    for row in rows(answer, "places") {
        if !places.is_empty() {
            places.push_str(BETWEEN);
        }
        write_taken(&mut places, row);
    }
    write_wrapped(text, "room taken       ", &places, END);
}

/// A word of a row, or what stands where there is none.
fn shown<'a>(row: &'a str, key: &str) -> &'a str {
    field(row, key)
        .filter(|word| !word.is_empty())
        .unwrap_or(NOTHING)
}

/// The first rows of a list by some number, and how many there are in all.
///
/// The list may have thousands: only the rows that are shown are sorted, by putting each into its
/// place and letting the last one go.
struct Latest<'a> {
    rows: Vec<&'a str>,
    count: u64,
}

impl<'a> Latest<'a> {
    fn of(answer: &'a str, list: &str, order: fn(&str) -> u64) -> Self {
        let mut latest = Self {
            rows: Vec::new(),
            count: 0,
        };
        for row in rows(answer, list) {
            latest.count += 1;
            let own = order(row);
            let place = latest.rows.partition_point(|other| order(other) <= own);
            if place < STATUS_ROWS {
                latest.rows.truncate(STATUS_ROWS - 1);
                latest.rows.insert(place, row);
            }
        }
        latest
    }

    fn write(&self, text: &mut String, one: &'static str, table: &str) {
        let _ = writeln!(text, "\n{}", Counted(self.count, one));
        if self.count > 0 {
            write_table(text, table);
        }
        let more = self.count - self.rows.len() as u64;
        if more > 0 {
            let more = Grouped(more);
            let _ = writeln!(text, "… and {more} more (shimmer status --json has all)");
        }
    }
}
