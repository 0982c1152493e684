//! A daemon in a thread of the test, with its world in the test's hands.

use crate::common::driven::DrivenDaemon;
pub use crate::common::driven::{NOON, World};
pub use crate::common::gates::RANGE;
use crate::common::*;
use crate::process::{self, FEW_DESCRIPTORS, own_descriptors};
use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::schedule::{Pattern, Range};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::thread;

/// The mirage that most stories have.
pub const DECOYS: u8 = 3;
pub const SSH: &str = "[mirage-ssh]\nsecret = SECRET\nforward = SERVICE\nrange = 10000-10999\n\
                       decoys = 3\nlisten-address = HOST\n";

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
    pub host: Ipv4Addr,
    pub folder: Folder,
    pub echo: Echo,
    /// None before it has started.
    daemon: Option<DrivenDaemon>,
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
        let mut stage = Self {
            name,
            host,
            folder,
            echo,
            daemon: None,
            turn,
        };
        stage.writes(text);
        let mut world = World::at(setup.unix);
        world.is_kept = setup.is_kept;
        let has_few = std::env::var_os(FEW_DESCRIPTORS).is_some();
        stage.daemon = Some(DrivenDaemon::start(
            stage.config_path(),
            world,
            move |kept| {
                if has_few {
                    own_descriptors(kept);
                }
            },
        ));
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
        let text = memory::with_memory(&self.folder.0, &text);
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

    fn daemon(&self) -> &DrivenDaemon {
        self.daemon.as_ref().unwrap()
    }

    /// See [`DrivenDaemon::change`].
    #[track_caller]
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        self.daemon().change(change);
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
        self.change(|world| world.pass_ms(ms));
    }

    /// See [`DrivenDaemon::at_once`].
    #[track_caller]
    pub fn at_once<T>(&self, act: impl FnOnce() -> T, change: impl FnOnce(&mut World)) -> T {
        self.daemon().at_once(act, change)
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
            if self.turn.is_some() && process::has_ended_child() {
                self.change(World::child_ended);
            }
            (self.count(part) >= count).then_some(())
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

    /// Commands that close something may run for as long as they like: no time passes.
    fn end_daemon(&mut self) -> thread::Result<()> {
        let has_turn = self.turn.is_some();
        let Some(daemon) = &mut self.daemon else {
            return Ok(());
        };
        daemon.end(|world| {
            if has_turn && process::has_ended_child() {
                world.child_ended();
            }
        })
    }

    /// The end: what the daemon said is what is written down.
    #[track_caller]
    pub fn end(mut self) {
        self.note("the daemon is told to end");
        self.end_daemon().unwrap();
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
}

impl Drop for Stage {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.end_daemon();
            eprintln!("the log of {}:\n{}", self.name, self.log());
        }
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
