//! Test A: which arm do the units hash to that meet something bad?
//!
//! The evidence of one event. Invariant: its expectation is at most 1 as long as the candidate is not worse.

use serde::{Deserialize, Serialize};

/// Where a unit or a request was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Arm {
    /// The release that is on trial.
    Candidate,
    /// The release that is compared with.
    Stable,
}

impl Arm {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Candidate => Self::Stable,
            Self::Stable => Self::Candidate,
        }
    }
}

/// The logarithm (nats) of the evidence of one *first* bad event of a unit for odds ratio δ against odds ratio ρ₀:
///
/// ```text
/// x ln δ − ln[(ρ₀ δ w + 1 − w) / (ρ₀ w + 1 − w)]        x = 1 at the candidate, 0 at stable
/// ```
///
/// `odds` is δ > 0, `tolerance` is ρ₀ ≥ 1 (1: any harm counts), `weight` is w, the candidate's configured share when it
/// happened, 0 ≤ w ≤ 1. Units are hashed to arms, so while the candidate is not worse, the arm of the next unit that
/// fails is a coin that shows the candidate with probability w, whatever the traffic, the hour, the mix of units or a
/// common outage: no denominators are needed. At w = 0 or 1 an event carries no evidence and the answer is 0.
///
/// This is the betting factor that is known for risk sets from the safe logrank test (Grünwald, Ly, Pérez-Ortiz,
/// ter Schure, arXiv 2011.06931), and for two proportions from Turner, Ly, Grünwald (arXiv 2106.02693).
pub fn unit_log_factor(odds: f64, tolerance: f64, weight: f64, arm: Arm) -> f64 {
    if !(weight > 0.0 && weight < 1.0) {
        return 0.0;
    }
    let rest = 1.0 - weight;
    let gain = if arm == Arm::Candidate { odds.ln() } else { 0.0 };
    gain - ((tolerance * odds * weight + rest) / (tolerance * weight + rest)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_expects_to_win_nothing() {
        for weight in [0.01, 0.05, 0.5, 0.99] {
            for odds in [0.2, 1.25, 10.0, 100.0] {
                for tolerance in [1.0, 1.25, 2.0] {
                    // An odds ratio of just the tolerance is the edge of the null hypothesis.
                    let p = tolerance * weight / (tolerance * weight + 1.0 - weight);
                    let factor = |arm| unit_log_factor(odds, tolerance, weight, arm).exp();
                    let mean = p * factor(Arm::Candidate) + (1.0 - p) * factor(Arm::Stable);
                    assert!((mean - 1.0).abs() < 1e-12, "{weight} {odds} {tolerance}: {mean}");
                }
            }
        }
    }

    #[test]
    fn without_a_choice_there_is_no_evidence() {
        for weight in [0.0, 1.0, -1.0, f64::NAN] {
            assert!(unit_log_factor(10.0, 1.0, weight, Arm::Candidate).abs() < f64::EPSILON);
        }
    }
}
