//! What its owner uses around the daemon: a secret to begin with, a look at the configuration, rules for
//! the firewall.

pub mod check;
#[cfg(all(feature = "demo", target_os = "linux"))]
pub mod demo;
pub mod firewall;
pub mod keygen;
