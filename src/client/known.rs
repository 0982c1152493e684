//! The mirages in the client's configuration, which is read only when one of them is needed.

use crate::cli::{Error, warn};
use crate::config::{ClientConfig, ClientMirage, Secret};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The configuration's file name.
const FILE: &str = "shimmer.conf";

/// The client's configuration.
#[derive(Debug)]
pub struct KnownMirages {
    /// None if the environment names no directory for it.
    file: Option<PathBuf>,
    /// Whether `--config` names the file. Then it has to exist.
    is_given: bool,
}

impl KnownMirages {
    /// Those in the file `given`, or else in the user's own.
    #[must_use]
    pub fn new(given: Option<&OsStr>) -> Self {
        Self {
            is_given: given.is_some(),
            file: given.map(PathBuf::from).or_else(user_file),
        }
    }

    /// The mirage of the section `[mirage-SECTION]`.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the file is wrong; [`Error::Usage`] if there is no file, or no such
    /// section in it.
    pub fn mirage(&self, section: &str) -> Result<ClientMirage, Error> {
        let mut mirages = self.load()?;
        if let Some(found) = mirages.iter().position(|known| known.section == section) {
            return Ok(mirages.swap_remove(found));
        }
        let file = self.file.as_deref().unwrap_or(Path::new(FILE));
        if mirages.is_empty() {
            let file = file.display();
            return Err(Error::usage(format_args!(
                "no mirage {section}: {file} does not exist. Create it (shimmer share on the server \
                 prints what belongs in it), or give NAME:LOW:HIGH"
            )));
        }
        let sections: Vec<&str> = mirages.iter().map(|known| &*known.section).collect();
        Err(Error::unknown_mirage(file, section, &sections))
    }

    /// The secret of the mirages whose name in the scheme is `name`. None if they have different ones.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the file is wrong.
    pub fn secret_of(&self, name: &str) -> Result<Option<Secret>, Error> {
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

    /// None at all if the user has no configuration.
    fn load(&self) -> Result<Vec<ClientMirage>, Error> {
        let Some(file) = &self.file else {
            return Ok(Vec::new());
        };
        if !self.is_given && !file.exists() {
            return Ok(Vec::new());
        }
        let client =
            ClientConfig::load(file).map_err(|errors| Error::Configuration(errors.into()))?;
        for warning in &client.warnings {
            warn(format_args!("{warning}"));
        }
        Ok(client.mirages)
    }
}

/// Where the user's own configuration is: in the directory of the XDG base directory specification, or on
/// Windows in %APPDATA%.
fn user_file() -> Option<PathBuf> {
    let directory = |variable: &str| {
        let path = std::env::var_os(variable).map(PathBuf::from);
        // The specification says to ignore relative paths. An empty one is relative.
        path.filter(|path| path.is_absolute())
    };
    let directory = if cfg!(windows) {
        directory("APPDATA")
    } else {
        directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")))
    };
    Some(directory?.join(FILE))
}
