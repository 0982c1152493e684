//! What the daemon has of the operating system, and what comes from there.
//!
//! ```text
//!   wait ──events──▶ ready ──next, each its share──▶ an input, or nothing that the core has to know
//!                      ▲                        └──▶ later: there is more, for the next turn
//!                      └──────────────────────────────┘
//! ```

use super::conns::{Answers, Conns};
use super::control::{Accept, Control, View};
use super::failure::Failure;
use super::hooks::Hooks;
use super::host::Host;
use super::log::{Log, log_path};
use super::nft::{News, Nft};
use super::ports::{Accepted, PortId, Ports, Try};
use super::relay::Ready;
use super::reload::{Complete, Reload, common_settings};
use super::sensor::Sensor;
use super::store::{Store, StoreError};
use super::wake::Wake;
use crate::config::{
    Common, DEFAULT_STATE_FILE, Diagnostic, Location, LogTarget, OwnerHint, ServerConfig,
    ServerMirage,
};
use crate::limits::{EVENTS, TURN_ACCEPTS};
use crate::proto::conn::ConnId;
use crate::proto::doors::RestoredOpening;
use crate::proto::event::{Event, Warning};
use crate::proto::ids::JobId;
use crate::proto::input::{ElementOutcome, Input};
use crate::proto::settings::Settings;
use crate::proto::table::Id;
use crate::proto::{Core, Instant, Now, sooner};
use crate::sys::child;
use crate::sys::signal::{self, Signal};
use crate::terms::Level;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// What changes the kernel's sets, found in the usual folders.
const NFT: &str = "nft";

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
pub enum Course {
    On,
    End,
}

/// Something to look at.
enum Work {
    /// A port, with what is left of its share.
    Port(PortId, u32),
    /// A connection, and what an event says of it; None where there was none.
    Conn(ConnId, Option<Ready>),
    /// The control socket. Whether a descriptor was asked for already.
    Control(bool),
    ControlClient(u32),
    /// A socket of the sensor has packets.
    Sensor(u32),
    /// The next packet.
    Sense,
    Command(u32),
    Nft,
    /// What the time has made due.
    Expire,
    /// A configuration is complete.
    Input(Input),
}

/// A visitor for whom the last descriptor was given.
struct Unannounced {
    visitor: Accepted,
    /// Somebody was to make room.
    has_asked: bool,
}

/// The daemon's side of the operating system.
pub struct Shell<H> {
    pub(super) host: H,
    pub(super) now: Now,
    pub(super) poll: Poll,
    is_called: bool,
    ready: VecDeque<Work>,
    later: VecDeque<Work>,
    pub(super) answers: Answers,
    pub(super) log: Log,
    pub(super) ports: Ports,
    pub(super) conns: Conns,
    /// The visitor who is being judged. Whom no effect keeps is gone.
    pub(super) in_hand: Option<OwnedFd>,
    unannounced: Option<Unannounced>,
    /// Somebody was to give up their place since a descriptor was asked for.
    pub(super) has_given_up: bool,
    /// None as long as no mirage wants to know who knocks.
    pub(super) sensor: Option<Sensor>,
    pub(super) hooks: Hooks<JobId>,
    pub(super) nft: Nft<JobId>,
    pub(super) control: Control,
    pub(super) store: Option<Store>,
    configuration: Configuration,
}

/// The configuration that counts, and the one that is coming.
struct Configuration {
    path: PathBuf,
    common: Rc<Common>,
    coming: Reload,
    /// Descriptors that the process may have.
    descriptors: usize,
    started: Instant,
    is_first: bool,
}

