//! The commands of the user's side: they compute the port from the secret and the time, and go there.
//!
//! They build on macOS and Windows too: nothing here is Linux-only.

pub mod connect;
mod host;
mod join;
pub mod knock;
mod knocks;
mod known;
mod moment;
pub mod port;
mod secret;

use crate::cli::{self, Args, Error};
use crate::config::{self, Secret};
use crate::limits::{DEFAULT_DECOYS, DEFAULT_PERIOD_S};
use crate::proto::gates::GateSettings;
use crate::proto::scheme::key::Key;
use crate::proto::scheme::schedule::{Pattern, Range};
use known::KnownMirages;
use std::ffi::OsStr;

/// A client computes the ports of one minute at a time, so its range needs room for no more. A server's
/// needs room for three.
const MINUTES: u32 = 1;

/// The arguments about a mirage, which port, connect and knock have in common.
#[derive(Debug)]
pub struct MirageArgs {
    /// A section of the configuration, or NAME:LOW:HIGH.
    mirage: Option<&'static OsStr>,
    known: KnownMirages,
    secret: Option<Secret>,
    decoys: Option<u8>,
    period_s: Option<u32>,
}

impl MirageArgs {
    /// Takes the options and the next free argument, which names the mirage; `mirage` is the name that
    /// an option of the command has given instead. The command takes its own options first, or this
    /// would find one where the mirage should be.
    ///
    /// # Errors
    /// [`Error::Usage`] if an argument is wrong, [`Error::Failed`] if the secret's file can't be read.
    pub fn take(args: &mut Args, mirage: Option<&'static OsStr>) -> Result<Self, Error> {
        Ok(Self {
            secret: secret::given(args)?,
            known: KnownMirages::new(args.value("--config")?),
            decoys: args.parsed("--decoys", config::parse_decoys)?,
            period_s: args.parsed("--period", config::parse_period)?,
            mirage: match mirage {
                Some(mirage) => Some(mirage),
                None => args.positional()?,
            },
        })
    }

    /// The argument that names the mirage.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is none.
    pub fn mirage(&self) -> Result<&'static str, Error> {
        match self.mirage {
            Some(mirage) => Ok(cli::text(mirage)),
            None => Err(Error::usage(format_args!(
                "no mirage given: name a section of the configuration, or give NAME:LOW:HIGH"
            ))),
        }
    }

    /// The pattern of `range`; `decoys` and `period_s` hold unless options say otherwise.
    fn pattern(&self, range: Range, decoys: u8, period_s: u32) -> Result<Pattern, Error> {
        let decoys = self.decoys.unwrap_or(decoys);
        let period_s = self.period_s.unwrap_or(period_s);
        let mirage = self.mirage()?;
        config::fit_pattern(range, decoys, period_s, MINUTES)
            .map_err(|wrong| Error::usage(format_args!("{mirage} {wrong}")))
    }
}

/// The mirage that a command is about.
#[derive(Debug)]
pub struct Target {
    name: String,
    /// What its ports are drawn from. None where a fixed sequence leaves nothing to draw.
    pattern: Option<Pattern>,
    /// None: whoever runs the command is asked for it.
    secret: Option<Secret>,
    gate_settings: GateSettings,
    /// Whether there is a port to connect to once the gate has been passed.
    forwards: bool,
    host: Option<String>,
}

impl Target {
    /// The mirage that `args` name. What they do not say comes from the configuration.
    ///
    /// # Errors
    /// [`Error::Usage`] if they name no mirage, an unknown one, or one with too small a range;
    /// [`Error::Configuration`] if the configuration is wrong.
    pub fn find(args: MirageArgs) -> Result<Self, Error> {
        let mirage = args.mirage()?;
        let mut target = match mirage.split_once(':') {
            Some((name, range)) => Self::from_arguments(&args, name, range)?,
            None => Self::from_configuration(&args, mirage)?,
        };
        target.secret = args.secret.or(target.secret);
        Ok(target)
    }

    fn from_arguments(args: &MirageArgs, name: &str, range: &str) -> Result<Self, Error> {
        let mirage = args.mirage()?;
        let about = |wrong| Error::argument(mirage, &wrong);
        let name = config::parse_name(name).map_err(about)?;
        let range = config::parse_range(range, ':').map_err(about)?;
        let secret = match args.secret {
            Some(_) => None,
            None => args.known.secret_of(name)?,
        };
        Ok(Self {
            name: name.to_owned(),
            pattern: Some(args.pattern(range, DEFAULT_DECOYS, DEFAULT_PERIOD_S)?),
            secret,
            gate_settings: GateSettings::Port,
            forwards: true,
            host: None,
        })
    }

    fn from_configuration(args: &MirageArgs, section: &str) -> Result<Self, Error> {
        let known = args.known.mirage(section)?;
        let pattern = match known.pattern {
            Some(known) => Some(args.pattern(known.range(), known.decoys(), known.period())?),
            None => None,
        };
        Ok(Self {
            name: known.plain.name,
            pattern,
            secret: known.secret,
            gate_settings: known.gate_settings,
            forwards: known.forwards,
            host: known.plain.host,
        })
    }

    /// What its ports are drawn from.
    ///
    /// # Errors
    /// [`Error::Usage`] if it has a fixed sequence and no ports that change.
    pub fn pattern(&self) -> Result<Pattern, Error> {
        self.pattern.ok_or_else(|| {
            Error::usage(format_args!(
                "{} has a fixed sequence and no port that changes; use shimmer knock",
                self.name
            ))
        })
    }

    /// The server: `given`, or else the host in the configuration.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is neither.
    pub fn host<'a>(&'a self, given: Option<&'a str>) -> Result<&'a str, Error> {
        given.or(self.host.as_deref()).ok_or_else(|| {
            Error::usage(format_args!(
                "no host given: add it after the mirage, or set host = in its section"
            ))
        })
    }

    /// The key, from the secret, which is asked for if it is not known. This takes seconds on a router, so
    /// read the clock afterwards.
    ///
    /// # Errors
    /// [`Error::Failed`] if there is no terminal at which to ask, or the answer is not a secret.
    pub fn key(&self) -> Result<Key, Error> {
        let secret = match &self.secret {
            Some(secret) => secret,
            None => &secret::ask(&self.name)?,
        };
        Ok(Key::stretch(secret.as_bytes(), &self.name))
    }

    /// The key; None where a fixed sequence needs no secret.
    ///
    /// # Errors
    /// Those of [`Target::key`].
    pub fn key_if_needed(&self) -> Result<Option<Key>, Error> {
        match self.pattern {
            Some(_) => self.key().map(Some),
            None => Ok(None),
        }
    }
}
