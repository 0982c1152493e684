//! What is open, for whom, and until when.

mod admitted;
mod elements;
mod opening;
mod openings;

pub use admitted::{Admission, Admitted};
pub use elements::{Element, Elements};
pub use opening::{Argv, OpenFor, Opening};
pub use openings::{CommandEnd, OpenRequest, Openings, Requested, RestoredOpening};