impl<H: Host> Shell<H> {
    /// Opens what outlives reloads, and what a configuration says for all mirages. Answers also what the
    /// journal says is open.
    ///
    /// # Errors
    /// The log, the state file, the control socket or the poll can't be had.
    pub fn new(
        config_path: &Path,
        server: ServerConfig,
        mut host: H,
        descriptors: usize,
        mut log: Log,
    ) -> Result<(Self, Vec<RestoredOpening>), Failure> {
        let ServerConfig {
            common,
            mirages,
            warnings,
        } = server;
        let common = Rc::new(common);
        let now = host.now();
        let poll = Poll::new().map_err(Failure::Host)?;
        let conns = Conns::new();
        if let Err(error) = &conns.pipes.can_splice {
            lacks(&mut log, "splice, bulk is copied", error);
        }
        let clock_waker = host.clock_waker();
        if let Err(error) = clock_waker {
            let what = "news of a clock that is set, it is noticed within a minute";
            lacks(&mut log, what, error);
        }
        for waker in [Ok(host.signal_waker()), clock_waker].into_iter().flatten() {
            let descriptor = waker.as_raw_fd();
            let mut source = SourceFd(&descriptor);
            poll.registry()
                .register(&mut source, Wake::Host.into(), Interest::READABLE)
                .map_err(Failure::Host)?;
        }
        let mut shell = Self {
            host,
            now,
            poll,
            is_called: false,
            ready: VecDeque::new(),
            later: VecDeque::new(),
            answers: VecDeque::new(),
            log,
            ports: Ports::new(),
            conns,
            in_hand: None,
            unannounced: None,
            has_given_up: false,
            sensor: None,
            hooks: Hooks::new(|id: Id<_>| Wake::Command(id.bits()).into()),
            nft: Nft::new(NFT, Wake::Nft.into()),
            control: Control::new(),
            store: None,
            configuration: Configuration {
                path: config_path.to_path_buf(),
                common: Rc::clone(&common),
                coming: Reload::default(),
                descriptors,
                started: now.boot,
                is_first: true,
            },
        };
        shell.store = shell.take_store(&common)?;
        let restored = shell.read_journal();
        shell.take_control(&common)?;
        shell.begin_reload(common, mirages, &warnings);
        Ok((shell, restored))
    }

    /// Begins a turn of the loop: what time it is.
    pub fn begin_turn(&mut self) -> Now {
        self.now = self.host.now();
        self.log.at(self.now);
        for id in self.ports.take_behind(self.now.boot) {
            self.ready.push_back(Work::Port(id, TURN_ACCEPTS as u32));
        }
        self.ready.push_back(Work::Sense);
        let due = self.conns.take_due().into_iter();
        self.ready.extend(due.map(|id| Work::Conn(id, None)));
        self.ready.append(&mut self.later);
        if let Some(clients) = self.control.take_due() {
            self.ready
                .extend(clients.into_iter().map(Work::ControlClient));
            self.ready.push_back(Work::Control(false));
        }
        self.ready.push_back(Work::Expire);
        self.now
    }

    /// Does what signals say.
    pub fn signals(&mut self) -> Course {
        if !core::mem::take(&mut self.is_called) {
            return Course::On;
        }
        while let Some(signal) = self.host.next_signal() {
            match signal {
                Signal::Terminate => return Course::End,
                Signal::Reload => self.read_configuration_again(),
                Signal::ChildEnded => self.reap(),
            }
        }
        Course::On
    }

    fn reap(&mut self) {
        let now = self.now.boot;
        while let Some((pid, exit)) = child::reap() {
            if let Some((job, outcome)) = self.hooks.ended(pid, exit, now) {
                let failure = outcome.failure();
                self.answers.push_back(Input::JobEnded { job, failure });
            } else if self.nft.ended(pid, exit, now) {
                self.tell_sets();
            } else {
                self.conns.child_ended(pid, exit, &mut self.answers);
            }
        }
    }

    /// What has become of elements of sets.
    pub(super) fn tell_sets(&mut self) {
        while let Some(news) = self.nft.next_news() {
            let (job, outcome) = match news {
                News::Done(job) => (job, ElementOutcome::Done),
                News::TooLate(job) => (job, ElementOutcome::TooLate),
                News::Replaced(job) => (job, ElementOutcome::Replaced),
                News::Failing { set, why } => {
                    let why = why.to_string();
                    self.log.write(&Event::SetFailing { set, why });
                    continue;
                }
            };
            self.answers.push_back(Input::ElementEnded { job, outcome });
        }
    }

