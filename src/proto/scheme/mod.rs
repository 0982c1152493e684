//! The scheme: what client and server both compute from a secret, a name and the time. This is version 1,
//! which never changes on the wire.

pub mod key;
pub mod knock;
pub mod packet;
pub mod schedule;
pub mod token;
