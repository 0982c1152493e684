//! Performs effects: the one place that knows all tables of the shell. Performing an effect never calls the
//! core; its immediate result is an answer.

use super::control::View;
use super::host::Host;
use super::netfilter::Refused;
use super::sensor::{BOUND_MEANS, Sensor, Way};
use super::shell::Shell;
use super::sockets::Dial;
use super::store::LoadError;
use super::used::NotWritten;
use crate::limits::{RETRY_MS, STOP_OPENING_MS, TELL_FULL_MS};
use crate::proto::Core;
use crate::proto::effect::Effect;
use crate::proto::event::{Event, Warning};
use crate::proto::ids::JobId;
use crate::proto::input::{ElementOutcome, Input, JobFailure, SavedBan};
use crate::sys::socket::ListenAddress;
use std::io;
use std::path::PathBuf;

impl<H: Host> Shell<H> {
    /// Performs one effect.
    pub fn perform(&mut self, effect: Effect, core: &Core) {
        let (now, registry) = (self.now.boot, self.poll.registry());
        match effect {
            Effect::Log(event) => self.log.write(&event),
            Effect::Hold { conn, listens } => {
                let visitor = self.in_hand.take();
                self.sockets
                    .hold(conn, visitor, listens, registry, &mut self.answers);
            }
            Effect::Mute(conn) => self.sockets.mute(conn, &mut self.answers),
            Effect::GiveUp(conn) => {
                self.has_given_up = true;
                self.sockets.give_up(conn, &mut self.answers);
            }
            Effect::Wait(conn) => self.sockets.wait(conn, self.in_hand.take(), registry),
            Effect::Dial {
                conn,
                to,
                source,
                idle_ms,
                introduction,
            } => {
                let dial = Dial {
                    conn,
                    to,
                    source,
                    idle_ms,
                    introduction,
                };
                let (visitor, answers) = (self.in_hand.take(), &mut self.answers);
                self.sockets.dial(dial, visitor, (registry, now), answers);
                if let Some((address, error)) = self.sockets.no_client_address.take() {
                    let warning = Warning::NoClientAddress(address, error);
                    self.log.write(&Event::Warning(warning));
                }
            }
            Effect::Exec { conn, words } => {
                let visitor = self.in_hand.take();
                self.sockets
                    .exec(conn, &words, visitor, registry, &mut self.answers);
            }
            Effect::Close(conn) => self.sockets.close(conn),
            Effect::Cut(conn) => self.sockets.cut(conn),
            Effect::Examine(sessions) => {
                let found = self.sockets.examine(&sessions);
                self.answers.push_back(Input::Examined(found));
            }
            Effect::Ports(mirage) => {
                let open = self.ports.follow(mirage, core, registry, now);
                self.answers.push_back(Input::Listening { mirage, open });
            }
            Effect::Drain(drain) => self.ports.drain(drain, core),
            Effect::Sense => self.sense(core),
            Effect::Run { job, words } => match self.hooks.start(words, job) {
                Ok(()) => self.start_jobs(),
                Err(full) => self.not_run(job, full.to_string()),
            },
            Effect::Hurry(job) => {
                if self.hooks.hurry(&job, now.after(STOP_OPENING_MS)) {
                    self.not_run(job, "not run, because the daemon ends".to_owned());
                }
            }
            Effect::Element {
                job,
                set,
                address,
                seconds,
            } => {
                let outcome = match self.netfilter.add(&set, address, seconds, job, now) {
                    Ok(()) => None,
                    Err(Refused::Full) => Some(ElementOutcome::Full),
                    Err(Refused::Family) => Some(ElementOutcome::Family),
                };
                let ended = outcome.map(|outcome| Input::ElementEnded { job, outcome });
                self.answers.extend(ended);
                self.log_sets();
            }
            Effect::Journal => {
                let is_written = self.write_journal(core);
                self.answers.push_back(Input::Journalled { is_written });
            }
            Effect::Remember => {
                let changes = self.write_used(core);
                self.answers.push_back(Input::Remembered { changes });
            }
            Effect::Save => {
                let changes = self.save(core);
                self.answers.push_back(Input::Saved { changes });
            }
            Effect::Load => {
                let bans = self.load();
                self.answers.push_back(Input::Loaded(bans));
            }
            Effect::AskClock => {
                let is_kept = self.host.clock_is_kept();
                self.answers.push_back(Input::ClockKept(is_kept));
            }
            Effect::Reply(reply) => {
                let packets = self.count_packets();
                let started = self.started();
                let view = View {
                    core,
                    ports: &self.ports,
                    sockets: &self.sockets,
                    netfilter: &self.netfilter,
                    packets,
                    started,
                    sandbox: self.configuration.sandbox.word(),
                };
                self.control.reply(reply, &view);
            }
        }
    }

