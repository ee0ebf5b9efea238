//! What others tell the control plane of an environment: alerts, events of the app, and what its infrastructure uses.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body that Prometheus Alertmanager sends to a webhook (version 4). What it says beside this is passed over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertmanagerMessage {
    /// Version of the message; 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The alerts of the group, at most 1000.
    pub alerts: Vec<AlertmanagerAlert>,
}

/// One alert as Alertmanager tells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertmanagerAlert {
    /// `firing` or `resolved`.
    pub status: String,
    /// Its labels: `alertname`, `severity`, and `release` where it is about one.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For people: `summary`, `description`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Since when, RFC 3339.
    #[serde(default)]
    pub starts_at: String,
    /// Names the alert; without one its labels do.
    #[serde(default)]
    pub fingerprint: String,
}

/// What an alert comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AlertMeans {
    /// Against the candidate: traffic goes back.
    CandidateFails,
    /// Against stable: the rollout is held, because taking traffic back would not help.
    StableFails,
    /// It is kept, and moves nothing: no rollout is under way, or it is about something else, or older, or of severity
    /// `info`.
    Told,
    /// It is over.
    Resolved,
}

/// What was done with alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertsTaken {
    /// Each, in the order of the message.
    pub alerts: Vec<AlertTaken>,
}

/// What was done with an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertTaken {
    /// Its name.
    pub name: String,
    /// What it comes to now.
    pub means: AlertMeans,
}

/// An alert as it is kept while it fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// The label `alertname`.
    pub name: String,
    /// What it says to people.
    pub summary: String,
    /// The label `release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The label `severity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Since when it fires, milliseconds since 1970.
    pub starts_at_ms: i64,
}

/// What the infrastructure of an environment uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InfrastructureUse {
    /// Shares from 0 to 1 by name, at most 16: `cpu` and `memory` may have thresholds in a rollout's plan. A value counts for
    /// two minutes.
    pub values: BTreeMap<String, f64>,
}

/// What happened in an app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppEvents {
    /// At most 1000.
    pub events: Vec<AppEvent>,
}

/// One thing that happened in an app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppEvent {
    /// What: a name of the app's own, as in a plan's `verdict.custom`: `successfulPayments`, `failedAuthentications`.
    pub criterion: String,
    /// The release that served it: the value of `x-bascule-release` at the upstream.
    pub release: String,
    /// Whose. Without a unit, the event is counted and judges nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<AppUnit>,
    /// How often; by default once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// Whose event it is: what the edge hashed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppUnit {
    /// The unit source, as in the environment's `unit`: `header:x-user-id`, `cookie:bsc_unit`.
    pub source: String,
    /// Its value in that request. It is hashed at once and never stored.
    pub value: String,
}

/// What was done with events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppEventsTaken {
    /// How many were counted.
    pub counted: u64,
    /// How many of them are evidence of the rollout under way.
    pub evidence: u64,
}
