//! The command line: the commands, their options and help, what they print, and the errors for a
//! mistyped one.

mod args;
mod commands;
mod error;
mod output;

pub use args::{Args, text};
pub use commands::{
    COMMANDS, CONFIG, Command, CommandId, CommandOption, DAEMON, HELP, OVERVIEW, PORT, command,
};
pub use error::Error;
pub use output::{print, print_error, stdout, warn};
