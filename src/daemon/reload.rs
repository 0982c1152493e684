//! From a configuration to open ports, at the start and at SIGHUP alike.
//!
//! A key takes a router seconds. So the keys that are missing are stretched a slice a turn, while
//! everything else goes on as it was; when the last is there, the new configuration takes over at
//! once. What both configurations have, stays: ports, bans, sessions.

use super::Daemon;
use super::admitted::Admitted;
use super::door::Whom;
use super::event::{Event, Warning};
use super::host::Host;
use super::listeners::{Listeners, PortId};
use super::state::{StateError, StateFile};
use super::{Failure, state};
use crate::config::{
    self, Common, DEFAULT_STATE_FILE, Diagnostic, Location, LogTarget, OwnerHint, Secret,
    ServerConfig,
};
use crate::limits::{
    BACKLOG, KNOCKERS, LIVE_WINDOWS, PLAN_PORTS, POOL_BACKLOG, RETRY_MS, STRETCH_ROUNDS_PER_TURN,
};
use crate::proto::gates::Gate;
use crate::proto::gates::GateSettings;
use crate::proto::scheme::key::{Key, Stretch};
use crate::proto::scheme::knock::{Sequences, Tracker};
use crate::proto::scheme::schedule::{Change, Plan, Schedule};
use crate::proto::scheme::token::Nonces;
use crate::proto::{Instant, Now};
use crate::sys::signal;
use crate::sys::socket::ListenAddress;
use crate::terms::{Door, Level};
use core::fmt;
use core::net::IpAddr;
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A mirage that is served.
pub struct Mirage {
    /// What its owner wants.
    pub config: config::ServerMirage,
    /// Its section, for those who outlive it.
    pub label: Rc<str>,
    /// Its ports through time, if it draws any.
    pub schedule: Option<Schedule>,
    /// Its ports now.
    pub plan: Plan,
    /// Where its ports listen, by number.
    pub places: Rc<[u32]>,
    /// Before this it bans nobody.
    pub settled_at: Instant,
    /// Where its used tokens or datagrams are, if it takes any.
    pub used: Option<usize>,
    /// Who is in the middle of its sequence, at gate = knock.
    pub knockers: Option<Tracker<RandomState>>,
    /// The sequences that count now.
    pub sequences: Sequences,
    /// Which addresses a silent gate lets in, at door = forward.
    pub admitted: Admitted,
    /// The log was told that the firewall sends nobody to its pool.
    pub told_of_redirect: bool,
}

/// The tokens that were used with a name and a secret. They are remembered longer than the mirage.
pub struct UsedTokens {
    name: String,
    secret: Secret,
    /// Theirs.
    pub nonces: Nonces,
}

/// Most changes from one plan to the next: everything closes, and as much opens.
const PLAN_CHANGES: usize = 2 * PLAN_PORTS;

impl Mirage {
    /// Milliseconds of a window; 0 where there are none.
    pub fn period_ms(&self) -> u64 {
        let keyed = self.config.keyed.as_ref();
        keyed.map_or(0, |keyed| u64::from(keyed.pattern.period()) * 1_000)
    }

    /// When its ports have to be looked at again.
    pub fn next_turn(&self, now: Now) -> Option<Instant> {
        let schedule = self.schedule.as_ref()?;
        let period_ms = self.period_ms();
        let into = now.real_ms.rem_euclid(period_ms as i64) as u64;
        let turn = now.boot.after(period_ms - into);
        Some(if schedule.is_short() {
            turn.min(now.boot.after(RETRY_MS))
        } else {
            turn
        })
    }

    /// Who alone may come to its ports. None: everybody.
    pub fn filter(&self) -> Option<Vec<IpAddr>> {
        let is_silent = self.config.gate().is_silent();
        is_silent.then(|| self.admitted.addresses())
    }

    /// Whether it has ports open now. Behind a silent gate one is open while somebody is let in.
    pub fn is_listening(&self) -> bool {
        !self.config.gate().is_silent() || !self.admitted.is_empty()
    }

    /// Milliseconds for which a port can be the real one.
    fn live_ms(&self) -> u64 {
        LIVE_WINDOWS as u64 * self.period_ms()
    }

    /// The ports that listen for it: those of its plan, or its pool's one while any of them is open.
    fn bound(&self) -> &[u16] {
        match &self.config.pool_port {
            _ if !self.is_listening() => &[],
            Some(_) if self.plan.ports().is_empty() => &[],
            Some(port) => core::slice::from_ref(port),
            None => self.plan.ports(),
        }
    }

