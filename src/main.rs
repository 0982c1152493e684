//! From the command line to a command, and from its result to an exit code: 0 it is done, 1 it did not
//! work, 2 the command line or a configuration is wrong.

use shimmer::cli::{self, Args, Command, CommandId, Error, OVERVIEW, print_error};
use shimmer::{client, tools};
use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::path::MAIN_SEPARATOR;
use std::process::ExitCode;

/// Under this name the program is the daemon.
const DAEMON_NAME: &str = "shimmerd";

const VERSION: &str = concat!("shimmer ", env!("CARGO_PKG_VERSION"), "\n");

/// The exit code for a wrong command line or configuration.
const USAGE: u8 = 2;

#[cfg(not(target_os = "linux"))]
const NO_DEMO: &str = "the demo runs on Linux only";
#[cfg(all(target_os = "linux", not(feature = "demo")))]
const NO_DEMO: &str = "this build has no demo";

fn main() -> ExitCode {
    // They live as long as the process.
    let arguments = std::env::args_os().map(|argument| &*argument.leak());
    dispatch(arguments.collect()).unwrap_or_else(|error| report(&error))
}

/// Says on stderr why a command ended without its result.
fn report(error: &Error) -> ExitCode {
    match error {
        Error::BrokenPipe => ExitCode::SUCCESS,
        Error::Failed(_) | Error::Stdout(_) => {
            print_error(format_args!("shimmer: {error}"));
            ExitCode::FAILURE
        }
        Error::Usage(_) => {
            print_error(format_args!("shimmer: {error}"));
            ExitCode::from(USAGE)
        }
        // Each line begins with the file's name.
        Error::Configuration(_) => {
            print_error(format_args!("{error}"));
            ExitCode::from(USAGE)
        }
    }
}

/// The first argument is the command, except in the original's `shimmer --open ssh:10000:10999`.
fn dispatch(mut arguments: Vec<&'static OsStr>) -> Result<ExitCode, Error> {
    if !arguments.is_empty() && is_daemon(arguments.remove(0)) {
        return run(&cli::DAEMON, arguments);
    }
    let Some(first) = arguments.first() else {
        print_error(format_args!("{}", OVERVIEW.trim_ascii_end()));
        return Ok(ExitCode::from(USAGE));
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

fn run(command: &'static Command, arguments: Vec<&'static OsStr>) -> Result<ExitCode, Error> {
    let mut args = Args::new(command, arguments);
    if args.flag("--help") || args.flag("-h") {
        cli::print(command.help)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.flag("--version") || args.flag("-V") {
        cli::print(VERSION)?;
        return Ok(ExitCode::SUCCESS);
    }
    match command.id {
        CommandId::Port => client::port::main(args)?,
        CommandId::Connect => client::connect::main(args)?,
        CommandId::Knock => client::knock::main(args)?,
        CommandId::Keygen => tools::keygen::main(args)?,
        CommandId::Daemon => run_daemon(args)?,
        CommandId::CloseAll => close_all(args)?,
        CommandId::Check => tools::check::main(args)?,
        CommandId::Share => tools::share::main(args)?,
        CommandId::Firewall => tools::firewall::main(args)?,
        CommandId::Status | CommandId::Ban | CommandId::Unban => ask_daemon(command.name, args)?,
        CommandId::Demo => run_demo(args)?,
        CommandId::Help => print_help(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_help(mut args: Args) -> Result<(), Error> {
    let help = match args.positional()? {
        Some(name) => cli::command(cli::text(name))?.help,
        None => OVERVIEW,
    };
    args.finish()?;
    cli::print(help)
}

/// Asks the running daemon.
fn ask_daemon(command: &str, args: Args) -> Result<(), Error> {
    #[cfg(target_os = "linux")]
    return tools::status::main(command, args);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (command, args);
        Err(no_daemon())
    }
}

fn run_daemon(mut args: Args) -> Result<(), Error> {
    let config = args.value("--config")?.unwrap_or(cli::CONFIG.as_ref());
    args.finish()?;
    #[cfg(target_os = "linux")]
    return shimmer::daemon::run(config.as_ref()).map_err(daemon_failed);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = config;
        Err(no_daemon())
    }
}

fn close_all(mut args: Args) -> Result<(), Error> {
    let config = args.value("--config")?.unwrap_or(cli::CONFIG.as_ref());
    args.finish()?;
    #[cfg(target_os = "linux")]
    return match shimmer::daemon::close_all(config.as_ref()) {
        Ok(0) => cli::print("nothing was open\n"),
        Ok(closed) => cli::print(&format!("closed {closed}\n")),
        Err(shimmer::daemon::Failure::Taken(_)) => Err(Error::failed(format_args!(
            "a daemon is running: stop it, and it closes its doors"
        ))),
        Err(failure) => Err(daemon_failed(failure)),
    };
    #[cfg(not(target_os = "linux"))]
    {
        let _ = config;
        Err(no_daemon())
    }
}

#[cfg(target_os = "linux")]
fn daemon_failed(failure: shimmer::daemon::Failure) -> Error {
    match failure {
        shimmer::daemon::Failure::Configuration(errors) => Error::Configuration(errors.into()),
        failure => Error::failed(format_args!("{failure}")),
    }
}

#[cfg(not(target_os = "linux"))]
fn no_daemon() -> Error {
    Error::usage(format_args!(
        "the daemon and its commands run on Linux only"
    ))
}

fn run_demo(mut args: Args) -> Result<(), Error> {
    let stay = args.flag("--stay");
    args.finish()?;
    #[cfg(all(feature = "demo", target_os = "linux"))]
    return tools::demo::main(stay);
    #[cfg(not(all(feature = "demo", target_os = "linux")))]
    {
        let _ = stay;
        Err(Error::usage(format_args!("{NO_DEMO}")))
    }
}
