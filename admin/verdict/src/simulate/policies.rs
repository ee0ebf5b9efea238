//! Rules that take traffic back: ours, and those that users of other tools configure.

use super::Slice;
use crate::counts::{Counts, Tally};
use crate::evidence::{Batch, Event, Evidence, Measure, Measured};
use crate::judge::{Progress, Verdict};
use crate::policy::{Level, Policy, PolicyError};

/// Looks at traffic, and says when to take it back.
pub trait Watch {
    /// Whether to roll back after this slice.
    fn look(&mut self, slice: &Slice) -> bool;
}

/// A rule to be simulated.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// A policy of ours.
    Verdict(Box<Policy>),
    /// Checks against a fixed threshold.
    Checks(Checks),
}

/// Checks of the candidate's success rate against a fixed threshold, as other controllers do them. An interval without
/// a request is no check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checks {
    /// The length of an interval in seconds.
    pub interval_seconds: u64,
    /// The least success rate of an interval.
    pub success: f64,
    /// How many failed checks make a rollback; they need not be in a row.
    pub failures: u32,
}

impl Checks {
    /// Flagger as it is documented: every minute, 99 %, threshold 5.
    pub const FL5: Self = Self { interval_seconds: 60, success: 0.99, failures: 5 };
    /// Argo Rollouts with every minute, 99 %, and the default failure limit of 0.
    pub const AR1: Self = Self { interval_seconds: 60, success: 0.99, failures: 1 };
    /// Argo Rollouts as in the example of its documentation: every 5 minutes, 95 %, failure limit 3.
    pub const AR4: Self = Self { interval_seconds: 300, success: 0.95, failures: 4 };
}

impl Rule {
    /// The rule at the beginning of a run.
    pub fn watch(&self) -> Result<Box<dyn Watch>, PolicyError> {
        Ok(match self {
            Self::Verdict(policy) => Box::new(Judged::new(policy)?),
            Self::Checks(checks) => Box::new(Checking { checks: *checks, seen: Tally::default(), failed: 0, next: 0 }),
        })
    }
}

/// Our own engine, fed as an edge feeds it.
struct Judged {
    evidence: Evidence,
    batch: Batch,
}

impl Judged {
    fn new(policy: &Policy) -> Result<Self, PolicyError> {
        // Reports are never late here, so windows need not stay open for them.
        let evidence = Evidence::new(Policy { horizon: 1, ..policy.clone() })?;
        Ok(Self { evidence, batch: Batch { edge: "simulated".to_owned(), ..Batch::default() } })
    }
}

impl Watch for Judged {
    fn look(&mut self, slice: &Slice) -> bool {
        let batch = &mut self.batch;
        (batch.sequence, batch.window) = (slice.window, slice.window);
        batch.counts.clear();
        batch.counts.push(Measured { measure: Measure::Errors, counts: slice.counts });
        batch.events.clear();
        if self.evidence.policy().level == Level::Unit {
            let event = |&(unit, arm)| Event { measure: Measure::Errors, unit, arm, weight: slice.weight };
            batch.events.extend(slice.bad.iter().map(event));
        }
        self.evidence.add(batch);
        matches!(self.evidence.verdict(&Progress::default()), Verdict::RollBack(_))
    }
}

struct Checking {
    checks: Checks,
    seen: Tally,
    failed: u32,
    next: u64,
}

impl Watch for Checking {
    fn look(&mut self, slice: &Slice) -> bool {
        let Counts { candidate, .. } = slice.counts;
        self.seen = self.seen.plus(candidate);
        if self.next == 0 {
            self.next = self.checks.interval_seconds;
        }
        if slice.until_seconds >= self.next {
            let Tally { total, bad } = self.seen;
            let fails = total > 0 && ((total - bad) as f64) < self.checks.success * total as f64;
            self.failed += u32::from(fails);
            self.seen = Tally::default();
            self.next += self.checks.interval_seconds;
        }
        self.failed >= self.checks.failures
    }
}
