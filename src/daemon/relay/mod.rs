//! The bytes of sessions, from one socket to another.

mod direction;
mod link;
mod pipes;
mod stream;

pub use link::{Link, Progress, Ready};
pub use pipes::Pipes;

#[cfg(test)]
mod tests;
