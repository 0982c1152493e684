//! INI: text to sections, keys and values, each with its line. What they mean is for others.
//!
//! ```text
//!   # a comment has a line of its own,
//!   [section]
//!   key = value   ; or follows a value and a blank
//! ```
//!
//! Blanks at the start of a line and around `=` mean nothing. Lines end in LF or CRLF, and a byte
//! order mark at the start is passed over. What can't be read becomes a [`Problem`] and the reading
//! goes on, so that all of a file's problems come to light at once. No problem quotes its line: it
//! may hold a secret.

use core::fmt;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const NOT_UTF8: &str = "has bytes that are not UTF-8; save the file as UTF-8";

/// One `key = value`.
#[derive(Clone, PartialEq)]
pub struct KeyValue<'a> {
    /// The line that it stands on; the first is 1.
    pub line: usize,
    /// What stands before the `=`, never empty.
    pub key: &'a str,
    /// What stands behind it; None if that is not UTF-8.
    whole: Option<&'a str>,
}

impl<'a> KeyValue<'a> {
    /// The value without a comment behind it. None if it can't be read; a problem says so.
    #[must_use]
    pub fn value(&self) -> Option<&'a str> {
        self.whole.map(without_comment)
    }

    /// Everything up to the end of the line, without the blanks at both ends: for values in which
    /// `#` and `;` are letters like others. None if it can't be read; a problem says so.
    #[must_use]
    pub fn whole_value(&self) -> Option<&'a str> {
        self.whole
    }
}

/// A `[section]` and what follows it.
#[derive(Clone, Default, PartialEq)]
pub struct Section<'a> {
    /// The line of its name.
    pub line: usize,
    /// What stands between the brackets. None if that can't be read; a problem says so.
    pub name: Option<&'a str>,
    /// Its entries in their order.
    pub entries: Vec<KeyValue<'a>>,
}

impl<'a> Section<'a> {
    /// The first entry of this key.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&KeyValue<'a>> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The line of a key, or of the section where it is not given.
    #[must_use]
    pub fn line_of(&self, key: &str) -> usize {
        self.find(key).map_or(self.line, |entry| entry.line)
    }
}

/// What is wrong with a line.
pub struct Problem<'a> {
    /// The line; the first is 1.
    pub line: usize,
    /// The key, if the line has one.
    pub key: Option<&'a str>,
    /// What is wrong.
    pub what: String,
}

/// A whole file.
#[derive(Default)]
pub struct Document<'a> {
    /// Its sections in their order; one that is there twice has the entries of both.
    pub sections: Vec<Section<'a>>,
    /// What is wrong with it, by line.
    pub problems: Vec<Problem<'a>>,
    /// The section that the next entry belongs to.
    current: usize,
}

/// Reads a file.
#[must_use]
pub fn parse(text: &[u8]) -> Document<'_> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut document = Document::default();
    for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        document.read_line(number, line.strip_suffix(b"\r").unwrap_or(line));
    }
    document
}

impl<'a> Document<'a> {
    fn read_line(&mut self, number: usize, line: &'a [u8]) {
        let Some(chunk) = line.utf8_chunks().next() else {
            return;
        };
        let is_utf8 = chunk.invalid().is_empty();
        let text = without_blanks(chunk.valid());
        if text.starts_with('[') {
            self.read_section(number, is_utf8.then_some(text));
        } else if text.is_empty() || text.starts_with('#') || text.starts_with(';') {
            if !is_utf8 {
                self.complain(number, None, format_args!("{NOT_UTF8}"));
            }
        } else {
            self.read_entry(number, text, is_utf8);
        }
    }

    fn read_section(&mut self, line: usize, text: Option<&'a str>) {
        let name = text.and_then(|text| without_comment(text).strip_prefix("[")?.strip_suffix("]"));
        if text.is_none() {
            self.complain(line, None, format_args!("{NOT_UTF8}"));
        } else if name.is_none() {
            let what = format_args!("a section's line has to end with its ]");
            self.complain(line, None, what);
        }
        let known = |section: &Section| name.is_some() && section.name == name;
        if let Some(index) = self.sections.iter().position(known) {
            let first = self.sections[index].line;
            let what =
                format_args!("this section is at line {first} already; its keys belong there");
            self.complain(line, None, what);
            self.current = index;
        } else {
            self.current = self.sections.len();
            self.sections.push(Section {
                line,
                name,
                entries: Vec::new(),
            });
        }
    }

    fn read_entry(&mut self, line: usize, text: &'a str, is_utf8: bool) {
        let (key, value) = text.split_once('=').unwrap_or_default();
        let key = without_blanks(key);
        let known_key = (!key.is_empty()).then_some(key);
        if !is_utf8 {
            self.complain(line, known_key, format_args!("{NOT_UTF8}"));
        } else if known_key.is_none() {
            let what = format_args!("neither a [section] nor a key = value");
            self.complain(line, None, what);
        }
        let Some(key) = known_key else {
            return;
        };
        match self.sections.get_mut(self.current) {
            Some(section) => section.entries.push(KeyValue {
                line,
                key,
                whole: is_utf8.then(|| without_blanks(value)),
            }),
            None => {
                let what = format_args!("stands before the first [section]");
                self.complain(line, Some(key), what);
            }
        }
    }

