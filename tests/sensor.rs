//! Goal: what comes to ports where nobody listens is seen, whatever else comes is not, a flood is
//! bounded, and a door's listener is silent for all who are not admitted.
//!
//! Each test has a network of its own, if it may. Where there is no right to packet sockets, it says so
//! and shows the same of the way that needs none.

use crate::common::gates::{add_address, apart, only_apart};
use crate::common::{PATIENCE, own_address, visitor, wait_for};
use mio::{Events, Poll};
use shimmer::daemon::sensor::{HopAt, Sensed, Sensor, Way};
use shimmer::limits::{SENSE_AGAIN_MS, SENSED_PER_SECOND, TELL_FULL_MS, TURN_PACKETS};
use shimmer::proto::Instant;
use shimmer::proto::event::Event;
use shimmer::proto::scheme::knock::{Hop, Protocol};
use shimmer::proto::scheme::packet::PACKET;
use shimmer::proto::scheme::schedule::Range;
use shimmer::sys::filter;
use shimmer::sys::socket::{self, ListenAddress};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A sensor, and a clock that the test moves.
struct Rig {
    poll: Poll,
    sensor: Sensor,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let sensor = Sensor::open(poll.registry()).unwrap();
        if sensor.way() == Way::Bound {
            eprintln!(
                "packet sockets need CAP_NET_RAW: this shows the way that opens ports instead"
            );
        }
        let now = Instant(1_000_000);
        Self { poll, sensor, now }
    }

    fn bound() -> Self {
        Self {
            poll: Poll::new().unwrap(),
            sensor: Sensor::bound(),
            now: Instant(1_000_000),
        }
    }

    fn watch(&mut self, range: (u16, u16), hops: &[HopAt]) {
        let range = Range::new(range.0, range.1).unwrap();
        let registry = self.poll.registry();
        self.sensor.watch(registry, &[range], hops).unwrap();
    }

    /// All of one turn.
    fn turn(&mut self) -> Vec<Sensed> {
        let mut events = Events::with_capacity(64);
        let at_once = Some(Duration::ZERO);
        self.poll.poll(&mut events, at_once).unwrap();
        for event in &events {
            // The other bits say that it is the sensor's.
            self.sensor
                .mark_ready((event.token().0 & 0x0fff_ffff) as u32);
        }
        std::iter::from_fn(|| self.sensor.next(self.now)).collect()
    }

    /// All that is there, in as many turns as it takes.
    fn all(&mut self) -> Vec<Sensed> {
        let mut all = self.turn();
        while self.sensor.due().is_some_and(|due| due <= self.now) {
            all.extend(self.turn());
        }
        all
    }

    /// Waits until so many have come.
    #[track_caller]
    fn wait(&mut self, count: usize) -> Vec<Sensed> {
        let mut all = Vec::new();
        wait_for("packets", || {
            all.extend(self.all());
            (all.len() >= count).then_some(())
        });
        all
    }
}

fn tcp(port: u16) -> Hop {
    Hop {
        port,
        protocol: Protocol::Tcp,
    }
}

fn udp(port: u16) -> Hop {
    Hop {
        port,
        protocol: Protocol::Udp,
    }
}

/// A hop as a failed test shows it.
fn name(hop: Hop) -> (u16, &'static str) {
    match hop.protocol {
        Protocol::Tcp => (hop.port, "tcp"),
        Protocol::Udp => (hop.port, "udp"),
    }
}

/// Begins to connect, and waits for nothing.
fn begin(from: SocketAddr, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SockAddr::from(from)).unwrap();
    match socket.connect(&SockAddr::from(to)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        // The port is closed, and nobody keeps the answer back.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Err(error) => panic!("{error}"),
    }
    socket
}

fn say(from: IpAddr, to: SocketAddr, bytes: &[u8]) {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.send_to(bytes, to).unwrap();
}

