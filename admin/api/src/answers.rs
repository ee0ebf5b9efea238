//! What operations answer beyond the objects themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::edge::{EdgeKind, PublicKey, Scope};

/// What a change came to, or would come to in a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// The revision that the changed objects have now; absent when nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// The objects that differ.
    pub changes: Vec<Change>,
    /// Splits whose units move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Move>,
    /// The snapshots that were, or would be, published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotRef>,
    /// What was asked for and not done, e.g. objects that only `prune` would delete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// An object that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Which, e.g. `environments/production/flags/new-checkout`.
    pub object: String,
    /// What happened to it.
    pub action: Action,
    /// What differs in it.
    pub differences: Vec<Difference>,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Create,
    /// It differs.
    Update,
    /// It is gone.
    Delete,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// JSON pointer into the object; a member of a list of named things is named.
    pub pointer: String,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// A split whose units move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// The flag; absent for the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// The environment.
    pub environment: String,
    /// The rule; absent for the fallthrough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Percentage of the units that come here and get something else than before.
    pub percent: f64,
}

/// A published snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRef {
    /// Whose.
    pub environment: String,
    /// Its number.
    pub number: i64,
}

/// A published snapshot in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotHead {
    /// Its number.
    pub number: i64,
    /// RFC 3339.
    pub created_at: String,
    /// SHA-256 of the document.
    pub sha256: String,
    /// Id of the key that signed it.
    pub key_id: String,
    /// Bytes of the document.
    pub bytes: i64,
    /// The audit entry that it belongs to.
    pub audit: i64,
}

/// A published snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its number.
    pub number: i64,
    /// RFC 3339.
    pub created_at: String,
    /// SHA-256 of the document's bytes as they were signed.
    pub sha256: String,
    /// The same of the snapshot before it; empty for the first.
    pub previous: String,
    /// Id of the key that signed it.
    pub key_id: String,
    /// Ed25519 signature in hexadecimal.
    pub signature: String,
    /// The document.
    pub document: Value,
}

/// What differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotDiff {
    /// One number.
    pub from: i64,
    /// The other.
    pub to: i64,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// An old snapshot as a new number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Republish {
    /// Why.
    #[schemars(length(min = 1, max = 1000))]
    pub reason: String,
}

/// What to roll back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackRequest {
    /// The release that is to serve; by default the active one while a candidate takes traffic, otherwise the last that
    /// served before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The release that the caller believes is rolled back; another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Why.
    #[schemars(length(min = 1, max = 1000))]
    pub reason: String,
    /// Milliseconds to wait for the edges' acknowledgements, 0 to 60 000; by default 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 60_000))]
    pub wait_ms: Option<u32>,
}

/// A rollback with its proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackAnswer {
    /// The snapshot that did it.
    pub snapshot: i64,
    /// What no request reaches any more, once an edge has acknowledged.
    pub from: String,
    /// What serves.
    pub to: String,
    /// Why.
    pub reason: String,
    /// Each edge that acknowledged.
    pub edges: Vec<EdgeAck>,
    /// How many did.
    pub acknowledged: usize,
    /// How many were connected, or lost so recently that they may still serve.
    pub connected: usize,
    /// Milliseconds from the commit to the last acknowledgement.
    pub propagated_ms: f64,
    /// Edges that did not acknowledge in time.
    pub missing: Vec<MissingEdge>,
}

/// What a panic override is to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PanicOverrideRequest {
    /// The release that is to serve; by default the active one of the newest snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The override rests from the snapshot with this number on; by default the newest one if that sends everything to the
    /// release, as after a rollback, else the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub before: Option<u64>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub reason: Option<String>,
}

/// A signed panic override.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PanicOverrideAnswer {
    /// The text for the Worker's secret `PANIC_OVERRIDE`.
    pub text: String,
    /// The release that serves.
    pub release: String,
    /// It rests from the snapshot with this number on.
    pub before: u64,
}

/// An edge's acknowledgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeAck {
    /// The edge.
    pub id: String,
    /// What it is.
    pub kind: EdgeKind,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Its engine hash.
    pub engine: String,
    /// Milliseconds from the commit to its acknowledgement.
    pub ack_ms: f64,
    /// Of a Worker: milliseconds from its acknowledgement, which is the Durable Object's, until every isolate decides by the
    /// snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_ms: Option<u64>,
}

/// An edge that did not acknowledge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MissingEdge {
    /// The edge.
    pub id: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `waiting`, `refused`, `disconnected`, or of a Worker `unreachable`.
    pub state: String,
    /// What it refused the snapshot for, or why it cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The number that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

/// An edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: EdgeKind,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The version of its program; empty for a Worker.
    pub version: String,
    /// Its engine hash; empty for a Worker that has not acknowledged anything yet.
    pub engine: String,
    /// Whether its stream is open; of a Worker, whether it answered the last push.
    pub connected: bool,
    /// Why a Worker cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    /// RFC 3339: last contact.
    pub last_contact: String,
    /// Requests per second in its last report.
    pub requests_per_second: f64,
    /// Requests that it knew to be in no report, since the control plane has known it: their counts were lost at the edge.
    #[serde(default)]
    pub lost_requests: u64,
    /// What it runs.
    pub environments: Vec<EdgeEnvironment>,
}

/// What an edge runs of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeEnvironment {
    /// Which.
    #[serde(flatten)]
    pub scope: Scope,
    /// The number that it acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// How many publications it is behind.
    pub lag: u64,
    /// What it refused last, if that is still newer than what it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// An entry of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Its place in the chain.
    pub sequence: i64,
    /// RFC 3339.
    pub at: String,
    /// Id of the token, or `system`.
    pub actor: String,
    /// The token's name.
    pub actor_name: String,
    /// The app concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The environment concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The operation.
    pub operation: String,
    /// What was changed.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// The request.
    pub request_id: String,
    /// What changed, before and after.
    pub changes: Value,
    /// The hash of the entry before.
    pub previous: String,
    /// Its own.
    pub hash: String,
}

/// Whether the audit is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditVerdict {
    /// Whether every entry is what it was.
    pub intact: bool,
    /// How many entries there are.
    pub entries: i64,
    /// The hash of the last.
    pub head: String,
    /// The first entry that is not what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<BrokenEntry>,
}

/// An entry that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokenEntry {
    /// Its place.
    pub sequence: i64,
    /// What is wrong.
    pub why: String,
}

/// Contexts to evaluate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvaluateRequest {
    /// One context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<serde_json::Map<String, Value>>,
    /// Or several, at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contexts: Option<Vec<serde_json::Map<String, Value>>>,
    /// Only these flags; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<String>>,
    /// With the trace; by default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<bool>,
}

/// The decisions for the contexts, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvaluateAnswer {
    /// One for each context.
    pub decisions: Vec<Value>,
}

/// From where to copy a flag's targeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopyRequest {
    /// The environment to copy from; by default the one that this one promotes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub reason: Option<String>,
}

/// A flag that could go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaleFlag {
    /// The flag.
    pub flag: String,
    /// The environment.
    pub environment: String,
    /// `fullyOn`, `fullyOff` or `neverEvaluated`.
    pub why: String,
    /// RFC 3339: since when.
    pub since: String,
    /// RFC 3339: when it was last evaluated at an edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_evaluated: Option<String>,
}

/// The keys that snapshots are signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeys {
    /// To be pinned at edges.
    pub keys: Vec<PublicKey>,
}

/// How the control plane is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `healthy` or `unhealthy`.
    pub status: String,
    /// RFC 3339.
    pub timestamp: String,
    /// Each check by its name.
    pub checks: std::collections::BTreeMap<String, Value>,
}
