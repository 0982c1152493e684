//! A moment as the log and the messages have it, so that the one can be found in the other.

use core::fmt;

/// A moment as RFC 3339 has it, in UTC: `2026-11-21T09:00:00.123Z`.
#[derive(Debug)]
pub struct Rfc3339 {
    /// Milliseconds since 1970.
    pub unix_ms: i64,
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.unix_ms.div_euclid(1_000);
        // From here on 32 bits do, for six million years; on routers they are less code than 64.
        let days = seconds.div_euclid(86_400) as i32;
        let second = seconds.rem_euclid(86_400) as u32;
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let milliseconds = self.unix_ms.rem_euclid(1_000) as u32;
        write!(f, "{year:04}-{month:02}-{day:02}")?;
        write!(f, "T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
    }
}

/// Year, month and day of a day since 1970. The year begins in March here, so that the leap day is
/// its last, and 400 of them have 146,097 days (Howard Hinnant, chrono-compatible date algorithms).
fn civil(days: i32) -> (i32, i32, i32) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i32::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(unix: i64) -> String {
        let unix_ms = unix * 1_000 + 5;
        Rfc3339 { unix_ms }.to_string()
    }

    #[test]
    fn times_are_rfc_3339_in_any_century() {
        assert_eq!(time(0), "1970-01-01T00:00:00.005Z");
        assert_eq!(time(951_782_400), "2000-02-29T00:00:00.005Z");
        assert_eq!(time(1_794_000_000), "2026-11-06T21:20:00.005Z");
        assert_eq!(time(4_294_967_296), "2106-02-07T06:28:16.005Z");
        assert_eq!(time(253_402_300_799), "9999-12-31T23:59:59.005Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.005Z");
    }
}
