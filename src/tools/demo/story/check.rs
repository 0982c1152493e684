//! What the show proves.

/// Something that the show proves.
#[derive(Clone, Copy, Debug)]
pub enum Claim {
    /// The member gets in.
    GetsIn,
    /// The scanner is banned.
    IsBanned,
    /// Then even the real port is closed to the scanner.
    IsShutOut,
    /// The member stays in.
    StaysIn,
    /// The open ports are those of the schedule.
    PortsMatch,
}

/// Whether it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Not yet. The claim in words.
    Open(&'static str),
    /// It is, and how.
    Proven(String),
    /// It is wrong, and how.
    Disproved(String),
}

/// The checks at the beginning of a show, by [`Claim`].
pub const CHECKS: [Check; 5] = [
    Check::Open("the member computes the port from the secret and gets in"),
    Check::Open("the scanner touches a trap and is banned"),
    Check::Open("then even the real port is closed to the scanner, but not to the member"),
    Check::Open("the member stays in when the port it came by is gone"),
    Check::Open("the open ports are exactly those that the secret predicts"),
];