#[test]
fn beginnings_and_datagrams_to_the_range_are_sensed_and_nothing_else() {
    apart(|| {
        let mut rig = Rig::new();
        let host = IpAddr::from(own_address());
        let (from, from_six) = (IpAddr::from(visitor(7)), IpAddr::from(Ipv6Addr::LOCALHOST));
        let is_raw = rig.sensor.way() == Way::Raw;
        let at = |port| SocketAddr::new(host, port);
        let hops = [tcp(10_001), udp(10_002), udp(10_003)];
        let spots = hops.map(|hop| (ListenAddress::One(host), hop));
        rig.watch((10_000, 10_009), &spots);

        // Outside, and an answer that comes to a port inside.
        let elsewhere = TcpListener::bind((host, 0)).unwrap();
        begin(at(10_009), elsewhere.local_addr().unwrap());
        elsewhere.accept().unwrap();
        begin(SocketAddr::new(from, 0), at(9_999));
        begin(SocketAddr::new(from, 0), at(10_010));
        say(from, at(9_999), b"outside");
        // Inside. Of what is refused, TCP sends nothing again.
        begin(SocketAddr::new(from, 4_321), at(10_001));
        let datagram: [u8; PACKET] = std::array::from_fn(|byte| byte as u8);
        say(from, at(10_002), &datagram);
        say(from, at(10_003), b"knock");

        let mut sensed = rig.wait(3);
        sensed.sort_by_key(|sensed| sensed.hop.port);
        let ours = sensed
            .iter()
            .map(|sensed| (sensed.from, sensed.to, name(sensed.hop)));
        let expected = hops.map(|hop| (from, Some(host), name(hop)));
        assert_eq!(ours.collect::<Vec<_>>(), expected);
        assert_eq!(sensed[0].from_port, 4_321);
        let said = sensed.iter().map(|sensed| sensed.said);
        assert_eq!(said.collect::<Vec<_>>(), [None, Some(datagram), None]);

        let six = |port| SocketAddr::new(from_six, port);
        let spots = [tcp(10_001), udp(10_002)].map(|hop| (ListenAddress::One(from_six), hop));
        rig.watch((10_000, 10_009), &spots);
        begin(six(0), six(9_999));
        begin(six(0), six(10_001));
        say(from_six, six(10_002), &datagram);
        let mut sensed = rig.wait(2);
        sensed.sort_by_key(|sensed| sensed.hop.port);
        assert_eq!(name(sensed[0].hop), (10_001, "tcp"));
        assert_eq!(sensed[1].said, Some(datagram));
        assert!(
            sensed
                .iter()
                .all(|sensed| sensed.from == from_six && sensed.to == Some(from_six))
        );
        assert!(rig.all().is_empty());
        assert_eq!(rig.sensor.counts().sensed, 5);

        if is_raw {
            // Nothing of it is open.
            assert!(TcpStream::connect(six(10_001)).is_err());
            assert_eq!(name(rig.wait(1)[0].hop), (10_001, "tcp"));
        }
    });
}

#[test]
fn what_is_passed_on_to_others_is_not_sensed() {
    apart(|| {
        let mut rig = Rig::new();
        let host = IpAddr::from(own_address());
        rig.watch((10_000, 10_009), &[(ListenAddress::One(host), udp(10_001))]);
        if rig.sensor.way() == Way::Raw {
            // A network where the other host seems to be on the same wire.
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            // SAFETY: the kernel reads two bytes.
            let bound = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_BINDTODEVICE,
                    b"lo".as_ptr().cast(),
                    2,
                )
            };
            assert_eq!(bound, 0);
            let other = (Ipv4Addr::new(192, 0, 2, 1), 10_001);
            // More than the bucket holds: what is for us is heard at once all the same.
            for _ in 0..2 * SENSED_PER_SECOND {
                socket.send_to(b"for somebody else", other).unwrap();
            }
        }
        say(host, SocketAddr::new(host, 10_001), b"for us");
        let sensed = rig.wait(1);
        assert_eq!(
            sensed.iter().map(|sensed| sensed.to).collect::<Vec<_>>(),
            [Some(host)]
        );
    });
}

#[test]
fn an_address_that_this_host_gets_later_is_heard_at() {
    if !only_apart(&|| {
        let mut rig = Rig::new();
        if rig.sensor.way() == Way::Bound {
            return;
        }
        let later = Ipv4Addr::new(192, 0, 2, 1);
        rig.watch((10_000, 10_009), &[]);
        add_address(later);
        wait_for("a datagram to the new address", || {
            say(later.into(), (later, 10_001).into(), b"for us");
            rig.now = rig.now.after(100);
            let all = rig.all();
            (!all.is_empty() && all.iter().all(|it| it.to == Some(later.into()))).then_some(())
        });
    }) {
        eprintln!("without a network of its own it has no address to get");
    }
}

