//! Random bytes from the operating system, for secrets.

use std::io;

/// Fills the buffer with bytes that nobody can predict.
///
/// Shortly after a router has started, this waits until the kernel has gathered enough randomness.
///
/// # Errors
/// The operating system has no source of randomness.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    Ok(getrandom::fill(bytes)?)
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