    /// What has to be done to its listeners for the next plan. A pool's stays, and what comes to it
    /// is something else from then on.
    pub fn changes(&self, next: &Plan) -> heapless::Vec<Change, PLAN_CHANGES> {
        if !self.is_listening() {
            return heapless::Vec::new();
        }
        let Some(port) = self.config.pool_port else {
            return self.plan.difference(next).collect();
        };
        let change = match (self.plan.ports(), next.ports()) {
            ([], []) => None,
            ([], _) => Some(Change::Open(port)),
            (_, []) => Some(Change::Close(port)),
            _ => Some(Change::Turn(port)),
        };
        change.into_iter().collect()
    }

    /// Visitors that the kernel keeps for each of its listeners.
    pub fn backlog(&self) -> i32 {
        match self.config.pool_port {
            Some(_) => POOL_BACKLOG,
            None => BACKLOG,
        }
    }

    /// Its listeners, at all places.
    pub fn ids(&self) -> Vec<PortId> {
        let mut ids = Vec::new();
        for &port in self.bound() {
            for &place in self.places.iter() {
                ids.push(Listeners::id(place, port));
            }
        }
        ids
    }

    fn wants(&self, id: PortId) -> bool {
        let is_there = |&place: &u32| Listeners::id(place, id.port()) == id;
        self.bound().binary_search(&id.port()).is_ok() && self.places.iter().any(is_there)
    }
}

/// A configuration that will take over once its keys are there.
pub struct Reload {
    common: Rc<Common>,
    mirages: Vec<config::ServerMirage>,
    keys: Vec<Option<Key>>,
    stretch: Option<Stretch>,
    is_first: bool,
}

/// The name of what the log goes to.
pub fn log_path(target: &LogTarget) -> PathBuf {
    match target {
        LogTarget::Stderr => "stderr".into(),
        LogTarget::Syslog => "syslog".into(),
        LogTarget::File(path) => path.clone(),
    }
}

impl<H: Host> Daemon<H> {
    /// Reads the configuration again. One with errors changes nothing.
    pub(super) fn read_configuration_again(&mut self) {
        self.look_at_clock();
        let server = match ServerConfig::load(&self.config_path) {
            Ok(server) => server,
            Err(errors) => {
                self.reopen_log(self.common.log.clone(), self.common.log_level);
                for error in errors.iter() {
                    let error = error.to_string();
                    self.log.write(&Event::ReloadFailed { error });
                }
                return;
            }
        };
        self.reopen_log(server.common.log.clone(), server.common.log_level);
        if server.common.user != self.common.user {
            self.log.write(&Event::Warning(Warning::User));
        }
        let ServerConfig {
            common,
            mirages,
            warnings,
        } = server;
        self.begin_reload(Rc::new(common), mirages, &warnings);
    }

    fn reopen_log(&mut self, target: LogTarget, level: Level) {
        if let Err(error) = self.log.reopen(&target, level) {
            let warning = Warning::Log(log_path(&target), error);
            self.log.write(&Event::Warning(warning));
        }
        signal::set_crash_log(self.log.descriptor());
    }

    /// Begins with a configuration. The keys that are known already are taken over.
    pub(super) fn begin_reload(
        &mut self,
        common: Rc<Common>,
        mirages: Vec<config::ServerMirage>,
        warnings: &[Diagnostic],
    ) {
        for warning in warnings {
            let warning = Warning::Configuration(warning.to_string());
            self.log.write(&Event::Warning(warning));
        }
        // The keys that are served, and those that a reload has which this one overtakes: SIGHUPs in
        // quick succession would otherwise never come to an end.
        let overtaken = self.reload.take();
        let known = |config: &config::ServerMirage| {
            for mirage in &self.mirages {
                if has_same_key(&mirage.config, config) {
                    return Some(mirage.schedule.as_ref()?.key().clone());
                }
            }
            let overtaken = overtaken.as_ref()?;
            for (known, key) in overtaken.mirages.iter().zip(&overtaken.keys) {
                if key.is_some() && has_same_key(known, config) {
                    return key.clone();
                }
            }
            None
        };
        self.reload = Some(Reload {
            keys: mirages.iter().map(known).collect(),
            common,
            mirages,
            stretch: None,
            is_first: self.mirages.is_empty(),
        });
    }

    /// Does a slice of the work on the keys; the last one lets the configuration take over.
    pub(super) fn go_on_with_reload(&mut self) {
        let Some(mut reload) = self.reload.take() else {
            return;
        };
        let keys = reload.mirages.iter().zip(&reload.keys).enumerate();
        let missing = keys.filter(|(_, (_, key))| key.is_none());
        let mut missing = missing.filter_map(|(place, (config, _))| {
            Some((place, &config.plain.name, config.keyed.as_ref()?))
        });
        if let Some((missing, name, keyed)) = missing.next() {
            let begin = || Stretch::new(keyed.secret.as_bytes(), name);
            let stretch = reload.stretch.get_or_insert_with(begin);
            if let Some(key) = stretch.advance(STRETCH_ROUNDS_PER_TURN) {
                reload.keys[missing] = Some(key);
                reload.stretch = None;
            }
            self.reload = Some(reload);
        } else {
            self.take_over(reload);
        }
    }