#[test]
fn a_flood_is_no_more_than_the_bucket_lets_through() {
    apart(|| {
        let mut rig = Rig::new();
        let host = IpAddr::from(own_address());
        let to = SocketAddr::new(host, 10_001);
        rig.watch((10_000, 10_009), &[(ListenAddress::One(host), udp(10_001))]);
        let flood = UdpSocket::bind((host, 0)).unwrap();
        let mut sensed = 0;
        for _ in 0..100 {
            for _ in 0..100 {
                flood.send_to(b"knock", to).unwrap();
            }
            sensed += rig.all().len();
        }
        // All of that came at one moment.
        assert_eq!(sensed, SENSED_PER_SECOND as usize);
        let later = rig.now.after(SENSE_AGAIN_MS);
        assert!(rig.sensor.due() == Some(later));
        rig.now = later;
        let share = SENSED_PER_SECOND as usize * SENSE_AGAIN_MS as usize / 1_000;
        assert_eq!(rig.all().len(), share);
        rig.now = rig.now.after(1_000);
        let rest = rig.all().len();
        assert!(rig.sensor.due().is_none());

        let counts = rig.sensor.counts();
        assert_eq!(counts.sensed, (sensed + share + rest) as u64);
        if rig.sensor.way() == Way::Raw {
            assert_eq!(counts.sensed + counts.lost, 10_000);
            assert_eq!(rig.sensor.counts().lost, counts.lost);
            assert!(rig.sensor.next_look().is_some_and(|look| look <= rig.now));
            assert_eq!(rig.sensor.newly_lost(rig.now), Some(counts.lost));
            assert_eq!(rig.sensor.next_look(), None);
            assert_eq!(rig.sensor.newly_lost(rig.now.after(TELL_FULL_MS)), None);
        }
    });
}

#[test]
fn a_turn_ends_and_the_rest_is_not_forgotten() {
    apart(|| {
        let mut rig = Rig::new();
        let hosts = [IpAddr::from(own_address()), Ipv6Addr::LOCALHOST.into()];
        let spots = hosts.map(|host| (ListenAddress::One(host), udp(10_001)));
        rig.watch((10_000, 10_009), &spots);
        for host in hosts {
            let socket = UdpSocket::bind((host, 0)).unwrap();
            for _ in 0..200 {
                socket.send_to(b"knock", (host, 10_001)).unwrap();
            }
        }
        let first = rig.turn();
        assert_eq!(first.len(), TURN_PACKETS as usize);
        // Each family has half of it.
        let fours = first.iter().filter(|sensed| sensed.from.is_ipv4()).count();
        assert_eq!(fours, TURN_PACKETS as usize / 2);
        assert!(rig.sensor.due().is_some_and(|due| due <= rig.now));
        assert_eq!(rig.all().len(), 400 - TURN_PACKETS as usize);
        assert!(rig.sensor.due().is_none());
    });
}

