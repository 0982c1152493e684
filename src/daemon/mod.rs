//! The shell around the scheme: it performs what the scheme decides.
//!
//! One thread, one poll, and everything in tables whose sizes are known at the start:
//!
//! ```text
//!   mod.rs         the loop
//!   host.rs        the time and the signals, as a value
//!   reload.rs      from a configuration to open ports, at start and at SIGHUP
//!   listeners.rs   the open ports                 accept.rs   a visitor: verdict and what follows
//!   session.rs     one forwarded connection       direction.rs, pipes.rs   the way of its bytes
//!   trap.rs        one visitor held               state.rs    the bans, on disk
//!   clock.rs       steps of the clock             control.rs  who asks what it does
//!   sensor.rs      packets that nobody answers    arrival.rs, knocks.rs   what they mean
//!   pass.rs        who has passed, and what opens for him: admitted.rs a port, door.rs and
//!                  journal.rs what commands have opened
//!   hooks.rs       commands                       nft.rs      the kernel's sets
//!   child.rs       a child of either              user.rs     who it is
//!   event.rs       what the log can say               log.rs      where it says it
//!   wake.rs        events                         table.rs, timers.rs, tally.rs   tables
//! ```

mod accept;
mod admitted;
mod arrival;
mod child;
mod clock;
mod control;
mod direction;
mod door;
mod event;
pub mod hooks;
pub mod host;
mod journal;
mod knocks;
mod listeners;
mod log;
pub mod nft;
mod own_address;
mod pass;
mod pipes;
mod reload;
pub mod sensor;
mod session;
mod state;
mod table;
mod tally;
mod timers;
mod trap;
mod user;
mod wake;

use self::clock::ClockWatch;
use self::control::Control;
use self::door::{Openings, Ticket};
use self::event::{Event, UnbanCause, Warning};
use self::hooks::Hooks;
use self::host::{Host, Machine};
use self::listeners::{Listeners, Trouble};
use self::log::Log;
use self::nft::Nft;
use self::pass::Passed;
use self::pipes::Pipes;
use self::reload::{Mirage, Reload, UsedTokens};
use self::sensor::Sensor;
use self::session::{Arrival, End, Progress, Ready, Session, Share};
use self::state::StateFile;
use self::table::{Id, Table};
use self::tally::Tally;
use self::timers::Timers;
use self::trap::Traps;
use self::wake::Wake;
use crate::config::{Errors, OwnerHint, ServerConfig};
use crate::limits::{
    BANS, EVENTS, MAX_SESSIONS, PIPES_PER_SOURCE, RETRY_MS, STATE_MS, TRAPS, USUAL_DESCRIPTORS,
};
use crate::proto::bans::Blacklist;
use crate::proto::scheme::schedule::{Change, Plan, Role};
use crate::proto::source::Source;
use crate::proto::{Instant, Now, sooner};
use crate::sys::child::Pid;
use crate::sys::process;
use crate::sys::signal::{self, Signal};
use crate::terms::Level;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use std::collections::HashMap;
use std::hash::RandomState;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// What changes the kernel's sets, found in the usual folders.
const NFT: &str = "nft";

/// Runs the daemon until it is told to end.
///
/// # Errors
/// The configuration has errors, or the system does not give what the daemon needs.
pub fn run(config: &Path) -> Result<(), Failure> {
    let server = ServerConfig::load(config).map_err(Failure::Configuration)?;
    let server = user::become_user(server, config)?;
    log::report_panics();
    let machine = Machine::take_over().map_err(Failure::Host)?;
    let daemon = Daemon::new(config, server, machine)?;
    if cfg!(shimmer_test_panic) {
        panic!("a panic on purpose");
    }
    daemon.run()
}

