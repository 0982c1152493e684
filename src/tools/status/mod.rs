//! `shimmer status`, `shimmer ban` and `shimmer unban`: questions to the running daemon.
//!
//! ```text
//!   one line, `status 192.0.2.7` ──▶ control socket ──▶ JSON until the daemon closes
//!                                                         ├──▶ --json: as it came
//!                                                         └──▶ overview, verdict: for people
//! ```

mod overview;
mod table;
mod units;
mod verdict;

use crate::cli::{self, Args, Error};
use crate::config::{DEFAULT_CONTROL, Location, ServerConfig};
use crate::limits::ASK_MS;
use crate::proto::source::Source;
use crate::status::{self, Banned, FromJson, Refusal, Unbanned};
use crate::sys::local;
use core::fmt::Display;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use units::Time;

/// What the daemon is asked. It gets an address as it was typed, because `from` and `allow` may tell
/// addresses of one source apart.
enum Request {
    Status {
        with_ports: bool,
    },
    Forecast {
        address: &'static str,
    },
    Ban {
        address: &'static str,
    },
    Unban {
        address: &'static str,
        source: Source,
    },
    UnbanAll,
}

impl Request {
    fn read(command: &str, with_ports: bool, word: Option<&'static str>) -> Result<Self, Error> {
        match (command, word) {
            ("status", None) => Ok(Self::Status { with_ports }),
            ("status", Some(_)) if with_ports => Err(Error::usage(format_args!(
                "--ports: an ADDRESS has none; give one or the other"
            ))),
            ("status", Some(address)) => source(address).map(|_| Self::Forecast { address }),
            ("ban", Some(address)) => source(address).map(|_| Self::Ban { address }),
            ("ban", None) => Err(Error::usage(format_args!(
                "no address given; usage: shimmer ban ADDRESS"
            ))),
            (_, Some("all")) => Ok(Self::UnbanAll),
            (_, Some(address)) => Ok(Self::Unban {
                address,
                source: source(address)?,
            }),
            (_, None) => Err(Error::usage(format_args!(
                "no address given; usage: shimmer unban ADDRESS, or shimmer unban all"
            ))),
        }
    }

    /// The line that goes to the daemon.
    fn line(&self) -> String {
        match self {
            Self::Status { with_ports: false } => "status\n".to_owned(),
            Self::Status { with_ports: true } => "status ports\n".to_owned(),
            Self::Forecast { address } => format!("status {address}\n"),
            Self::Ban { address } => format!("ban {address}\n"),
            Self::Unban { address, .. } => format!("unban {address}\n"),
            Self::UnbanAll => "unban all\n".to_owned(),
        }
    }
}

/// `shimmer status`, `shimmer ban` or `shimmer unban`
///
/// # Errors
/// [`Error::Usage`] and [`Error::Configuration`] if the command line or the configuration make no
/// sense, [`Error::Failed`] if the daemon can't be asked, or if there was no ban to lift; those of
/// [`cli::print`].
pub fn main(command: &str, mut args: Args) -> Result<(), Error> {
    let is_status = command == "status";
    let is_json = is_status && args.flag("--json");
    let with_ports = is_status && args.flag("--ports");
    let control = args.value("--control")?;
    let config = args.value("--config")?;
    let word = args.positional()?.map(cli::text);
    args.finish()?;
    let request = Request::read(command, with_ports, word)?;
    let path = socket(control, config)?;
    let answer = exchange(path, &request.line())?;
    if is_json {
        return cli::print(&answer);
    }
    cli::print(&match request {
        Request::Status { .. } => overview::show(&parse(path, &answer)?),
        Request::Forecast { .. } => verdict::show(&parse(path, &answer)?),
        Request::Ban { .. } => {
            let Banned {
                source, seconds, ..
            } = parse(path, &answer)?;
            format!("{source} is banned for {}\n", Time(seconds))
        }
        Request::Unban { source, .. } => {
            let Unbanned { count, .. } = parse(path, &answer)?;
            if count == 0 {
                return Err(Error::failed(format_args!("{source} was not banned")));
            }
            format!("{source} is no longer banned\n")
        }
        Request::UnbanAll => {
            let Unbanned { count, .. } = parse(path, &answer)?;
            match count {
                0 => "nobody was banned\n".to_owned(),
                1 => "the only ban is lifted\n".to_owned(),
                _ => format!("all {count} bans are lifted\n"),
            }
        }
    })
}

