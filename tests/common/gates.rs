//! What the tests of gates and doors share: a network of the test's own, clients that knock, commands that
//! record what they did, and a service that runs while a file exists.

use super::*;
use serde_json::Value;
use shimmer::proto::scheme::knock::{self, Hop, Hops, Protocol, Protocols};
use shimmer::proto::scheme::packet;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// Long enough for an answer on this machine, but short enough to wait for one that never comes.
const SILENCE: Duration = Duration::from_millis(300);

/// The range of [`section`]'s mirage.
pub const RANGE: (u16, u16) = (10_000, 10_999);

/// A mirage at gate = packet, with additional lines.
pub fn section(host: Ipv4Addr, more: &str) -> String {
    let (low, high) = RANGE;
    format!(
        "[mirage-{NAME}]\nsecret = {SECRET}\nrange = {low}-{high}\nlisten-address = {host}\n\
         {STILL}gate = packet\n{more}"
    )
}

/// Set in the process that runs a test again, in a network of its own.
const INNER: &str = "SHIMMER_TEST_APART";

/// Runs a test in a network without other packets, where port filters and packet sockets are allowed. Only `lo`
/// works there, but all of it. If that is impossible, the test runs where it is.
pub fn apart(test: impl Fn() + Sync) {
    if !only_apart(&test) {
        eprintln!("this test has no network of its own: that needs CAP_SYS_ADMIN or unshare(1)");
        test();
    }
}

