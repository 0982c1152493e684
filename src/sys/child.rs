//! Child processes that must not outlive us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the kernel kill the child once the thread that starts it has ended, however it ends: also
/// when we are killed ourselves and can tidy nothing up (prctl(2), PR_SET_PDEATHSIG).
pub fn dies_with_us(command: &mut Command) -> &mut Command {
    let us = std::process::id();
    let before_exec = move || {
        let when_we_die = libc::PR_SET_PDEATHSIG;
        // SAFETY: no pointers.
        super::check(unsafe { libc::prctl(when_we_die, libc::SIGKILL as libc::c_ulong) })?;
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
