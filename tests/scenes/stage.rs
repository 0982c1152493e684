//! A daemon in a thread of the test, with its world in the test's hands.

use crate::common::*;
use crate::process::{self, Children, FEW_DESCRIPTORS, own_descriptors};
use shimmer::config::ServerConfig;
use shimmer::daemon::Daemon;
use shimmer::daemon::host::Host;
use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::schedule::{Pattern, Range};
use shimmer::proto::{Instant, Now};
use shimmer::sys::signal::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::iter;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// When all stories begin, at the first second of a minute.
pub const NOON: u64 = 1_794_000_000;

/// The mirage that most stories have.
pub const RANGE: (u16, u16) = (10_000, 10_999);
pub const DECOYS: u8 = 3;
pub const SSH: &str = "[mirage-ssh]\nsecret = SECRET\nforward = SERVICE\nrange = 10000-10999\n\
                       decoys = 3\nlisten-address = HOST\n";

/// How soon the loop is woken again where it has taken two calls for one.
const CALL_AGAIN: Duration = Duration::from_millis(2);

#[derive(Default)]
pub struct World {
    pub boot_ms: u64,
    pub real_ms: i64,
    pub is_kept: bool,
    signals: VecDeque<Signal>,
    /// Turns that the loop has begun.
    turns: u64,
    /// The loop is to wait where it asks for the time.
    is_held: bool,
    /// It does.
    waits: bool,
    /// How many descriptors are to be left to the daemon, once it asks for the time.
    pub descriptors: Option<usize>,
}

struct Shared {
    world: Mutex<World>,
    has_turned: Condvar,
}

struct TestHost {
    shared: Arc<Shared>,
    waker: UnixStream,
    other: UnixStream,
    /// They take descriptors from the daemon.
    fillers: Vec<File>,
}

impl TestHost {
    /// Opens files until so many descriptors are left.
    fn leave(&mut self, count: usize) {
        self.fillers.clear();
        self.fillers
            .extend(iter::from_fn(|| File::open("/dev/null").ok()));
        let most = self.fillers.len().saturating_sub(count);
        self.fillers.truncate(most);
    }
}

impl Host for TestHost {
    fn now(&mut self) -> Now {
        let mut world = self.shared.world.lock().unwrap();
        world.turns += 1;
        world.waits = true;
        self.shared.has_turned.notify_all();
        while world.is_held {
            world = self.shared.has_turned.wait(world).unwrap();
        }
        world.waits = false;
        let now = Now {
            boot: Instant(world.boot_ms),
            real_ms: world.real_ms,
        };
        let descriptors = world.descriptors.take();
        drop(world);
        if let Some(count) = descriptors {
            self.leave(count);
        }
        now
    }

    fn clock_is_kept(&self) -> bool {
        self.shared.world.lock().unwrap().is_kept
    }

    fn signal_waker(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }

    fn clock_waker(&self) -> Result<BorrowedFd<'_>, &io::Error> {
        Ok(self.other.as_fd())
    }

    fn next_signal(&mut self) -> Option<Signal> {
        let _ = (&self.waker).read(&mut [0; 64]);
        self.shared.world.lock().unwrap().signals.pop_front()
    }
}

/// How a story begins.
pub struct Setup {
    pub unix: u64,
    pub is_kept: bool,
    /// Files that the daemon finds, by their names in its folder.
    pub files: Vec<(&'static str, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            unix: NOON,
            is_kept: true,
            files: Vec::new(),
        }
    }
}

pub struct Stage {
    name: &'static str,
    shared: Arc<Shared>,
    waker: UnixStream,
    pub host: Ipv4Addr,
    pub folder: Folder,
    pub echo: Echo,
    thread: Option<JoinHandle<()>>,
    /// Where the daemon has children.
    turn: Option<MutexGuard<'static, ()>>,
}

impl Stage {
    /// Begins a story at noon, once all mirages are served.
    #[track_caller]
    pub fn start(name: &'static str, text: &str) -> Self {
        let stage = Self::begin(name, text, Setup::default());
        stage.wait_for(" listen mirage=", text.matches("[mirage-").count());
        stage
    }

    /// Begins a story, and waits for nothing. In the configuration's text HOST, FOLDER, SERVICE and SECRET stand for
    /// what they are. There is no state file and no control socket but where it speaks of them.
    #[track_caller]
    pub fn begin(name: &'static str, text: &str, setup: Setup) -> Self {
        Self::begin_before(name, text, setup, |_| {})
    }

