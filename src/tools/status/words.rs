//! Sentences and rows as data: texts with holes, which an answer's values fill as people read them.

use super::answer::{field, number};
use core::fmt::Write;

/// What stands where the daemon said nothing.
const NOTHING: &str = "-";

/// What the daemon's words mean to a person: the kind of a hole, a word, its meaning.
const MEANINGS: &str = "\
why token: no token
why hand: by hand
why state: restart
of nonces: tokens
full sessions: nobody else gets in
full traps: the oldest visitors make room
full bans: the oldest make room
full nonces: nobody gets in until one is forgotten
banned trap: it touched a trap
banned token: it had no good token
banned hand: somebody typed shimmer ban
banned state: it was so before the daemon's last start
fate admit: gets in
fate hold: is held, but not banned
fate ban: is held and banned
fate refuse: is turned away
fate ignore: is not answered
reason banned: it is banned
reason allow: allow covers it
reason from: the mirage's from does not cover it
reason session: it has a session, and a touch is forgiven
reason clock: the clock was set a moment ago";

/// What a word means, if there is more to say than the word.
fn meaning(kind: &str, word: &str) -> Option<&'static str> {
    for line in MEANINGS.split('\n') {
        if let Some(rest) = line.strip_prefix(kind)
            && let Some(rest) = rest.strip_prefix(" ")
            && let Some(rest) = rest.strip_prefix(word)
            && let Some(meaning) = rest.strip_prefix(": ")
        {
            return Some(meaning);
        }
    }
    None
}

/// Adds a template with its holes filled from a row. `{age}` is the row's age as it is, `{age:time}` as
/// a duration, `{bytes_in:bytes}` with a unit; any other kind is one of the meanings.
pub fn fill(text: &mut String, template: &str, row: &str) {
    for piece in template.split('{') {
        let Some((hole, behind)) = piece.split_once('}') else {
            text.push_str(piece);
            continue;
        };
        let (key, kind) = hole.split_once(':').unwrap_or((hole, ""));
        let word = shown(row, key);
        match kind {
            // Nothing here lasts longer than a century.
            "time" => push_time(text, number(row, key) as u32),
            "bytes" => push_bytes(text, number(row, key)),
            _ => text.push_str(meaning(kind, word).unwrap_or(word)),
        }
        text.push_str(behind);
    }
}

/// A word of a row, or what stands where there is none.
fn shown<'a>(row: &'a str, key: &str) -> &'a str {
    match field(row, key) {
        None | Some("") => NOTHING,
        Some(word) => word,
    }
}

/// Adds a number.
pub fn push_number(text: &mut String, number: u32) {
    // Writing to a String can't fail.
    let _ = write!(text, "{number}");
}

/// Adds seconds in their two longest units: 43m48s, 2h, 1d7h.
pub fn push_time(text: &mut String, seconds: u32) {
    let mut rest = seconds;
    let mut has_longer = false;
    for &(letter, unit) in &[('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        let count = rest / unit;
        rest %= unit;
        if count > 0 || unit == 1 && !has_longer {
            push_number(text, count);
            text.push(letter);
        }
        if has_longer {
            return;
        }
        has_longer = count > 0;
    }
}

/// Adds bytes in at most four characters: 877, 9.6K, 120M.
fn push_bytes(text: &mut String, bytes: u64) {
    let mut units = bytes;
    let mut below = 0;
    let mut letters = "KMGTPE".chars();
    let mut letter = None;
    // 999 and a half would be 1000.
    while units >= 999 {
        below = units as u32 % 1_024;
        units >>= 10;
        letter = letters.next();
    }
    let units = units as u32;
    let tenths = units * 10 + (below * 10 + 512) / 1_024;
    if letter.is_some() && tenths < 100 {
        push_number(text, tenths / 10);
        text.push('.');
        push_number(text, tenths % 10);
    } else {
        push_number(text, units + below / 512);
    }
    text.extend(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn pushed<T>(push: fn(&mut String, T), value: T) -> String {
        let mut text = String::new();
        push(&mut text, value);
        text
    }

    #[test]
    fn holes_are_filled_and_the_rest_stays() {
        let row = "{\"age\":61,\"in\":4161,\"taken\":4096,\"why\":\"hand\",\"who\":\"me\"}";
        for (template, text) in [
            ("", ""),
            ("so it is", "so it is"),
            ("{who}", "me"),
            ("{age} {age:time}, {in:bytes}", "61 1m1s, 4.1K"),
            ("\t{taken} of", "\t4096 of"),
            (
                "{why:why}: {why:banned}",
                "by hand: somebody typed shimmer ban",
            ),
            ("{who:why} {what} {what:why} {what:time}", "me - - 0s"),
        ] {
            let mut filled = String::new();
            fill(&mut filled, template, row);
            assert_eq!(filled, text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (900, "15m"),
            (2_628, "43m48s"),
            (3_599, "59m59s"),
            (3_601, "1h"),
            (7_260, "2h1m"),
            (86_400, "1d"),
            (90_061, "1d1h"),
            (31_536_000, "365d"),
            (u32::MAX, "49710d6h"),
        ] {
            assert_eq!(pushed(push_time, seconds), text);
        }
    }

    #[test]
    fn bytes_have_few_digits() {
        for (count, text) in [
            (0, "0"),
            (998, "998"),
            (999, "1.0K"),
            (4_161, "4.1K"),
            (9_877, "9.6K"),
            (10_188, "9.9K"),
            (10_189, "10K"),
            (10_240, "10K"),
            (1_022_975, "999K"),
            (1_022_976, "1.0M"),
            (125_829_120, "120M"),
            (5_497_558_138_880, "5.0T"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(pushed(push_bytes, count), text, "{count}");
        }
    }
}
