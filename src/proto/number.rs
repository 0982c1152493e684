//! Numbers as they are written in configurations and files of the daemon.

/// A number in digits alone. One for all: a number's own parser takes a sign too, and each type of number
/// has another, of a quarter of a kilobyte.
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
