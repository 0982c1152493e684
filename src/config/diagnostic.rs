//! What is wrong with a configuration, and where.

use super::file::FileError;
use core::error::Error;
use core::fmt;
use std::path::Path;

/// The longest word that is shown as a key, in bytes. The longest key has 23.
const KEY_LENGTH: usize = 24;

/// One error or warning. It displays as `FILE:LINE: KEY: what is wrong; what to do`.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    line: usize,
    text: String,
}

impl Diagnostic {
    pub(super) fn new(
        path: &Path,
        line: usize,
        key: Option<&str>,
        what: impl fmt::Display,
    ) -> Self {
        let path = path.display();
        let text = match key.filter(|key| is_like_a_key(key)) {
            Some(key) => format!("{path}:{line}: {key}: {what}"),
            None => format!("{path}:{line}: {what}"),
        };
        Self { line, text }
    }

    /// The line that it is about; the first is 1. 0 for the file as a whole.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }
}

/// Whether a word may be shown as a key. It may also be part of a secret that slipped into the next
/// line and ends in `=`; but that is longer, or has digits.
fn is_like_a_key(word: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_');
    word.len() <= KEY_LENGTH && word.bytes().all(fits)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Everything that is wrong with a file: at least one error, by line. It displays as one line each,
/// without a line end after the last.
#[derive(Debug)]
pub struct Errors(Vec<Diagnostic>);

impl Errors {
    /// The only error of a file that can't be read.
    pub(super) fn of_file(error: &FileError) -> Self {
        let text = error.to_string();
        Self(vec![Diagnostic { line: 0, text }])
    }

    /// The errors that were found, if any.
    pub(super) fn new(found: Vec<Diagnostic>) -> Option<Self> {
        (!found.is_empty()).then_some(Self(found))
    }

    /// The errors by line.
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

impl Error for Errors {}

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