/// What a ban of the address covers.
fn source(address: &str) -> Result<Source, Error> {
    address.parse().map_err(|()| {
        Error::usage(format_args!(
            "{address} is not an address such as 192.0.2.7, 2001:db8::7 or 2001:db8::/64"
        ))
    })
}

/// The control socket, by the words of the command line. There need not be a configuration unless it was
/// named. The path lives as long as the process, as the words do.
fn socket(
    control: Option<&'static OsStr>,
    config: Option<&'static OsStr>,
) -> Result<&'static Path, Error> {
    if let Some(path) = control {
        return Ok(Path::new(path));
    }
    let file = Path::new(config.unwrap_or(cli::CONFIG.as_ref()));
    // Whoever may not read it may not connect either, and is told so there.
    if config.is_none() && File::open(file).is_err() {
        return Ok(Path::new(DEFAULT_CONTROL));
    }
    let server = super::load(file, ServerConfig::load_common)?;
    match &server.common.control {
        Location::Default => Ok(Path::new(DEFAULT_CONTROL)),
        Location::Path(path) => Ok(path),
        Location::Off => Err(failed(
            file,
            &"control = none, so the daemon can't be asked",
        )),
    }
}

/// Sends a line, and reads until the daemon closes.
fn exchange(path: &Path, request: &str) -> Result<String, Error> {
    let mut stream = match local::connect(path, ASK_MS) {
        Ok(stream) => stream,
        Err(error) => return Err(unreached(path, &error)),
    };
    let mut bytes = Vec::new();
    // A daemon that has no time may answer and close before it has read the line. So what it
    // answered is looked at, whatever became of the rest.
    let sent = stream.write_all(request.as_bytes());
    let end = stream.read_to_end(&mut bytes).and(sent);
    let answer = String::from_utf8_lossy(&bytes);
    match status::read(&answer) {
        Some(Refusal { error: None }) => Ok(answer.into_owned()),
        Some(Refusal { error: Some(error) }) => Err(Error::failed(format_args!("{error}"))),
        None => Err(match end {
            Err(error) if error.kind() == ErrorKind::WouldBlock => unreached(path, &error),
            _ if bytes.is_empty() => failed(path, &"the daemon closed without an answer"),
            _ => failed(path, &"the answer breaks off"),
        }),
    }
}

/// Reads an answer that is JSON.
fn parse<T: FromJson + Default>(path: &Path, answer: &str) -> Result<T, Error> {
    status::read(answer).ok_or_else(|| {
        failed(
            path,
            &"the answer lacks something: the daemon is of another version; --json shows all it says",
        )
    })
}

const SILENT: &str = "the daemon has not answered for 5 s";
const _: () = assert!(ASK_MS == 5_000, "SILENT says so");

/// Why there is nobody to talk to, and what to do.
#[cold]
fn unreached(path: &Path, error: &io::Error) -> Error {
    let hint = "the daemon is not running, or its control socket is elsewhere: --control PATH or \
                --config FILE says where";
    match error.kind() {
        ErrorKind::NotFound => failed(path, &format_args!("no such file; {hint}")),
        ErrorKind::ConnectionRefused => failed(path, &format_args!("nobody listens; {hint}")),
        ErrorKind::PermissionDenied => failed(path, &"permission denied; try it as root"),
        ErrorKind::WouldBlock => failed(path, &SILENT),
        _ => failed(path, error),
    }
}

#[cold]
fn failed(path: &Path, what: &dyn Display) -> Error {
    Error::failed(format_args!("{}: {what}", path.display()))
}
