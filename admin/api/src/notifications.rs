//! What people and programs were told of, and what is still to be told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that is told to one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Its number.
    pub id: i64,
    /// Whom, by the name in the operator's file.
    pub destination: String,
    /// How: `slack`, `pagerduty`, `webhook`.
    pub channel: String,
    /// Of which rollout; absent for a rollback without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<i64>,
    /// What happened: `started`, `advanced`, `held`, `rollingBack`, `rolledBack`, `failed`, `promoted`.
    pub event: String,
    /// `post`, or of PagerDuty `trigger` and `resolve`.
    pub action: String,
    /// When it happened, RFC 3339.
    pub at: String,
    /// `waiting`, `delivered`, `givenUp`.
    pub state: String,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