/// Why the daemon could not start, or could not go on.
pub enum Failure {
    /// All that is wrong with the configuration.
    Configuration(Errors),
    /// It can't be the user that the configuration names: why.
    User(String),
    /// The kernel gives no descriptor or no memory for what it needs at all.
    Host(io::Error),
    /// The log can't be opened.
    Log(PathBuf, io::Error),
    /// The state file can't be had: this is its name, and why.
    State(PathBuf, String),
    /// The control socket can't be had: this is its name, and why.
    Control(PathBuf, String),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Configuration(errors) => errors.fmt(f),
            Self::User(why) => write!(f, "user: {why}"),
            Self::Host(error) => write!(f, "the system does not let the daemon run: {error}"),
            Self::Log(path, error) => {
                write!(
                    f,
                    "log: {}: {error}{}",
                    path.display(),
                    OwnerHint { path, error }
                )
            }
            Self::Control(path, why) => write!(f, "control: {}: {why}", path.display()),
            Self::State(path, why) => write!(f, "state-file: {}: {why}", path.display()),
        }
    }
}

/// The daemon: everything that it knows and holds.
pub struct Daemon<H> {
    host: H,
    now: Now,
    poll: Poll,
    log: Log,
    config_path: PathBuf,
    common: Rc<crate::config::Common>,
    reload: Option<Reload>,
    clock: ClockWatch,
    mirages: Vec<Mirage>,
    used: Vec<UsedTokens>,
    listeners: Listeners,
    sessions: Table<Session>,
    timers: Timers<Session>,
    sources: Tally<Source, Share>,
    sessions_by_mirage: Tally<Rc<str>, usize>,
    /// The sessions that are processes.
    processes: HashMap<Pid, Id<Session>>,
    traps: Traps,
    bans: Blacklist<RandomState>,
    pipes: Pipes,
    state: Option<StateFile>,
    /// The bans that the state file has, by their count of changes; None until it was read.
    saved: Option<u64>,
    saved_at: Instant,
    /// Sessions with more to do than one turn allows.
    due: Vec<Id<Session>>,
    descriptor_limit: usize,
    /// Given up for a moment to tell a visitor that there are no descriptors left.
    spare: Option<std::fs::File>,
    /// The minute has turned, and not yet for all mirages.
    is_turning: bool,
    /// When the ports with visitors that could not be accepted are looked at again.
    accept_again: Option<Instant>,
    /// When the ports that could not be opened are tried again.
    open_again: Option<Instant>,
    told_full: Told,
    counters: Counters,
    control: Control,
    /// None as long as no mirage wants to know who knocks.
    sensor: Option<Sensor>,
    openings: Openings,
    hooks: Hooks<Ticket>,
    nft: Nft<Passed>,
    started: Instant,
}

/// When the log was told last that something is full.
#[derive(Default)]
struct Told {
    bans: Option<Instant>,
    nonces: Option<Instant>,
}

/// What has happened since the start.
#[derive(Default)]
struct Counters {
    /// Handshakes.
    visitors: u64,
    /// Sessions.
    accepted: u64,
    /// Bans that began.
    banned: u64,
    /// Connections of banned sources that were closed at once.
    refused: u64,
    /// Visitors who were held and not banned.
    held: u64,
    /// Tokens that were good, and that were not; to say none is not good.
    good_tokens: u64,
    bad_tokens: u64,
    /// Visitors for whom something was full.
    turned_away: u64,
    /// Addresses for which a door was opened.
    passed: u64,
    /// Packets at the silent gates that were heard, and that were lost, as the sensor says.
    sensed: u64,
    lost_packets: u64,
}

