//! The visitors: real connections, each from an address of its own.

use super::event::{Found, ShowEvent};
use super::scene::{GREETING, Scene};
use super::story::Story;
use crate::proto::scheme::schedule::Range;
use core::net::{Ipv4Addr, SocketAddr};
use socket2::{Domain, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

/// A handshake on this machine takes microseconds. One that takes this long has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// For an answer that has to come, however busy the machine is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the scanner waits for a greeting at an open port.
const GREETING_TIMEOUT: Duration = Duration::from_millis(250);

/// The member comes this long after the show began, and the scanner: first there is a map to look at. If
/// the daemon took longer to start, both come at once.
const MEMBER_AT: Duration = Duration::from_millis(1_000);
const SCANNER_AT: Duration = Duration::from_millis(2_200);

/// From then on nobody pauses for the audience: the machine is slow, or the scanner was lucky.
const HURRY_AT: Duration = Duration::from_millis(8_500);

/// Between two echoes.
const ECHO_PAUSE: Duration = Duration::from_millis(200);

/// Between two ports while there is something to see, and afterwards.
const SLOW_STEP: Duration = Duration::from_millis(400);
const FAST_STEP: Duration = Duration::from_millis(20);

/// Ports that the scanner tries slowly.
const SLOW_PORTS: usize = 8;

/// How long the scanner stops at something new, so that people can see what happened to it.
const LOOK_PAUSE: Duration = Duration::from_millis(1_000);

/// Those who take part besides the daemon, each on a thread.
pub struct Visitors {
    scene: Scene,
    events: Sender<ShowEvent>,
    is_scanner_banned: Arc<AtomicBool>,
    has_started: bool,
    has_newcomer: bool,
}

impl Visitors {
    /// Nobody has come yet.
    pub fn new(scene: Scene, events: Sender<ShowEvent>) -> Self {
        Self {
            scene,
            events,
            is_scanner_banned: Arc::default(),
            has_started: false,
            has_newcomer: false,
        }
    }

    /// Starts those for whom the story is ready, and tells the scanner what became of it.
    pub fn start_expected(&mut self, story: &Story) {
        let is_banned = story.scanner.ban.is_some();
        self.is_scanner_banned.store(is_banned, Ordering::Relaxed);
        if story.is_open() && !self.has_started {
            self.has_started = true;
            let (scene, events) = (self.scene.clone(), self.events.clone());
            thread::spawn(move || run_member(&scene, &events));
            let (scene, events) = (self.scene.clone(), self.events.clone());
            let is_banned = Arc::clone(&self.is_scanner_banned);
            thread::spawn(move || run_scanner(&scene, &is_banned, &events));
        }
        if let Some(port) = story.old_port().filter(|_| !self.has_newcomer) {
            self.has_newcomer = true;
            let (scene, events) = (self.scene.clone(), self.events.clone());
            thread::spawn(move || run_newcomer(&scene, port, &events));
        }
    }
}

/// Connects from this address of ours, which std can't do.
fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), CONNECT_TIMEOUT)?;
    Ok(socket.into())
}

/// Tries a port from this address of ours. If it opens, waits for a greeting.
fn try_port(from: Ipv4Addr, to: SocketAddr, timeout: Duration) -> io::Result<Found> {
    let mut stream = match connect(from, to) {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => return Ok(Found::Closed),
            io::ErrorKind::ConnectionReset => return Ok(Found::Shut),
            _ => return Err(error),
        },
    };
    stream.set_read_timeout(Some(timeout))?;
    match stream.read(&mut [0; GREETING.len()]) {
        Ok(0) => Ok(Found::Shut),
        Ok(_) => Ok(Found::Greeting),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(Found::Mute),
            io::ErrorKind::ConnectionReset => Ok(Found::Shut),
            _ => Err(error),
        },
    }
}

/// Pauses for the audience.
fn pause(scene: &Scene, time: Duration) {
    if scene.stays || scene.began.elapsed() < HURRY_AT {
        thread::sleep(time);
    }
}

