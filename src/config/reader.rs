//! From sections to what they configure, finding every error on the way.
//!
//! A value that can't be read leaves an error behind, and the reading goes on without it. What
//! depends on such a value is not looked at: one mistake is told once.

use super::outgoing;
use super::value::{self, Parsed, wrong};
use super::{
    Account, COMMON_KEYS, Client, ClockTrust, Common, Diagnostic, Errors, Known, Level, Location,
    LogTarget, MIRAGE_KEYS, Mirage, Secret, Server, is_open_to_others,
};
use crate::ini::{self, Document, Entry, Section};
use crate::limits::{
    DEFAULT_BAN_S, DEFAULT_DECOYS, DEFAULT_PERIOD_S, DEFAULT_TRAP_S, MAX_SESSIONS_PER_SOURCE,
    MIN_TOKEN_TRAP_S, RANGE_FACTOR,
};
use crate::message::{List, Message};
use crate::nearest::nearest;
use crate::scheme::gate::Gate;
use crate::scheme::schedule::{Pattern, Range};
use crate::scheme::source::Network;
use crate::sys::file;
use core::fmt;
use core::mem;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

const COMMON: &str = "common";
/// What the section of a mirage begins with.
const MIRAGE: &str = "mirage-";

/// Keys with a list of values, which is separated by blanks or commas. Each value is read by itself.
const LIST_KEYS: [&str; 3] = ["allow", "listen-address", "from"];

/// Keys whose value no error quotes.
const UNQUOTED_KEYS: [&str; 3] = ["log", "state-file", "control"];

/// Keys whose value is read once it is clear which of the two it is.
const SECRET_KEYS: [&str; 2] = ["secret", "secret-file"];

/// Whom a file is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
    /// Who asks the daemon, and needs only `[common]`.
    Asker,
}

/// A mirage as far as it could be read. What is missing or wrong has its default here, or is None;
/// what is wrong has left an error, too.
struct Draft<'a> {
    /// Its section, and what that is called without `mirage-`.
    section: &'a Section<'a>,
    label: &'a str,
    name: String,
    secret: Option<Secret>,
    range: Option<Range>,
    decoys: u8,
    period: u32,
    pattern: Option<Pattern>,
    service: Option<SocketAddr>,
    listen: Vec<IpAddr>,
    from: Vec<Network>,
    trap_s: u32,
    idle_s: Option<u32>,
    host: Option<String>,
    gate: Gate,
    is_pool: bool,
    pool_port: Option<u16>,
}

impl<'a> Draft<'a> {
    fn new(section: &'a Section<'a>, label: &'a str) -> Self {
        Self {
            section,
            label,
            name: label.to_owned(),
            secret: None,
            range: None,
            decoys: DEFAULT_DECOYS,
            period: DEFAULT_PERIOD_S,
            pattern: None,
            service: None,
            listen: Vec::new(),
            from: Vec::new(),
            trap_s: DEFAULT_TRAP_S,
            idle_s: None,
            host: None,
            gate: Gate::Port,
            is_pool: false,
            pool_port: None,
        }
    }

    fn set(&mut self, key: &str, text: &str) -> Parsed<()> {
        match key {
            "name" => self.name = value::parse_name(text)?.to_owned(),
            "port" => {
                let port = value::parse_port(text)?;
                self.service = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            }
            "forward" => self.service = Some(value::forward(text)?),
            "range" => self.range = Some(value::parse_range(text, '-')?),
            "decoys" => self.decoys = value::parse_decoys(text)?,
            "period" => self.period = value::parse_period(text)?,
            "listen-address" => self.listen.push(value::listen_address(text)?),
            "from" => self.from.push(value::network(text)?),
            "trap-time" => self.trap_s = value::time_limit(text)?,
            "idle-timeout" => self.idle_s = value::idle_timeout(text)?,
            "gate" => self.gate = value::parse_gate(text)?,
            "listen" => self.is_pool = value::is_pool(text)?,
            "pool-port" => self.pool_port = Some(value::parse_port(text)?),
            _ => self.host = Some(text.to_owned()),
        }
        Ok(())
    }

