//! Tests of one arm against a fixed rate: is the objective missed, is it kept?
//!
//! The evidence of counters and events, linear in both, so that they can come apart and in any order.

use serde::{Deserialize, Serialize};

/// A bet on the rate q against the rate p: what one request and one bad request say, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateBet {
    good: f64,
    bad: f64,
}

impl RateBet {
    /// Both rates are strictly between 0 and 1.
    pub fn new(rate: f64, against: f64) -> Self {
        Self { good: ((1.0 - rate) / (1.0 - against)).ln(), bad: (rate / against).ln() }
    }

    /// ln of (q/p)ᵏ ((1−q)/(1−p))ⁿ⁻ᵏ for `total` n and `bad` k. Of n and k apart, one may be 0 and come later.
    pub fn ln(&self, total: u64, bad: u64) -> f64 {
        total as f64 * self.good + bad as f64 * (self.bad - self.good)
    }
}

/// The largest share of bad requests that an environment promises, 0 < p < 0.9, as a fraction of 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Objective(f64);

/// The rate is no objective.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("an objective is a share between 0 and 0.9 of the requests, not {0}")]
pub struct ObjectiveError(f64);

impl Objective {
    /// An objective of `rate`.
    pub fn new(rate: f64) -> Result<Self, ObjectiveError> {
        if rate > 0.0 && rate < 0.9 { Ok(Self(rate)) } else { Err(ObjectiveError(rate)) }
    }

    /// The rate.
    pub fn rate(self) -> f64 {
        self.0
    }

    /// Bets that the objective p is missed, with equal weights: q = min(p · {1.5, 2, 3, 5, 10, 30}, 0.9).
    pub fn missed(self) -> [RateBet; 6] {
        [1.5, 2.0, 3.0, 5.0, 10.0, 30.0].map(|times| RateBet::new((self.0 * times).min(0.9), self.0))
    }

    /// Bets that the objective p is kept, with equal weights: q = p · {0.7, 0.5, 0.3, 0.1, 0.02}.
    pub fn kept(self) -> [RateBet; 5] {
        [0.7, 0.5, 0.3, 0.1, 0.02].map(|times| RateBet::new(self.0 * times, self.0))
    }
}

impl TryFrom<f64> for Objective {
    type Error = ObjectiveError;

    fn try_from(rate: f64) -> Result<Self, ObjectiveError> {
        Self::new(rate)
    }
}

impl From<Objective> for f64 {
    fn from(objective: Objective) -> Self {
        objective.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_at_the_objective_expects_to_win_nothing() {
        for rate in [0.001, 0.01, 0.2, 0.89] {
            let objective = Objective::new(rate).unwrap();
            for bet in objective.missed().into_iter().chain(objective.kept()) {
                let mean = rate * bet.ln(1, 1).exp() + (1.0 - rate) * bet.ln(1, 0).exp();
                assert!((mean - 1.0).abs() < 1e-12, "{rate}: {mean}");
                assert!((bet.ln(10, 0) + bet.ln(0, 3) - bet.ln(10, 3)).abs() < 1e-12);
            }
        }
        for rate in [0.0, 0.9, 1.0, f64::NAN] {
            assert!(Objective::new(rate).is_err());
        }
    }
}
