//! What belongs to a whole process and not to one story: children and descriptors.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::thread;

/// A process has one set of children, whoever started them. So one story that has some is told at a time.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Whether a child of this process has ended and waits to be reaped. The daemon has no signal of that here: it would
/// come to the whole process.
pub fn has_ended_child() -> bool {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeros is a value of this struct.
    let mut child: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one struct, for which there is room.
    let asked = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut child, flags) };
    // SAFETY: it is filled in, or all zeros as before.
    asked == 0 && unsafe { child.si_pid() } != 0
}

/// Set where a story is told again, in a process of its own.
pub const FEW_DESCRIPTORS: &str = "SHIMMER_TEST_DESCRIPTORS";

/// Tells a story in a process that may have so many descriptors. The daemon has a table of its own there, so that
/// those of its visitors do not count.
pub fn with_descriptors(most: u64, story: impl FnOnce()) {
    if std::env::var_os(FEW_DESCRIPTORS).is_some() {
        return story();
    }
    let _turn = turn();
    let limit = libc::rlimit {
        rlim_cur: most as libc::rlim_t,
        rlim_max: most as libc::rlim_t,
    };
    let this = thread::current();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", this.name().unwrap(), "--nocapture"]);
    command.env(FEW_DESCRIPTORS, "yes");
    // SAFETY: setrlimit is safe between fork and exec, and reads one struct.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    };
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("running 1 test"), "{said}");
}

/// Gives this thread a table of descriptors with nothing in it but the first three and this one.
pub fn own_descriptors(kept: &UnixStream) {
    let kept = kept.as_raw_fd() as libc::c_uint;
    // SAFETY: no pointers. What is closed is this thread's copy, of which it has no owner.
    let done = unsafe {
        [
            libc::unshare(libc::CLONE_FILES),
            libc::close_range(3, kept - 1, 0),
            libc::close_range(kept + 1, libc::c_uint::MAX, 0),
        ]
    };
    assert_eq!(done, [0; 3], "{}", io::Error::last_os_error());
}