    /// Takes out what the daemon needs, if it is all there.
    fn take_mirage(&mut self) -> Option<Mirage> {
        let (pattern, service) = (self.pattern?, self.service?);
        Some(Mirage {
            secret: self.secret.take()?,
            section: self.label.to_owned(),
            name: mem::take(&mut self.name),
            pattern,
            service,
            listen: mem::take(&mut self.listen),
            from: mem::take(&mut self.from),
            trap_s: self.trap_s,
            idle_s: self.idle_s,
            host: self.host.take(),
            gate: self.gate,
            pool_port: self.pool_port,
        })
    }

    /// Takes out what the client needs, if it is all there.
    fn take_known(&mut self) -> Option<Known> {
        let pattern = self.pattern?;
        Some(Known {
            section: self.label.to_owned(),
            name: mem::take(&mut self.name),
            secret: self.secret.take(),
            pattern,
            host: self.host.take(),
            gate: self.gate,
        })
    }

    /// The line that speaks of its pool's port, or makes it a pool.
    fn pool_line(&self) -> usize {
        let key = match self.section.find("pool-port") {
            Some(_) => "pool-port",
            None => "listen",
        };
        self.section.line_of(key)
    }

    /// The ports that are bound for it: its range, or the one of its pool.
    fn bound(&self) -> Option<Range> {
        match self.pool_port {
            Some(port) => Range::new(port, port),
            None => self.range,
        }
    }

    /// The line that speaks of its range.
    fn range_line(&self) -> usize {
        self.section.line_of("range")
    }
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

impl Common {
    fn set(&mut self, key: &str, text: &str) -> Parsed<()> {
        match key {
            "log" => self.log = value::log(text)?,
            "log-level" => self.log_level = value::log_level(text)?,
            "state-file" => self.state_file = value::location(text)?,
            "control" => self.control = value::location(text)?,
            "ban-time" => self.ban_s = value::time_limit(text)?,
            "allow" => self.allow.push(value::network(text)?),
            "clock" => self.clock = value::clock(text)?,
            // Whether there is such a user is the server's to know.
            "user" => {}
            "max-sessions" => self.max_sessions = Some(value::sessions(text)?),
            _ => self.max_sessions_per_source = value::sessions(text)?,
        }
        Ok(())
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

struct Reader<'a> {
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
            for (index, draft) in drafts.iter().enumerate() {
                reader.check_own_port(draft, draft);
                for earlier in &drafts[..index] {
                    reader.check_own_port(earlier, draft);
                    reader.check_own_port(draft, earlier);
                    reader.check_overlap(earlier, draft);
                    reader.check_pools(earlier, draft);
                    reader.check_tokens(earlier, draft);
                }
            }
            reader.warn_of_outgoing_ports(&drafts);
        }
        match Errors::new(reader.errors) {
            Some(errors) => Err(errors),
            None => Ok((common, drafts, reader.warnings)),
        }
    }

    fn error(&mut self, line: usize, key: Option<&str>, what: fmt::Arguments) {
        Diagnostic::new(self.path, line, key, what).join(&mut self.errors);
    }

    fn warn(&mut self, line: usize, key: &str, what: fmt::Arguments) {
        Diagnostic::new(self.path, line, Some(key), what).join(&mut self.warnings);
    }

