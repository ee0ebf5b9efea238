//! The permanent A/A: stable against itself.
//!
//! The units of stable are split into two arms that get the same release, and the same engine judges them, epoch after
//! epoch. Whatever it alarms about is a false alarm, so their rate is measured where it matters: on the app's own traffic.

use serde::{Deserialize, Serialize};

use crate::counts::Tally;
use crate::evidence::{Added, Batch, Evidence, Measure, Refusal};
use crate::interval::{Interval, rate_interval};
use crate::judge::{Progress, Verdict};
use crate::policy::{Level, Policy, PolicyError};
use crate::unit::Arm;

/// The arm of a unit in the A/A, from its hash: the fake candidate gets `weight` millionths of the units.
///
/// The hash is mixed once more (the finaliser of `SplitMix64`), so the split is independent of the one that routes.
pub fn fake_arm(unit: u64, weight: u32) -> Arm {
    let mixed = crate::simulate::mix(unit ^ 0xA5A5_5A5A_0F0F_F0F0);
    let bucket = (u128::from(mixed) * u128::from(crate::FULL_WEIGHT)) >> 64;
    if bucket < u128::from(weight) { Arm::Candidate } else { Arm::Stable }
}

/// A running A/A, at the level of units and at the level of requests beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calibration {
    windows_per_epoch: u64,
    epoch: u64,
    units: Running,
    requests: Running,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    evidence: Evidence,
    alarmed: bool,
    /// Epochs that are over, and those of them with an alarm.
    epochs: Tally,
}

/// What the running epoch has shown, by level: whether there was an alarm, or nothing where there was nothing to judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EpochAlarms {
    /// At the level of units.
    pub units: Option<bool>,
    /// At the level of requests.
    pub requests: Option<bool>,
}

/// What an A/A has shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CalibrationReport {
    /// The promised rate.
    pub alpha: f64,
    /// At the level of units.
    pub units: FalseAlarms,
    /// At the level of requests.
    pub requests: FalseAlarms,
    /// Whether requests are shown to depend on each other so much that their level alarms more often than promised: use units.
    pub requests_are_unsafe: bool,
}

/// False alarms of one level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FalseAlarms {
    /// Epochs that are over.
    pub epochs: u64,
    /// Those with a rollback.
    pub alarms: u64,
    /// The rates that are still possible, always valid at 95 %.
    pub rate: Interval,
}

impl Calibration {
    /// Judges by `policy` in epochs of `windows_per_epoch` windows, at least 1: as long as a rollout usually takes.
    pub fn new(policy: &Policy, windows_per_epoch: u64) -> Result<Self, PolicyError> {
        let running = |level| {
            let evidence = Evidence::new(Policy { level, ..policy.clone() })?;
            Ok(Running { evidence, alarmed: false, epochs: Tally::default() })
        };
        let (units, requests) = (running(Level::Unit)?, running(Level::Request)?);
        Ok(Self { windows_per_epoch: windows_per_epoch.max(1), epoch: 0, units, requests })
    }

    /// Adds what an edge saw at stable, split by [`fake_arm`], and looks. A window of the next epoch ends the running
    /// one; batches of an epoch that is over are too late.
    pub fn observe(&mut self, batch: &Batch) -> Added {
        let epoch = batch.window / self.windows_per_epoch;
        if epoch < self.epoch {
            return Added::Refused(Refusal::Late);
        }
        if epoch > self.epoch {
            self.units.end();
            self.requests.end();
            self.epoch = epoch;
        }
        let batch = Batch { window: batch.window % self.windows_per_epoch, ..batch.clone() };
        self.requests.observe(&batch);
        self.units.observe(&batch)
    }

    /// What was found so far.
    pub fn report(&self) -> CalibrationReport {
        CalibrationReport::new(self.units.evidence.policy().alpha, self.units.epochs, self.requests.epochs)
    }

    /// What was found in the running epoch.
    pub fn running(&self) -> EpochAlarms {
        EpochAlarms { units: self.units.found(), requests: self.requests.found() }
    }
}

impl CalibrationReport {
    /// From epochs that are over, and those of them with an alarm.
    pub fn new(alpha: f64, units: Tally, requests: Tally) -> Self {
        let [units, requests] = [units, requests].map(FalseAlarms::of);
        Self { alpha, units, requests, requests_are_unsafe: requests.rate.low > alpha }
    }
}

impl FalseAlarms {
    fn of(epochs: Tally) -> Self {
        Self { epochs: epochs.total, alarms: epochs.bad, rate: rate_interval(epochs, 0.05) }
    }
}

impl Running {
    fn observe(&mut self, batch: &Batch) -> Added {
        let added = self.evidence.add(batch);
        let verdict = self.evidence.verdict(&Progress::default());
        self.alarmed |= matches!(verdict, Verdict::RollBack(_));
        added
    }

    fn end(&mut self) {
        self.epochs = self.epochs.plus(Tally { total: 1, bad: u64::from(self.alarmed) });
        self.alarmed = false;
        self.evidence.start_anew();
    }

    fn found(&self) -> Option<bool> {
        let seen = |arm| {
            let units = self.evidence.track(&Measure::Errors).map_or(0, |track| track.bad_units(arm));
            self.evidence.requests(arm).total > 0 || units > 0
        };
        (seen(Arm::Candidate) || seen(Arm::Stable)).then_some(self.alarmed)
    }
}
