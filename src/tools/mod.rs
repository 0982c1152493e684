//! What its owner uses around the daemon: a secret to begin with, a look at the configuration, rules for
//! the firewall, what to take to the laptop, and a look at the daemon that runs.

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

/// What a file says, by one of [`ServerConfig`]'s ways to read it. It lives as long as the process: nobody
/// needs the code that takes it apart.
fn load(
    file: &Path,
    read: fn(&Path) -> Result<ServerConfig, Errors>,
) -> Result<&'static ServerConfig, Error> {
    match read(file) {
        Ok(server) => Ok(Box::leak(Box::new(server))),
        Err(errors) => Err(Error::Configuration(errors.into())),
    }
}
