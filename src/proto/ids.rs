//! Ids of mirages and jobs.

/// A mirage, by its section's name. It stays the same over reloads, even if one drops the section and a later
/// one brings it back, as long as something refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MirageId(pub(super) u32);

/// One run of a command, or one change to a set. Ids count up and are never reused.
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
    /// A job that no core has started.
    pub fn of(number: u32) -> Self {
        Self(number)
    }
}
