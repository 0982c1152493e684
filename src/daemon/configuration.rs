//! Turns a configuration file into input for the core, at the start and at SIGHUP alike; also handles the files
//! and the control socket that it names.

use super::failure::Failure;
use super::host::Host;
use super::log::log_path;
use super::reload::{Complete, common_settings};
use super::rights;
use super::sandbox::{Plan, Sandbox};
use super::shell::{Configuration, Shell};
use super::store::{NotRead, Store, StoreError};
use super::used::UsedFile;
use crate::config::{
    Common, DEFAULT_STATE_FILE, Diagnostic, Location, LogTarget, ServerConfig, ServerMirage,
};
use crate::proto::Core;
use crate::proto::doors::{Closing, RestoredOpening};
use crate::proto::event::{Event, Warning};
use crate::proto::gates::Gate;
use crate::proto::input::Input;
use crate::proto::nonces::{Memory, Past};
use crate::proto::settings::{MirageSettings, Settings};
use crate::sys::signal;
use crate::terms::Level;
use std::path::Path;
use std::rc::Rc;

impl<H: Host> Shell<H> {
    /// Reads the configuration again. One with errors changes nothing.
    pub(super) fn read_configuration_again(&mut self) {
        // An operator who has set the clock may say so with SIGHUP: it counts at once, whatever the file says.
        let is_kept = self.host.clock_is_kept();
        self.answers.push_back(Input::ClockKept(is_kept));
        let server = match self.load_again() {
            Ok(server) => server,
            Err(errors) => {
                let common = Rc::clone(&self.configuration.common);
                self.reopen_log(&common.log, common.log_level);
                for error in errors {
                    self.log.write(&Event::ReloadFailed { error });
                }
                return;
            }
        };
        let ServerConfig {
            common,
            mirages,
            warnings,
            ..
        } = server;
        self.reopen_log(&common.log, common.log_level);
        let ours = Rc::clone(&self.configuration.common);
        for (key, is_same) in [
            ("user", common.user == ours.user),
            ("sandbox", common.sandbox == ours.sandbox),
        ] {
            if !is_same {
                self.log.write(&Event::Warning(Warning::Restart(key)));
            }
        }
        self.begin_reload(Rc::new(common), mirages, &warnings);
    }

    /// The configuration, or everything that keeps it from taking over.
    fn load_again(&self) -> Result<ServerConfig, Vec<String>> {
        let Configuration { path, sandbox, .. } = &self.configuration;
        let server = ServerConfig::load_to_serve(path)
            .map_err(|errors| Vec::from_iter(errors.iter().map(Diagnostic::to_string)))?;
        let refusal = sandbox.refusal(&server).map(|refusal| refusal.to_string());
        let missing = || rights::find_missing(&server.mirages).map(|missing| missing.to_string());
        match refusal.or_else(missing) {
            Some(refusal) => Err(vec![refusal]),
            None => Ok(server),
        }
    }

    /// Gives up what this configuration does not need, once everything is open.
    pub fn enter_sandbox(&mut self, plan: Plan, core: &Core) {
        let sandbox = Sandbox::enter(plan, core);
        self.log.write(&match &sandbox {
            Sandbox::Off(reason) => Event::StartOpen { reason },
            Sandbox::On(places) => Event::Start {
                guards_files: places.is_some(),
            },
        });
        self.configuration.sandbox = sandbox;
    }

    fn reopen_log(&mut self, target: &LogTarget, level: Level) {
        if let Err(error) = self.log.reopen(target, level) {
            let warning = Warning::Log(log_path(target), error);
            self.log.write(&Event::Warning(warning));
        }
        signal::set_crash_log(self.log.descriptor());
    }

    pub(super) fn begin_reload(
        &mut self,
        common: Rc<Common>,
        mirages: Vec<ServerMirage>,
        warnings: &[Diagnostic],
    ) {
        for warning in warnings {
            let warning = Warning::Configuration(warning.to_string());
            self.log.write(&Event::Warning(warning));
        }
        self.configuration.coming.begin(common, mirages);
    }

    pub(super) fn go_on_with_reload(&mut self) {
        let Some(Complete { common, mirages }) = self.configuration.coming.advance() else {
            return;
        };
        let (ours, descriptors) = (
            Rc::clone(&self.configuration.common),
            self.configuration.descriptors,
        );
        // At the start the files were opened before anything else, and any failure was logged.
        let is_first = core::mem::take(&mut self.configuration.is_first);
        if !is_first || common.state_file != ours.state_file || common.control != ours.control {
            self.take_files(&common, mirages.iter().map(|(settings, _)| settings));
        }
        let settings = Settings {
            common: common_settings(&common, descriptors),
            mirages,
        };
        let settings = Box::new(settings);
        self.configuration.common = common;
        self.answers.push_back(Input::Configuration(settings));
    }

