//! Numbers in configurations and in the daemon's files.

/// Parses a number of digits only. One parser for all: std's also accepts a sign, and each integer type has
/// its own, of a quarter of a kilobyte.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    let mut number = None;
    for byte in text.bytes() {
        let digit = char::from(byte).to_digit(10)?;
        let tens = number.unwrap_or(0u64).checked_mul(10)?;
        number = Some(tens.checked_add(u64::from(digit))?);
    }
    number
}
