//! From root's rights to those that the daemon uses (capabilities(7)).
//!
//! For the kernel, user and capabilities belong to a thread, and a new thread inherits those of the thread that
//! starts it. The daemon changes them while it has one thread.

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use std::io;
use std::sync::OnceLock;

/// What the process had, and has given up.
static GIVEN_UP: OnceLock<CapabilitySet> = OnceLock::new();

/// Whether the process has given up its right to get more by executing a program.
static EXECUTES_NOTHING: OnceLock<()> = OnceLock::new();

/// Becomes a user for good, and keeps only the capabilities with these numbers (0 to 63).
///
/// # Errors
/// What setresuid(2), setgroups(2), prctl(2) and capset(2) say: only root can do it. After an error the process
/// may have only part of its rights, and has to exit.
pub fn become_user(uid: u32, gid: u32, keep: impl Iterator<Item = u32>) -> io::Result<()> {
    let keep = keep.map(capability).collect();
    set_keep_capabilities(true)?;
    bound(keep);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    keep_in_hand(keep)
}

/// Keeps only the capabilities with these numbers (0 to 63), as far as the process has them.
///
/// # Errors
/// What capget(2) and capset(2) say. A process can always have less, but a seccomp filter may forbid the calls.
pub fn keep_only(keep: impl Iterator<Item = u32>) -> io::Result<()> {
    let keep = keep.map(capability).collect();
    bound(keep);
    keep_in_hand(keep)
}

/// Takes all others out of the bounding set, so that not even a program with file capabilities gets them. Without
/// CAP_SETPCAP the set stays as it is.
fn bound(keep: CapabilitySet) {
    // The kernel refuses the first number that it does not know.
    for one in (0..u64::BITS).map(capability) {
        if !keep.contains(one) && remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
}

fn keep_in_hand(keep: CapabilitySet) -> io::Result<()> {
    let before = capabilities(None)?;
    let keep = keep.intersection(before.permitted);
    let kept = CapabilitySets {
        effective: keep,
        permitted: keep,
        // No child gets one, and the kernel empties the ambient set with it.
        inheritable: CapabilitySet::empty(),
    };
    if kept != before {
        set_capabilities(None, kept)?;
    }
    let _ = GIVEN_UP.set(before.permitted.difference(keep));
    Ok(())
}

/// Gives up the right to get more rights by executing a program (prctl(2), PR_SET_NO_NEW_PRIVS), for a process
/// that will not execute any.
///
/// # Errors
/// The kernel is older than 3.5, or a seccomp filter forbids it.
pub fn execute_nothing() -> io::Result<()> {
    let _ = EXECUTES_NOTHING.set(());
    Ok(set_no_new_privs(true)?)
}

/// Whether the process had the capability with this number, and has given it up.
#[must_use]
pub fn has_given_up(number: u32) -> bool {
    let given_up = GIVEN_UP.get();
    given_up.is_some_and(|given_up| given_up.contains(capability(number)))
}

/// Whether [`execute_nothing`] was called.
#[must_use]
pub fn executes_nothing() -> bool {
    EXECUTES_NOTHING.get().is_some()
}

fn capability(number: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << number)
}
