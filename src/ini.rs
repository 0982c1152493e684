//! INI: text to sections, keys and values, each with its line. What they mean is not known here.
//!
//! ```text
//!   # a comment has a line of its own,
//!   [section]
//!   key = value   ; or follows a value and a blank
//! ```
//!
//! Blanks at the start of a line and around `=` are ignored. Lines end in LF or CRLF, and a byte order
//! mark at the start is skipped. A line that can't be read becomes a [`Problem`] and the reading goes
//! on, so all problems of a file are found at once. A problem never quotes its line, which may hold a
//! secret.

use core::error::Error;
use core::fmt;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One `key = value`. It has no Debug, because the value may be a secret.
#[derive(Clone, PartialEq)]
pub struct KeyValue<'a> {
    /// Its line; the first is 1.
    pub line: usize,
    /// The text before the `=`, never empty.
    pub key: &'a str,
    /// The text behind it; None if that is not UTF-8.
    whole: Option<&'a str>,
}

impl<'a> KeyValue<'a> {
    /// The value without a comment behind it. None if it is not UTF-8, which is a [`Problem`].
    #[must_use]
    pub fn value(&self) -> Option<&'a str> {
        self.whole.map(without_comment)
    }

    /// Everything up to the end of the line, without the blanks at both ends: for values in which
    /// `#` and `;` are ordinary letters. None if it is not UTF-8, which is a [`Problem`].
    #[must_use]
    pub fn whole_value(&self) -> Option<&'a str> {
        self.whole
    }
}

/// A `[section]` and the keys below it.
#[derive(Clone, Default, PartialEq)]
pub struct Section<'a> {
    /// The line of its name; the first is 1.
    pub line: usize,
    /// The text between the brackets. None if it can't be read, which is a [`Problem`].
    pub name: Option<&'a str>,
    /// Its keys in their order.
    pub entries: Vec<KeyValue<'a>>,
}

impl<'a> Section<'a> {
    /// The first value of this key.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&KeyValue<'a>> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The line of a key, or of the section if it does not have the key.
    #[must_use]
    pub fn line_of(&self, key: &str) -> usize {
        self.find(key).map_or(self.line, |entry| entry.line)
    }
}

/// A line that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem<'a> {
    /// The line; the first is 1.
    pub line: usize,
    /// The key, if the line has one.
    pub key: Option<&'a str>,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// It has bytes that are not UTF-8.
    NotUtf8,
    /// It begins with `[` and does not end with `]`.
    OpenSection,
    /// It names a section that is there already.
    RepeatedSection {
        /// The line of the first; the keys below this one count as its keys.
        first: usize,
    },
    /// It is not empty, and has no `=` or nothing before it.
    NoKey,
    /// It is a key, and no section has begun.
    NoSection,
}

impl Error for ProblemKind {}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("has bytes that are not UTF-8; save the file as UTF-8"),
            Self::OpenSection => f.write_str("a section must end with ], as in [common]"),
            Self::RepeatedSection { first } => {
                write!(f, "repeats the section at line {first}; put its keys there")
            }
            Self::NoKey => f.write_str("is neither a [section] nor key = value"),
            Self::NoSection => f.write_str("comes before the first [section]"),
        }
    }
}

/// A whole file.
#[derive(Default)]
pub struct Document<'a> {
    /// Its sections in their order. One that is there twice has the keys of both.
    pub sections: Vec<Section<'a>>,
    /// The lines that can't be read, in their order.
    pub problems: Vec<Problem<'a>>,
    /// The section that the next key belongs to.
    current: usize,
}

/// Reads the text of a file. It never fails: see [`Document::problems`].
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
                self.add_problem(number, None, ProblemKind::NotUtf8);
            }
        } else {
            self.read_key(number, text, is_utf8);
        }
    }

    fn read_section(&mut self, line: usize, text: Option<&'a str>) {
        let name = text.and_then(|text| without_comment(text).strip_prefix("[")?.strip_suffix("]"));
        if text.is_none() {
            self.add_problem(line, None, ProblemKind::NotUtf8);
        } else if name.is_none() {
            self.add_problem(line, None, ProblemKind::OpenSection);
        }
        let is_repeated = |section: &Section| name.is_some() && section.name == name;
        if let Some(index) = self.sections.iter().position(is_repeated) {
            let first = self.sections[index].line;
            self.add_problem(line, None, ProblemKind::RepeatedSection { first });
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

    fn read_key(&mut self, line: usize, text: &'a str, is_utf8: bool) {
        let (key, value) = text.split_once('=').unwrap_or_default();
        let key = Some(without_blanks(key)).filter(|key| !key.is_empty());
        if !is_utf8 {
            self.add_problem(line, key, ProblemKind::NotUtf8);
        } else if key.is_none() {
            self.add_problem(line, None, ProblemKind::NoKey);
        }
        let Some(key) = key else {
            return;
        };
        match self.sections.get_mut(self.current) {
            Some(section) => section.entries.push(KeyValue {
                line,
                key,
                whole: is_utf8.then(|| without_blanks(value)),
            }),
            None => self.add_problem(line, Some(key), ProblemKind::NoSection),
        }
    }

    fn add_problem(&mut self, line: usize, key: Option<&'a str>, kind: ProblemKind) {
        self.problems.push(Problem { line, key, kind });
    }
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t')
}

fn without_blanks(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// The text before a `#` or `;` that begins it or follows a blank.
fn without_comment(text: &str) -> &str {
    let mut after_blank = true;
    for (at, letter) in text.char_indices() {
        if after_blank && matches!(letter, '#' | ';') {
            return without_blanks(&text[..at]);
        }
        after_blank = is_blank(letter);
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
            format!("{} {key}: {}", problem.line, problem.kind)
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
            ["4 -: repeats the section at line 1; put its keys there"]
        );
    }

    #[test]
    fn every_problem_is_told_and_the_rest_is_read() {
        let text = b"x = 1\n[a\ny = 2\nhunter2\n= 3\n[b] c\nz = 4";
        assert_eq!(read(text), "[?]@2 y@3=2 [?]@6 z@7=4");
        assert_eq!(
            problems(text),
            [
                "1 x: comes before the first [section]",
                "2 -: a section must end with ], as in [common]",
                "4 -: is neither a [section] nor key = value",
                "5 -: is neither a [section] nor key = value",
                "6 -: a section must end with ], as in [common]",
            ]
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_spoil_their_line_only() {
        let text = b"# \xFC\n[\xFC]\nx = \xFC\ny\xFC = 1\nz = 2";
        assert_eq!(read(text), "[?]@2 x@3=? z@5=2");
        let problems = parse(text).problems;
        let is_not_utf8 = |problem: &Problem| problem.kind == ProblemKind::NotUtf8;
        assert!(problems.iter().all(is_not_utf8));
        let lines: Vec<_> = problems.iter().map(|it| (it.line, it.key)).collect();
        assert_eq!(lines, [(1, None), (2, None), (3, Some("x")), (4, None)]);
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