    fn complain(&mut self, line: usize, key: Option<&'a str>, what: fmt::Arguments) {
        let what = what.to_string();
        self.problems.push(Problem { line, key, what });
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn without_blanks(text: &str) -> &str {
    let is_letter = |byte| !is_blank(byte);
    let start = text.bytes().position(is_letter).unwrap_or_default();
    let end = text
        .bytes()
        .rposition(is_letter)
        .map_or(start, |last| last + 1);
    &text[start..end]
}

/// The text before a `#` or `;` that begins it or follows a blank.
fn without_comment(text: &str) -> &str {
    let mut after_blank = true;
    for (at, byte) in text.bytes().enumerate() {
        if after_blank && matches!(byte, b'#' | b';') {
            return without_blanks(&text[..at]);
        }
        after_blank = is_blank(byte);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything that was read, in one line: `[section]@line key@line=value …`.
    fn read(text: &[u8]) -> String {
        let document = parse(text);
        let mut words = Vec::new();
        for section in &document.sections {
            words.push(format!(
                "[{}]@{}",
                section.name.unwrap_or("?"),
                section.line
            ));
            for entry in &section.entries {
                let value = entry.value().unwrap_or("?");
                words.push(format!("{}@{}={value}", entry.key, entry.line));
            }
        }
        words.join(" ")
    }

    /// The problems, one after the other: `line key: what`.
    fn problems(text: &[u8]) -> Vec<String> {
        let problem = |problem: &Problem| {
            let key = problem.key.unwrap_or("-");
            format!("{} {key}: {}", problem.line, problem.what)
        };
        parse(text).problems.iter().map(problem).collect()
    }

    #[test]
    fn sections_keys_and_values_have_their_lines() {
        let text = b"\n[a]\nx = 1\n\n  y=2 \n[b]\n\tz\t=\tthree words\t\n";
        assert_eq!(read(text), "[a]@2 x@3=1 y@5=2 [b]@6 z@7=three words");
        assert!(problems(text).is_empty());
    }

    #[test]
    fn line_ends_of_windows_and_a_byte_order_mark_are_nothing() {
        assert_eq!(read(b"\xEF\xBB\xBF[a]\r\nx = 1\r\n"), "[a]@1 x@2=1");
        assert!(problems(b"\xEF\xBB\xBF[a]\r\n\r\nx = 1\r\n").is_empty());
    }

    #[test]
    fn a_comment_begins_a_line_or_follows_a_blank() {
        let text = b"# one\n  ; two\n[a] # three\nx = 1 ; four\ny = a#b;c\t# five\nz = # six";
        assert_eq!(read(text), "[a]@3 x@4=1 y@5=a#b;c z@6=");
        assert!(problems(text).is_empty());
    }

    #[test]
    fn a_whole_value_keeps_what_looks_like_a_comment() {
        let document = parse(b"[a]\nx =  # 1 = ; 2 \t\r\n");
        let entry = document.sections[0].find("x").unwrap();
        assert_eq!(entry.whole_value(), Some("# 1 = ; 2"));
        assert_eq!(entry.value(), Some(""));
    }

    #[test]
    fn the_first_equals_sign_ends_the_key() {
        assert_eq!(read(b"[a]\nx = y = z"), "[a]@1 x@2=y = z");
    }

    #[test]
    fn a_section_that_comes_again_goes_on() {
        let text = b"[a]\nx = 1\n[b]\n[a]\ny = 2\n";
        assert_eq!(read(text), "[a]@1 x@2=1 y@5=2 [b]@3");
        assert_eq!(
            problems(text),
            ["4 -: this section is at line 1 already; its keys belong there"]
        );
    }

    #[test]
    fn every_problem_is_told_and_the_rest_is_read() {
        let text = b"x = 1\n[a\ny = 2\nhunter2\n= 3\n[b] c\nz = 4";
        assert_eq!(read(text), "[?]@2 y@3=2 [?]@6 z@7=4");
        assert_eq!(
            problems(text),
            [
                "1 x: stands before the first [section]",
                "2 -: a section's line has to end with its ]",
                "4 -: neither a [section] nor a key = value",
                "5 -: neither a [section] nor a key = value",
                "6 -: a section's line has to end with its ]",
            ]
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_spoil_their_line_only() {
        let text = b"# \xFC\n[\xFC]\nx = \xFC\ny\xFC = 1\nz = 2";
        assert_eq!(read(text), "[?]@2 x@3=? z@5=2");
        let problems = problems(text);
        let places: Vec<&str> = problems
            .iter()
            .filter_map(|problem| problem.strip_suffix(NOT_UTF8))
            .collect();
        assert_eq!(places, ["1 -: ", "2 -: ", "3 x: ", "4 -: "]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(text: Vec<u8>) {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_written_is_read(key in "[a-z-]{1,9}", value in "[!-~&&[^#;]]{1,9}", blanks in "[ \t]{0,3}") {
            let text = format!("[s]\r\n{blanks}{key}{blanks}={blanks}{value}{blanks} # x\r\n");
            prop_assert_eq!(read(text.as_bytes()), format!("[s]@1 {key}@2={value}"));
        }
    }
}
