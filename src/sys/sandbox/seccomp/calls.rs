//! Every system call that a daemon without commands makes once it runs, beside what needs it.
//!
//! The integration tests run under this list, and fail at a call that is not on it. What no kernel of today needs
//! is marked as a fallback: an older kernel lacks the call that is used instead. A call that is missing here fails
//! with ENOSYS, as on a kernel that does not have it, and is told in the log once.
//!
//! Numbers are libc's; where it has none, they are those of the kernel's uapi/asm/unistd.h.

#[cfg(target_pointer_width = "32")]
use crate::sys::{clock::CLOCK_GETTIME64, timer::TIMERFD_SETTIME64};
use libc::c_long;

/// Calls that are allowed whatever their arguments are, the frequent ones first.
pub const ALLOWED: &[c_long] = &[
    // A turn of the loop: waiting, the time, and the bytes of sessions.
    libc::SYS_epoll_pwait,
    #[cfg(not(target_arch = "aarch64"))]
    libc::SYS_epoll_wait,
    libc::SYS_clock_gettime,
    #[cfg(target_pointer_width = "32")]
    CLOCK_GETTIME64,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_splice,
    libc::SYS_epoll_ctl,
    libc::SYS_accept4,
    libc::SYS_accept, // fallback: before Linux 2.6.36 and, on some processors, 4.3
    libc::SYS_close,
    // Sockets: ports, visitors, services, the control socket, the sensor, netfilter.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_connect,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_shutdown,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_fcntl,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_fcntl64,
    // Pipes to splice through.
    libc::SYS_pipe2,
    // The log and the other files.
    libc::SYS_openat,
    #[cfg(not(target_arch = "aarch64"))]
    libc::SYS_open,
    libc::SYS_writev,
    PREAD64,
    PWRITE64,
    libc::SYS_lseek,
    #[cfg(target_pointer_width = "32")]
    libc::SYS__llseek,
    libc::SYS_statx,
    #[cfg(target_pointer_width = "64")]
    libc::SYS_fstat, // musl's fstat; elsewhere a fallback: before Linux 4.11
    #[cfg(target_pointer_width = "64")]
    libc::SYS_newfstatat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_fstat64,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_stat64,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_lstat64,
    #[cfg(target_pointer_width = "32")]
    FSTATAT64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    #[cfg(not(target_arch = "aarch64"))]
    libc::SYS_access,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    #[cfg(not(target_arch = "aarch64"))]
    libc::SYS_rename,
    libc::SYS_unlinkat,
    #[cfg(not(target_arch = "aarch64"))]
    libc::SYS_unlink,
    libc::SYS_mkdirat,
    #[cfg(not(target_arch = "aarch64"))]
    libc::SYS_mkdir,
    libc::SYS_flock,
    libc::SYS_umask,
    libc::SYS_geteuid,
    libc::SYS_getegid,
    #[cfg(target_arch = "arm")]
    libc::SYS_geteuid32,
    #[cfg(target_arch = "arm")]
    libc::SYS_getegid32,
    // The clock: whether it was set, and whether it is kept.
    libc::SYS_timerfd_settime,
    #[cfg(target_pointer_width = "32")]
    TIMERFD_SETTIME64,
    libc::SYS_adjtimex,
    // Memory.
    libc::SYS_brk,
    #[cfg(not(target_arch = "arm"))]
    libc::SYS_mmap,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_mmap2,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    // Randomness, for the seeds of tables.
    libc::SYS_getrandom,
    // Orphans that the first process of a jail gets.
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Locks of the standard library.
    libc::SYS_futex,
    #[cfg(target_pointer_width = "32")]
    FUTEX_TIME64,
    // A panic, a crash and the end.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // A call that was interrupted by SIGSTOP goes on.
    libc::SYS_restart_syscall,
    // The sandbox itself: the files are closed after the calls.
    libc::SYS_landlock_restrict_self,
];

/// Calls that mean that somebody else is at the wheel: the process is killed at once.
pub const FATAL: &[c_long] = &[
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    // File systems and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // The kernel.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
];

/// The kinds of socket that the daemon makes: for syslog and control, for visitors and services, for netfilter and
/// routes, and for the sensor.
pub const SOCKETS: [i32; 5] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
    libc::AF_PACKET,
];

/// What ioctl(2) is asked: a file's mode, and what a peer has not acknowledged.
pub const IO_CONTROLS: [u32; 3] = [
    libc::FIONBIO as u32,
    libc::FIOCLEX as u32,
    libc::TIOCOUTQ as u32,
];

#[cfg(target_arch = "mips")]
const PREAD64: c_long = 4_200;
#[cfg(target_arch = "mips")]
const PWRITE64: c_long = 4_201;
#[cfg(not(target_arch = "mips"))]
const PREAD64: c_long = libc::SYS_pread64;
#[cfg(not(target_arch = "mips"))]
const PWRITE64: c_long = libc::SYS_pwrite64;

#[cfg(target_arch = "mips")]
const FSTATAT64: c_long = 4_293;
#[cfg(target_arch = "arm")]
const FSTATAT64: c_long = libc::SYS_fstatat64;

#[cfg(target_pointer_width = "32")]
const FUTEX_TIME64: c_long = if cfg!(target_arch = "mips") {
    4_422
} else {
    422
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_listed_twice() {
        let mut all = [ALLOWED, FATAL].concat();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    /// Each is made, and does what its name says. libc does not have these numbers for all processors.
    #[test]
    fn our_own_numbers_are_those_of_their_calls() {
        let path = std::env::temp_dir().join(format!("shimmer-calls-{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file);
        let (mut byte, zeros) = (*b"x", [0usize; 3]);
        // An offset of 64 bits is two arguments on 32 bits, behind one that is not used: zeros all of them.
        let mut transfer = |number| {
            let [first, second, third] = zeros;
            let address = byte.as_mut_ptr();
            // SAFETY: the call reads one byte there, or writes one.
            unsafe { libc::syscall(number, descriptor, address, 1usize, first, second, third) }
        };
        assert_eq!((transfer(PWRITE64), transfer(PREAD64)), (1, 1));
        assert_eq!((file.metadata().unwrap().len(), &byte), (1, b"x"));
        #[cfg(target_pointer_width = "32")]
        {
            let mut words = [0u64; 32];
            let (name, here) = (c"/proc/self/comm".as_ptr(), libc::AT_FDCWD);
            // SAFETY: the path ends in NUL, and `words` is longer than the struct that the call writes.
            let found = unsafe { libc::syscall(FSTATAT64, here, name, words.as_mut_ptr(), 0) };
            assert!(found == 0 && words != [0; 32]);
        }
    }
}
