//! What names a mirage or a job from one decision to the next.

/// A mirage, by its section's name: it stays the same over reloads, also over one that leaves the section out
/// and one that brings it back, as long as something refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MirageId(pub(super) u32);

/// One run of a command, or one element for a set. Counted, so it is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobId(pub(super) u32);

#[cfg(test)]
impl MirageId {
    /// A mirage that no core knows.
    pub fn of(number: u32) -> Self {
        Self(number)
    }
}

#[cfg(test)]
impl JobId {
    /// A job that no core has given out.
    pub fn of(number: u32) -> Self {
        Self(number)
    }
}