    /// The next thing that has happened, in this turn's share of it.
    pub fn next(&mut self, core: &Core) -> Option<Input> {
        self.in_hand = None;
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some(answer);
            }
            if let Some(input) = self.announce() {
                return Some(input);
            }
            let work = self.ready.pop_front()?;
            self.work(work, core);
        }
    }

    /// The next thing that has come of effects. While ports are drained, whoever waits there is one.
    pub fn next_answer(&mut self, core: &Core) -> Option<Input> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some(answer);
            }
            if !self.ports.is_draining() {
                return None;
            }
            self.in_hand = None;
            if let Some(input) = self.announce() {
                return Some(input);
            }
            match self.ports.accept_drained(core, self.now.boot) {
                Some(tried) => self.take_visitor(tried),
                None => return Some(Input::Drained),
            }
        }
    }

    fn work(&mut self, work: Work, core: &Core) {
        let now = self.now.boot;
        match work {
            Work::Port(id, 0) => self.later.push_back(Work::Port(id, TURN_ACCEPTS as u32)),
            Work::Port(id, left) => match self.ports.accept(id, core, now) {
                Try::Nobody => {}
                tried => {
                    self.ready.push_front(Work::Port(id, left - 1));
                    self.take_visitor(tried);
                }
            },
            Work::Conn(id, ready) => self.conns.hear(id, ready, now, &mut self.answers),
            Work::Control(has_asked) => self.accept_clients(has_asked),
            Work::ControlClient(number) => self.drive_client(number, core),
            Work::Sensor(number) => {
                if let Some(sensor) = &mut self.sensor {
                    sensor.heed(number);
                }
            }
            Work::Sense => {
                let sensed = self.sensor.as_mut().and_then(|sensor| sensor.next(now));
                if let Some(sensed) = sensed {
                    self.ready.push_front(Work::Sense);
                    self.answers.push_back(Input::Sensed(sensed));
                }
            }
            Work::Command(number) => self.hooks.hear(Id::from_bits(number), now),
            Work::Nft => self.nft.hear(now),
            Work::Expire => self.expire(),
            Work::Input(input) => self.answers.push_back(input),
        }
    }

    /// What the time has made due, after all that came in time.
    fn expire(&mut self) {
        let now = self.now.boot;
        self.conns.expire(now, &mut self.answers);
        self.control.expire(now);
        self.hooks.expire(now);
        self.start_jobs();
        self.nft.expire(now);
        self.nft.go_on(self.poll.registry(), now);
        self.tell_sets();
    }

    /// Starts the commands that wait, as long as there are places.
    pub(super) fn start_jobs(&mut self) {
        let now = self.now.boot;
        while let Some((job, outcome)) = self.hooks.go_on(self.poll.registry(), now) {
            let failure = outcome.failure();
            self.answers.push_back(Input::JobEnded { job, failure });
        }
    }

    fn take_visitor(&mut self, tried: Try) {
        match tried {
            Try::Visitor(visitor) => self.take_in_hand(visitor),
            Try::Short(visitor) => {
                let has_asked = false;
                self.unannounced = Some(Unannounced { visitor, has_asked });
            }
            Try::Again | Try::Nobody => {}
        }
    }

    fn take_in_hand(&mut self, visitor: Accepted) {
        let Accepted {
            mirage,
            peer,
            port,
            socket,
            ..
        } = visitor;
        self.in_hand = Some(socket);
        self.answers
            .push_back(Input::Accepted { mirage, peer, port });
    }

    /// What becomes of the visitor for whom the last descriptor was given: somebody makes room, or they are sent
    /// away.
    fn announce(&mut self) -> Option<Input> {
        let Unannounced { visitor, has_asked } = self.unannounced.take()?;
        self.conns.pipes.shed();
        if self.ports.has_spare() {
            self.take_in_hand(visitor);
            return self.answers.pop_front();
        }
        let has_given_up = core::mem::take(&mut self.has_given_up);
        if has_asked && !has_given_up {
            let (peer, port) = (visitor.peer, visitor.at);
            drop(visitor);
            self.ports.has_spare();
            return Some(Input::TurnedAway { peer, port });
        }
        let has_asked = true;
        self.unannounced = Some(Unannounced { visitor, has_asked });
        Some(Input::Short)
    }

    fn accept_clients(&mut self, has_asked: bool) {
        let now = self.now.boot;
        while self.control.accept(self.poll.registry(), now) == Accept::Short {
            if self.conns.pipes.shed() {
                continue;
            }
            let has_given_up = core::mem::take(&mut self.has_given_up);
            if has_asked && !has_given_up {
                self.control.look_again(now);
            } else {
                self.ready.push_front(Work::Control(true));
                self.answers.push_back(Input::Short);
            }
            return;
        }
    }

    fn drive_client(&mut self, number: u32, core: &Core) {
        let packets = self.count_packets();
        let view = View {
            core,
            ports: &self.ports,
            conns: &self.conns,
            packets,
            started: self.configuration.started,
        };
        let order = self.control.drive(number, &view);
        self.answers.extend(order.map(Input::Operator));
    }

    /// Packets at the silent gates that were heard, and that were lost.
    pub(super) fn count_packets(&mut self) -> (u64, u64) {
        let counts = self.sensor.as_mut().map(Sensor::counts);
        counts.map_or((0, 0), |counts| (counts.sensed, counts.lost))
    }

    /// When the daemon was started.
    pub(super) fn started(&self) -> Instant {
        self.configuration.started
    }

    /// What is done once in a turn, and has no hurry.
    pub fn tick(&mut self, core: &Core) {
        let now = self.now.boot;
        if self.conns.take_has_closed() {
            self.ports.there_is_room(now);
        }
        self.go_on_with_reload();
        self.open_again(core);
        let sensor = self.sensor.as_mut();
        if let Some(packets) = sensor.and_then(|sensor| sensor.newly_lost(now)) {
            self.log.write(&Event::PacketsLost { packets });
        }
        self.log.tell_left_out();
    }

    /// Sleeps until something happens, or until there is something to do.
    ///
    /// # Errors
    /// The kernel no longer lets it poll.
    pub fn wait(&mut self, deadline: Option<Instant>, events: &mut Events) -> Result<(), Failure> {
        let is_due = !self.later.is_empty()
            || !self.answers.is_empty()
            || self.conns.is_due()
            || self.control.is_due()
            || self.configuration.coming.is_under_way();
        let soonest = sooner(deadline, self.deadline());
        let ms = match soonest {
            _ if is_due => 0,
            Some(soonest) => soonest.since(self.now.boot),
            None => u64::from(u32::MAX),
        };
        let timeout = Duration::from_millis(ms);
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(Failure::Host(error)),
            Ok(()) => {}
        }
        for event in &*events {
            let work = match event.token().into() {
                Wake::Host => {
                    self.is_called = true;
                    continue;
                }
                Wake::Port(port) => Work::Port(PortId(port), TURN_ACCEPTS as u32),
                Wake::Conn(id, side) => Work::Conn(id, Some(Ready::new(side, event))),
                Wake::Control => Work::Control(false),
                Wake::ControlClient(number) => Work::ControlClient(number),
                Wake::Sensor(number) => Work::Sensor(number),
                Wake::Command(number) => Work::Command(number),
                Wake::Nft => Work::Nft,
            };
            self.ready.push_back(work);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let mut soonest = self.conns.next_deadline();
        soonest = sooner(soonest, self.ports.next_deadline());
        soonest = sooner(soonest, self.control.next_deadline());
        soonest = sooner(soonest, self.log.next_deadline());
        soonest = sooner(soonest, self.hooks.next_deadline());
        soonest = sooner(soonest, self.nft.next_deadline());
        let sensor = self.sensor.as_ref();
        soonest = sooner(soonest, sensor.and_then(Sensor::due));
        sooner(soonest, sensor.and_then(Sensor::next_look))
    }

    /// Reads the configuration again. One with errors changes nothing.
    fn read_configuration_again(&mut self) {
        let server = match ServerConfig::load(&self.configuration.path) {
            Ok(server) => server,
            Err(errors) => {
                let common = Rc::clone(&self.configuration.common);
                self.reopen_log(&common.log, common.log_level);
                for error in errors.iter() {
                    let error = error.to_string();
                    self.log.write(&Event::ReloadFailed { error });
                }
                return;
            }
        };
        let ServerConfig {
            common,
            mirages,
            warnings,
        } = server;
        self.reopen_log(&common.log, common.log_level);
        if common.user != self.configuration.common.user {
            self.log.write(&Event::Warning(Warning::User));
        }
        self.begin_reload(Rc::new(common), mirages, &warnings);
    }

    fn reopen_log(&mut self, target: &LogTarget, level: Level) {
        if let Err(error) = self.log.reopen(target, level) {
            let warning = Warning::Log(log_path(target), error);
            self.log.write(&Event::Warning(warning));
        }
        signal::set_crash_log(self.log.descriptor());
    }

    fn begin_reload(
        &mut self,
        common: Rc<Common>,
        mirages: Vec<ServerMirage>,
        warnings: &[Diagnostic],
    ) {
        for warning in warnings {
            let warning = Warning::Configuration(warning.to_string());
            self.log.write(&Event::Warning(warning));
        }
        self.configuration.coming.begin(common, mirages);
    }

    fn go_on_with_reload(&mut self) {
        let Some(Complete { common, mirages }) = self.configuration.coming.advance() else {
            return;
        };
        let (ours, descriptors) = (
            Rc::clone(&self.configuration.common),
            self.configuration.descriptors,
        );
        // At the start the files were taken before anything else, and the log was told what could not be.
        let is_first = core::mem::take(&mut self.configuration.is_first);
        if !is_first || common.state_file != ours.state_file || common.control != ours.control {
            self.take_files(&common);
        }
        let settings = Settings {
            common: common_settings(&common, descriptors),
            mirages,
        };
        let settings = Box::new(settings);
        self.configuration.common = common;
        self.later
            .push_back(Work::Input(Input::Configuration(settings)));
    }

    /// The state file and the control socket of a configuration, in place of those that are open.
    fn take_files(&mut self, common: &Common) {
        // By its name: a default that is now written out is the same file, with our own lock on it.
        let ours = self.store.as_ref().map(|store| store.path().as_os_str());
        let wanted = common.state_file.path(DEFAULT_STATE_FILE);
        if wanted.map(Path::as_os_str) != ours {
            match self.take_store(common) {
                Ok(mut store) => {
                    // Without one now, the old journal stays: whoever reads it next may close it all.
                    if let (Some(store), Some(old)) = (&mut store, &self.store) {
                        store.replace(old);
                    }
                    self.store = store;
                    let restored = self.read_journal();
                    self.later.push_back(Work::Input(Input::Restored(restored)));
                }
                Err(failure) => self.keep_file(&failure),
            }
        }
        if let Err(failure) = self.take_control(common) {
            self.keep_file(&failure);
        }
    }

    fn keep_file(&mut self, failure: &Failure) {
        let warning = Warning::FileKept(failure.to_string());
        self.log.write(&Event::Warning(warning));
    }

    fn take_control(&mut self, common: &Common) -> Result<(), Failure> {
        let log = &mut self.log;
        let warn = |event| log.write(&event);
        self.control.take(common, self.poll.registry(), warn)
    }

    /// The state file of a configuration. Where the default one can't be had, it goes without.
    fn take_store(&mut self, common: &Common) -> Result<Option<Store>, Failure> {
        let Some(path) = common.state_file.path(DEFAULT_STATE_FILE) else {
            return Ok(None);
        };
        // Who says whom the daemon becomes has thought of its files.
        let is_default =
            common.state_file == Location::Default && self.configuration.common.user.is_none();
        match Store::take(path) {
            Ok(store) => Ok(Some(store)),
            Err(StoreError::Taken(lock)) => {
                let why = "another daemon uses this state file; give each its own";
                Err(Failure::State(lock, why.into()))
            }
            Err(StoreError::Unusable(path, error)) if is_default => {
                let warning = Warning::NoState(path, error);
                self.log.write(&Event::Warning(warning));
                Ok(None)
            }
            Err(StoreError::Unusable(path, error)) => {
                let owner = OwnerHint {
                    path: &path,
                    error: &error,
                };
                let why = format!("{error}{owner}");
                Err(Failure::State(path, why))
            }
        }
    }

    /// What a daemon that had our state file before has left open.
    fn read_journal(&mut self) -> Vec<RestoredOpening> {
        let Some(store) = &self.store else {
            return Vec::new();
        };
        match store.read_journal(self.now) {
            Ok(restored) => {
                let open = restored.len();
                if open > 0 {
                    self.log.write(&Event::OpeningsLoaded { open });
                }
                restored
            }
            Err(error) => {
                let warning = Warning::JournalUnread(store.journal(), error);
                self.log.write(&Event::Warning(warning));
                Vec::new()
            }
        }
    }
}

/// Says that the kernel lacks something that can be spared.
pub fn lacks(log: &mut Log, what: &'static str, error: &io::Error) {
    let warning = Warning::Kernel(what, error.to_string());
    log.write(&Event::Warning(warning));
}

/// Room for a turn's events.
pub fn events() -> Events {
    Events::with_capacity(EVENTS)
}
