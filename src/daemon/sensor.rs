//! The sensor: packets and connections that come to ports where no service listens.
//!
//! ```text
//!   Way::Raw     packet sockets ─▶ filter ─▶ bucket ─▶ next()    sees every port of the ranges, opens none
//!   Way::Bound   hops, opened   ─▶           bucket ─▶ next()    without CAP_NET_RAW: the hops alone
//! ```
//!
//! Nothing it reports is proven: anybody can send a packet with somebody else's source address.

use super::arrival::{self, SNAP};
use super::own_address::is_own_address;
use super::retried_socket::{PortChange, RetriedSocket};
use super::wake::{self, Wake};
use crate::bpf::IpVersion;
use crate::limits::{
    BACKLOG, RETRY_MS, SENSE_AGAIN_MS, SENSED_NETWORKS, SENSED_PER_SECOND, TELL_FULL_MS,
    TURN_PACKETS,
};
use crate::proto::event::Event;
pub use crate::proto::input::Sensed;
use crate::proto::scheme::knock::{Hop, Protocol};
use crate::proto::scheme::schedule::Range;
use crate::proto::source::canonical;
use crate::proto::{Instant, sooner};
use crate::sys::own_networks::{AddressNews, own_networks};
use crate::sys::packet::PacketSocket;
use crate::sys::socket::{self, ListenAddress};
use crate::terms::Level;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How the sensor works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Packet sockets: no port is open.
    Raw,
    /// Opens the hops as ports, because packet sockets need CAP_NET_RAW.
    Bound,
}

/// What [`Way::Bound`] reveals, for the log.
pub const BOUND_MEANS: &str = "without CAP_NET_RAW the ports to knock at are opened: a scan finds them, \
                               and a knock at any other port goes unseen";

/// A hop and the address it listens on.
pub type HopAt = (ListenAddress, Hop);

struct SensorSocket {
    kind: Kind,
    /// The token of its events.
    number: u32,
    /// Packets may be waiting for which no further event will come.
    is_ready: bool,
}

enum Kind {
    Packets(PacketSocket),
    Port(HopAt, RetriedSocket),
    /// Beside packet sockets: the addresses of this host change.
    News(AddressNews),
}

/// Totals since the start.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// Packets that were passed on.
    pub sensed: u64,
    /// Packets that the kernel dropped because its buffer was full: more came than the bucket lets through.
    pub lost: u64,
}

/// Sees the packets at ports where no service listens, at most [`SENSED_PER_SECOND`] a second.
pub struct Sensor {
    way: Way,
    sockets: Vec<SensorSocket>,
    /// There is news of this host's addresses.
    has_moved: bool,
    /// When to look at them again: the kernel tells of an address before it takes packets to it.
    again: Option<Instant>,
    /// The ports that packet sockets watch.
    watched: Vec<RangeInclusive<u16>>,
    /// The place of the socket that is read next.
    turn: usize,
    /// Every socket gets a new number, so a late event never reaches another socket.
    next_number: u32,
    /// Packets tried in this turn.
    taken: u32,
    bucket: Bucket,
    /// When an address was last found to be ours, and at which interface.
    own: Option<(Instant, IpAddr, u32)>,
    counts: Counts,
    /// When to look for lost packets; set when a packet arrives.
    look: Option<Instant>,
    /// The total of lost packets that was last reported, and when.
    told: (u64, Option<Instant>),
}

impl Sensor {
    /// Opens packet sockets, or ports if packet sockets are not permitted. It sees nothing before
    /// [`watch`](Self::watch) is called.
    ///
    /// # Errors
    /// The kernel is out of descriptors or memory.
    pub fn open(registry: &Registry) -> io::Result<Self> {
        let mut sensor = Self::bound();
        for version in [IpVersion::V4, IpVersion::V6] {
            let socket = match PacketSocket::open(version) {
                Err(error) if is_refusal(&error) => return Ok(Self::bound()),
                socket => socket?,
            };
            let number = sensor.number();
            register(registry, socket.as_fd(), number)?;
            sensor
                .sockets
                .push(SensorSocket::new(Kind::Packets(socket), number));
        }
        if let Ok(news) = AddressNews::open() {
            let number = sensor.number();
            register(registry, news.as_fd(), number)?;
            sensor
                .sockets
                .push(SensorSocket::new(Kind::News(news), number));
        }
        sensor.way = Way::Raw;
        Ok(sensor)
    }

