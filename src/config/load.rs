//! A file, or its text, to what the daemon or the client works with.

use super::common::Common;
use super::diagnostic::{Diagnostic, Errors};
use super::draft::Draft;
use super::mirage::{ClientMirage, ServerMirage};
use super::reader::{Purpose, Reader};
use super::{file, neighbours, section};
use crate::ini::{self, Document};
use std::path::Path;

/// A file as the daemon reads it.
#[derive(Debug)]
pub struct ServerConfig {
    /// What holds for all mirages.
    pub common: Common,
    /// At least one, in the file's order.
    pub mirages: Vec<ServerMirage>,
    /// What works and should not stay so, by line.
    pub warnings: Vec<Diagnostic>,
}

/// A file as the client reads it.
#[derive(Debug)]
pub struct ClientConfig {
    /// At least one, in the file's order.
    pub mirages: Vec<ClientMirage>,
    /// What works and should not stay so, by line.
    pub warnings: Vec<Diagnostic>,
}

impl ServerConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::load_for(path, Purpose::Server)
    }

    /// Reads what a file says for all mirages, and of them nothing: to ask the daemon that runs takes
    /// neither their secrets nor that all is right with them.
    ///
    /// # Errors
    /// What is wrong with `[common]`, and what can be no line of a configuration.
    pub fn load_common(path: &Path) -> Result<Self, Errors> {
        Self::load_for(path, Purpose::Control)
    }

    fn load_for(path: &Path, purpose: Purpose) -> Result<Self, Errors> {
        server(path, &load(path)?, purpose)
    }
}

impl ClientConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::parse(path, &load(path)?)
    }

    /// Reads a file's text. Its path is for the messages, and for where a secret's file is.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Errors> {
        client(path, text)
    }
}

fn load(path: &Path) -> Result<Vec<u8>, Errors> {
    file::read(path).map_err(|error| Errors::of_file(&error))
}

/// Reads a text for the daemon, or, without the mirages, for a client of its control socket. The path is
/// for the messages, and for where a secret's file is.
pub(super) fn server(path: &Path, text: &[u8], purpose: Purpose) -> Result<ServerConfig, Errors> {
    let document = ini::parse(text);
    let (common, drafts, warnings) = read(path, purpose, &document)?;
    let mirages = drafts.into_iter().filter_map(Draft::into_mirage);
    Ok(ServerConfig {
        common,
        mirages: mirages.collect(),
        warnings,
    })
}

/// Reads a text for the client.
pub(super) fn client(path: &Path, text: &[u8]) -> Result<ClientConfig, Errors> {
    let document = ini::parse(text);
    let (_, drafts, warnings) = read(path, Purpose::Client, &document)?;
    let mirages = drafts.into_iter().filter_map(Draft::into_known);
    Ok(ClientConfig {
        mirages: mirages.collect(),
        warnings,
    })
}

/// What a file says, and the warnings, if there is no error.
fn read<'a>(
    path: &Path,
    purpose: Purpose,
    document: &'a Document<'a>,
) -> Result<(Common, Vec<Draft<'a>>, Vec<Diagnostic>), Errors> {
    let mut reader = Reader::new(path, purpose);
    let (common, drafts) = section::read(&mut reader, document);
    if purpose == Purpose::Server {
        neighbours::check(&mut reader, &drafts);
    }
    let (errors, warnings) = reader.end();
    match Errors::new(errors) {
        Some(errors) => Err(errors),
        None => Ok((common, drafts, warnings)),
    }
}
