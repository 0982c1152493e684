//! From root to a user who may do almost nothing (capabilities(7)).
//!
//! In the kernel these rights belong to a thread. The daemon has one, and a thread begins with the rights of
//! whoever starts it.

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use std::io;

/// The user whose rights this process has.
#[must_use]
pub fn effective_user() -> u32 {
    geteuid().as_raw()
}

/// Becomes a user for good, and keeps only the capabilities with these numbers, below 64.
///
/// # Errors
/// What setresuid(2), setgroups(2), prctl(2) and capset(2) say: only root can do it. After an error
/// the process may be either, and has to end.
pub fn become_user(uid: u32, gid: u32, keep: impl Iterator<Item = u32>) -> io::Result<()> {
    let keep = keep.map(capability).collect::<CapabilitySet>();
    set_keep_capabilities(true)?;
    // Not even a program with file capabilities gets more. The kernel refuses the first number that it
    // does not have.
    for one in (0..u64::BITS).map(capability) {
        if !keep.contains(one) && remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    let kept = CapabilitySets {
        effective: keep,
        permitted: keep,
        // A child does not inherit them by that alone: see `lend`.
        inheritable: keep,
    };
    Ok(set_capabilities(None, kept)?)
}

/// Does something, and whatever it starts has the capability of this number, if we kept it. No
/// other child of ours gets one. Where we can't lend it, because we are root or do not have it ourselves,
/// the child has what it would have without us.
pub fn lend<T>(number: u32, start: impl FnOnce() -> T) -> T {
    let lent = configure_capability_in_ambient_set(capability(number), true);
    let started = start();
    if lent.is_ok() {
        // Anyone may give up what they have.
        let _ = configure_capability_in_ambient_set(capability(number), false);
    }
    started
}

fn capability(number: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << number)
}
