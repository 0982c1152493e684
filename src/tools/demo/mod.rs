//! `shimmer demo`: Shimmer in ten seconds, on this machine alone.
//!
//! Nothing in it is faked. The daemon is the real one. A member who has the secret and a scanner who does
//! not make real connections to it, and the demo checks what they get.
//!
//! ```text
//!   testbed.rs    the daemon as a child process, the hidden service, a new secret
//!   visitors.rs   the member and the scanner ──┐
//!                      the daemon's log ───────┤ event.rs
//!                                              ▼
//!   story.rs      what has happened so far, and whether it is what should happen
//!   screen.rs     the story, drawn in place on a terminal, otherwise told line by line
//!   scene.rs      addresses, times and the secret, which all of them know
//! ```
//!
//! Everybody has an address of their own in 127.0.0.0/8: no port is in anybody's way, and a ban hits only
//! the scanner. Nothing is written to disk, and the kernel ends the daemon with us.

mod error;
mod event;
mod scene;
mod screen;
mod story;
mod testbed;
mod visitors;

use self::error::DemoError;
use self::event::{Moment, ShowEvent};
use self::screen::Screen;
use self::story::{ShowState, Story};
use self::testbed::Testbed;
use self::visitors::Visitors;
use crate::cli::Error;
use crate::sys::signal::Signals;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Between two frames.
const FRAME: Duration = Duration::from_millis(100);

/// Frames from one look at the open ports to the next: the kernel's list may be long.
const FRAMES_PER_LOOK: u32 = 4;

/// The show is over by then, in milliseconds since it began.
const LONGEST_MS: u64 = 14_000;

/// Runs the show. With `stays` it goes on until a signal stops it.
///
/// # Errors
/// [`Error::Failed`] if it could not prove what it shows, [`Error::BrokenPipe`] if nobody watches any more.
pub fn main(stays: bool) -> Result<(), Error> {
    Ok(run(stays)?)
}

fn run(stays: bool) -> Result<(), DemoError> {
    let began = Instant::now();
    // Before the first thread starts, so that every thread leaves the signals to this one.
    let signals = Signals::open().map_err(DemoError::system("signals"))?;
    let (sender, events) = mpsc::channel();
    let testbed = Testbed::start(began, stays, &sender)?;
    let mut visitors = Visitors::new(testbed.scene.clone(), sender);
    let mut story = Story::new(testbed.scene.clone(), Moment::now(began));
    let mut screen = Screen::new();
    for frame in 0u32.. {
        handle_events(&events, &mut story);
        if signals.next().is_some() {
            screen.show(&mut story)?;
            return if stays {
                Ok(())
            } else {
                Err(DemoError::Stopped)
            };
        }
        story.advance(Moment::now(began));
        if frame.is_multiple_of(FRAMES_PER_LOOK) {
            story.compare_ports(&testbed.open_ports()?);
        }
        visitors.start_expected(&story);
        screen.show(&mut story)?;
        if is_over(&story)? {
            break;
        }
    }
    screen.close(&mut story)
}

/// Handles what happens until the next frame.
fn handle_events(events: &Receiver<ShowEvent>, story: &mut Story) {
    let until = Instant::now() + FRAME;
    while let Ok(event) = events.recv_timeout(until.saturating_duration_since(Instant::now())) {
        story.handle(event);
    }
}

fn is_over(story: &Story) -> Result<bool, DemoError> {
    let is_late = !story.scene.stays && story.now.since_ms > LONGEST_MS;
    match story.state() {
        ShowState::Failed(why) => Err(DemoError::Disproved(why)),
        ShowState::Finished => Ok(true),
        ShowState::Running if is_late && !story.is_proven() => Err(DemoError::TookTooLong {
            missing: story.missing(),
        }),
        ShowState::Running => Ok(is_late),
    }
}
