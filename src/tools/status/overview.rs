//! All of a daemon on one screen: problems first, then the mirages, and the latest sessions and bans.

use super::table::{table, wrap};
use super::units::{Bytes, Time};
use crate::limits::STATUS_ROWS;
use crate::status::{BanRow, DoorRow, MirageRow, PlacesRow, SessionRow, Status};

/// Stands for whatever a mirage does not have.
const NOTHING: &str = "-";

/// The answer to `status` or `status ports`, for people.
pub fn show(status: &Status) -> String {
    let now = status.now.unwrap_or_default();
    // A clock that was set back may be before the start.
    let up = now.saturating_sub(status.since.unwrap_or_default());
    let version = or_nothing(status.version.as_ref());
    let mut text = format!("shimmer {version}, up {}", Time(up));
    // The log says why.
    if status.sandbox.as_deref() == Some("off") {
        text += ", no sandbox";
    }
    text.push('\n');
    let is_waiting = status.clock.as_deref() == Some("waiting");
    if is_waiting {
        text += "CLOCK: not trusted yet; no port opens until it is\n";
    }
    for row in all(&status.places).iter().filter(|row| row.full) {
        text += &format!("FULL: {}: {}\n", in_use(row), when_full(&row.of));
    }
    text += &missing_rules(all(&status.mirages));
    text.push('\n');
    // While the clock is not trusted, nobody knows when the ports change.
    text += &mirages(all(&status.mirages), (!is_waiting).then_some(now));
    for row in all(&status.mirages) {
        text += &ports(row);
    }
    let sessions = all(&status.sessions);
    let heading = "SOURCE\tMIRAGE\t>AGE\t>IN\t>OUT";
    let ages = sessions.iter().map(|row| row.age).collect();
    text += &list("sessions", heading, ages, &|at| session(&sessions[at]));
    // The latest ban is the one that ends last.
    let doors = all(&status.doors);
    if !doors.is_empty() {
        let heading = "SOURCE\tMIRAGE\t>FOR";
        let ends = doors.iter().map(|row| !row.seconds).collect();
        text += &list("doors", heading, ends, &|at| door(&doors[at]));
    }
    let bans = all(&status.bans);
    let heading = "SOURCE\tWHY\t>ATTEMPTS\t>ENDS IN";
    let ends = bans.iter().map(|row| !row.seconds).collect();
    text += &list("bans", heading, ends, &|at| ban(&bans[at]));
    text.push('\n');
    text += &figures(status);
    text
}

/// The rows of a list; none if the daemon does not know the list.
fn all<T>(rows: &Option<Vec<T>>) -> &[T] {
    rows.as_deref().unwrap_or_default()
}

/// What the firewall lacks for the doors, and what to do.
fn missing_rules(rows: &[MirageRow]) -> String {
    let mut text = String::new();
    for row in rows {
        if let Some(rules) = row.rules.as_ref().filter(|rules| *rules != "loaded") {
            text += &format!("RULES: {}: {rules}\n", row.mirage);
        }
    }
    if !text.is_empty() {
        text += "RULES: to load them: shimmer firewall | nft -f -\n";
    }
    text
}

fn mirages(rows: &[MirageRow], now: Option<u64>) -> String {
    let heading = "MIRAGE\tGATE\tRANGE\tLISTEN\t>OPEN\t>TURNS IN\tLEADS TO";
    let mut lines = vec![heading.to_owned()];
    for row in rows {
        let period = u64::from(row.period.unwrap_or_default());
        let gone = now.and_then(|now| now.checked_rem(period));
        lines.push(format!(
            "{}\t{}\t{}\t{}\t>{}\t>{}\t{}",
            or_nothing(Some(&row.mirage)),
            or_nothing(row.gate.as_ref()),
            or_nothing(row.range.as_ref()),
            or_nothing(row.listen.as_ref()),
            row.open.map_or(NOTHING.into(), |open| open.to_string()),
            gone.map_or(NOTHING.into(), |gone| Time(period - gone).to_string()),
            or_nothing(row.forward.as_ref().or(Some(&row.door))),
        ));
    }
    table(&lines)
}

