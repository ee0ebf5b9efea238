//! The permanent A/A: stable against itself, and how often that raised a false alarm.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the A/A beside the rollouts of an environment has shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Calibration {
    /// The promised rate of false alarms.
    pub alpha: f64,
    /// Where each unit counts once.
    pub units: CalibrationLevel,
    /// Where each request counts.
    pub requests: CalibrationLevel,
    /// Whether requests are shown to depend on each other so much that counting them alarms more often than promised. Plans
    /// with `level: request` are judged by units then.
    pub requests_are_unsafe: bool,
}

/// False alarms of one level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CalibrationLevel {
    /// Rollouts that ended, and beside which stable had requests or failures to judge.
    pub epochs: u64,
    /// Those of them in which stable would have been rolled back for stable.
    pub alarms: u64,
    /// The rates that are still possible.
    pub rate: CalibrationRate,
}

/// An interval of rates, always valid at 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CalibrationRate {
    /// From 0.
    pub low: f64,
    /// To 1.
    pub high: f64,
}