/// Sends an event. An error ends the visit: the show is over, and nobody receives it.
fn send(events: &Sender<ShowEvent>, event: ShowEvent) -> io::Result<()> {
    events
        .send(event)
        .map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn report(who: &str, visit: io::Result<()>, events: &Sender<ShowEvent>) {
    if let Err(error) = visit {
        let _ = events.send(ShowEvent::Failed(format!("the {who}: {error}")));
    }
}

/// Has the secret: computes the port, gets in, stays in.
fn run_member(scene: &Scene, events: &Sender<ShowEvent>) {
    thread::sleep(MEMBER_AT.saturating_sub(scene.began.elapsed()));
    report("member", hold_session(scene, events), events);
}

fn hold_session(scene: &Scene, events: &Sender<ShowEvent>) -> io::Result<()> {
    let port = scene.schedule.real_port();
    let door = SocketAddr::from((scene.address, port));
    let mut stream = connect(scene.member, door)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    let mut expect = |expected: &str| match answers.next() {
        Some(Ok(answer)) if answer == expected => Ok(()),
        Some(Ok(_)) => Err(io::Error::other(
            "the service's answer was changed on its way",
        )),
        Some(Err(error)) => Err(error),
        None => Err(io::Error::other("the connection was closed")),
    };
    expect(GREETING)?;
    send(events, ShowEvent::Entered { port })?;
    for number in 1u32.. {
        thread::sleep(ECHO_PAUSE);
        let line = format!("still here, number {number}");
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        expect(&line)?;
        send(events, ShowEvent::Echoed)?;
    }
    Ok(())
}

/// Has no secret: tries all ports in random order, and again once its ban is over.
fn run_scanner(scene: &Scene, is_banned: &AtomicBool, events: &Sender<ShowEvent>) {
    thread::sleep(SCANNER_AT.saturating_sub(scene.began.elapsed()));
    report("scanner", scan_forever(scene, is_banned, events), events);
}

fn scan_forever(
    scene: &Scene,
    is_banned: &AtomicBool,
    events: &Sender<ShowEvent>,
) -> io::Result<()> {
    loop {
        scan(scene, is_banned, events)?;
        while is_banned.load(Ordering::Relaxed) {
            thread::sleep(LOOK_PAUSE);
        }
        send(events, ShowEvent::ScansAgain)?;
    }
}

fn scan(scene: &Scene, is_banned: &AtomicBool, events: &Sender<ShowEvent>) -> io::Result<()> {
    let mut has_compared = false;
    for (number, port) in shuffled(scene.range).into_iter().enumerate() {
        let target = SocketAddr::from((scene.address, port));
        let found = try_port(scene.scanner, target, GREETING_TIMEOUT)?;
        send(events, ShowEvent::Tried { port, found })?;
        if has_compared {
            thread::sleep(FAST_STEP);
            continue;
        }
        if matches!(found, Found::Mute) {
            wait_for(is_banned, LOOK_PAUSE);
        } else if number < SLOW_PORTS {
            pause(scene, SLOW_STEP);
        }
        if is_banned.load(Ordering::Relaxed) {
            has_compared = true;
            pause(scene, LOOK_PAUSE);
            compare(scene, events)?;
            pause(scene, LOOK_PAUSE);
        }
    }
    Ok(())
}

fn wait_for(flag: &AtomicBool, timeout: Duration) {
    let until = Instant::now() + timeout;
    while !flag.load(Ordering::Relaxed) && Instant::now() < until {
        thread::sleep(FAST_STEP);
    }
}

/// Supposes that somebody told the scanner the real port: both the scanner and the member try it.
fn compare(scene: &Scene, events: &Sender<ShowEvent>) -> io::Result<()> {
    let port = scene.schedule.real_port();
    let target = SocketAddr::from((scene.address, port));
    let scanner = try_port(scene.scanner, target, ANSWER_TIMEOUT)?;
    let member = try_port(scene.member, target, ANSWER_TIMEOUT)?;
    send(
        events,
        ShowEvent::Compared {
            port,
            scanner,
            member,
        },
    )
}

/// Tries the port by which the member got in, after that port's time.
fn run_newcomer(scene: &Scene, port: u16, events: &Sender<ShowEvent>) {
    let target = SocketAddr::from((scene.address, port));
    let visit = try_port(scene.newcomer, target, GREETING_TIMEOUT)
        .and_then(|found| send(events, ShowEvent::CameLate { found }));
    report("newcomer", visit, events);
}

/// The ports in random order (Fisher and Yates).
fn shuffled(range: Range) -> Vec<u16> {
    let mut ports: Vec<u16> = (range.low()..=range.high()).collect();
    let mut random = vec![0; ports.len()];
    // Without random bytes the order is another one that a scanner might choose.
    let _ = getrandom::fill(&mut random);
    for (index, byte) in (1..ports.len()).rev().zip(random) {
        ports.swap(index, index - usize::from(byte) % (index + 1));
    }
    ports
}
