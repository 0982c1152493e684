//! What reading a file has in common for all sections: it collects every error and goes on.
//!
//! A value that can't be read leaves an error behind and keeps its default. Checks that depend on such a
//! value are skipped, so that one mistake is one error.

use super::access::{self, Access, Changeable, Reader};
use super::account::{Account, UserName};
use super::diagnostic::Diagnostic;
use super::keys::{self, ConfigKey, Value};
use crate::ini::{KeyValue, Section};
use crate::message::{Parsed, wrong};
use crate::nearest::nearest;
use core::fmt::Display;
use core::mem;
use std::path::{Path, PathBuf};

/// What a file is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To serve it.
    Daemon,
    /// To talk about what would be served.
    Server,
    Client,
    /// To talk to a running daemon, which takes only `[common]`.
    Control,
}

/// A file that was read.
struct Opened {
    path: PathBuf,
    access: Access,
    line: usize,
    /// The key whose secret is in it; None if there is none.
    key: Option<&'static str>,
}

pub(super) struct ConfigReader<'a> {
    pub(super) path: &'a Path,
    pub(super) purpose: Purpose,
    /// The files of `secret-file`.
    pub(super) secret_files: Vec<PathBuf>,
    /// Who may use the files that were read, each with its path, and where they are named.
    opened: Vec<Opened>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl<'a> ConfigReader<'a> {
    pub(super) fn new(path: &'a Path, access: Access, purpose: Purpose) -> Self {
        let file = Opened {
            path: path.to_path_buf(),
            access,
            line: 1,
            key: None,
        };
        Self {
            path,
            purpose,
            secret_files: Vec::new(),
            opened: vec![file],
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// A secret stands in the configuration itself, or in a file that was read.
    pub(super) fn has_secret(&mut self, line: usize, file: Option<(PathBuf, Access)>) {
        if let Some((path, access)) = file {
            self.opened.push(Opened {
                path,
                access,
                line,
                key: Some("secret-file"),
            });
        } else if self.opened[0].key.is_none() {
            (self.opened[0].line, self.opened[0].key) = (line, Some("secret"));
        }
    }

    /// Refuses what others could change where root serves it, and warns of secrets that they can read. `user` is whom
    /// the daemon becomes.
    pub(super) fn judge_files(&mut self, user: Option<&Account>) {
        let reader = Reader::of(user);
        let is_roots = self.is_for_server() && access::is_root();
        for file in mem::take(&mut self.opened) {
            let path = file.path.display();
            let what = match file.access.changeable(reader).filter(|_| is_roots) {
                Some(Changeable::Owner(owner)) => {
                    let owner = UserName(owner);
                    format!(
                        "{path} belongs to {owner}, so root does not use it; run chown root {path}"
                    )
                }
                Some(Changeable::Others) => {
                    format!(
                        "others may write to {path}, so root does not use it; run chmod go-w {path}"
                    )
                }
                None => String::new(),
            };
            if !what.is_empty() {
                let found = Diagnostic::new(self.path, file.line, file.key, what);
                match self.purpose {
                    Purpose::Daemon => self.errors.push(found),
                    _ => self.warnings.push(found),
                }
            }
            let is_open = match self.purpose {
                Purpose::Daemon | Purpose::Server => file.access.is_open_to_strangers(reader),
                Purpose::Client | Purpose::Control => file.access.is_open_to_others(),
            };
            if let Some(key) = file.key.filter(|_| is_open) {
                let what = format_args!(
                    "other users can read {path}, which holds a secret; run chmod 600 {path}"
                );
                self.warn(file.line, key, what);
            }
        }
    }

    /// The errors and the warnings, each by line.
    pub(super) fn finish(mut self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        self.errors.sort_by_key(Diagnostic::line);
        self.warnings.sort_by_key(Diagnostic::line);
        (self.errors, self.warnings)
    }

    pub(super) fn error(&mut self, line: usize, key: Option<&str>, what: impl Display) {
        self.errors
            .push(Diagnostic::new(self.path, line, key, what));
    }

    pub(super) fn warn(&mut self, line: usize, key: &str, what: impl Display) {
        self.warnings
            .push(Diagnostic::new(self.path, line, Some(key), what));
    }

    /// Whether no error is about this key: it has the value in the file, or its default.
    pub(super) fn is_valid(&self, section: &Section, key: &str) -> bool {
        let has_error = |line| self.errors.iter().any(|error| error.line() == line);
        !section.find(key).is_some_and(|entry| has_error(entry.line))
    }

    pub(super) fn is_for_server(&self) -> bool {
        matches!(self.purpose, Purpose::Daemon | Purpose::Server)
    }

    /// Reads the keys of a section into their fields, by `set`. An unknown or repeated key is an error.
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

    /// The one of these keys that is given. More than one is an error; so is none, for a server.
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
            if self.is_for_server() {
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

    /// The value of a key. None if it can't be read, which leaves an error behind.
    pub(super) fn text<'b>(&mut self, entry: &KeyValue<'b>) -> Option<&'b str> {
        let text = check_text(entry.key, entry.value()?);
        self.accept(entry, text)
    }

    /// The parsed value. None if it is wrong, which leaves an error behind.
    pub(super) fn accept<T>(&mut self, entry: &KeyValue, parsed: Parsed<T>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.error(entry.line, Some(entry.key), wrong);
                None
            }
        }
    }
}

/// The key of an entry, if it is known in this section and not repeated.
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
    match nearest(entry.key, &names) {
        Some(near) => wrong!("unknown key; did you mean {near}?"),
        None => wrong!("unknown key; use one of {}", names.join(", ")),
    }
}

fn is_separator(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | ',')
}

/// Checks that a value is not empty and that an error may quote it: it has no control characters, and no
/// `secret = …` that a lost line break has put into it.
fn check_text<'a>(key: &str, text: &'a str) -> Parsed<&'a str> {
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
