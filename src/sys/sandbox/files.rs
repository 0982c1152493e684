//! Which files the process can still open (landlock(7)).
//!
//! The kernel's calls are made here: the crate landlock brings a derive macro, an error crate and 60 types for what
//! are three calls, and has no answer for a kernel without them but its own.

use crate::sys::check;
use core::mem::size_of;
use core::ptr;
use rustix::fs::{Mode, OFlags, open};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// What may be done with a file, or with whatever is in a folder (linux/landlock.h, LANDLOCK_ACCESS_FS_…).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights(u64);

const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const TRUNCATE: u64 = 1 << 14;

impl Rights {
    /// To read.
    pub const READ: Self = Self(READ_FILE);
    /// To write, but to create nothing.
    pub const WRITE: Self = Self(WRITE_FILE);
    /// To create a log in this folder and to append to it.
    pub const APPEND: Self = Self(WRITE_FILE | MAKE_REG);
    /// To keep files in this folder: to create, read, replace and remove them.
    pub const KEEP: Self = Self(READ_FILE | WRITE_FILE | MAKE_REG | REMOVE_FILE | TRUNCATE);
    /// To make a socket in this folder, and to remove it.
    pub const BIND: Self = Self(MAKE_SOCK | REMOVE_FILE);
}

/// The rights that kernels know, by the number of their interface. A right that nobody gives is nobody's; one that
/// the kernel does not know can't be taken.
const KNOWN: [(libc::c_long, u64); 4] = [
    (1, (1 << 13) - 1),
    // To move or link from one folder to another.
    (2, 1 << 13),
    (3, TRUNCATE),
    // ioctl(2) at devices.
    (5, 1 << 15),
];

/// Asks for the number of the interface instead (linux/landlock.h).
const CREATE_RULESET_VERSION: u32 = 1;

/// A rule is about a file, or about a folder and all below it.
const PATH_BENEATH: u32 = 1;

/// linux/landlock.h, struct landlock_path_beneath_attr
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// Rules that are made, but do not hold yet.
#[derive(Debug)]
pub struct FileRules {
    descriptor: OwnedFd,
    known: u64,
}

impl FileRules {
    /// Rules by which nothing can be opened.
    ///
    /// # Errors
    /// The kernel has no Landlock, or it is switched off.
    pub fn new() -> io::Result<Self> {
        let create = libc::SYS_landlock_create_ruleset;
        // SAFETY: without attributes the call reads and writes nothing.
        let version =
            unsafe { libc::syscall(create, ptr::null::<u64>(), 0usize, CREATE_RULESET_VERSION) };
        let version = check(version)?;
        let known = KNOWN.iter().filter(|(since, _)| *since <= version);
        let known = known.fold(0, |all, (_, rights)| all | rights);
        // SAFETY: the call reads one number, of the size that it is told.
        let created = unsafe { libc::syscall(create, &raw const known, size_of::<u64>(), 0u32) };
        let created = check(created)?;
        // SAFETY: the call has just opened this descriptor, so nothing else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(created as i32) };
        Ok(Self { descriptor, known })
    }

    /// Allows something with a file, or with whatever is in a folder.
    ///
    /// # Errors
    /// There is no such file, or it may not have these rights.
    pub fn allow(&self, path: &Path, rights: Rights) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty())?;
        self.allow_open(file.as_fd(), rights)
    }

    /// Allows something with an open file.
    ///
    /// # Errors
    /// It is not a file with a name, such as a pipe; those can be opened anyway.
    pub fn allow_open(&self, file: BorrowedFd<'_>, rights: Rights) -> io::Result<()> {
        let rule = PathBeneath {
            allowed: rights.0 & self.known,
            parent: file.as_raw_fd(),
        };
        let (call, ruleset) = (libc::SYS_landlock_add_rule, self.descriptor.as_raw_fd());
        // SAFETY: the call reads one such struct.
        check(unsafe { libc::syscall(call, ruleset, PATH_BENEATH, &raw const rule, 0u32) })?;
        Ok(())
    }

    /// From now on this thread can open what the rules allow, and nothing else. What is open stays open. It has to
    /// have no_new_privs.
    ///
    /// # Errors
    /// What landlock_restrict_self(2) says.
    pub fn enforce(self) -> io::Result<()> {
        let (call, ruleset) = (
            libc::SYS_landlock_restrict_self,
            self.descriptor.as_raw_fd(),
        );
        // SAFETY: it takes no pointer.
        check(unsafe { libc::syscall(call, ruleset, 0u32) })?;
        Ok(())
    }
}
