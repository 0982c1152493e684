//! The daemon's side of the operating system, and the events that come from it.
//!
//! ```text
//!   wait ──events──▶ ready ──next, each its share──▶ an input, or nothing that the core has to know
//!                      ▲                        └──▶ there is more, for the next turn
//!                      └──────────────────────────────┘
//! ```

use super::control::{Accept, Control, View};
use super::failure::Failure;
use super::hooks::Hooks;
use super::host::Host;
use super::log::Log;
use super::netfilter::{GuardedDoor, InForce, Netfilter, News};
use super::ports::{Accepted, PortId, Ports, Try};
use super::relay::Ready;
use super::reload::Reload;
use super::sandbox::Sandbox;
use super::sensor::Sensor;
use super::sockets::{Answers, Sockets};
use super::store::Store;
use super::used::UsedFile;
use super::wake::Wake;
use crate::config::{Common, ServerConfig};
use crate::limits::{EVENTS, TURN_ACCEPTS};
use crate::proto::conn::ConnId;
use crate::proto::doors::RestoredOpening;
use crate::proto::event::{Event, Warning};
use crate::proto::ids::JobId;
use crate::proto::input::{ElementOutcome, Input};
use crate::proto::nonces::Memory;
use crate::proto::table::Id;
use crate::proto::{Core, Instant, Now, sooner};
use crate::sys::child;
use crate::sys::sandbox::next_refused;
use crate::sys::signal::Signal;
use crate::terms::Door;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// A piece of work for this turn.
enum Work {
    /// A port, with the rest of its share of accepts.
    Port(PortId, u32),
    /// A connection and what its event says; None without an event.
    Conn(ConnId, Option<Ready>),
    /// The control socket, and whether a descriptor was already requested for it.
    Control(bool),
    ControlClient(u32),
    /// A socket of the sensor has packets.
    Sensor(u32),
    /// The sensor's next packet.
    Sense,
    Command(u32),
    /// Everything whose deadline is over.
    Expire,
}

/// A visitor whose connection took the last descriptor.
struct Unannounced {
    visitor: Accepted,
    /// Whether the core was asked to give up a connection.
    has_asked: bool,
}

/// What is known of the time before the start.
pub struct Before {
    /// What was open.
    pub openings: Vec<RestoredOpening>,
    /// Which tokens and datagrams were used.
    pub used: Memory,
}

pub struct Shell<H> {
    pub(super) host: H,
    pub(super) now: Now,
    pub(super) poll: Poll,
    is_called: bool,
    ready: VecDeque<Work>,
    pub(super) answers: Answers,
    pub(super) log: Log,
    pub(super) ports: Ports,
    pub(super) sockets: Sockets,
    /// The connection of the visitor who is being judged. It is closed unless an effect keeps it.
    pub(super) in_hand: Option<OwnedFd>,
    unannounced: Option<Unannounced>,
    /// Whether the core has given up a connection since a descriptor was requested.
    pub(super) has_given_up: bool,
    /// None while no mirage needs it.
    pub(super) sensor: Option<Sensor>,
    pub(super) hooks: Hooks<JobId>,
    pub(super) netfilter: Netfilter<JobId>,
    pub(super) control: Control,
    pub(super) store: Option<Store>,
    pub(super) used: UsedFile,
    /// When the log was last told that something could not be recorded.
    pub(super) told_unrecorded: Option<Instant>,
    pub(super) configuration: Configuration,
}

/// The configuration in force, and the one that is coming.
pub(super) struct Configuration {
    pub(super) path: PathBuf,
    pub(super) common: Rc<Common>,
    pub(super) coming: Reload,
    /// The most descriptors that the process may have.
    pub(super) descriptors: usize,
    pub(super) started: Instant,
    pub(super) is_first: bool,
    /// The daemon ends, and reads none any more.
    pub(super) is_final: bool,
    /// It allows some configurations only.
    pub(super) sandbox: Sandbox,
}