#[test]
fn without_packet_sockets_the_hops_are_ports() {
    apart(|| {
        let mut rig = Rig::bound();
        let host = IpAddr::from(own_address());
        let from = IpAddr::from(visitor(8));
        let place = ListenAddress::One(host);
        let at = |port| SocketAddr::new(host, port);
        let taken = TcpListener::bind(at(10_003)).unwrap();
        let spots = [tcp(10_001), udp(10_002), tcp(10_003)].map(|hop| (place, hop));
        rig.watch((10_000, 10_009), &spots);

        begin(SocketAddr::new(from, 4_321), at(10_001));
        let sensed = rig.wait(1);
        assert_eq!(sensed[0].from_port, 4_321);
        assert_eq!((sensed[0].from, sensed[0].to), (from, Some(host)));
        assert_eq!(name(sensed[0].hop), (10_001, "tcp"));

        // A port that another has is tried again, and told of once.
        assert!(rig.sensor.has_closed());
        let retry = |rig: &mut Rig| {
            let mut told = Vec::new();
            let registry = rig.poll.registry();
            rig.sensor.retry(registry, |event| {
                told.push(match event {
                    Event::KnockPortClosed(hop, error) => (name(hop), Some(error.kind())),
                    Event::KnockPortOpen(hop) => (name(hop), None),
                    event => panic!("{event}"),
                });
            });
            told
        };
        let refused = ((10_003, "tcp"), Some(ErrorKind::AddrInUse));
        assert_eq!(retry(&mut rig), [refused]);
        assert_eq!(retry(&mut rig), []);
        drop(taken);
        assert_eq!(retry(&mut rig), [((10_003, "tcp"), None)]);
        assert!(!rig.sensor.has_closed());
        begin(SocketAddr::new(from, 0), at(10_003));
        assert_eq!(name(rig.wait(1)[0].hop), (10_003, "tcp"));

        // What stays open loses nothing, what goes is closed.
        say(from, at(10_002), &[7; PACKET]);
        let spots = [udp(10_002), udp(10_004)].map(|hop| (place, hop));
        rig.watch((10_000, 10_009), &spots);
        say(from, at(10_004), &[7; PACKET + 1]);
        let mut sensed = rig.wait(2);
        sensed.sort_by_key(|sensed| sensed.hop.port);
        assert_eq!(name(sensed[0].hop), (10_002, "udp"));
        assert_eq!(sensed[0].said, Some([7; PACKET]));
        assert_eq!(name(sensed[1].hop), (10_004, "udp"));
        assert_eq!(sensed[1].said, None);
        let refused = TcpStream::connect(at(10_001)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

/// A listener of both families, and its port. Where a filter at a TCP socket needs a right that is
/// missing, there is none: then nothing may be open at all.
fn door(admitted: &[IpAddr]) -> Option<(TcpListener, u16)> {
    match socket::listen(ListenAddress::Any, 0, 16, Some(admitted)) {
        Ok(socket) => {
            let listener = TcpListener::from(socket);
            let port = listener.local_addr().unwrap().port();
            Some((listener, port))
        }
        Err(error) => {
            eprintln!("a filter at a TCP socket needs CAP_NET_ADMIN here: {error}");
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            let host = IpAddr::from(own_address());
            let opened = socket::listen(ListenAddress::One(host), 10_001, 16, Some(admitted));
            assert!(opened.is_err());
            let refused = TcpStream::connect((host, 10_001)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            None
        }
    }
}

/// Begins a connection to a port from an address of the same host.
fn visit(from: IpAddr, port: u16) -> Socket {
    let host = match from {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    begin(SocketAddr::new(from, 0), SocketAddr::new(host, port))
}

/// Waits until the kernel has sent a SYN again, because nothing has answered the first.
#[track_caller]
fn wait_for_silence(socket: &Socket) {
    const SYN_SENT: u8 = 2;
    wait_for("a second SYN", || {
        let mut information = [0u8; 8];
        let mut length = information.len() as libc::socklen_t;
        // SAFETY: the kernel writes no more bytes than it is told.
        let asked = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                information.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        assert_eq!(asked, 0);
        let [state, _, sent_again, ..] = information;
        assert_eq!(state, SYN_SENT, "somebody has answered");
        (sent_again > 0).then_some(())
    });
}

#[track_caller]
fn wait_for_connection(socket: &Socket) {
    wait_for("a connection", || socket.peer_addr().ok());
}

/// What std can do with it.
fn stream(socket: Socket) -> TcpStream {
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

#[test]
fn a_door_answers_those_who_are_admitted_alone() {
    apart(|| {
        let [member, stranger] = [9, 10].map(|number| IpAddr::from(visitor(number)));
        let six = IpAddr::from(Ipv6Addr::LOCALHOST);
        let Some((listener, port)) = door(&[member]) else {
            return;
        };
        let strangers = [visit(stranger, port), visit(six, port)];
        let first = visit(member, port);
        wait_for_connection(&first);
        strangers.iter().for_each(wait_for_silence);

        // Their next SYN finds that they are admitted.
        filter::admit_only(&listener, &[member, six]).unwrap();
        wait_for_connection(&strangers[1]);
        wait_for_silence(&strangers[0]);

        filter::admit_only(&listener, &[]).unwrap();
        wait_for_silence(&visit(member, port));
        let count = || listener.accept().map(|(_, peer)| peer.ip().to_canonical());
        listener.set_nonblocking(true).unwrap();
        assert_eq!(count().unwrap(), member);
        assert_eq!(count().unwrap(), six);
        assert_eq!(count().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_session_outlives_its_admission() {
    apart(|| {
        let member = IpAddr::from(visitor(11));
        let Some((listener, port)) = door(&[member]) else {
            return;
        };
        let mut clients = [(); 2].map(|()| {
            let socket = visit(member, port);
            wait_for_connection(&socket);
            stream(socket)
        });
        let mut sessions = [(); 2].map(|()| listener.accept().unwrap().0);
        filter::admit_only(&listener, &[]).unwrap();
        // One has the filter of that time still, the other none.
        filter::detach(&sessions[1]).unwrap();
        assert!(filter::detach(&sessions[1]).is_err());
        for (client, session) in clients.iter_mut().zip(&mut sessions) {
            let mut byte = [0];
            client.write_all(b"?").unwrap();
            session.read_exact(&mut byte).unwrap();
            session.write_all(b"!").unwrap();
            client.read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"!");
        }
        wait_for_silence(&visit(member, port));
        drop(listener);
        for (client, session) in clients.iter_mut().zip(sessions) {
            drop(session);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    });
}

/// A TCP segment without data, with its checksum.
fn segment(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), flags: u8) -> [u8; 20] {
    let mut segment = [0; 20];
    segment[..2].copy_from_slice(&from.1.to_be_bytes());
    segment[2..4].copy_from_slice(&to.1.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = flags;
    let length = segment.len() as u8;
    let around = [
        from.0.octets(),
        to.0.octets(),
        [0, libc::IPPROTO_TCP as u8, 0, length],
    ];
    let words = around.as_flattened().chunks(2).chain(segment.chunks(2));
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

#[test]
fn a_door_gives_a_stranger_no_reset() {
    apart(|| {
        let raw = Socket::new(
            Domain::IPV4,
            Type::from(libc::SOCK_RAW),
            Some(socket2::Protocol::TCP),
        );
        let mut raw = match raw {
            Ok(raw) => raw,
            Err(error) => {
                // Then a whole connection is the only probe.
                eprintln!("segments of one's own need CAP_NET_RAW: {error}");
                if let Some((_listener, port)) = door(&[]) {
                    wait_for_silence(&visit(visitor(12).into(), port));
                }
                return;
            }
        };
        let stranger = visitor(12);
        raw.bind(&SocketAddr::from((stranger, 0)).into()).unwrap();
        raw.set_read_timeout(Some(PATIENCE)).unwrap();
        let Some((listener, port)) = door(&[IpAddr::from(visitor(13))]) else {
            return;
        };
        let to = (Ipv4Addr::LOCALHOST, port);
        let address = SockAddr::from(SocketAddr::from(to));
        let probe = |raw: &Socket, number: u16, flags| {
            let bytes = segment((stranger, 20_000 + number), to, flags);
            raw.send_to(&bytes, &address).unwrap();
        };
        // SYN, SYN and ACK, ACK, FIN, nothing, FIN and PSH and URG.
        let probes = [0x02, 0x12, 0x10, 0x01, 0x00, 0x29];
        for (number, flags) in probes.into_iter().enumerate() {
            probe(&raw, number as u16, flags);
        }
        // Without the filter there is an answer, and it is the first.
        filter::detach(&listener).unwrap();
        probe(&raw, 99, 0x10);
        let answer = wait_for("an answer", || {
            let mut bytes = [0; 128];
            let length = raw.read(&mut bytes).unwrap();
            let answer = bytes[20..length].to_vec();
            let is_ours = answer[..2] == port.to_be_bytes();
            is_ours.then_some(answer)
        });
        assert_eq!(answer[2..4], 20_099u16.to_be_bytes());
        assert_eq!(answer[13] & 0x04, 0x04, "a reset");
    });
}
