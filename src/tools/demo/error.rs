//! Why the show did not come to its end.

use crate::cli;
use core::fmt;
use core::net::Ipv4Addr;
use std::error::Error;
use std::io;

/// Why the show did not come to its end.
#[derive(Debug)]
pub enum DemoError {
    /// The clock is before this program's release.
    ClockBehind,
    /// The system refused something.
    System {
        /// What was needed: an address, a file.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// At this address every range of ports has one that is taken.
    NoFreeRange(Ipv4Addr),
    /// Something is not as the demo claims, or somebody in it can't go on.
    Disproved(String),
    /// Some claims were not proven in time.
    TookTooLong {
        /// Which ones.
        missing: String,
    },
    /// A signal stopped it.
    Stopped,
    /// stdout can't be written.
    Stdout(io::Error),
}

impl DemoError {
    /// [`DemoError::System`] about `what`, for [`Result::map_err`].
    pub fn system<E: Into<io::Error>>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::System {
            what: what.to_string(),
            error: error.into(),
        }
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockBehind => f.write_str("the clock is years behind, and the ports follow it"),
            Self::System { what, error } => write!(f, "{what}: {error}"),
            Self::NoFreeRange(address) => {
                write!(f, "other programs have taken the demo's ports at {address}")
            }
            Self::Disproved(why) => f.write_str(why),
            Self::TookTooLong { missing } => write!(f, "it took too long; not seen: {missing}"),
            Self::Stopped => f.write_str("stopped before the end"),
            Self::Stdout(error) => write!(f, "stdout: {error}"),
        }
    }
}

impl Error for DemoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::System { error, .. } | Self::Stdout(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DemoError> for cli::Error {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::Stdout(error) => Self::stdout(error),
            error => Self::failed(format_args!("demo: {error}")),
        }
    }
}