impl<H: Host> Shell<H> {
    /// Opens what outlives reloads, and the files and the socket that a configuration names. Also returns what
    /// they say of the time before.
    ///
    /// # Errors
    /// The log, the state file, the control socket or the poll can't be opened.
    pub fn new(
        config_path: &Path,
        server: ServerConfig,
        mut host: H,
        descriptors: usize,
        mut log: Log,
    ) -> Result<(Self, Before), Failure> {
        let ServerConfig {
            common,
            mirages,
            warnings,
            ..
        } = server;
        let common = Rc::new(common);
        let now = host.now();
        let poll = Poll::new().map_err(Failure::Host)?;
        let sockets = Sockets::new();
        if let Err(error) = &sockets.pipes.can_splice {
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
            answers: VecDeque::new(),
            log,
            ports: Ports::new(),
            sockets,
            in_hand: None,
            unannounced: None,
            has_given_up: false,
            sensor: None,
            hooks: Hooks::new(|id: Id<_>| Wake::Command(id.bits()).into()),
            netfilter: Netfilter::default(),
            control: Control::new(),
            store: None,
            used: UsedFile::default(),
            told_unrecorded: None,
            configuration: Configuration {
                path: config_path.to_path_buf(),
                common: Rc::clone(&common),
                coming: Reload::default(),
                descriptors,
                started: now.boot,
                is_first: true,
                is_final: false,
                sandbox: Sandbox::Off("start"),
            },
        };
        shell.store = shell.take_store(&common)?;
        let openings = shell.read_journal(mirages.iter().map(|mirage| &mirage.settings));
        let used = shell.read_used(&mirages);
        shell.take_control(&common)?;
        shell.begin_reload(common, mirages, &warnings);
        Ok((shell, Before { openings, used }))
    }

    /// Begins a turn of the loop and returns its time.
    pub fn begin_turn(&mut self) -> Now {
        self.now = self.host.now();
        self.log.at(self.now);
        for id in self.ports.take_unfinished(self.now.boot) {
            self.ready.push_back(Work::Port(id, TURN_ACCEPTS as u32));
        }
        self.ready.push_back(Work::Sense);
        let due = self.sockets.take_due().into_iter();
        self.ready.extend(due.map(|id| Work::Conn(id, None)));
        if let Some(clients) = self.control.take_due() {
            self.ready
                .extend(clients.into_iter().map(Work::ControlClient));
            self.ready.push_back(Work::Control(false));
        }
        self.ready.push_back(Work::Expire);
        self.now
    }

    /// Handles the signals that have arrived.
    pub fn signals(&mut self) {
        if !core::mem::take(&mut self.is_called) {
            return;
        }
        while let Some(signal) = self.host.next_signal() {
            match signal {
                Signal::Terminate => self.stop(),
                Signal::Reload if self.configuration.is_final => {}
                Signal::Reload => self.read_configuration_again(),
                Signal::ChildEnded => self.reap(),
            }
        }
    }

    /// Begins the end. A configuration that is coming is not waited for.
    pub fn stop(&mut self) {
        self.configuration.coming = Reload::default();
        self.configuration.is_final = true;
        self.answers.push_back(Input::Stop);
    }

    fn reap(&mut self) {
        let now = self.now.boot;
        while let Some((pid, exit)) = child::reap() {
            if let Some((job, outcome)) = self.hooks.ended(pid, exit, now) {
                let failure = outcome.failure();
                self.answers.push_back(Input::JobEnded { job, failure });
            } else {
                self.sockets.child_ended(pid, exit, &mut self.answers);
            }
        }
    }

    /// Queues the results of changes to sets.
    pub(super) fn log_sets(&mut self) {
        while let Some(news) = self.netfilter.next_news() {
            let (job, outcome) = match news {
                News::Done(job) => (job, ElementOutcome::Done),
                News::TooLate(job) => (job, ElementOutcome::TooLate),
                News::Replaced(job) => (job, ElementOutcome::Replaced),
                News::Failing { set, why } => {
                    let (set, why) = (set.to_string(), why.to_string());
                    self.log.write(&Event::SetFailing { set, why });
                    continue;
                }
                News::Missing(elements) => {
                    self.log.write(&Event::ElementsMissing { elements });
                    continue;
                }
                News::Gone { mirage, problem } => {
                    let why = problem.to_string();
                    self.log.write(&Event::RulesGone { mirage, why });
                    continue;
                }
                News::Back(mirage) => {
                    self.log.write(&Event::RulesBack { mirage });
                    continue;
                }
            };
            self.answers.push_back(Input::ElementEnded { job, outcome });
        }
    }

    /// The next input of this turn, as far as each event's share goes.
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

