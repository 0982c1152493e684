//! The scheme: what client and server compute alike from a secret, a name and the time. Version 1, on the wire
//! for ever.

pub mod key;
pub mod knock;
pub mod packet;
pub mod schedule;
pub mod token;
