//! Each test closes a child of its own. Where the kernel has no seccomp or no Landlock, as qemu-user has not, the
//! child says so and its test shows nothing.

use super::*;
use std::io;
use std::path::Path;

/// The child's exit code where the kernel lacks what is tested.
const LACKS: i32 = 77;

/// How a child ends that does this after it was forked. None if the kernel lacks what it needs.
fn in_child(act: impl FnOnce() -> io::Result<bool>) -> Option<Ended> {
    // SAFETY: the child has this thread alone. It calls nothing that waits for another thread, and ends by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let code = match act() {
            Ok(is_right) => i32::from(!is_right),
            Err(_) => LACKS,
        };
        // SAFETY: it ends the process.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: the call writes one int.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFSIGNALED(status) {
        return Some(Ended::Signal(libc::WTERMSIG(status)));
    }
    match libc::WEXITSTATUS(status) {
        LACKS => {
            eprintln!("this kernel has no such sandbox");
            None
        }
        code => Some(Ended::Code(code)),
    }
}

#[derive(Debug, PartialEq)]
enum Ended {
    Code(i32),
    Signal(i32),
}

#[track_caller]
fn assert_right(ended: Option<Ended>) {
    assert!(matches!(ended, None | Some(Ended::Code(0))), "{ended:?}");
}

/// Makes a call with numbers only. The error is errno.
fn call(number: libc::c_long, arguments: [libc::c_long; 3]) -> Result<libc::c_long, i32> {
    let [first, second, third] = arguments;
    // SAFETY: no test passes an address.
    match unsafe { libc::syscall(number, first, second, third) } {
        -1 => Err(io::Error::last_os_error().raw_os_error().unwrap()),
        result => Ok(result),
    }
}

fn own_number() -> libc::c_long {
    std::process::id() as libc::c_long
}

#[test]
fn a_call_that_is_not_listed_fails_and_is_told_once() {
    assert_right(in_child(|| {
        close_calls()?;
        let refused = Err(libc::ENOSYS);
        let (parent, priority) = (libc::SYS_getppid, libc::SYS_getpriority);
        let mut is_right = call(parent, [0; 3]) == refused && call(parent, [0; 3]) == refused;
        is_right &= next_refused() == Some(parent as u32) && next_refused().is_none();
        is_right &= call(priority, [0; 3]) == refused && call(parent, [0; 3]) == refused;
        is_right &= next_refused() == Some(priority as u32) && next_refused().is_none();
        // The thread goes on, and what is listed still works.
        let own = call(libc::SYS_getpid, [0; 3]);
        Ok(is_right && own == Ok(own_number()) && next_refused().is_none())
    }));
}

#[test]
fn calls_of_somebody_else_kill() {
    for number in [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_mount,
        libc::SYS_init_module,
        libc::SYS_bpf,
    ] {
        let ended = in_child(|| {
            close_calls()?;
            let _ = call(number, [0; 3]);
            Ok(true)
        });
        let is_killed = matches!(ended, None | Some(Ended::Signal(libc::SIGSYS)));
        assert!(is_killed, "{number}: {ended:?}");
    }
}

#[test]
fn arguments_are_looked_at() {
    assert_right(in_child(|| {
        close_calls()?;
        let refused = Err(libc::ENOSYS);
        let socket = |kind: i32| {
            let arguments = [kind, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0];
            call(libc::SYS_socket, arguments.map(libc::c_long::from))
        };
        let mut is_right = socket(libc::AF_INET).is_ok() && socket(libc::AF_UNIX).is_ok();
        is_right &= socket(libc::AF_ALG) == refused;
        let control =
            |request: libc::c_ulong| call(libc::SYS_ioctl, [-1, request as libc::c_long, 0]);
        is_right &= control(libc::FIOCLEX as _) == Err(libc::EBADF);
        is_right &= control(libc::TIOCSTI as _) == refused;
        let signal = |process: libc::c_long| call(libc::SYS_tkill, [process, 0, 0]);
        is_right &= signal(own_number()) == Ok(0);
        Ok(is_right && signal(1) == refused)
    }));
}

#[test]
fn a_crash_still_ends_the_process() {
    let ended = in_child(|| {
        close_calls()?;
        // SAFETY: it takes no pointer.
        unsafe { libc::abort() }
    });
    assert!(
        matches!(ended, None | Some(Ended::Signal(libc::SIGABRT))),
        "{ended:?}"
    );
}

#[test]
fn only_files_that_are_allowed_can_be_opened() {
    let folder = std::env::temp_dir().join(format!("shimmer-files-{}", std::process::id()));
    let (ours, logs) = (folder.join("ours"), folder.join("logs"));
    for folder in [&ours, &logs] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let (state, old, log) = (ours.join("state"), logs.join("old"), logs.join("log"));
    std::fs::write(&state, "s").unwrap();
    std::fs::write(&old, "o").unwrap();
    let ended = in_child(|| {
        let rules = FileRules::new()?;
        rules.allow(&ours, Rights::KEEP)?;
        rules.allow(&logs, Rights::APPEND)?;
        rules.allow(Path::new("/dev/null"), Rights::READ)?;
        rustix::thread::set_no_new_privs(true)?;
        rules.enforce()?;
        let denied = |result: io::Result<()>| {
            result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        let read = |path: &Path| std::fs::File::open(path).map(drop);
        let append = |path: &Path| {
            let mut options = std::fs::OpenOptions::new();
            options.append(true).create(true).open(path).map(drop)
        };
        let fresh = ours.join("fresh");
        let mut is_right = std::fs::write(&fresh, "f").is_ok();
        is_right &= std::fs::rename(&fresh, &state).is_ok() && read(&state).is_ok();
        is_right &= std::fs::remove_file(&state).is_ok();
        is_right &= append(&log).is_ok() && denied(read(&log));
        is_right &= denied(std::fs::remove_file(&old));
        is_right &= read(Path::new("/dev/null")).is_ok();
        is_right &= denied(append(Path::new("/dev/null")));
        is_right &= denied(read(Path::new("/etc/passwd"))) && denied(append(&folder.join("x")));
        Ok(is_right && denied(std::fs::create_dir(ours.join("folder"))))
    });
    std::fs::remove_dir_all(&folder).unwrap();
    assert_right(ended);
}
