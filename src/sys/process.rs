//! Properties of the whole process.

use super::check;
use core::mem::MaybeUninit;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io;
use std::sync::OnceLock;

/// The limit of descriptors before [`raise_descriptor_limit`].
static DESCRIPTORS: OnceLock<Rlimit> = OnceLock::new();

/// The limit of a core file before [`hide`].
static CORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the limit of open descriptors as far as the administrator allows, and returns the limit.
///
/// # Errors
/// What prlimit(2) says.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let before = limit(libc::RLIMIT_NOFILE as i32)?;
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(_) => before.current,
    };
    let _ = DESCRIPTORS.set(before);
    Ok(now.map_or(usize::MAX, |now| now.try_into().unwrap_or(usize::MAX)))
}

/// Keeps what is in memory, keys and secrets, from leaving it: a crash leaves no core file, and in a release
/// build no other process of the same user can read the memory (prctl(2), PR_SET_DUMPABLE).
pub fn hide() {
    if let Ok(before) = limit(libc::RLIMIT_CORE as i32) {
        let none = Rlimit {
            current: Some(0),
            maximum: before.maximum,
        };
        let _ = setrlimit(Resource::Core, none);
        let _ = CORE.set(before);
    }
    // Debuggers need it.
    if !cfg!(debug_assertions) {
        let _ =
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
}

/// In a child: gives it the limits with which the daemon was started. It makes system calls only, as
/// signal-safety(7) demands. A limit that an administrator has lowered meanwhile stays as it is.
pub(super) fn restore_limits() {
    for (resource, before) in [(Resource::Nofile, &DESCRIPTORS), (Resource::Core, &CORE)] {
        if let Some(before) = before.get() {
            let _ = setrlimit(resource, *before);
        }
    }
}

/// A limit, soft and hard.
///
/// rustix's getrlimit ignores the call's error (as of 1.1), and a seccomp filter may forbid prlimit(2).
fn limit(number: i32) -> io::Result<Rlimit> {
    let mut limit = MaybeUninit::<libc::rlimit64>::uninit();
    let none = core::ptr::null();
    // SAFETY: with null the call sets no limit; it writes the present one to `limit`. (The C libraries have
    // different types for the number.)
    check(unsafe { libc::prlimit64(0, number as _, none, limit.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so it has initialised `limit`.
    let limit = unsafe { limit.assume_init() };
    let finite = |limit| (limit != libc::RLIM64_INFINITY).then_some(limit);
    Ok(Rlimit {
        current: finite(limit.rlim_cur),
        maximum: finite(limit.rlim_max),
    })
}
