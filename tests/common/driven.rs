//! Runs the real loop in a thread of the test, with the test's clock and signals.
//!
//! The clock stands still until the test moves it. The loop counts its turns, so a test waits for turns and not
//! for time: after three turns the loop has seen everything that was there before, in at least one whole turn.
//! This is the only file that implements the daemon's [`Host`] for tests.

#![allow(dead_code, reason = "each test uses its part")]

use shimmer::config::ServerConfig;
use shimmer::daemon::host::Host;
use shimmer::daemon::{Daemon, Failure};
use shimmer::proto::{Instant, Now};
use shimmer::sys::signal::Signal;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::iter;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The first second of a minute, in 2026.
pub const NOON: u64 = 1_794_000_000;

/// The start of the boot clock.
const BOOT_MS: u64 = 1_000_000_000;

/// No turn takes this long on a healthy machine, however busy it is.
const PATIENCE: Duration = Duration::from_secs(40);

/// The pause before the loop is woken again: it may have read two wake-ups as one.
const WAKE_AGAIN: Duration = Duration::from_millis(2);

/// What the loop sees of the system around it.
pub struct World {
    pub boot_ms: u64,
    pub real_ms: i64,
    /// Whether something keeps the clock right.
    pub is_kept: bool,
    pub signals: VecDeque<Signal>,
    /// How many descriptors to leave to the daemon, from its next turn on.
    pub descriptors: Option<usize>,
    /// Runs before each turn, in the loop's thread.
    pub each_turn: Option<Box<dyn FnMut() + Send>>,
    /// Turns that the loop has begun.
    turns: u64,
    /// Whether the loop has to wait where it reads the time.
    is_held: bool,
    /// Whether it waits there now.
    waits: bool,
}

impl World {
    /// A world at a moment, in Unix seconds.
    pub fn at(unix: u64) -> Self {
        Self {
            boot_ms: BOOT_MS,
            real_ms: unix as i64 * 1_000,
            is_kept: true,
            signals: VecDeque::new(),
            descriptors: None,
            each_turn: None,
            turns: 0,
            is_held: false,
            waits: false,
        }
    }

    /// Lets time pass on both clocks.
    pub fn pass_ms(&mut self, ms: u64) {
        self.boot_ms += ms;
        self.real_ms += ms as i64;
    }

    /// Sets the real clock, in Unix seconds.
    pub fn set(&mut self, unix: u64) {
        self.real_ms = unix as i64 * 1_000;
    }

    /// Sends the signal for a changed configuration.
    pub fn reload(&mut self) {
        self.signals.push_back(Signal::Reload);
    }

    /// Sends the signal for an ended child.
    pub fn child_ended(&mut self) {
        self.signals.push_back(Signal::ChildEnded);
    }
}

struct Shared {
    world: Mutex<World>,
    has_turned: Condvar,
}

impl Shared {
    /// Locks the world, even after the loop has panicked.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct TestHost {
    shared: Arc<Shared>,
    waker: UnixStream,
    /// It never becomes readable.
    clock_waker: UnixStream,
    /// Files that use up the daemon's descriptors.
    fillers: Vec<File>,
}

impl TestHost {
    /// Opens files until only `count` descriptors are left.
    fn leave_descriptors(&mut self, count: usize) {
        self.fillers.clear();
        self.fillers
            .extend(iter::from_fn(|| File::open("/dev/null").ok()));
        let most = self.fillers.len().saturating_sub(count);
        self.fillers.truncate(most);
    }
}

impl Host for TestHost {
    fn now(&mut self) -> Now {
        let mut world = self.shared.world();
        world.turns += 1;
        world.waits = true;
        self.shared.has_turned.notify_all();
        while world.is_held {
            world = self.shared.has_turned.wait(world).unwrap();
        }
        world.waits = false;
        let now = Now {
            boot: Instant(world.boot_ms),
            real_ms: world.real_ms,
        };
        let descriptors = world.descriptors.take();
        let each_turn = world.each_turn.take();
        drop(world);
        if let Some(mut act) = each_turn {
            act();
            self.shared.world().each_turn.get_or_insert(act);
        }
        if let Some(count) = descriptors {
            self.leave_descriptors(count);
        }
        now
    }

    fn clock_is_kept(&self) -> bool {
        self.shared.world().is_kept
    }

