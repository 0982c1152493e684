//! Requested changes to the kernel's sets that nft has not confirmed yet.

use crate::proto::conn::ConnId;
use crate::proto::ids::{JobId, MirageId};
use crate::terms::NftSet;
use core::net::IpAddr;

/// An element that is being added to its set, or taken out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The mirage whose door it opens.
    pub mirage: MirageId,
    /// The set.
    pub set: NftSet,
    /// The address that may pass.
    pub address: IpAddr,
    /// How long it stays in the set, in seconds; 0 takes it out.
    pub seconds: u32,
    /// The connection that waits for it.
    pub guest: Option<ConnId>,
}

/// The pending elements by their jobs. The shell bounds how many can wait.
#[derive(Debug, Default)]
pub struct Elements(Vec<(JobId, Element)>);

impl Elements {
    /// Keeps an element until its job ends.
    pub fn insert(&mut self, job: JobId, element: Element) {
        self.0.push((job, element));
    }

    /// Takes out the element whose job has ended.
    pub fn remove(&mut self, job: JobId) -> Option<Element> {
        let place = self.0.iter().position(|(known, _)| *known == job)?;
        Some(self.0.remove(place).1)
    }

    /// Whether none is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All pending elements.
    pub fn iter(&self) -> impl Iterator<Item = &Element> {
        self.0.iter().map(|(_, element)| element)
    }
}
