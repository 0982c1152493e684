//! Calls that are not on the list: they fail with ENOSYS, and somebody is told.
//!
//! The kernel can answer ENOSYS by itself, but then nobody would notice. So it sends SIGSYS instead of making the
//! call, and the handler notes the number and writes the result where the call would have left it. A tracer or the
//! kernel's audit would tell as well, but routers have neither.

use crate::sys::check;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};
use std::io;

/// How many different calls are told.
const TOLD: usize = 8;

/// The numbers of refused calls, each once, plus one; 0 is a free place.
static REFUSED: [AtomicU32; TOLD] = [const { AtomicU32::new(0) }; TOLD];

/// How many of them were told.
static COUNT_TOLD: AtomicU32 = AtomicU32::new(0);

/// Installs the handler.
pub fn catch() -> io::Result<()> {
    // SAFETY: all zeros are a valid sigaction: no handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = refuse as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and uses nothing but atomic numbers and
    // what the kernel passes to it.
    check(unsafe { libc::sigaction(libc::SIGSYS, &raw const action, core::ptr::null_mut()) })?;
    Ok(())
}

/// The number of a refused call that was not told yet.
pub fn next_refused() -> Option<u32> {
    let told = COUNT_TOLD.load(Ordering::Relaxed);
    let number = REFUSED.get(told as usize)?.load(Ordering::Relaxed);
    let number = number.checked_sub(1)?;
    COUNT_TOLD.store(told + 1, Ordering::Relaxed);
    Some(number)
}

/// Notes a number, unless it is known or there is no place.
fn note(number: u32) {
    for place in &REFUSED {
        let (free, taken) = (0, number + 1);
        match place.compare_exchange(free, taken, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(known) if known == taken => return,
            Err(_) => {}
        }
    }
}

/// Why SIGSYS came: a filter has sent it (asm-generic/siginfo.h).
const SYS_SECCOMP: i32 = 1;

/// The offset of the call's number in siginfo_t, behind three numbers and an address (asm-generic/siginfo.h).
const NUMBER: usize = if cfg!(target_pointer_width = "64") {
    24
} else {
    16
};

#[cfg(not(target_arch = "arm"))]
type Register = i64;
#[cfg(target_arch = "arm")]
type Register = i32;

const ENOSYS: Register = libc::ENOSYS as Register;

/// A call's result: offsets in the signal's context, and what registers hold there (the kernel's uapi/asm/ucontext.h
/// and sigcontext.h, as for [`crate::sys::signal::report_crashes`]).
#[cfg(target_arch = "x86_64")]
const RESULT: [(usize, Register); 1] = [(144, -ENOSYS)];
#[cfg(target_arch = "aarch64")]
const RESULT: [(usize, Register); 1] = [(184, -ENOSYS)];
#[cfg(target_arch = "arm")]
const RESULT: [(usize, Register); 1] = [(32, -ENOSYS)];
/// The error is positive in $2, and $7 says that it is one. The registers have 64 bits here.
#[cfg(target_arch = "mips")]
const RESULT: [(usize, Register); 2] = [(56, ENOSYS), (96, 1)];

extern "C" fn refuse(_: i32, info: *const libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a siginfo_t.
    if unsafe { (*info).si_code } != SYS_SECCOMP {
        return;
    }
    // SAFETY: the siginfo_t of such a signal has the number at this offset.
    note(unsafe { info.byte_add(NUMBER).cast::<u32>().read() });
    for (offset, value) in RESULT {
        // SAFETY: with SA_SIGINFO the kernel passes a context, which has this register at this offset. It restores
        // the registers from there, and the thread goes on behind the call.
        unsafe { context.byte_add(offset).cast::<Register>().write(value) };
    }
}
