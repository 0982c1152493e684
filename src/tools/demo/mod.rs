//! `shimmer demo`: Shimmer in ten seconds, on this machine alone.
//!
//! Nothing in it is played. The daemon is the real one; a member who has the secret and a scanner
//! who has not make real connections to it, and what they get is checked.
//!
//! ```text
//!   stage.rs      the daemon as a child process, the hidden service, a secret for the evening
//!   visitors.rs   the member and the scanner ──┐
//!                      the daemon's log ───────┤ event.rs
//!                                              ▼
//!   story.rs      what has happened so far, and whether it is what ought to
//!   screen.rs     the story: drawn in place on a terminal, else told line by line
//!   scene.rs      addresses, times and the secret, which all of them know
//! ```
//!
//! Everything has an address of its own in 127.0.0.0/8: no port is in anybody's way, and a ban
//! meets the scanner alone. Nothing is written to disk, and the kernel ends the daemon with us.

mod event;
mod scene;
mod screen;
mod stage;
mod story;
mod visitors;

use self::event::Moment;
use self::screen::Screen;
use self::stage::Stage;
use self::story::{Outcome, Story};
use crate::cli::Error;
use crate::sys::clock;
use crate::sys::signal::Signals;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(100);

/// Pictures between two looks at which ports are open: the kernel's list may be long.
const LOOK_EVERY: u32 = 4;

/// The show is over by then, for better or worse.
const LONGEST_MS: u64 = 14_000;

/// Why the show did not come to its end.
enum Broken {
    /// Something was not as it ought to be, or could not be had.
    Why(String),
    /// Nobody watches any more.
    Unwatched,
}

impl From<String> for Broken {
    fn from(why: String) -> Self {
        Self::Why(why)
    }
}

impl From<io::Error> for Broken {
    /// The only errors that come from an output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unwatched,
            _ => Self::Why(format!("stdout: {error}")),
        }
    }
}

/// Runs the show; with `stay` it goes on until it is stopped.
///
/// # Errors
/// [`Error::Failed`] where it broke off, [`Error::BrokenPipe`] where nobody looks any more.
pub fn main(stay: bool) -> Result<(), Error> {
    show(stay).map_err(|broken| match broken {
        Broken::Unwatched => Error::BrokenPipe,
        Broken::Why(why) => Error::failed(format_args!("demo: {why}")),
    })
}

fn show(stay: bool) -> Result<(), Broken> {
    let began = Instant::now();
    // Before there are threads, so that all of them leave the signals to this one.
    let signals = Signals::open().map_err(|error| format!("signals: {error}"))?;
    let (teller, events) = mpsc::channel();
    let mut stage = Stage::set(began, stay, &teller)?;
    let mut story = Story::new(stage.scene.clone(), moment(began));
    let mut screen = Screen::new();
    for frame in 0u32.. {
        let until = Instant::now() + FRAME;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(event) => story.hear(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        if signals.next().is_some() {
            screen.show(&mut story)?;
            return match stay {
                true => Ok(()),
                false => Err(Broken::Why("stopped before its end".into())),
            };
        }
        story.pass(moment(began));
        if frame.is_multiple_of(LOOK_EVERY) {
            story.look(&stage::open_ports(stage.scene.address)?);
        }
        stage.send_in(&story, &teller);
        screen.show(&mut story)?;
        let is_late = !stay && story.now.since_ms > LONGEST_MS;
        match story.outcome() {
            Outcome::Bad(why) => return Err(Broken::Why(why)),
            Outcome::Good => break,
            Outcome::Open if is_late && story.is_proven() => break,
            Outcome::Open if is_late => {
                let missing = story.missing();
                return Err(Broken::Why(format!("took too long; not seen: {missing}")));
            }
            Outcome::Open => {}
        }
    }
    screen.close(&mut story)?;
    Ok(())
}

fn moment(began: Instant) -> Moment {
    Moment {
        real_ms: clock::real_ms(),
        since_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}
