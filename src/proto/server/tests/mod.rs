//! The core under a shell in memory: what it decides, without an operating system.

mod check;
mod doors;
mod flaw;
mod full;
mod gates;
mod house;
mod reload;
mod service;
mod shell;
mod silent;
mod simulate;
mod stop;
mod token;
mod turns;
mod world;
