//! The sections of a file: their keys are read into fields, and checked against each other.

use super::account::Account;
use super::common::{Common, Location};
use super::draft::Draft;
use super::keys;
use super::listen::without_covered;
use super::mirage::DoorKind;
use super::neighbours::is_own_ipv4;
use super::reader::{ConfigReader, Purpose};
use super::secret::Secret;
use super::value::{self, displayed};
use crate::ini::{Document, Section};
use crate::limits::{
    FORGETFUL_PERIOD_S, LONG_PERIOD_S, MIN_TOKEN_TRAP_S, NONCE_SHARES, NONCES, RANGE_FACTOR,
};
use crate::message::{Parsed, wrong};
use crate::proto::gates::Gate;
use crate::proto::scheme::knock::Scope;
use crate::proto::scheme::schedule::Pattern;
use crate::terms::ClientAddress;
use std::path::{Path, PathBuf};

const COMMON: &str = "common";
/// The name of a mirage's section begins with it.
const MIRAGE: &str = "mirage-";

/// A mirage has one of these keys.
const SECRET_KEYS: [&str; 2] = ["secret", "secret-file"];

/// Reads all sections of a file, and checks each mirage by itself.
pub(super) fn read<'a>(
    reader: &mut ConfigReader,
    document: &'a Document<'a>,
) -> (Common, Vec<Draft<'a>>) {
    let (common, drafts) = reader.read_sections(document);
    reader.judge_files(common.user.as_ref());
    if reader.is_for_server() {
        reader.check_state_file(&common, &drafts);
    }
    (common, drafts)
}

