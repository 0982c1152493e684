//! What is open, for whom, and until when.

mod admitted;
mod elements;
mod openings;

pub use admitted::{Admission, Admitted};
pub use elements::{Element, Elements};
pub use openings::{
    Argv, CommandEnd, OpenFor, OpenRequest, Opening, Openings, Requested, RestoredOpening,
};