/// A descriptor for [`Daemon::spare`].
fn spare() -> Option<std::fs::File> {
    std::fs::File::open("/dev/null").ok()
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Course {
    On,
    End,
}

impl<H: Host> Daemon<H> {
    /// A daemon that will serve this configuration, read from `config_path`, once it runs.
    ///
    /// # Errors
    /// The log, the state file or the poll can't be had.
    pub fn new(config_path: &Path, server: ServerConfig, mut host: H) -> Result<Self, Failure> {
        let ServerConfig {
            common,
            mirages,
            warnings,
        } = server;
        let common = Rc::new(common);
        let now = host.now();
        let mut log = Log::open(&common.log, common.log_level, now)
            .map_err(|error| Failure::Log(reload::log_path(&common.log), error))?;
        signal::set_crash_log(log.descriptor());
        let mut lacks = |what, error: &io::Error| {
            let warning = Warning::Kernel(what, error.to_string());
            log.write(&Event::Warning(warning));
        };
        let descriptor_limit = process::raise_descriptor_limit().unwrap_or_else(|error| {
            lacks(
                "a word on the limit of descriptors, taken for the usual one",
                &error,
            );
            USUAL_DESCRIPTORS
        });
        let pipes = Pipes::new();
        if let Err(error) = &pipes.can_splice {
            lacks("splice, bulk is copied", error);
        }
        let clock_waker = host.clock_waker();
        if let Err(error) = clock_waker {
            lacks(
                "news of a clock that is set, it is noticed within a minute",
                error,
            );
        }
        let poll = Poll::new().map_err(Failure::Host)?;
        for waker in [Ok(host.signal_waker()), clock_waker].into_iter().flatten() {
            let descriptor = waker.as_raw_fd();
            poll.registry()
                .register(
                    &mut SourceFd(&descriptor),
                    Wake::Host.into(),
                    Interest::READABLE,
                )
                .map_err(Failure::Host)?;
        }
        let ban_ms = u64::from(common.ban_s) * 1_000;
        let mut daemon = Self {
            clock: ClockWatch::new(&common, now, host.clock_is_kept()),
            host,
            now,
            poll,
            log,
            config_path: config_path.to_path_buf(),
            reload: None,
            mirages: Vec::new(),
            used: Vec::new(),
            listeners: Listeners::default(),
            sessions: Table::new(0),
            timers: Timers::new(),
            sources: Tally::new(),
            sessions_by_mirage: Tally::new(),
            processes: HashMap::new(),
            traps: Traps::new(TRAPS.min(descriptor_limit / 8).max(1)),
            bans: Blacklist::new(BANS, ban_ms, RandomState::new()),
            pipes,
            state: None,
            saved: None,
            saved_at: now.boot,
            due: Vec::new(),
            is_turning: false,
            descriptor_limit,
            spare: spare(),
            accept_again: None,
            open_again: None,
            told_full: Told::default(),
            counters: Counters::default(),
            control: Control::new(),
            sensor: None,
            openings: Openings::new(),
            hooks: Hooks::new(|id| Wake::Command(id).into()),
            nft: Nft::new(NFT, Wake::Nft.into()),
            started: now.boot,
            common: Rc::clone(&common),
        };
        daemon.state = daemon.take_state_file(&common.state_file)?;
        daemon.read_journal();
        daemon.take_control(&common.control)?;
        daemon.begin_reload(common, mirages, &warnings);
        Ok(daemon)
    }

    /// Runs until a signal ends it. One turn is:
    ///
    /// the time → signals → events → what is left of the last turn → deadlines → a slice of a reload →
    /// the minute's turn → the next deadline
    ///
    /// The time is asked once, so all that happens in a turn happens at one moment. Events come
    /// before the minute's turn, so a visitor is judged by the plan it found.
    ///
    /// # Errors
    /// The kernel no longer lets it poll.
    pub fn run(mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.now = self.host.now();
            self.log.at(self.now);
            let is_called = |event: &mio::event::Event| Wake::from(event.token()) == Wake::Host;
            if events.iter().any(is_called) && self.heed_signals() == Course::End {
                break;
            }
            self.watch_clock();
            for event in &events {
                match event.token().into() {
                    Wake::Host => {}
                    Wake::Port(id) => self.accept(id),
                    Wake::Trap(id) => {
                        self.traps.hear(id, self.now.boot);
                        self.judge_suspects();
                    }
                    Wake::Session(id, side) => {
                        self.drive_session(id, Some(Ready::new(side, event)));
                    }
                    Wake::Control => self.accept_askers(),
                    Wake::Asker(id) => self.drive_asker(id),
                    Wake::Sensor(number) => self.heed_sensor(number),
                    Wake::Command(id) => self.hooks.hear(id, self.now.boot),
                    Wake::Nft => self.nft.hear(self.now.boot),
                }
            }
            self.sense();
            self.go_on_with_sessions();
            self.go_on_with_askers();
            self.expire();
            self.run_commands();
            self.go_on_with_reload();
            self.turn_minutes();

            let timeout = self.until_next_deadline();
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                Err(error) => return Err(Failure::Host(error)),
                Ok(()) => {}
            }
        }
        self.save_state();
        self.control.close();
        self.log.write(&Event::End);
        Ok(())
    }

    fn heed_signals(&mut self) -> Course {
        while let Some(signal) = self.host.next_signal() {
            match signal {
                Signal::Terminate => return Course::End,
                Signal::Reload => self.read_configuration_again(),
                Signal::ChildEnded => self.reap(),
            }
        }
        Course::On
    }

    /// Follows the minute, one mirage a turn: each opens and closes many ports, for which a router
    /// needs milliseconds, and the sessions wait.
    fn turn_minutes(&mut self) {
        let unix = self.clock.believed(self.now);
        self.is_turning = false;
        for mirage in 0..self.mirages.len() {
            let schedule = self.mirages[mirage].schedule.as_mut();
            if let Some(plan) = schedule.and_then(|schedule| schedule.turn(unix, self.now.boot)) {
                self.follow(mirage, plan);
                self.is_turning = true;
                return;
            }
        }
        self.tell_of_closed_ports();
    }

    /// Opens what a new plan opens, then serves whoever came by the old one, then closes.
    fn follow(&mut self, mirage: usize, next: Plan) {
        let changes = self.mirages[mirage].changes(&next);
        let backlog = self.mirages[mirage].backlog();
        let places = Rc::clone(&self.mirages[mirage].places);
        let admitted = self.mirages[mirage].filter();
        let ids = |port| places.iter().map(move |&place| Listeners::id(place, port));
        let (mut opened, mut closed) = (0, 0);
        for change in &changes {
            if let Change::Open(port) = *change {
                opened += 1;
                for id in ids(port) {
                    let registry = self.poll.registry();
                    self.listeners
                        .open(registry, id, mirage, backlog, admitted.as_deref());
                }
            }
        }
        let mut leaving = Vec::new();
        for change in &changes {
            if let Change::Turn(port) | Change::Close(port) = *change {
                for id in ids(port) {
                    leaving.push(id);
                }
            }
        }
        self.accept_all(&leaving);
        self.mirages[mirage].plan = next;
        for change in &changes {
            if let Change::Close(port) = *change {
                closed += 1;
                ids(port).for_each(|id| self.listeners.close(id));
            }
        }
        if self.listeners.has_closed() {
            self.open_again = Some(self.now.boot);
        }
        if self.mirages[mirage].config.gate().is_silent() {
            self.watch_knocks();
        }
        if !self.mirages[mirage].is_listening() {
            return;
        }
        let mirage = &self.mirages[mirage];
        let open = self.count_open(mirage);
        self.log.write(&Event::Rotate {
            mirage: Rc::clone(&mirage.label),
            open,
            opened,
            closed,
        });
    }

    /// Everything whose time has come.
    fn expire(&mut self) {
        let now = self.now.boot;
        self.expire_admitted();
        self.expire_knockers();
        self.expire_commands();
        self.expire_sessions();
        self.control.expire(now);
        self.traps.expire(now);
        self.judge_suspects();
        while let Some(ban) = self.bans.expire(now) {
            let by = UnbanCause::Time;
            self.log.write(&Event::Unban { ban, by });
        }
        if self.accept_again.is_some_and(|when| when <= now) {
            self.accept_left_over();
        }
        if self.open_again.is_some_and(|when| when <= now) {
            self.open_left_over();
        }
        if self.state_is_due().is_some_and(|when| when <= now) {
            self.save_state();
        }
        let sensor = self.sensor.as_mut();
        if let Some(packets) = sensor.and_then(|sensor| sensor.newly_lost(now)) {
            self.log.write(&Event::PacketsLost { packets });
        }
        self.log.tell_left_out();
    }

    /// How long the poll may sleep: to the end of the first thing that ends.
    fn until_next_deadline(&self) -> Duration {
        let now = self.now;
        let is_due = self.control.is_due || !self.due.is_empty();
        if self.reload.is_some() || self.is_turning || is_due {
            return Duration::ZERO;
        }
        let mut soonest = self.timers.soonest();
        soonest = sooner(soonest, self.traps.next_deadline());
        soonest = sooner(soonest, self.control.next_deadline());
        soonest = sooner(soonest, self.bans.next_end());
        soonest = sooner(soonest, self.accept_again);
        soonest = sooner(soonest, self.open_again);
        soonest = sooner(soonest, self.state_is_due());
        soonest = sooner(soonest, self.log.next_deadline());
        soonest = sooner(soonest, self.clock.next_look());
        soonest = sooner(soonest, self.openings.next_deadline());
        soonest = sooner(soonest, self.hooks.next_deadline());
        soonest = sooner(soonest, self.nft.next_deadline());
        soonest = sooner(soonest, self.next_knock_end());
        soonest = sooner(soonest, self.sensor.as_ref().and_then(Sensor::next_look));
        for mirage in &self.mirages {
            soonest = sooner(soonest, mirage.next_turn(now));
            soonest = sooner(soonest, mirage.admitted.next_end());
        }
        let ms = soonest.map_or(u64::from(u32::MAX), |soonest| soonest.since(now.boot));
        Duration::from_millis(ms)
    }

    /// Those that had more to do in the last turn, behind all that had events in this one.
    fn go_on_with_sessions(&mut self) {
        for id in core::mem::take(&mut self.due) {
            if let Some(session) = self.sessions.get_mut(id) {
                session.is_due = false;
                self.drive_session(id, None);
            }
        }
    }

    fn drive_session(&mut self, id: Id<Session>, ready: Option<Ready>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let source = session.who.source;
        let may_borrow =
            !self.pipes.are_scarce() || self.sources.get(&source).pipes < PIPES_PER_SOURCE;
        let (was_dialing, had) = (session.is_dialing(), session.pipes());
        let progress = session.drive(ready, self.now.boot, &mut self.pipes, may_borrow);
        let (has_begun, has) = (was_dialing && !session.is_dialing(), session.pipes());
        if had != has {
            let count = |share: &mut Share| share.pipes = share.pipes + has - had;
            self.sources.change(source, count);
        }
        if let Some(deadline) = session.deadline() {
            self.timers.bring_forward(id, deadline);
        }
        if matches!(progress, Progress::Again) && !core::mem::replace(&mut session.is_due, true) {
            self.due.push(id);
        }
        if has_begun {
            let mirage = Rc::clone(&session.who.mirage);
            self.use_service(&mirage);
        }
        match progress {
            Progress::Wait | Progress::Again => {}
            Progress::Over(End::NoService(error)) => self.lacks_service(id, error),
            Progress::Over(end) => self.end_session(id, &end),
        }
    }

    fn expire_sessions(&mut self) {
        let now = self.now.boot;
        while let Some(id) = self.timers.next_due(now) {
            let Some(session) = self.sessions.get_mut(id) else {
                continue;
            };
            if session.is_to_be_dialled(now) {
                let mirage = Rc::clone(&session.who.mirage);
                self.dial_service_again(id, &mirage);
                continue;
            }
            match session.expire(now) {
                // It was put off meanwhile.
                None => self.timers.set(id, session.deadline()),
                // Nobody has answered: a machine that is to be woken, say.
                Some(End::NoService(error)) => self.lacks_service(id, error),
                Some(end) => self.end_session(id, &end),
            }
        }
    }

    fn end_session(&mut self, id: Id<Session>, end: &End) {
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        self.timers.set(id, None);
        self.sources.change(session.who.source, |share| {
            share.sessions -= 1;
            share.pipes -= session.pipes();
            if share.sessions == 0 {
                share.forgiven = 0;
            }
        });
        if let Some(pid) = session.pid() {
            self.processes.remove(&pid);
        }
        let Arrival {
            mirage,
            peer,
            port,
            since,
            ..
        } = &session.who;
        if let End::NoService(error) = end {
            self.log.write(&Event::ServiceFailed {
                mirage: Rc::clone(mirage),
                peer: *peer,
                error: error.to_string(),
            });
        }
        let (bytes_in, bytes_out) = session.moved();
        self.log.write(&Event::Close {
            mirage: Rc::clone(mirage),
            peer: *peer,
            port: *port,
            bytes_in,
            bytes_out,
            seconds: self.now.boot.since(*since) / 1_000,
            end: end.word(),
        });
        let mirage = Rc::clone(&session.who.mirage);
        session.close(end, &mut self.pipes);
        self.leave_service(mirage);
        self.there_is_room();
    }

    /// Something was closed: whoever could not be accepted for want of it is looked at again.
    fn there_is_room(&mut self) {
        if self.accept_again.is_some() {
            self.accept_again = Some(self.now.boot);
        }
    }

    /// Tries the ports again that could not be opened. What is wrong with a real one is an error, but
    /// not before its minute has come: the log names no port to come.
    fn open_left_over(&mut self) {
        let Self {
            listeners,
            mirages,
            log,
            ..
        } = self;
        let level = |mirage: usize, port| {
            let Mirage {
                schedule,
                plan,
                config,
                ..
            } = &mirages[mirage];
            match plan.role(port) {
                _ if schedule
                    .as_ref()
                    .is_some_and(|schedule| schedule.was_real(port)) =>
                {
                    Some(Level::Error)
                }
                _ if config.pool_port == Some(port) => Some(Level::Error),
                Role::Real => None,
                _ => Some(Level::Debug),
            }
        };
        let admitted = |mirage: usize| mirages[mirage].filter();
        listeners.retry(self.poll.registry(), admitted, level, |trouble, level| {
            let Trouble {
                mirage,
                port,
                error,
            } = trouble;
            let mirage = Rc::clone(&mirages[mirage].label);
            log.write(&match error {
                Some(error) => Event::PortClosed {
                    mirage,
                    port,
                    level,
                    error,
                },
                None => Event::PortOpen {
                    mirage,
                    port,
                    level,
                },
            });
        });
        let again = self.open_ears_again() | self.listeners.has_closed();
        self.open_again = again.then(|| self.now.boot.after(RETRY_MS));
    }

    fn most_sessions(&self) -> usize {
        let usual = MAX_SESSIONS.min(self.descriptor_limit / 3);
        self.common.max_sessions.unwrap_or(usual)
    }

    fn most_sessions_per_source(&self) -> usize {
        self.common.max_sessions_per_source
    }

    /// When the bans are to be written down. A clock that is not believed would date them to where
    /// nobody believes them later.
    fn state_is_due(&self) -> Option<Instant> {
        self.state.as_ref()?;
        self.clock.believed(self.now)?;
        (self.saved? != self.bans.changes()).then(|| self.saved_at.after(STATE_MS))
    }

    fn save_state(&mut self) {
        let is_due = self.state_is_due().is_some();
        let Some(state) = self.state.as_ref().filter(|_| is_due) else {
            return;
        };
        let saved = state.save(&self.bans, self.now);
        self.saved_at = self.now.boot;
        match saved {
            Ok(()) => self.saved = Some(self.bans.changes()),
            Err(error) => {
                let warning = Warning::StateNotWritten(error);
                self.log.write(&Event::Warning(warning));
            }
        }
    }
}
