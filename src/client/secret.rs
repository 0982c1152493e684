//! The secret, where it does not come from the configuration.

use crate::cli::{Args, Error, warn};
use crate::config::Secret;
use crate::sys::terminal::Terminal;
use core::fmt::Display;
use std::path::Path;
use zeroize::Zeroizing;

/// The environment variable that may hold the secret.
const VARIABLE: &str = "SHIMMER_SECRET";

/// The secret from `--secret-file`, `--secret` or the environment. An empty variable counts as none.
///
/// # Errors
/// [`Error::Usage`] if it is not a secret or both options are given, [`Error::Failed`] if the file
/// can't be read.
pub fn given(args: &mut Args) -> Result<Option<Secret>, Error> {
    let value = args.value("--secret")?;
    let file = args.value("--secret-file")?;
    let secret = match (value, file) {
        (Some(_), Some(_)) => {
            return Err(Error::usage(format_args!(
                "--secret and --secret-file: give only one of them"
            )));
        }
        (Some(value), None) => {
            warn(format_args!(
                "the value of --secret is visible to every local user; use --secret-file FILE"
            ));
            from_bytes("--secret", value.as_encoded_bytes())
        }
        (None, Some(file)) => from_file(Path::new(file)),
        (None, None) => match std::env::var_os(VARIABLE) {
            Some(value) if !value.is_empty() => {
                let value = Zeroizing::new(value.into_encoded_bytes());
                from_bytes(VARIABLE, &value)
            }
            _ => return Ok(None),
        },
    };
    secret.map(Some)
}

fn from_file(file: &Path) -> Result<Secret, Error> {
    let read = Secret::read(file);
    let (secret, access) = read.map_err(|error| Error::failed(format_args!("{error}")))?;
    if access.is_open_to_others() {
        let file = file.display();
        warn(format_args!(
            "{file}: other users can read the secret; run chmod 600 {file}"
        ));
    }
    Ok(secret)
}

fn from_bytes(origin: &str, value: &[u8]) -> Result<Secret, Error> {
    Secret::new(value).map_err(|error| Error::argument(origin, &error))
}

/// Asks whoever sits at the terminal for the secret of the mirage `name`.
///
/// # Errors
/// [`Error::Failed`] if there is no terminal, or the answer is not a secret.
pub fn ask(name: &str) -> Result<Secret, Error> {
    let failed = |why: &dyn Display| Error::failed(format_args!("no secret for {name}: {why}"));
    let mut terminal = Terminal::open().map_err(|_| {
        failed(&format_args!(
            "there is no terminal to ask at; use --secret-file FILE or ${VARIABLE}"
        ))
    })?;
    let line: Zeroizing<Vec<u8>> = terminal
        .ask(&format!("secret for {name}: "))
        .map_err(|error| failed(&error))?
        .into();
    Secret::new(&line).map_err(|error| failed(&error))
}