    /// A sensor that opens ports.
    #[must_use]
    pub fn bound() -> Self {
        Self {
            way: Way::Bound,
            sockets: Vec::new(),
            has_moved: false,
            again: None,
            watched: Vec::new(),
            turn: 0,
            next_number: 0,
            taken: 0,
            bucket: Bucket::full(),
            own: None,
            counts: Counts::default(),
            look: None,
            told: (0, None),
        }
    }

    /// Whether it uses packet sockets or opens ports.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way
    }

    /// Watches these ranges from now on, or these hops if it has to open ports. New ports are opened before
    /// old ones are closed. A port that can't be opened is kept and retried.
    ///
    /// # Errors
    /// The kernel has no memory for the filter. Then the sensor keeps its old filter, or sees nothing.
    pub fn watch(
        &mut self,
        registry: &Registry,
        ranges: &[Range],
        hops: &[HopAt],
    ) -> io::Result<()> {
        if self.way == Way::Bound {
            self.bind(registry, hops);
            return Ok(());
        }
        let ports = ranges.iter().map(|range| range.low()..=range.high());
        self.watched = ports.collect();
        self.attach()
    }

    /// Attaches the filters, with the networks that are this host's now. A router is sent what it passes on, too,
    /// and that must not empty the bucket.
    fn attach(&self) -> io::Result<()> {
        for socket in &self.sockets {
            if let Kind::Packets(socket) = &socket.kind {
                let known = own_networks(socket.version()).ok();
                // Without news of addresses, a new one would not be heard at.
                let networks =
                    known.filter(|networks| self.has_news() && networks.len() <= SENSED_NETWORKS);
                let watch = |networks| socket.watch(&self.watched, networks, SNAP as u32);
                // Where the longer filter finds no memory, the shorter one may.
                if networks.is_none() || watch(networks.as_deref()).is_err() {
                    watch(None)?;
                }
            }
        }
        Ok(())
    }

    fn has_news(&self) -> bool {
        let mut kinds = self.sockets.iter().map(|socket| &socket.kind);
        kinds.any(|kind| matches!(kind, Kind::News(_)))
    }

    fn bind(&mut self, registry: &Registry, hops: &[HopAt]) {
        for &hop_at in hops {
            if !self
                .sockets
                .iter()
                .any(|socket| socket.hop_at() == Some(hop_at))
            {
                let number = self.number();
                let port = RetriedSocket::new(open(registry, hop_at, number));
                let kind = Kind::Port(hop_at, port);
                self.sockets.push(SensorSocket::new(kind, number));
            }
        }
        let is_wanted =
            |socket: &SensorSocket| socket.hop_at().is_some_and(|hop_at| hops.contains(&hop_at));
        self.sockets.retain(is_wanted);
    }

    /// Whether a port waits for a retry.
    #[must_use]
    pub fn has_closed(&self) -> bool {
        let mut ports = self.sockets.iter().filter_map(SensorSocket::port);
        ports.any(|port| !port.is_open())
    }

    /// Retries the ports that could not be opened.
    pub fn retry(&mut self, registry: &Registry, mut log: impl FnMut(Event)) {
        for socket in &mut self.sockets {
            let Kind::Port(hop_at, port) = &mut socket.kind else {
                continue;
            };
            let (hop, number) = (hop_at.1, socket.number);
            match port.retry(Some(Level::Error), || open(registry, *hop_at, number)) {
                Some(PortChange::Open(_)) => log(Event::KnockPortOpen(hop)),
                Some(PortChange::Closed(_, error)) => log(Event::KnockPortClosed(hop, error)),
                None => {}
            }
        }
    }

    /// Handles an event: the socket with this number can be read.
    pub fn mark_ready(&mut self, number: u32) {
        if let Some(socket) = self
            .sockets
            .iter_mut()
            .find(|socket| socket.number == number)
        {
            match &socket.kind {
                Kind::News(_) => self.has_moved = true,
                Kind::Packets(_) | Kind::Port(..) => socket.is_ready = true,
            }
        }
    }

    /// Follows the addresses of this host.
    fn follow_addresses(&mut self, now: Instant) {
        let is_over = self.again.take_if(|again| *again <= now).is_some();
        if core::mem::take(&mut self.has_moved) {
            for socket in &self.sockets {
                if let Kind::News(news) = &socket.kind {
                    news.discard();
                }
            }
            self.again = Some(now.after(RETRY_MS));
        } else if !is_over {
            return;
        }
        // If there is no memory, the old filter stays.
        let _ = self.attach();
    }

    /// The next packet. None ends the turn, but the sensor may be [`due`](Self::due) again at once.
    pub fn next(&mut self, now: Instant) -> Option<Sensed> {
        self.follow_addresses(now);
        self.bucket.fill(now);
        let mut buffer = [0; SNAP];
        while self.taken < TURN_PACKETS && !self.bucket.is_empty() {
            // Sockets take turns: a flood at one leaves the others their share.
            let count = self.sockets.len();
            let mut places = (0..count).map(|offset| (self.turn + offset) % count);
            let Some(place) = places.find(|&place| self.sockets[place].is_ready) else {
                break;
            };
            self.turn = place + 1;
            self.taken += 1;
            match self.sockets[place].receive(&mut buffer) {
                Ok(heard) => {
                    self.look.get_or_insert(now.after(RETRY_MS));
                    self.bucket.take();
                    if let Some((sensed, interface)) = heard
                        && interface.is_none_or(|interface| self.is_own(&sensed, interface, now))
                    {
                        self.counts.sensed += 1;
                        return Some(sensed);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.sockets[place].is_ready = false;
                }
                // The peer has gone in the meantime.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Out of descriptors or memory: try again later.
                Err(_) => self.bucket.empty(),
            }
        }
        self.taken = 0;
        None
    }

    /// When to call [`next`](Self::next) again although no event will come.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let is_ready = self.sockets.iter().any(|socket| socket.is_ready);
        is_ready.then(|| self.bucket.next())
    }

    /// The totals so far.
    pub fn counts(&mut self) -> Counts {
        for socket in &self.sockets {
            if let Kind::Packets(socket) = &socket.kind {
                self.counts.lost += u64::from(socket.lost());
            }
        }
        self.counts
    }

    /// How many packets were lost since the last report: at most once in [`TELL_FULL_MS`], and soon after
    /// a packet has arrived.
    pub fn newly_lost(&mut self, now: Instant) -> Option<u64> {
        self.look.take_if(|look| *look <= now)?;
        let lost = self.counts().lost;
        let (told, told_at) = self.told;
        let again = told_at.map_or(now, |told_at| told_at.after(TELL_FULL_MS));
        if lost == told {
            return None;
        }
        if again > now {
            self.look = Some(again);
            return None;
        }
        self.told = (lost, Some(now));
        Some(lost - told)
    }

    /// When to call [`Sensor::newly_lost`], and [`Sensor::next`] whatever has come.
    #[must_use]
    pub fn next_look(&self) -> Option<Instant> {
        sooner(self.look, self.again)
    }

    /// Whether a packet's destination is an address of this host. One address is looked up once a turn.
    fn is_own(&mut self, sensed: &Sensed, interface: u32, now: Instant) -> bool {
        let Some(to) = sensed.to else {
            return true;
        };
        let this = Some((now, to, interface));
        let is_own = self.own == this || is_own_address(to, interface);
        if is_own {
            self.own = this;
        }
        is_own
    }

    fn number(&mut self) -> u32 {
        let number = self.next_number;
        self.next_number = (number + 1) & wake::MOST;
        number
    }
}

