//! What its owner uses around the daemon: a secret to begin with, and a look at the configuration.

pub mod check;
#[cfg(all(feature = "demo", target_os = "linux"))]
pub mod demo;
pub mod keygen;
