//! The way into a router's build, past std's: what that prepares for threads, panics and stdio, none of
//! which is used here, is 5 KB of code.

use core::ffi::{CStr, c_char};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Makes a function of words that answers an exit code the program's `main`.
#[macro_export]
macro_rules! start {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn main(count: i32, words: *const *const core::ffi::c_char) -> i32 {
            // SAFETY: the C library calls it, once, with what main(3p) says.
            let words = unsafe { $crate::sys::start::begin(count, words) };
            $main(words).into()
        }
    };
}

/// Prepares what std prepares, too, and answers the words of the command line.
///
/// # Safety
/// There are `count` words, and they stay as long as the process. There is one thread.
#[must_use]
pub unsafe fn begin(count: i32, words: *const *const c_char) -> Vec<&'static OsStr> {
    // Who reads our output may stop: that is an error of the next write, not our end.
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    open_missing_streams();
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: as the caller says.
    let word = |number| unsafe { CStr::from_ptr(*words.add(number)) };
    let words = (0..count).map(word);
    words
        .map(|word| OsStr::from_bytes(word.to_bytes()))
        .collect()
}

/// Whoever starts us may have closed stdin, stdout or stderr. Then a file or a socket of ours would be
/// what we write our errors to.
fn open_missing_streams() {
    loop {
        // SAFETY: the path ends in a NUL.
        let lowest = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        if lowest > libc::STDERR_FILENO {
            // SAFETY: it is ours.
            unsafe { libc::close(lowest) };
        }
        if !(0..=libc::STDERR_FILENO).contains(&lowest) {
            return;
        }
    }
}
