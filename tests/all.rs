//! What holds from outside: one crate, so that it is linked once and its tests wait side by side. One room a file:
//! `cargo test --test all knock::` runs that of `knock.rs`.

mod common;

#[cfg(target_os = "linux")]
mod asking;
mod bans;
mod client;
#[cfg(target_os = "linux")]
mod client_address;
mod clock;
#[cfg(target_os = "linux")]
mod commands;
mod config;
mod connect;
mod control;
mod cross;
mod daemon;
mod dead;
#[cfg(all(feature = "demo", target_os = "linux"))]
mod demo;
mod dialling;
#[cfg(target_os = "linux")]
mod doors;
#[cfg(target_os = "linux")]
mod fairness;
mod firewall;
mod forwarding;
#[cfg(target_os = "linux")]
mod guard;
mod kernel;
#[cfg(target_os = "linux")]
mod knock;
#[cfg(target_os = "linux")]
mod knocking;
#[cfg(target_os = "linux")]
mod netfilter;
#[cfg(target_os = "linux")]
mod netfilter_refused;
#[cfg(target_os = "linux")]
mod on_demand;
mod once;
#[cfg(target_os = "linux")]
mod rights;
#[cfg(target_os = "linux")]
mod sandbox;
mod sensor;
mod share;
#[cfg(target_os = "linux")]
mod status;
#[cfg(target_os = "linux")]
mod status_daemon;
mod terminal;
mod token;
#[cfg(target_os = "linux")]
mod trust;
