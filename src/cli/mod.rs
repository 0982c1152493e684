//! The command line: which commands there are, the options of each, what their help says, and what is
//! said to somebody who mistypes one.

mod args;
mod commands;
mod error;
mod output;

pub use args::{Args, text};
pub use commands::{
    COMMANDS, CONFIG, Command, CommandId, CommandOption, DAEMON, HELP, OVERVIEW, PORT, command,
};
pub use error::Error;
pub use output::{complain, print, warn};
