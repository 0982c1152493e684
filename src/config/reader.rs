//! From sections to what they configure, finding every error on the way.
//!
//! A value that can't be read leaves an error behind, and the reading goes on without it. What
//! depends on such a value is not looked at: one mistake is told once.

use super::draft::{DoorKind, Draft};
use super::keys::{self, Key, Value};
use super::neighbours::without_covered;
use super::value::{self, Parsed, wrong};
use super::{
    Account, Client, ClockTrust, Common, Diagnostic, Errors, Level, Location, LogTarget, Secret,
    Server, is_open_to_others,
};
use crate::ini::{self, Document, Entry, Section};
use crate::limits::{DEFAULT_BAN_S, MAX_SESSIONS_PER_SOURCE, MIN_TOKEN_TRAP_S, RANGE_FACTOR};
use crate::message::{List, Message};
use crate::nearest::nearest;
use crate::scheme::gate::Gate;
use crate::scheme::knock::Scope;
use crate::scheme::schedule::Pattern;
use crate::sys::file;
use core::fmt;
use core::mem;
use std::path::{Path, PathBuf};

const COMMON: &str = "common";
/// What the section of a mirage begins with.
const MIRAGE: &str = "mirage-";

/// The keys of which a mirage has one.
const SECRET_KEYS: [&str; 2] = ["secret", "secret-file"];

/// Whom a file is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
    /// Who asks the daemon, and needs only `[common]`.
    Asker,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            log: LogTarget::Stderr,
            log_level: Level::Info,
            state_file: Location::Default,
            control: Location::Default,
            ban_s: DEFAULT_BAN_S,
            allow: Vec::new(),
            clock: ClockTrust::Trust,
            max_sessions: None,
            max_sessions_per_source: MAX_SESSIONS_PER_SOURCE,
            user: None,
        }
    }
}

/// Reads a text for the daemon, or, without the mirages, for who asks it.
pub(super) fn server(path: &Path, text: &[u8], side: Side) -> Result<Server, Errors> {
    let document = ini::parse(text);
    let (common, mut drafts, warnings) = Reader::read(path, side, &document)?;
    let mut mirages = Vec::new();
    for draft in &mut drafts {
        if let Some(mirage) = draft.take_mirage() {
            mirages.push(mirage);
        }
    }
    Ok(Server {
        common,
        mirages,
        warnings,
    })
}

/// Reads a text for the client.
pub(super) fn client(path: &Path, text: &[u8]) -> Result<Client, Errors> {
    let document = ini::parse(text);
    let (_, mut drafts, warnings) = Reader::read(path, Side::Client, &document)?;
    let mut mirages = Vec::new();
    for draft in &mut drafts {
        if let Some(known) = draft.take_known() {
            mirages.push(known);
        }
    }
    Ok(Client { mirages, warnings })
}

