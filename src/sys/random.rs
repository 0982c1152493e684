//! Random bytes from the operating system, for secrets.

use std::io;

/// Fills the buffer, of at most 256 bytes, with bytes that nobody can predict.
///
/// Shortly after a router has started it waits until the kernel has gathered enough randomness,
/// which a read of /dev/urandom would not.
///
/// # Errors
/// A kernel before 3.17 has no such bytes.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    platform::fill(bytes)
}

#[cfg(unix)]
mod platform {
    use super::super::check;
    use core::ffi::{c_int, c_void};
    use std::io;

    // In glibc since 2.25, musl since 1.1.20, macOS since 10.12. The libc crate lacks musl's.
    unsafe extern "C" {
        fn getentropy(bytes: *mut c_void, count: usize) -> c_int;
    }

    pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
        // SAFETY: the call writes as many bytes as the buffer has.
        check(unsafe { getentropy(bytes.as_mut_ptr().cast(), bytes.len()) })?;
        Ok(())
    }
}

#[cfg(windows)]
mod platform {
    use std::io;

    // std seeds its hash maps by the same function, so it is there wherever we run.
    #[link(name = "bcryptprimitives", kind = "raw-dylib")]
    unsafe extern "system" {
        fn ProcessPrng(bytes: *mut u8, count: usize) -> i32;
    }

    pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
        // SAFETY: the call writes as many bytes as the buffer has.
        match unsafe { ProcessPrng(bytes.as_mut_ptr(), bytes.len()) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_fillings_differ() {
        let (mut one, mut other) = ([0; 32], [0; 32]);
        super::fill(&mut one).unwrap();
        super::fill(&mut other).unwrap();
        assert!(one != other && one != [0; 32]);
    }
}
