//! The log: one line per event, `verb key=value …`, to a file, to stderr or to syslog.
//!
//! It never fails and never waits: lines that can't be written are counted, and the count is written when
//! writing works again. And it never floods: peers can cause [`LOG_LINES`] lines in ten seconds; then one line
//! says how many were left out. A few of those are reserved for visitors who reached the service, so that
//! strangers can't displace them. Who was let in is never left out: beyond that share such lines wait for the end of
//! the ten seconds, and those of one source are one line.

use super::files::Folder;
use crate::config::LogTarget;
use crate::limits::{LOG_ENTRIES, LOG_LINE, LOG_LINES, LOG_LINES_KEPT, LOG_WINDOW_MS};
use crate::proto::event::{Cause, Event};
use crate::proto::{Instant, Now};
use crate::rfc3339::Rfc3339;
use crate::sys::signal;
use crate::sys::stdio::set_nonblocking;
use crate::terms::Level;
use core::fmt::{self, Write as _};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::panic::{self, Location};
use std::path::PathBuf;

/// syslogd's socket.
const SYSLOG: &str = "/dev/log";

/// The path of the log, for error messages.
pub fn log_path(target: &LogTarget) -> PathBuf {
    match target {
        LogTarget::Stderr => "stderr".into(),
        LogTarget::Syslog => "syslog".into(),
        LogTarget::File(path) => path.clone(),
    }
}

/// A line that is being written. What does not fit is cut.
struct LogLine(heapless::String<LOG_LINE>);

impl LogLine {
    fn new() -> Self {
        Self(heapless::String::new())
    }
}

impl fmt::Write for LogLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte stays free for the newline. A control character could start a line of its own, or worse. Our
        // values have none, but error texts come from elsewhere.
        for letter in text.chars() {
            let letter = if letter.is_control() { '?' } else { letter };
            if self.0.len() + letter.len_utf8() >= LOG_LINE {
                break;
            }
            let _ = self.0.push(letter);
        }
        Ok(())
    }
}

/// A datagram socket to syslogd that never blocks and finds a restarted syslogd again.
struct SyslogSocket(UnixDatagram);

impl SyslogSocket {
    fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        if let Err(error) = socket.connect(SYSLOG) {
            // Each line tries again.
            let text = "lines are lost until syslogd runs";
            let line = format!("shimmer: warning: syslog: {SYSLOG}: {error}; {text}\n");
            let _ = io::stderr().write_all(line.as_bytes());
        }
        Ok(Self(socket))
    }
}

impl Write for SyslogSocket {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.send(line) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.0.connect(SYSLOG)?;
                self.0.send(line)
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A syslog line without a time: syslogd adds its own, and the crate would read the system's clock.
struct Untimed {
    pid: u32,
}

/// The facility of daemons (RFC 3164, section 4.1.1), shifted to its place.
const DAEMON: i32 = 3 << 3;

impl syslog::LogFormat<&str> for Untimed {
    fn format<W: Write>(
        &self,
        to: &mut W,
        severity: syslog::Severity,
        message: &str,
    ) -> syslog::Result<()> {
        let mut line = heapless::String::<{ LOG_LINE + 32 }>::new();
        let priority = DAEMON + severity as i32;
        let _ = write!(line, "<{priority}>shimmer[{}]: {message}", self.pid);
        to.write_all(line.as_bytes()).map_err(syslog::Error::Write)
    }
}

enum Sink {
    Stream(File),
    Syslog(syslog::Logger<SyslogSocket, Untimed>),
}

impl Sink {
    fn open(target: &LogTarget) -> io::Result<Self> {
        match target {
            LogTarget::Stderr => stderr().map(Self::Stream),
            LogTarget::File(path) => {
                let how = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
                let folder = Folder::of_log(path)?;
                folder.open(path, how, 0o640).map(Self::Stream)
            }
            LogTarget::Syslog => {
                let pid = std::process::id();
                let logger = syslog::Logger::new(SyslogSocket::open()?, Untimed { pid });
                Ok(Self::Syslog(logger))
            }
        }
    }

