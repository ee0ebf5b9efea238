//! Always-valid intervals, for the eye: a rate and a quantile with what the data leave possible.
//!
//! Verdicts do not use them. Invariant: the true value is inside at all looks together with a chance of at least 1 − α,
//! provided that requests are independent.

use serde::{Deserialize, Serialize};

use crate::counts::Tally;

/// A closed interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// The least that is still possible.
    pub low: f64,
    /// The most that is still possible.
    pub high: f64,
}

/// The rates p, 0 ≤ p ≤ 1, that `tally` does not speak against with an e-value of 1/α: a confidence sequence.
///
/// ```text
/// { p : B(k + ½, n − k + ½) / (π pᵏ (1 − p)ⁿ⁻ᵏ) < 1/α }
/// ```
///
/// The numerator is the probability of the data if p were drawn from Jeffreys' prior, so the ratio is an e-process for
/// every p at once (Robbins 1970; Howard, Ramdas, `McAuliffe`, Sekhon, arXiv 1810.08240). `alpha` is between 0 and 1.
pub fn rate_interval(tally: Tally, alpha: f64) -> Interval {
    let (n, k) = (tally.total as f64, tally.bad.min(tally.total) as f64);
    if tally.total == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let ln_marginal = ln_gamma(k + 0.5) + ln_gamma(n - k + 0.5) - ln_gamma(n + 1.0) - std::f64::consts::PI.ln();
    let ln_bound = ln_marginal + alpha.ln();
    // Rises up to the observed rate and falls after it.
    let inside = |p: f64| term(k, p) + term(n - k, 1.0 - p) > ln_bound;
    let rate = k / n;
    let low = if inside(0.0) { 0.0 } else { edge(&inside, rate, 0.0) };
    let high = if inside(1.0) { 1.0 } else { edge(&inside, rate, 1.0) };
    Interval { low, high }
}

/// k ln p, where 0 ln 0 is 0.
fn term(k: f64, p: f64) -> f64 {
    if k == 0.0 { 0.0 } else { k * p.ln() }
}

/// The outermost point that is inside, between one that is and one that is not, rounded outwards.
fn edge(inside: &impl Fn(f64) -> bool, mut within: f64, mut without: f64) -> f64 {
    for _ in 0..64 {
        let middle = f64::midpoint(within, without);
        if inside(middle) { within = middle } else { without = middle }
    }
    without
}

/// Between which thresholds the quantile lies: `low` is 0 where nothing is known below, `high` is infinite where nothing
/// is known above.
///
/// `exceeding` has, for thresholds in ascending order, how many of the requests were slower; `quantile` is 0.95 for the
/// 95th percentile. For each threshold the share of slower requests has an interval; a threshold is below the quantile
/// if that lies above 1 − quantile, and not below it if it lies under. Only the two thresholds next to the true quantile can
/// mislead, because the tallies are nested, so intervals at α/2 give 1 − α for the quantile.
pub fn quantile_interval(exceeding: &[(f64, Tally)], quantile: f64, alpha: f64) -> Interval {
    let share = 1.0 - quantile;
    let mut interval = Interval { low: 0.0, high: f64::INFINITY };
    for &(threshold, tally) in exceeding {
        let slower = rate_interval(tally, alpha / 2.0);
        if slower.low > share {
            interval.low = threshold;
        } else if slower.high < share {
            interval.high = threshold;
            break;
        }
    }
    interval
}

/// ln Γ(x) for x > 0: Stirling's series above 12, and the recurrence Γ(x + 1) = x Γ(x) to get there.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 12.0 {
        product *= x;
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse
        * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0))));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_of_the_gamma_function_is_right() {
        for (x, value) in [(1.0, 0.0), (0.5, 0.572_364_942_924_700_1), (10.0, 12.801_827_480_081_469)] {
            assert!((ln_gamma(x) - value).abs() < 1e-12, "{x}: {}", ln_gamma(x));
        }
        let (big, factorial) = (ln_gamma(171.0), (1..=170).map(|i| f64::from(i).ln()).sum::<f64>());
        assert!((big - factorial).abs() < 1e-9);
    }

    #[test]
    fn an_interval_holds_the_observed_rate_and_narrows() {
        let of = |total, bad| rate_interval(Tally { total, bad }, 0.05);
        assert_eq!(of(0, 0), Interval { low: 0.0, high: 1.0 });
        assert!(of(1000, 0).low.abs() < f64::EPSILON && of(1000, 0).high < 0.01);
        assert!((of(50, 50).high - 1.0).abs() < f64::EPSILON && of(50, 50).low > 0.8);
        let (few, many) = (of(1000, 10), of(100_000, 1000));
        assert!(few.low < many.low && many.low < 0.01 && 0.01 < many.high && many.high < few.high);
        assert!(many.high - many.low < 0.003, "{many:?}");
    }

    #[test]
    fn the_true_rate_is_inside_at_all_looks_together() {
        let mut random = crate::simulate::Random::new(6);
        for rate in [0.002, 0.05, 0.5] {
            let misled = (0..400).filter(|_| {
                let mut tally = Tally::default();
                (0..200).any(|_| {
                    let bad = (0..50).filter(|_| random.chance(rate)).count() as u64;
                    tally = tally.plus(Tally { total: 50, bad });
                    let Interval { low, high } = rate_interval(tally, 0.05);
                    rate < low || rate > high
                })
            });
            // 5 % of 400 and three standard errors.
            let misled = misled.count();
            assert!(misled <= 20 + 13, "{rate}: {misled}");
        }
    }

    #[test]
    fn a_quantile_lies_between_two_thresholds() {
        let tally = |bad| Tally { total: 10_000, bad };
        let exceeding = [(100.0, tally(5000)), (200.0, tally(900)), (400.0, tally(500)), (800.0, tally(100))];
        assert_eq!(quantile_interval(&exceeding, 0.95, 0.05), Interval { low: 200.0, high: 800.0 });
        assert_eq!(quantile_interval(&exceeding, 0.999, 0.05), Interval { low: 800.0, high: f64::INFINITY });
        assert_eq!(quantile_interval(&[], 0.5, 0.05), Interval { low: 0.0, high: f64::INFINITY });
    }
}
