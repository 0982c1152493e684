//! From a file, or its text, to the configuration of the daemon or of the client.

use super::access::Access;
use super::common::Common;
use super::diagnostic::{Diagnostic, Errors};
use super::draft::Draft;
use super::mirage::{ClientMirage, ServerMirage};
use super::reader::{ConfigReader, Purpose};
use super::{file, neighbours, section};
use crate::ini::{self, Document};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The configuration of the daemon.
#[derive(Debug)]
pub struct ServerConfig {
    /// What holds for all mirages.
    pub common: Common,
    /// At least one, in the file's order.
    pub mirages: Vec<ServerMirage>,
    /// What works but should be changed, by line.
    pub warnings: Vec<Diagnostic>,
    /// The files of `secret-file`.
    pub secret_files: Vec<PathBuf>,
}

/// The configuration of the client.
#[derive(Debug)]
pub struct ClientConfig {
    /// At least one, in the file's order.
    pub mirages: Vec<ClientMirage>,
    /// What works but should be changed, by line.
    pub warnings: Vec<Diagnostic>,
}

impl ServerConfig {
    /// Reads a file of at most [`crate::limits::CONFIG_BYTES`].
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::load_for(path, Purpose::Server)
    }

    /// Reads a file to serve it. Root does not serve what others may write.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_to_serve(path: &Path) -> Result<Self, Errors> {
        Self::load_for(path, Purpose::Daemon)
    }

    /// Reads `[common]` and leaves the mirages empty: to talk to the running daemon takes neither their
    /// secrets nor that they are free of mistakes.
    ///
    /// # Errors
    /// What is wrong with `[common]`, and lines that are not of a configuration at all.
    pub fn load_common(path: &Path) -> Result<Self, Errors> {
        Self::load_for(path, Purpose::Control)
    }

    /// Reads the text of a file. The path stands in the messages, and secret files are relative to it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Errors> {
        parse_server(path, text, Access::default(), Purpose::Server)
    }

    fn load_for(path: &Path, purpose: Purpose) -> Result<Self, Errors> {
        let (text, access) = load(path)?;
        parse_server(path, &text, access, purpose)
    }
}

impl ClientConfig {
    /// Reads a file of at most [`crate::limits::CONFIG_BYTES`].
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let (text, access) = load(path)?;
        Self::parse_file(path, &text, access)
    }

    /// Reads the text of a file. The path stands in the messages, and secret files are relative to it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Errors> {
        Self::parse_file(path, text, Access::default())
    }

    fn parse_file(path: &Path, text: &[u8], access: Access) -> Result<Self, Errors> {
        let document = ini::parse(text);
        let reader = ConfigReader::new(path, access, Purpose::Client);
        let Read {
            drafts, warnings, ..
        } = read(reader, &document)?;
        let mirages = drafts.into_iter().filter_map(Draft::into_client);
        Ok(Self {
            mirages: mirages.collect(),
            warnings,
        })
    }
}

fn load(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Access), Errors> {
    file::read(path).map_err(|error| Errors::of_file(&error))
}

/// Reads a text for the daemon, or to talk to it, as `purpose` says. The path stands in the messages,
/// and secret files are relative to it.
fn parse_server(
    path: &Path,
    text: &[u8],
    access: Access,
    purpose: Purpose,
) -> Result<ServerConfig, Errors> {
    let document = ini::parse(text);
    let read = read(ConfigReader::new(path, access, purpose), &document)?;
    let mirages = read.drafts.into_iter().filter_map(Draft::into_server);
    Ok(ServerConfig {
        common: read.common,
        mirages: mirages.collect(),
        warnings: read.warnings,
        secret_files: read.secret_files,
    })
}

/// What a file says.
struct Read<'a> {
    common: Common,
    drafts: Vec<Draft<'a>>,
    warnings: Vec<Diagnostic>,
    secret_files: Vec<PathBuf>,
}

/// Reads the sections of a file, if there is no error.
fn read<'a>(mut reader: ConfigReader<'_>, document: &'a Document<'a>) -> Result<Read<'a>, Errors> {
    let (common, drafts) = section::read(&mut reader, document);
    if reader.is_for_server() {
        neighbours::check(&mut reader, &drafts);
    }
    let secret_files = core::mem::take(&mut reader.secret_files);
    let (errors, warnings) = reader.finish();
    match Errors::new(errors) {
        Some(errors) => Err(errors),
        None => Ok(Read {
            common,
            drafts,
            warnings,
            secret_files,
        }),
    }
}

#[cfg(test)]
pub(super) fn server(path: &Path, text: &[u8], purpose: Purpose) -> Result<ServerConfig, Errors> {
    parse_server(path, text, Access::default(), purpose)
}
