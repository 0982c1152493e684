//! What tests of several modules share.

pub mod explore;
pub mod simulation;
