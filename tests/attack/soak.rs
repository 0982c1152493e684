//! The forwarder, while everything turns: ports every two seconds, the configuration twice a second,
//! sessions that end in every way. Every byte that comes back is compared.

use crate::ceilings::echo;
use crate::network::{self, fresh_source, wait_for};
use crate::process::Plan;
use crate::success::Dice;
use crate::table::Report;
use shimmer::limits::{LIVE_WINDOWS, PIPES};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LASTS: Duration = Duration::from_secs(20);
const WORKERS: usize = 8;
const PERIOD_S: u32 = shimmer::limits::MIN_PERIOD_S;
const RELOAD_PAUSE: Duration = Duration::from_millis(500);

/// Bytes of a session, at most.
const MOST_BYTES: usize = 2 << 20;

/// KiB that may be more at the end: the pipes and the tables that have been used once.
const MOST_KIB: u64 = 512;

#[derive(Default)]
struct Tally {
    sessions: AtomicU64,
    bytes: AtomicU64,
    is_over: AtomicBool,
}

/// The bytes of a session, the same each time for one seed.
struct Stream(Dice);

impl Stream {
    fn fill(&mut self, block: &mut [u8]) {
        for word in block.chunks_mut(8) {
            let bytes = self.0.next().to_ne_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
    }
}

/// Sends so many bytes of a stream in blocks of some size, and reads them back.
fn exchange(stream: &TcpStream, seed: u64, bytes: usize, block: usize) -> io::Result<()> {
    // Blocks are whole words, so that where they end makes no difference to the stream.
    let block = block.next_multiple_of(8);
    let blocks = |total: usize| {
        (0..total)
            .step_by(block)
            .map(move |at| block.min(total - at))
    };
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let (mut text, mut to) = (Stream(Dice::of(seed)), stream);
            let mut buffer = vec![0; block];
            blocks(bytes).try_for_each(|length| {
                text.fill(&mut buffer[..length]);
                to.write_all(&buffer[..length])
            })
        });
        let (mut text, mut from) = (Stream(Dice::of(seed)), stream);
        let (mut wanted, mut got) = (vec![0; block], vec![0; block]);
        let read = blocks(bytes).try_for_each(|length| {
            text.fill(&mut wanted[..length]);
            from.read_exact(&mut got[..length])?;
            if wanted[..length] == got[..length] {
                Ok(())
            } else {
                Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "other bytes came back",
                ))
            }
        });
        // A writer whose reader has given up must not wait for ever.
        if read.is_err() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let written = writer.join().expect("it does not panic");
        read.and(written)
    })
}

/// One session, and one of the ways to end it.
fn session(plan: &Plan, dice: &mut Dice, tally: &Tally) -> io::Result<()> {
    let mut stream = network::connect(fresh_source(), plan.at(plan.real()))?;
    let most = 2 << dice.below(MOST_BYTES.ilog2() as usize);
    let bytes = 1 + dice.below(most);
    let block = 1 + dice.below(65_536);
    exchange(&stream, dice.next(), bytes, block)?;
    tally.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    match dice.below(3) {
        0 => {}
        1 => {
            // The last word of one side, and then all that the other still has to say.
            let text = [0x5a; 4_096];
            stream.write_all(&text)?;
            stream.shutdown(Shutdown::Write)?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest)?;
            if rest != text {
                let what = format!("{} bytes behind a half-close", rest.len());
                return Err(io::Error::new(ErrorKind::InvalidData, what));
            }
        }
        _ => {
            // A reset with bytes on their way.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            let _ = stream.write(&[0x5a; 65_536]);
        }
    }
    tally.sessions.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// One session through all turns.
fn long_session(plan: &Plan, tally: &Tally) -> io::Result<()> {
    let stream = network::connect(fresh_source(), plan.at(plan.real()))?;
    let mut dice = Dice::new();
    while !tally.is_over.load(Ordering::Relaxed) {
        exchange(&stream, dice.next(), 100_000, 5_000)?;
        tally.bytes.fetch_add(100_000, Ordering::Relaxed);
    }
    Ok(())
}

pub fn soak(report: &mut Report) {
    report.part(&format!(
        "soak: {} s of sessions, ports turn every {PERIOD_S} s",
        LASTS.as_secs()
    ));
    report.columns("what", "measured", "wanted");
    let plan = Plan::new("soak", (10_000, 10_999), PERIOD_S);
    let daemon = plan.start(echo(), "", "listen-address = HOST\n", |_| {});
    let plan = &daemon.plan;
    let warm = Tally::default();
    session(plan, &mut Dice::of(1), &warm).expect("the first session");
    // The log leaves sessions out where there are many; descriptors do not. Pipes are kept, and a port
    // may be one of two minutes.
    let before = (daemon.memory_kib(), daemon.descriptors());

    let (tally, mut reloads) = (Tally::default(), 0);
    let failures = thread::scope(|scope| {
        let long = scope.spawn(|| long_session(plan, &tally));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut dice = Dice::new();
                    while !tally.is_over.load(Ordering::Relaxed) {
                        session(plan, &mut dice, &tally)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let end = Instant::now() + LASTS;
        while Instant::now() < end {
            thread::sleep(RELOAD_PAUSE);
            daemon.signal(libc::SIGHUP);
            reloads += 1;
        }
        tally.is_over.store(true, Ordering::Relaxed);
        let ended = workers.into_iter().chain([long]);
        let ended = ended.map(|worker| worker.join().expect("it does not panic"));
        ended.filter_map(io::Result::err).collect::<Vec<_>>()
    });
    let most = before.1 + 2 * PIPES + LIVE_WINDOWS;
    wait_for("sessions to end", || {
        (daemon.descriptors() <= most).then_some(())
    });

    let bytes = tally.bytes.load(Ordering::Relaxed);
    let sessions = tally.sessions.load(Ordering::Relaxed);
    let what = failures
        .first()
        .map_or_else(String::new, |error| error.to_string());
    report.row(
        &format!(
            "{sessions} sessions, {} MB, each byte compared",
            bytes >> 20
        ),
        &format!("{} failed {what}", failures.len()),
        "0 failed",
        failures.is_empty() && sessions > 100,
    );
    let log = daemon.log();
    let turns = log.matches(" rotate mirage=").count();
    let wanted = LASTS.as_secs() as usize / PERIOD_S as usize;
    report.row(
        "turns",
        &turns.to_string(),
        &format!("{wanted}"),
        turns + 1 >= wanted,
    );
    // Two signals that the daemon has not seen yet are one.
    let reloaded = log.matches(" reload ").count();
    report.row(
        "reloads",
        &reloaded.to_string(),
        &format!("{reloads}, or nearly"),
        reloaded <= reloads && reloaded * 10 >= reloads * 9,
    );
    let bans = log.matches(" ban source=").count();
    report.row("members who were banned", &bans.to_string(), "0", bans == 0);
    let grown = daemon.memory_kib().saturating_sub(before.0);
    let limit = format!("{MOST_KIB} KiB");
    report.row(
        "memory more than before",
        &format!("{grown} KiB"),
        &limit,
        grown <= MOST_KIB,
    );
}
