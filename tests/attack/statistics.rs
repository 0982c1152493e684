//! What a number of tries says, and what it does not.
//!
//! By hand, because there is little of it; [`check`] holds each function against values that are
//! known from elsewhere, before anything is judged by it.

/// Of the normal distribution, so that 95 % lie within.
const NINETY_FIVE: f64 = 1.959_964;

/// Hits among tries.
#[derive(Clone, Copy, Default)]
pub struct Rate {
    pub hits: u64,
    pub tries: u64,
}

impl Rate {
    pub fn count(&mut self, is_hit: bool) {
        self.hits += u64::from(is_hit);
        self.tries += 1;
    }

    pub fn share(self) -> f64 {
        self.hits as f64 / self.tries as f64
    }

    /// Between which shares the true one lies, 19 times in 20 (Wilson's interval, which is right at
    /// both ends as well).
    pub fn interval(self) -> (f64, f64) {
        let (tries, z2) = (self.tries as f64, NINETY_FIVE * NINETY_FIVE);
        let middle = (self.share() + z2 / (2.0 * tries)) / (1.0 + z2 / tries);
        let spread = self.share() * (1.0 - self.share()) / tries + z2 / (4.0 * tries * tries);
        let half = NINETY_FIVE * spread.sqrt() / (1.0 + z2 / tries);
        ((middle - half).max(0.0), (middle + half).min(1.0))
    }

    /// After no hit at all: below what the true share is, 19 times in 20.
    pub fn bound_of_none(self) -> f64 {
        1.0 - 0.05f64.powf(1.0 / self.tries as f64)
    }

    /// By how many of its standard deviations the share is off from what theory says. Where theory
    /// is certain, a single try that it did not foresee is off for ever.
    pub fn sigmas(self, theory: f64) -> f64 {
        let expected = theory * self.tries as f64;
        let deviation = (expected * (1.0 - theory)).max(0.0).sqrt();
        let off = self.hits as f64 - expected;
        if off.abs() < 1e-9 * expected.max(1.0) {
            0.0
        } else {
            off / deviation
        }
    }
}

/// The chance that at least one of `picks` different things out of `all` is one of the `good`.
pub fn finds_one(all: usize, good: usize, picks: usize) -> f64 {
    let missed = (0..picks.min(all)).map(|pick| {
        let bad = (all - good).saturating_sub(pick);
        bad as f64 / (all - pick) as f64
    });
    1.0 - missed.product::<f64>()
}

/// The chances that `draws` independent ports of a range of `range` fill 0, 1, 2 … of `places`
/// places of it, each once at most.
pub fn filled(range: usize, places: usize, draws: usize) -> Vec<f64> {
    let mut chances = vec![0.0; draws + 1];
    chances[0] = 1.0;
    for _ in 0..draws {
        for count in (0..=draws).rev() {
            let grows = |count: usize| places.saturating_sub(count) as f64 / range as f64;
            let from_below = match count {
                0 => 0.0,
                count => chances[count - 1] * grows(count - 1),
            };
            chances[count] = chances[count] * (1.0 - grows(count)) + from_below;
        }
    }
    chances
}

/// The chance that two samples of one and the same distribution differ as much as these
/// (Kolmogorov and Smirnov). Equal values make it larger, never smaller.
pub fn same_distribution(one: &[f64], other: &[f64]) -> f64 {
    if one.is_empty() || other.is_empty() {
        return 1.0;
    }
    let sorted = |sample: &[f64]| {
        let mut sample = sample.to_vec();
        sample.sort_by(f64::total_cmp);
        sample
    };
    let (one, other) = (sorted(one), sorted(other));
    let (mut first, mut second, mut widest) = (0, 0, 0.0f64);
    while first < one.len() && second < other.len() {
        let value = one[first].min(other[second]);
        while first < one.len() && one[first] <= value {
            first += 1;
        }
        while second < other.len() && other[second] <= value {
            second += 1;
        }
        let gap = first as f64 / one.len() as f64 - second as f64 / other.len() as f64;
        widest = widest.max(gap.abs());
    }
    let count = (one.len() * other.len()) as f64 / (one.len() + other.len()) as f64;
    let scaled = (count.sqrt() + 0.12 + 0.11 / count.sqrt()) * widest;
    if scaled < 0.2 {
        return 1.0;
    }
    let term = |j: i32| {
        let sign = if j % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * f64::from(j * j) * scaled * scaled).exp()
    };
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

/// The chance that two samples from one urn differ at least as much as `hits` of `tries` each
/// (Fisher's exact test, both sides).
pub fn same_share(one: Rate, other: Rate) -> f64 {
    let logs: Vec<f64> = std::iter::once(0.0)
        .chain((1..=one.tries + other.tries).scan(0.0, |sum, number| {
            *sum += (number as f64).ln();
            Some(*sum)
        }))
        .collect();
    let choose =
        |all: u64, few: u64| logs[all as usize] - logs[few as usize] - logs[(all - few) as usize];
    let (hits, tries) = (one.hits + other.hits, one.tries + other.tries);
    let chance = |first: u64| {
        let log =
            choose(one.tries, first) + choose(other.tries, hits - first) - choose(tries, hits);
        log.exp()
    };
    let seen = chance(one.hits);
    let possible = hits.saturating_sub(other.tries)..=hits.min(one.tries);
    let as_rare = possible
        .map(chance)
        .filter(|chance| *chance <= seen * (1.0 + 1e-9));
    as_rare.sum::<f64>().min(1.0)
}

/// Holds the functions above against known values.
pub fn check() {
    let near = |what: &str, got: f64, known: f64| {
        let is_near = (got - known).abs() <= known.abs() * 2e-3 + 1e-15;
        assert!(is_near, "{what}: {got}, and it is known to be {known}");
    };
    let rate = |hits, tries| Rate { hits, tries };
    let (low, high) = rate(8, 50).interval();
    near("the lower end of 8 in 50", low, 0.083_4);
    near("the upper end of 8 in 50", high, 0.285_1);
    near("none of 100", rate(0, 100).bound_of_none(), 0.029_51);
    near("60 heads of 100", rate(60, 100).sigmas(0.5), 2.0);
    near("a certainty", rate(100, 100).sigmas(1.0), 0.0);
    assert!(rate(99, 100).sigmas(1.0).is_infinite());
    near("an ace among 5 of 52 cards", finds_one(52, 4, 5), 0.341_2);
    near(
        "3 of 48 by 8",
        finds_one(48, 3, 8),
        1.0 - 59_280.0 / 103_776.0,
    );
    near("all of them", finds_one(16, 1, 16), 1.0);
    let birthdays = filled(365, 365, 23);
    near("23 birthdays that all differ", birthdays[23], 0.492_7);
    // 100 each, the half of which overlaps: the gap is 0.5, scaled 3.603.
    let ramp = |from: u32| (from..from + 100).map(f64::from).collect::<Vec<_>>();
    let half = same_distribution(&ramp(0), &ramp(50));
    near("half an overlap", half, 1.055_3e-11);
    near("the same twice", same_distribution(&ramp(0), &ramp(0)), 1.0);
    near(
        "1 of 10, 11 of 14",
        same_share(rate(1, 10), rate(11, 14)),
        0.002_759,
    );
    near(
        "0 of 9 and 9 of 9",
        same_share(rate(0, 9), rate(9, 9)),
        2.0 / 48_620.0,
    );
    near("no difference", same_share(rate(5, 10), rate(5, 10)), 1.0);
}
