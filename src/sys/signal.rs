//! Signals as events of the poll loop, and a last word in the log when the program dies of one.

use super::check;
use super::signal_set::SignalSet;
use core::sync::atomic::{AtomicI32, Ordering};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A signal that the daemon answers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGHUP: read the configuration again, open the log again.
    Reload,
    /// SIGTERM or SIGINT: end.
    Terminate,
    /// SIGCHLD: a process has ended that is ours, or was nobody's any more and we are the first of
    /// our namespace, as in a router's jail.
    ChildEnded,
}

/// The signals that are taken from a descriptor instead of interrupting.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals in this thread and takes them from a signalfd(2) from now on (rustix has none, and
    /// mio neither). For the whole process, call it before other threads begin.
    ///
    /// # Errors
    /// What sigprocmask(2) and signalfd(2) say.
    pub fn take_over() -> io::Result<Self> {
        let set = SignalSet::of(&[libc::SIGHUP, libc::SIGTERM, libc::SIGINT, libc::SIGCHLD]);
        set.block()?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set is an initialised one, and is only read.
        let descriptor = check(unsafe { libc::signalfd(-1, set.as_raw(), flags) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// The next signal that has come, if any.
    pub fn next(&self) -> Option<Signal> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        let read = rustix::io::read(&self.0, &mut info).ok()?;
        // It begins with the signal's number (signalfd(2), ssi_signo).
        let signal = info[..read].first_chunk()?;
        Some(match i32::from_ne_bytes(*signal) {
            libc::SIGHUP => Signal::Reload,
            libc::SIGCHLD => Signal::ChildEnded,
            _ => Signal::Terminate,
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where the last word goes.
static LAST_WORD: AtomicI32 = AtomicI32::new(libc::STDERR_FILENO);

/// Makes a crash leave its signal and its address in the log. With the symbols of a build, an address
/// tells which line of the source it was.
pub fn report_crashes() {
    for signal in [
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGABRT,
    ] {
        // SAFETY: all zeros is a valid sigaction: no handler, no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = last_word as *const () as usize;
        // Once: the signal comes again after the last word, and then it kills.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
        // SAFETY: the handler has the signature that SA_SIGINFO asks for, and calls only what
        // signal-safety(7) lists.
        unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) };
    }
}

/// Says which descriptor the log has, for [`report_crashes`] and [`write_last_word`].
pub fn crashes_go_to(log: BorrowedFd<'_>) {
    LAST_WORD.store(log.as_raw_fd(), Ordering::Relaxed);
}

/// Writes a line to where the log is, past the log itself: whoever ends the process may hold it.
pub fn write_last_word(line: &[u8]) {
    let log = LAST_WORD.load(Ordering::Relaxed);
    // SAFETY: the line is read, no more than there is. If the descriptor is closed, it is an error.
    unsafe { libc::write(log, line.as_ptr().cast(), line.len()) };
}

/// Where in a signal's context the program counter lies (`ucontext_t` of the kernel's
/// uapi/asm/ucontext.h and sigcontext.h; libc does not know it for every target). siginfo_t has no address
/// for a signal that the program sends itself, as abort does.
#[cfg(target_arch = "mips")]
const COUNTER: usize = 32;
#[cfg(target_arch = "arm")]
const COUNTER: usize = 92;
#[cfg(target_arch = "x86_64")]
const COUNTER: usize = 168;
#[cfg(target_arch = "aarch64")]
const COUNTER: usize = 440;

/// On mips the counter has 64 bits, too.
#[cfg(any(target_arch = "mips", target_arch = "x86_64", target_arch = "aarch64"))]
fn crash_address(_: *const libc::siginfo_t, context: *const libc::c_void) -> u64 {
    // SAFETY: with SA_SIGINFO the kernel passes a context, which has the counter there.
    unsafe { context.byte_add(COUNTER).cast::<u64>().read_unaligned() }
}

#[cfg(target_arch = "arm")]
fn crash_address(_: *const libc::siginfo_t, context: *const libc::c_void) -> u64 {
    // SAFETY: with SA_SIGINFO the kernel passes a context, which has the counter there.
    let counter = unsafe { context.byte_add(COUNTER).cast::<u32>().read_unaligned() };
    counter.into()
}

#[cfg(not(any(
    target_arch = "mips",
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "arm"
)))]
fn crash_address(info: *const libc::siginfo_t, _: *const libc::c_void) -> u64 {
    // SAFETY: with SA_SIGINFO the kernel passes a siginfo_t.
    unsafe { (*info).si_addr() as u64 }
}

extern "C" fn last_word(signal: i32, info: *const libc::siginfo_t, context: *const libc::c_void) {
    let mut line = *b"error crash signal=00 address=0x0000000000000000\n";
    line[19] = b'0' + (signal / 10 % 10) as u8;
    line[20] = b'0' + (signal % 10) as u8;
    let mut address = crash_address(info, context);
    for digit in line[32..48].iter_mut().rev() {
        *digit = b"0123456789abcdef"[(address & 15) as usize];
        address >>= 4;
    }
    write_last_word(&line);
    // SAFETY: no pointers. The handler is gone by now, so this ends the process.
    unsafe { libc::raise(signal) };
}
