//! Random bytes from the operating system, for secrets.

use std::io;

/// Fills the buffer, of at most 256 bytes, with bytes that nobody can predict.
///
/// Shortly after a router has started it waits until the kernel has gathered enough randomness,
/// which a read of /dev/urandom would not.
///
/// # Errors
/// A kernel before 3.17 has no such bytes (getrandom(2)).
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    platform::fill(bytes)
}

#[cfg(target_os = "linux")]
mod platform {
    use super::super::check;
    use std::io;

    pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
        loop {
            let (to, count) = (bytes.as_mut_ptr(), bytes.len());
            // SAFETY: the call writes no more bytes than the buffer has. Of so few it writes all.
            match check(unsafe { libc::syscall(libc::SYS_getrandom, to, count, 0) }) {
                // While it waits for the kernel to gather them.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done.map(drop),
            }
        }
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
mod platform {
    use super::super::check;
    use std::io;

    // In macOS since 10.12.
    pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
        // SAFETY: the call writes as many bytes as the buffer has.
        check(unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) }).map(drop)
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