impl SensorSocket {
    fn new(kind: Kind, number: u32) -> Self {
        Self {
            kind,
            number,
            is_ready: false,
        }
    }

    fn hop_at(&self) -> Option<HopAt> {
        match self.kind {
            Kind::Packets(_) | Kind::News(_) => None,
            Kind::Port(hop_at, _) => Some(hop_at),
        }
    }

    fn port(&self) -> Option<&RetriedSocket> {
        match &self.kind {
            Kind::Packets(_) | Kind::News(_) => None,
            Kind::Port(_, port) => Some(port),
        }
    }

    /// Takes the next packet, and its interface if it may not be addressed to this host. None: the packet
    /// is of no interest.
    fn receive(&self, buffer: &mut [u8; SNAP]) -> io::Result<Option<(Sensed, Option<u32>)>> {
        let (place, hop, socket) = match &self.kind {
            Kind::Packets(socket) => {
                let (length, interface) = socket.receive(buffer)?;
                let packet = arrival::read(socket.version(), &buffer[..length]);
                return Ok(packet.map(|packet| {
                    let hop = Hop {
                        port: packet.port,
                        protocol: packet.protocol,
                    };
                    let sensed = Sensed {
                        from: packet.from,
                        from_port: packet.from_port,
                        to: Some(packet.to),
                        hop,
                        said: packet.said.copied(),
                    };
                    (sensed, Some(interface))
                }));
            }
            Kind::News(_) => return Err(io::ErrorKind::WouldBlock.into()),
            Kind::Port((place, hop), port) => {
                let socket = port.socket().ok_or(io::ErrorKind::WouldBlock)?;
                (place, *hop, socket)
            }
        };
        let to = match place {
            ListenAddress::Any => None,
            ListenAddress::One(address) => {
                Some(*address).filter(|address| !address.is_unspecified())
            }
        };
        let (from, said) = match hop.protocol {
            Protocol::Tcp => {
                let (visitor, from) = socket::accept(socket)?;
                // Leaves no TIME-WAIT behind on our side.
                socket::reset_on_close(visitor.as_fd());
                (from, None)
            }
            Protocol::Udp => {
                let (received, from) = socket::receive_from(socket, buffer)?;
                (from, buffer[..received].try_into().ok())
            }
        };
        let sensed = Sensed {
            from: canonical(from.ip()),
            from_port: from.port(),
            to,
            hop,
            said,
        };
        Ok(Some((sensed, None)))
    }
}

