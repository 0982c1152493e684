//! Columns, and lines that fit the terminal.

/// Columns of a terminal.
const WIDTH: usize = 80;

/// Columns of a table, at most.
const COLUMNS: usize = 7;

/// What a cell begins with that holds a number, as do all of its column.
const NUMBER: &str = ">";

/// Lays out what stands behind `start` as a table. Each of its lines is a row, with tabs between the
/// cells; a column is as wide as its widest cell.
pub fn lay_out(text: &mut String, start: usize) {
    let rows = text[start..].to_owned();
    text.truncate(start);
    let mut widths = [0; COLUMNS];
    // All are measured before the first is shown.
    for is_shown in [false, true] {
        for row in rows.split('\n') {
            let mut blanks = 0;
            for (width, cell) in widths.iter_mut().zip(row.split('\t')) {
                if !is_shown {
                    *width = cell.len().max(*width);
                    continue;
                }
                let rest = *width - cell.len();
                let (before, cell, behind) = match cell.strip_prefix(NUMBER) {
                    Some(number) => (rest, number, 0),
                    None => (0, cell, rest),
                };
                pad(text, blanks + before);
                text.push_str(cell);
                blanks = behind + 2;
            }
            if is_shown {
                text.push('\n');
            }
        }
    }
}

fn pad(text: &mut String, blanks: usize) {
    for _ in 0..blanks {
        text.push(' ');
    }
}

/// Wraps the line that begins at `line`, with a tab between its label and its words: into lines that
/// fit the terminal, and that begin below the first word. `between` stands between two words.
pub fn wrap(text: &mut String, line: usize, between: char) {
    let rest = text[line..].to_owned();
    text.truncate(line);
    let (label, words) = rest.split_once('\t').unwrap_or_default();
    text.push_str(label);
    let mut column = label.len();
    for word in words.split(between) {
        if column > label.len() {
            if column + word.len() < WIDTH {
                text.push(' ');
                column += 1;
            } else {
                text.push('\n');
                pad(text, label.len());
                column = label.len();
            }
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut text = String::from("head\nA\t>NUMBER\tB\nword\t>1\tx\n\t>10000000\tlong\tmore");
        lay_out(&mut text, 5);
        assert_eq!(
            text,
            "head\nA       NUMBER  B\nword         1  x\n      10000000  long  more\n"
        );
    }

    #[test]
    fn words_wrap_below_the_first() {
        let mut text = format!("head\ntraps  \t{}", ["10000"; 30].join(" "));
        wrap(&mut text, 5, ' ');
        let lines = Vec::from_iter(text.lines());
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1].len(), 7 + 12 * 6 - 1);
        assert!(lines[2].starts_with("       10000 "));

        let (x, y, z) = ("x".repeat(72), "y".repeat(5), "z".repeat(40));
        let mut text = format!("\t{x},\n{y},\n{z} {z}");
        wrap(&mut text, 0, '\n');
        assert_eq!(text, format!("{x}, {y},\n{z} {z}\n"));
    }
}