fn or_nothing(text: Option<&String>) -> &str {
    match text {
        Some(text) if !text.is_empty() => text,
        _ => NOTHING,
    }
}

/// The ports of a mirage, if they were asked for.
fn ports(row: &MirageRow) -> String {
    let Some(real) = &row.real else {
        return String::new();
    };
    let line = |label: &str, ports: &[u16]| {
        let mut words: Vec<String> = ports.iter().map(u16::to_string).collect();
        if words.is_empty() {
            words.push(NOTHING.to_owned());
        }
        wrap(label, words.iter().map(String::as_str))
    };
    let mut text = format!("\nports of {}\n", row.mirage);
    text += &line("real (before, now, next)  ", real);
    text += &line("open  ", row.ports.as_deref().unwrap_or_default());
    text
}

/// How many rows a list has, and the first of them in their order, for which each has a number.
fn list(name: &str, heading: &str, order: Vec<u64>, show: &dyn Fn(usize) -> String) -> String {
    let mut text = format!("\n{name}: {}\n", order.len());
    if order.is_empty() {
        return text;
    }
    let mut rows = Vec::from_iter(0..order.len());
    rows.sort_unstable_by_key(|&row| (order[row], row));
    let mut lines = vec![heading.to_owned()];
    lines.extend(rows.into_iter().take(STATUS_ROWS).map(show));
    text += &table(&lines);
    if order.len() > STATUS_ROWS {
        let more = order.len() - STATUS_ROWS;
        text += &format!("… and {more} more (shimmer status --json shows all)\n");
    }
    text
}

fn session(row: &SessionRow) -> String {
    let (source, mirage, age) = (&row.source, &row.mirage, Time(row.age));
    let (bytes_in, bytes_out) = (Bytes(row.bytes_in), Bytes(row.bytes_out));
    format!("{source}\t{mirage}\t>{age}\t>{bytes_in}\t>{bytes_out}")
}

fn door(row: &DoorRow) -> String {
    format!("{}\t{}\t>{}", row.source, row.mirage, Time(row.seconds))
}

fn ban(row: &BanRow) -> String {
    let why = match &*row.why {
        "token" => "no token",
        "hand" => "by hand",
        "state" => "restart",
        other => other,
    };
    let (attempts, left) = (row.attempts, Time(row.seconds));
    format!("{}\t{why}\t>{attempts}\t>{left}", row.source)
}

/// What has happened since the start, and how full each table is.
fn figures(status: &Status) -> String {
    let counters = status.counters.iter().flat_map(|counters| &counters.0);
    let mut events: Vec<String> = counters
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
        .collect();
    if events.is_empty() {
        events.push("nothing has happened yet".to_owned());
    }
    let tables: Vec<String> = all(&status.places).iter().map(in_use).collect();
    line("since the start  ", events) + &line("in use           ", tables)
}

/// A label and what follows it, separated by commas and wrapped between two of them only.
fn line(label: &str, mut items: Vec<String>) -> String {
    if let Some((_, all_but_last)) = items.split_last_mut() {
        for item in all_but_last {
            item.push(',');
        }
    }
    wrap(label, items.iter().map(String::as_str))
}

/// How full a table is: 3 of 4096 tokens of home.
fn in_use(row: &PlacesRow) -> String {
    let of = match &*row.of {
        "nonces" => "tokens",
        other => other,
    };
    let mut text = format!("{} of {} {of}", row.taken, row.places);
    if let Some(mirage) = &row.mirage {
        text += &format!(" of {mirage}");
    }
    text
}

/// What it means that a table is full.
fn when_full(of: &str) -> &str {
    match of {
        "sessions" => "nobody else gets in",
        "traps" => "new visitors replace the oldest",
        "bans" => "new bans replace the oldest",
        "nonces" => "nobody gets in until one expires",
        other => other,
    }
}
