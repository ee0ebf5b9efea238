//! The hypergeometric distribution: how many of `bad` failures fall on the candidate if failures do not care.
//!
//! Owns its generating function. Invariant: sums start at the largest term and the way between two largest terms is a
//! product that is rescaled, so nothing overflows or is lost by underflow, however large the counts are.

/// The distribution of k, the failures at the candidate, given `candidate` and `stable` requests and `bad` failures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hypergeometric {
    candidate: u64,
    stable: u64,
    bad: u64,
    least: u64,
    most: u64,
    mode: u64,
    ln_sum: f64,
}

/// A term below this part of the largest one does not change a sum of doubles.
const NEGLIGIBLE: f64 = 1e-19;

impl Hypergeometric {
    /// `bad` is at most `candidate + stable`.
    pub(crate) fn new(candidate: u64, stable: u64, bad: u64) -> Self {
        let (least, most) = (bad.saturating_sub(stable), bad.min(candidate));
        let mut law = Self { candidate, stable, bad, least, most, mode: least, ln_sum: 0.0 };
        law.mode = law.mode_at(1.0);
        law.ln_sum = law.ln_sum_at(1.0, law.mode);
        law
    }

    /// ln D(ω) = ln Σₖ P(k) ωᵏ, for ω > 0.
    pub(crate) fn ln_generating(&self, omega: f64) -> f64 {
        let mode = self.mode_at(omega);
        self.ln_sum_at(omega, mode) + mode as f64 * omega.ln() + self.ln_between(mode) - self.ln_sum
    }

    /// P(k + 1) / P(k); falls as k grows.
    fn ratio(&self, k: u64) -> f64 {
        let up = (self.candidate - k) as f64 * (self.bad - k) as f64;
        let down = (k + 1) as f64 * (self.stable + k + 1 - self.bad) as f64;
        up / down
    }

    /// The k with the largest P(k) ωᵏ.
    fn mode_at(&self, omega: f64) -> u64 {
        let (mut low, mut high) = (self.least, self.most);
        while low < high {
            let middle = low + (high - low) / 2;
            if omega * self.ratio(middle) > 1.0 { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// ln of Σₖ P(k) ωᵏ as multiples of the term at `mode`.
    fn ln_sum_at(&self, omega: f64, mode: u64) -> f64 {
        let mut sum = 1.0;
        let mut term = 1.0;
        for k in mode..self.most {
            term *= omega * self.ratio(k);
            sum += term;
            if term < NEGLIGIBLE {
                break;
            }
        }
        term = 1.0;
        for k in (self.least..mode).rev() {
            term /= omega * self.ratio(k);
            sum += term;
            if term < NEGLIGIBLE {
                break;
            }
        }
        sum.ln()
    }

    /// ln P(k) − ln P(mode).
    fn ln_between(&self, k: u64) -> f64 {
        let (mut ln, mut product) = (0.0, 1.0);
        for step in self.mode.min(k)..self.mode.max(k) {
            product *= self.ratio(step);
            if !(1e-200..1e200).contains(&product) {
                ln += f64::ln(product);
                product = 1.0;
            }
        }
        ln += product.ln();
        if k < self.mode { -ln } else { ln }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ln of "n choose k" by adding logarithms.
    fn ln_choose(n: u64, k: u64) -> f64 {
        (0..k).map(|i| ((n - i) as f64 / (i + 1) as f64).ln()).sum()
    }

    #[test]
    fn the_generating_function_is_the_sum_that_defines_it() {
        for (candidate, stable, bad) in [(10, 90, 5), (100, 900, 60), (7, 3, 9), (50, 450, 500), (200, 200, 4)] {
            let law = Hypergeometric::new(candidate, stable, bad);
            for omega in [0.2, 0.8, 1.0, 1.25, 10.0, 100.0_f64] {
                let sum: f64 = (bad.saturating_sub(stable)..=bad.min(candidate))
                    .map(|k| {
                        let ln =
                            ln_choose(candidate, k) + ln_choose(stable, bad - k) - ln_choose(candidate + stable, bad);
                        (ln + k as f64 * omega.ln()).exp()
                    })
                    .sum();
                let ln = law.ln_generating(omega);
                assert!((ln - sum.ln()).abs() < 1e-10, "{candidate} {stable} {bad} {omega}: {ln} {}", sum.ln());
            }
        }
    }

    #[test]
    fn large_counts_neither_overflow_nor_vanish() {
        let law = Hypergeometric::new(400_000, 600_000, 500_000);
        assert!(law.ln_generating(1.0).abs() < 1e-6);
        let (up, down) = (law.ln_generating(100.0), law.ln_generating(0.01));
        assert!(up.is_finite() && up > 100_000.0 && down.is_finite() && down < -100_000.0, "{up} {down}");
    }
}
