//! Sums of logarithms that do not depend on the order of their terms.
//!
//! Floating-point addition is not associative, so the same reports in another order would give other last digits.
//! Log factors are therefore rounded once, to whole multiples of 2⁻⁴⁰, and added as integers. That also allows to take
//! one back exactly.

use serde::{Deserialize, Serialize};

/// A logarithm of a likelihood ratio (natural, so its unit is the nat) in steps of 2⁻⁴⁰ ≈ 10⁻¹².
///
/// The range is ± 8.3 million. Sums stop there, which no evidence reaches that could still change a verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Nats(i64);

/// Steps in a nat.
const STEPS: f64 = (1_u64 << 40) as f64;

/// E-values are cut off here: a number that no document format has trouble with. Less than the true value is always
/// allowed, since it only makes an alarm later.
pub(crate) const MOST: f64 = 1e290;

impl Nats {
    #[expect(clippy::cast_possible_truncation, reason = "a cast to an integer saturates, which is what is wanted")]
    pub(crate) fn new(ln: f64) -> Self {
        Self((ln * STEPS).round() as i64)
    }

    pub(crate) fn get(self) -> f64 {
        self.0 as f64 / STEPS
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    pub(crate) fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// e to this power, at most [`MOST`].
    pub(crate) fn exp(self) -> f64 {
        self.get().exp().min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_terms_does_not_matter_and_a_term_can_be_taken_back() {
        let terms: Vec<Nats> = (1..200_u32).map(|i| Nats::new(f64::from(i).ln() - 3.3)).collect();
        let forth = terms.iter().fold(Nats::default(), |sum, &term| sum.plus(term));
        let back = terms.iter().rev().fold(Nats::default(), |sum, &term| sum.plus(term));
        assert_eq!(forth, back);
        assert_eq!(forth.plus(terms[7]).minus(terms[7]), forth);
        assert!((Nats::new(1.0).exp() - 1_f64.exp()).abs() < 1e-11);
    }

    #[test]
    fn sums_stop_at_the_ends() {
        let most = Nats::new(1e300);
        assert_eq!(most.plus(most), most);
        assert!(most.exp() <= MOST && Nats::new(-1e300).exp() == 0.0);
    }
}
