//! The visitors: real connections, each from its own address.

use super::event::{Event, Found};
use super::scene::{GREETING, Scene};
use crate::proto::scheme::schedule::Range;
use core::net::{Ipv4Addr, SocketAddr};
use socket2::{Domain, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

/// A handshake on this machine takes microseconds; one that takes so long has gone wrong.
const CONNECT: Duration = Duration::from_secs(3);

/// An answer that must come, whatever else the machine does.
const SURELY: Duration = Duration::from_secs(3);

/// How long the scanner listens at an open port for a greeting.
const LISTEN: Duration = Duration::from_millis(250);

/// The member comes so long after the show has begun, and the scanner: first there is a map to look
/// at. Where the daemon took longer to start, both come at once.
const MEMBER_AT: Duration = Duration::from_millis(1_000);
const SCANNER_AT: Duration = Duration::from_millis(2_200);

/// From then on nobody pauses for the audience any more: the machine is slow, or the scan was lucky.
const HURRY_AT: Duration = Duration::from_millis(8_500);

/// Between two echoes.
const ECHO: Duration = Duration::from_millis(200);

/// Between two ports while one can watch, and when the rest is a matter of form.
const STROLL: Duration = Duration::from_millis(400);
const RUN: Duration = Duration::from_millis(20);

/// So many ports are tried at a stroll, then time presses.
const STROLL_PORTS: usize = 8;

/// How long the scanner wonders why nobody speaks, for us to see what has happened to it.
const WONDER: Duration = Duration::from_millis(1_000);

/// Connects from an address, which std can't do.
fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), CONNECT)?;
    Ok(socket.into())
}

/// Tries a port from an address, and waits so long for a greeting.
fn try_port(from: Ipv4Addr, to: SocketAddr, patience: Duration) -> io::Result<Found> {
    let mut stream = match connect(from, to) {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => return Ok(Found::Closed),
            io::ErrorKind::ConnectionReset => return Ok(Found::Shut),
            _ => return Err(error),
        },
    };
    stream.set_read_timeout(Some(patience))?;
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

/// A pause for the audience.
fn pause(scene: &Scene, time: Duration) {
    if scene.stays || scene.began.elapsed() < HURRY_AT {
        thread::sleep(time);
    }
}

/// Tells, or ends the visit: once the show is over nobody listens.
fn tell(teller: &Sender<Event>, event: Event) -> io::Result<()> {
    teller
        .send(event)
        .map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn report(who: &str, visit: io::Result<()>, teller: &Sender<Event>) {
    if let Err(error) = visit {
        let _ = teller.send(Event::Broken(format!("the {who}: {error}")));
    }
}

/// One who has the secret: computes the port, gets in, stays in.
pub fn member(scene: &Scene, teller: &Sender<Event>) {
    thread::sleep(MEMBER_AT.saturating_sub(scene.began.elapsed()));
    report("member", hold_session(scene, teller), teller);
}

fn hold_session(scene: &Scene, teller: &Sender<Event>) -> io::Result<()> {
    let port = scene.insight.way_in();
    let door = SocketAddr::from((scene.address, port));
    let mut stream = connect(scene.member, door)?;
    stream.set_read_timeout(Some(SURELY))?;
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    let mut expect = |expected: &str| match answers.next() {
        Some(Ok(answer)) if answer == expected => Ok(()),
        Some(Ok(_)) => Err(io::Error::other(
            "the service's answer came through changed",
        )),
        Some(Err(error)) => Err(error),
        None => Err(io::Error::other("it was cut off")),
    };
    expect(GREETING)?;
    tell(teller, Event::Entered { port })?;
    for number in 1u32.. {
        thread::sleep(ECHO);
        let line = format!("still here, number {number}");
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        expect(&line)?;
        tell(teller, Event::Echoed)?;
    }
    Ok(())
}

/// One who has no secret: tries all ports in an order of its own, and again once its ban is over.
pub fn scanner(scene: &Scene, is_banned: &AtomicBool, teller: &Sender<Event>) {
    thread::sleep(SCANNER_AT.saturating_sub(scene.began.elapsed()));
    report("scanner", scan_for_ever(scene, is_banned, teller), teller);
}

fn scan_for_ever(scene: &Scene, is_banned: &AtomicBool, teller: &Sender<Event>) -> io::Result<()> {
    loop {
        scan(scene, is_banned, teller)?;
        while is_banned.load(Ordering::Relaxed) {
            thread::sleep(WONDER);
        }
        tell(teller, Event::ScansAgain)?;
    }
}

fn scan(scene: &Scene, is_banned: &AtomicBool, teller: &Sender<Event>) -> io::Result<()> {
    let mut has_seen_the_way_in = false;
    for (number, port) in shuffled(scene.range).into_iter().enumerate() {
        let target = SocketAddr::from((scene.address, port));
        let found = try_port(scene.scanner, target, LISTEN)?;
        tell(teller, Event::Tried { port, found })?;
        if has_seen_the_way_in {
            thread::sleep(RUN);
            continue;
        }
        if matches!(found, Found::Mute) {
            wait_for(is_banned, WONDER);
        } else if number < STROLL_PORTS {
            pause(scene, STROLL);
        }
        if is_banned.load(Ordering::Relaxed) {
            has_seen_the_way_in = true;
            pause(scene, WONDER);
            compare(scene, teller)?;
            pause(scene, WONDER);
        }
    }
    Ok(())
}

fn wait_for(flag: &AtomicBool, most: Duration) {
    let until = Instant::now() + most;
    while !flag.load(Ordering::Relaxed) && Instant::now() < until {
        thread::sleep(RUN);
    }
}

/// Suppose somebody told the scanner the real port: it and the member, at that port, in one moment.
fn compare(scene: &Scene, teller: &Sender<Event>) -> io::Result<()> {
    let port = scene.insight.way_in();
    let target = SocketAddr::from((scene.address, port));
    let scanner = try_port(scene.scanner, target, SURELY)?;
    let member = try_port(scene.member, target, SURELY)?;
    tell(
        teller,
        Event::Compared {
            port,
            scanner,
            member,
        },
    )
}

/// One who tries the port by which the member came in, now that its time is over.
pub fn newcomer(scene: &Scene, port: u16, teller: &Sender<Event>) {
    let target = SocketAddr::from((scene.address, port));
    let visit = try_port(scene.newcomer, target, LISTEN)
        .and_then(|found| tell(teller, Event::CameLate { found }));
    report("newcomer", visit, teller);
}

/// The ports in random order.
fn shuffled(range: Range) -> Vec<u16> {
    let mut ports: Vec<u16> = (range.low()..=range.high()).collect();
    let mut dice = vec![0; ports.len()];
    // Without randomness they come in their own order, which a scanner may choose as well.
    let _ = getrandom::fill(&mut dice);
    for (place, die) in (1..ports.len()).rev().zip(dice) {
        ports.swap(place, place - usize::from(die) % (place + 1));
    }
    ports
}