    fn write(&mut self, level: Level, timed: &mut LogLine, start: usize) -> bool {
        match self {
            Self::Stream(file) => {
                let _ = timed.0.push('\n');
                file.write_all(timed.0.as_bytes()).is_ok()
            }
            Self::Syslog(logger) => {
                let message = &timed.0[start..];
                let sent = match level {
                    Level::Error => logger.err(message),
                    Level::Warn => logger.warning(message),
                    Level::Info => logger.info(message),
                    Level::Debug => logger.debug(message),
                };
                sent.is_ok()
            }
        }
    }
}

/// Our stderr, which must not block even if its reader stops reading. A pipe or a terminal is opened again for
/// that, because O_NONBLOCK belongs to all who share an open file. A regular file never blocks, and all who
/// share it must write at the same end.
fn stderr() -> io::Result<File> {
    let shared = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    if shared.metadata()?.is_file() {
        return Ok(shared);
    }
    let mut options = OpenOptions::new();
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    options.write(true).custom_flags(flags);
    if let Ok(file) = options.open("/proc/self/fd/2") {
        return Ok(file);
    }
    // A service manager's socket. (This sets one flag and nothing else, stream or not.)
    set_nonblocking(shared.as_fd(), true)?;
    Ok(shared)
}

/// Makes a panic log its place and its message, wherever the log goes: on a router nobody sees stderr. The line
/// of [`signal::report_crashes`] follows.
pub fn report_panics() {
    panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = match payload.downcast_ref::<String>() {
            Some(message) => message,
            None => payload
                .downcast_ref()
                .copied()
                .unwrap_or("without a message"),
        };
        signal::write_crash_line(panic_line(panic.location(), message).as_bytes());
    }));
}

fn panic_line(place: Option<&Location>, message: &str) -> heapless::String<LOG_LINE> {
    let mut line = LogLine::new();
    let _ = match place {
        Some(place) => write!(
            line,
            "error panic at={}:{} {message}",
            place.file(),
            place.line()
        ),
        None => write!(line, "error panic {message}"),
    };
    let _ = line.0.push('\n');
    line.0
}

/// The latest lines that peers have caused, and how many were left out since when.
struct Allowance {
    written: heapless::Deque<Instant, { LOG_LINES as usize }>,
    since: Instant,
    left_out: u32,
    /// Who was let in meanwhile: [`LOG_ENTRIES`] at most.
    entries: Vec<Event>,
}

impl Allowance {
    /// Whether one more line of this cause may be written now.
    fn spend(&mut self, cause: Cause, now: Instant) -> bool {
        let most = match cause {
            Cause::Daemon => return true,
            Cause::Member => LOG_LINES,
            Cause::Stranger => LOG_LINES - LOG_LINES_KEPT,
        };
        // If the line `most` lines back lies a whole window back or does not exist, the bound holds for any ten
        // seconds, not only for those in which a count begins.
        let back = self.written.iter().rev().nth(most as usize - 1);
        if back.is_some_and(|&back| now.since(back) < LOG_WINDOW_MS) {
            return false;
        }
        if self.written.is_full() {
            self.written.pop_front();
        }
        let _ = self.written.push_back(now);
        true
    }

