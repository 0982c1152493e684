//! Child processes.
//!
//! One function starts all of the daemon's. The daemon blocks some signals and ignores others, it may have more
//! descriptors than programs expect, and its environment and its open files may be anything. exec(2) hands all
//! of that on, and a child with SIGTERM blocked can't be stopped politely; so a child starts without it. It has a
//! process group of its own, so that what it starts can be killed with it.

use super::process;
use super::signal_set::SignalSet;
use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::{fmt, ptr};
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::FdFlags;
pub use rustix::process::Pid;
use rustix::process::{Signal, WaitOptions, kill_process_group, wait};
use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The whole environment of a child.
const PATH: &CStr = c"PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// The folders of PATH, in which a program is looked for whose name has no slash.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited, with this code.
    Code(u8),
    /// A signal killed it.
    Signal(u8),
}

impl Exit {
    /// Whether it is code 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// `exit=1` or `signal=9`.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, number) = match self {
            Self::Code(code) => ("exit=", code),
            Self::Signal(signal) => ("signal=", signal),
        };
        f.write_str(what)?;
        number.fmt(f)
    }
}

/// A child's stdin, stdout and stderr. What it gets of ours is switched to blocking mode for all who share it, as
/// programs expect.
#[derive(Debug)]
pub enum Streams<'a> {
    /// A pipe is its stdout and stderr; it reads from /dev/null.
    Output(BorrowedFd<'a>),
    /// A connection is its stdin and stdout; stderr is /dev/null.
    Socket(BorrowedFd<'a>),
}

/// Starts a program. The first of the words is its path, or its name in one of the folders of PATH; the
/// others are its arguments. No shell, no environment but PATH, no signal blocked or ignored, a process group
/// of its own, no descriptor but these three, and the limits with which the daemon was started.
///
/// # Errors
/// What fork(2) and execve(2) say: no memory, no more processes, no such program.
/// `InvalidInput` without words, and for a word with a NUL.
pub fn spawn(words: &[String], streams: Streams<'_>) -> io::Result<Pid> {
    let program = ExecArgs::new(words)?;
    let (input, output, errors) = match streams {
        Streams::Output(output) => (None, output, Some(output)),
        Streams::Socket(socket) => (Some(socket), socket, None),
    };
    let mut command = Command::new(&words[0]);
    command.process_group(0).stdin(shared(input)?);
    command
        .stdout(shared(Some(output))?)
        .stderr(shared(errors)?);
    let begin = move || {
        reset_signals()?;
        keep_three();
        process::restore_limits();
        Err(program.exec())
    };
    // SAFETY: between fork and exec it calls only what signal-safety(7) lists, and allocates nothing: what it
    // reads was allocated before.
    unsafe { command.pre_exec(begin) };
    Ok(Pid::from_child(&command.spawn()?))
}

/// A stream of the child's, in blocking mode for all who share it, as programs expect; or /dev/null.
fn shared(file: Option<BorrowedFd<'_>>) -> io::Result<Stdio> {
    let Some(file) = file else {
        return Ok(Stdio::null());
    };
    rustix::io::ioctl_fionbio(file, false)?;
    file.try_clone_to_owned().map(Stdio::from)
}

/// In the child: unblocks all signals and resets each to its default (sigaction(2)).
///
/// It makes the kernel's call, because the C library's refuses the signals that the library keeps for itself,
/// and they may have been ignored when the daemon was started. rustix and nix have no such call.
fn reset_signals() -> io::Result<()> {
    // All zeros is the default, whatever the kernel's struct looks like.
    let default = [0u64; 8];
    let (call, old) = (libc::SYS_rt_sigaction, ptr::null::<u64>());
    for signal in 1..=LAST_SIGNAL {
        // It fails for SIGKILL and SIGSTOP, which always have their default.
        // SAFETY: `default` is at least as long as the struct that the kernel reads, and with null it writes
        // nothing. No handler is installed.
        unsafe { libc::syscall(call, signal, default.as_ptr(), old, SIGNAL_SET) };
    }
    SignalSet::empty().set_mask().map(drop)
}

/// In the child: marks all descriptors but the first three, so that the kernel closes them when the program is
/// executed. Ours are marked already, but not those that whoever started the daemon has left open. (std needs one
/// of its own until then.)
fn keep_three() {
    let (call, first, last) = (libc::SYS_close_range, 3u32, u32::MAX);
    // SAFETY: no pointers are passed, and with this flag the call closes nothing.
    let marked = unsafe { libc::syscall(call, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    if marked != 0 {
        keep_three_one_by_one();
    }
}

/// The same for kernels before 5.11. It allocates nothing.
fn keep_three_one_by_one() {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Without /proc they stay as they are.
    let Ok(folder) = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty()) else {
        return;
    };
    let mut buffer = [MaybeUninit::uninit(); 1_024];
    let mut entries = RawDir::new(&folder, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name().to_str().unwrap_or_default();
        if let Ok(number @ 3..) = name.parse() {
            // SAFETY: the descriptor is open, because the kernel lists it, and nobody closes it meanwhile: a
            // child that has just been forked has one thread.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            let _ = rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC);
        }
    }
}

/// The last signal that every kernel has (signal(7)).
const LAST_SIGNAL: i32 = 64;

/// The size of the kernel's signal set, in bytes.
const SIGNAL_SET: usize = if cfg!(target_arch = "mips") { 16 } else { 8 };

/// The arguments of execve(2), allocated before the fork.
///
/// std calls execvp(3), and glibc's execvp runs a file that is not a program by a shell; musl's does not.
struct ExecArgs {
    /// The paths to try, in this order.
    paths: Vec<CString>,
    _words: Vec<CString>,
    /// The addresses of the words, then 0. They are numbers because pointers are not `Send`, which
    /// `pre_exec` asks for.
    arguments: Vec<usize>,
}

impl ExecArgs {
    fn new(words: &[String]) -> io::Result<Self> {
        let name = words.first().ok_or(io::ErrorKind::InvalidInput)?;
        let paths = if name.contains('/') {
            vec![name.clone()]
        } else {
            Vec::from(FOLDERS.map(|folder| format!("{folder}/{name}")))
        };
        let (paths, words) = (with_nul(&paths)?, with_nul(words)?);
        let arguments = words.iter().map(|word| word.as_ptr().expose_provenance());
        Ok(Self {
            paths,
            arguments: arguments.chain([0]).collect(),
            _words: words,
        })
    }

    /// In the child: executes it. Returns the error of the last path at which there is a file.
    fn exec(&self) -> io::Error {
        let environment = [PATH.as_ptr(), ptr::null()];
        let arguments = self.arguments.as_ptr().cast::<*const c_char>();
        let mut error = io::Error::from_raw_os_error(libc::ENOENT);
        for path in &self.paths {
            // SAFETY: each string ends in NUL, both lists end in a null pointer, and `self` owns the words that
            // the addresses point to.
            unsafe { libc::execve(path.as_ptr(), arguments, environment.as_ptr()) };
            let latest = io::Error::last_os_error();
            if latest.raw_os_error() != Some(libc::ENOENT) {
                error = latest;
            }
        }
        error
    }
}

fn with_nul(texts: &[String]) -> io::Result<Vec<CString>> {
    let texts = texts.iter().map(|text| CString::new(text.as_str()));
    Ok(texts.collect::<Result<_, _>>()?)
}

/// Kills a child and the others of its process group (kill(2)). Processes that have left the group, as daemons
/// do, live on. The child must not have been reaped: its number could be another process's by now.
pub fn kill_group(child: Pid) {
    // It fails if all have ended, or run with another user's rights.
    let _ = kill_process_group(child, Signal::KILL);
}

/// Makes the kernel keep children that have ended until they are reaped. It does not do so if SIGCHLD was
/// ignored when the daemon was started (sigaction(2)): nobody would learn of their ends, and their numbers
/// would be used again.
pub fn keep_ended() {
    // It fails for unknown signals only.
    // SAFETY: the default is not a handler, so no code of ours runs in a signal's context.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Reaps the next child that has ended, if there is one (waitpid(2)); its number is free then. The first
/// process of a PID namespace also gets those whose parents have ended.
pub fn reap() -> Option<(Pid, Exit)> {
    let (pid, status) = wait(WaitOptions::NOHANG).ok()??;
    let exit = match status.exit_status() {
        Some(code) => Exit::Code(code as u8),
        None => Exit::Signal(status.terminating_signal()? as u8),
    };
    Some((pid, exit))
}

/// Makes the kernel kill the child when the thread that starts it ends, even if that is killed and can't clean
/// up (prctl(2), PR_SET_PDEATHSIG).
#[cfg(feature = "demo")]
pub fn dies_with_us(command: &mut Command) -> &mut Command {
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};

    let us = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // If the parent has died before that call, no signal comes.
        if getppid() == Some(us) {
            Ok(())
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    };
    // SAFETY: between fork and exec it makes two system calls, and allocates nothing.
    unsafe { command.pre_exec(before_exec) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_without_close_range_close_the_same() {
        let file = std::fs::File::open("/dev/null").unwrap();
        // A program of another thread's test would get these, and does no harm with them.
        let open: Vec<_> = (0..200).map(|_| rustix::io::dup(&file).unwrap()).collect();
        let is_marked = |file| {
            let flags = rustix::io::fcntl_getfd(file).unwrap();
            flags.contains(FdFlags::CLOEXEC)
        };
        assert!(!open.iter().any(is_marked));
        keep_three_one_by_one();
        assert!(open.iter().all(is_marked));
    }
}
