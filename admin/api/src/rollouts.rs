//! Rollouts: how a candidate takes over by evidence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Starts a rollout.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRollout {
    /// The candidate, a registered release.
    pub release: String,
    /// How: `canary` (the default), `blue-green` or `careful`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// How, in own words instead of a template: docs/rollouts.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub plan: Option<Value>,
    /// Why, for the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// That a release which the machine rolled back twice may be tried again; then there has to be a reason.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_quarantine: bool,
}

/// A named way to roll out. What is not said is as in `canary` (docs/rollouts.md).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutTemplate {
    /// Its name; whatever is said here, it is the one of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `canary` or `blue-green`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Whether the candidate is shown at 0 % first, until somebody promotes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<bool>,
    /// The steps, the last at 100 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<RolloutStep>>,
    /// Regions that go one wave after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waves: Option<Vec<Vec<String>>>,
    /// How long it is judged at 100 %, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake_ms: Option<u64>,
    /// The time after which that is inconclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake_limit_ms: Option<u64>,
    /// How long the loser is kept ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_warm_ms: Option<u64>,
    /// The time after which a rollout that is not promoted is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_ms: Option<u64>,
    /// How long edges have to acknowledge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledge_ms: Option<u64>,
    /// How long the verification after that may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_ms: Option<u64>,
    /// Who may approve: names or ids of tokens; none = whoever may operate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Vec<String>>,
    /// What takes traffic back beside the verdict: `probes`, `breakerEdges`, `alertmanager`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub alarms: Option<Value>,
    /// Shares of `cpu` and `memory` above which no step goes forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub infrastructure: Option<Value>,
    /// `hold`, `promote` or `abort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconclusive: Option<String>,
    /// `refuse` or `replace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseding: Option<String>,
    /// How the candidate is judged (docs/verdict.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub verdict: Option<Value>,
}

/// One weight and what it takes to leave it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutStep {
    /// Percent of the units.
    #[schemars(range(min = 0, max = 100))]
    pub weight: f64,
    /// The least time at this weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// The time after which a step without a decision is inconclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u64>,
    /// Names of the gates that must pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Vec<String>>,
    /// Whether a person must approve before the step is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<bool>,
}

/// What a person decides about a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutAction {
    /// Why, for the audit and for whoever reads the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A person does not wait for hold and evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromoteRollout {
    /// To 100 % at once, not one place further.
    #[serde(default)]
    pub full: bool,
    /// Why, for the audit and for whoever reads the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where a rollout is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutHead {
    /// Its id; 0 in a dry run.
    pub id: i64,
    /// The candidate.
    pub release: String,
    /// What it is compared with, and where traffic goes back to.
    pub stable: String,
    /// The name of its template.
    pub template: String,
    /// `pending`, `previewing`, `starting`, `step`, `waitingForApproval`, `paused`, `held`, `baking`, `keepingWarm`, `promoted`, `rollingBack`,
    /// `verifying`, `rolledBack`, `aborted`, `superseded` or `failed`.
    pub state: String,
    /// Whether nothing happens to it any more.
    pub ended: bool,
    /// The step, from 1; absent before the first and after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// How many steps there are.
    pub steps: usize,
    /// The wave, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<usize>,
    /// How many waves of regions there are; 0 = all regions at once.
    pub waves: usize,
    /// Percentage of the units that the candidate takes, in the regions of the wave.
    pub weight: f64,
    /// When it was started; RFC 3339.
    pub started_at: String,
    /// By whom.
    pub started_by: String,
    /// Since when it has been in this state.
    pub since: String,
    /// When the state ends by itself at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// The freeze window in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// What the infrastructure is short of: no step forward until that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strained: Option<String>,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Where it is.
    #[serde(flatten)]
    pub head: RolloutHead,
    /// Whether this is what would be started, and nothing was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What is not as its template said it, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overruled: Option<String>,
    /// What is known about the candidate at this place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<RolloutEvidence>,
    /// The gates and hooks that this place waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<RolloutGate>,
    /// Its steps, times and policies.
    pub plan: Value,
    /// What was decided, in order; the last 200.
    pub transitions: Vec<RolloutTransition>,
}

/// A gate or a hook, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutGate {
    /// Its name; a hook's is `hook:KIND/NAME`.
    pub name: String,
    /// `passed`, `refused`, `unanswered` or `waiting`. Which of them, and what follows, only the control plane knows that drives
    /// rollouts; all others say `passed` or `waiting`.
    pub state: String,
    /// What was said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How often it was asked in this stay.
    pub asked: u32,
    /// How many checks of a hook have failed in the whole rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_checks: Option<u32>,
}

/// Asks for links that show the candidate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviewRequest {
    /// How long they are good; by default an hour, at most a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub seconds: Option<u32>,
    /// The page; by default `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub path: Option<String>,
    /// Why, for the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl PreviewRequest {
    /// The longest time: a day.
    pub const MOST_SECONDS: u32 = 24 * 3600;

    /// How long the links are good.
    pub fn seconds(&self) -> u32 {
        self.seconds.unwrap_or(3600)
    }
}

/// Links that show a candidate to whoever has them, whatever its weight is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewLinks {
    /// The rollout.
    pub rollout: i64,
    /// Its candidate.
    pub release: String,
    /// Until when; RFC 3339.
    pub expires_at: String,
    /// One for each host.
    pub links: Vec<PreviewLink>,
}

/// A link that shows a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewLink {
    /// The host.
    pub host: String,
    /// The link. Whoever has it sees the candidate.
    pub url: String,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutTransition {
    /// 1 for the first.
    pub number: i64,
    /// RFC 3339.
    pub at: String,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Id of the token that decided, or `system`.
    pub actor: String,
    /// By whom, as people know it.
    pub actor_name: String,
    /// What and why, with numbers.
    pub sentence: String,
    /// Whether the evidence for promotion began anew with it.
    pub begins_step: bool,
    /// How many groups of reports were counted then.
    pub counted: i64,
    /// What was known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<RolloutEvidence>,
}

/// What is known about a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutEvidence {
    /// `{"verdict": "continue"}`, `promoteReady`, `hold` or `rollBack`, with a `reason`.
    pub verdict: Value,
    /// The same in words.
    pub sentence: String,
    /// How far the stay was: `elapsedSeconds`, `minimumSeconds`, `maximumSeconds`.
    pub progress: Value,
    /// How many groups of reports it takes in.
    pub batches: u64,
    /// Requests of the candidate.
    pub candidate: RolloutTally,
    /// Requests of stable.
    pub stable: RolloutTally,
    /// Visitors who met a failure of the candidate: distinct units, or where requests are judged, failed requests.
    #[serde(default)]
    pub hurt: u64,
    /// Each criterion with its e-value and its bound.
    pub findings: Vec<Value>,
    /// The e-value that the candidate keeps the objective.
    pub kept: f64,
}

/// Requests, and how many of them failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutTally {
    /// Requests.
    pub total: u64,
    /// Failed ones among them.
    pub bad: u64,
}

/// A part of the reports that a rollout was judged by, so that anybody can judge it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutReports {
    /// Groups in the order in which they were counted.
    pub groups: Vec<RolloutGroup>,
    /// `after` of the next part; absent in the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// Batches that were counted together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutGroup {
    /// 1 for the first.
    pub sequence: i64,
    /// Its batches, in order; docs/verdict.md has their form.
    pub batches: Vec<Value>,
    /// What stable was judged by against itself; it is no evidence of the candidate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calibration: Vec<Value>,
}
