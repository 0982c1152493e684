//! What is wrong with a configuration, and where.

use super::file::FileError;
use core::fmt;
use std::path::Path;

/// The longest word that is shown as a key; the longest key there is has 23 letters.
const KEY_LENGTH: usize = 24;

/// One error or warning. It displays as `FILE:LINE: KEY: what is wrong, and what would be right`.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    line: usize,
    text: String,
}

impl Diagnostic {
    pub(super) fn new(path: &Path, line: usize, key: Option<&str>, what: fmt::Arguments) -> Self {
        let path = path.display();
        let text = match key.filter(|key| is_like_a_key(key)) {
            Some(key) => format!("{path}:{line}: {key}: {what}"),
            None => format!("{path}:{line}: {what}"),
        };
        Self { line, text }
    }

    /// Joins others that are in the order of their lines, and keeps that order. Nearly all come in
    /// it; sorting them at the end would cost kilobytes of code.
    pub(super) fn join(self, others: &mut Vec<Self>) {
        let place = others.partition_point(|other| other.line <= self.line);
        others.insert(place, self);
    }

    /// The line that it is about, the first being 1; 0 for the file as a whole.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }
}

/// Whether it is safe to show a word as the key that somebody meant. A secret that slipped into the
/// next line may end in `=` too: it is longer, or has digits.
fn is_like_a_key(word: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_');
    word.len() <= KEY_LENGTH && word.bytes().all(fits)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// All that is wrong with a file, by line, and never nothing. It displays as a line for each, without
/// a line end behind the last.
#[derive(Debug)]
pub struct Errors(Vec<Diagnostic>);

impl Errors {
    /// The only error of a file that can't be read.
    pub(super) fn of_file(error: &FileError) -> Self {
        let text = error.to_string();
        Self(vec![Diagnostic { line: 0, text }])
    }

    /// What was found, by line, if it was anything.
    pub(super) fn new(found: Vec<Diagnostic>) -> Option<Self> {
        (!found.is_empty()).then_some(Self(found))
    }

    /// One after the other.
    pub fn iter(&self) -> core::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a Diagnostic;
    type IntoIter = core::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl core::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line_end = "";
        for error in &self.0 {
            f.write_str(line_end)?;
            f.write_str(&error.text)?;
            line_end = "\n";
        }
        Ok(())
    }
}
