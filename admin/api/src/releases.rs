//! How releases fare.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the releases of an environment fare, from what edges reported to this control plane.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentMetrics {
    /// The length of what is shown, in seconds.
    pub window_seconds: u64,
    /// By release.
    pub releases: Vec<ReleaseMetrics>,
    /// What the infrastructure uses, from 0 to 1, as far as it was told in the last two minutes.
    pub infrastructure: BTreeMap<String, f64>,
}

/// How a release fares.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseMetrics {
    /// Which.
    pub release: String,
    /// Requests per second.
    pub requests_per_second: f64,
    /// The share of requests that failed, from 0 to 1: 5xx, and those without an answer.
    pub error_ratio: f64,
    /// 95th percentile of the latency in seconds; absent without requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_seconds: Option<f64>,
    /// 99th percentile of the latency in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_seconds: Option<f64>,
    /// Requests.
    pub requests: u64,
    /// Answers from 400 to 499.
    pub client_errors: u64,
    /// Answers from 500 to 599.
    pub server_errors: u64,
    /// Requests without an answer.
    pub transport_errors: u64,
    /// Events of the app by criterion, since this process began.
    pub events: BTreeMap<String, u64>,
}
