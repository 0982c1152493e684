//! What is open, for whom, and until when.

mod admitted;
mod elements;
mod opening;
mod openings;

pub use admitted::{Admission, Admitted};
pub use elements::{Element, Elements};
pub use opening::{Argv, Closing, Ended, OpenFor, Opening, RestoredOpening};
pub use openings::{CommandEnd, OpenRequest, Openings, Requested};
