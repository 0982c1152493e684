//! The configured commands. A bounded number runs at once, a bounded number waits, and each is killed
//! at its deadline, so a command that hangs takes a place for half a minute at most.
//!
//! ```text
//!   start ─▶ waits ──start_next──▶ runs ──ended──▶ an outcome for its ticket
//!                                   └─deadline─▶ killed ──ended──▶ TimedOut
//! ```
//!
//! A service that a command leaves running lives on, and so does whatever runs when the daemon ends.
//! Output that it writes through the command's pipe is read and thrown away while the daemon lives.
//! Afterwards the pipe has no reader, and the service dies of SIGPIPE at its next line unless it writes
//! elsewhere, as daemons do.

use super::child::Child;
use crate::limits::{HOOK_MS, HOOKS, HOOKS_LEFT, HOOKS_QUEUED};
use crate::proto::table::Table;
use crate::proto::{Instant, sooner};
use crate::sys::child::{Exit, Pid};
use core::fmt;
use mio::{Registry, Token};
use std::error::Error;
use std::rc::Rc;

pub use super::child::Outcome;
pub use crate::proto::table::Id;

/// Running commands, and those whose children still have their output.
const PLACES: usize = HOOKS + HOOKS_LEFT;

/// Too many commands wait already.
#[derive(Clone, Copy, Debug)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many wait to be run")
    }
}

impl Error for Full {}

struct Waiting<T> {
    words: Rc<[String]>,
    ticket: T,
}

/// A command that runs, or that has left something running.
pub struct Hook<T> {
    child: Child,
    /// None once it has ended.
    ticket: Option<T>,
    /// When it ended; meaningless while it runs.
    ended: Instant,
}

/// The queue of commands and the commands that run, [`HOOKS`] at once.
pub struct Hooks<T> {
    hooks: Table<Hook<T>>,
    waiting: Vec<Waiting<T>>,
    token: fn(Id<Hook<T>>) -> Token,
    running: usize,
}

impl<T> Hooks<T> {
    /// With an empty queue. `token` gives the loop's token for the command with this id.
    pub fn new(token: fn(Id<Hook<T>>) -> Token) -> Self {
        Self {
            hooks: Table::new(PLACES),
            waiting: Vec::new(),
            token,
            running: 0,
        }
    }

    /// Queues a command for the next [`Hooks::start_next`] or a later one. Its ticket comes back with its
    /// outcome.
    ///
    /// # Errors
    /// Too many commands are waiting already.
    pub fn start(&mut self, words: Rc<[String]>, ticket: T) -> Result<(), Full> {
        if self.running + self.waiting.len() >= HOOKS + HOOKS_QUEUED {
            return Err(Full);
        }
        self.waiting.push(Waiting { words, ticket });
        Ok(())
    }

    /// Starts waiting commands while there are places. Returns the outcome of one that can't be started; then
    /// there may be more to start.
    pub fn start_next(&mut self, registry: &Registry, now: Instant) -> Option<(T, Outcome)> {
        while self.may_start()
            && let Some(vacant) = self.hooks.vacancy()
        {
            let Waiting { words, ticket } = self.waiting.remove(0);
            let wakes = (registry, (self.token)(vacant.id()));
            match Child::start(&words, wakes, now, HOOK_MS) {
                Ok(child) => {
                    self.running += 1;
                    let hook = Hook {
                        child,
                        ticket: Some(ticket),
                        ended: now,
                    };
                    vacant.insert(hook);
                }
                Err(error) => return Some((ticket, Outcome::NotStarted(error))),
            }
        }
        None
    }

    fn may_start(&self) -> bool {
        !self.waiting.is_empty() && self.running < HOOKS
    }

    /// Lets a command run until then, if it runs. True: it has not begun, and will not.
    pub fn hurry(&mut self, ticket: &T, until: Instant) -> bool
    where
        T: PartialEq,
    {
        let waits = |waiting: &Waiting<T>| waiting.ticket == *ticket;
        if let Some(place) = self.waiting.iter().position(waits) {
            self.waiting.remove(place);
            return true;
        }
        for (_, hook) in self.hooks.iter_mut() {
            if hook.ticket.as_ref() == Some(ticket) {
                hook.child.hurry(until);
            }
        }
        false
    }

    /// Reads what a command has written.
    pub fn read_output(&mut self, id: Id<Hook<T>>, now: Instant) {
        if let Some(hook) = self.hooks.get_mut(id) {
            hook.child.read_output(now);
        }
        self.drop_left_over();
    }

    /// Handles a child that was reaped: returns the outcome if it is one of these commands.
    pub fn ended(&mut self, pid: Pid, exit: Exit, now: Instant) -> Option<(T, Outcome)> {
        let is_it = |(_, hook): &(_, &mut Hook<T>)| hook.child.is(pid);
        let (_, hook) = self.hooks.iter_mut().find(is_it)?;
        let outcome = hook.child.end(exit, now);
        hook.ended = now;
        let ticket = hook.ticket.take();
        self.running -= 1;
        self.drop_left_over();
        Some((ticket?, outcome))
    }

    /// Kills commands whose time is over. Their outcome follows when they have ended.
    pub fn expire(&mut self, now: Instant) {
        for (_, hook) in self.hooks.iter_mut() {
            hook.child.expire(now);
        }
        self.drop_left_over();
    }

    /// When to call [`Hooks::expire`] or [`Hooks::start_next`].
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.may_start() {
            return Some(Instant(0));
        }
        let mut soonest = None;
        for (_, hook) in self.hooks.iter() {
            soonest = sooner(soonest, hook.child.next_deadline());
        }
        soonest
    }

    /// Drops commands that have ended and left nothing running.
    fn drop_left_over(&mut self) {
        while let Some(id) = self.left_over() {
            self.hooks.remove(id);
        }
    }

    /// A command that has ended and whose output is closed; or the oldest, if too many are left.
    fn left_over(&self) -> Option<Id<Hook<T>>> {
        let left = || {
            self.hooks
                .iter()
                .filter(|(_, hook)| !hook.child.is_running())
        };
        let mute = left().find(|(_, hook)| !hook.child.is_heard());
        let too_old = || {
            let oldest = left().min_by_key(|(_, hook)| hook.ended);
            oldest.filter(|_| left().count() > HOOKS_LEFT)
        };
        mute.or_else(too_old).map(|(id, _)| id)
    }
}
