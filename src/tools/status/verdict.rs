//! What would happen to an address, in sentences: at each mirage, why, and what to do about it.

use super::answer::{field, rows};
use super::table::wrap;
use super::words::fill;

/// Adds the answer to `status ADDRESS`, for a person.
pub fn push(text: &mut String, answer: &str) {
    let ban = rows(answer, "bans").next();
    text.push('\t');
    match ban {
        Some(row) => push_ban(text, row),
        None => fill(text, "{source} is not banned", answer),
    }
    fill(text, ". Its sessions: {sessions}.", answer);
    wrap(text, 0, ' ');
    text.push('\n');
    let mut is_admitted = false;
    for row in rows(answer, "mirages") {
        let line = text.len();
        fill(text, "{mirage}: \t", row);
        push_fates(text, row);
        wrap(text, line, ' ');
        is_admitted |= field(row, "right") == Some("admit");
    }
    if ban.is_some() {
        let todo = "\nTo let it try again at once: shimmer unban {source}\n";
        fill(text, todo, answer);
    } else if is_admitted {
        text.push_str(
            "\nIf it gets in nowhere: clock, secret, name, range, period and gate have to be\n\
             the same on both sides.\n",
        );
    }
}

/// For how long it is banned, why, and how often it came: the one that began the ban is counted, too.
fn push_ban(text: &mut String, ban: &str) {
    fill(
        text,
        "{source} is banned for {seconds:time} more: {why:banned}",
        ban,
    );
    if !matches!(field(ban, "attempts"), None | Some("0" | "1")) {
        fill(text, ", {attempts} attempts in all", ban);
    }
}

/// What whoever has the mirage's secret gets, what a guess gets, and why.
fn push_fates(text: &mut String, row: &str) {
    let is_same = field(row, "right") == field(row, "wrong");
    let gate = field(row, "gate");
    let fates = if is_same {
        "whatever it tries, it {right:fate}"
    } else if gate == Some("token") {
        "with a good token it {right:fate}, without one it {wrong:fate}"
    } else if gate == Some("knock") {
        "by the right knocks it {right:fate}, by others it {wrong:fate}"
    } else if gate == Some("packet") {
        "by a good datagram it {right:fate}, by another it {wrong:fate}"
    } else {
        "at the real port it {right:fate}, at any other it {wrong:fate}"
    };
    fill(text, fates, row);
    let why = field(row, "why");
    if !matches!(why, None | Some("stranger")) {
        fill(text, ": {why:reason}", row);
    }
    if why == Some("banned") && !is_same {
        text.push_str(", but a token counts more");
    }
    text.push('.');
}
