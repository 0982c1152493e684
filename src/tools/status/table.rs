//! Columns, and lines that fit the terminal.

/// Columns of a terminal.
const WIDTH: usize = 80;

/// Begins each cell of a column that is aligned to the right.
const RIGHT: char = '>';

/// Lays out rows whose cells are separated by tabs. A column is as wide as its widest cell.
pub fn table(rows: &[String]) -> String {
    let mut widths = Vec::new();
    for row in rows {
        for (column, cell) in row.split('\t').enumerate() {
            let width = cell.trim_start_matches(RIGHT).len();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let start = text.len();
        for (cell, width) in row.split('\t').zip(&widths) {
            if text.len() > start {
                text.push_str("  ");
            }
            let width = *width;
            text.push_str(&match cell.strip_prefix(RIGHT) {
                Some(number) => format!("{number:>width$}"),
                None => format!("{cell:width$}"),
            });
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// Wraps words into lines that fit the terminal and that begin below the first word, which follows the
/// label.
pub fn wrap<'a>(label: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::from(label);
    let mut column = label.len();
    for word in words {
        if column > label.len() {
            if column + word.len() < WIDTH {
                text.push(' ');
                column += 1;
            } else {
                text.push('\n');
                text.push_str(&" ".repeat(label.len()));
                column = label.len();
            }
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = ["A\t>NUMBER\tB", "word\t>1\tx", "\t>10000000\tlong"];
        assert_eq!(
            table(&rows.map(String::from)),
            "A       NUMBER  B\nword         1  x\n      10000000  long\n"
        );
    }

    #[test]
    fn words_wrap_below_the_first() {
        let text = wrap("traps  ", ["10000"; 30]);
        let lines = Vec::from_iter(text.lines());
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].len(), 7 + 12 * 6 - 1);
        assert!(lines[1].starts_with("       10000 "));

        let (x, y, z) = ("x".repeat(72), "y".repeat(5), "z".repeat(40));
        let text = wrap(
            "",
            [&*format!("{x},"), &format!("{y},"), &format!("{z} {z}")],
        );
        assert_eq!(text, format!("{x}, {y},\n{z} {z}\n"));
    }
}
