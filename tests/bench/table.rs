//! What is printed: a line for each figure, two columns, and how they compare.

use std::fmt::Write as _;
use std::{fs, thread};

/// The least, the median and the greatest of some samples.
pub struct Figure {
    low: f64,
    pub median: f64,
    high: f64,
}

impl Figure {
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self {
            low: samples[0],
            median: samples[samples.len() / 2],
            high: samples[samples.len() - 1],
        }
    }

    /// A figure that was measured once.
    pub fn exactly(value: f64) -> Self {
        Self::of(vec![value])
    }

    fn text(&self) -> String {
        let digits = |value: f64| match value {
            value if value >= 100.0 => 0,
            value if value >= 10.0 => 1,
            _ => 2,
        };
        let Self { low, median, high } = *self;
        if low.to_bits() == high.to_bits() {
            return format!("{median:>9.0$}", digits(median));
        }
        format!(
            "{median:>9.0$} {low:>8.1$} {high:>8.2$}",
            digits(median),
            digits(low),
            digits(high)
        )
    }
}

pub struct Table {
    rounds: usize,
    /// What stands above the two columns.
    columns: [&'static str; 2],
    lines: String,
}

impl Table {
    /// A table of medians of so many rounds.
    pub fn new(rounds: usize, columns: [&'static str; 2]) -> Self {
        Self {
            rounds,
            columns,
            lines: String::new(),
        }
    }

    pub fn row(
        &mut self,
        what: &str,
        left: Option<Figure>,
        right: Option<Figure>,
        ratio: Option<f64>,
    ) {
        let text = |figure: Option<Figure>| figure.map_or_else(String::new, |figure| figure.text());
        let (left, right) = (text(left), text(right));
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        let line = format!("{what:<44}{left:<30}{right:<30}{ratio}");
        let _ = writeln!(self.lines, "{}", line.trim_end());
    }

    /// A line whose right column alone has a figure, measured once.
    pub fn one(&mut self, what: &str, value: f64) {
        self.row(what, None, Some(Figure::exactly(value)), None);
    }

    /// A line without figures.
    pub fn none(&mut self, what: &str, why: &str) {
        let _ = writeln!(self.lines, "{what:<74}        - {why}");
    }

    pub fn print(&self) {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let Self {
            rounds,
            columns: [left, right],
            lines,
        } = self;
        println!("{processors} processors, load {load}; medians of {rounds} rounds\n");
        let heads = ["   median      min      max", "   median      min      max"];
        println!("{:<44}{left:<30}{right}", "");
        println!("{:<44}{:<30}{:<30}ratio", "", heads[0], heads[1]);
        print!("{lines}");
    }
}
