//! The user's side: from a mirage's secret and the time to the port that leads to the service.
//!
//! std alone, beside the scheme and the configuration, so that it builds on macOS and Windows.

mod known;
mod moment;
pub mod port;
mod secret;

use crate::cli::{self, Failure, Words};
use crate::config::{self, Secret};
use crate::limits::{DEFAULT_DECOYS, DEFAULT_PERIOD_S};
use crate::scheme::key::Key;
use crate::scheme::schedule::Pattern;
use known::KnownMirages;

/// A client's range has to hold the ports of one minute; only a server's holds three.
const MINUTES: u32 = 1;

/// The mirage that the command line speaks of.
pub struct Mirage {
    name: String,
    pattern: Pattern,
    secret: Option<Secret>,
}

impl Mirage {
    /// Finds it by all the words that are left of the command line.
    ///
    /// # Errors
    /// [`Failure::Usage`] or [`Failure::Configuration`] if the words or the configuration make no
    /// sense, [`Failure::Failed`] if the secret can't be read.
    pub fn find(mut words: Words) -> Result<Self, Failure> {
        let given = secret::given(&mut words)?;
        let known = KnownMirages::new(words.value("--config")?);
        let decoys = words.parsed("--decoys", config::parse_decoys)?;
        let period = words.parsed("--period", config::parse_period)?;
        let word = match words.value("--open")? {
            Some(word) => Some(word),
            None => words.word()?,
        };
        words.end()?;
        let Some(word) = word else {
            return Err(Failure::usage(format_args!(
                "which mirage? Give one of the configuration, or NAME:LOW:HIGH"
            )));
        };
        let word = cli::text(word);

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