pub(super) struct Reader<'a> {
    path: &'a Path,
    side: Side,
    /// Others may read the file, and nobody has been told yet.
    is_open_to_others: bool,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    /// What a file says, and the warnings, if there is no error.
    fn read<'b>(
        path: &'a Path,
        side: Side,
        document: &'b Document<'b>,
    ) -> Result<(Common, Vec<Draft<'b>>, Vec<Diagnostic>), Errors> {
        let mut reader = Self {
            path,
            side,
            is_open_to_others: is_open_to_others(path),
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        let (common, drafts) = reader.read_sections(document);
        if side == Side::Server {
            reader.check_neighbours(&drafts);
            reader.check_journal(&common, &drafts);
        }
        match Errors::new(reader.errors) {
            Some(errors) => Err(errors),
            None => Ok((common, drafts, reader.warnings)),
        }
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

    fn read_sections<'b>(&mut self, document: &'b Document<'b>) -> (Common, Vec<Draft<'b>>) {
        for problem in &document.problems {
            let what = format_args!("{}", problem.what);
            self.error(problem.line, problem.key, what);
        }
        let mut common = Common::default();
        let mut drafts = Vec::new();
        let mut has_mirage = false;
        for section in &document.sections {
            let Some(name) = section.name else {
                // It may be meant to be one.
                has_mirage = true;
                continue;
            };
            if name == COMMON {
                self.read_entries(section, keys::COMMON, |set, text| set(&mut common, text));
                common.user = self.find_user(section);
            } else if let Some(label) = name.strip_prefix(MIRAGE) {
                has_mirage = true;
                if self.side != Side::Asker {
                    drafts.push(self.read_mirage(section, label));
                }
            } else {
                let what = format_args!("unknown section; there are [common] and [mirage-NAME]");
                self.error(section.line, None, what);
            }
        }
        if !has_mirage {
            let what = format_args!(
                "there is no mirage; [mirage-NAME] with secret, port and range makes one"
            );
            self.error(1, None, what);
        }
        (common, drafts)
    }

    /// The user that the daemon becomes.
    fn find_user(&mut self, section: &Section) -> Option<Account> {
        let entry = section.find("user")?;
        if self.side != Side::Server || !self.is_right(section, "user") {
            return None;
        }
        let account = Account::find(entry.value()?);
        self.accept(entry, account)
    }

    fn read_mirage<'b>(&mut self, section: &'b Section<'b>, label: &'b str) -> Draft<'b> {
        let mut draft = Draft::new(section, label);
        self.read_entries(section, keys::MIRAGE, |set, text| set(&mut draft, text));

        if let Err(wrong) = value::parse_name(label) {
            self.error(section.line, None, format_args!("{wrong}"));
        }
        if !self.check_places(&draft) {
            return draft;
        }
        if draft.is_keyed() {
            if section.find("range").is_none() {
                self.missing(section, "range", "range = LOW-HIGH, as in 10000-10999");
            }
            draft.secret = self.read_secret(section);
            draft.pattern = self.fit_pattern(&draft);
        }
        self.check_door(&mut draft);
        self.warn_of_lock(&draft);
        self.warn_of_close(&draft);
        draft.listen = without_covered(&draft.listen);
        self.check_trap_time(&draft);
        draft.pool_port = self.pool_port(&draft);
        draft
    }

    /// Whether every key is where it belongs. Where a gate or a door could not be read, nothing is known.
    fn check_places(&mut self, draft: &Draft) -> bool {
        let section = draft.section;
        if !["gate", "door", "sequence"]
            .iter()
            .all(|key| self.is_right(section, key))
        {
            return false;
        }
        for entry in &section.entries {
            let key = keys::find(keys::MIRAGE, entry.key);
            if let Some(belongs) = key.and_then(|key| key.misplaced(draft)) {
                let what = format_args!("unknown here; it belongs to {belongs}");
                self.error(entry.line, Some(entry.key), what);
            }
        }
        true
    }

    /// What the door needs is there, once.
    fn check_door(&mut self, draft: &mut Draft) {
        let section = draft.section;
        match draft.door {
            DoorKind::Forward => {
                let hint = "port = 22, forward = ADDRESS:PORT, or exec = COMMAND";
                if self
                    .either(section, &["port", "forward", "exec"], hint)
                    .is_none()
                {
                    (draft.service, draft.exec) = (None, None);
                }
                if let (Some(entry), Some(_)) = (section.find("open-command"), &draft.exec) {
                    let what = "exec needs none: it is started for each visitor";
                    self.error(entry.line, Some(entry.key), format_args!("{what}"));
                }
            }
            DoorKind::Command if section.find("open-command").is_none() && self.is_servers() => {
                let hint = "open-command = COMMAND, which may have %IP% in it";
                self.missing(section, "open-command", hint);
            }
            DoorKind::Nft if section.find("open-set").is_none() && self.is_servers() => {
                self.missing(section, "open-set", "open-set = inet/TABLE/SET");
            }
            DoorKind::Command | DoorKind::Nft => {}
        }
        if let (Some(entry), None) = (section.find("close-command"), section.find("open-command"))
            && self.is_servers()
        {
            let what = format_args!("there is no open-command, so nothing would be closed");
            self.error(entry.line, Some(entry.key), what);
        }
    }

    /// A wrong knock needs no handshake, so it may come from anybody.
    fn warn_of_lock(&mut self, draft: &Draft) {
        if draft.lock_s == 0 || !self.is_servers() {
            return;
        }
        let whom = match draft.lock_scope {
            Scope::Source => "you",
            Scope::All => "everybody",
        };
        let line = draft.section.line_of("lock");
        let what = format_args!("whoever forges an address can lock {whom} out with it");
        self.warn(line, "lock", what);
    }

    /// Each knock is sent twice, for one may be lost.
    fn warn_of_close(&mut self, draft: &Draft) {
        let is_doubled = draft.close_sequence.first() == draft.sequence.last();
        if is_doubled && !draft.close_sequence.is_empty() && self.is_servers() {
            let (key, line) = ("close-sequence", draft.section.line_of("close-sequence"));
            let what =
                format_args!("the last knock of sequence comes twice, and begins it; take another");
            self.warn(line, key, what);
        }
    }

    /// What is opened has to be closed after a crash, so it has to be written down.
    fn check_journal(&mut self, common: &Common, drafts: &[Draft]) {
        if common.state_file != Location::Off {
            return;
        }
        for draft in drafts {
            if let Some(entry) = draft.section.find("close-command") {
                let what = format_args!(
                    "needs a state-file, which is none: what is open has to be closed after a crash"
                );
                self.error(entry.line, Some(entry.key), what);
            }
        }
    }

    fn is_servers(&self) -> bool {
        self.side == Side::Server
    }

    /// The end of a trap must not come before the last token may: it would tell who was judged.
    fn check_trap_time(&mut self, draft: &Draft) {
        if draft.gate == Gate::Token && draft.trap_s < MIN_TOKEN_TRAP_S {
            let what = format_args!(
                "{}s is too short for gate = token, where a trap holds for {MIN_TOKEN_TRAP_S}s at least",
                draft.trap_s
            );
            let line = draft.section.line_of("trap-time");
            self.error(line, Some("trap-time"), what);
        }
    }

    /// The port that a pool listens at, None for a mirage that has none.
    fn pool_port(&mut self, draft: &Draft) -> Option<u16> {
        let (section, range) = (draft.section, draft.range?);
        if !self.is_right(section, "listen") || !self.is_right(section, "pool-port") {
            return None;
        }
        let line = draft.pool_line();
        if !draft.is_pool {
            if draft.pool_port.is_some() {
                let what = format_args!("only a pool has one; listen = pool makes one");
                self.error(line, Some("pool-port"), what);
            }
            return None;
        }
        let port = draft.pool_port.unwrap_or(range.low() - 1);
        if port == 0 {
            let what = format_args!("missing; below a range that begins with 1 there is no port");
            self.error(line, Some("pool-port"), what);
        } else if range.contains(port) {
            let what = format_args!("{port} lies in the mirage's own range, and must not");
            self.error(line, Some("pool-port"), what);
        } else {
            return Some(port);
        }
        None
    }

    /// Reads each entry of a section into the field of its key, by `set`. A key that is not known here,
    /// or given twice, is an error.
    fn read_entries<S: Copy>(
        &mut self,
        section: &Section,
        keys: &[Key<S>],
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

    fn read_secret(&mut self, section: &Section) -> Option<Secret> {
        let hint = "secret = TEXT, or secret-file = PATH";
        let entry = self.either(section, &SECRET_KEYS, hint)?;
        let secret = if entry.key == "secret" {
            if mem::take(&mut self.is_open_to_others) {
                self.warn_of_readers(entry, self.path);
            }
            match Secret::new(entry.whole_value()?.as_bytes()) {
                Ok(secret) => Ok(secret),
                Err(error) => wrong!("{error}"),
            }
        } else {
            let path = path_beside(self.path, self.text(entry)?);
            let path = self.accept(entry, path)?;
            if is_open_to_others(&path) {
                self.warn_of_readers(entry, &path);
            }
            Secret::read(&path)
        };
        let secret = self.accept(entry, secret)?;
        if secret.is_weak() {
            let what = format_args!("the secret looks weak; `shimmer keygen` makes a strong one");
            self.warn(entry.line, entry.key, what);
        }
        Some(secret)
    }

    fn warn_of_readers(&mut self, entry: &Entry, path: &Path) {
        let path = path.display();
        let what = format_args!("others may read {path}, which holds a secret; chmod 600 {path}");
        self.warn(entry.line, entry.key, what);
    }

    fn fit_pattern(&mut self, draft: &Draft) -> Option<Pattern> {
        let range = draft.range?;
        let minutes = match self.side {
            Side::Server => RANGE_FACTOR,
            Side::Client | Side::Asker => 1,
        };
        let section = draft.section;
        if !self.is_right(section, "decoys") || !self.is_right(section, "period") {
            return None;
        }
        let pattern = value::fit_pattern(range, draft.decoys(), draft.period, minutes);
        let pattern = self.accept(section.find("range")?, pattern)?;
        let knocks = draft.knocks.into();
        if draft.gate == Gate::Knock && !draft.is_fixed() && range.count() < knocks {
            let (line, has) = (draft.range_line(), range.count());
            let what = format_args!("has {has} ports, and {knocks} knocks need one each");
            self.error(line, Some("range"), what);
        }
        Some(pattern)
    }

    /// The one of these keys that is given; an error if it is more, and for a server if it is none.
    fn either<'b>(
        &mut self,
        section: &'b Section<'b>,
        keys: &[&str],
        hint: &str,
    ) -> Option<&'b Entry<'b>> {
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
                "{} is given at line {}; only one of them can be",
                first.key, first.line
            );
            self.error(other.line, Some(other.key), what);
            is_alone = false;
        }
        is_alone.then_some(first)
    }

    fn missing(&mut self, section: &Section, key: &str, hint: &str) {
        self.error(section.line, Some(key), format_args!("missing; {hint}"));
    }

    /// What an entry says. None if that can't be read; there is an error.
    fn text<'b>(&mut self, entry: &Entry<'b>) -> Option<&'b str> {
        let text = readable(entry.key, entry.value()?);
        self.accept(entry, text)
    }

    /// What was parsed, or else an error.
    fn accept<T>(&mut self, entry: &Entry, parsed: Parsed<T>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.refuse(entry, &wrong);
                None
            }
        }
    }

    #[cold]
    fn refuse(&mut self, entry: &Entry, wrong: &Message) {
        self.error(entry.line, Some(entry.key), format_args!("{wrong}"));
    }
}

