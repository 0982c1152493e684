//! The part of JSON that the answers use: objects, lists, strings, integers, true and false. Any other value is
//! skipped if nobody asks for its key.

use std::fmt::Write;

/// Appends a string in quotes.
pub fn push_string(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\0'..='\x1f' => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            _ => text.push(c),
        }
    }
    text.push('"');
}

/// What is left of a text. Each method takes one value from its start, and returns None if another kind stands there.
#[derive(Debug)]
pub struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Ends the reading; None if anything but blanks is left.
    pub fn end(&mut self) -> Option<()> {
        self.0.trim_ascii_start().is_empty().then_some(())
    }

    fn take(&mut self, word: &str) -> Option<()> {
        self.0 = self.0.trim_ascii_start().strip_prefix(word)?;
        Some(())
    }

    fn take_while(&mut self, is_part: fn(char) -> bool) -> &'a str {
        let text = self.0.trim_ascii_start();
        let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
        let (part, rest) = text.split_at(end);
        self.0 = rest;
        part
    }

    pub fn number(&mut self) -> Option<u64> {
        self.take_while(|c| c.is_ascii_digit()).parse().ok()
    }

    pub fn bool(&mut self) -> Option<bool> {
        match self.take_while(|c| c.is_ascii_alphabetic()) {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub fn string(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut text = String::new();
        loop {
            let mut rest = self.0.chars();
            let c = rest.next()?;
            self.0 = rest.as_str();
            match c {
                '"' => return Some(text),
                '\\' => text.push(self.escaped()?),
                _ => text.push(c),
            }
        }
    }

    /// The character of an escape sequence, after its backslash. Surrogate pairs are rejected: the daemon
    /// escapes no more than it must.
    fn escaped(&mut self) -> Option<char> {
        let mut rest = self.0.chars();
        let c = match rest.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (digits, behind) = rest.as_str().split_at_checked(4)?;
                rest = behind.chars();
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        };
        self.0 = rest.as_str();
        Some(c)
    }

    /// Calls `item` for each item of a list.
    pub fn list(&mut self, item: &mut dyn FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take("[")?;
        self.items("]", item)
    }

    /// Calls `member` for the value of each key.
    pub fn object(&mut self, member: &mut dyn FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        self.take("{")?;
        self.items("}", &mut |reader| {
            let key = reader.string()?;
            reader.take(":")?;
            member(reader, &key)
        })
    }

    fn items(&mut self, end: &str, item: &mut dyn FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.take(end).is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            if self.take(",").is_none() {
                return self.take(end);
            }
        }
    }

    /// Skips a value of any type.
    pub fn pass(&mut self) -> Option<()> {
        match self.0.trim_ascii_start().as_bytes().first()? {
            b'"' => self.string().map(drop),
            b'[' => self.list(&mut Self::pass),
            b'{' => self.object(&mut |reader, _| reader.pass()),
            _ => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
                let word = self.take_while(is_part);
                (!word.is_empty()).then_some(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_as_they_were_written() {
        for (text, written) in [
            ("", r#""""#),
            ("home", r#""home""#),
            ("a \"b\" \\ c/d", r#""a \"b\" \\ c/d""#),
            ("é\n\t\0\x1f\x7f…", "\"é\\u000a\\u0009\\u0000\\u001f\x7f…\""),
            ("\\u0041", r#""\\u0041""#),
        ] {
            let mut pushed = String::new();
            push_string(&mut pushed, text);
            assert_eq!(pushed, written);
            let mut reader = Reader::new(written);
            assert_eq!(reader.string().as_deref(), Some(text), "{written}");
            assert_eq!(reader.end(), Some(()), "{written}");
        }
        let by_others = r#""\b\f\n\r\t\/\u00E9\u2026""#;
        let text = "\x08\x0c\n\r\t/é…";
        assert_eq!(Reader::new(by_others).string().as_deref(), Some(text));
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for text in [
            "",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\u00é\"",
            "a\"",
            "1",
        ] {
            assert_eq!(Reader::new(text).string(), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_whole_and_have_64_bits() {
        for (text, number) in [
            ("0", Some(0)),
            (" 18446744073709551615,", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("", None),
            ("true", None),
        ] {
            assert_eq!(Reader::new(text).number(), number, "{text}");
        }
        assert_eq!(Reader::new("1.5").number(), Some(1));
    }

    #[test]
    fn a_value_of_any_kind_is_passed_over() {
        for text in [
            "null",
            "true",
            "-1.5e+3",
            "\"}]\"",
            "[]",
            "{ }",
            "[1, [2, {\"a\": [\"]\"]}], \"b\"]",
            "{\"a\":{\"b\":[null]},\"c\":{}}",
        ] {
            let mut reader = Reader::new(text);
            assert_eq!(reader.pass(), Some(()), "{text}");
            assert_eq!(reader.end(), Some(()), "{text}");
            if text.ends_with([']', '}']) {
                for end in 0..text.len() {
                    assert_eq!(Reader::new(&text[..end]).pass(), None, "{}", &text[..end]);
                }
            }
        }
        for text in ["", "]", "[1 2]", "[,]", "{1:2}", "{\"a\"}", "{\"a\":}"] {
            assert_eq!(Reader::new(text).pass(), None, "{text}");
        }
    }
}
