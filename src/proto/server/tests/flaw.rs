//! Deliberate flaws of the shell in memory, to see that they are found.

/// What a shell can do wrong. The simulator has to find each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A connection that is closed keeps its socket.
    SocketKept,
    /// A port that is no longer wanted stays open.
    PortKept,
    /// The file of used proofs is not written.
    UsedNotWritten,
    /// The state file is not read.
    StateNotRead,
    /// The journal is not written.
    JournalNotWritten,
    /// A reload drops the journal.
    JournalDropped,
    /// A command is started twice.
    RunTwice,
    /// Nobody is told that a command has ended.
    ChildForgotten,
    /// A visitor is taken for their neighbour.
    Neighbour,
    /// A step of the clock is not noticed.
    StepIgnored,
}

impl Flaw {
    /// Each of them.
    pub const ALL: [Self; 10] = [
        Self::SocketKept,
        Self::PortKept,
        Self::UsedNotWritten,
        Self::StateNotRead,
        Self::JournalNotWritten,
        Self::JournalDropped,
        Self::RunTwice,
        Self::ChildForgotten,
        Self::Neighbour,
        Self::StepIgnored,
    ];

    /// How it shows.
    pub fn sign(self) -> &'static str {
        match self {
            Self::SocketKept => "the core does not know",
            Self::PortKept => "and not",
            Self::UsedNotWritten => "a proof counts twice",
            Self::StateNotRead => "is free",
            Self::JournalNotWritten | Self::JournalDropped => "a restart would leave",
            Self::RunTwice => "a command runs twice",
            Self::ChildForgotten => "has no end",
            Self::Neighbour => "is banned for another",
            Self::StepIgnored => "a member does not get in",
        }
    }
}