/// The key of an entry, if it is known here and not given twice.
fn known_key<'a, S>(section: &Section, entry: &Entry, keys: &'a [Key<S>]) -> Parsed<&'a Key<S>> {
    if let Some(key) = keys::find(keys, entry.key) {
        return match section.line_of(entry.key) {
            first if first < entry.line => wrong!("given already at line {first}"),
            _ => Ok(key),
        };
    }
    if keys::find(keys::COMMON, entry.key).is_some() {
        return wrong!("unknown here; it belongs to [common]");
    }
    if keys::find(keys::MIRAGE, entry.key).is_some() {
        return wrong!("unknown here; it belongs to [mirage-NAME]");
    }
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    match nearest(entry.key, names.iter().copied()) {
        Some(near) => wrong!("unknown key; {near} is the nearest that is known"),
        None => wrong!("unknown key; known are {}", List(&names)),
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
        wrong!("has another = in its value; is a line end missing?")
    } else {
        Ok(text)
    }
}

fn is_verbatim<S>(keys: &[Key<S>], name: &str) -> bool {
    keys::find(keys, name).is_some_and(|key| matches!(key.value, Value::Verbatim(_)))
}

/// A path as the configuration file has it: `~/` is the home directory, and what is relative is so
/// to that file.
fn path_beside(config: &Path, text: &str) -> Parsed<PathBuf> {
    match text.strip_prefix("~/") {
        Some(rest) => match file::variable(c"HOME") {
            Some(home) if !home.is_empty() => {
                Ok(Path::new(&home).join(rest.trim_start_matches('/')))
            }
            _ => wrong!("{text}: HOME is not set, so ~ means nothing"),
        },
        None => Ok(config.parent().unwrap_or(Path::new("")).join(text)),
    }
}
