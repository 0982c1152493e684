//! The commands around the daemon: they make a secret, check the configuration, print firewall rules and what
//! belongs on a laptop, and ask the running daemon.

pub mod check;
#[cfg(all(feature = "demo", target_os = "linux"))]
pub mod demo;
pub mod firewall;
pub mod keygen;
pub mod share;
#[cfg(target_os = "linux")]
pub mod status;

use crate::cli::Error;
use crate::config::{Errors, ServerConfig};
use std::path::Path;

/// Reads a file by one of [`ServerConfig`]'s functions. It is never freed, which saves the code for that.
fn load(
    file: &Path,
    read: fn(&Path) -> Result<ServerConfig, Errors>,
) -> Result<&'static ServerConfig, Error> {
    match read(file) {
        Ok(server) => Ok(Box::leak(Box::new(server))),
        Err(errors) => Err(Error::Configuration(errors.into())),
    }
}
