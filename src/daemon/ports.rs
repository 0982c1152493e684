//! What listens: sockets, and the visitors who wait there.
//!
//! A listener is named by where it listens and its number, not by the mirage that it serves: a reload may give
//! it to another without closing it.

use super::sockets::is_out_of_descriptors;
use super::wake::Wake;
use crate::limits::{CLOSING_ACCEPTS, RETRY_MS};
use crate::proto::effect::Drain;
use crate::proto::event::Event;
use crate::proto::ids::MirageId;
use crate::proto::{Core, Instant, sooner};
use crate::sys::filter;
use crate::sys::socket::{self, ListenAddress};
use crate::terms::Level;
use core::net::{IpAddr, SocketAddr};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

/// A port at a place: the place's number, then the port's 16 bits.
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

/// One port.
struct Listener {
    id: PortId,
    mirage: MirageId,
    /// Visitors may be waiting for whom there will be no event.
    is_behind: bool,
    /// None while it can't be opened.
    socket: Option<OwnedFd>,
    /// Whom alone its filter lets through, and what it accepts has the filter too.
    admitted: Option<Rc<[IpAddr]>>,
    backlog: i32,
    /// The log was told at this level that it is not open.
    told: Option<Level>,
}

/// A visitor who was accepted.
pub struct Accepted {
    /// Where.
    pub mirage: MirageId,
    /// Who.
    pub peer: IpAddr,
    /// The port that they dialled. None: they came to a pool past the redirect.
    pub port: Option<u16>,
    /// The port that they came to.
    pub at: u16,
    /// The connection.
    pub socket: OwnedFd,
}

/// What comes of a try to accept.
pub enum Try {
    /// A visitor.
    Visitor(Accepted),
    /// A visitor, for whom the last descriptor was given. There has to be another.
    Short(Accepted),
    /// Nobody, or one who has gone meanwhile: try again.
    Again,
    /// Nobody waits, or it can't be known before a while.
    Nobody,
}

/// All listeners, in the order of their names.
pub struct Ports {
    all: Vec<Listener>,
    /// Where to listen, by number.
    places: Vec<ListenAddress>,
    /// Given up for a moment to accept a visitor though there are no descriptors left.
    spare: Option<File>,
    /// When the ports with visitors that could not be accepted are looked at again.
    accept_again: Option<Instant>,
    /// When the ports that could not be opened are tried again.
    open_again: Option<Instant>,
    /// The ports that are being drained, the next one last, and how many more may be accepted there.
    draining: Option<(Vec<(PortId, i32)>, usize)>,
}

impl Ports {
    /// Nothing listens.
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

    /// Opens the ports that a mirage wants and that are missing, hands over those that another mirage wants, and
    /// closes the rest of its. Says how many are open.
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

    /// The numbers of addresses of ours; none at all is that of all.
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

