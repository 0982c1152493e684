//! Two hosts: ours, with the attackers' four million addresses, and the server's, in a network
//! namespace of its own that `run` has made.
//!
//! ```text
//!   this program's namespace                     the server's
//!   10.0.0.0/10, every address is local ──veth── 10.200.0.0/16, every address is local
//!   attackers, members                           daemons, hidden services
//! ```
//!
//! A thread that has entered the server's namespace makes its sockets there; sockets stay where
//! they were made, so whoever holds them may be anywhere.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing here takes so long on a healthy machine, however busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` has an answer.
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

fn server_namespace() -> io::Result<File> {
    let path = std::env::var_os("SERVER_NAMESPACE").ok_or(ErrorKind::NotFound)?;
    File::open(path)
}

fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: no pointers; the descriptor is open.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Moves this thread to the server's side, with all that it starts.
pub fn enter_server() -> io::Result<()> {
    enter(&server_namespace()?)
}

/// Has a command run at the server's side.
pub fn run_at_server(command: &mut Command) -> io::Result<&mut Command> {
    let namespace = server_namespace()?;
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    Ok(unsafe { command.pre_exec(move || enter(&namespace)) })
}

/// Does something on the server's side.
pub fn at_server<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            enter_server().expect("run has made the server's namespace");
            work()
        });
        there.join().expect("work at the server's side")
    })
}

/// A listener of a hidden service, reachable from the server's side only.
pub fn service() -> TcpListener {
    at_server(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        socket.bind(&any.into()).expect("a port is free");
        socket.listen(4_096).expect("it is bound");
        socket.into()
    })
}

/// An address for a daemon that no other has.
pub fn server_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0x0ac8_0101);
    Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An address that has never been used: so no ban of one try meets another.
pub fn fresh_source() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0x0a00_0001);
    Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Begins a connection. It ends with a reset, so that nothing of it stays behind on our side.
pub fn begin(source: Ipv4Addr, to: SocketAddrV4) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    // Until it connects it needs no port; then one that is free towards this destination will do.
    // SAFETY: the option is an int, and lives through the call.
    unsafe {
        let on: libc::c_int = 1;
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
    socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Connects as any program does.
pub fn connect(source: Ipv4Addr, to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_tcp_nodelay(true)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Waits until all handshakes are over, one way or the other.
pub fn wait_for_handshakes(sockets: &[Socket]) {
    let (finished, refused) = wait_a_little(sockets, PATIENCE);
    assert_eq!(finished + refused, sockets.len(), "all handshakes end");
}

/// The same, but no longer than this. Answers how many were finished, and how many refused.
pub fn wait_a_little(sockets: &[Socket], longest: Duration) -> (usize, usize) {
    let mut polled: Vec<libc::pollfd> = sockets
        .iter()
        .map(|socket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLOUT,
            revents: 0,
        })
        .collect();
    let end = Instant::now() + longest;
    let (mut finished, mut refused) = (0, 0);
    while !polled.is_empty() && Instant::now() < end {
        // SAFETY: the array lives through the call, and this is its length.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 10) };
        polled.retain(|socket| {
            let is_refused = socket.revents & libc::POLLERR != 0;
            refused += usize::from(is_refused);
            finished += usize::from(socket.revents != 0 && !is_refused);
            socket.revents == 0
        });
    }
    (finished, refused)
}

/// What a port says to a SYN.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Answer {
    /// It is closed: a reset.
    Closed,
    /// It is open: all of the SYN-ACK that is not drawn at random. That is the header's window and
    /// flags, the IP header's time to live and fragment bits, and the options without the clock.
    Open(Vec<u8>),
}

/// A scanner that never finishes a handshake: our kernel knows nothing of its SYNs and resets what
/// answers, so no accept(2) ever sees it.
pub struct Scanner {
    pub source: Ipv4Addr,
    ear: Ear,
    sender: Sender,
    next_port: u16,
}

/// SYNs under way at once: their answers fit into the scanner's receive buffer.
const SCAN_AT_ONCE: usize = 100;

impl Scanner {
    pub fn new() -> Self {
        let source = fresh_source();
        Self {
            source,
            ear: Ear::new(Protocol::TCP, source),
            sender: Sender::new(),
            next_port: 1_024,
        }
    }

    /// What each of these ports answers. SYNs that are lost are sent again.
    pub fn scan(
        &mut self,
        host: Ipv4Addr,
        ports: impl IntoIterator<Item = u16>,
    ) -> BTreeMap<u16, Answer> {
        let ports: Vec<u16> = ports.into_iter().collect();
        // Another port for each scan: none of its SYNs meets what is left of the last one's.
        self.next_port = self.next_port.checked_add(1).unwrap_or(1_024);
        let mut answers = BTreeMap::new();
        let deadline = Instant::now() + PATIENCE;
        for some in ports.chunks(SCAN_AT_ONCE) {
            let mut sent_at = None;
            while some.iter().any(|port| !answers.contains_key(port)) {
                let now = Instant::now();
                assert!(now < deadline, "the scan of {host} ends");
                if sent_at.is_none_or(|sent| now > sent + Duration::from_millis(200)) {
                    sent_at = Some(now);
                    for &port in some.iter().filter(|port| !answers.contains_key(*port)) {
                        let from = SocketAddrV4::new(self.source, self.next_port);
                        self.sender
                            .segment(from, SocketAddrV4::new(host, port), SYN);
                    }
                }
                self.listen(host, &mut answers);
            }
        }
        answers
    }

