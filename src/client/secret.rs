//! Where the secret comes from, if not from the configuration.

use crate::cli::{self, Args, Failure, warn};
use crate::config::{Secret, is_open_to_others};
use crate::sys::terminal::Terminal;
use core::fmt::Display;
use std::ffi::OsStr;
use std::path::Path;

/// The environment variable that may hold it.
const VARIABLE: &str = "SHIMMER_SECRET";

/// The secret of `--secret-file`, `--secret` or the environment. An empty variable is none.
///
/// # Errors
/// [`Failure::Usage`] if it is no secret or there are two, [`Failure::Failed`] if its file can't be
/// read.
pub fn given(args: &mut Args) -> Result<Option<Secret>, Failure> {
    let value = args.value("--secret")?;
    let file = args.value("--secret-file")?;
    let secret = match (value, file) {
        (Some(_), Some(_)) => {
            let what = format_args!("--secret and --secret-file: there can be only one");
            Err(Failure::usage(what))
        }
        (Some(value), None) => {
            warn(format_args!(
                "every local user can read what stands behind --secret; use --secret-file FILE"
            ));
            of_value("--secret", value)
        }
        (None, Some(file)) => of_file(Path::new(file)),
        (None, None) => match std::env::var_os(VARIABLE) {
            Some(value) if !value.is_empty() => of_value(VARIABLE, &value),
            _ => return Ok(None),
        },
    };
    secret.map(Some)
}

fn of_file(file: &Path) -> Result<Secret, Failure> {
    let secret = Secret::read(file).map_err(Failure::Failed)?;
    if is_open_to_others(file) {
        let file = file.display();
        warn(format_args!(
            "{file}: other users can read the secret; chmod 600 {file}"
        ));
    }
    Ok(secret)
}

fn of_value(origin: &str, value: &OsStr) -> Result<Secret, Failure> {
    Secret::new(value.as_encoded_bytes()).map_err(|error| cli::about(origin, &error))
}

/// Asks the person at the terminal for the secret of a mirage.
///
/// # Errors
/// [`Failure::Failed`] if there is no terminal or no secret is the answer.
pub fn ask(name: &str) -> Result<Secret, Failure> {
    let failed = |why: &dyn Display| Failure::failed(format_args!("no secret for {name}: {why}"));
    let mut terminal = Terminal::open().map_err(|_| {
        failed(&format_args!(
            "there is no terminal to ask for it; give --secret-file FILE or ${VARIABLE}"
        ))
    })?;
    let line = terminal
        .ask(&format!("secret for {name}: "))
        .map_err(|error| failed(&error))?;
    Secret::new(&line).map_err(|error| failed(&error))
}