    /// Opens a port for a mirage, or gives it the one that is open already. With `admitted` it lets those
    /// addresses through and is closed to all others. A port that can't be opened is kept, to be tried
    /// again.
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
                let Some(socket) = &listener.socket else {
                    return;
                };
                let filtered = match admitted {
                    Some(admitted) => filter::admit_only(socket, admitted),
                    // Another mirage's filter would keep everybody out.
                    None => filter::detach(socket),
                };
                // It lets those through whom it did before; opened anew, it will not.
                if filtered.is_err() {
                    listener.socket = None;
                }
            }
            Err(place) => {
                let listener = Listener {
                    id,
                    mirage,
                    is_behind: false,
                    socket: self.bind(registry, id, backlog, admitted).ok(),
                    admitted: admitted.map(Rc::from),
                    backlog,
                    told: None,
                };
                self.all.insert(place, listener);
            }
        }
    }

    fn bind(
        &self,
        registry: &Registry,
        id: PortId,
        backlog: i32,
        admitted: Option<&[IpAddr]>,
    ) -> io::Result<OwnedFd> {
        let (place, port) = (self.places[id.place()], id.port());
        let socket = socket::listen(place, port, backlog, admitted)?;
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            Wake::Port(id.0).into(),
            Interest::READABLE,
        )?;
        Ok(socket)
    }

    fn find(&self, id: PortId) -> Result<usize, usize> {
        self.all.binary_search_by_key(&id, |listener| listener.id)
    }

    fn is_open(&self, id: PortId) -> bool {
        let known = self.find(id).ok();
        known.is_some_and(|known| self.all[known].socket.is_some())
    }

    fn has_closed(&self) -> bool {
        self.all.iter().any(|listener| listener.socket.is_none())
    }

    /// How many ports a mirage has open, counted at each address.
    pub fn count_open(&self, mirage: MirageId) -> usize {
        let is_its = |listener: &&Listener| listener.mirage == mirage && listener.socket.is_some();
        self.all.iter().filter(is_its).count()
    }

    /// Takes the next visitor of a port.
    pub fn accept(&mut self, id: PortId, core: &Core, now: Instant) -> Try {
        let Ok(known) = self.find(id) else {
            return Try::Nobody;
        };
        let Some(socket) = &self.all[known].socket else {
            return Try::Nobody;
        };
        let mut accepted = socket::accept(socket.as_fd());
        let is_short = accepted.as_ref().is_err_and(is_out_of_descriptors);
        if is_short {
            // The kernel says so before it looks whether anybody waits. The spare descriptor finds out.
            drop(self.spare.take());
            accepted = socket::accept(socket.as_fd());
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
                // No memory, or nothing that helps now. The kernel will not tell of this
                // visitor again, so we remember.
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
            // It was inherited from the port, and would outlive its sense.
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

    /// Looks at a port again then, whose visitors could not all be accepted. However often that is said, it is
    /// looked at once.
    pub fn accept_later(&mut self, id: PortId, when: Instant) {
        if let Ok(known) = self.find(id) {
            self.all[known].is_behind = true;
            self.accept_again = sooner(self.accept_again, Some(when));
        }
    }

    /// Whether there is a spare descriptor, which is opened where it is missing.
    pub fn has_spare(&mut self) -> bool {
        self.spare = self.spare.take().or_else(spare);
        self.spare.is_some()
    }

    /// A port whose visitors could not all be accepted, if it is time to look at it again.
    pub fn take_behind(&mut self, now: Instant) -> Vec<PortId> {
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

    /// Something was closed: whoever could not be accepted for want of it is looked at again.
    pub fn there_is_room(&mut self, now: Instant) {
        if self.accept_again.is_some() {
            self.accept_again = Some(now);
        }
    }

    /// Begins to accept those who wait at ports that are about to close, or to change what they are. The kernel
    /// keeps one more for each than it was told. In a flood there are more than a turn has time for, and those
    /// behind them meet a reset, or the next plan.
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

    /// Takes the next visitor of the ports that are being drained. None: nobody waits there any more.
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

    /// Tries the ports again that could not be opened. Each is told once, and again when it matters
    /// more; and once it is open. What is wrong with a real one is an error, but not before its minute has
    /// come: the log names no port to come.
    pub fn retry(
        &mut self,
        core: &Core,
        registry: &Registry,
        now: Instant,
        mut tell: impl FnMut(Event),
    ) {
        for known in 0..self.all.len() {
            let Listener {
                id,
                mirage,
                told,
                backlog,
                ..
            } = self.all[known];
            if self.all[known].socket.is_some() {
                continue;
            }
            let (port, section) = (id.port(), core.name(mirage));
            let admitted = core.wanted(mirage).admitted;
            let event = match self.bind(registry, id, backlog, admitted.as_deref()) {
                Ok(socket) => {
                    self.all[known].socket = Some(socket);
                    self.all[known].told = None;
                    told.map(|level| Event::PortOpen {
                        mirage: section,
                        port,
                        level,
                    })
                }
                Err(error) => {
                    let level = core.severity(mirage, port);
                    let level = level.filter(|level| told.is_none_or(|told| *level < told));
                    self.all[known].told = level.or(told);
                    level.map(|level| Event::PortClosed {
                        mirage: section,
                        port,
                        level,
                        error,
                    })
                }
            };
            event.into_iter().for_each(&mut tell);
        }
        self.open_again = self.has_closed().then(|| now.after(RETRY_MS));
    }

    /// Whether it is time for [`Ports::retry`].
    pub fn is_time_to_retry(&self, now: Instant) -> bool {
        self.open_again.is_some_and(|again| again <= now)
    }

    /// Has it retried at this moment.
    pub fn retry_at(&mut self, when: Instant) {
        self.open_again = Some(when);
    }

    /// When [`Ports::take_behind`] or [`Ports::retry`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        sooner(self.accept_again, self.open_again)
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
