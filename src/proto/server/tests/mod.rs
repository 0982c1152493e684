//! The core under a shell in memory: what it decides, without an operating system.

mod check;
mod doors;
mod full;
mod gates;
mod random;
mod reload;
mod service;
mod shell;
mod silent;
mod stop;
mod token;
mod turns;
mod world;
