//! Child processes.
//!
//! One function starts all of the daemon's. The daemon blocks signals and takes them from a descriptor,
//! ignores others, and may have been started with any environment; a child begins with none of that: a
//! blocked mask is handed on through exec, and a child that has it lives through SIGTERM. It has a
//! process group of its own, so that what it starts can be killed together with it.

use super::program::Program;
use super::{check, control, file};
use core::fmt;
use core::ptr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// All that a child has as its environment.
const PATH: &core::ffi::CStr = c"PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a program is looked for that is named without a folder: behind PATH's `=`, where a child looks
/// for others.
fn folders() -> &'static [u8] {
    &PATH.to_bytes()[5..]
}

/// The number of a child, until it has been reaped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pid(libc::pid_t);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a process has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
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
/// It forks by the kernel's call and not by posix_spawn(3), which takes 10 KB of a router's C library, its
/// heap among them.
///
/// # Errors
/// What clone(2), dup2(2) and execve(2) say: no memory, no more processes, no such program.
/// `InvalidInput` for no words, and for one with a NUL.
pub fn spawn(words: &[String], stdio: Stdio<'_>) -> io::Result<Pid> {
    let mut all = Vec::new();
    for word in words {
        all.push(word.as_bytes());
    }
    let program = Program::new(&all, folders())?;

    let nothing = file::open("/dev/null".as_ref(), libc::O_RDWR, 0)?;
    let nothing = nothing.as_fd();
    let (stdin, stdout, stderr) = match stdio {
        Stdio::Pipes { input, output } => (input.unwrap_or(nothing), output, output),
        Stdio::Socket(socket) => (socket, socket, nothing),
    };
    let mut files = [0; 3];
    for (number, file) in files.iter_mut().zip([stdin, stdout, stderr]) {
        control::block(file)?;
        *number = file.as_raw_fd();
    }

    // What keeps the child from becoming the program comes through this pipe; the program closes it.
    let (failed, fails) = super::pipe::pipe()?;
    let failed = File::from(failed);
    control::block(failed.as_fd())?;
    let ours: libc::c_long = 0;
    // SAFETY: without CLONE_VM the child has memory of its own, as after fork(2). Until it is another
    // program it makes system calls and allocates nothing; this process has one thread, so nobody holds a
    // lock that the child would wait for.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::SIGCHLD as libc::c_long,
            ours,
            ours,
            ours,
            ours,
        )
    })?;
    if pid == 0 {
        let error = become_program(&program, files);
        let error = error.raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes();
        let _ = super::pipe::write(fails.as_fd(), &error);
        // SAFETY: it ends this process, and nothing of it is tidied up, which is the parent's.
        unsafe { libc::_exit(NOT_STARTED) };
    }
    drop(fails);
    let mut error = [0; 4];
    match (&failed).read_exact(&mut error) {
        // It was closed: the program runs.
        Err(_) => Ok(Pid(pid as libc::pid_t)),
        Ok(()) => {
            // SAFETY: no status is asked for. It ends at once.
            unsafe { libc::waitpid(pid as libc::pid_t, ptr::null_mut(), 0) };
            Err(io::Error::from_raw_os_error(i32::from_ne_bytes(error)))
        }
    }
}

/// What a child says of itself that could not become its program, to whoever asks, which is nobody.
const NOT_STARTED: i32 = 127;

/// In the child: becomes the program, or says what kept it from that.
fn become_program(program: &Program, files: [i32; 3]) -> io::Error {
    if let Err(error) = prepare(files) {
        return error;
    }
    let environment = [PATH.as_ptr(), ptr::null()];
    // SAFETY: it is a list of one text with a NUL, and ends in a null pointer.
    unsafe { program.run(environment.as_ptr()) }
}

/// In the child: a process group of its own, its three files, and all signals as they are by default.
fn prepare(files: [i32; 3]) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setpgid(0, 0) })?;
    // Above the three first, or one would be overwritten before it is in its place.
    let mut above = [0; 3];
    for (above, file) in above.iter_mut().zip(files) {
        *above = control::of_file(file, libc::F_DUPFD_CLOEXEC, 3)?;
    }
    for (number, above) in (0..).zip(above) {
        // SAFETY: no pointers.
        check(unsafe { libc::dup2(above, number) })?;
    }
    // All zeros is the default, whatever the kernel's struct looks like. Two can't be set, and need not
    // be. (The C library keeps some for itself, and whoever started us may ignore those.)
    let default = [0u64; 8];
    for signal in 1..=LAST_SIGNAL {
        let (old, call) = (ptr::null::<u64>(), libc::SYS_rt_sigaction);
        // SAFETY: the kernel reads a struct that is no longer than this, and writes nothing.
        unsafe { libc::syscall(call, signal, default.as_ptr(), old, SIGNAL_SET) };
    }
    // SAFETY: all zeros is the empty set.
    let none: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: the set is read, and nothing is written where the old one would go.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) })?;
    Ok(())
}

/// The last signal that every kernel has (signal(7)).
const LAST_SIGNAL: i32 = 64;

/// Bytes of the kernel's set of signals.
#[cfg(target_arch = "mips")]
const SIGNAL_SET: usize = 16;
#[cfg(not(target_arch = "mips"))]
const SIGNAL_SET: usize = 8;

/// Kills a child that has not been reaped, and its process group with it: not those that have left it,
/// as daemons do. After it was reaped, the number may be anybody's.
pub fn kill_group(child: Pid) {
    // SAFETY: no pointers. It fails where all are gone, or are somebody else's.
    unsafe { libc::kill(-child.0, libc::SIGKILL) };
}

/// Makes the kernel keep children that have ended until they are reaped: not so where whoever started us
/// ignores SIGCHLD (sigaction(2)). Their ends would not be told, and their numbers soon be somebody else's.
pub fn keep_ended() {
    // SAFETY: no handler is set, and nothing but the default takes the place of what there is. It fails
    // for unknown signals only.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Takes the next child that has ended, if any (waitpid(2)): ours, or one that was nobody's any more if
/// we are the first process of our namespace. Then its number is free.
pub fn reap() -> Option<(Pid, Exit)> {
    let mut status = 0;
    // SAFETY: the kernel writes one number, for which there is room.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    if pid <= 0 {
        return None;
    }
    let exit = if libc::WIFEXITED(status) {
        Exit::Code(libc::WEXITSTATUS(status) as u8)
    } else {
        Exit::Signal(libc::WTERMSIG(status) as u8)
    };
    Some((Pid(pid), exit))
}

/// Makes the kernel kill the child once the thread that starts it has ended, however it ends: also
/// when we are killed ourselves and can tidy nothing up (prctl(2), PR_SET_PDEATHSIG).
#[cfg(feature = "demo")]
pub fn dies_with_us(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;

    let us = std::process::id();
    let before_exec = move || {
        let when_we_die = libc::PR_SET_PDEATHSIG;
        // SAFETY: no pointers.
        check(unsafe { libc::prctl(when_we_die, libc::SIGKILL as libc::c_ulong) })?;
        // We may have died before the kernel was asked; then it is somebody else's child already.
        // SAFETY: no pointers, and it can't fail.
        let parent = unsafe { libc::getppid() };
        if u32::try_from(parent) == Ok(us) {
            Ok(())
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    };
    // SAFETY: between fork and exec it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(before_exec) }
}
