//! From root to a user who may do almost nothing (capabilities(7)).
//!
//! The calls go to the kernel without libc, which would do the same for threads that are not there.

use super::check;
use std::io;

/// The version of capset(2) with 64 capabilities, in two words (uapi/linux/capability.h).
const VERSION_3: u32 = 0x2008_0522;

/// More capabilities than any kernel has.
const CAPABILITIES: u32 = 64;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Rights {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

// ARM and x86 have had user numbers of 16 bits, and their newer calls other names.
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
use libc::{SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
use libc::{
    SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
};

/// Whose rights this process has.
#[must_use]
pub fn effective_user() -> u32 {
    // SAFETY: no pointers; it can't fail.
    unsafe { libc::geteuid() }
}

/// Becomes a user for good, and keeps only the capabilities with these numbers, below 32.
///
/// # Errors
/// What setresuid(2), setgroups(2), prctl(2) and capset(2) say: only root can do it. After an error
/// the process may be either, and has to end.
pub fn become_user(uid: u32, gid: u32, keep: impl Iterator<Item = u32>) -> io::Result<()> {
    let keep = keep.fold(0u32, |all, number| all | 1 << number);
    control(libc::PR_SET_KEEPCAPS, 1, 0)?;
    // Not even a program with file capabilities gets more. The kernel refuses the first number that it
    // does not have.
    for number in 0..CAPABILITIES {
        let is_kept = keep.checked_shr(number).unwrap_or(0) & 1 == 1;
        if !is_kept && control(libc::PR_CAPBSET_DROP, number.into(), 0).is_err() {
            break;
        }
    }
    let nobody = core::ptr::null::<libc::gid_t>();
    // SAFETY: of no groups none is read.
    check(unsafe { libc::syscall(SETGROUPS, 0usize, nobody) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(SETRESGID, gid, gid, gid) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(SETRESUID, uid, uid, uid) })?;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let none = Rights {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let kept = Rights {
        effective: keep,
        permitted: keep,
        // Nobody inherits them by that alone: see `lend`.
        inheritable: keep,
    };
    let rights = [kept, none];
    // SAFETY: the kernel reads the header and, for this version, two words of rights.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, rights.as_ptr()) })?;
    Ok(())
}

/// Does something, and whoever is started by it has the capability of this number that we have kept. No
/// other child of ours gets one. Where we can't lend it, because we are root or do not have it ourselves,
/// the child has what it would have without us.
pub fn lend<T>(capability: u32, start: impl FnOnce() -> T) -> T {
    let lent = ambient(libc::PR_CAP_AMBIENT_RAISE, capability);
    let started = start();
    if lent.is_ok() {
        // To give up what one has is allowed to everybody.
        let _ = ambient(libc::PR_CAP_AMBIENT_LOWER, capability);
    }
    started
}

fn ambient(what: i32, capability: u32) -> io::Result<()> {
    control(
        libc::PR_CAP_AMBIENT,
        what as libc::c_ulong,
        capability.into(),
    )
}

fn control(what: i32, value: libc::c_ulong, other: libc::c_ulong) -> io::Result<()> {
    let none: libc::c_ulong = 0;
    // SAFETY: these three take numbers and no pointers.
    check(unsafe { libc::syscall(libc::SYS_prctl, what, value, other, none, none) }).map(drop)
}
