//! What it takes for the real clock to be trusted.

/// Ports are drawn from the real clock, so none opens before it is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockTrust {
    /// It is past the release.
    Trust,
    /// It has also been set from elsewhere: for routers, whose clock starts at the date of a file.
    Wait,
}