    fn not_run(&mut self, job: JobId, why: String) {
        let was_killed = false;
        let failure = Some(JobFailure { why, was_killed });
        self.answers.push_back(Input::JobEnded { job, failure });
    }

    /// Writes the journal, if there is a state file.
    fn write_journal(&mut self, core: &Core) -> bool {
        let Some(store) = &mut self.store else {
            return true;
        };
        let written = store.write_journal(core.openings(), |id| core.name(id), self.now);
        let Err(error) = written else { return true };
        let path = store.journal();
        self.tell_unrecorded(path, error);
        false
    }

    /// Writes down what was used. Returns the count of changes that the file has then; where none is kept, nothing
    /// is missing in it.
    fn write_used(&mut self, core: &Core) -> Option<u64> {
        let changes = core.memory().unwritten().changes();
        match self.used.write(core.memory()) {
            Ok(()) => Some(changes),
            Err(NotWritten::NoRoom(path, error)) => {
                let warning = Warning::UsedNotKept(path, error);
                self.log.write(&Event::Warning(warning));
                Some(changes)
            }
            Err(NotWritten::Failed(path, error)) => {
                self.tell_unrecorded(path, error);
                None
            }
        }
    }

    fn tell_unrecorded(&mut self, path: PathBuf, error: io::Error) {
        let now = self.now.boot;
        if self
            .told_unrecorded
            .is_none_or(|told| told.after(TELL_FULL_MS) <= now)
        {
            self.told_unrecorded = Some(now);
            self.log.write(&Event::NotRecorded { path, error });
        }
    }

    /// Saves the bans and returns the file's state. Without a file, nothing is missing in it.
    pub fn save(&mut self, core: &Core) -> Option<u64> {
        let changes = core.bans().changes();
        match self.store.as_ref().map_or(Ok(()), |store| store.save(core)) {
            Ok(()) => Some(changes),
            Err(error) => {
                let warning = Warning::StateNotWritten(error);
                self.log.write(&Event::Warning(warning));
                None
            }
        }
    }

    fn load(&mut self) -> Vec<SavedBan> {
        let Some(store) = &self.store else {
            return Vec::new();
        };
        let path = store.path().to_path_buf();
        let warning = match store.load() {
            Ok(bans) => return bans,
            Err(LoadError::Unreadable(error)) => Warning::StateUnread(path, error),
            Err(LoadError::NotOurs(why, moved)) => Warning::SetAside(path, why, moved),
            Err(LoadError::Damaged(aside, Ok(()))) => Warning::StateSetAside(path, aside),
            Err(LoadError::Damaged(_, Err(error))) => Warning::StateDamaged(path, error),
        };
        self.log.write(&Event::Warning(warning));
        Vec::new()
    }

    /// Adjusts the sensor to what the silent gates have to watch.
    fn sense(&mut self, core: &Core) {
        let (ranges, hops) = (core.ranges(), core.hops());
        let registry = self.poll.registry();
        if self.sensor.is_none() && !ranges.is_empty() {
            match Sensor::open(registry) {
                Ok(sensor) => {
                    if sensor.way() == Way::Bound {
                        let warning = Warning::KnockPortsOpen(BOUND_MEANS);
                        self.log.write(&Event::Warning(warning));
                    }
                    self.sensor = Some(sensor);
                }
                Err(error) => self
                    .log
                    .write(&Event::Warning(Warning::SensorFailed(error))),
            }
        }
        let Some(sensor) = &mut self.sensor else {
            return;
        };
        let place = |address: Option<_>| address.map_or(ListenAddress::Any, ListenAddress::One);
        let hops_at = hops.into_iter().map(|(address, hop)| (place(address), hop));
        let hops_at: Vec<_> = hops_at.collect();
        match sensor.watch(registry, &ranges, &hops_at) {
            Err(error) => self
                .log
                .write(&Event::Warning(Warning::SensorFailed(error))),
            Ok(()) if sensor.has_closed() => self.ports.retry_at(self.now.boot),
            Ok(()) => {}
        }
    }

    /// Retries the ports that could not be opened, if it is time.
    pub fn open_again(&mut self, core: &Core) {
        let Self {
            ports,
            sensor,
            poll,
            log,
            now,
            ..
        } = self;
        let (registry, now) = (poll.registry(), now.boot);
        if !ports.is_time_to_retry(now) {
            return;
        }
        ports.retry(core, registry, now, |event| log.write(&event));
        let Some(sensor) = sensor else { return };
        sensor.retry(registry, |event| log.write(&event));
        if sensor.has_closed() {
            ports.retry_at(now.after(RETRY_MS));
        }
    }
}
