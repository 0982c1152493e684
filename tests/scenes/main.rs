//! Goal: whatever is changed inside the daemon, it says the same things in the same order.
//!
//! Each story drives the real loop under a clock that the test holds, and its whole log is kept as text in
//! `tests/scenes/NAME.log`. Lines that begin with `#` are the story's own: what the world did just then.
//! They are written while the loop waits, so the lines behind one are what followed from it.
//!
//! `SHIMMER_WRITE_SCENES=1 cargo test --test scenes` writes the files anew. Do that only for a change of the
//! log that is meant, and read the difference. [`stage::mask`] says what is not kept as it is.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod clock;
mod doors;
mod full;
mod gates;
mod process;
mod reload;
mod silent;
mod stage;
mod state;
