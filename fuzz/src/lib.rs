//! Fuzz targets: functions that take any bytes, and panic if Shimmer does what it must not.
//!
//! libFuzzer calls them from the programs in `targets/`. `tests/replay.rs` calls them with each file of `seeds/`,
//! which takes nothing but a stable Rust. `CONTRIBUTING.md` says how to run them and how to add one.

#![forbid(unsafe_code)]

mod bytes;
mod configuration;
mod control;
mod core;
mod files;
mod netlink;
mod nonces;
mod wire;

pub use self::configuration::configuration;
pub use self::control::control;
pub use self::core::core;
pub use self::files::{journal, state};
pub use self::netlink::netlink;
pub use self::nonces::nonces;
pub use self::wire::wire;

/// What libFuzzer calls.
pub type Target = fn(&[u8]);

/// All targets. Each is named as its program and as its folder in `seeds/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("configuration", configuration),
    ("control", control),
    ("core", core),
    ("journal", journal),
    ("netlink", netlink),
    ("nonces", nonces),
    ("state", state),
    ("wire", wire),
];
