//! `shimmer knock`: passes a gate, then runs the command after `--`.

use super::connect;
use super::host::resolve;
use super::knocks::{Knocks, knock_at};
use super::{MirageArgs, Target};
use crate::cli::{self, Args, Error};
use crate::config;
use crate::message::Message;
use crate::proto::gates::{Gate, GateSettings};
use crate::proto::scheme::knock::Hop;
use crate::sys::clock;
use core::net::IpAddr;
use std::ffi::OsStr;
use std::io;
use std::process::Command;

/// `shimmer knock MIRAGE [HOST]` and `shimmer knock HOST PORT[:PROTOCOL]…`
///
/// # Errors
/// Those of [`MirageArgs::take`], [`Target::find`] and [`Target::key`]; [`Error::Usage`] without a host;
/// [`Error::Failed`] if nothing can be sent, or the command can't be run.
pub fn main(mut args: Args) -> Result<(), Error> {
    let command = args.after_dashes();
    let prints = args.flag("--print");
    let is_next = args.flag("--next");
    let closes = args.flag("--close");
    let address = args.parsed("--address", parse_address)?;
    let mirage_args = MirageArgs::take(&mut args, None)?;
    let second = args.positional()?.map(cli::text);
    if let Some(first_hop) = second.filter(|word| looks_like_hop(word)) {
        // Plain knocks: the first argument is the host.
        if prints || is_next || closes || address.is_some() {
            return Err(Error::usage(format_args!(
                "--address, --next, --close and --print go with a mirage, not with HOST PORT"
            )));
        }
        let hops = take_hops(first_hop, &mut args)?;
        knock_at(&hops, &resolve(mirage_args.mirage()?)?)?;
        return run(&command);
    }
    args.finish()?;
    let knock_args = KnockArgs {
        host: second,
        address,
        prints,
        is_next,
        closes,
    };
    knock_args.knock(&Target::find(mirage_args)?)?;
    run(&command)
}

fn take_hops(first: &str, args: &mut Args) -> Result<Vec<Hop>, Error> {
    let mut hops = Vec::new();
    let mut next = Some(first);
    while let Some(word) = next {
        let hop = config::parse_hop(word).map_err(|wrong| Error::argument(word, &wrong))?;
        hops.push(hop);
        next = args.positional()?.map(cli::text);
    }
    Ok(hops)
}

/// The arguments that only knock has.
#[derive(Debug)]
struct KnockArgs<'a> {
    host: Option<&'a str>,
    /// `--address`: let it in instead of the sender.
    address: Option<IpAddr>,
    /// `--print`: send nothing.
    prints: bool,
    /// `--next`: use the next minute's sequence.
    is_next: bool,
    /// `--close`: use the sequence that closes the door.
    closes: bool,
}

impl KnockArgs<'_> {
    fn knock(&self, target: &Target) -> Result<(), Error> {
        self.check(target)?;
        let key = target.key_if_needed()?;
        let unix = clock::unix();
        let minute = match target.pattern {
            Some(pattern) => pattern.minute(unix) + u64::from(self.is_next),
            None => 0,
        };
        let knocks = Knocks {
            gate_settings: &target.gate_settings,
            key: key.as_ref(),
            pattern: target.pattern,
            address: self.address,
            closes: self.closes,
        };
        if self.prints {
            return knocks.print(minute, unix);
        }
        let host = target.host(self.host)?;
        let addresses = resolve(host)?;
        if target.gate_settings.gate().is_silent() {
            knocks.send(minute, unix, &addresses)
        } else {
            connect::pass_gate(target, host, &addresses)
        }
    }

    /// Checks that the options fit the gate.
    fn check(&self, target: &Target) -> Result<(), Error> {
        let gate = target.gate_settings.gate();
        if self.address.is_some() && gate != Gate::Packet {
            return Err(Error::usage(format_args!(
                "--address goes with gate = packet; knocks let in whoever sends them"
            )));
        }
        let is_rotating =
            matches!(&target.gate_settings, GateSettings::Knock(knock) if !knock.is_fixed());
        if self.is_next && !is_rotating {
            return Err(Error::usage(format_args!(
                "--next goes with gate = knock and a sequence that changes"
            )));
        }
        let can_close = matches!(&target.gate_settings, GateSettings::Knock(knock) if !knock.close_sequence.is_empty());
        if self.closes && !can_close {
            return Err(Error::usage(format_args!(
                "--close: this mirage has no close-sequence"
            )));
        }
        if !gate.is_silent() && target.forwards && !self.prints {
            return Err(Error::usage(format_args!(
                "gate = {} needs no knock; use shimmer connect",
                gate.word()
            )));
        }
        Ok(())
    }
}

/// Whether this begins with a number, as PORT does. If the rest is wrong, the error is about a port: a
/// host is a name or an address, and never a mere number.
fn looks_like_hop(word: &str) -> bool {
    let number = word.split(':').next().unwrap_or_default();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number && word.parse::<IpAddr>().is_err()
}

fn parse_address(text: &str) -> config::Parsed<IpAddr> {
    text.parse().map_err(|_| {
        Message::new(format_args!(
            "{text} is not an address, such as 192.0.2.7 or 2001:db8::7"
        ))
    })
}

/// Runs the command after `--`, if there is one.
fn run(command: &[&'static OsStr]) -> Result<(), Error> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let error = exec(Command::new(program).args(arguments));
    Err(Error::failed(format_args!(
        "{}: {error}",
        cli::text(program)
    )))
}

/// Replaces this process by a program. It returns only why it could not.
#[cfg(unix)]
fn exec(command: &mut Command) -> io::Error {
    std::os::unix::process::CommandExt::exec(command)
}

/// Windows can't replace a process: this one waits for the program, and exits with its code.
#[cfg(not(unix))]
fn exec(command: &mut Command) -> io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}
