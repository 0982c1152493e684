//! A moment as people write it: `--at 1794000000`, `--at 2026-11-21T09:00:00+01:00`.
//!
//! RFC 3339, section 5.6, by hand: date, time and offset have fixed widths, so it is a few lines.

use crate::config::{Parsed, parse_number};
use crate::message::Message;

/// What is wrong with a text, worded to stand behind it.
type Wrong = &'static str;

/// What stands before the time of day, in letters that are all one byte wide.
const DATE: &str = "2026-11-21";

const NO_MOMENT: Wrong = "is no time; give unix seconds (1794000000) or RFC 3339 \
                          (2026-11-21T09:00:00Z, 2026-11-21T10:00:00+01:00)";
const NO_OFFSET: Wrong = "says no offset from UTC; end it with Z, or with an offset such as +01:00";
const NO_DAY: Wrong = "is a day that no calendar has";
const NO_TIME_OF_DAY: Wrong = "is a time that no day has; the last is 23:59:59";
const NO_SUCH_OFFSET: Wrong = "has no offset between -23:59 and +23:59";
const BEFORE_1970: Wrong = "lies before 1970, where unix time begins";
const TOO_LATE: Wrong = "is too many seconds";

/// Seconds since 1970 in UTC.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn parse(text: &str) -> Parsed<u64> {
    unix_seconds(text).map_err(|wrong| Message::new(format_args!("{text} {wrong}")))
}

fn unix_seconds(text: &str) -> Result<u64, Wrong> {
    if is_digits(text) {
        return parse_number(text).ok_or(TOO_LATE);
    }
    let (date, time) = text.split_at_checked(DATE.len()).ok_or(NO_MOMENT)?;
    let time = time.strip_prefix(['T', 't', ' ']).ok_or(NO_MOMENT)?;
    let [year, month, day] = fields(date, '-', [4, 2, 2]).ok_or(NO_MOMENT)?;
    let (clock, offset_s) = split_offset(time)?;
    if !(1..=12).contains(&month) || !(1..=days_of_month(year, month)).contains(&day) {
        return Err(NO_DAY);
    }
    let second_s = second_of_day(clock)? - offset_s;
    let unix = i64::from(days_since_1970(year, month, day)) * 86_400 + i64::from(second_s);
    u64::try_from(unix).map_err(|_| BEFORE_1970)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The time of day, and how many seconds its clock is ahead of UTC.
fn split_offset(time: &str) -> Result<(&str, i32), Wrong> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Ok((clock, 0));
    }
    let is_sign = |byte| matches!(byte, b'+' | b'-');
    let sign = time.bytes().rposition(is_sign).ok_or(NO_OFFSET)?;
    let (clock, offset) = time.split_at(sign);
    let [hours, minutes, _] = fields(&offset[1..], ':', [2, 2, 0]).ok_or(NO_MOMENT)?;
    if hours > 23 || minutes > 59 {
        return Err(NO_SUCH_OFFSET);
    }
    let ahead_s = (hours * 60 + minutes) * 60;
    let is_behind = offset.starts_with('-');
    Ok((clock, if is_behind { -ahead_s } else { ahead_s }))
}

/// Fractions are dropped: a window begins with a whole second.
fn second_of_day(clock: &str) -> Result<i32, Wrong> {
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    if !is_digits(fraction) {
        return Err(NO_MOMENT);
    }
    let [hour, minute, second] = fields(clock, ':', [2, 2, 2]).ok_or(NO_MOMENT)?;
    // Second 60 is a leap second; unix time counts it as the one behind it.
    if hour > 23 || minute > 59 || second > 60 {
        return Err(NO_TIME_OF_DAY);
    }
    Ok((hour * 60 + minute) * 60 + second)
}

/// The numbers of a text such as `09:00:00`, each as wide as it has to be. One of width 0 is not
/// there, and 0.
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

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i32, month: i32) -> i32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i32, month: i32, day: i32) -> i32 {
    let before = (1..month).map(|month| days_of_month(year, month));
    let years = year - 1;
    let leap_days = |years: i32| years / 4 - years / 100 + years / 400;
    (year - 1970) * 365 + leap_days(years) - leap_days(1969) + before.sum::<i32>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_seconds_are_taken_as_they_are() {
        assert_eq!(unix_seconds("0"), Ok(0));
        assert_eq!(unix_seconds("1794000000"), Ok(1_794_000_000));
        assert_eq!(unix_seconds("253402300800"), Ok(253_402_300_800));
        assert_eq!(unix_seconds("99999999999999999999"), Err(TOO_LATE));
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
            ("", NO_MOMENT),
            ("yesterday", NO_MOMENT),
            ("-1", NO_MOMENT),
            ("+1", NO_MOMENT),
            ("2026-11-21", NO_MOMENT),
            ("26-11-21T09:00:00Z", NO_MOMENT),
            ("2026-11-21T09:00Z", NO_MOMENT),
            ("2026-11-21T9:00:00Z", NO_MOMENT),
            ("2026-11-21T09:00:00.Z", NO_MOMENT),
            ("2026-11-21T09:00:00+1", NO_MOMENT),
            ("2026-11-21T09:00:0\u{661}Z", NO_MOMENT),
            ("2026-11-21T09:00:00", NO_OFFSET),
            ("2026-11-21T09:00:00+24:00", NO_SUCH_OFFSET),
            ("2026-13-01T09:00:00Z", NO_DAY),
            ("2026-00-01T09:00:00Z", NO_DAY),
            ("2026-02-29T09:00:00Z", NO_DAY),
            ("2100-02-29T09:00:00Z", NO_DAY),
            ("2026-11-00T09:00:00Z", NO_DAY),
            ("2026-11-21T24:00:00Z", NO_TIME_OF_DAY),
            ("2026-11-21T09:60:00Z", NO_TIME_OF_DAY),
            ("2026-11-21T09:00:61Z", NO_TIME_OF_DAY),
            ("1969-12-31T23:59:59Z", BEFORE_1970),
            ("1970-01-01T00:00:00+00:01", BEFORE_1970),
            ("0000-01-01T00:00:00Z", BEFORE_1970),
        ] {
            assert_eq!(unix_seconds(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn every_day_is_one_after_the_day_before() {
        let mut days = 0;
        for year in 1970..2404 {
            for month in 1..=12 {
                for day in 1..=days_of_month(year, month) {
                    assert_eq!(days_since_1970(year, month, day), days);
                    days += 1;
                }
            }
        }
    }
}
