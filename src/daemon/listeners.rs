//! The ports that are open.
//!
//! A port is named by where it listens and its number, not by the mirage it serves: a reload may
//! give it to another without closing it.

use super::wake::Wake;
use crate::sys::filter;
use crate::sys::socket::{self, ListenAddress};
use crate::terms::Level;
use core::net::{IpAddr, SocketAddr};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A port at a place: the place's number, then the port's 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(pub u32);

impl PortId {
    /// The port number.
    pub fn port(self) -> u16 {
        self.0 as u16
    }

    fn place(self) -> usize {
        (self.0 >> 16) as usize
    }
}

/// One port.
pub struct Listener {
    /// Its name.
    pub id: PortId,
    /// The mirage that it serves, by its place in the list.
    pub mirage: usize,
    /// Visitors may be waiting for whom there will be no event.
    pub is_behind: bool,
    socket: Option<OwnedFd>,
    /// Only some come through.
    is_filtered: bool,
    /// Visitors that the kernel keeps for it.
    backlog: i32,
    /// The log was told at this level that it is not open.
    told: Option<Level>,
}

/// A port that can't be opened, or can be again.
pub struct Trouble {
    /// The mirage that it serves.
    pub mirage: usize,
    /// Its number.
    pub port: u16,
    /// Why it is not open; None when it is.
    pub error: Option<io::Error>,
}

/// All of them, in the order of their names.
#[derive(Default)]
pub struct Listeners {
    all: Vec<Listener>,
    /// Where to listen, by number.
    places: Vec<ListenAddress>,
}

impl Listeners {
    /// The number of a place, a new one if it has none.
    pub fn place(&mut self, place: ListenAddress) -> u32 {
        let number = self.places.iter().position(|&known| known == place);
        number.unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        }) as u32
    }

    /// A port at the place with this number.
    pub fn id(place: u32, port: u16) -> PortId {
        PortId(place << 16 | u32::from(port))
    }

    /// Opens a port for a mirage, or gives it the one that is open already. With `admitted` it lets those
    /// addresses through and is closed to all others. A port that can't be opened is kept, to be tried
    /// again.
    pub fn open(
        &mut self,
        registry: &Registry,
        id: PortId,
        mirage: usize,
        backlog: i32,
        admitted: Option<&[IpAddr]>,
    ) {
        match self.find(id) {
            Ok(known) => {
                let listener = &mut self.all[known];
                listener.mirage = mirage;
                match admitted {
                    Some(admitted) => self.admit_only(id, admitted),
                    // Another mirage's filter would keep everybody out.
                    None if listener.is_filtered => {
                        if let Some(socket) = &listener.socket
                            && filter::detach(socket).is_err()
                        {
                            listener.socket = None;
                        }
                        listener.is_filtered = false;
                    }
                    None => {}
                }
            }
            Err(place) => {
                let socket = self.bind(registry, id, backlog, admitted).ok();
                let listener = Listener {
                    id,
                    mirage,
                    is_behind: false,
                    socket,
                    is_filtered: admitted.is_some(),
                    backlog,
                    told: None,
                };
                self.all.insert(place, listener);
            }
        }
    }

    /// Closes a port.
    pub fn close(&mut self, id: PortId) {
        if let Ok(known) = self.find(id) {
            self.all.remove(known);
        }
    }

    /// Lets only these addresses come to a port from now on.
    pub fn admit_only(&mut self, id: PortId, admitted: &[IpAddr]) {
        let Some(listener) = self.get_mut(id) else {
            return;
        };
        listener.is_filtered = true;
        if let Some(socket) = &listener.socket
            && filter::admit_only(socket, admitted).is_err()
        {
            // It lets those through whom it did before; opened anew, it will not.
            listener.socket = None;
        }
    }

    /// Closes all but these.
    pub fn keep(&mut self, mut wanted: impl FnMut(PortId) -> bool) {
        self.all.retain(|listener| wanted(listener.id));
    }

    /// One of them.
    pub fn get_mut(&mut self, id: PortId) -> Option<&mut Listener> {
        let known = self.find(id).ok()?;
        self.all.get_mut(known)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.all.iter()
    }

    /// Whether a port is open.
    pub fn is_open(&self, id: PortId) -> bool {
        let known = self.find(id).ok();
        known.is_some_and(|known| self.all[known].socket.is_some())
    }

    /// Takes the next visitor of a port.
    ///
    /// # Errors
    /// What accept4(2) says; `WouldBlock` when nobody waits.
    pub fn accept(&self, id: PortId) -> io::Result<(OwnedFd, SocketAddr)> {
        let known = self.find(id).map_err(|_| io::ErrorKind::WouldBlock)?;
        let socket = self.all[known].socket.as_ref();
        socket::accept(socket.ok_or(io::ErrorKind::WouldBlock)?.as_fd())
    }

    /// Whether a port waits to be tried again.
    pub fn has_closed(&self) -> bool {
        self.all.iter().any(|listener| listener.socket.is_none())
    }

    /// Tries those again that could not be opened. `level` says how much it matters that a mirage
    /// lacks a port, None where nobody is to know yet. Each is told once, and again when it matters
    /// more; and once it is open.
    pub fn retry(
        &mut self,
        registry: &Registry,
        admitted: impl Fn(usize) -> Option<Vec<IpAddr>>,
        level: impl Fn(usize, u16) -> Option<Level>,
        mut tell: impl FnMut(Trouble, Level),
    ) {
        for known in 0..self.all.len() {
            let Listener {
                id, mirage, told, ..
            } = self.all[known];
            if self.all[known].socket.is_some() {
                continue;
            }
            let port = id.port();
            let (backlog, admitted) = (self.all[known].backlog, admitted(mirage));
            let (error, news) = match self.bind(registry, id, backlog, admitted.as_deref()) {
                Ok(socket) => {
                    self.all[known].socket = Some(socket);
                    (None, told)
                }
                Err(error) => {
                    let level = level(mirage, port);
                    let matters_more = |level: &Level| told.is_none_or(|told| *level < told);
                    (Some(error), level.filter(matters_more))
                }
            };
            if let Some(level) = news {
                self.all[known].told = error.is_some().then_some(level);
                let trouble = Trouble {
                    mirage,
                    port,
                    error,
                };
                tell(trouble, level);
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
            Wake::Port(id).into(),
            Interest::READABLE,
        )?;
        Ok(socket)
    }

    fn find(&self, id: PortId) -> Result<usize, usize> {
        self.all.binary_search_by_key(&id, |listener| listener.id)
    }
}
