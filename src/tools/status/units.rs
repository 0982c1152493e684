//! Durations and amounts, short enough for a column.

use core::fmt;

/// Seconds in their two largest units: 43m48s, 2h, 1d7h.
pub struct Time(pub u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, char); 4] = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
        let Self(seconds) = *self;
        let largest = UNITS.iter().position(|(unit, _)| seconds >= *unit);
        let Some(largest) = largest else {
            return f.write_str("0s");
        };
        let (unit, letter) = UNITS[largest];
        write!(f, "{}{letter}", seconds / unit)?;
        match UNITS.get(largest + 1) {
            Some((next, letter)) if seconds % unit >= *next => {
                write!(f, "{}{letter}", seconds % unit / next)
            }
            _ => Ok(()),
        }
    }
}

/// Bytes in at most four characters: 877, 9.6K, 120M.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units = self.0;
        let mut below = 0;
        let mut letters = "KMGTPE".chars();
        let mut letter = None;
        // 999 and a half would be 1000.
        while units >= 999 {
            below = units % 1_024;
            units >>= 10;
            letter = letters.next();
        }
        let Some(letter) = letter else {
            return write!(f, "{units}");
        };
        let tenths = units * 10 + (below * 10 + 512) / 1_024;
        if tenths < 100 {
            write!(f, "{}.{}{letter}", tenths / 10, tenths % 10)
        } else {
            write!(f, "{}{letter}", units + below / 512)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (900, "15m"),
            (2_628, "43m48s"),
            (3_599, "59m59s"),
            (3_601, "1h"),
            (7_260, "2h1m"),
            (86_400, "1d"),
            (90_061, "1d1h"),
            (31_536_000, "365d"),
            (4_294_967_295, "49710d6h"),
        ] {
            assert_eq!(Time(seconds).to_string(), text);
        }
    }

    #[test]
    fn bytes_have_few_digits() {
        for (count, text) in [
            (0, "0"),
            (998, "998"),
            (999, "1.0K"),
            (4_161, "4.1K"),
            (9_877, "9.6K"),
            (10_188, "9.9K"),
            (10_189, "10K"),
            (10_240, "10K"),
            (1_022_975, "999K"),
            (1_022_976, "1.0M"),
            (125_829_120, "120M"),
            (5_497_558_138_880, "5.0T"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(Bytes(count).to_string(), text, "{count}");
        }
    }
}