    /// The same, with something done before the daemon starts that takes its address.
    #[track_caller]
    pub fn begin_before(
        name: &'static str,
        text: &str,
        setup: Setup,
        prepare: impl FnOnce(Ipv4Addr),
    ) -> Self {
        let has = |word| text.contains(word);
        let turn = (has("-command") || has("exec =") || has("door = nft")).then(process::turn);
        let (host, echo, folder) = (own_address(), Echo::start(), Folder::new());
        prepare(host);
        for (file, content) in &setup.files {
            let content = content.replace("FOLDER", folder.0.to_str().unwrap());
            write_private(&folder.file(file), content);
        }
        let world = World {
            boot_ms: 1_000_000_000,
            real_ms: setup.unix as i64 * 1_000,
            is_kept: setup.is_kept,
            ..World::default()
        };
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            has_turned: Condvar::new(),
        });
        let (waker, woken) = UnixStream::pair().unwrap();
        woken.set_nonblocking(true).unwrap();
        let mut stage = Self {
            name,
            shared: Arc::clone(&shared),
            waker,
            host,
            folder,
            echo,
            thread: None,
            turn,
        };
        stage.writes(text);
        let path = stage.config_path();
        let has_few = std::env::var_os(FEW_DESCRIPTORS).is_some();
        stage.thread = Some(thread::spawn(move || {
            if has_few {
                own_descriptors(&woken);
            }
            let (other, _) = UnixStream::pair().unwrap();
            let host = TestHost {
                shared,
                waker: woken,
                other,
                fillers: Vec::new(),
            };
            let server = ServerConfig::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            let daemon = Daemon::new(&path, server, host).unwrap_or_else(|error| panic!("{error}"));
            daemon.run().unwrap_or_else(|error| panic!("{error}"));
        }));
        stage
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.file("shimmer.conf")
    }

    /// Writes another configuration.
    pub fn writes(&self, text: &str) {
        let mut common = String::from("[common]\nlog = FOLDER/log\n");
        for key in ["state-file", "control"] {
            if !text.contains(key) {
                common += &format!("{key} = none\n");
            }
        }
        let own = text.strip_prefix("[common]\n").unwrap_or(text);
        let text = (common + own)
            .replace("HOST", &self.host.to_string())
            .replace("FOLDER", self.folder.0.to_str().unwrap())
            .replace("SERVICE", &self.echo.address.to_string())
            .replace("SECRET", SECRET);
        write_private(&self.config_path(), text);
    }

    /// Writes another configuration and tells the daemon, and waits until it has said so.
    #[track_caller]
    pub fn reload(&self, text: &str) {
        let count = self.count(" reload");
        self.writes(text);
        self.change(World::reload);
        self.wait_for(" reload", count + 1);
        self.settle();
    }

    /// Changes the world, and waits until the loop has done two whole turns in it.
    #[track_caller]
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        let mut world = self.shared.world.lock().unwrap();
        change(&mut world);
        let turns = world.turns;
        for turn in 1..=3 {
            world = self.wait(world, |world| world.turns >= turns + turn);
        }
    }

    /// Calls the loop until the world is as it should be.
    #[track_caller]
    fn wait<'a>(
        &self,
        mut world: MutexGuard<'a, World>,
        condition: impl Fn(&World) -> bool,
    ) -> MutexGuard<'a, World> {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !condition(&world) {
            assert!(std::time::Instant::now() < deadline, "the loop is stuck");
            // Again and again: a turn that has begun may take two calls for one.
            (&self.waker).write_all(b"x").unwrap();
            let waited = self.shared.has_turned.wait_timeout(world, CALL_AGAIN);
            world = waited.unwrap().0;
        }
        world
    }

    /// Lets the loop do what there is to do.
    #[track_caller]
    pub fn settle(&self) {
        self.change(|_| {});
    }

    /// Time goes by, on both clocks.
    #[track_caller]
    pub fn pass(&self, seconds: u64) {
        self.pass_ms(seconds * 1_000);
    }

    #[track_caller]
    pub fn pass_ms(&self, ms: u64) {
        self.note(&format!("{ms} ms pass"));
        self.change(|world| world.go_on(ms));
    }

    /// Stops the loop before its next turn, does something, and lets it find all of that at once.
    #[track_caller]
    pub fn at_once<T>(&self, act: impl FnOnce() -> T, change: impl FnOnce(&mut World)) -> T {
        let mut world = self.shared.world.lock().unwrap();
        world.is_held = true;
        drop(self.wait(world, |world| world.waits));
        let done = act();
        let mut world = self.shared.world.lock().unwrap();
        change(&mut world);
        world.is_held = false;
        self.shared.has_turned.notify_all();
        drop(world);
        self.settle();
        done
    }

    /// Says in the log what happens next.
    #[track_caller]
    pub fn note(&self, text: &str) {
        self.settle();
        let mut log = OpenOptions::new();
        let mut log = log.append(true).open(self.folder.file("log")).unwrap();
        log.write_all(format!("# {text}\n").as_bytes()).unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.file("log")).unwrap_or_default()
    }

    fn count(&self, part: &str) -> usize {
        let log = self.log();
        let lines = log.lines().filter(|line| !line.starts_with('#'));
        lines.filter(|line| line.contains(part)).count()
    }

    /// Waits until the daemon has said so often what has this part.
    #[track_caller]
    pub fn wait_for(&self, part: &str, count: usize) {
        wait_for(part, || {
            self.settle();
            if self.turn.is_some() {
                self.reap();
            }
            (self.count(part) >= count).then_some(())
        });
    }

    /// Tells the daemon where one of its children has ended.
    fn reap(&self) -> Children {
        let children = process::children();
        if children == Children::HaveEnded {
            self.change(|world| world.signals.push_back(Signal::ChildEnded));
        }
        children
    }

    /// Waits until no command runs any more.
    #[track_caller]
    pub fn commands_end(&self) {
        wait_for("the end of commands", || {
            self.settle();
            (self.reap() == Children::None).then_some(())
        });
    }

    /// A member of a mirage.
    pub fn member(&self, name: &str, range: (u16, u16), decoys: u8) -> Member {
        static KEYS: Mutex<BTreeMap<String, Key>> = Mutex::new(BTreeMap::new());
        let mut keys = KEYS.lock().unwrap();
        let stretch = || Key::stretch(SECRET.as_bytes(), name);
        let key = keys.entry(name.to_owned()).or_insert_with(stretch).clone();
        let range = Range::new(range.0, range.1).unwrap();
        Member {
            key,
            pattern: Pattern::new(range, decoys, 60).unwrap(),
            host: self.host,
        }
    }

    /// A member of [`SSH`].
    pub fn ssh(&self) -> Member {
        self.member(NAME, RANGE, DECOYS)
    }

    /// Somebody comes to a port, and the loop has seen it.
    #[track_caller]
    pub fn comes(&self, number: u16, port: u16) -> TcpStream {
        let stream = self.connects(number, port);
        self.settle();
        stream
    }

    /// Somebody comes to a port.
    #[track_caller]
    pub fn connects(&self, number: u16, port: u16) -> TcpStream {
        connect_from(visitor(number), (self.host, port).into()).unwrap()
    }

    /// Somebody whose connection leads to the service leaves it.
    #[track_caller]
    pub fn leaves(&self, stream: TcpStream) {
        let count = self.count(" close ");
        drop(stream);
        self.wait_for(" close ", count + 1);
    }

    /// The end: what the daemon said is what is written down.
    #[track_caller]
    pub fn end(mut self) {
        self.note("the daemon is told to end");
        let ended = self.terminate();
        ended.unwrap();
        let log = mask(&self.log(), &self);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenes");
        let path = PathBuf::from(folder).join(format!("{}.log", self.name));
        if std::env::var_os("SHIMMER_WRITE_SCENES").is_some() {
            return write(&path, &log);
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == log,
            "{}:\n{}",
            path.display(),
            difference(&kept, &log)
        );
    }

    fn terminate(&mut self) -> thread::Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let mut world = self
            .shared
            .world
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        world.signals.push_back(Signal::Terminate);
        world.is_held = false;
        self.shared.has_turned.notify_all();
        drop(world);
        while !thread.is_finished() {
            // It may have gone already.
            let _ = self.waker.write_all(b"x");
            thread::park_timeout(CALL_AGAIN);
        }
        thread.join()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.terminate();
            eprintln!("the log of {}:\n{}", self.name, self.log());
        }
    }
}

