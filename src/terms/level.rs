//! How much a line of the log matters.

/// From the most important to the least; a log has the lines up to the level that is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something may not work for long.
    Warn,
    /// What happens: sessions, bans.
    Info,
    /// Everything.
    Debug,
}
