//! What the integration tests share: a daemon as a process, a hidden service, visitors from many addresses.
//! Tests wait for conditions, with one deadline that no healthy run comes near.

#![allow(dead_code, reason = "each test crate uses its part")]

#[cfg(target_os = "linux")]
pub mod asking;
#[cfg(target_os = "linux")]
pub mod driven;
#[cfg(target_os = "linux")]
pub mod gates;
#[cfg(target_os = "linux")]
pub mod memory;
#[cfg(target_os = "linux")]
pub mod nft;
#[cfg(target_os = "linux")]
pub mod processes;
#[cfg(target_os = "linux")]
pub mod silent;
pub mod wire;

use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::schedule::{Pattern, Range};
use shimmer::proto::scheme::token;
use shimmer::sys::clock;
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub const SECRET: &str = "a secret for the tests 1234";
pub const NAME: &str = "ssh";

/// No condition takes this long on a healthy machine, however busy it is.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The program: this build's, or the one named in the environment, which may be a router's.
pub fn program() -> OsString {
    let named = std::env::var_os("SHIMMER");
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_shimmer").into())
}

/// Asserts that something that began at `begin` or later took the daemon at least `seconds`. The daemon counts
/// whole milliseconds and reads the clock once a turn, which may have begun before.
#[track_caller]
pub fn assert_took(begin: Instant, seconds: u64) {
    let least = Duration::from_millis(seconds * 1_000 - 100);
    assert!(begin.elapsed() >= least, "{:?}", begin.elapsed());
}

/// Waits until `condition` returns a value.
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::yield_now();
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Lets real time pass, for what must not happen meanwhile. For what must happen, wait for a condition.
pub fn let_pass(time: Duration) {
    let begin = Instant::now();
    while let Some(left) = time.checked_sub(begin.elapsed()) {
        thread::park_timeout(left);
    }
}

/// An address of 127/8 that no other test has, so that daemons can use the same ports on different addresses: eleven
/// bits of the process and eleven of its daemon, above 127.64.0.0.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(next < 1 << 11, "a test process has fewer daemons");
    let process = std::process::id() & 0x7FF;
    Ipv4Addr::from(0x7F40_0000 | process << 11 | u32::from(next))
}

/// An address for a visitor.
pub fn visitor(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// Connects from an address of 127/8.
pub fn connect_from(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A folder of the test's own. Dropping it removes it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("shimmer-test-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A hidden service that echoes what it receives, and passes on a half-close.
pub struct Echo {
    pub address: SocketAddr,
    pub accepted: Arc<Mutex<usize>>,
}

impl Echo {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(Mutex::new(0));
        let count = Arc::clone(&accepted);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *count.lock().unwrap() += 1;
                thread::spawn(move || {
                    let mut from = stream.try_clone().unwrap();
                    let mut to = stream;
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        });
        Self { address, accepted }
    }

    pub fn accepted(&self) -> usize {
        *self.accepted.lock().unwrap()
    }
}

/// Sends a text and asserts that it comes back.
#[track_caller]
pub fn assert_echo(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, text.as_bytes());
}

/// Waits until the other side has closed a connection without sending anything.
#[track_caller]
pub fn assert_closed(stream: &mut TcpStream) {
    match stream.read(&mut [0; 64]) {
        Ok(0) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        other => panic!("it was not closed: {other:?}"),
    }
}