    /// The ports that are open, without a word to any of them.
    pub fn open_ports(&mut self, host: Ipv4Addr, ports: impl IntoIterator<Item = u16>) -> Vec<u16> {
        let answers = self.scan(host, ports).into_iter();
        answers
            .filter(|(_, answer)| *answer != Answer::Closed)
            .map(|(port, _)| port)
            .collect()
    }

    fn listen(&self, host: Ipv4Addr, answers: &mut BTreeMap<u16, Answer>) {
        self.ear.hear(|ip, tcp| {
            if let Some((port, answer)) = self.read(host, ip, tcp) {
                answers.insert(port, answer);
            }
        });
    }

    fn read(&self, host: Ipv4Addr, ip: &[u8], tcp: &[u8]) -> Option<(u16, Answer)> {
        let word = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
        if ip.get(12..16)? != host.octets() || word(2)? != self.next_port {
            return None;
        }
        let flags = *tcp.get(13)?;
        if flags & RST != 0 {
            return Some((word(0)?, Answer::Closed));
        }
        if flags & (SYN | ACK) != SYN | ACK {
            return None;
        }
        // Fragment bits, time to live; flags and window; the options.
        let mut seen = [ip.get(6..9)?, tcp.get(12..16)?].concat();
        let mut options = tcp.get(20..usize::from(tcp.get(12)? >> 4) * 4)?;
        while let [kind, rest @ ..] = options {
            let length = match kind {
                0 | 1 => 1,
                _ => usize::from(*rest.first()?).max(2),
            };
            let (option, behind) = options.split_at_checked(length)?;
            // The clock of the timestamps differs for each pair of addresses.
            seen.extend_from_slice(if *kind == TIMESTAMPS {
                &option[..2]
            } else {
                option
            });
            options = behind;
        }
        Some((word(0)?, Answer::Open(seen)))
    }
}

/// Hears what comes to an address of ours by one protocol, whatever our kernel makes of it.
pub struct Ear(Socket);

impl Ear {
    /// With 0.0.0.0 it hears for all of our addresses.
    pub fn new(protocol: Protocol, at: Ipv4Addr) -> Self {
        let raw = Type::from(libc::SOCK_RAW);
        let socket =
            Socket::new(Domain::IPV4, raw, Some(protocol)).expect("root may have a raw socket");
        socket
            .bind(&SockAddr::from(SocketAddrV4::new(at, 0)))
            .expect("every address is local");
        let _ = socket.set_recv_buffer_size(1 << 20);
        socket.set_nonblocking(true).expect("it is a socket");
        Self(socket)
    }

    /// All that has come: each packet's IP header, and what follows it.
    pub fn hear(&self, mut each: impl FnMut(&[u8], &[u8])) {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 256];
        while let Ok(length) = self.0.recv(&mut buffer) {
            // SAFETY: the kernel has written so many bytes.
            let packet =
                unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length) };
            let header = packet
                .first()
                .map_or(0, |first| usize::from(first & 15) * 4);
            if let Some((ip, said)) = packet.split_at_checked(header) {
                each(ip, said);
            }
        }
    }
}

/// Sends packets in the name of any address, and hears nothing of what comes of them.
pub struct Sender(Socket);

impl Sender {
    pub fn new() -> Self {
        let raw = Type::from(libc::SOCK_RAW);
        // With its own IP header; the kernel adds the length and the sum.
        let with_header = Some(Protocol::from(libc::IPPROTO_RAW));
        Self(Socket::new(Domain::IPV4, raw, with_header).expect("root may have a raw socket"))
    }

    /// A TCP segment with these flags and the options of Linux's SYN.
    pub fn segment(&self, from: SocketAddrV4, to: SocketAddrV4, flags: u8) {
        let mut said = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        said.extend([0x5a, 0x5a, 0x5a, 0x5a, 0, 0, 0, 0]);
        said.extend([10 << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        // Segment size, selective acknowledgements, timestamps, window scale.
        said.extend([2, 4, 5, 0xb4, 4, 2, TIMESTAMPS, 10]);
        said.extend([0, 0, 1, 0, 0, 0, 0, 0, 1, 3, 3, 7]);
        let (source, target) = (from.ip().octets(), to.ip().octets());
        let pseudo = [&source[..], &target[..], &[0, 6, 0, said.len() as u8]].concat();
        let words = pseudo.chunks(2).chain(said.chunks(2));
        let sum: u32 = words
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        said[16..18].copy_from_slice(&(!(folded as u16)).to_be_bytes());
        self.send(from, to, libc::IPPROTO_TCP, &said);
    }

    /// A datagram.
    pub fn datagram(&self, from: SocketAddrV4, to: SocketAddrV4, text: &[u8]) {
        let length = (8 + text.len()) as u16;
        // No sum: IPv4 has no need of it.
        let header = [from.port(), to.port(), length, 0].map(u16::to_be_bytes);
        let said = [header.as_flattened(), text].concat();
        self.send(from, to, libc::IPPROTO_UDP, &said);
    }

    fn send(&self, from: SocketAddrV4, to: SocketAddrV4, protocol: i32, said: &[u8]) {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol as u8, 0, 0];
        packet.extend(from.ip().octets());
        packet.extend(to.ip().octets());
        packet.extend(said);
        let _ = self
            .0
            .send_to(&packet, &SocketAddrV4::new(*to.ip(), 0).into());
    }
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;
const TIMESTAMPS: u8 = 8;
