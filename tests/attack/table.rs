//! What is printed, and what it comes to.

use crate::statistics::Rate;
use std::time::Instant;

/// So many standard deviations off is no chance: it happens once in 1.7 million.
const MOST_SIGMAS: f64 = 5.0;

/// All verdicts of a run.
#[derive(Default)]
pub struct Report {
    good: usize,
    bad: Vec<String>,
    part: String,
    begun: Option<Instant>,
}

impl Report {
    /// A part begins: what it is about, and what its columns are.
    pub fn part(&mut self, about: &str) {
        self.end_part();
        self.part = about.to_owned();
        self.begun = Some(Instant::now());
        println!("\n== {about}");
    }

    pub fn columns(&self, what: &str, measured: &str, wanted: &str) {
        println!("{what:<50} {measured:<34} {wanted:<24} verdict");
    }

    /// A line of the table, with its verdict.
    pub fn row(&mut self, what: &str, measured: &str, wanted: &str, is_good: bool) {
        let verdict = if is_good { "ok" } else { "FAIL" };
        println!("{what:<50} {measured:<34} {wanted:<24} {verdict}");
        if is_good {
            self.good += 1;
        } else {
            let part = &self.part;
            self.bad
                .push(format!("{part}: {what}: {measured}, wanted {wanted}"));
        }
    }

    /// How often something happened beside how often it should.
    pub fn rate(&mut self, what: &str, rate: Rate, theory: f64) {
        let (low, high) = rate.interval();
        let sigmas = rate.sigmas(theory);
        let measured = format!(
            "{:>6.4}  {low:.4} to {high:.4}  {:>6}",
            rate.share(),
            rate.tries
        );
        let wanted = format!("{theory:>6.4}  {sigmas:>+5.1} sigma");
        let is_good = rate.tries > 0 && sigmas.abs() <= MOST_SIGMAS;
        self.row(what, &measured, &wanted, is_good);
    }

    /// A line that is by formula alone, or says what a part does not.
    pub fn note(&self, what: &str, says: &str) {
        println!("{what:<50} {says}");
    }

    fn end_part(&mut self) {
        if let Some(begun) = self.begun.take() {
            println!("({:.0} s)", begun.elapsed().as_secs_f64());
        }
    }

    /// Says what it comes to. Answers the exit code.
    pub fn finish(mut self) -> i32 {
        self.end_part();
        println!("\n{} ok, {} failed", self.good, self.bad.len());
        for bad in &self.bad {
            println!("FAIL {bad}");
        }
        i32::from(!self.bad.is_empty() || self.good == 0)
    }
}
