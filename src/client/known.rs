//! The mirages that the client's configuration knows, read only if one of them is wanted.

use crate::cli::{self, Failure, warn};
use crate::config::{Client, Known, Secret};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The configuration's name in its directory.
const FILE: &str = "shimmer.conf";

/// The configuration: the one that was named, or the user's.
pub struct KnownMirages {
    file: Option<PathBuf>,
    was_named: bool,
}

impl KnownMirages {
    /// Those of this file, or else of the user's.
    #[must_use]
    pub fn new(named: Option<&OsStr>) -> Self {
        Self {
            was_named: named.is_some(),
            file: named.map(PathBuf::from).or_else(usual_file),
        }
    }

    /// The mirage of the section `[mirage-SECTION]`.
    ///
    /// # Errors
    /// [`Failure::Configuration`] if the file is wrong, [`Failure::Usage`] if there is no file or no
    /// such mirage in it: the nearest one is named, or all are.
    pub fn mirage(&self, section: &str) -> Result<Known, Failure> {
        let mut mirages = self.load()?;
        if let Some(found) = mirages.iter().position(|known| known.section == section) {
            return Ok(mirages.swap_remove(found));
        }
        let file = self.file.as_deref().unwrap_or(Path::new(FILE));
        if mirages.is_empty() {
            let file = file.display();
            return Err(Failure::usage(format_args!(
                "{section}: there is no {file} to look it up in; give NAME:LOW:HIGH"
            )));
        }
        let sections: Vec<&str> = mirages.iter().map(|known| &*known.section).collect();
        Err(cli::unknown_mirage(file, section, &sections))
    }

    /// The secret of the mirages with that name in the scheme, if they have one and the same.
    ///
    /// # Errors
    /// [`Failure::Configuration`] if the file is wrong.
    pub fn secret_of(&self, name: &str) -> Result<Option<Secret>, Failure> {
        let mirages = self.load()?;
        let mut found: Option<&Secret> = None;
        for known in &mirages {
            if known.plain.name == name
                && let Some(secret) = &known.secret
            {
                if found.is_some_and(|other| other != secret) {
                    return Ok(None);
                }
                found = Some(secret);
            }
        }
        Ok(found.cloned())
    }

    /// Nothing if the user has no configuration. One that was named has to exist.
    fn load(&self) -> Result<Vec<Known>, Failure> {
        let Some(file) = &self.file else {
            return Ok(Vec::new());
        };
        if !self.was_named && !file.exists() {
            return Ok(Vec::new());
        }
        let client = Client::load(file).map_err(|errors| Failure::configuration(&errors))?;
        for warning in &client.warnings {
            warn(format_args!("{warning}"));
        }
        Ok(client.mirages)
    }
}

/// Where the user's configuration is: in the directory that the XDG base directory specification
/// names, or on Windows in %APPDATA%.
fn usual_file() -> Option<PathBuf> {
    let directory = |variable: &str| {
        let path = std::env::var_os(variable).map(PathBuf::from);
        // The specification has relative paths ignored, and an empty one is relative.
        path.filter(|path| path.is_absolute())
    };
    let directory = if cfg!(windows) {
        directory("APPDATA")
    } else {
        directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")))
    };
    Some(directory?.join(FILE))
}