/// Asserts that for a while the other side neither sends nor closes.
#[track_caller]
pub fn assert_held(stream: &mut TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    let read = stream.read(&mut [0; 64]);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let is_held = matches!(&read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    assert!(is_held, "it was not held: {read:?}");
}

/// A client that knows the secret.
pub struct Member {
    pub key: Key,
    pub pattern: Pattern,
    pub host: Ipv4Addr,
}

impl Member {
    /// A member of the mirage that [`config`] serves.
    pub fn new(host: Ipv4Addr, range: (u16, u16)) -> Self {
        Self::with_pattern(host, range, 15, STILL_S)
    }

    pub fn with_pattern(host: Ipv4Addr, range: (u16, u16), decoys: u8, period: u32) -> Self {
        let range = Range::new(range.0, range.1).unwrap();
        Self {
            key: Key::stretch(SECRET.as_bytes(), NAME),
            pattern: Pattern::new(range, decoys, period).unwrap(),
            host,
        }
    }

    pub fn minute(&self) -> u64 {
        self.pattern.minute(clock::unix())
    }

    pub fn real(&self, minute: u64) -> u16 {
        self.pattern.real(&self.key, minute)
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        (self.host, port).into()
    }

    pub fn connect(&self, source: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
        connect_from(source, self.at(port))
    }

    /// Connects to the current real port.
    #[track_caller]
    pub fn enter(&self, source: Ipv4Addr) -> TcpStream {
        self.connect(source, self.real(self.minute())).unwrap()
    }

    /// A new token for a port in a minute.
    pub fn token(&self, minute: u64, port: u16) -> [u8; token::TOKEN] {
        let mut nonce = [0; token::NONCE];
        getrandom::fill(&mut nonce).unwrap();
        token::make(&self.key, minute, port, &nonce)
    }

    /// Connects to the current real port and sends a token.
    #[track_caller]
    pub fn enter_with_token(&self, source: Ipv4Addr) -> TcpStream {
        let minute = self.minute();
        let mut stream = self.connect(source, self.real(minute)).unwrap();
        let token = self.token(minute, self.real(minute));
        stream.write_all(&token).unwrap();
        stream
    }

    /// Decoys of this minute that are not real in any minute which the log knows.
    pub fn traps(&self) -> Vec<u16> {
        let minute = self.minute();
        let real: Vec<u16> = (minute - 16..=minute + 16)
            .map(|minute| self.real(minute))
            .collect();
        let ports = self.pattern.ports(&self.key, minute);
        ports
            .into_iter()
            .filter(|port| !real.contains(port))
            .collect()
    }

    /// The ports that should be open.
    pub fn open_ports(&self) -> BTreeSet<u16> {
        let minute = self.minute();
        let minutes = minute - 1..=minute + 1;
        minutes
            .flat_map(|minute| self.pattern.ports(&self.key, minute))
            .collect()
    }
}

/// The ports that an address listens on, as the kernel reports them (proc(5), tcp).
pub fn listening(host: Ipv4Addr) -> BTreeSet<u16> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let host = format!("{:08X}:", u32::from_ne_bytes(host.octets()));
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let port = words.next()?.strip_prefix(&host)?;
            let state = words.nth(1)?;
            (state == "0A").then(|| u16::from_str_radix(port, 16).unwrap())
        })
        .collect()
}

type Lines = Arc<(Mutex<Vec<String>>, Condvar)>;

/// The daemon as a process, with its log on stderr.
pub struct Daemon {
    pub child: Child,
    pub host: Ipv4Addr,
    pub folder: Folder,
    lines: Lines,
}

/// A window of one day, whose end no test sees. If ports turned in the middle of a test about something else,
/// there would be one more port, or one trap less.
pub const STILL_S: u32 = 86_400;

/// The line for it in a configuration.
pub const STILL: &str = "period = 1d\n";

/// Waits until the end of the current window is far away.
pub fn stay_clear_of_its_end() {
    let patience_s = 2 * PATIENCE.as_secs();
    let left_s = || u64::from(STILL_S) - clock::unix() % u64::from(STILL_S);
    while left_s() < patience_s {
        thread::park_timeout(Duration::from_secs(left_s()));
    }
}

/// A configuration with one mirage, whose ports do not change during a test.
pub fn config(host: Ipv4Addr, service: SocketAddr, more: &str) -> String {
    stay_clear_of_its_end();
    format!(
        "[common]\nstate-file = none\ncontrol = none\n{more}\n[mirage-{NAME}]\nsecret = {SECRET}\n\
         forward = {service}\nrange = 10000-10999\nlisten-address = {host}\n{STILL}"
    )
}

