//! From sections to what they configure, finding every error on the way.
//!
//! A value that can't be read leaves an error behind, and the reading goes on without it. What
//! depends on such a value is not looked at: one mistake is told once.

use super::diagnostic::Diagnostic;
use super::file::is_open_to_others;
use super::keys::{self, ConfigKey, Value};
use crate::ini::{KeyValue, Section};
use crate::message::{List, Message, Parsed, wrong};
use crate::nearest::nearest;
use core::fmt;
use std::path::Path;

/// Whom a file is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
    /// A client of the control socket, which needs only `[common]`.
    Control,
}

pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) purpose: Purpose,
    /// Others may read the file, and nobody has been told yet.
    pub(super) is_open_to_others: bool,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, purpose: Purpose) -> Self {
        Self {
            path,
            purpose,
            is_open_to_others: is_open_to_others(path),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The errors and the warnings.
    pub(super) fn end(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        (self.errors, self.warnings)
    }

    pub(super) fn error(&mut self, line: usize, key: Option<&str>, what: fmt::Arguments) {
        Diagnostic::new(self.path, line, key, what).join(&mut self.errors);
    }

    pub(super) fn warn(&mut self, line: usize, key: &str, what: fmt::Arguments) {
        Diagnostic::new(self.path, line, Some(key), what).join(&mut self.warnings);
    }

    /// Whether a key has no error: its value is the one in the file, or the default.
    pub(super) fn is_right(&self, section: &Section, key: &str) -> bool {
        let is_told = |line| self.errors.iter().any(|error| error.line() == line);
        !section.find(key).is_some_and(|entry| is_told(entry.line))
    }

    pub(super) fn is_servers(&self) -> bool {
        self.purpose == Purpose::Server
    }

    /// Reads each entry of a section into the field of its key, by `set`. A key that is not known here,
    /// or given twice, is an error.
    pub(super) fn read_entries<S: Copy>(
        &mut self,
        section: &Section,
        keys: &[ConfigKey<S>],
        mut set: impl FnMut(S, &str) -> Parsed<()>,
    ) {
        for entry in &section.entries {
            let known = known_key(section, entry, keys);
            let Some(key) = self.accept(entry, known) else {
                continue;
            };
            let (setter, is_list) = match key.value {
                Value::One(setter) | Value::Verbatim(setter) => (setter, false),
                Value::List(setter) => (setter, true),
                Value::Secret => continue,
            };
            let Some(text) = self.text(entry) else {
                continue;
            };
            for value in text.split(|letter| is_list && is_separator(letter)) {
                if !value.is_empty() {
                    let done = set(setter, value);
                    self.accept(entry, done);
                }
            }
        }
    }

    /// The one of these keys that is given; an error if it is more, and for a server if it is none.
    pub(super) fn either<'b>(
        &mut self,
        section: &'b Section<'b>,
        keys: &[&str],
        hint: &str,
    ) -> Option<&'b KeyValue<'b>> {
        let mut given = section
            .entries
            .iter()
            .filter(|entry| keys.contains(&entry.key) && section.line_of(entry.key) == entry.line);
        let Some(first) = given.next() else {
            if self.is_servers() {
                self.missing(section, keys[0], hint);
            }
            return None;
        };
        let mut is_alone = true;
        for other in given {
            let what = format_args!(
                "{} is given at line {}; use only one of them",
                first.key, first.line
            );
            self.error(other.line, Some(other.key), what);
            is_alone = false;
        }
        is_alone.then_some(first)
    }

    pub(super) fn missing(&mut self, section: &Section, key: &str, hint: &str) {
        self.error(section.line, Some(key), format_args!("missing; add {hint}"));
    }

    /// What an entry says. None if that can't be read; there is an error.
    pub(super) fn text<'b>(&mut self, entry: &KeyValue<'b>) -> Option<&'b str> {
        let text = readable(entry.key, entry.value()?);
        self.accept(entry, text)
    }

    /// What was parsed, or else an error.
    pub(super) fn accept<T>(&mut self, entry: &KeyValue, parsed: Parsed<T>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.refuse(entry, &wrong);
                None
            }
        }
    }

    #[cold]
    fn refuse(&mut self, entry: &KeyValue, wrong: &Message) {
        self.error(entry.line, Some(entry.key), format_args!("{wrong}"));
    }
}

/// The key of an entry, if it is known here and not given twice.
fn known_key<'a, S>(
    section: &Section,
    entry: &KeyValue,
    keys: &'a [ConfigKey<S>],
) -> Parsed<&'a ConfigKey<S>> {
    if let Some(key) = keys::find(keys, entry.key) {
        return match section.line_of(entry.key) {
            first if first < entry.line => wrong!("already given at line {first}"),
            _ => Ok(key),
        };
    }
    if keys::find(keys::COMMON, entry.key).is_some() {
        return wrong!("belongs to [common]");
    }
    if keys::find(keys::MIRAGE, entry.key).is_some() {
        return wrong!("belongs to [mirage-NAME]");
    }
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    match nearest(entry.key, names.iter().copied()) {
        Some(near) => wrong!("unknown key; did you mean {near}?"),
        None => wrong!("unknown key; use one of {}", List(&names)),
    }
}

fn is_separator(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | ',')
}

/// A value in which there is something, and nothing that an error may not quote: what would upset a
/// terminal, or a whole `secret = …` whose line end before it was lost.
fn readable<'a>(key: &str, text: &'a str) -> Parsed<&'a str> {
    let may_have_equals = is_verbatim(keys::COMMON, key) || is_verbatim(keys::MIRAGE, key);
    if text.bytes().map(char::from).all(is_separator) {
        wrong!("has no value")
    } else if text.contains(|letter: char| letter.is_control() && letter != '\t') {
        wrong!("has a control character in its value")
    } else if text.contains('=') && !may_have_equals {
        wrong!("has a second = in its value; perhaps a line break is missing")
    } else {
        Ok(text)
    }
}

fn is_verbatim<S>(keys: &[ConfigKey<S>], name: &str) -> bool {
    keys::find(keys, name).is_some_and(|key| matches!(key.value, Value::Verbatim(_)))
}