    fn take_over(&mut self, reload: Reload) {
        // Whoever waits at a port is judged by what it found there.
        let ids: Vec<PortId> = self.listeners.iter().map(|listener| listener.id).collect();
        self.accept_all(&ids);
        let Reload {
            common,
            mirages,
            keys,
            is_first,
            ..
        } = reload;
        // At the start the files were taken before anything else, and the log was told what could not be.
        let ours = &self.common;
        let wanted = &common;
        if !is_first || wanted.state_file != ours.state_file || wanted.control != ours.control {
            self.take_files(wanted);
        }
        self.adopt(common);
        let mut old = core::mem::take(&mut self.mirages);
        let let_in: Vec<(Rc<str>, IpAddr)> = old
            .iter()
            .flat_map(|mirage| {
                let addresses = mirage.admitted.iter();
                addresses.map(|(address, _)| (Rc::clone(&mirage.label), address))
            })
            .collect();
        // What was used stays used, wherever in the file its secret is now, and if it is nowhere: it
        // may come back.
        let now = self.now.boot;
        self.used.retain_mut(|used| {
            used.nonces.expire(now);
            !used.nonces.is_empty()
        });
        for (config, key) in mirages.into_iter().zip(keys) {
            let mut mirage = self.prepare(config, key, &mut old);
            mirage.used = self.used_by(&mirage);
            self.serve(mirage);
        }
        self.watch_knocks();
        let dropped = old.len();
        let mirages = &self.mirages;
        self.listeners
            .keep(|id| mirages.iter().any(|mirage| mirage.wants(id)));
        self.open_again = Some(self.now.boot);
        for (label, address) in let_in {
            let found = self.find_mirage(&label);
            if !found.is_some_and(|mirage| self.mirages[mirage].admitted.contains(address)) {
                self.log.write(&Event::Shut {
                    mirage: label,
                    whom: Whom::Address(address),
                });
            }
        }
        if !is_first {
            let mirages = self.mirages.len();
            self.log.write(&Event::Reload { mirages, dropped });
        }
    }

    /// The used tokens or datagrams of a mirage, if it takes any.
    fn used_by(&mut self, mirage: &Mirage) -> Option<usize> {
        let config = &mirage.config;
        if !matches!(config.gate(), Gate::Token | Gate::Packet) {
            return None;
        }
        let secret = &config.keyed.as_ref()?.secret;
        let is_its = |used: &UsedTokens| used.name == config.plain.name && used.secret == *secret;
        let number = self.used.iter().position(is_its).unwrap_or_else(|| {
            self.used.push(UsedTokens {
                name: config.plain.name.clone(),
                secret: secret.clone(),
                nonces: Nonces::default(),
            });
            self.used.len() - 1
        });
        self.used[number].nonces.set_live_ms(mirage.live_ms());
        Some(number)
    }

    /// The state file and the control socket of a configuration, in place of those that are open.
    fn take_files(&mut self, common: &Common) {
        // By its name: a default that is now written out is the same file, with our own lock on it.
        let ours = self.state.as_ref().map(|state| state.path().as_os_str());
        if common
            .state_file
            .path(DEFAULT_STATE_FILE)
            .map(Path::as_os_str)
            != ours
        {
            match self.take_state_file(&common.state_file) {
                Ok(state) => {
                    let old = core::mem::replace(&mut self.state, state);
                    self.saved = None;
                    self.move_journal(old.as_ref());
                }
                Err(failure) => self.keep_file(&failure),
            }
        }
        if let Err(failure) = self.take_control(&common.control) {
            self.keep_file(&failure);
        }
    }

    fn keep_file(&mut self, failure: &Failure) {
        let warning = Warning::FileKept(failure.to_string());
        self.log.write(&Event::Warning(warning));
    }

    /// What the configuration says for all mirages.
    fn adopt(&mut self, common: Rc<Common>) {
        self.common = common;
        self.bans.set_ban_ms(u64::from(self.common.ban_s) * 1_000);
        self.sessions.grow(self.most_sessions());
        self.look_at_clock();
    }

