//! The user's side: from a mirage's secret and the time to the port that leads to the service.
//!
//! std alone, beside the scheme and the configuration, so that it builds on macOS and Windows.

pub mod connect;
mod join;
mod known;
mod moment;
pub mod port;
mod secret;

use crate::cli::{self, Failure, Words};
use crate::config::{self, Secret};
use crate::limits::{DEFAULT_DECOYS, DEFAULT_PERIOD_S};
use crate::scheme::gate::Gate;
use crate::scheme::key::Key;
use crate::scheme::schedule::Pattern;
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
    /// Takes it out of the words: its options, and the next word unless an option of the command's
    /// own has named the mirage. To be asked for when those options have been.
    ///
    /// # Errors
    /// [`Failure::Usage`] if the words make no sense, [`Failure::Failed`] if the secret can't be read.
    pub fn read(words: &mut Words, named: Option<&'static OsStr>) -> Result<Self, Failure> {
        Ok(Self {
            secret: secret::given(words)?,
            known: KnownMirages::new(words.value("--config")?),
            decoys: words.parsed("--decoys", config::parse_decoys)?,
            period: words.parsed("--period", config::parse_period)?,
            word: match named {
                Some(word) => Some(word),
                None => words.word()?,
            },
        })
    }
}

/// The mirage that the command line speaks of.
pub struct Mirage {
    name: String,
    pattern: Pattern,
    secret: Option<Secret>,
    gate: Gate,
    host: Option<String>,
}

impl Mirage {
    /// Finds what is wanted, in the configuration where the words don't say all.
    ///
    /// # Errors
    /// [`Failure::Usage`] or [`Failure::Configuration`] if no mirage is named, or the name or the
    /// configuration makes no sense.
    pub fn find(wanted: Wanted) -> Result<Self, Failure> {
        let Wanted {
            word,
            known,
            secret: given,
            decoys,
            period,
        } = wanted;
        let Some(word) = word else {
            return Err(Failure::usage(format_args!(
                "which mirage? Give one of the configuration, or NAME:LOW:HIGH"
            )));
        };
        let word = cli::text(word);

        let (mut gate, mut host) = (Gate::Port, None);
        let (name, range, usual_decoys, usual_period, usual_secret) = match word.split_once(':') {
            Some((name, range)) => {
                let wrong = |what| cli::about(word, &what);
                let name = config::parse_name(name).map_err(wrong)?;
                let range = config::parse_range(range, ':').map_err(wrong)?;
                let secret = match given {
                    Some(_) => None,
                    None => known.secret_of(name)?,
                };
                let name = name.to_owned();
                (name, range, DEFAULT_DECOYS, DEFAULT_PERIOD_S, secret)
            }
            None => {
                let known = known.mirage(word)?;
                let pattern = known.pattern;
                (gate, host) = (known.gate, known.host);
                let (range, decoys, period) = (pattern.range(), pattern.decoys(), pattern.period());
                (known.name, range, decoys, period, known.secret)
            }
        };
        let decoys = decoys.unwrap_or(usual_decoys);
        let period = period.unwrap_or(usual_period);
        let pattern = config::fit_pattern(range, decoys, period, MINUTES)
            .map_err(|what| Failure::usage(format_args!("{word} {what}")))?;
        Ok(Self {
            name,
            pattern,
            secret: given.or(usual_secret),
            gate,
            host,
        })
    }

    /// What the ports of a minute are drawn from.
    #[must_use]
    pub fn pattern(&self) -> Pattern {
        self.pattern
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
}