    /// Keeps an event that has no room for the end of the window, or counts it as left out.
    fn postpone(&mut self, event: &Event, now: Instant) {
        if self.is_idle() {
            self.since = now;
        }
        let Some(mut entry) = event.copy_of_entry() else {
            self.left_out = self.left_out.saturating_add(1);
            return;
        };
        if let Some(known) = self.entries.iter_mut().find(|it| it.is_same_entry(&entry)) {
            entry.add_entry(known);
            *known = entry;
        } else if self.entries.len() < LOG_ENTRIES {
            self.entries.push(entry);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// Whether nothing waits for the end of a window.
    fn is_idle(&self) -> bool {
        self.left_out == 0 && self.entries.is_empty()
    }
}

pub struct Log {
    now: Now,
    sink: Sink,
    level: Level,
    allowance: Allowance,
    lost: u32,
}

impl Log {
    /// Opens the log.
    ///
    /// # Errors
    /// The error of opening the file or the socket.
    pub fn open(target: &LogTarget, level: Level, now: Now) -> io::Result<Self> {
        Ok(Self {
            now,
            sink: Sink::open(target)?,
            level,
            allowance: Allowance {
                written: heapless::Deque::new(),
                since: Instant(0),
                left_out: 0,
                entries: Vec::new(),
            },
            lost: 0,
        })
    }

    /// Reopens the log, because its file was moved away or the configuration names another. If that fails,
    /// the old one stays in use.
    ///
    /// # Errors
    /// As for [`Log::open`].
    pub fn reopen(&mut self, target: &LogTarget, level: Level) -> io::Result<()> {
        self.sink = Sink::open(target)?;
        self.level = level;
        Ok(())
    }

    /// Sets the time of all lines from now on.
    pub fn at(&mut self, now: Now) {
        self.now = now;
    }

    /// Whether lines of this level are written.
    #[must_use]
    pub fn shows(&self, level: Level) -> bool {
        level <= self.level
    }

    /// The log's descriptor.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.sink {
            Sink::Stream(file) => file.as_fd(),
            Sink::Syslog(logger) => logger.backend.0.as_fd(),
        }
    }

    /// Writes an event, unless its level is not shown or its cause has had its share.
    pub fn write(&mut self, event: &Event) {
        if !self.shows(event.level()) {
            return;
        }
        let now = self.now.boot;
        if self.allowance.spend(event.cause(), now) {
            self.put(event);
        } else {
            self.allowance.postpone(event, now);
        }
    }

    /// Logs who was let in beyond the share of visitors, and how many lines were left out, once their window is over.
    pub fn log_left_out(&mut self) {
        let deadline = self.next_deadline();
        if deadline.is_some_and(|deadline| deadline <= self.now.boot) {
            self.log_postponed();
        }
    }

    /// The same at once, because the daemon ends.
    pub fn log_postponed(&mut self) {
        for entry in core::mem::take(&mut self.allowance.entries) {
            self.put(&entry);
        }
        let lines = core::mem::take(&mut self.allowance.left_out);
        if lines > 0 {
            self.put(&Event::LeftOut { lines });
        }
    }

