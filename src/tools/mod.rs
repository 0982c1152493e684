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
