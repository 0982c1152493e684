//! From root to a user with few capabilities (capabilities(7)).
//!
//! For the kernel, user and capabilities belong to a thread, and a new thread inherits those of the thread that
//! starts it. The daemon changes them while it has one thread.

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use std::io;

/// Becomes a user for good, and keeps only the capabilities with these numbers (0 to 63).
///
/// # Errors
/// What setresuid(2), setgroups(2), prctl(2) and capset(2) say: only root can do it. After an error the process
/// may have only part of its rights, and has to exit.
pub fn become_user(uid: u32, gid: u32, keep: impl Iterator<Item = u32>) -> io::Result<()> {
    let keep = keep.map(capability).collect::<CapabilitySet>();
    set_keep_capabilities(true)?;
    // With them out of the bounding set, not even a program with file capabilities gets others. The kernel
    // refuses the first number that it does not know.
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
        // No child gets one.
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, kept)?)
}

fn capability(number: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << number)
}
