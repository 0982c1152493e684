//! Signals as events of the poll loop (signalfd(2)), and a line in the log for a crash.

use super::check;
use super::signal_set::SignalSet;
use core::sync::atomic::{AtomicI32, Ordering};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A signal that the daemon handles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGHUP: read the configuration again, and reopen the log.
    Reload,
    /// SIGTERM or SIGINT: exit.
    Terminate,
    /// SIGCHLD: a child has ended; or an orphan, if the daemon is the first process of its PID namespace, as in
    /// a router's jail.
    ChildEnded,
}

/// The daemon's signals, read from a descriptor.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals in this thread and opens a signalfd(2) for them, which neither rustix nor mio has.
    /// Threads inherit the mask, so call it before the first one starts.
    ///
    /// # Errors
    /// What sigprocmask(2) and signalfd(2) say.
    pub fn open() -> io::Result<Self> {
        let set = SignalSet::of(&[libc::SIGHUP, libc::SIGTERM, libc::SIGINT, libc::SIGCHLD]);
        set.block()?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the call reads the set, which is initialised.
        let descriptor = check(unsafe { libc::signalfd(-1, set.as_raw(), flags) })?;
        // SAFETY: the call has just opened this descriptor, so nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// The next signal that has come, if there is one.
    pub fn next(&self) -> Option<Signal> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        let read = rustix::io::read(&self.0, &mut info).ok()?;
        // The first field is the signal's number (signalfd(2), ssi_signo).
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

/// The descriptor to which a crash is written.
static CRASH_LOG: AtomicI32 = AtomicI32::new(libc::STDERR_FILENO);

/// Installs a handler that writes the signal and the address of a crash to the log, before it ends the process.
/// With the symbols of the build, the address tells the line of the source.
pub fn report_crashes() {
    for signal in [
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGABRT,
    ] {
        // SAFETY: all zeros are a valid sigaction: no handler, no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = report_crash as *const () as usize;
        // Once: the handler raises the signal again, and then it ends the process.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
        // SAFETY: the handler has the signature that SA_SIGINFO asks for, and calls only what
        // signal-safety(7) lists.
        unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) };
    }
}

/// Sets the descriptor of the log, for [`report_crashes`] and [`write_crash_line`].
pub fn set_crash_log(log: BorrowedFd<'_>) {
    CRASH_LOG.store(log.as_raw_fd(), Ordering::Relaxed);
}

/// Writes a line to the descriptor of the log without the log itself, which a panic may have left locked.
pub fn write_crash_line(line: &[u8]) {
    let log = CRASH_LOG.load(Ordering::Relaxed);
    // SAFETY: the call reads `line`, as far as it goes. If the descriptor has been closed, the call fails.
    unsafe { libc::write(log, line.as_ptr().cast(), line.len()) };
}

/// The offset of the program counter in a signal's context (the kernel's uapi/asm/ucontext.h and sigcontext.h;
/// libc does not have the struct for every target). For other processors siginfo_t has to do, in which a signal
/// that the program sends itself, as abort does, has no address.
const PROGRAM_COUNTER: Option<usize> = if cfg!(target_arch = "mips") {
    // It has 64 bits, and a program of 32 bits uses the lower half.
    Some(if cfg!(target_endian = "big") { 36 } else { 32 })
} else if cfg!(target_arch = "arm") {
    Some(92)
} else if cfg!(target_arch = "x86_64") {
    Some(168)
} else if cfg!(target_arch = "aarch64") {
    Some(440)
} else {
    None
};

fn crash_address(info: *const libc::siginfo_t, context: *const libc::c_void) -> usize {
    match PROGRAM_COUNTER {
        // SAFETY: with SA_SIGINFO the kernel passes a context, which has the counter at this offset.
        Some(offset) => unsafe { context.byte_add(offset).cast::<usize>().read_unaligned() },
        // SAFETY: with SA_SIGINFO the kernel passes a siginfo_t.
        None => unsafe { (*info).si_addr() as usize },
    }
}

extern "C" fn report_crash(
    signal: i32,
    info: *const libc::siginfo_t,
    context: *const libc::c_void,
) {
    let mut line = *b"error crash signal=00 address=0x0000000000000000\n";
    line[19] = b'0' + (signal / 10 % 10) as u8;
    line[20] = b'0' + (signal % 10) as u8;
    let mut address = crash_address(info, context);
    for digit in line[32..48].iter_mut().rev() {
        *digit = b"0123456789abcdef"[address & 15];
        address >>= 4;
    }
    write_crash_line(&line);
    // SAFETY: it takes no pointer. The handler has been reset, so the signal ends the process.
    unsafe { libc::raise(signal) };
}
