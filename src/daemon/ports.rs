//! The listening sockets, and the visitors who wait there.
//!
//! A listener is named by its address and port, not by the mirage that it serves: a reload may give it to
//! another mirage without closing it.

use super::retried_socket::{PortChange, RetriedSocket};
use super::sockets::is_out_of_descriptors;
use super::wake::Wake;
use crate::limits::{CLOSING_ACCEPTS, RETRY_MS};
use crate::proto::effect::Drain;
use crate::proto::event::Event;
use crate::proto::ids::MirageId;
use crate::proto::{Core, Instant, sooner};
use crate::sys::filter;
use crate::sys::socket::{self, ListenAddress};
use core::net::{IpAddr, SocketAddr};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

/// A listener's id: the number of its address, then the port's 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(pub u32);

impl PortId {
    fn new(place: usize, port: u16) -> Self {
        Self((place as u32) << 16 | u32::from(port))
    }

    /// The port number.
    pub fn port(self) -> u16 {
        self.0 as u16
    }

    fn place(self) -> usize {
        (self.0 >> 16) as usize
    }
}

/// One listener.
struct Listener {
    id: PortId,
    mirage: MirageId,
    /// Visitors may be waiting for whom no further event will come.
    is_behind: bool,
    socket: RetriedSocket,
    /// The addresses that its filter admits. What it accepts inherits the filter.
    admitted: Option<Rc<[IpAddr]>>,
    backlog: i32,
}

/// A visitor who was accepted.
pub struct Accepted {
    /// The mirage.
    pub mirage: MirageId,
    /// The visitor's address.
    pub peer: IpAddr,
    /// The port that they dialled. None: they reached a pool's port without the redirect.
    pub port: Option<u16>,
    /// The port of the listener.
    pub at: u16,
    /// The connection.
    pub socket: OwnedFd,
}

/// The result of one accept.
pub enum Try {
    /// A visitor.
    Visitor(Accepted),
    /// A visitor whose connection took the last descriptor. Another has to be freed.
    Short(Accepted),
    /// No visitor, or one who has gone in the meantime: try again.
    Again,
    /// No visitor waits, or that can't be known for a while.
    Nobody,
}

/// All listeners, ordered by id.
pub struct Ports {
    all: Vec<Listener>,
    /// The addresses to listen on, by number.
    places: Vec<ListenAddress>,
    /// Given up for a moment, so that a visitor can be accepted when no descriptors are left.
    spare: Option<File>,
    /// When to look again at ports whose visitors could not be accepted.
    accept_again: Option<Instant>,
    /// When to retry the ports that could not be opened.
    open_again: Option<Instant>,
    /// The ports that are being drained, the next one last, and how many visitors may still be accepted there.
    draining: Option<(Vec<(PortId, i32)>, usize)>,
}

impl Ports {
    /// Without listeners.
    pub fn new() -> Self {
        Self {
            all: Vec::new(),
            places: Vec::new(),
            spare: spare(),
            accept_again: None,
            open_again: None,
            draining: None,
        }
    }

    /// Opens the ports that a mirage wants and does not have, hands over those that another mirage wants, and
    /// closes its other ports. Returns how many are open.
    pub fn follow(
        &mut self,
        mirage: MirageId,
        core: &Core,
        registry: &Registry,
        now: Instant,
    ) -> usize {
        let wanted = core.wanted(mirage);
        let places = self.places_of(&wanted.listen);
        let admitted = wanted.admitted.as_deref();
        let mut open = 0;
        for &port in &wanted.ports {
            for &place in &places {
                let id = PortId::new(place, port);
                self.open(registry, id, mirage, wanted.backlog, admitted);
                open += usize::from(self.is_open(id));
            }
        }
        let mut next = 0;
        while let Some(listener) = self.all.get(next) {
            let id = listener.id;
            let is_its = listener.mirage == mirage;
            let is_wanted =
                places.contains(&id.place()) && wanted.ports.binary_search(&id.port()).is_ok();
            next += 1;
            if !is_its || is_wanted {
                continue;
            }
            match core.owner(self.address(id), id.port()) {
                Some(owner) => self.all[next - 1].mirage = owner,
                None => {
                    next -= 1;
                    self.all.remove(next);
                }
            }
        }
        if self.has_closed() {
            self.open_again = Some(now);
        }
        open
    }

    /// The numbers of these local addresses; an empty list means all addresses.
    fn places_of(&mut self, listen: &[IpAddr]) -> Vec<usize> {
        let places: Vec<ListenAddress> = match listen {
            [] => vec![ListenAddress::Any],
            listen => listen
                .iter()
                .map(|&address| ListenAddress::One(address))
                .collect(),
        };
        let number = |place: ListenAddress| {
            let known = self.places.iter().position(|&known| known == place);
            known.unwrap_or_else(|| {
                self.places.push(place);
                self.places.len() - 1
            })
        };
        places.into_iter().map(number).collect()
    }

