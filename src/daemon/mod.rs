//! The daemon: a loop that tells the core what has happened, and performs what the core decides.
//!
//! One thread, one poll, and everything in tables whose sizes are known at the start:
//!
//! ```text
//!   mod.rs      the loop                        perform.rs   performs the core's effects
//!   shell.rs    events from the system          wake.rs      the tokens of events
//!   ports.rs    the listening sockets           sockets.rs   the socket of each connection
//!   relay/      the bytes of a session          trap.rs      reads from a visitor who is held
//!   sensor.rs   packets at closed ports         arrival.rs   parses such a packet
//!   hooks.rs    commands                        netfilter/   the kernel's sets
//!   child.rs    a command's child               control/     the control socket
//!   store.rs    the state file, the journal     reload.rs    the keys of a new configuration
//!   log.rs      the log                         configuration.rs   the file becomes input for the core
//!   rights.rs   what root's rights become       retried_socket.rs   a port that may have to wait
//!   used.rs     used tokens                     sandbox.rs   what the daemon gives up
//!   files.rs    opens the files of all of them
//!   host.rs     time and signals, as a value
//! ```

mod arrival;
mod child;
mod configuration;
mod control;
mod failure;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod hooks;
pub mod host;
mod log;
pub mod netfilter;
mod own_address;
mod perform;
mod ports;
mod relay;
mod reload;
mod retried_socket;
mod rights;
mod sandbox;
pub mod sensor;
mod shell;
mod sockets;
mod store;
mod trap;
mod used;
mod wake;

pub use failure::Failure;

use self::host::{Host, Machine};
use self::log::Log;
use self::sandbox::Plan;
use self::shell::Shell;
use crate::config::ServerConfig;
use crate::limits::{TRAPS, USUAL_DESCRIPTORS};
use crate::proto::Core;
use crate::proto::effect::Effects;
use crate::proto::event::Event;
use crate::sys::{process, signal};
use std::path::Path;

/// Runs the daemon until it is told to end.
///
/// # Errors
/// The configuration has errors, or the system does not provide what the daemon needs.
pub fn run(config: &Path) -> Result<(), Failure> {
    process::hide();
    let server = ServerConfig::load_to_serve(config).map_err(Failure::Configuration)?;
    let server = rights::give_up(server, config)?;
    log::report_panics();
    let machine = Machine::take_over().map_err(Failure::Host)?;
    let plan = Plan::new(&server, config);
    let mut daemon = Daemon::new(config, server, machine)?;
    daemon.shell.enter_sandbox(plan, &daemon.core);
    if cfg!(shimmer_test_panic) {
        panic!("a panic on purpose");
    }
    daemon.run()
}

/// Closes what the journal says is open, and returns how much that was. No daemon has to run: one that runs closes
/// its doors when it ends.
///
/// # Errors
/// As for [`run`]. A running daemon has locked the state file.
pub fn close_all(config: &Path) -> Result<usize, Failure> {
    process::hide();
    let server = ServerConfig::load_to_serve(config).map_err(Failure::Configuration)?;
    let server = rights::give_up(server, config)?;
    let machine = Machine::take_over().map_err(Failure::Host)?;
    let mut daemon = Daemon::new(config, server, machine)?;
    let open = daemon.core.openings().iter().count();
    daemon.shell.stop();
    daemon.run().map(|()| open)
}

/// The core and the shell, with the effects that are still to be performed.
pub struct Daemon<H> {
    core: Core,
    effects: Effects,
    shell: Shell<H>,
}

impl<H: Host> Daemon<H> {
    /// A daemon that will serve this configuration, which was read from `config_path`.
    ///
    /// # Errors
    /// The log, the state file or the poll can't be opened.
    pub fn new(config_path: &Path, server: ServerConfig, mut host: H) -> Result<Self, Failure> {
        let now = host.now();
        let target = &server.common.log;
        let mut log = Log::open(target, server.common.log_level, now)
            .map_err(|error| Failure::Log(log::log_path(target), error))?;
        signal::set_crash_log(log.descriptor());
        let descriptors = process::raise_descriptor_limit().unwrap_or_else(|error| {
            let what = "a word on the limit of descriptors, taken for the usual one";
            shell::lacks(&mut log, what, &error);
            USUAL_DESCRIPTORS
        });
        let common = reload::common_settings(&server.common, descriptors);
        let most_held = TRAPS.min(descriptors / 8).max(1);
        let mut core = Core::new(common, now, host.clock_is_kept(), most_held);
        let (shell, before) = Shell::new(config_path, server, host, descriptors, log)?;
        core.restore(before.openings);
        core.recall(before.used);
        Ok(Self {
            core,
            effects: Effects::new(),
            shell,
        })
    }

    /// Runs until a signal ends it, and everything that it has opened is closed.
    ///
    /// The time is read once per turn, so a turn happens at one moment. Events come before deadlines, so a
    /// visitor is judged by the plan that was open to them.
    ///
    /// # Errors
    /// The kernel no longer allows polling, or something could not be closed in time.
    pub fn run(mut self) -> Result<(), Failure> {
        let mut events = shell::events();
        loop {
            let now = self.shell.begin_turn();
            self.core.begin_turn(now, &mut self.effects);
            self.settle();
            self.shell.signals();
            while let Some(input) = self.shell.next(&self.core) {
                self.core.handle(input, &mut self.effects);
                self.settle();
            }
            loop {
                let has_more = self.core.tick(&mut self.effects);
                self.settle();
                if !has_more {
                    break;
                }
            }
            if self.core.has_stopped() {
                return self.end();
            }
            self.shell.tick(&self.core);
            self.shell.wait(self.core.deadline(), &mut events)?;
        }
    }

    /// Performs all effects and passes their answers to the core at once, until nothing is left.
    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.effects.pop_front() {
                self.shell.perform(effect, &self.core);
            }
            let Some(answer) = self.shell.next_answer(&self.core) else {
                break;
            };
            self.core.handle(answer, &mut self.effects);
        }
        debug_assert!(self.core.is_settled(), "a transaction has not ended");
    }

    fn end(mut self) -> Result<(), Failure> {
        if self.core.save_is_due().is_some() {
            self.shell.save(&self.core);
        }
        self.shell.control.close();
        self.shell.log.log_postponed();
        let open = self.core.openings().iter().count();
        let left_open = (open > 0).then(|| Failure::LeftOpen(open, self.shell.journal()));
        if left_open.is_some() {
            self.shell.log.write(&Event::LeftOpen { open });
        }
        if self.shell.closes_a_port() {
            self.shell.log.write(&Event::RulesStay);
        }
        self.shell.log.write(&Event::End);
        left_open.map_or(Ok(()), Err)
    }
}