    /// Whether a key has no error: its value is the one in the file, or the default.
    fn is_right(&self, section: &Section, key: &str) -> bool {
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
                let elsewhere = (MIRAGE_KEYS, "[mirage-NAME]");
                let mut set = |key: &str, text: &str| common.set(key, text);
                self.read_entries(section, COMMON_KEYS, elsewhere, &mut set);
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
        let elsewhere = (COMMON_KEYS, "[common]");
        let mut set = |key: &str, text: &str| draft.set(key, text);
        self.read_entries(section, MIRAGE_KEYS, elsewhere, &mut set);

        if let Err(wrong) = value::parse_name(label) {
            self.error(section.line, None, format_args!("{wrong}"));
        }
        if section.find("range").is_none() {
            self.missing(section, "range", "range = LOW-HIGH, as in 10000-10999");
        }
        draft.secret = self.read_secret(section);
        draft.pattern = self.fit_pattern(&draft);
        let hint = "port = 22, or forward = ADDRESS:PORT";
        if self.either(section, ["port", "forward"], hint).is_none() {
            draft.service = None;
        }
        draft.listen = without_covered(&draft.listen);
        self.check_trap_time(&draft);
        draft.pool_port = self.pool_port(&draft);
        draft
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

    /// Reads each entry of a section by `set`, and finds the keys that are not known here, or that
    /// are given twice.
    fn read_entries(
        &mut self,
        section: &Section,
        known: &[&str],
        elsewhere: (&[&str], &str),
        set: &mut dyn FnMut(&str, &str) -> Parsed<()>,
    ) {
        for entry in &section.entries {
            let key = entry.key;
            let known = check_key(section, entry, known, elsewhere);
            if self.accept(entry, known).is_none() || SECRET_KEYS.contains(&key) {
                continue;
            }
            let Some(text) = self.text(entry) else {
                continue;
            };
            let separator = if LIST_KEYS.contains(&key) {
                is_separator
            } else {
                |_| false
            };
            for value in text.split(separator).filter(|value| !value.is_empty()) {
                let done = set(key, value);
                self.accept(entry, done);
            }
        }
    }

    fn read_secret(&mut self, section: &Section) -> Option<Secret> {
        let hint = "secret = TEXT, or secret-file = PATH";
        let entry = self.either(section, SECRET_KEYS, hint)?;
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
        let pattern = value::fit_pattern(range, draft.decoys, draft.period, minutes);
        self.accept(section.find("range")?, pattern)
    }

    /// A listener of ours on a service's port would take the service's place, whichever mirage leads
    /// to it.
    fn check_own_port(&mut self, draft: &Draft, leading: &Draft) {
        let (Some(range), Some(service)) = (draft.range, leading.service) else {
            return;
        };
        let port = service.port();
        let is_pool = draft.pool_port == Some(port);
        if self.is_right(draft.section, "listen-address")
            && (range.contains(port) || is_pool)
            && is_own(service, &draft.listen)
        {
            let own = if draft.section.line == leading.section.line {
                "the hidden service's own port on this host".to_owned()
            } else {
                let label = leading.label;
                format!("the own port of [mirage-{label}]'s hidden service on this host")
            };
            if is_pool {
                let what = format_args!("{port} is {own}; it has to be another");
                self.error(draft.pool_line(), Some("pool-port"), what);
            } else {
                let what = format_args!("holds {port}, {own}; it has to lie outside");
                self.error(draft.range_line(), Some("range"), what);
            }
        }
    }

    fn check_overlap(&mut self, earlier: &Draft, later: &Draft) {
        let (Some(a), Some(b)) = (earlier.range, later.range) else {
            return;
        };
        let is_right = |draft: &Draft| self.is_right(draft.section, "listen-address");
        if a.overlaps(&b)
            && is_right(earlier)
            && is_right(later)
            && share_an_address(&earlier.listen, &later.listen)
        {
            let (low, high, line) = (a.low(), a.high(), earlier.range_line());
            let what = format_args!(
                "overlaps {low}-{high} of line {line} on an address that both listen on; \
                 each needs ports of its own"
            );
            self.error(later.range_line(), Some("range"), what);
        }
    }

    /// A pool's port is no other mirage's, and in no other's range.
    fn check_pools(&mut self, one: &Draft, other: &Draft) {
        let is_right = |draft: &Draft| self.is_right(draft.section, "listen-address");
        if !is_right(one) || !is_right(other) || !share_an_address(&one.listen, &other.listen) {
            return;
        }
        for (pool, neighbour) in [(one, other), (other, one)] {
            let (Some(port), Some(range)) = (pool.pool_port, neighbour.range) else {
                continue;
            };
            if range.contains(port) {
                let line = neighbour.range_line();
                let what = format_args!(
                    "{port} lies in the range of line {line}, on an address that both listen on"
                );
                self.error(pool.pool_line(), Some("pool-port"), what);
            }
        }
        if let Some(port) = one.pool_port
            && other.pool_port == Some(port)
        {
            let line = one.pool_line();
            let what = format_args!("{port} is that of line {line}; each pool needs its own");
            self.error(other.pool_line(), Some("pool-port"), what);
        }
    }

    /// With one name and one secret, a token of one mirage would be good at the other.
    fn check_tokens(&mut self, earlier: &Draft, later: &Draft) {
        let is_token = |draft: &Draft| draft.gate == Gate::Token && draft.secret.is_some();
        if is_token(earlier)
            && is_token(later)
            && earlier.name == later.name
            && earlier.secret == later.secret
        {
            let line = earlier.section.line;
            let what = format_args!(
                "has the name and the secret of line {line}, so a token for one would do for the \
                 other; give each its own"
            );
            self.error(later.section.line, None, what);
        }
    }

    /// The kernel gives ports to outgoing connections. One that is a real port then is lost.
    fn warn_of_outgoing_ports(&mut self, drafts: &[Draft]) {
        let Some((outgoing, mut reserved)) = outgoing::of_the_kernel() else {
            return;
        };
        for draft in drafts {
            let Some(range) = draft.bound() else { continue };
            if outgoing::has_unreserved(range, outgoing, &reserved) {
                outgoing::reserve(range, &mut reserved);
                let (low, high) = (outgoing.low(), outgoing.high());
                let what = format_args!(
                    "the kernel uses {low}-{high} for outgoing connections; \
                     sysctl -w net.ipv4.ip_local_reserved_ports={reserved} keeps it out"
                );
                let (line, key) = match draft.pool_port {
                    Some(_) => (draft.pool_line(), "pool-port"),
                    None => (draft.range_line(), "range"),
                };
                self.warn(line, key, what);
            }
        }
    }

    /// The one of two keys that is given; an error if it is both, and for a server if it is none.
    fn either<'b>(
        &mut self,
        section: &'b Section<'b>,
        [one, other]: [&str; 2],
        hint: &str,
    ) -> Option<&'b Entry<'b>> {
        match (section.find(one), section.find(other)) {
            (Some(a), Some(b)) => {
                let (first, second) = if a.line < b.line { (a, b) } else { (b, a) };
                let what = format_args!(
                    "{} is given at line {}; only one of them can be",
                    first.key, first.line
                );
                self.error(second.line, Some(second.key), what);
                None
            }
            (None, None) => {
                if self.side == Side::Server {
                    self.missing(section, one, hint);
                }
                None
            }
            (a, b) => a.or(b),
        }
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

/// Whether a key is known here, and not given twice.
fn check_key(
    section: &Section,
    entry: &Entry,
    known: &[&str],
    (others, elsewhere): (&[&str], &str),
) -> Parsed<()> {
    if known.contains(&entry.key) {
        match section.line_of(entry.key) {
            first if first < entry.line => wrong!("given already at line {first}"),
            _ => Ok(()),
        }
    } else if others.contains(&entry.key) {
        wrong!("unknown here; it belongs to {elsewhere}")
    } else if let Some(near) = nearest(entry.key, known.iter().copied()) {
        wrong!("unknown key; {near} is the nearest that is known")
    } else {
        wrong!("unknown key; known are {}", List(known))
    }
}

fn is_separator(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | ',')
}

/// A value in which there is something, and nothing that an error may not quote: what would upset a
/// terminal, or a whole `secret = …` whose line end before it was lost.
fn readable<'a>(key: &str, text: &'a str) -> Parsed<&'a str> {
    if text.bytes().map(char::from).all(is_separator) {
        wrong!("has no value")
    } else if text.contains(|letter: char| letter.is_control() && letter != '\t') {
        wrong!("has a control character in its value")
    } else if text.contains('=') && !UNQUOTED_KEYS.contains(&key) {
        wrong!("has another = in its value; is a line end missing?")
    } else {
        Ok(text)
    }
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

/// Where to listen, with nothing twice: a second listener would find the port taken.
fn without_covered(given: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in given {
        let covers = |other: &IpAddr| other.is_unspecified() && meet(address, other);
        let is_covered = !address.is_unspecified() && given.iter().any(covers);
        if !is_covered && !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses
}

/// Whether a service runs on this host: the kernel lets a socket have that address.
fn is_own(service: SocketAddr, listen: &[IpAddr]) -> bool {
    let address = service.ip().to_canonical();
    let probe = || {
        let mut probe = service;
        probe.set_port(0);
        UdpSocket::bind(probe).is_ok()
    };
    address.is_loopback() || address.is_unspecified() || listen.contains(&address) || probe()
}

/// Whether two mirages listen on one address. None given is all.
fn share_an_address(a: &[IpAddr], b: &[IpAddr]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| meet(a, b)))
}

/// Whether two listeners with the same port get in each other's way: a wildcard is all of its family.
fn meet(a: &IpAddr, b: &IpAddr) -> bool {
    let is_all = a.is_unspecified() || b.is_unspecified();
    a == b || is_all && a.is_ipv4() == b.is_ipv4()
}