    fn address(&self, id: PortId) -> Option<IpAddr> {
        match self.places[id.place()] {
            ListenAddress::Any => None,
            ListenAddress::One(address) => Some(address),
        }
    }

    /// Opens a port for a mirage, or gives it the port if it is open already. With `admitted`, the port is open
    /// to these addresses only. A port that can't be opened is kept and retried.
    fn open(
        &mut self,
        registry: &Registry,
        id: PortId,
        mirage: MirageId,
        backlog: i32,
        admitted: Option<&[IpAddr]>,
    ) {
        match self.find(id) {
            Ok(known) => {
                let listener = &mut self.all[known];
                listener.mirage = mirage;
                if listener.admitted.as_deref() == admitted {
                    return;
                }
                listener.admitted = admitted.map(Rc::from);
                let Some(socket) = listener.socket.socket() else {
                    return;
                };
                let filtered = match admitted {
                    Some(admitted) => filter::admit_only(&socket, admitted),
                    // A filter left by another mirage would keep visitors out.
                    None => filter::detach(&socket),
                };
                // The old filter is still in force. A new listener gets the new one.
                if filtered.is_err() {
                    listener.socket.close();
                }
            }
            Err(place) => {
                let address = self.places[id.place()];
                let listener = Listener {
                    id,
                    mirage,
                    is_behind: false,
                    socket: RetriedSocket::new(bind(registry, id, address, backlog, admitted)),
                    admitted: admitted.map(Rc::from),
                    backlog,
                };
                self.all.insert(place, listener);
            }
        }
    }

    fn find(&self, id: PortId) -> Result<usize, usize> {
        self.all.binary_search_by_key(&id, |listener| listener.id)
    }

    fn is_open(&self, id: PortId) -> bool {
        let known = self.find(id).ok();
        known.is_some_and(|known| self.all[known].socket.is_open())
    }

    fn has_closed(&self) -> bool {
        self.all.iter().any(|listener| !listener.socket.is_open())
    }

    /// How many ports a mirage has open, counted once per address.
    pub fn count_open(&self, mirage: MirageId) -> usize {
        let is_its = |listener: &&Listener| listener.mirage == mirage && listener.socket.is_open();
        self.all.iter().filter(is_its).count()
    }

