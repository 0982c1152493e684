//! The command line: which commands there are, the options of each, what their help says, and what is
//! said to somebody who mistypes one.

mod args;
mod commands;
mod failure;
mod output;

pub use args::{Args, text};
pub use commands::{
    COMMANDS, CONFIG, Command, CommandId, CommandOption, DAEMON, HELP, OVERVIEW, PORT, command,
};
pub use failure::{Failure, about, unknown_mirage, unwritten};
pub use output::{complain, print, warn};
