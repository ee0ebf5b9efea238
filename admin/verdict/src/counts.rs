//! Test B: the failures of a stratum, given how many there were and how the requests were shared out.
//!
//! The evidence of one batch of counters. Invariant: a batch with an empty arm has none.

use serde::{Deserialize, Serialize};

use crate::hypergeometric::Hypergeometric;
use crate::unit::{Arm, unit_log_factor};

/// How many requests an arm served, and how many of them were bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Requests.
    pub total: u64,
    /// Bad ones among them; never more than `total`.
    pub bad: u64,
}

impl Tally {
    /// The share of bad requests, 0 when there was none at all.
    pub fn rate(self) -> f64 {
        if self.total == 0 { 0.0 } else { self.bad as f64 / self.total as f64 }
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { total: self.total.saturating_add(other.total), bad: self.bad.saturating_add(other.bad) }
    }
}

/// The counters of one stratum: what one edge saw in one flush.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// What the candidate served.
    pub candidate: Tally,
    /// What stable served.
    pub stable: Tally,
}

impl Counts {
    /// Counts from (requests, bad) of the candidate and of stable.
    pub const fn new(candidate: (u64, u64), stable: (u64, u64)) -> Self {
        Self {
            candidate: Tally { total: candidate.0, bad: candidate.1 },
            stable: Tally { total: stable.0, bad: stable.1 },
        }
    }

    /// The tally of an arm.
    pub fn of(&self, arm: Arm) -> Tally {
        match arm {
            Arm::Candidate => self.candidate,
            Arm::Stable => self.stable,
        }
    }

    /// The arms exchanged: what is fewer here is more there.
    #[must_use]
    pub fn exchanged(self) -> Self {
        Self { candidate: self.stable, stable: self.candidate }
    }

    /// Whether bad requests are requests, and none is more than a flush can hold.
    pub(crate) fn is_sound(&self) -> bool {
        [self.candidate, self.stable].iter().all(|tally| tally.bad <= tally.total && tally.total <= MOST_REQUESTS)
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { candidate: self.candidate.plus(other.candidate), stable: self.stable.plus(other.stable) }
    }
}

/// The most requests of an arm in one batch; more is a mistake, not traffic.
pub const MOST_REQUESTS: u64 = 1_000_000_000;
/// Up to so many possible outcomes the exact sum costs next to nothing.
const FEW_OUTCOMES: u64 = 64;
/// Beyond so many the exact sum would take noticeable time.
const MANY_OUTCOMES: u64 = 1 << 20;
/// Below this share of bad requests Hoeffding's bound is close to the exact sum.
const RARE: f64 = 0.02;

/// How D is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The generating function itself.
    Exact,
    /// Hoeffding's bound (ω w + 1 − w)ᵐ instead of it, w being the candidate's share of the requests.
    Bound,
    /// The bound where bad requests are rarer than 2 % and outcomes are many, or where they are more than a million;
    /// else exact.
    Auto,
}

/// The evidence of one batch, to be asked for each odds ratio: the sequential exact conditional test.
///
/// ```text
/// k ln δ − ln D(ρ₀ δ) + ln D(ρ₀)        D(ω) = Σⱼ C(n_c, j) C(n_s, m − j) / C(n_c + n_s, m) ωʲ
/// ```
///
/// k of the m bad requests were the candidate's, which served `n_c` of all, stable `n_s`. Given these numbers and requests
/// that are exchangeable within the batch, k is hypergeometric, so the factor expects exactly 1: how much traffic each
/// arm really got is used, rates may differ freely between batches, and an outage of both arms says nothing. It is
/// Fisher's exact test, stratified as Mantel and Haenszel do, made sequential by multiplying its likelihood ratios (the
/// stratified e-variables of Turner and Grünwald, arXiv 2302.11401). The bound is Hoeffding's (1963): sampling without
/// replacement is less variable than with. For δ < 1 with ρ₀ > 1, as in evidence for promotion, the bound errs on the
/// wrong side: ask for [`Method::Exact`] there.
#[derive(Debug, Clone, Copy)]
pub struct CountsFactor {
    bad: Tally,
    tolerance: f64,
    shape: Shape,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Nothing,
    Exact { law: Hypergeometric, at_tolerance: f64 },
    Bound { weight: f64 },
}

impl CountsFactor {
    /// The factor of `counts` against odds ratios up to `tolerance` (ρ₀ > 0).
    pub fn new(counts: &Counts, tolerance: f64, method: Method) -> Self {
        let Counts { candidate, stable } = *counts;
        let (total, all) = (candidate.total + stable.total, candidate.bad + stable.bad);
        let bad = Tally { total: all, bad: candidate.bad };
        let outcomes = all.min(candidate.total);
        let bounded = match method {
            Method::Exact => false,
            Method::Bound => true,
            Method::Auto => {
                let rare = (all as f64) < RARE * total as f64;
                (rare && outcomes > FEW_OUTCOMES) || outcomes > MANY_OUTCOMES
            }
        };
        let shape = if candidate.total == 0 || stable.total == 0 || all == 0 || !counts.is_sound() {
            Shape::Nothing
        } else if bounded {
            Shape::Bound { weight: candidate.total as f64 / total as f64 }
        } else if outcomes > MANY_OUTCOMES {
            // Evidence that would take too long is none; edges flush often enough that this never happens to them.
            Shape::Nothing
        } else {
            let law = Hypergeometric::new(candidate.total, stable.total, all);
            Shape::Exact { law, at_tolerance: law.ln_generating(tolerance) }
        };
        Self { bad, tolerance, shape }
    }

    /// Whether the batch says anything.
    pub fn says_something(&self) -> bool {
        !matches!(self.shape, Shape::Nothing)
    }

    /// The logarithm (nats) of the factor for the odds ratio δ > 0.
    pub fn ln(&self, odds: f64) -> f64 {
        let (k, all) = (self.bad.bad as f64, self.bad.total as f64);
        match &self.shape {
            Shape::Nothing => 0.0,
            Shape::Exact { law, at_tolerance } => {
                k * odds.ln() - law.ln_generating(self.tolerance * odds) + at_tolerance
            }
            Shape::Bound { weight } => {
                k * odds.ln() + all * unit_log_factor(odds, self.tolerance, *weight, Arm::Stable)
            }
        }
    }
}
