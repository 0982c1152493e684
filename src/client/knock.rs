//! `shimmer knock`: shows a gate what it wants to see, and runs the command after `--`.

use super::connect;
use super::host::resolve;
use super::knocks::{Knocks, knock_at};
use super::{MirageArgs, Target};
use crate::cli::{self, Args, Failure};
use crate::config;
use crate::proto::gates::{Gate, GateSettings};
use crate::sys::clock;
use core::net::IpAddr;
use std::ffi::OsStr;
use std::io;
use std::process::Command;

/// `shimmer knock MIRAGE [HOST]` and `shimmer knock HOST PORT[:PROTOCOL]…`
///
/// # Errors
/// Those of [`MirageArgs::take`], [`Target::find`] and [`Target::key`]; [`Failure::Usage`] without a host;
/// [`Failure::Failed`] if nothing can be sent, or the command can't be run.
pub fn main(mut args: Args) -> Result<(), Failure> {
    let behind = args.after_dashes();
    let is_dry = args.flag("--print");
    let is_next = args.flag("--next");
    let closes = args.flag("--close");
    let address = args.parsed("--address", parse_address)?;
    let mirage_args = MirageArgs::take(&mut args, None)?;
    let second = args.word()?.map(cli::text);
    if second.is_some_and(is_meant_as_a_hop) {
        // The plain knocker: the first word is no mirage but the host.
        if is_dry || is_next || closes || address.is_some() {
            return Err(Failure::usage(format_args!(
                "--address, --next, --close and --print go with a mirage; these are plain knocks"
            )));
        }
        let mut hops = Vec::new();
        let mut next = second;
        while let Some(word) = next {
            let hop = config::parse_hop(word).map_err(|wrong| cli::about(word, &wrong))?;
            hops.push(hop);
            next = args.word()?.map(cli::text);
        }
        knock_at(&hops, &resolve(mirage_args.mirage()?)?)?;
        return run(&behind);
    }
    args.end()?;
    let visit = Visit {
        host: second,
        address,
        is_dry,
        is_next,
        closes,
    };
    visit.knock(&Target::find(mirage_args)?)?;
    run(&behind)
}

/// What the command line says of one visit.
struct Visit<'a> {
    host: Option<&'a str>,
    address: Option<IpAddr>,
    is_dry: bool,
    is_next: bool,
    closes: bool,
}

impl Visit<'_> {
    fn knock(&self, target: &Target) -> Result<(), Failure> {
        let gate = target.way.gate();
        let is_packet = gate == Gate::Packet;
        if self.address.is_some() && !is_packet {
            return Err(Failure::usage(format_args!(
                "--address goes with gate = packet; a knock is for whoever sends it"
            )));
        }
        let is_rotating = matches!(&target.way, GateSettings::Knock(knock) if !knock.is_fixed());
        if self.is_next && !is_rotating {
            return Err(Failure::usage(format_args!(
                "--next goes with gate = knock and a sequence that is drawn"
            )));
        }
        let closes =
            matches!(&target.way, GateSettings::Knock(knock) if !knock.close_sequence.is_empty());
        if self.closes && !closes {
            return Err(Failure::usage(format_args!(
                "--close: this mirage has no close-sequence"
            )));
        }
        if !gate.is_silent() && target.leads && !self.is_dry {
            return Err(Failure::usage(format_args!(
                "its port leads to the service itself, and is not to be opened before: shimmer connect"
            )));
        }
        let key = target.key_if_needed()?;
        let unix = clock::unix();
        let minute = match target.pattern {
            Some(pattern) => pattern.minute(unix) + u64::from(self.is_next),
            None => 0,
        };
        let knocks = Knocks {
            way: &target.way,
            key: key.as_ref(),
            pattern: target.pattern,
            address: self.address,
            closes: self.closes,
        };
        if self.is_dry {
            return knocks.print(minute, unix);
        }
        let host = target.host(self.host)?;
        let addresses = resolve(host)?;
        if !gate.is_silent() {
            return connect::touch(target, host, &addresses);
        }
        knocks.send(minute, unix, &addresses)
    }
}

/// Whether this begins with a number as PORT does. A wrong one is told as a wrong port, and not taken for
/// the host of a mirage, which may be an address or a name.
fn is_meant_as_a_hop(word: &str) -> bool {
    let number = word.split(':').next().unwrap_or_default();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number && word.parse::<IpAddr>().is_err()
}

fn parse_address(text: &str) -> config::Parsed<IpAddr> {
    text.parse().map_err(|_| {
        crate::message::Message::new(format_args!(
            "{text} is no address, such as 192.0.2.7 or 2001:db8::7"
        ))
    })
}

/// Runs the command after `--`, if there is one.
fn run(command: &[&'static OsStr]) -> Result<(), Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let error = exec(Command::new(program).args(arguments));
    Err(Failure::failed(format_args!(
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
