//! What the daemon can no longer do once its files and sockets are open: whoever takes it over is left with the
//! calls that it makes itself (seccomp(2)), and with its own files (landlock(7)).
//!
//! Both need no privilege, and nothing gives back what they take. They hold for the thread that asks for them and
//! for those that it starts, and the daemon has one.

mod files;

#[cfg(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "mips"
))]
mod seccomp {
    mod calls;
    mod install;
    mod refused;

    pub use install::close_calls;
    pub use refused::next_refused;
}

#[cfg(not(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "mips"
)))]
mod seccomp {
    /// Nobody has listed the calls of this processor.
    pub fn close_calls() -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// None is refused.
    pub fn next_refused() -> Option<u32> {
        None
    }
}

pub use files::{FileRules, Rights};
pub use seccomp::{close_calls, next_refused};

#[cfg(test)]
mod tests;