    fn signal_waker(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }

    fn clock_waker(&self) -> Result<BorrowedFd<'_>, &io::Error> {
        Ok(self.clock_waker.as_fd())
    }

    fn next_signal(&mut self) -> Option<Signal> {
        let _ = (&self.waker).read(&mut [0; 64]);
        self.shared.world().signals.pop_front()
    }
}

/// A daemon that the test drives. Dropping it ends it.
pub struct DrivenDaemon {
    shared: Arc<Shared>,
    waker: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl DrivenDaemon {
    /// Starts a daemon in a world. `prepare` runs first in its thread, with a descriptor that it needs.
    pub fn start(
        config: PathBuf,
        world: World,
        prepare: impl FnOnce(&UnixStream) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            has_turned: Condvar::new(),
        });
        let (waker, woken) = UnixStream::pair().unwrap();
        woken.set_nonblocking(true).unwrap();
        let its = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            prepare(&woken);
            let (clock_waker, _) = UnixStream::pair().unwrap();
            let host = TestHost {
                shared: its,
                waker: woken,
                clock_waker,
                fillers: Vec::new(),
            };
            let server = ServerConfig::load(&config).unwrap_or_else(|errors| panic!("{errors}"));
            let daemon = Daemon::new(&config, server, host);
            let daemon = daemon.unwrap_or_else(|error| panic!("{error}"));
            match daemon.run() {
                // Nobody tells it here that a command has ended.
                Ok(()) | Err(Failure::LeftOpen(..)) => {}
                Err(failure) => panic!("{failure}"),
            }
        });
        Self {
            shared,
            waker,
            thread: Some(thread),
        }
    }

    /// Changes the world, and waits until the loop has done two whole turns in it.
    #[track_caller]
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        let mut world = self.shared.world();
        change(&mut world);
        self.wait_for_turns(world, 3);
    }

    /// Waits until the loop has done at least this many turns.
    #[track_caller]
    pub fn turn(&self, turns: u64) {
        self.wait_for_turns(self.shared.world(), turns);
    }

    /// Stops the loop before its next turn, does something, and lets it find everything at once.
    #[track_caller]
    pub fn at_once<T>(&self, act: impl FnOnce() -> T, change: impl FnOnce(&mut World)) -> T {
        let mut world = self.shared.world();
        world.is_held = true;
        drop(self.wait(world, |world| world.waits));
        let done = act();
        let mut world = self.shared.world();
        change(&mut world);
        world.is_held = false;
        self.shared.has_turned.notify_all();
        self.wait_for_turns(world, 3);
        done
    }

    /// The time of the daemon's clock, in Unix seconds.
    pub fn unix(&self) -> u64 {
        self.shared.world().real_ms as u64 / 1_000
    }

    /// Ends the daemon and waits for it. An error if the daemon has panicked.
    pub fn end(&mut self, mut meanwhile: impl FnMut(&mut World)) -> thread::Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let mut world = self.shared.world();
        world.signals.push_back(Signal::Terminate);
        world.is_held = false;
        self.shared.has_turned.notify_all();
        drop(world);
        while !thread.is_finished() {
            meanwhile(&mut self.shared.world());
            // It may have gone in the meantime.
            let _ = self.waker.write_all(b"x");
            thread::park_timeout(WAKE_AGAIN);
        }
        thread.join()
    }

    /// Waits for one turn after the other, since a turn that has begun may not see what is there now.
    #[track_caller]
    fn wait_for_turns(&self, mut world: MutexGuard<'_, World>, turns: u64) {
        let before = world.turns;
        for turn in 1..=turns {
            world = self.wait(world, |world| world.turns >= before + turn);
        }
    }

    /// Wakes the loop until the world meets a condition.
    #[track_caller]
    fn wait<'a>(
        &self,
        mut world: MutexGuard<'a, World>,
        condition: impl Fn(&World) -> bool,
    ) -> MutexGuard<'a, World> {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !condition(&world) {
            assert!(std::time::Instant::now() < deadline, "the loop is stuck");
            (&self.waker).write_all(b"x").unwrap();
            let waited = self.shared.has_turned.wait_timeout(world, WAKE_AGAIN);
            world = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        world
    }
}

impl Drop for DrivenDaemon {
    fn drop(&mut self) {
        let ended = self.end(|world| world.pass_ms(1_000));
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}
