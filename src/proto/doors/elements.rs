//! Elements of the kernel's sets that were asked for and are not there yet.

use crate::proto::conn::ConnId;
use crate::proto::ids::{JobId, MirageId};
use core::net::IpAddr;

/// An element on its way into its set, or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// The mirage whose door it opens.
    pub mirage: MirageId,
    /// For whom.
    pub address: IpAddr,
    /// For how many seconds; 0 takes it out.
    pub seconds: u32,
    /// The connection that waits for it.
    pub guest: Option<ConnId>,
}

/// Those that are not there yet, by their jobs. The shell bounds how many wait.
#[derive(Debug, Default)]
pub struct Elements(Vec<(JobId, Element)>);

impl Elements {
    /// Remembers one until its job ends.
    pub fn insert(&mut self, job: JobId, element: Element) {
        self.0.push((job, element));
    }

    /// Takes out the one whose job has ended.
    pub fn remove(&mut self, job: JobId) -> Option<Element> {
        let place = self.0.iter().position(|(known, _)| *known == job)?;
        Some(self.0.remove(place).1)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Element> {
        self.0.iter().map(|(_, element)| element)
    }
}
