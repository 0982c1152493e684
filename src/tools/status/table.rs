//! Figures as a person reads them: in columns, in few digits.

use core::fmt;

/// Columns of a terminal.
const WIDTH: usize = 80;

/// What a heading begins with whose column holds numbers.
const NUMBERS: char = '>';

/// Adds a table to a text. Each of its lines is a row, with tabs between the cells, and the first has
/// the headings; a column is as wide as its widest cell.
pub fn write_table(text: &mut String, rows: &str) {
    let mut columns: Vec<(bool, usize)> = Vec::new();
    for row in rows.lines() {
        for (index, cell) in row.split('\t').enumerate() {
            match columns.get_mut(index) {
                Some((_, width)) => *width = cell.len().max(*width),
                None => {
                    let heading = cell.trim_start_matches(NUMBERS);
                    columns.push((heading.len() < cell.len(), heading.len()));
                }
            }
        }
    }
    for row in rows.lines() {
        for (cell, (is_number, width)) in row.split('\t').zip(&columns) {
            let cell = cell.trim_start_matches(NUMBERS);
            let blanks = width - cell.len();
            let (before, behind) = if *is_number {
                (blanks, 2)
            } else {
                (0, blanks + 2)
            };
            pad(text, before);
            text.push_str(cell);
            pad(text, behind);
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
}

fn pad(text: &mut String, blanks: usize) {
    for _ in 0..blanks {
        text.push(' ');
    }
}

/// Adds words behind a label, in lines that fit the terminal and begin below the first word. Each word
/// but the last ends with `end`.
pub fn write_wrapped(text: &mut String, label: &str, words: &str, end: char) {
    text.push_str(label);
    let mut column = label.len();
    for word in words.split_inclusive(end) {
        let word = word.trim_ascii_end();
        if column > label.len() {
            if column + 1 + word.len() > WIDTH {
                text.push('\n');
                pad(text, label.len());
                column = label.len();
            } else {
                text.push(' ');
                column += 1;
            }
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

/// Seconds in their two longest units: 43m48s, 2h, 1d7h.
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut longer = None;
        for (letter, unit) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
            let count = rest / unit;
            rest %= unit;
            if count > 0 || longer.is_none() && unit == 1 {
                write!(f, "{count}{letter}")?;
            }
            if longer.is_some() {
                break;
            }
            longer = (count > 0).then_some(());
        }
        Ok(())
    }
}

/// Bytes in at most four characters where there is a unit for it: 877, 9.6K, 120M.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 1;
        for letter in ["", "K", "M", "G", "T"] {
            let (units, rest) = (self.0 / unit, self.0 % unit);
            if unit > 1 && units < 10 {
                let tenths = units * 10 + (rest * 20 / unit).div_ceil(2);
                if tenths < 100 {
                    return write!(f, "{}.{}{letter}", tenths / 10, tenths % 10);
                }
            }
            let rounded = units + rest * 2 / unit;
            if rounded < 1_000 {
                return write!(f, "{rounded}{letter}");
            }
            unit *= 1_024;
        }
        write!(f, "{}P", Grouped(self.0 / unit))
    }
}

/// A number with a comma before every three digits.
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1_000 {
            return write!(f, "{}", self.0);
        }
        write!(f, "{},{:03}", Self(self.0 / 1_000), self.0 % 1_000)
    }
}

/// How many of them: 1 ban, 4,096 bans, no bans.
pub struct Counted(pub u64, pub &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, one) = self;
        match count {
            0 => write!(f, "no {one}s"),
            1 => write!(f, "1 {one}"),
            _ => write!(f, "{} {one}s", Grouped(*count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut text = String::new();
        write_table(&mut text, "A\t>NUMBER\tB\nword\t1\tx\n\t10000000\t\n");
        assert_eq!(
            text,
            "A       NUMBER  B\nword         1  x\n      10000000\n"
        );
    }

    #[test]
    fn words_wrap_below_the_first() {
        let mut text = String::new();
        write_wrapped(
            &mut text,
            "traps  ",
            &"10000,".repeat(30).replace(',', " "),
            ' ',
        );
        let lines = Vec::from_iter(text.lines());
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].len(), 7 + 12 * 6 - 1);
        assert!(lines[1].starts_with("       10000 "));

        let (x, y, z) = ("x".repeat(72), "y".repeat(5), "z".repeat(40));
        let mut text = String::new();
        write_wrapped(&mut text, "", &format!("{x},\n{y},\n{z} {z}"), '\n');
        assert_eq!(text, format!("{x}, {y},\n{z} {z}\n"));
    }

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
        ] {
            assert_eq!(Seconds(seconds).to_string(), text);
        }
        assert_eq!(Seconds(u64::MAX).to_string(), "213503982334601d7h");
    }

    #[test]
    fn bytes_have_few_digits() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1.0K"),
            (4_161, "4.1K"),
            (9_877, "9.6K"),
            (10_188, "9.9K"),
            (10_240, "10K"),
            (1_023_487, "999K"),
            (1_023_488, "1.0M"),
            (125_829_120, "120M"),
            (5_497_558_138_880, "5.0T"),
        ] {
            assert_eq!(Bytes(count).to_string(), text, "{count}");
        }
        assert_eq!(Bytes(u64::MAX).to_string(), "16,383P");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (4_071, "4,071"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(Grouped(number).to_string(), text);
        }
        assert_eq!(Counted(0, "ban").to_string(), "no bans");
        assert_eq!(Counted(1, "ban").to_string(), "1 ban");
        assert_eq!(Counted(4_096, "ban").to_string(), "4,096 bans");
    }
}