fn open(registry: &Registry, (place, hop): HopAt, number: u32) -> io::Result<OwnedFd> {
    let socket = match hop.protocol {
        Protocol::Tcp => socket::listen(place, hop.port, BACKLOG, None)?,
        Protocol::Udp => socket::listen_for_datagrams(place, hop.port)?,
    };
    register(registry, socket.as_fd(), number)?;
    Ok(socket)
}

fn register(registry: &Registry, socket: BorrowedFd<'_>, number: u32) -> io::Result<()> {
    let wake = Wake::Sensor(number).into();
    registry.register(&mut SourceFd(&socket.as_raw_fd()), wake, Interest::READABLE)
}

/// Whether packet sockets can't be had here at all.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPERM | libc::EACCES | libc::EAFNOSUPPORT)
    )
}

const PER_MILLISECOND: u32 = SENSED_PER_SECOND / 1_000;

/// A token bucket: how many packets may still be taken.
struct Bucket {
    packets: u32,
    /// None before the first time.
    filled: Option<Instant>,
}

impl Bucket {
    fn full() -> Self {
        Self {
            packets: SENSED_PER_SECOND,
            filled: None,
        }
    }

    fn fill(&mut self, now: Instant) {
        let passed = self.filled.map_or(0, |filled| now.since(filled));
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let more = passed.saturating_mul(PER_MILLISECOND);
        self.packets = self.packets.saturating_add(more).min(SENSED_PER_SECOND);
        self.filled = Some(now);
    }

    fn take(&mut self) {
        self.packets = self.packets.saturating_sub(1);
    }

    fn empty(&mut self) {
        self.packets = 0;
    }

    fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// When a packet may be taken again.
    fn next(&self) -> Instant {
        let filled = self.filled.unwrap_or(Instant(0));
        if self.is_empty() {
            filled.after(SENSE_AGAIN_MS)
        } else {
            filled
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(bucket: &mut Bucket) -> u32 {
        let mut packets = 0;
        while !bucket.is_empty() {
            bucket.take();
            packets += 1;
        }
        packets
    }

    #[test]
    fn a_bucket_fills_with_time_and_never_more_than_full() {
        let mut bucket = Bucket::full();
        let start = Instant(1 << 40);
        bucket.fill(start);
        assert_eq!(packets(&mut bucket), SENSED_PER_SECOND);
        assert_eq!(bucket.next(), start.after(SENSE_AGAIN_MS));
        bucket.fill(start);
        assert_eq!(packets(&mut bucket), 0);
        bucket.fill(start.after(1));
        assert_eq!(bucket.next(), start.after(1));
        assert_eq!(packets(&mut bucket), PER_MILLISECOND);
        bucket.fill(start.after(1_001));
        assert_eq!(packets(&mut bucket), SENSED_PER_SECOND);
        // After a year, and with a clock that stands still.
        for later in [1 << 35, 1 << 35] {
            bucket.fill(start.after(later));
            assert!(packets(&mut bucket) <= SENSED_PER_SECOND);
        }
        bucket.fill(start.after(u64::MAX));
        assert_eq!(packets(&mut bucket), SENSED_PER_SECOND);
    }
}
