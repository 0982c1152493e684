//! A moment as the log and the messages write it, so that one can be found in the other.

use core::fmt;
use time::{OffsetDateTime, PrimitiveDateTime};

/// A moment in the form of RFC 3339, in UTC: `2026-11-21T09:00:00.123Z`. The last year is 9999.
#[derive(Debug)]
pub struct Rfc3339 {
    /// Milliseconds since 1970.
    pub unix_ms: i64,
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.unix_ms.div_euclid(1_000);
        let moment = OffsetDateTime::from_unix_timestamp(seconds);
        let moment = moment.unwrap_or(PrimitiveDateTime::MAX.assume_utc());
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second) = moment.to_hms();
        let milliseconds = self.unix_ms.rem_euclid(1_000);
        // The crate's own format drops zeros at the end, and the log's columns would not line up.
        write!(f, "{year:04}-{:02}-{day:02}", u8::from(month))?;
        write!(f, "T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
    }
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
        assert_eq!(time(2_147_483_648), "2038-01-19T03:14:08.005Z");
        assert_eq!(time(4_294_967_296), "2106-02-07T06:28:16.005Z");
        assert_eq!(time(253_402_300_799), "9999-12-31T23:59:59.005Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.005Z");
        assert_eq!(time(253_402_300_800), "9999-12-31T23:59:59.005Z");
    }
}