/// The same, but returns false if that is impossible. A user without the right to create a network gets one as
/// root of a new namespace, if the kernel allows that; it takes another process.
pub fn only_apart(test: &(impl Fn() + Sync)) -> bool {
    if std::env::var_os(INNER).is_some() {
        raise_loopback();
        test();
        return true;
    }
    let is_done = thread::scope(|scope| {
        let run = scope.spawn(|| {
            // SAFETY: no pointers are passed.
            let is_apart = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
            if is_apart {
                raise_loopback();
                test();
            }
            is_apart
        });
        run.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    is_done || runs_in_a_user_namespace()
}

/// Runs this thread's test again in a user namespace. False if that is impossible.
fn runs_in_a_user_namespace() -> bool {
    let this = thread::current();
    let inner = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", this.name().unwrap_or_default(), "--nocapture"])
        .env(INNER, "yes")
        .output();
    let Ok(output) = inner else { return false };
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.contains("running 1 test") {
        return false;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    true
}

/// Brings up `lo`, which is down in a new network.
pub fn raise_loopback() {
    configure("lo", libc::SIOCSIFFLAGS as _, |request| {
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as _;
    });
}

/// Gives this network an address outside 127/8.
pub fn add_address(address: Ipv4Addr) {
    let address = SockAddr::from(SocketAddrV4::new(address, 0));
    configure("lo:1", libc::SIOCSIFADDR as _, |request| {
        // SAFETY: the source is an address of this kind, and longer than the target.
        request.ifr_ifru.ifru_addr = unsafe { *address.as_ptr().cast() };
    });
}

fn configure(name: &str, what: libc::Ioctl, set: impl FnOnce(&mut libc::ifreq)) {
    let socket = UdpSocket::from(Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap());
    // SAFETY: all zeros is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = byte as _;
    }
    set(&mut request);
    // SAFETY: the request is long enough for the kernel's answer.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw mut request) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// A daemon with a control socket and a state file, which commands require.
pub struct Gatekeeper {
    pub daemon: Daemon,
    pub host: Ipv4Addr,
}

impl Gatekeeper {
    /// Starts a daemon with these mirages, and waits until the last of them is served.
    #[track_caller]
    pub fn start(folder: Folder, host: Ipv4Addr, mirages: &str) -> Self {
        stay_clear_of_its_end();
        let text = Self::config(&folder, mirages);
        Self::start_with(folder, host, &text)
    }

    pub fn config(folder: &Folder, mirages: &str) -> String {
        let (state, control) = (folder.file("state"), folder.file("control"));
        format!(
            "[common]\nstate-file = {}\ncontrol = {}\n{mirages}",
            state.display(),
            control.display()
        )
    }

    #[track_caller]
    pub fn start_with(folder: Folder, host: Ipv4Addr, text: &str) -> Self {
        let daemon = Daemon::spawn_in(folder, host, text, |_| {});
        daemon.wait_for_lines(" listen mirage=", text.matches("[mirage-").count());
        let keeper = Self { daemon, host };
        // Once it answers, it also handles packets.
        keeper.ask("status 127.0.0.1");
        keeper
    }

    /// The daemon's answer. By then it has seen everything that came before the question.
    #[track_caller]
    pub fn ask(&self, what: &str) -> Value {
        let mut stream = UnixStream::connect(self.daemon.folder.file("control")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{what}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The open doors, each as `source mirage`.
    #[track_caller]
    pub fn doors(&self) -> Vec<String> {
        let status = self.ask("status");
        let doors = status["doors"].as_array().unwrap();
        let word = |door: &Value, key: &str| door[key].as_str().unwrap().to_owned();
        doors
            .iter()
            .map(|door| word(door, "source") + " " + &word(door, "mirage"))
            .collect()
    }

    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        self.ask("status")["counters"][name].as_u64().unwrap()
    }

    /// Touches ports in order. No knock overtakes another: each has been seen before the next.
    #[track_caller]
    pub fn knock(&self, source: Ipv4Addr, hops: &[Hop]) {
        for hop in hops {
            touch(source, (self.host, hop.port).into(), hop.protocol);
            self.ask("status 127.0.0.1");
        }
    }

    /// Sends a datagram.
    #[track_caller]
    pub fn send(&self, source: Ipv4Addr, port: u16, bytes: &[u8]) {
        send_from(source, (self.host, port).into(), bytes);
        self.ask("status 127.0.0.1");
    }
}

/// A network between a client and a gate that reorders, duplicates and loses packets.
pub struct Shuffler {
    /// The address to which the client sends.
    pub host: Ipv4Addr,
    ears: Vec<(Hop, Socket)>,
}

impl Shuffler {
    /// A network that receives these knocks.
    pub fn new(hops: &[Hop]) -> Self {
        let host = own_address();
        let ear = |&hop: &Hop| {
            let socket = match hop.protocol {
                Protocol::Tcp => TcpListener::bind((host, hop.port)).unwrap().into(),
                Protocol::Udp => UdpSocket::bind((host, hop.port)).unwrap().into(),
            };
            let socket: Socket = socket;
            socket.set_nonblocking(true).unwrap();
            (hop, socket)
        };
        let ears = hops.iter().map(ear).collect();
        Self { host, ears }
    }

    /// Forwards knocks from a source in the given order. Each number names a sent knock, which is forwarded as
    /// soon as it has been sent.
    #[track_caller]
    pub fn pass_on(&self, keeper: &Gatekeeper, source: Ipv4Addr, order: &[usize]) {
        let mut sent = Vec::new();
        for &number in order {
            while sent.len() <= number {
                sent.push(wait_for("a knock", || self.hear()));
            }
            keeper.knock(source, &[sent[number]]);
        }
    }

    fn hear(&self) -> Option<Hop> {
        let has_come = |(hop, socket): &&(Hop, Socket)| match hop.protocol {
            Protocol::Tcp => socket.accept().is_ok(),
            Protocol::Udp => socket.recv(&mut []).is_ok(),
        };
        self.ears.iter().find(has_come).map(|&(hop, _)| hop)
    }
}

pub fn touch(source: Ipv4Addr, to: SocketAddr, protocol: Protocol) {
    match protocol {
        // Whatever the answer is.
        Protocol::Tcp => drop(try_from(source, to)),
        Protocol::Udp => send_from(source, to, b""),
    }
}

pub fn send_from(source: Ipv4Addr, to: SocketAddr, bytes: &[u8]) {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    // Only the next call can report that nothing listens there.
    socket.send_to(bytes, to).unwrap();
}

/// Connects, unless the answer takes too long.
pub fn try_from(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
    socket.connect_timeout(&to.into(), SILENCE)?;
    Ok(socket.into())
}

/// Asserts that a port is closed to an address.
#[track_caller]
pub fn assert_shut(source: Ipv4Addr, to: SocketAddr) {
    let connected = try_from(source, to);
    assert!(connected.is_err(), "{to} is open to {source}");
}

pub fn tcp(port: u16) -> Hop {
    Hop {
        port,
        protocol: Protocol::Tcp,
    }
}

pub fn udp(port: u16) -> Hop {
    Hop {
        port,
        protocol: Protocol::Udp,
    }
}

/// A member of a mirage with a silent gate.
pub fn silent_member(host: Ipv4Addr, name: &str, range: (u16, u16)) -> Member {
    let range = Range::new(range.0, range.1).unwrap();
    Member {
        key: Key::stretch(SECRET.as_bytes(), name),
        pattern: Pattern::new(range, 0, STILL_S).unwrap(),
        host,
    }
}

/// The widest range from `low` to at most `high` in which no current real port is also a port to knock at. A
/// daemon without CAP_NET_RAW opens those ports, and can use a port for one thing only.
pub fn calm_range(name: &str, (low, high): (u16, u16)) -> (u16, u16) {
    stay_clear_of_its_end();
    let key = Key::stretch(SECRET.as_bytes(), name);
    let is_calm = |high: &u16| {
        let range = Range::new(low, *high).unwrap();
        let pattern = Pattern::new(range, 0, STILL_S).unwrap();
        let now = pattern.minute(clock::unix());
        let minutes = [now - 1, now, now + 1];
        let knocks = minutes.map(|minute| knock::sequence(&key, range, minute, 6, Protocols::Tcp));
        let hops = || knocks.iter().flatten();
        let mut ports: Vec<u16> = hops().map(|hop| hop.port).collect();
        ports.extend(minutes.map(|minute| pattern.real(&key, minute)));
        let all = ports.len();
        ports.sort_unstable();
        ports.dedup();
        ports.len() == all
    };
    let high = (low..=high).rev().find(is_calm);
    (low, high.expect("one of so many"))
}

impl Member {
    /// The sequence of a minute.
    pub fn sequence(&self, minute: u64, knocks: usize, protocols: Protocols) -> Hops {
        knock::sequence(&self.key, self.pattern.range(), minute, knocks, protocols)
    }

    /// A new datagram.
    pub fn datagram(&self, unix: u64, inside: Option<IpAddr>) -> [u8; packet::PACKET] {
        let mut nonce = [0; token::NONCE];
        getrandom::fill(&mut nonce).unwrap();
        packet::make(&self.key, unix, inside, &nonce)
    }

    /// The current real port.
    pub fn port(&self) -> u16 {
        self.real(self.minute())
    }
}

/// Commands that record what they do: `open 127.1.0.1`.
pub struct Diary(pub PathBuf);

impl Diary {
    pub fn new(folder: &Folder) -> Self {
        Self(folder.file("diary"))
    }

    /// A command that runs a `/bin/sh` script with the address and the mirage, and then records a word.
    pub fn command(&self, folder: &Folder, word: &str, script: &str) -> String {
        let file = folder.file(&format!("{word}.sh"));
        let diary = self.0.display();
        write(&file, &format!("{script}\necho {word} $1 >>{diary}\n"));
        format!("/bin/sh {} %IP% %MIRAGE%", file.display())
    }

    pub fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|noted| *noted == line).count()
    }

    #[track_caller]
    pub fn wait_for(&self, line: &str, count: usize) {
        wait_for(line, || (self.count(line) >= count).then_some(()));
    }
}

/// An echo service that runs while a file exists.
pub struct Service {
    pub address: SocketAddr,
    pub file: PathBuf,
}

impl Service {
    pub fn new(folder: &Folder, name: &str) -> Self {
        Self::at(own_address(), folder, name)
    }

    /// A service that also brings up its address, if needed.
    pub fn at(host: Ipv4Addr, folder: &Folder, name: &str) -> Self {
        let address = SocketAddr::from((host, 2_222));
        let file = folder.file(name);
        let flag = file.clone();
        thread::spawn(move || {
            loop {
                thread::park_timeout(Duration::from_millis(5));
                if !flag.exists() {
                    continue;
                }
                if !host.is_loopback() {
                    add_address(host);
                }
                let listener = TcpListener::bind(address).unwrap();
                listener.set_nonblocking(true).unwrap();
                while flag.exists() {
                    let Ok((stream, _)) = listener.accept() else {
                        thread::park_timeout(Duration::from_millis(5));
                        continue;
                    };
                    stream.set_nonblocking(false).unwrap();
                    thread::spawn(move || {
                        let mut from = stream.try_clone().unwrap();
                        let mut to = stream;
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { address, file }
    }

    pub fn runs(&self) -> bool {
        self.file.exists()
    }
}
