//! Child processes.
//!
//! One function starts all of the daemon's. The daemon blocks signals and takes them from a descriptor,
//! ignores others, and may have been started with any environment; a child begins with none of that: a
//! blocked mask is handed on through exec, and a child that has it lives through SIGTERM. It has a
//! process group of its own, so that what it starts can be killed together with it.

use super::signal_set::SignalSet;
use core::ffi::{CStr, c_char};
use core::{fmt, ptr};
use rustix::process::{Signal, WaitOptions, kill_process_group, wait};
use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// All that a child has as its environment.
const PATH: &CStr = c"PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a program is looked for that is named without a folder, as in PATH.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The number of a child, until it has been reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pid(rustix::process::Pid);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// Of a signal.
    Signal(u8),
}

impl Exit {
    /// Whether it says that all went well.
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

/// What a child has as its stdin, stdout and stderr. What it is given is made to block for all who have
/// it, as programs expect.
#[derive(Debug)]
pub enum Stdio<'a> {
    /// Pipes: the one that it reads from, and the one that it writes to, errors as well. Without the
    /// first there is nothing to read.
    Pipes {
        /// Its stdin.
        input: Option<BorrowedFd<'a>>,
        /// Its stdout and stderr.
        output: BorrowedFd<'a>,
    },
    /// A connection is its stdin and its stdout; its errors go nowhere.
    Socket(BorrowedFd<'a>),
}

/// Starts a program with its words, the first of which names it: by a path, or by a name that is in one
/// of the usual folders. No shell, no environment but PATH, no signal blocked or ignored, a process group of its
/// own, and no descriptor of ours but these three.
///
/// # Errors
/// What fork(2) and execve(2) say: no memory, no more processes, no such program.
/// `InvalidInput` for no words, and for one with a NUL.
pub fn spawn(words: &[String], stdio: Stdio<'_>) -> io::Result<Pid> {
    let program = Program::new(words)?;
    let mut command = Command::new(&words[0]);
    command.process_group(0);
    match stdio {
        Stdio::Pipes { input, output } => {
            match input {
                Some(input) => command.stdin(shared(input)?),
                None => command.stdin(std::process::Stdio::null()),
            };
            command.stdout(shared(output)?).stderr(shared(output)?);
        }
        Stdio::Socket(socket) => {
            command.stdin(shared(socket)?).stdout(shared(socket)?);
            command.stderr(std::process::Stdio::null());
        }
    }
    let begin = move || {
        reset_signals()?;
        Err(program.exec())
    };
    // SAFETY: between fork and exec it calls what signal-safety(7) lists, and allocates nothing: all memory
    // of the program was made before.
    unsafe { command.pre_exec(begin) };
    let child = command.spawn()?;
    let pid = child.id().try_into().ok();
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    pid.map(Pid)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A descriptor of the child's. It blocks for all who share it, as programs expect.
fn shared(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(file, false)?;
    file.try_clone_to_owned()
}

/// In the child: no signal is blocked, and each has its default.
///
/// By the kernel's call: libc's does not change the signals that the C library keeps for itself, which whoever
/// started us may ignore. (rustix and nix have no other.)
fn reset_signals() -> io::Result<()> {
    // All zeros is the default, whatever the kernel's struct looks like.
    let default = [0u64; 8];
    let (call, old) = (libc::SYS_rt_sigaction, ptr::null::<u64>());
    for signal in 1..=LAST_SIGNAL {
        // It fails for the two that can't be set, and need not be.
        // SAFETY: the kernel reads a struct that is no longer than this, and null stands for no interest in
        // the old one. The default is no handler, so no code of ours will run.
        unsafe { libc::syscall(call, signal, default.as_ptr(), old, SIGNAL_SET) };
    }
    SignalSet::empty().set_mask().map(drop)
}

/// The last signal that every kernel has (signal(7)).
const LAST_SIGNAL: i32 = 64;

/// Bytes of the kernel's set of signals.
const SIGNAL_SET: usize = if cfg!(target_arch = "mips") { 16 } else { 8 };

/// What is to be run, with all memory that it takes.
///
/// std would find and run it by execvp(3), which in glibc hands a file that is no program to a shell: with root's
/// rights, on a server and not on a router.
struct Program {
    /// Where it may be, in this order.
    paths: Vec<CString>,
    _words: Vec<CString>,
    /// Where the words are, and behind them 0. Pointers could not be handed to the child.
    arguments: Vec<usize>,
}

impl Program {
    fn new(words: &[String]) -> io::Result<Self> {
        let name = words.first().ok_or(io::ErrorKind::InvalidInput)?;
        let words = words.iter().map(|word| CString::new(word.as_str()));
        let words = words.collect::<Result<Vec<_>, _>>()?;
        let paths = if name.contains('/') {
            vec![words[0].clone()]
        } else {
            let paths = FOLDERS.map(|folder| CString::new(format!("{folder}/{name}")));
            paths.into_iter().collect::<Result<_, _>>()?
        };
        let arguments = words.iter().map(|word| word.as_ptr().expose_provenance());
        Ok(Self {
            paths,
            arguments: arguments.chain([0]).collect(),
            _words: words,
        })
    }

    /// In the child: becomes it. Comes back with what kept it from that, of the last path where there is
    /// something.
    fn exec(&self) -> io::Error {
        let environment = [PATH.as_ptr(), ptr::null()];
        let arguments = self.arguments.as_ptr().cast::<*const c_char>();
        let mut error = io::Error::from_raw_os_error(libc::ENOENT);
        for path in &self.paths {
            // SAFETY: path, arguments and environment end in a NUL each, both lists in a null pointer, and
            // the words live as long as `self`.
            unsafe { libc::execve(path.as_ptr(), arguments, environment.as_ptr()) };
            let this = io::Error::last_os_error();
            if this.raw_os_error() != Some(libc::ENOENT) {
                error = this;
            }
        }
        error
    }
}

/// Kills a child that has not been reaped, and its process group with it: not those that have left it,
/// as daemons do. After it was reaped, the number may be anybody's.
pub fn kill_group(child: Pid) {
    // It fails where all are gone, or are somebody else's.
    let _ = kill_process_group(child.0, Signal::KILL);
}

/// Makes the kernel keep children that have ended until they are reaped: it does not where whoever started us
/// ignores SIGCHLD (sigaction(2)). Their ends would not be told, and their numbers soon be somebody else's.
pub fn keep_ended() {
    // SAFETY: the default is no handler, so no code of ours will run. It fails for unknown signals only.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Takes the next child that has ended, if any (waitpid(2)): ours, or one that was nobody's any more if
/// we are the first process of our namespace. Then its number is free.
pub fn reap() -> Option<(Pid, Exit)> {
    let (pid, status) = wait(WaitOptions::NOHANG).ok()??;
    let exit = match status.exit_status() {
        Some(code) => Exit::Code(code as u8),
        None => Exit::Signal(status.terminating_signal()? as u8),
    };
    Some((Pid(pid), exit))
}

/// Makes the kernel kill the child once the thread that starts it has ended, however it ends: also
/// when we are killed ourselves and can tidy nothing up (prctl(2), PR_SET_PDEATHSIG).
#[cfg(feature = "demo")]
pub fn dies_with_us(command: &mut Command) -> &mut Command {
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};

    let us = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have died before the kernel was asked; then it is somebody else's child already.
        if getppid() == Some(us) {
            Ok(())
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    };
    // SAFETY: between fork and exec it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(before_exec) }
}