    /// The next answer to an effect. While ports are drained, their waiting visitors come as answers.
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
            Work::Port(id, 0) => self.ports.accept_later(id, now),
            Work::Port(id, left) => match self.ports.accept(id, core, now) {
                Try::Nobody => {}
                tried => {
                    self.ready.push_front(Work::Port(id, left - 1));
                    self.take_visitor(tried);
                }
            },
            Work::Conn(id, ready) => self.sockets.handle(id, ready, now, &mut self.answers),
            Work::Control(has_asked) => self.accept_clients(has_asked),
            Work::ControlClient(number) => self.drive_client(number, core),
            Work::Sensor(number) => {
                if let Some(sensor) = &mut self.sensor {
                    sensor.mark_ready(number);
                }
            }
            Work::Sense => {
                let sensed = self.sensor.as_mut().and_then(|sensor| sensor.next(now));
                if let Some(sensed) = sensed {
                    self.ready.push_front(Work::Sense);
                    self.answers.push_back(Input::Sensed(sensed));
                }
            }
            Work::Command(number) => self.hooks.read_output(Id::from_bits(number), now),
            Work::Expire => self.expire(),
        }
    }

    /// Handles everything whose deadline is over, after everything that came in time.
    fn expire(&mut self) {
        let now = self.now.boot;
        self.sockets.expire(now, &mut self.answers);
        self.control.expire(now);
        self.hooks.expire(now);
        self.start_jobs();
    }

    /// Starts waiting commands while there are places.
    pub(super) fn start_jobs(&mut self) {
        let now = self.now.boot;
        while let Some((job, outcome)) = self.hooks.start_next(self.poll.registry(), now) {
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

    /// Handles the visitor who took the last descriptor: the core gives up a connection, or they are turned
    /// away.
    fn announce(&mut self) -> Option<Input> {
        let Unannounced { visitor, has_asked } = self.unannounced.take()?;
        self.sockets.pipes.shed();
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
            if self.sockets.pipes.shed() {
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
            sockets: &self.sockets,
            netfilter: &self.netfilter,
            packets,
            started: self.configuration.started,
            sandbox: self.configuration.sandbox.word(),
        };
        let order = self.control.drive(number, &view);
        self.answers.extend(order.map(Input::Operator));
    }

    /// Packets at the silent gates: taken, and lost.
    pub(super) fn count_packets(&mut self) -> (u64, u64) {
        let counts = self.sensor.as_mut().map(Sensor::counts);
        counts.map_or((0, 0), |counts| (counts.sensed, counts.lost))
    }

    /// The path of the journal; None without a state file.
    pub fn journal(&self) -> Option<PathBuf> {
        self.store.as_ref().map(Store::journal)
    }

    /// When the daemon was started.
    pub(super) fn started(&self) -> Instant {
        self.configuration.started
    }

    /// What is done once in a turn, and has no hurry.
    pub fn tick(&mut self, core: &Core) {
        let now = self.now.boot;
        if self.sockets.take_has_closed() {
            self.ports.accept_again_now(now);
        }
        self.go_on_with_reload();
        self.open_again(core);
        self.change_sets(core);
        let sensor = self.sensor.as_mut();
        if let Some(packets) = sensor.and_then(|sensor| sensor.newly_lost(now)) {
            self.log.write(&Event::PacketsLost { packets });
        }
        while let Some(call) = next_refused() {
            self.log.write(&Event::Warning(Warning::CallRefused(call)));
        }
        self.log.log_left_out();
    }

    /// Hands this turn's changes of sets to the kernel.
    fn change_sets(&mut self, core: &Core) {
        let in_force = core.elements().map(|(set, address, until)| InForce {
            set,
            address,
            until,
        });
        let doors = core.mirages().filter_map(|(_, mirage)| {
            let settings = &mirage.settings;
            match &settings.door {
                Door::Nft { set, port } => Some(GuardedDoor {
                    mirage: &settings.section,
                    set,
                    has_rules: port.is_some() && set.is_ours(),
                }),
                Door::Forward(_) | Door::Command { .. } => None,
            }
        });
        let doors: Vec<_> = doors.collect();
        self.netfilter.tick(in_force, &doors, self.now.boot);
        self.log_sets();
    }

    /// Whether rules of ours close a port, and go on with that when the daemon has ended.
    pub(super) fn closes_a_port(&mut self) -> bool {
        self.netfilter.closes_a_port(self.now.boot)
    }

    /// Sleeps until an event comes or a deadline is over.
    ///
    /// # Errors
    /// The kernel no longer allows polling.
    pub fn wait(&mut self, deadline: Option<Instant>, events: &mut Events) -> Result<(), Failure> {
        let is_due = !self.answers.is_empty()
            || self.sockets.is_due()
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
            };
            self.ready.push_back(work);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let mut soonest = self.sockets.next_deadline();
        soonest = sooner(soonest, self.ports.next_deadline());
        soonest = sooner(soonest, self.control.next_deadline());
        soonest = sooner(soonest, self.log.next_deadline());
        soonest = sooner(soonest, self.hooks.next_deadline());
        soonest = sooner(soonest, self.netfilter.next_deadline());
        let sensor = self.sensor.as_ref();
        soonest = sooner(soonest, sensor.and_then(Sensor::due));
        sooner(soonest, sensor.and_then(Sensor::next_look))
    }
}

/// Logs that the kernel lacks an optional feature.
pub fn lacks(log: &mut Log, what: &'static str, error: &io::Error) {
    let warning = Warning::Kernel(what, error.to_string());
    log.write(&Event::Warning(warning));
}

/// Room for one turn's events.
pub fn events() -> Events {
    Events::with_capacity(EVENTS)
}
