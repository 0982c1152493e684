//! The daemon's sandbox: what it gives up once its files are open, and which configuration takes a restart then.
//!
//! A daemon that runs commands has none: they would inherit it, and a helper outside that runs what it is told
//! would be the same hole.

use crate::config::{
    Common, DEFAULT_CONTROL, DEFAULT_STATE_FILE, LogTarget, OUTGOING_FILES, ServerConfig,
};
use crate::proto::Core;
use crate::sys::sandbox::{FileRules, Rights, close_calls};
use core::fmt;
use std::error::Error;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Whether the daemon is in its sandbox.
pub enum Sandbox {
    /// No, and why not.
    Off(&'static str),
    /// Yes. The configuration of the start says where its files are; None if the kernel guards no files.
    On(Option<Places>),
}

/// The folders of the daemon's own files, each with its key.
pub struct Places([(&'static str, Option<PathBuf>); 3]);

/// Why a new configuration can't take over in the sandbox.
#[derive(Debug, PartialEq, Eq)]
pub enum NeedsRestart {
    /// A mirage has a command.
    Commands(String),
    /// A key names a file in another folder than at the start.
    Moved(&'static str, PathBuf),
}

impl Error for NeedsRestart {}

impl fmt::Display for NeedsRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commands(mirage) => write!(
                f,
                "mirage={mirage} has a command, and the daemon's sandbox runs none: it takes a restart"
            ),
            Self::Moved(key, path) => write!(
                f,
                "{key}: {} is outside of what the daemon's sandbox allows: it takes a restart",
                path.display()
            ),
        }
    }
}

/// What the sandbox is made of, taken from the configuration of the start.
pub struct Plan {
    /// Why there is none.
    off: Option<&'static str>,
    files: Vec<(PathBuf, Rights)>,
    places: Places,
}

impl Plan {
    /// The plan for a configuration that was read from `config`.
    pub fn new(server: &ServerConfig, config: &Path) -> Self {
        let common = &server.common;
        let off = if !common.sandbox {
            Some("configuration")
        } else {
            with_command(server).map(|_| COMMANDS)
        };
        let places = Places::of(common);
        // An editor writes a new file in place of the old one, so it is the folder that is read.
        let mut files = Vec::from_iter(folder(config).map(|folder| (folder, Rights::READ)));
        if let Ok(target) = config.canonicalize() {
            files.extend(folder(&target).map(|folder| (folder, Rights::READ)));
        }
        let readable = OUTGOING_FILES
            .iter()
            .chain(&["/dev/null"])
            .map(PathBuf::from);
        let readable = readable.chain(server.secret_files.iter().cloned());
        files.extend(readable.map(|path| (path, Rights::READ)));
        if common.user.is_some() {
            // Where users are: the file is replaced whenever one is added.
            files.push(("/etc".into(), Rights::READ));
        }
        let rights = [Rights::APPEND, Rights::KEEP, Rights::BIND];
        for ((_, place), rights) in places.0.iter().zip(rights) {
            files.extend(place.clone().map(|place| (place, rights)));
        }
        Self { off, files, places }
    }
}

const COMMANDS: &str = "commands";

/// The section of a mirage that runs commands.
fn with_command(server: &ServerConfig) -> Option<&str> {
    let mut mirages = server.mirages.iter();
    let mirage = mirages.find(|mirage| mirage.commands().next().is_some())?;
    Some(&mirage.settings.section)
}

/// The folder of a file.
fn folder(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    Some(if folder.as_os_str().is_empty() {
        ".".into()
    } else {
        folder.to_path_buf()
    })
}

impl Places {
    fn of(common: &Common) -> Self {
        let log = match &common.log {
            LogTarget::File(path) => Some(&**path),
            LogTarget::Stderr | LogTarget::Syslog => None,
        };
        let state = common.state_file.path(DEFAULT_STATE_FILE);
        let control = common.control.path(DEFAULT_CONTROL);
        let of = |path: Option<&Path>| path.and_then(folder);
        Self([
            ("log", of(log)),
            ("state-file", of(state)),
            ("control", of(control)),
        ])
    }
}

impl Sandbox {
    /// Gives up what the plan does not need, for good.
    pub fn enter(plan: Plan, core: &Core) -> Self {
        // The journal may have commands of a configuration before.
        let mut openings = core.openings().iter();
        let has_commands = openings.any(|opening| opening.to_close().is_some());
        if let Some(off) = plan.off.or(has_commands.then_some(COMMANDS)) {
            return Self::Off(off);
        }
        let rules = FileRules::new().inspect(|rules| {
            for (path, rights) in &plan.files {
                // What is not there can't be opened either.
                let _ = rules.allow(path, *rights);
            }
            // To open it again. A pipe is in no folder, and needs no rule.
            let _ = rules.allow_open(std::io::stderr().as_fd(), Rights::WRITE);
        });
        if close_calls().is_err() {
            return Self::Off("kernel");
        }
        let is_guarded = rules.and_then(FileRules::enforce).is_ok();
        Self::On(is_guarded.then_some(plan.places))
    }

    /// `on` or `off`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::On(_) => "on",
            Self::Off(_) => "off",
        }
    }

    /// Why a new configuration can't take over.
    pub fn refusal(&self, server: &ServerConfig) -> Option<NeedsRestart> {
        let Self::On(places) = self else {
            return None;
        };
        if let Some(mirage) = with_command(server) {
            return Some(NeedsRestart::Commands(mirage.to_owned()));
        }
        let allowed = places.as_ref()?.0.iter();
        let wanted = Places::of(&server.common).0;
        let moved = allowed
            .zip(wanted)
            .find_map(|((_, allowed), (key, wanted))| {
                let wanted = wanted?;
                (allowed.as_ref() != Some(&wanted)).then_some((key, wanted))
            });
        moved.map(|(key, folder)| NeedsRestart::Moved(key, folder))
    }
}
