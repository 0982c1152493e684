//! What the daemon answers: JSON, and of one fixed shape, so that no parser has to ship.
//!
//! ```text
//!   "bans":[
//!   {"source":"203.0.113.9","seconds":812,"why":"trap"},
//!   {"source":"198.51.100.4","seconds":3,"why":"hand"}
//!   ],
//! ```
//!
//! Each row of a list has a line of its own. There is no blank beside a colon or a comma, and no
//! quote, backslash or brace inside a string. What is not there is passed over: a daemon of another
//! version may say less, or more.

use crate::config;

/// The value of a key, a string without its quotes, a list of numbers without its brackets. Where
/// the key is there more than once, the first.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    // Between quotes and outside of them, in turns.
    let mut pieces = text.split('"').skip(1);
    loop {
        let name = pieces.next()?;
        let value = pieces.next()?.strip_prefix(':');
        match value.filter(|_| name == key) {
            None => {}
            Some("") => return pieces.next(),
            Some(value) => {
                return match value.strip_prefix('[') {
                    Some(list) => list.split(']').next(),
                    None => value.split([',', '}', '\n']).next(),
                };
            }
        }
    }
}

/// A number; 0 if it is not there.
pub fn number(text: &str, key: &str) -> u64 {
    field(text, key)
        .and_then(config::parse_number)
        .unwrap_or_default()
}

/// The rows of a list.
pub fn rows<'a>(answer: &'a str, list: &str) -> impl Iterator<Item = &'a str> {
    let is_head = |line: &&str| {
        let name = line.strip_prefix('"');
        name.and_then(|line| line.strip_suffix("\":[")) == Some(list)
    };
    let mut lines = answer.lines();
    lines.find(is_head);
    lines.take_while(|line| line.starts_with('{'))
}

/// Whether an answer is there from its first brace to its last.
pub fn is_whole(answer: &str) -> bool {
    let count = |brace| answer.bytes().filter(|byte| *byte == brace).count();
    answer.starts_with('{') && count(b'{') == count(b'}')
}

/// The counters, each with its name.
pub fn counters(answer: &str) -> impl Iterator<Item = (&str, u64)> {
    let behind = answer
        .split_once("\"counters\":{")
        .map(|(_, behind)| behind);
    let line = behind.and_then(|behind| behind.split('}').next());
    line.unwrap_or_default().split(',').filter_map(|pair| {
        let (name, count) = pair.split_once(':')?;
        Some((name.trim_matches('"'), config::parse_number(count)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "{\"source\":\"2001:db8:1:2::/64\",\"name\":\"\",\"why\":\"seconds\",\
        \"seconds\":812,\"real\":[10242,10290],\"ports\":[],\"full\":true,\"attempts\":12}";

    #[test]
    fn a_field_is_found_by_its_key_alone() {
        for (key, value) in [
            ("source", "2001:db8:1:2::/64"),
            ("name", ""),
            ("why", "seconds"),
            ("seconds", "812"),
            ("real", "10242,10290"),
            ("ports", ""),
            ("full", "true"),
            ("attempts", "12"),
        ] {
            assert_eq!(field(ROW, key), Some(value), "{key}");
        }
        for key in ["", "2001", "db8", "ttempts", "mirage"] {
            assert_eq!(field(ROW, key), None, "{key}");
        }
        assert_eq!(field("{\"now\":5,\n\"clock\":\"right\"", "now"), Some("5"));
        assert_eq!(number(ROW, "attempts"), 12);
        assert_eq!(number(ROW, "why"), 0);
        assert_eq!(number(ROW, "mirage"), 0);
    }

    #[test]
    fn whatever_is_cut_short_is_read_without_harm() {
        for end in 0..ROW.len() {
            for key in ["source", "seconds", "real", "attempts"] {
                field(&ROW[..end], key);
            }
            assert!(!is_whole(&ROW[..end]), "{end}");
        }
        assert!(is_whole(ROW));
        assert!(is_whole("{\"error\":\"no\"}\n"));
        assert!(!is_whole("busy"));
    }

    #[test]
    fn a_list_ends_at_its_bracket() {
        let answer = "{\"now\":5,\n\"sessions\":[\n],\n\"bans\":[\n{\"a\":1},\n{\"a\":2}\n],\n\
            \"places\":[\n{\"a\":3}\n]}\n";
        let found = |list| rows(answer, list).map(|row| number(row, "a")).collect();
        let none: Vec<u64> = Vec::new();
        assert_eq!(
            Vec::from_iter(rows(answer, "bans")),
            ["{\"a\":1},", "{\"a\":2}"]
        );
        for (list, numbers) in [
            ("sessions", none.clone()),
            ("bans", vec![1, 2]),
            ("nothing", none),
        ] {
            let found: Vec<u64> = found(list);
            assert_eq!(found, numbers, "{list}");
        }
    }

    #[test]
    fn counters_have_their_names() {
        let answer =
            "{\"now\":5,\n\"counters\":{\"accepted\":12,\"turned_away\":0},\n\"places\":[\n]}";
        let found = Vec::from_iter(counters(answer));
        assert_eq!(found, [("accepted", 12), ("turned_away", 0)]);
        assert_eq!(counters("{}").count(), 0);
    }
}