    /// A mirage as it will be served: with the ports that it has, if nothing about them changes.
    fn prepare(
        &mut self,
        config: config::ServerMirage,
        key: Option<Key>,
        old: &mut Vec<Mirage>,
    ) -> Mirage {
        let places = if config.plain.listen.is_empty() {
            Rc::new([self.listeners.place(ListenAddress::Any)]) as Rc<[u32]>
        } else {
            let listen = config.plain.listen.iter();
            listen
                .map(|&address| self.listeners.place(ListenAddress::One(address)))
                .collect()
        };
        let served = old
            .iter()
            .position(|old| old.config.section == config.section);
        if let Some(old) = served.map(|served| old.swap_remove(served))
            && old.config.plain.name == config.plain.name
            && old.config.keyed == config.keyed
        {
            let (mut knockers, mut admitted) = (old.knockers, old.admitted);
            if old.config.gate_settings != config.gate_settings {
                knockers = self::knockers(&config.gate_settings);
                admitted = Admitted::default();
            }
            // No other door has ports.
            if config.forward().is_none() {
                admitted = Admitted::default();
            }
            return Mirage {
                config,
                places,
                told_of_redirect: false,
                knockers,
                admitted,
                ..old
            };
        }
        let now = self.now.boot;
        let keyed = config.keyed.as_ref();
        let mut schedule = key
            .zip(keyed)
            .map(|(key, keyed)| Schedule::new(key, keyed.pattern));
        let unix = self.clock.believed(self.now);
        let plan = schedule
            .as_mut()
            .and_then(|schedule| schedule.turn(unix, now));
        Mirage {
            label: config.section.as_str().into(),
            plan: plan.unwrap_or_default(),
            schedule,
            places,
            settled_at: now,
            used: None,
            knockers: knockers(&config.gate_settings),
            sequences: Sequences::new(),
            admitted: Admitted::default(),
            told_of_redirect: false,
            config,
        }
    }

    fn serve(&mut self, mirage: Mirage) {
        let number = self.mirages.len();
        let backlog = mirage.backlog();
        for id in mirage.ids() {
            let registry = self.poll.registry();
            let admitted = mirage.filter();
            self.listeners
                .open(registry, id, number, backlog, admitted.as_deref());
        }
        let open = self.count_open(&mirage);
        let what = Served(&mirage.config, open).to_string();
        self.log.write(&Event::Listen { what });
        self.mirages.push(mirage);
    }

    /// How many of a mirage's ports are open.
    pub(super) fn count_open(&self, mirage: &Mirage) -> usize {
        mirage
            .ids()
            .into_iter()
            .filter(|&id| self.listeners.is_open(id))
            .count()
    }

    /// The state file of a configuration. Where the default one can't be had, it goes without.
    pub(super) fn take_state_file(
        &mut self,
        wanted: &Location,
    ) -> Result<Option<StateFile>, Failure> {
        let Some(path) = wanted.path(DEFAULT_STATE_FILE) else {
            return Ok(None);
        };
        // Who says whom the daemon becomes has thought of its files.
        let is_default = *wanted == Location::Default && self.common.user.is_none();
        match state::StateFile::take(path) {
            Ok(state) => Ok(Some(state)),
            Err(StateError::Taken(lock)) => {
                let why = "another daemon uses this state file; give each its own";
                Err(Failure::State(lock, why.into()))
            }
            Err(StateError::Unusable(path, error)) if is_default => {
                self.log
                    .write(&Event::Warning(Warning::NoState(path, error)));
                Ok(None)
            }
            Err(StateError::Unusable(path, error)) => {
                let owner = OwnerHint {
                    path: &path,
                    error: &error,
                };
                let why = format!("{error}{owner}");
                Err(Failure::State(path, why))
            }
        }
    }
}

/// What is served, as the log has it.
struct Served<'a>(&'a config::ServerMirage, usize);

impl fmt::Display for Served<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(config, open) = self;
        write!(f, "mirage={}", config.section)?;
        if let Some(range) = config.range() {
            write!(f, " range={}-{}", range.low(), range.high())?;
        }
        if config.listens() {
            write!(f, " open={open}")?;
        }
        match &config.door {
            Door::Forward(forward) => write!(f, " forward={}", forward.to)?,
            door => write!(f, " door={}", door.word())?,
        }
        match config.gate() {
            Gate::Port => {}
            gate => write!(f, " gate={}", gate.word())?,
        }
        match config.pool_port {
            Some(port) => write!(f, " pool-port={port}"),
            None => Ok(()),
        }
    }
}

/// Who is in the middle of a sequence, where there is one: nobody yet.
fn knockers(gate: &GateSettings) -> Option<Tracker<RandomState>> {
    match gate {
        GateSettings::Knock(knock) => Some(Tracker::new(KNOCKERS, knock.rules, RandomState::new())),
        GateSettings::Port | GateSettings::Token | GateSettings::Packet(_) => None,
    }
}

fn has_same_key(one: &config::ServerMirage, other: &config::ServerMirage) -> bool {
    match (&one.keyed, &other.keyed) {
        (Some(keyed), Some(others)) => {
            one.plain.name == other.plain.name && keyed.secret == others.secret
        }
        _ => false,
    }
}
