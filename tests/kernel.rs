//! Kernels that have less than this one: OpenWrt's oldest living one, 4.14, and those that lack what
//! the daemon can do without.
//!
//! A seccomp filter answers ENOSYS, as such a kernel would. It lives on in the program that is
//! started under it, of 64 bits or of 32: `SHIMMER=FILE` names another program than this build's, and
//! `openwrt/test` names one of 32 bits, where 4.14 lacks every call with 64 bits for the time.

use crate::common::*;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::thread;

/// What the kernel does not have.
#[derive(Clone, Copy)]
enum Lacking {
    /// All that is newer than 4.14.
    NewCalls,
    /// These, by their numbers on this machine.
    Calls(&'static [libc::c_long]),
}

/// An instruction set's number in the kernel (uapi/linux/audit.h), and the first call that it got after 4.14:
/// io_pgetevents, of 4.18. Calls are only ever added behind the last.
const NEW_CALLS: [(u32, u32); 3] = [
    (AUDIT_ARCH_X86_64, 333),
    (AUDIT_ARCH_I386, 385),
    (AUDIT_ARCH_AARCH64, 292),
];
const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_AARCH64: u32 = 0xC000_00B7;

/// Where a filter finds the call's number and the instruction set (seccomp(2), struct seccomp_data).
const NUMBER: u32 = 0;
const INSTRUCTION_SET: u32 = 4;

const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

const fn step(code: u32, jumps: (u8, u8), value: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: jumps.0,
        jf: jumps.1,
        k: value,
    }
}

impl Lacking {
    fn filter(self) -> Vec<libc::sock_filter> {
        let load = |what| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), what);
        let compare = |how, value, jumps| step(libc::BPF_JMP | how | libc::BPF_K, jumps, value);
        let answer = |answer| step(libc::BPF_RET | libc::BPF_K, (0, 0), answer);
        let mut filter = Vec::new();
        match self {
            Self::NewCalls => {
                for (set, first) in NEW_CALLS {
                    filter.push(load(INSTRUCTION_SET));
                    filter.push(compare(libc::BPF_JEQ, set, (0, 3)));
                    filter.push(load(NUMBER));
                    filter.push(compare(libc::BPF_JGE, first, (0, 1)));
                    filter.push(answer(REFUSE));
                }
            }
            Self::Calls(calls) => {
                filter.push(load(NUMBER));
                for &call in calls {
                    filter.push(compare(libc::BPF_JEQ, call as u32, (0, 1)));
                    filter.push(answer(REFUSE));
                }
            }
        }
        filter.push(answer(libc::SECCOMP_RET_ALLOW));
        filter
    }

    /// Puts this thread, and whatever it starts, on such a kernel.
    fn enter(filter: &mut [libc::sock_filter]) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        let check = |result| match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: no pointers.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        let mode = libc::SECCOMP_MODE_FILTER;
        // SAFETY: the program is read, and its filter has as many steps as it says.
        check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) })
    }

    fn command(self, command: &mut Command) -> &mut Command {
        let mut filter = self.filter();
        // SAFETY: between fork and exec it makes two system calls and allocates nothing.
        unsafe { command.pre_exec(move || Self::enter(&mut filter)) }
    }

    /// What work in this process finds on such a kernel.
    fn run<T: Send + 'static>(self, work: fn() -> T) -> T {
        let there = thread::spawn(move || {
            Self::enter(&mut self.filter()).unwrap();
            work()
        });
        there.join().unwrap()
    }
}

/// Asks for something new (5.3) that costs nothing: a descriptor for no process.
fn ask_for_a_new_call() -> Option<i32> {
    // SAFETY: no pointers.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, -1, 0) };
    assert_eq!(answer, -1);
    io::Error::last_os_error().raw_os_error()
}