impl ConfigReader<'_> {
    fn read_sections<'b>(&mut self, document: &'b Document<'b>) -> (Common, Vec<Draft<'b>>) {
        for problem in &document.problems {
            self.error(problem.line, problem.key, problem.kind);
        }
        let mut common = Common::default();
        let mut drafts = Vec::new();
        let mut has_mirage = false;
        for section in &document.sections {
            let Some(name) = section.name else {
                // It may be meant to be a mirage's.
                has_mirage = true;
                continue;
            };
            if name == COMMON {
                self.read_entries(section, keys::COMMON, |set, text| set(&mut common, text));
                common.user = self.find_user(section);
            } else if let Some(label) = name.strip_prefix(MIRAGE) {
                has_mirage = true;
                if self.purpose != Purpose::Control {
                    drafts.push(self.read_mirage(section, label));
                }
            } else {
                let what = "unknown section; use [common] or [mirage-NAME]";
                self.error(section.line, None, what);
            }
        }
        if !has_mirage {
            let what = "no mirage defined: add a [mirage-NAME] section with secret, port and range";
            self.error(1, None, what);
        }
        (common, drafts)
    }

    /// The account of `user`.
    fn find_user(&mut self, section: &Section) -> Option<Account> {
        let entry = section.find("user")?;
        if !self.is_for_server() || !self.is_valid(section, "user") {
            return None;
        }
        let account = displayed(Account::find(entry.value()?));
        self.accept(entry, account)
    }

    fn read_mirage<'b>(&mut self, section: &'b Section<'b>, label: &'b str) -> Draft<'b> {
        let mut draft = Draft::new(section, label);
        self.read_entries(section, keys::MIRAGE, |set, text| set(&mut draft, text));

        if let Err(wrong) = value::parse_name(label) {
            self.error(section.line, None, wrong);
        }
        if !self.check_keys(&draft) {
            return draft;
        }
        if draft.is_keyed() {
            if section.find("range").is_none() {
                self.missing(section, "range", "range = LOW-HIGH, such as 10000-10999");
            }
            draft.secret = self.read_secret(section);
            draft.pattern = self.fit_pattern(&draft);
        }
        self.check_door(&mut draft);
        self.check_client_address(&draft);
        self.warn_of_lock(&draft);
        self.warn_of_close(&draft);
        draft.plain.listen = without_covered(&draft.plain.listen);
        self.check_trap_time(&draft);
        self.warn_of_long_period(&draft);
        draft.pool_port = self.pool_port(&draft);
        draft
    }

    /// Checks that every key has an effect in its mirage. Returns whether the gate and the door are
    /// known; if not, nothing is checked.
    fn check_keys(&mut self, draft: &Draft) -> bool {
        let section = draft.section;
        if !["gate", "door", "sequence"]
            .iter()
            .all(|key| self.is_valid(section, key))
        {
            return false;
        }
        for entry in &section.entries {
            let key = keys::find(keys::MIRAGE, entry.key);
            if let Some(mirages) = key.and_then(|key| key.misplaced(draft)) {
                let what = format_args!("has no effect here; it is for {mirages}");
                self.error(entry.line, Some(entry.key), what);
            }
        }
        true
    }

    /// Checks that the door has what it needs, once.
    fn check_door(&mut self, draft: &mut Draft) {
        let section = draft.section;
        match draft.door.kind {
            DoorKind::Forward => {
                let hint = "port = 22, forward = ADDRESS:PORT or exec = COMMAND";
                if self
                    .either(section, &["port", "forward", "exec"], hint)
                    .is_none()
                {
                    (draft.door.service, draft.door.exec) = (None, None);
                }
                if let (Some(entry), Some(_)) = (section.find("open-command"), &draft.door.exec) {
                    let what = "is not needed with exec, which is started for each visitor";
                    self.error(entry.line, Some(entry.key), what);
                }
            }
            DoorKind::Command if section.find("open-command").is_none() && self.is_for_server() => {
                let hint = "open-command = COMMAND, which may contain %IP%";
                self.missing(section, "open-command", hint);
            }
            DoorKind::Nft if section.find("open-set").is_none() && self.is_for_server() => {
                self.missing(section, "open-set", "open-set = inet/TABLE/SET");
            }
            DoorKind::Command | DoorKind::Nft => {}
        }
        if let (Some(entry), None) = (section.find("close-command"), section.find("open-command"))
            && self.is_for_server()
        {
            let what = "there is nothing to close without open-command";
            self.error(entry.line, Some(entry.key), what);
        }
    }

    /// Only a service at an IPv4 address of this machine can be dialled from an address of 127/8.
    fn check_client_address(&mut self, draft: &Draft) {
        let (section, Some(service)) = (draft.section, draft.door.service) else {
            return;
        };
        if !self.is_for_server() || !self.is_valid(section, "client-address") {
            return;
        }
        let line = section.line_of("client-address");
        match draft.plain.client_address {
            Some(ClientAddress::Loopback) if service.is_ipv6() => {
                let what = format_args!(
                    "loopback needs an IPv4 service, such as forward = 127.0.0.1:{}; write plain, \
                     proxy-v1 or proxy-v2, or use exec",
                    service.port()
                );
                self.error(line, Some("client-address"), what);
            }
            Some(ClientAddress::Loopback) if !is_own_ipv4(service) => {
                let what = format_args!(
                    "loopback needs a service on this machine, and {} is not an address of it; \
                     write plain, proxy-v1 or proxy-v2",
                    service.ip()
                );
                self.error(line, Some("client-address"), what);
            }
            None if service.is_ipv6() => {
                let what = "an IPv6 service sees one address for all visitors, so one who fails can \
                            shut the others out; use an IPv4 address of it, or exec";
                self.warn(section.line_of("forward"), "forward", what);
            }
            _ => {}
        }
    }

    /// A knock needs no handshake, so a wrong one may come from anybody.
    fn warn_of_lock(&mut self, draft: &Draft) {
        if draft.lock_s == 0 || !self.is_for_server() {
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

    /// A client sends each knock twice, because one may be lost.
    fn warn_of_close(&mut self, draft: &Draft) {
        let is_doubled = draft.knock.close_sequence.first() == draft.knock.sequence.last();
        if is_doubled && !draft.knock.close_sequence.is_empty() && self.is_for_server() {
            let (key, line) = ("close-sequence", draft.section.line_of("close-sequence"));
            let what = format_args!(
                "starts with the last knock of sequence, which is sent twice; start with another port"
            );
            self.warn(line, key, what);
        }
    }

    /// What is open has to be closed after a crash, so the state file has to remember it.
    fn check_state_file(&mut self, common: &Common, drafts: &[Draft]) {
        if common.state_file != Location::Off {
            return;
        }
        for draft in drafts {
            if let Some(entry) = draft.section.find("close-command") {
                let what = "needs a state file, so that what is open is closed after a crash; \
                            remove state-file = none";
                self.error(entry.line, Some(entry.key), what);
            }
            if draft.takes_proofs() && draft.period > FORGETFUL_PERIOD_S {
                let what = format_args!(
                    "{}s is too long without a state file, which knows the used tokens: after each \
                     restart nobody would get in for two windows; remove state-file = none, or use \
                     {FORGETFUL_PERIOD_S}s at most",
                    draft.period
                );
                self.error(draft.section.line_of("period"), Some("period"), what);
            }
        }
    }

    /// In long windows, one source needs many places for the nonces of its proofs.
    fn warn_of_long_period(&mut self, draft: &Draft) {
        if self.is_for_server() && draft.takes_proofs() && draft.period > LONG_PERIOD_S {
            let share = NONCES / NONCE_SHARES;
            let what = format_args!(
                "{}s is so long that a member can fill their share of the memory: one source can \
                 get in {share} times in three windows; use {LONG_PERIOD_S}s at most",
                draft.period
            );
            self.warn(draft.section.line_of("period"), "period", what);
        }
    }

    /// A trap must not close while a token may still come, because that would tell a real port from a
    /// trap.
    fn check_trap_time(&mut self, draft: &Draft) {
        if draft.gate == Gate::Token && draft.plain.trap_s < MIN_TOKEN_TRAP_S {
            let what = format_args!(
                "{}s is too short; gate = token needs at least {MIN_TOKEN_TRAP_S}s",
                draft.plain.trap_s
            );
            let line = draft.section.line_of("trap-time");
            self.error(line, Some("trap-time"), what);
        }
    }

    /// The port of the pool. None if the mirage is not a pool.
    fn pool_port(&mut self, draft: &Draft) -> Option<u16> {
        let (section, range) = (draft.section, draft.range?);
        if !self.is_valid(section, "listen") || !self.is_valid(section, "pool-port") {
            return None;
        }
        let line = draft.pool_line();
        if !draft.is_pool {
            if draft.pool_port.is_some() {
                let what = "is only for pools; add listen = pool";
                self.error(line, Some("pool-port"), what);
            }
            return None;
        }
        let port = draft.pool_port.unwrap_or(range.low() - 1);
        if port == 0 {
            let what = "missing; there is no port below a range that begins with 1";
            self.error(line, Some("pool-port"), what);
        } else if range.contains(port) {
            let what =
                format_args!("{port} is in the mirage's own range; choose a port outside it");
            self.error(line, Some("pool-port"), what);
        } else {
            return Some(port);
        }
        None
    }

    fn read_secret(&mut self, section: &Section) -> Option<Secret> {
        let hint = "secret = TEXT or secret-file = PATH";
        let entry = self.either(section, &SECRET_KEYS, hint)?;
        let secret = if entry.key == "secret" {
            self.has_secret(entry.line, None);
            displayed(Secret::new(entry.whole_value()?.as_bytes()))
        } else {
            let path = resolve_path(self.path, self.text(entry)?);
            let path = self.accept(entry, path)?;
            self.secret_files.push(path.clone());
            displayed(Secret::read(&path)).map(|(secret, access)| {
                self.has_secret(entry.line, Some((path, access)));
                secret
            })
        };
        let secret = self.accept(entry, secret)?;
        if secret.is_weak() {
            let what = "the secret looks weak; `shimmer keygen` makes a strong one";
            self.warn(entry.line, entry.key, what);
        }
        Some(secret)
    }

    fn fit_pattern(&mut self, draft: &Draft) -> Option<Pattern> {
        let range = draft.range?;
        let minutes = match self.purpose {
            Purpose::Daemon | Purpose::Server => RANGE_FACTOR,
            Purpose::Client | Purpose::Control => 1,
        };
        let section = draft.section;
        if !self.is_valid(section, "decoys") || !self.is_valid(section, "period") {
            return None;
        }
        let pattern = value::fit_pattern(range, draft.decoys(), draft.period, minutes);
        let pattern = self.accept(section.find("range")?, pattern)?;
        let knocks = draft.knock.knocks.into();
        if draft.gate == Gate::Knock && !draft.is_fixed() && range.count() < knocks {
            let (line, has) = (draft.range_line(), range.count());
            let what = format_args!("has {has} ports, but {knocks} knocks need one each");
            self.error(line, Some("range"), what);
        }
        Some(pattern)
    }
}

/// A path in the configuration: `~/` is the home directory, and a relative path is relative to the
/// configuration file.
fn resolve_path(config: &Path, text: &str) -> Parsed<PathBuf> {
    match text.strip_prefix("~/") {
        Some(rest) => match std::env::var_os("HOME") {
            Some(home) if !home.is_empty() => {
                Ok(Path::new(&home).join(rest.trim_start_matches('/')))
            }
            _ => wrong!("{text}: ~ needs HOME, which is not set"),
        },
        None => Ok(config.parent().unwrap_or(Path::new("")).join(text)),
    }
}