    /// When to call [`Log::log_left_out`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let allowance = &self.allowance;
        (!allowance.is_idle()).then(|| allowance.since.after(LOG_WINDOW_MS))
    }

    fn put(&mut self, event: &Event) {
        let lines = core::mem::take(&mut self.lost);
        if lines > 0 && !self.put_line(&Event::Lost { lines }) {
            self.lost = lines.saturating_add(1);
        } else if !self.put_line(event) {
            self.lost = 1;
        }
    }

    fn put_line(&mut self, event: &Event) -> bool {
        let mut line = LogLine::new();
        let unix_ms = self.now.real_ms;
        let _ = write!(line, "{} ", Rfc3339 { unix_ms });
        let start = line.0.len();
        let _ = write!(line, "{event}");
        self.sink.write(event.level(), &mut line, start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn log_to(path: &std::path::Path) -> Log {
        Log::open(&LogTarget::File(path.to_path_buf()), Level::Info, at(0)).unwrap()
    }

    #[test]
    fn a_panic_is_one_line_with_its_place() {
        let place = Location::caller();
        let (file, number) = (place.file(), place.line());
        let line = panic_line(Some(place), "index out of bounds:\nthe len is 3");
        let wanted = format!("error panic at={file}:{number} index out of bounds:?the len is 3\n");
        assert_eq!(line.as_str(), wanted);
        assert_eq!(panic_line(None, "why"), "error panic why\n");
        assert_eq!(panic_line(None, &"x".repeat(LOG_LINE)).len(), LOG_LINE);
    }

    fn at(ms: u64) -> Now {
        Now {
            boot: Instant(ms),
            real_ms: 1_794_000_000_000 + ms as i64,
        }
    }

    /// A line that anybody can cause, from the source with this number.
    fn stranger(number: u32) -> Event {
        Event::WrongKnock {
            mirage: "ssh".into(),
            peer: Ipv4Addr::from(number).into(),
            knocks: 1,
        }
    }

    /// A line of a visitor who reached the service.
    fn member(number: u32) -> Event {
        Event::Accept {
            mirage: "ssh".into(),
            peer: Ipv4Addr::from(number).into(),
            port: Some(10_443),
            client_address: None,
            times: 1,
        }
    }

    /// A line of a visitor who has left the service.
    fn leaves(number: u32) -> Event {
        Event::Close {
            mirage: "ssh".into(),
            peer: Ipv4Addr::from(number).into(),
            port: Some(10_443),
            bytes_in: 0,
            bytes_out: 0,
            seconds: 0,
            end: "closed",
        }
    }

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("shimmer-log-{name}-{}", std::process::id()))
    }

    #[test]
    fn strangers_get_their_share_and_members_the_rest() {
        let path = path("share");
        let mut log = log_to(&path);
        for number in 0..500 {
            log.at(at(1_000));
            log.write(&stranger(number));
        }
        for number in 0..500 {
            log.at(at(2_000));
            log.write(&member(number));
        }
        log.at(at(3_000));
        log.write(&Event::ClockRight);
        log.at(at(9_999));
        log.log_left_out();
        log.at(at(11_000));
        log.log_left_out();
        log.at(at(12_000));
        log.log_left_out();
        log.at(at(12_000));
        log.write(&stranger(0xc000_0207));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let count = |verb: &str| text.lines().filter(|line| line.contains(verb)).count();
        assert_eq!(count(" wrong "), 81);
        assert_eq!(count(" accept "), 20 + LOG_ENTRIES);
        assert_eq!(count(" clock right"), 1);
        let left_out = 420 + 480 - LOG_ENTRIES;
        assert_eq!(count(&format!(" warn left-out={left_out} seconds=10")), 1);
        assert!(text.ends_with("Z wrong mirage=ssh source=192.0.2.7 knocks=1\n"));
    }

    #[test]
    fn whoever_was_let_in_is_told_once_for_all_their_connections() {
        let path = path("entries");
        let mut log = log_to(&path);
        log.at(at(0));
        for number in 0..100 {
            log.write(&member(0xc633_6400 + number));
        }
        for _ in 0..1_000 {
            log.write(&member(0xc000_0207));
        }
        log.write(&member(0xc000_0208));
        log.at(at(9_999));
        log.log_left_out();
        let told = || std::fs::read_to_string(&path).unwrap();
        assert!(!told().contains("192.0.2."));
        log.at(at(10_000));
        log.log_left_out();
        let lines = told();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<&str> = lines.lines().skip(100).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with(" accept mirage=ssh source=192.0.2.7 port=10443 times=1000"));
        assert!(lines[1].ends_with(" accept mirage=ssh source=192.0.2.8 port=10443"));
        assert_eq!(log.next_deadline(), None);
    }

    #[test]
    fn any_ten_seconds_have_a_hundred_lines_at_most() {
        let path = path("any");
        let mut log = log_to(&path);
        let mut now = 0;
        for number in 0..5_000u64 {
            now += if number % 97 == 0 { 9_900 } else { number % 5 };
            log.at(at(now));
            log.log_left_out();
            log.write(&[stranger, leaves][number as usize % 2](now as u32));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let times: Vec<u64> = text
            .lines()
            .filter_map(|line| {
                line.split_once("source=")?
                    .1
                    .split(' ')
                    .next()?
                    .parse()
                    .ok()
            })
            .map(|address: Ipv4Addr| u64::from(u32::from(address)))
            .collect();
        for (first, last) in times.iter().zip(times.iter().skip(LOG_LINES as usize)) {
            assert!(last - first >= LOG_WINDOW_MS, "{first} {last}");
        }
        assert!(times.len() > LOG_LINES as usize);
    }

    #[test]
    fn a_long_line_is_cut_and_stays_one_line() {
        let path = path("long");
        let mut log = log_to(&path);
        let long = "x\n".repeat(LOG_LINE);
        log.at(at(0));
        log.write(&Event::ReloadFailed { error: long });
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.len(), LOG_LINE);
        assert_eq!(text.matches('\n').count(), 1);
    }
}
