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

/// What follows a key. Where the key is there more than once, the first; a string is followed by no
/// colon, so none is taken for a key.
pub fn behind<'a>(mut text: &'a str, key: &str) -> Option<&'a str> {
    loop {
        (_, text) = text.split_once('"')?;
        let value = text.strip_prefix(key);
        if let Some(value) = value.and_then(|rest| rest.strip_prefix("\":")) {
            return Some(value);
        }
    }
}

/// The value of a key, a string without its quotes, a list of numbers without its brackets.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = behind(text, key)?;
    let (start, ends): (usize, &[u8]) = match value.as_bytes().first()? {
        b'"' => (1, b"\""),
        b'[' => (1, b"]"),
        _ => (0, b",}\n"),
    };
    let value = &value[start..];
    let end = value.bytes().position(|byte| ends.contains(&byte));
    Some(&value[..end?])
}

/// A number; 0 if it is not there.
pub fn number(text: &str, key: &str) -> u64 {
    field(text, key)
        .and_then(config::parse_number)
        .unwrap_or_default()
}

/// The rows of a list.
pub fn rows<'a>(answer: &'a str, list: &str) -> Rows<'a> {
    let rest = behind(answer, list).and_then(|rest| rest.strip_prefix("[\n"));
    Rows(rest.unwrap_or_default())
}

/// The rows that are left, and what is behind them.
pub struct Rows<'a>(&'a str);

impl<'a> Iterator for Rows<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (row, rest) = self.0.split_once('\n')?;
        self.0 = rest;
        row.starts_with('{').then_some(row)
    }
}

/// Whether an answer is there from its first brace to its last.
pub fn is_whole(answer: &str) -> bool {
    let mut open = 0;
    for byte in answer.bytes() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
    }
    open == 0 && answer.starts_with('{')
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
            ("now", none.clone()),
            ("nothing", none),
        ] {
            let found: Vec<u64> = found(list);
            assert_eq!(found, numbers, "{list}");
        }
    }
}
