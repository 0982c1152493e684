//! A time as people write it: `--at 1794000000`, `--at 2026-11-21T09:00:00+01:00`.
//!
//! RFC 3339, section 5.6, and a blank instead of the T. The crate `time` knows the calendar; its parser
//! would say neither what is wrong with a text nor what to write instead.

use crate::config::{Parsed, parse_number};
use crate::message::Message;
use core::fmt;
use std::error::Error;
use time::{Date, Month};

/// A date is as long as this one, in characters of one byte.
const DATE: &str = "2026-11-21";

/// What is wrong with a time, to be said after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MomentError {
    /// Neither a number nor RFC 3339.
    Format,
    NoOffset,
    Offset,
    Day,
    TimeOfDay,
    Before1970,
    TooLarge,
}

impl fmt::Display for MomentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => {
                "is not a time; give Unix seconds (1794000000) or RFC 3339 (2026-11-21T09:00:00Z, \
                 2026-11-21T10:00:00+01:00)"
            }
            Self::NoOffset => "has no UTC offset; end it with Z or +01:00",
            Self::Offset => "has an offset that is not from -23:59 to +23:59",
            Self::Day => "is not a valid date",
            Self::TimeOfDay => "has a time of day that is not from 00:00:00 to 23:59:59",
            Self::Before1970 => "is before 1970, where Unix time begins",
            Self::TooLarge => "is too large",
        })
    }
}

impl Error for MomentError {}

/// The time in seconds since 1970.
///
/// # Errors
/// What is wrong with the text, and what to write instead.
pub fn parse(text: &str) -> Parsed<u64> {
    unix_seconds(text).map_err(|error| Message::new(format_args!("{text} {error}")))
}

fn unix_seconds(text: &str) -> Result<u64, MomentError> {
    if is_digits(text) {
        return parse_number(text).ok_or(MomentError::TooLarge);
    }
    let (date, time) = text
        .split_at_checked(DATE.len())
        .ok_or(MomentError::Format)?;
    let time = time
        .strip_prefix(['T', 't', ' '])
        .ok_or(MomentError::Format)?;
    let date = fields(date, '-', [4, 2, 2]).ok_or(MomentError::Format)?;
    let (clock, offset_s) = split_offset(time)?;
    let midnight = calendar_date(date).ok_or(MomentError::Day)?.midnight();
    let second = second_of_day(clock)? - offset_s;
    let unix = midnight.assume_utc().unix_timestamp() + i64::from(second);
    u64::try_from(unix).map_err(|_| MomentError::Before1970)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn calendar_date([year, month, day]: [i32; 3]) -> Option<Date> {
    let month = Month::try_from(month as u8).ok()?;
    Date::from_calendar_date(year, month, day as u8).ok()
}

/// The time of day, and how far it is ahead of UTC in seconds.
fn split_offset(time: &str) -> Result<(&str, i32), MomentError> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Ok((clock, 0));
    }
    let is_sign = |byte| matches!(byte, b'+' | b'-');
    let sign = time.bytes().rposition(is_sign);
    let (clock, offset) = time.split_at(sign.ok_or(MomentError::NoOffset)?);
    let fields = fields(&offset[1..], ':', [2, 2, 0]);
    let [hours, minutes, _] = fields.ok_or(MomentError::Format)?;
    if hours > 23 || minutes > 59 {
        return Err(MomentError::Offset);
    }
    let ahead_s = (hours * 60 + minutes) * 60;
    let is_behind = offset.starts_with('-');
    Ok((clock, if is_behind { -ahead_s } else { ahead_s }))
}

/// Fractions are dropped, because every minute begins with a whole second.
fn second_of_day(clock: &str) -> Result<i32, MomentError> {
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    if !is_digits(fraction) {
        return Err(MomentError::Format);
    }
    let fields = fields(clock, ':', [2, 2, 2]);
    let [hour, minute, second] = fields.ok_or(MomentError::Format)?;
    // Second 60 is a leap second. Unix time counts it as the second after it.
    if hour > 23 || minute > 59 || second > 60 {
        return Err(MomentError::TimeOfDay);
    }
    Ok((hour * 60 + minute) * 60 + second)
}

/// The numbers of a text such as `09:00:00`, each of exactly the width given. Width 0 stands for a field
/// that is left out, and is 0.
fn fields(text: &str, separator: char, widths: [usize; 3]) -> Option<[i32; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, width) in numbers.iter_mut().zip(widths) {
        if width > 0 {
            let part = parts.next().filter(|part| part.len() == width)?;
            *number = parse_number(part)? as i32;
        }
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_seconds_are_taken_as_they_are() {
        assert_eq!(unix_seconds("0"), Ok(0));
        assert_eq!(unix_seconds("1794000000"), Ok(1_794_000_000));
        assert_eq!(unix_seconds("253402300800"), Ok(253_402_300_800));
        assert_eq!(
            unix_seconds("99999999999999999999"),
            Err(MomentError::TooLarge)
        );
    }

    #[test]
    fn dates_with_their_time_and_offset_are_unix_seconds() {
        for (text, unix) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-21T09:00:00Z", 1_795_251_600),
            ("2026-11-21t09:00:00z", 1_795_251_600),
            ("2026-11-21 09:00:00Z", 1_795_251_600),
            ("2026-11-21T09:00:00.999Z", 1_795_251_600),
            ("2026-11-21T10:00:00+01:00", 1_795_251_600),
            ("2026-11-21T03:30:00-05:30", 1_795_251_600),
            ("1970-01-01T00:00:00-00:01", 60),
            ("2016-12-31T23:59:60Z", 1_483_228_800),
            ("2038-01-19T03:14:08Z", 2_147_483_648),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(unix_seconds(text), Ok(unix), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, wrong) in [
            ("", MomentError::Format),
            ("yesterday", MomentError::Format),
            ("-1", MomentError::Format),
            ("+1", MomentError::Format),
            ("2026-11-21", MomentError::Format),
            ("26-11-21T09:00:00Z", MomentError::Format),
            ("2026-11-21T09:00Z", MomentError::Format),
            ("2026-11-21T9:00:00Z", MomentError::Format),
            ("2026-11-21T09:00:00.Z", MomentError::Format),
            ("2026-11-21T09:00:00+1", MomentError::Format),
            ("2026-11-21T09:00:0\u{661}Z", MomentError::Format),
            ("2026-11-21T09:00:00", MomentError::NoOffset),
            ("2026-11-21T09:00:00+24:00", MomentError::Offset),
            ("2026-13-01T09:00:00Z", MomentError::Day),
            ("2026-00-01T09:00:00Z", MomentError::Day),
            ("2026-02-29T09:00:00Z", MomentError::Day),
            ("2100-02-29T09:00:00Z", MomentError::Day),
            ("2026-11-00T09:00:00Z", MomentError::Day),
            ("2026-11-21T24:00:00Z", MomentError::TimeOfDay),
            ("2026-11-21T09:60:00Z", MomentError::TimeOfDay),
            ("2026-11-21T09:00:61Z", MomentError::TimeOfDay),
            ("1969-12-31T23:59:59Z", MomentError::Before1970),
            ("1970-01-01T00:00:00+00:01", MomentError::Before1970),
            ("0000-01-01T00:00:00Z", MomentError::Before1970),
        ] {
            assert_eq!(unix_seconds(text), Err(wrong), "{text}");
        }
    }
}