impl World {
    /// Time goes by, on both clocks.
    pub fn go_on(&mut self, ms: u64) {
        self.boot_ms += ms;
        self.real_ms += ms as i64;
    }

    /// Somebody tells the daemon that its configuration is another.
    pub fn reload(&mut self) {
        self.signals.push_back(Signal::Reload);
    }
}

/// All that differs from run to run: the test's folder, the address that the daemon listens on, and the port that
/// the kernel gave to the service.
pub fn mask(log: &str, stage: &Stage) -> String {
    log.replace(stage.folder.0.to_str().unwrap(), "FOLDER")
        .replace(&stage.echo.address.to_string(), "SERVICE")
        .replace(&stage.host.to_string(), "HOST")
}

/// Lines that are missing, with `-`, and lines that are new, with `+`, and three around them.
fn difference(kept: &str, log: &str) -> String {
    const AROUND: usize = 3;
    let (kept, log): (Vec<&str>, Vec<&str>) = (kept.lines().collect(), log.lines().collect());
    let same = |(one, other): &(&&str, &&str)| one == other;
    let before = kept.iter().zip(&log).take_while(same).count();
    let rest = kept[before..].iter().rev().zip(log[before..].iter().rev());
    let behind = rest.take_while(same).count();
    let mut lines: Vec<String> = Vec::new();
    let mut add = |sign: &str, of: &[&str]| {
        lines.extend(of.iter().map(|line| format!("{sign} {line}")));
    };
    add(" ", &kept[before.saturating_sub(AROUND)..before]);
    add("-", &kept[before..kept.len() - behind]);
    add("+", &log[before..log.len() - behind]);
    let end = kept.len().min(kept.len() - behind + AROUND);
    add(" ", &kept[kept.len() - behind..end]);
    lines.join("\n")
}
