//! Hands the list of calls to the kernel.

use super::calls::{ALLOWED, FATAL, IO_CONTROLS, SOCKETS};
use super::refused;
use crate::bpf::{self, Checked};
use crate::sys::check;
use libc::{SECCOMP_MODE_FILTER, c_long, c_ulong, sock_fprog};
use rustix::thread::set_no_new_privs;
use std::io;

/// The kernel's name for this processor and its byte order (linux/audit.h, AUDIT_ARCH_…).
const ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else if cfg!(target_arch = "arm") {
    0x4000_0028
} else if cfg!(target_endian = "big") {
    0x0000_0008
} else {
    0x4000_0008
};

/// From now on this thread can make the calls of [`ALLOWED`] only. One of [`FATAL`] kills the process; others fail
/// with ENOSYS, and [`super::next_refused`] tells of them.
///
/// # Errors
/// The kernel was built without seccomp's filters, or another sandbox forbids them. Nothing has changed then.
pub fn close_calls() -> io::Result<()> {
    let own = [std::process::id()];
    let checked = [
        Checked {
            number: libc::SYS_socket as u32,
            argument: 0,
            values: &SOCKETS.map(|kind| kind as u32),
        },
        Checked {
            number: libc::SYS_ioctl as u32,
            argument: 1,
            values: &IO_CONTROLS,
        },
        // raise(3) after a panic or in a crash. The only thread has the process's number.
        Checked {
            number: libc::SYS_tgkill as u32,
            argument: 0,
            values: &own,
        },
        Checked {
            number: libc::SYS_tkill as u32,
            argument: 0,
            values: &own,
        },
    ];
    let mut program = bpf::calls(ARCHITECTURE, &numbers(ALLOWED), &checked, &numbers(FATAL));
    let program = sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    refused::catch()?;
    // Without it only CAP_SYS_ADMIN can install a filter.
    set_no_new_privs(true)?;
    // By prctl(2) because it is older than seccomp(2), and rustix has neither with a filter.
    // SAFETY: the kernel copies the program, whose length and address are right.
    check(unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            c_ulong::from(SECCOMP_MODE_FILTER),
            &raw const program,
        )
    })?;
    Ok(())
}

fn numbers(calls: &[c_long]) -> Vec<u32> {
    calls.iter().map(|&number| number as u32).collect()
}