impl Daemon {
    /// Starts a daemon, and waits until its log says that it listens.
    #[track_caller]
    pub fn start(host: Ipv4Addr, config: &str) -> Self {
        let daemon = Self::spawn(host, config, |_| {});
        daemon.wait_for_line(" listen mirage=");
        daemon
    }

    /// Starts a daemon, after `prepare` has changed the command. Does not wait.
    pub fn spawn(host: Ipv4Addr, config: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        Self::spawn_in(Folder::new(), host, config, prepare)
    }

    pub fn spawn_in(
        folder: Folder,
        host: Ipv4Addr,
        config: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let config = memory::with_memory(&folder.0, config);
        let mut command = Self::command(&folder, &config);
        prepare(&mut command);
        Self::run(folder, host, command)
    }

    /// Starts a daemon that knows of used tokens what the folder says. Does not wait.
    pub fn spawn_as_it_is(folder: Folder, host: Ipv4Addr, config: &str) -> Self {
        let command = Self::command(&folder, config);
        Self::run(folder, host, command)
    }

    fn command(folder: &Folder, config: &str) -> Command {
        let path = folder.file("shimmer.conf");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(program());
        command.args(["daemon", "--config"]).arg(&path);
        command
    }

    /// Runs a command that becomes a daemon.
    pub fn run(folder: Folder, host: Ipv4Addr, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Lines::default();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let to = Arc::clone(&lines);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                to.0.lock().unwrap().push(line);
                to.1.notify_all();
            }
        });
        Self {
            child,
            host,
            folder,
            lines,
        }
    }

    /// Its folder, for the next daemon. It has ended.
    pub fn take_folder(mut self) -> Folder {
        std::mem::replace(&mut self.folder, Folder::new())
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.file("shimmer.conf")
    }

    pub fn log(&self) -> Vec<String> {
        self.lines.0.lock().unwrap().clone()
    }

    pub fn count(&self, part: &str) -> usize {
        self.log().iter().filter(|line| line.contains(part)).count()
    }

    /// The first line of the log that contains this text, as soon as there is one.
    #[track_caller]
    pub fn wait_for_line(&self, part: &str) -> String {
        self.wait_for_lines(part, 1).pop().unwrap()
    }

    #[track_caller]
    pub fn wait_for_lines(&self, part: &str, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.0.lock().unwrap();
        loop {
            let found: Vec<String> = lines
                .iter()
                .filter(|line| line.contains(part))
                .cloned()
                .collect();
            if found.len() >= count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(lines);
                panic!("no {part:?} in the log");
            }
            lines = self.lines.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: no pointers are passed.
        let sent = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(sent, 0);
    }

    /// Writes a new configuration and signals the daemon.
    pub fn reload(&self, config: &str) {
        let config = memory::with_memory(&self.folder.0, config);
        std::fs::write(self.config_path(), config).unwrap();
        self.signal(libc::SIGHUP);
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the daemon's end", || child.try_wait().unwrap())
    }

    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// The process's private memory in KiB (proc(5), RssAnon).
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("RssAnon:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The processor time that it has used, in ticks (proc(5), stat).
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let behind_name = stat.rsplit_once(") ").unwrap().1;
        let words: Vec<&str> = behind_name.split(' ').collect();
        words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log().join("\n"));
        } else {
            let refused = "warn sandbox: system call";
            assert_eq!(self.count(refused), 0, "{}", self.log().join("\n"));
        }
    }
}

pub fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// The fields of /proc/PID/stat after the name: state, parent, group.
pub fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

/// The children of this process, including zombies.
pub fn children() -> Vec<u32> {
    let us = std::process::id().to_string();
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| stat(pid).is_some_and(|stat| stat[1] == us))
        .collect()
}