    /// Accepts the next visitor of a port.
    pub fn accept(&mut self, id: PortId, core: &Core, now: Instant) -> Try {
        let Ok(known) = self.find(id) else {
            return Try::Nobody;
        };
        let Some(socket) = self.all[known].socket.socket() else {
            return Try::Nobody;
        };
        let mut accepted = socket::accept(socket);
        let is_short = accepted.as_ref().is_err_and(is_out_of_descriptors);
        if is_short {
            // The kernel says so before it checks whether a visitor waits. The spare descriptor finds out.
            drop(self.spare.take());
            accepted = socket::accept(socket);
        }
        let tried = match accepted {
            Ok(visitor) => {
                let visitor = self.receive(known, visitor, core);
                match is_short && !self.has_spare() {
                    true => Try::Short(visitor),
                    false => Try::Visitor(visitor),
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Try::Nobody,
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => Try::Again,
                // No memory, or another lack that passes. The kernel will not report this visitor again, so we
                // remember the port.
                _ => {
                    self.accept_later(id, now.after(RETRY_MS));
                    Try::Nobody
                }
            },
        };
        self.has_spare();
        tried
    }

    fn receive(
        &self,
        known: usize,
        (socket, peer): (OwnedFd, SocketAddr),
        core: &Core,
    ) -> Accepted {
        let Listener {
            id,
            mirage,
            ref admitted,
            ..
        } = self.all[known];
        if admitted.is_some() {
            // The connection has inherited the port's filter, which was meant for new connections only.
            let _ = filter::detach(&socket);
        }
        // At a pool the kernel knows which port was dialled.
        let port = match core.is_pool(mirage) {
            true => socket::original_destination(socket.as_fd())
                .ok()
                .map(|dialled| dialled.port()),
            false => Some(id.port()),
        };
        Accepted {
            mirage,
            peer: peer.ip(),
            port,
            at: id.port(),
            socket,
        }
    }

    /// Schedules another look at a port whose visitors could not all be accepted. However often it is called,
    /// the port is looked at once.
    pub fn accept_later(&mut self, id: PortId, when: Instant) {
        if let Ok(known) = self.find(id) {
            self.all[known].is_behind = true;
            self.accept_again = sooner(self.accept_again, Some(when));
        }
    }

    /// Whether there is a spare descriptor. Opens a missing one.
    pub fn has_spare(&mut self) -> bool {
        self.spare = self.spare.take().or_else(spare);
        self.spare.is_some()
    }

    /// Takes the ports whose visitors could not all be accepted, if it is time to look again.
    pub fn take_unfinished(&mut self, now: Instant) -> Vec<PortId> {
        if self.accept_again.take_if(|again| *again <= now).is_none() {
            return Vec::new();
        }
        let behind = self.all.iter_mut().filter(|listener| listener.is_behind);
        let mut ids = Vec::new();
        for listener in behind {
            listener.is_behind = false;
            ids.push(listener.id);
        }
        ids
    }

    /// Something was closed, so ports that lacked a descriptor are looked at again.
    pub fn accept_again_now(&mut self, now: Instant) {
        if self.accept_again.is_some() {
            self.accept_again = Some(now);
        }
    }

    /// Begins to accept the visitors who wait at ports that are about to close or change their role. The kernel
    /// queues one more per port than it was told. In a flood there are more than a turn has time for; the rest
    /// meet a reset, or the next plan.
    pub fn drain(&mut self, drain: Drain, core: &Core) {
        let is_drained = |listener: &&Listener| match drain {
            Drain::All => true,
            Drain::Mirage(mirage) => listener.mirage == mirage,
            Drain::Turn(mirage) => {
                listener.mirage == mirage && core.is_leaving(mirage, listener.id.port())
            }
        };
        let drained = self.all.iter().rev().filter(is_drained);
        let ports = drained.map(|listener| (listener.id, listener.backlog + 1));
        self.draining = Some((ports.collect(), CLOSING_ACCEPTS));
    }

    /// Whether ports are being drained.
    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Accepts the next visitor at the ports that are being drained. None: no visitor waits there any more.
    pub fn accept_drained(&mut self, core: &Core, now: Instant) -> Option<Try> {
        loop {
            let (ports, left) = self.draining.as_mut()?;
            let Some((id, places)) = ports.last_mut() else {
                self.draining = None;
                return None;
            };
            let id = *id;
            if *left == 0 || *places == 0 {
                let is_flooded = *left == 0;
                ports.pop();
                if is_flooded {
                    self.accept_later(id, now);
                }
                continue;
            }
            (*places, *left) = (*places - 1, *left - 1);
            match self.accept(id, core, now) {
                Try::Nobody => {
                    if let Some((ports, left)) = &mut self.draining {
                        ports.pop();
                        *left += 1;
                    }
                }
                tried => return Some(tried),
            }
        }
    }

    /// Retries the ports that could not be opened. A real port that can't be opened is an error, but only once
    /// its minute has come: the log names no future port.
    pub fn retry(
        &mut self,
        core: &Core,
        registry: &Registry,
        now: Instant,
        mut log: impl FnMut(Event),
    ) {
        let Self { all, places, .. } = self;
        for listener in all {
            let (id, mirage) = (listener.id, listener.mirage);
            let (port, place) = (id.port(), places[id.place()]);
            let change = listener.socket.retry(core.severity(mirage, port), || {
                let admitted = core.wanted(mirage).admitted;
                bind(registry, id, place, listener.backlog, admitted.as_deref())
            });
            let mirage = core.name(mirage);
            match change {
                Some(PortChange::Open(level)) => log(Event::PortOpen {
                    mirage,
                    port,
                    level,
                }),
                Some(PortChange::Closed(level, error)) => log(Event::PortClosed {
                    mirage,
                    port,
                    level,
                    error,
                }),
                None => {}
            }
        }
        self.open_again = self.has_closed().then(|| now.after(RETRY_MS));
    }

    /// Whether to call [`Ports::retry`] now.
    pub fn is_time_to_retry(&self, now: Instant) -> bool {
        self.open_again.is_some_and(|again| again <= now)
    }

    /// Schedules a retry for this moment.
    pub fn retry_at(&mut self, when: Instant) {
        self.open_again = Some(when);
    }

    /// When to call [`Ports::take_unfinished`] or [`Ports::retry`].
    pub fn next_deadline(&self) -> Option<Instant> {
        sooner(self.accept_again, self.open_again)
    }
}

fn bind(
    registry: &Registry,
    id: PortId,
    place: ListenAddress,
    backlog: i32,
    admitted: Option<&[IpAddr]>,
) -> io::Result<OwnedFd> {
    let socket = socket::listen(place, id.port(), backlog, admitted)?;
    registry.register(
        &mut SourceFd(&socket.as_raw_fd()),
        Wake::Port(id.0).into(),
        Interest::READABLE,
    )?;
    Ok(socket)
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