    /// Replaces the state file and the control socket by those of a new configuration.
    fn take_files<'a>(
        &mut self,
        common: &Common,
        mirages: impl Iterator<Item = &'a MirageSettings> + Clone,
    ) {
        // Compares the names: a default that is now written out is the same file, with our own lock on it.
        let ours = self.store.as_ref().map(|store| store.path().as_os_str());
        let wanted = common.state_file.path(DEFAULT_STATE_FILE);
        if wanted.map(Path::as_os_str) != ours {
            match self.take_store(common) {
                Ok(mut store) => {
                    // If there is none now, the old journal stays: the next daemon that reads it may close
                    // everything.
                    if let (Some(store), Some(old)) = (&mut store, &self.store) {
                        store.replace(old);
                    }
                    self.store = store;
                    let path = self.store.as_ref().map(Store::used);
                    // What it may hold was before our start, of which the one in use says what there is to say.
                    let used = UsedFile::create(path);
                    let old = core::mem::replace(&mut self.used, used);
                    self.used.replace(old);
                    let restored = self.read_journal(mirages);
                    self.answers.push_back(Input::Restored(restored));
                }
                Err(failure) => self.keep_file(&failure),
            }
        }
        if let Err(failure) = self.take_control(common) {
            self.keep_file(&failure);
        }
    }

    fn keep_file(&mut self, failure: &Failure) {
        let warning = Warning::FileKept(failure.to_string());
        self.log.write(&Event::Warning(warning));
    }

    pub(super) fn take_control(&mut self, common: &Common) -> Result<(), Failure> {
        let log = &mut self.log;
        let warn = |event| log.write(&event);
        self.control.take(common, self.poll.registry(), warn)
    }

    /// Opens the state file of a configuration. Without the default one the daemon works without bans on disk.
    pub(super) fn take_store(&mut self, common: &Common) -> Result<Option<Store>, Failure> {
        let Some(path) = common.state_file.path(DEFAULT_STATE_FILE) else {
            return Ok(None);
        };
        // An operator who chose a user is expected to have chosen files for that user.
        let is_default =
            common.state_file == Location::Default && self.configuration.common.user.is_none();
        match Store::take(path) {
            Ok(store) => Ok(Some(store)),
            Err(StoreError::Taken(lock)) => Err(Failure::Taken(lock)),
            Err(StoreError::Unusable(path, error)) if is_default => {
                let warning = Warning::NoState(path, error);
                self.log.write(&Event::Warning(warning));
                Ok(None)
            }
            Err(StoreError::Unusable(path, error)) => Err(Failure::State(path, error)),
        }
    }

    /// Which tokens and datagrams were used before the start, as far as our state file knows.
    pub(super) fn read_used(&mut self, mirages: &[ServerMirage]) -> Memory {
        let path = self.store.as_ref().map(Store::used);
        let (used, memory, past) = UsedFile::open(path, self.now.boot);
        let is_needed =
            |mirage: &ServerMirage| matches!(mirage.settings.gate(), Gate::Token | Gate::Packet);
        if past != Past::Known && mirages.iter().any(is_needed) {
            let path = used.path().map(Path::to_path_buf);
            let warning = Warning::UsedUnknown(path, past);
            self.log.write(&Event::Warning(warning));
        }
        self.used = used;
        memory
    }

    /// What a previous daemon with our state file has left open.
    pub(super) fn read_journal<'a>(
        &mut self,
        mirages: impl Iterator<Item = &'a MirageSettings> + Clone,
    ) -> Vec<RestoredOpening> {
        let Some(store) = &self.store else {
            return Vec::new();
        };
        let closing = |section: &str, open_for| {
            let mirage = mirages.clone().find(|it| *it.section == *section);
            mirage.map_or(Closing::Unknown, |it| Closing::of(it, open_for))
        };
        let restored = match store.read_journal(self.now, closing) {
            Ok(restored) => restored,
            Err(NotRead { why, moved }) => {
                let warning = Warning::JournalUnread(store.journal(), why, moved);
                self.log.write(&Event::Warning(warning));
                return Vec::new();
            }
        };
        let open = restored.len();
        if open > 0 {
            self.log.write(&Event::OpeningsLoaded { open });
        }
        for orphan in restored.iter().filter(|it| it.close == Closing::Unknown) {
            let (mirage, open_for) = (Rc::clone(&orphan.section), orphan.open_for);
            self.log.write(&Event::Orphan { mirage, open_for });
        }
        restored
    }
}
