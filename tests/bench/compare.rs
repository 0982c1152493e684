//! Two programs in one run. They take turns in short samples, so that what else the machine does meets both.

use crate::count::{COUNTED, Counts};
use crate::daemon::{Bench, Setup};
use crate::table::{Figure, Table};
use crate::traffic::{FLOWS, KINDS, sample};
use std::path::Path;

/// Samples of each kind.
const ROUNDS: usize = 9;

impl Bench {
    /// Measures the bench's program beside an older one.
    pub fn compare(&self, before: &Path) -> Table {
        let mut table = Table::new(ROUNDS, ["before", "now"]);
        let programs = [before, &self.program];
        self.compare_traffic(programs, &mut table);
        let calls = programs.map(|program| self.system_calls(program));
        compare_counts("calls", calls, "(needs strace)", &mut table);
        let instructions = programs.map(|program| self.instructions(program));
        compare_counts("instructions", instructions, "(needs valgrind)", &mut table);
        self.compare_memory(programs, &mut table);
        table
    }

    fn compare_traffic(&self, programs: [&Path; 2], table: &mut Table) {
        let services = self.services.all();
        let daemons = programs.map(|program| self.start(&Setup::of(program), &services));
        for (number, kind) in KINDS.iter().enumerate() {
            for (flows, name) in FLOWS {
                // The rates, the costs, and the ratios of the rates and of the costs.
                let mut samples: [Vec<f64>; 6] = Default::default();
                for round in 0..ROUNDS {
                    let mut values = [0.0; 4];
                    for turn in 0..2 {
                        // Neither is always the first.
                        let which = (round + turn) % 2;
                        let door = daemons[which].door(number as u16);
                        (values[which], values[2 + which]) =
                            sample(kind, flows, door, &daemons[which]);
                    }
                    let [a, b, c, d] = values;
                    for (samples, value) in samples.iter_mut().zip([a, b, c, d, b / a, d / c]) {
                        samples.push(value);
                    }
                }
                let [before, now, cost_before, cost_now, rates, costs] = samples.map(Figure::of);
                let (rate, cost) = (format!("{}, {name}", kind.rate), format!("  {}", kind.cost));
                table.row(&rate, Some(before), Some(now), Some(rates.median));
                table.row(&cost, Some(cost_before), Some(cost_now), Some(costs.median));
            }
        }
    }

    /// Of a daemon with the default configuration and one mirage that nobody has come to.
    fn compare_memory(&self, programs: [&Path; 2], table: &mut Table) {
        let daemons = programs.map(|program| {
            let setup = Setup {
                common: "",
                ..Setup::of(program)
            };
            self.start(&setup, &[self.services.echo])
        });
        for (what, line) in [
            ("idle, KiB resident", "Rss:"),
            ("  of which its own (RssAnon)", "Anonymous:"),
        ] {
            let [before, now] = [0, 1].map(|which: usize| daemons[which].memory(line));
            compare_one(what, [before, now], table);
        }
    }
}

fn compare_counts(unit: &str, counts: [Counts; 2], why_not: &str, table: &mut Table) {
    for (number, (what, _)) in COUNTED.iter().enumerate() {
        let what = format!("{unit} {what}");
        match counts.map(|counts| counts[number]) {
            [Some(before), Some(now)] => compare_one(&what, [before, now], table),
            _ => table.none(&what, why_not),
        }
    }
}

fn compare_one(what: &str, [before, now]: [f64; 2], table: &mut Table) {
    let figures = [before, now].map(|value| Some(Figure::exactly(value)));
    let [left, right] = figures;
    table.row(what, left, right, Some(now / before));
}
