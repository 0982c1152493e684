//! From the command line to a command, and from its outcome to an exit code: 0 it is done, 1 it did
//! not work, 2 the command line or a configuration is wrong.

use shimmer::cli::{self, Args, Command, CommandId, Failure, OVERVIEW, complain};
#[cfg(target_os = "linux")]
use shimmer::daemon::Failure as Failed;
use shimmer::{client, tools};
use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::path::MAIN_SEPARATOR;

/// Started under this name, it is the daemon.
const DAEMON_NAME: &str = "shimmerd";

const VERSION: &str = concat!("shimmer ", env!("CARGO_PKG_VERSION"), "\n");

const DONE: u8 = 0;
const FAILED: u8 = 1;
const WRONG: u8 = 2;

#[cfg(not(target_os = "linux"))]
const NO_DEMO: &str = "the demo runs on Linux only";
#[cfg(all(target_os = "linux", not(feature = "demo")))]
const NO_DEMO: &str = "this build has no demo";

fn main() -> std::process::ExitCode {
    let arguments = std::env::args_os().map(|argument| &*argument.leak());
    obey(arguments.collect()).into()
}

fn obey(arguments: Vec<&'static OsStr>) -> u8 {
    match dispatch(arguments) {
        Ok(code) => return code,
        Err(Failure::Unread) => return DONE,
        Err(Failure::Failed(why)) => {
            complain(format_args!("shimmer: {why}"));
            return FAILED;
        }
        Err(Failure::Usage(how)) => complain(format_args!("shimmer: {how}")),
        Err(Failure::Configuration(errors)) => complain(format_args!("{errors}")),
    }
    WRONG
}

/// The first word is the command, except in the original's `shimmer --open ssh:10000:10999`.
fn dispatch(mut arguments: Vec<&'static OsStr>) -> Result<u8, Failure> {
    if !arguments.is_empty() && is_daemon(arguments.remove(0)) {
        return run(&cli::DAEMON, arguments);
    }
    let Some(first) = arguments.first() else {
        complain(format_args!("{}", OVERVIEW.trim_ascii_end()));
        return Ok(WRONG);
    };
    let first = cli::text(first);
    let command = if !first.starts_with('-') {
        arguments.remove(0);
        cli::command(first)?
    } else if arguments.iter().any(is_open) {
        &cli::PORT
    } else {
        &cli::HELP
    };
    run(command, arguments)
}

fn is_daemon(program: &OsStr) -> bool {
    let mut path = program
        .as_encoded_bytes()
        .rsplit(|byte| char::from(*byte) == MAIN_SEPARATOR);
    let name = path.next().unwrap_or_default();
    name.strip_suffix(EXE_SUFFIX.as_bytes()) == Some(DAEMON_NAME.as_bytes())
}

fn is_open(argument: &&OsStr) -> bool {
    let rest = argument.as_encoded_bytes().strip_prefix(b"--open");
    matches!(rest, Some([] | [b'=', ..]))
}

fn run(command: &'static Command, arguments: Vec<&'static OsStr>) -> Result<u8, Failure> {
    let mut args = Args::new(command, arguments);
    if args.flag("--help") || args.flag("-h") {
        cli::print(command.help)?;
        return Ok(DONE);
    }
    if args.flag("--version") || args.flag("-V") {
        cli::print(VERSION)?;
        return Ok(DONE);
    }
    match command.id {
        CommandId::Port => client::port::main(args)?,
        CommandId::Connect => client::connect::main(args)?,
        CommandId::Knock => client::knock::main(args)?,
        CommandId::Keygen => tools::keygen::main(args)?,
        CommandId::Daemon => daemon(args)?,
        CommandId::Check => tools::check::main(args)?,
        CommandId::Share => tools::share::main(args)?,
        CommandId::Firewall => tools::firewall::main(args)?,
        CommandId::Status | CommandId::Ban | CommandId::Unban => ask(command.name, args)?,
        CommandId::Demo => demo(args)?,
        CommandId::Help => help(args)?,
    }
    Ok(DONE)
}

fn help(mut args: Args) -> Result<(), Failure> {
    let help = match args.word()? {
        Some(name) => cli::command(cli::text(name))?.help,
        None => OVERVIEW,
    };
    args.end()?;
    cli::print(help)
}

/// Asks the daemon that runs.
fn ask(command: &str, args: Args) -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    return tools::status::main(command, args);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (command, args);
        Err(no_daemon())
    }
}

fn daemon(mut args: Args) -> Result<(), Failure> {
    let config = args.value("--config")?.unwrap_or(cli::CONFIG.as_ref());
    args.end()?;
    #[cfg(target_os = "linux")]
    return match shimmer::daemon::run(config.as_ref()) {
        Ok(()) => Ok(()),
        Err(Failed::Configuration(errors)) => Err(Failure::configuration(&errors)),
        Err(failed) => Err(Failure::failed(format_args!("{failed}"))),
    };
    #[cfg(not(target_os = "linux"))]
    {
        let _ = config;
        Err(no_daemon())
    }
}

#[cfg(not(target_os = "linux"))]
fn no_daemon() -> Failure {
    Failure::usage(format_args!(
        "the daemon runs on Linux only, and its commands there"
    ))
}

fn demo(mut args: Args) -> Result<(), Failure> {
    let stay = args.flag("--stay");
    args.end()?;
    #[cfg(all(feature = "demo", target_os = "linux"))]
    return tools::demo::main(stay);
    #[cfg(not(all(feature = "demo", target_os = "linux")))]
    {
        let _ = stay;
        Err(Failure::usage(format_args!("{NO_DEMO}")))
    }
}
