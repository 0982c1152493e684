//! The user's side: from a mirage's secret and the time to the port that leads to the service.
//!
//! std alone, beside the scheme and the configuration, so that it builds on macOS and Windows.

pub mod connect;
mod host;
mod join;
pub mod knock;
mod knocks;
mod known;
mod moment;
pub mod port;
mod secret;

use crate::cli::{self, Args, Failure};
use crate::config::{self, Secret};
use crate::limits::{DEFAULT_DECOYS, DEFAULT_PERIOD_S};
use crate::proto::gates::GateSettings;
use crate::proto::scheme::key::Key;
use crate::proto::scheme::schedule::{Pattern, Range};
use known::KnownMirages;
use std::ffi::OsStr;

/// A client's range has to hold the ports of one minute; only a server's holds three.
const MINUTES: u32 = 1;

/// What the command line says of a mirage.
pub struct Wanted {
    word: Option<&'static OsStr>,
    known: KnownMirages,
    secret: Option<Secret>,
    decoys: Option<u8>,
    period: Option<u32>,
}

impl Wanted {
    /// Takes it out of the arguments: its options, and the next word unless an option of the command's
    /// own has named the mirage. To be asked for when those options have been.
    ///
    /// # Errors
    /// [`Failure::Usage`] if the arguments are wrong, [`Failure::Failed`] if the secret can't be read.
    pub fn read(args: &mut Args, named: Option<&'static OsStr>) -> Result<Self, Failure> {
        Ok(Self {
            secret: secret::given(args)?,
            known: KnownMirages::new(args.value("--config")?),
            decoys: args.parsed("--decoys", config::parse_decoys)?,
            period: args.parsed("--period", config::parse_period)?,
            word: match named {
                Some(word) => Some(word),
                None => args.word()?,
            },
        })
    }

    /// The word that names the mirage.
    ///
    /// # Errors
    /// [`Failure::Usage`] if there is none.
    pub fn word(&self) -> Result<&'static str, Failure> {
        match self.word {
            Some(word) => Ok(cli::text(word)),
            None => Err(Failure::usage(format_args!(
                "which mirage? Give one of the configuration, or NAME:LOW:HIGH"
            ))),
        }
    }
}

/// The mirage that the command line speaks of.
pub struct Mirage {
    name: String,
    /// None where nothing is drawn.
    pattern: Option<Pattern>,
    secret: Option<Secret>,
    way: GateSettings,
    /// Whether it has ports of its own to connect to.
    leads: bool,
    host: Option<String>,
}

impl Mirage {
    /// Finds what is wanted, in the configuration where the arguments do not say everything.
    ///
    /// # Errors
    /// [`Failure::Usage`] or [`Failure::Configuration`] if no mirage is named, or the name or the
    /// configuration makes no sense.
    pub fn find(wanted: Wanted) -> Result<Self, Failure> {
        let word = wanted.word()?;
        let Wanted {
            known,
            secret: given,
            decoys,
            period,
            ..
        } = wanted;
        let mut mirage = match word.split_once(':') {
            Some((name, range)) => {
                let wrong = |what| cli::about(word, &what);
                let name = config::parse_name(name).map_err(wrong)?;
                let range = config::parse_range(range, ':').map_err(wrong)?;
                let secret = match given {
                    Some(_) => None,
                    None => known.secret_of(name)?,
                };
                // What does not fit is told below, with what the command line says.
                let decoys = decoys.unwrap_or(DEFAULT_DECOYS);
                let period = period.unwrap_or(DEFAULT_PERIOD_S);
                Self {
                    name: name.to_owned(),
                    pattern: Some(fit(word, range, decoys, period)?),
                    secret,
                    way: GateSettings::Port,
                    leads: true,
                    host: None,
                }
            }
            None => {
                let known = known.mirage(word)?;
                Self {
                    name: known.plain.name,
                    pattern: known.pattern,
                    secret: known.secret,
                    way: known.gate_settings,
                    leads: known.leads,
                    host: known.plain.host,
                }
            }
        };
        if let Some(pattern) = mirage.pattern {
            let decoys = decoys.unwrap_or(pattern.decoys());
            let period = period.unwrap_or(pattern.period());
            mirage.pattern = Some(fit(word, pattern.range(), decoys, period)?);
        }
        mirage.secret = given.or(mirage.secret);
        Ok(mirage)
    }

    /// What the ports of a minute are drawn from.
    ///
    /// # Errors
    /// [`Failure::Usage`] where none are: its sequence is written down.
    pub fn pattern(&self) -> Result<Pattern, Failure> {
        self.pattern.ok_or_else(|| {
            Failure::usage(format_args!(
                "{} has a sequence of its own and no port of the minute: shimmer knock",
                self.name
            ))
        })
    }

    /// Where it is: at this host, or at the configuration's.
    ///
    /// # Errors
    /// [`Failure::Usage`] where there is neither.
    pub fn host<'a>(&'a self, given: Option<&'a str>) -> Result<&'a str, Failure> {
        given.or(self.host.as_deref()).ok_or_else(|| {
            Failure::usage(format_args!(
                "at which host? Give it behind the mirage, or the configuration's section a host ="
            ))
        })
    }

    /// Stretches the secret, and asks for it first if nobody has said it yet. Takes seconds on a
    /// router: the clock is to be read behind it.
    ///
    /// # Errors
    /// [`Failure::Failed`] if nobody can be asked or no secret is the answer.
    pub fn key(&self) -> Result<Key, Failure> {
        let secret = match &self.secret {
            Some(secret) => secret,
            None => &secret::ask(&self.name)?,
        };
        Ok(Key::stretch(secret.as_bytes(), &self.name))
    }

    /// The same; None where nothing is drawn.
    ///
    /// # Errors
    /// As [`Mirage::key`].
    pub fn key_if_any(&self) -> Result<Option<Key>, Failure> {
        match self.pattern {
            Some(_) => self.key().map(Some),
            None => Ok(None),
        }
    }
}

fn fit(word: &str, range: Range, decoys: u8, period: u32) -> Result<Pattern, Failure> {
    config::fit_pattern(range, decoys, period, MINUTES)
        .map_err(|what| Failure::usage(format_args!("{word} {what}")))
}
