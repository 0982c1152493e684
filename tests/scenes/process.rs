//! What belongs to a whole process and not to one story: children, descriptors, mounts.

use crate::common::Folder;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::thread;

/// A process has one set of children, whoever started them. So one story that has some is told at a time.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What the children of this process do.
#[derive(PartialEq, Eq)]
pub enum Children {
    /// There are none.
    None,
    /// All of them run.
    Run,
    /// One waits to be reaped.
    HaveEnded,
}

/// The daemon has no signal of its children's ends here: that would come to the whole process.
pub fn children() -> Children {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeros is a value of this struct.
    let mut child: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one struct, for which there is room.
    let asked = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut child, flags) };
    // SAFETY: it is filled in, or all zeros as before.
    match (asked, unsafe { child.si_pid() }) {
        (0, 0) => Children::Run,
        (0, _) => Children::HaveEnded,
        _ => Children::None,
    }
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

/// Where a program is looked for before all other folders.
const PROGRAMS: &CStr = c"/usr/sbin";

/// Tells a story in which the programs of this folder are found, and the machine's in [`PROGRAMS`] are not; or
/// says that it can't. A link to the other folders can't be spared.
pub fn with_programs(folder: &Folder, story: impl FnOnce() + Send) {
    let from = CString::new(folder.0.to_str().unwrap()).unwrap();
    let mount = move || {
        let (none, flags) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
        let bind = libc::MS_BIND;
        // SAFETY: both paths end in a NUL, and neither the file system's name nor its data is read.
        unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) == 0
                && libc::mount(from.as_ptr(), PROGRAMS.as_ptr(), none, bind, none.cast()) == 0
        }
    };
    let tell = move || {
        if !Path::new("/usr/sbin").is_symlink() && mount() {
            story();
        } else {
            eprintln!("no mounts of its own: this story is not told");
        }
    };
    let told = thread::scope(|scope| scope.spawn(tell).join());
    told.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
