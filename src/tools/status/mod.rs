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

use crate::cli::{self, Failure, Words};
use crate::config::{Common, DEFAULT_CONTROL};
use crate::limits::ASK_MS;
use crate::scheme::source::Source;
use crate::sys::local;
use answer::{field, is_whole, number};
use core::fmt::Display;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::{Grouped, Seconds};

/// `shimmer status`
///
/// # Errors
/// [`Failure::Usage`] and [`Failure::Configuration`] if the words or the configuration make no
/// sense, [`Failure::Failed`] if the daemon can't be asked; those of [`cli::print`].
pub fn main(mut words: Words) -> Result<(), Failure> {
    let is_json = words.flag("--json");
    let has_ports = words.flag("--ports");
    let place = Place::of(&mut words)?;
    let address = words.word()?.map(cli::text);
    words.end()?;
    let answer = match address {
        Some(_) if has_ports => {
            return Err(Failure::usage(format_args!(
                "--ports: an ADDRESS has none; give one or the other"
            )));
        }
        Some(address) => {
            parse(address)?;
            place.ask("status ", address)?
        }
        None if has_ports => place.ask("status ", "ports")?,
        None => place.ask("status", "")?,
    };
    if is_json {
        cli::print(&answer)
    } else if address.is_some() {
        cli::print(&verdict::text(&answer))
    } else {
        cli::print(&overview::text(&answer))
    }
}

/// `shimmer ban`
///
/// # Errors
/// Those of [`main`].
pub fn ban(mut words: Words) -> Result<(), Failure> {
    let place = Place::of(&mut words)?;
    let address = named(&mut words, "which address?")?;
    words.end()?;
    parse(address)?;
    let answer = place.ask("ban ", address)?;
    let source = field(&answer, "source").unwrap_or(address);
    let time = Seconds(number(&answer, "seconds"));
    cli::print(&format!("{source} is banned for {time}\n"))
}

/// `shimmer unban`
///
/// # Errors
/// Those of [`main`]; [`Failure::Failed`] if the address was not banned.
pub fn unban(mut words: Words) -> Result<(), Failure> {
    let place = Place::of(&mut words)?;
    let address = named(&mut words, "which address? Or all")?;
    words.end()?;
    if address == "all" {
        let answer = place.ask("unban ", "all")?;
        return cli::print(&match number(&answer, "count") {
            0 => "nobody was banned\n".to_owned(),
            1 => "the only ban is taken off\n".to_owned(),
            count => format!("all {} bans are taken off\n", Grouped(count)),
        });
    }
    let source = parse(address)?;
    let answer = place.ask("unban ", address)?;
    if number(&answer, "count") == 0 {
        return Err(Failure::failed(format_args!("{source} was not banned")));
    }
    cli::print(&format!("{source} is not banned any more\n"))
}

/// The word that has to be there, or the question for it.
fn named(words: &mut Words, question: &str) -> Result<&'static str, Failure> {
    match words.word()? {
        Some(word) => Ok(cli::text(word)),
        None => Err(Failure::usage(format_args!("{question}"))),
    }
}

/// Whom an address means. The daemon gets it as it was typed: `from` and `allow` may tell addresses
/// of one source apart.
fn parse(address: &str) -> Result<Source, Failure> {
    address.parse().map_err(|()| {
        Failure::usage(format_args!(
            "{address} is no address, such as 192.0.2.7, 2001:db8::7 or 2001:db8::/64"
        ))
    })
}

/// Where the command line says that the control socket is.
struct Place {
    control: Option<&'static OsStr>,
    config: Option<&'static OsStr>,
}

impl Place {
    fn of(words: &mut Words) -> Result<Self, Failure> {
        Ok(Self {
            control: words.value("--control")?,
            config: words.value("--config")?,
        })
    }

    /// The socket itself. Only who names a configuration has to have one.
    fn socket(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = self.control {
            return Ok(path.into());
        }
        let file = Path::new(self.config.unwrap_or(cli::CONFIG.as_ref()));
        let name = file.display();
        match File::open(file).map_err(|error| error.kind()) {
            Err(ErrorKind::NotFound) if self.config.is_none() => return Ok(DEFAULT_CONTROL.into()),
            Err(ErrorKind::PermissionDenied) => {
                return Err(Failure::failed(format_args!(
                    "{name}: permission denied; try it as root"
                )));
            }
            _ => {}
        }
        let common = Common::load(file).map_err(|errors| Failure::configuration(&errors))?;
        match common.control.path(DEFAULT_CONTROL) {
            Some(path) => Ok(path.to_owned()),
            None => Err(Failure::failed(format_args!(
                "{name} has control = none, so the daemon can't be asked"
            ))),
        }
    }

    /// What the daemon answers: a whole object, and no error.
    fn ask(&self, verb: &str, whom: &str) -> Result<String, Failure> {
        let path = self.socket()?;
        let answer = exchange(&path, &format!("{verb}{whom}\n"))?;
        match field(&answer, "error") {
            Some(wrong) => Err(Failure::failed(format_args!("{wrong}"))),
            None => Ok(answer),
        }
    }
}

/// Sends a line, and reads until the daemon closes.
fn exchange(path: &Path, request: &str) -> Result<String, Failure> {
    let wait = Duration::from_millis(ASK_MS);
    let mut stream = local::connect(path, wait).map_err(|error| unreached(path, &error))?;
    let mut bytes = Vec::new();
    // A daemon that has no time may answer and close before it has read the line. So what it
    // answered is looked at, whatever became of the rest.
    let sent = stream.write_all(request.as_bytes());
    let end = stream.read_to_end(&mut bytes).and(sent);
    let length = bytes.len();
    let path = path.display();
    match (String::from_utf8(bytes), end) {
        (Ok(answer), _) if is_whole(&answer) => Ok(answer),
        (_, Err(error)) if error.kind() == ErrorKind::WouldBlock => Err(unanswered(&path)),
        _ if length == 0 => Err(Failure::failed(format_args!(
            "{path}: the daemon closed without an answer"
        ))),
        _ => Err(Failure::failed(format_args!(
            "{path}: the answer breaks off after {length} bytes"
        ))),
    }
}

#[cold]
fn unanswered(path: &dyn Display) -> Failure {
    let seconds = ASK_MS / 1_000;
    Failure::failed(format_args!(
        "{path}: the daemon has not answered for {seconds} s"
    ))
}

/// Why there is nobody to talk to, and what to do.
#[cold]
fn unreached(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => Failure::failed(format_args!(
            "{path}: no such file; the daemon is not running, or its control socket is elsewhere: \
             --control PATH or --config FILE says where"
        )),
        ErrorKind::ConnectionRefused => Failure::failed(format_args!(
            "{path}: nobody listens; the daemon is not running, or its control socket is elsewhere: \
             --control PATH or --config FILE says where"
        )),
        ErrorKind::PermissionDenied => {
            Failure::failed(format_args!("{path}: permission denied; try it as root"))
        }
        ErrorKind::WouldBlock => unanswered(&path),
        _ => Failure::failed(format_args!("{path}: {error}")),
    }
}