/// Asks for the time as a program of 32 bits does since 5.1, and for no place to put it.
#[cfg(target_arch = "x86_64")]
fn ask_for_clock_gettime64() -> i32 {
    let mut answer = 403;
    // SAFETY: the kernel of 32 bits takes its arguments from these registers, and leaves all but the
    // first as they are. It is told of no memory, so it writes none.
    unsafe {
        core::arch::asm!(
            "xchg rbx, {clock}",
            "int 0x80",
            "xchg rbx, {clock}",
            clock = inout(reg) i64::from(libc::CLOCK_REALTIME) => _,
            inout("eax") answer,
            in("ecx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    answer
}

/// Whether the program is an ELF file of 32 bits (elf(5), EI_CLASS).
fn is_32_bits() -> bool {
    let mut start = [0; 5];
    let mut file = std::fs::File::open(program()).unwrap();
    file.read_exact(&mut start).unwrap();
    start == *b"\x7fELF\x01"
}

#[test]
fn such_a_kernel_has_no_new_calls() {
    assert_ne!(
        ask_for_a_new_call(),
        Some(libc::ENOSYS),
        "this kernel is too old to tell"
    );
    assert_eq!(
        Lacking::NewCalls.run(ask_for_a_new_call),
        Some(libc::ENOSYS)
    );
    // A kernel that runs no programs of 32 bits would kill us for asking.
    #[cfg(target_arch = "x86_64")]
    if is_32_bits() {
        assert_eq!(ask_for_clock_gettime64(), -libc::EFAULT);
        assert_eq!(
            Lacking::NewCalls.run(ask_for_clock_gettime64),
            -libc::ENOSYS
        );
    }
}

#[test]
fn on_a_kernel_of_2017_it_serves_turns_reloads_and_answers() {
    const PERIOD_S: u32 = 2;
    let (host, echo, folder) = (own_address(), Echo::start(), Folder::new());
    let (control, state) = (folder.file("control"), folder.file("state"));
    let text = config(host, echo.address, "clock = trust")
        .replace(STILL, "period = 2s\n")
        .replace(
            "control = none",
            &format!("control = {}", control.display()),
        )
        .replace(
            "state-file = none",
            &format!("state-file = {}", state.display()),
        );
    let mut daemon = Daemon::spawn_in(folder, host, &text, |command| {
        Lacking::NewCalls.command(command);
    });
    daemon.wait_for_line(" listen mirage=");
    let member = Member::with_pattern(host, (10_000, 10_999), 15, PERIOD_S);

    let mut stream = member.enter(visitor(1));
    assert_echo(&mut stream, "hello");
    daemon.wait_for_lines(" rotate ", 2);
    daemon.reload(&text);
    daemon.wait_for_line(" reload ");
    assert_echo(
        &mut stream,
        "the minute has turned, and the configuration was read again",
    );
    assert_echo(&mut member.enter(visitor(2)), "a newcomer");

    let shimmer = |words: &[&str]| -> Output {
        let mut command = Command::new(program());
        command
            .args(words)
            .arg("--config")
            .arg(daemon.config_path());
        Lacking::NewCalls.command(&mut command).output().unwrap()
    };
    let ban = shimmer(&["ban", "192.0.2.1"]);
    assert!(ban.status.success(), "{ban:?}");
    let status = shimmer(&["status"]);
    let table = String::from_utf8_lossy(&status.stdout);
    assert!(
        table.contains("sessions: ") && table.contains("192.0.2.1"),
        "{status:?}"
    );

    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
    assert_eq!(daemon.count(" lacks ") + daemon.count(" error "), 0);
    let saved = std::fs::read_to_string(&state).unwrap();
    assert!(saved.contains("192.0.2.1"), "{saved}");
}

/// What the daemon can do without: to hear of a clock that is set, splice, the limit of descriptors, and
/// to ask whether somebody keeps the clock right.
const SPARED: &[libc::c_long] = &[
    libc::SYS_timerfd_create,
    libc::SYS_splice,
    libc::SYS_prlimit64,
    libc::SYS_adjtimex,
];

/// The same, as a program of 32 bits calls them on x86.
const SPARED_32: &[libc::c_long] = &[322, 313, 340, 124];

#[test]
fn what_it_can_do_without_is_a_line_in_the_log() {
    let (host, echo) = (own_address(), Echo::start());
    let text = config(host, echo.address, "").replace(STILL, "period = 2s\n");
    let spared = if is_32_bits() { SPARED_32 } else { SPARED };
    let mut daemon = Daemon::spawn(host, &text, |command| {
        Lacking::Calls(spared).command(command);
    });
    daemon.wait_for_line(" listen mirage=");
    for what in [
        "news of a clock",
        "splice",
        "a word on the limit of descriptors",
    ] {
        daemon.wait_for_line(&format!(" warn kernel lacks {what}"));
    }
    let member = Member::with_pattern(host, (10_000, 10_999), 15, 2);
    let mut stream = member.enter(visitor(1));
    let bulk: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let sent = bulk.clone();
    let writing = thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut back = vec![0; bulk.len()];
    stream.read_exact(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == bulk);
    daemon.wait_for_lines(" rotate ", 1);
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
}
