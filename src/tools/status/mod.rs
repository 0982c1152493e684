//! `shimmer status`, `shimmer ban` and `shimmer unban`: what people ask of the daemon that runs.
//!
//! ```text
//!   one line, `status 192.0.2.7` ──▶ control socket ──▶ JSON until the daemon closes
//!                                                         ├──▶ --json: as it came
//!                                                         └──▶ overview, verdict: for people
//! ```

mod answer;
mod overview;
mod table;
mod verdict;
mod words;

use crate::cli::{self, Args, Failure};
use crate::config::{DEFAULT_CONTROL, Location, Server};
use crate::limits::ASK_MS;
use crate::scheme::source::Source;
use crate::sys::local;
use answer::{field, is_whole, number};
use core::fmt::Display;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use words::fill;

/// What is asked for.
enum Verb {
    Status,
    Ban,
    Unban,
}

/// `shimmer status`, `shimmer ban` or `shimmer unban`
///
/// # Errors
/// [`Failure::Usage`] and [`Failure::Configuration`] if the words or the configuration make no
/// sense, [`Failure::Failed`] if the daemon can't be asked, or there was no ban to take off; those of
/// [`cli::print`].
pub fn main(command: &str, mut words: Args) -> Result<(), Failure> {
    let verb = match command {
        "ban" => Verb::Ban,
        "unban" => Verb::Unban,
        _ => Verb::Status,
    };
    let is_status = matches!(verb, Verb::Status);
    let is_unban = matches!(verb, Verb::Unban);
    let is_json = is_status && words.flag("--json");
    let has_ports = is_status && words.flag("--ports");
    let control = words.value("--control")?;
    let config = words.value("--config")?;
    let word = words.word()?.map(cli::text);
    words.end()?;
    let mut source = None;
    // First what is sent, then what is shown. It lives as long as the process, as the words do.
    let text = Box::leak(Box::new(String::from(command)));
    match (word, &verb) {
        (None, Verb::Status) if has_ports => text.push_str(" ports"),
        (None, Verb::Status) => {}
        (None, _) => {
            let more = if is_unban { " Or all" } else { "" };
            return Err(Failure::usage(format_args!("which address?{more}")));
        }
        (Some(_), _) if has_ports => {
            return Err(Failure::usage(format_args!(
                "--ports: an ADDRESS has none; give one or the other"
            )));
        }
        (Some(word), _) => {
            if word != "all" || !is_unban {
                source = Some(parse(word)?);
            }
            text.push(' ');
            text.push_str(word);
        }
    }
    text.push('\n');

    let answer = exchange(socket(control, config)?, text)?;
    if let Some(wrong) = field(answer, "error") {
        return Err(Failure::failed(format_args!("{wrong}")));
    }
    if is_json {
        return cli::print(answer);
    }
    text.clear();
    let count = number(answer, "count");
    match (verb, source) {
        (Verb::Status, None) => overview::push(text, answer),
        (Verb::Status, Some(_)) => verdict::push(text, answer),
        (Verb::Ban, _) => fill(text, "{source} is banned for {seconds:time}\n", answer),
        (Verb::Unban, None) => {
            let how = match count {
                0 => "nobody was banned\n",
                1 => "the only ban is taken off\n",
                _ => "all {count} bans are taken off\n",
            };
            fill(text, how, answer);
        }
        (Verb::Unban, Some(source)) => {
            let how = match count {
                0 => " was not banned",
                _ => " is not banned any more\n",
            };
            text.push_str(source);
            text.push_str(how);
            if count == 0 {
                return Err(Failure::failed(format_args!("{text}")));
            }
        }
    }
    cli::print(text)
}

/// Whom an address means, in the daemon's words. It gets the address as it was typed: `from` and
/// `allow` may tell addresses of one source apart.
fn parse(address: &str) -> Result<&'static str, Failure> {
    match address.parse::<Source>() {
        Ok(source) => Ok(source.to_string().leak()),
        Err(()) => Err(Failure::usage(format_args!(
            "{address} is no address, such as 192.0.2.7, 2001:db8::7 or 2001:db8::/64"
        ))),
    }
}

/// The control socket, by the words of the command line. Only who names a configuration has to have
/// one. Its path lives as long as the process, as the words do.
fn socket(
    control: Option<&'static OsStr>,
    config: Option<&'static OsStr>,
) -> Result<&'static Path, Failure> {
    if let Some(path) = control {
        return Ok(Path::new(path));
    }
    let file = Path::new(config.unwrap_or(cli::CONFIG.as_ref()));
    // Who may not read it may not connect either, and is told so there.
    if config.is_none() && File::open(file).is_err() {
        return Ok(Path::new(DEFAULT_CONTROL));
    }
    let server = super::load(file, Server::load_common)?;
    match &server.common.control {
        Location::Default => Ok(Path::new(DEFAULT_CONTROL)),
        Location::Path(path) => Ok(path),
        Location::Off => Err(failed(
            file,
            &"control = none, so the daemon can't be asked",
            "",
        )),
    }
}

/// Sends a line, and reads until the daemon closes. The answer lives as long as the process.
fn exchange(path: &Path, request: &str) -> Result<&'static str, Failure> {
    let mut stream = match local::connect(path, ASK_MS) {
        Ok(stream) => stream,
        Err(error) => return Err(unreached(path, &error)),
    };
    let mut bytes = Vec::new();
    // A daemon that has no time may answer and close before it has read the line. So what it
    // answered is looked at, whatever became of the rest.
    let sent = stream.write_all(request.as_bytes());
    let end = stream.read_to_end(&mut bytes).and(sent);
    let bytes = bytes.leak();
    let answer = str::from_utf8(bytes).unwrap_or_default();
    if is_whole(answer) {
        return Ok(answer);
    }
    match end {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(unreached(path, &error)),
        _ if bytes.is_empty() => Err(failed(path, &"the daemon closed without an answer", "")),
        _ => Err(failed(path, &"the answer breaks off", "")),
    }
}

const SILENT: &str = "the daemon has not answered for 5 s";
const _: () = assert!(ASK_MS == 5_000, "SILENT says so");

/// Why there is nobody to talk to, and what to do.
#[cold]
fn unreached(path: &Path, error: &io::Error) -> Failure {
    let elsewhere = "; the daemon is not running, or its control socket is elsewhere: \
                     --control PATH or --config FILE says where";
    let (what, more): (&dyn Display, _) = match error.kind() {
        ErrorKind::NotFound => (&"no such file", elsewhere),
        ErrorKind::ConnectionRefused => (&"nobody listens", elsewhere),
        ErrorKind::PermissionDenied => (&"permission denied; try it as root", ""),
        ErrorKind::WouldBlock => (&SILENT, ""),
        _ => (error, ""),
    };
    failed(path, what, more)
}

#[cold]
fn failed(path: &Path, what: &dyn Display, more: &str) -> Failure {
    Failure::failed(format_args!("{}: {what}{more}", path.display()))
}
