//! What would happen to an address, in sentences: at each mirage, why, and what to do about it.

use super::table::wrap;
use super::units::Time;
use crate::status::{BanRow, ClientRow, Forecast, ForecastRow};

/// The answer to `status ADDRESS`, for people.
pub fn show(forecast: &Forecast) -> String {
    let source = &forecast.source;
    if let Some(clients) = forecast.clients.as_deref().filter(|rows| !rows.is_empty()) {
        return behind(source, clients);
    }
    let ban = forecast.bans.first();
    let state = match ban {
        Some(ban) => banned(ban),
        None => format!("{source} is not banned"),
    };
    let sessions = sessions(forecast.sessions);
    let mut text = wrap("", format!("{state}. It has {sessions}.").split(' '));
    text.push('\n');
    for row in &forecast.mirages {
        text += &wrap(&format!("{}: ", row.mirage), fates(row).split(' '));
    }
    if ban.is_some() {
        text += &format!("\nTo let it try again at once: shimmer unban {source}\n");
    } else if forecast.mirages.iter().any(|row| row.right == "admit") {
        text += "\nIf it can't get in anywhere, compare clock, secret, name, range, period and\n\
                 gate on both sides.\n";
    }
    text
}

/// Whom services see at an address of 127/8, and how to ask about them.
fn behind(address: &str, clients: &[ClientRow]) -> String {
    let mut text = String::new();
    for row in clients {
        let (source, mirage, sessions) = (&row.source, &row.mirage, sessions(row.sessions));
        let line = format!("{address} is {source} at {mirage}, with {sessions} now.");
        text += &wrap("", line.split(' '));
    }
    text.push('\n');
    for row in clients {
        text += &format!("To see more: shimmer status {}\n", row.source);
    }
    text
}

fn sessions(count: u64) -> String {
    match count {
        0 => "no sessions".to_owned(),
        1 => "1 session".to_owned(),
        more => format!("{more} sessions"),
    }
}

/// For how long it is banned, why, and how often it came: the one that began the ban is counted, too.
fn banned(ban: &BanRow) -> String {
    let why = match &*ban.why {
        "trap" => "it touched a trap",
        "token" => "it had no valid token",
        "hand" => "banned by hand (shimmer ban)",
        "state" => "banned before the daemon was restarted",
        other => other,
    };
    let left = Time(ban.seconds);
    let mut text = format!("{} is banned for {left} more: {why}", ban.source);
    if ban.attempts > 1 {
        text += &format!(", {} attempts in all", ban.attempts);
    }
    text
}

/// What happens to whoever has the mirage's secret, what happens to a guess, and why.
fn fates(row: &ForecastRow) -> String {
    let is_same = row.right == row.wrong;
    let (right, wrong) = (fate(&row.right), fate(&row.wrong));
    let mut text = match &*row.gate {
        _ if is_same && row.right == "ignore" => "no connection is answered".to_owned(),
        _ if is_same => format!("whatever it does, it {right}"),
        "token" => format!("with a valid token it {right}, without one it {wrong}"),
        "knock" => format!("with the right knocks it {right}, with others it {wrong}"),
        "packet" => format!("with a valid datagram it {right}, with another it {wrong}"),
        _ => format!("at the real port it {right}, at any other it {wrong}"),
    };
    let why = match &*row.why {
        "" | "stranger" => "",
        "banned" => ": it is banned",
        "allow" => ": `allow` covers it",
        "from" => ": the mirage's `from` does not cover it",
        "session" => ": it has a session, so a touch is forgiven",
        "clock" => ": the clock was set a moment ago",
        other => other,
    };
    text += why;
    if row.why == "banned" && !is_same {
        text += ", but a valid token lifts the ban";
    }
    text.push('.');
    text
}

fn fate(word: &str) -> &str {
    match word {
        "admit" => "gets in",
        "hold" => "is held, but not banned",
        "ban" => "is held and banned",
        "refuse" => "is turned away",
        "ignore" => "is not answered",
        other => other,
    }
}
