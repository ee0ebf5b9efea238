//! Format `v1` of a snapshot as it travels: plain structs, camelCase in JSON.
//!
//! [`crate::parse`] reads them (unknown keys refused), serde writes them. They hold no invariant beyond
//! well-formed names; [`crate::check`] turns them into a [`crate::Snapshot`]. A change here is a change of the format: `docs/snapshot.md` describes it
//! and a test holds the two together.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::names::{
    AppName, EnvironmentName, FlagKey, KeyId, RegionName, ReleaseId, RuleId, SegmentKey, Slot, VariantKey,
};

/// The only format this engine reads.
pub const FORMAT: &str = "v1";

/// Everything an edge needs for one environment of one app, except the bucketing key itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotWire {
    /// Always `v1`.
    pub format: String,
    /// The app this snapshot belongs to.
    pub app: AppName,
    /// The environment this snapshot belongs to.
    pub environment: EnvironmentName,
    /// Grows by one with each publication; an edge never goes back.
    pub number: u64,
    /// When it was published, RFC 3339.
    pub created_at: String,
    /// Id of the environment's secret; the secret travels beside the snapshot.
    pub bucketing_key_id: KeyId,
    /// Unit sources in order, e.g. `header:x-user-id`, `cookie:uid`, `attribute:accountId`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unit: Vec<String>,
    /// Which release serves which request.
    pub traffic: TrafficWire,
    /// Every release that a slot may name.
    pub releases: BTreeMap<ReleaseId, ReleaseWire>,
    /// Named conditions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub segments: BTreeMap<SegmentKey, SegmentWire>,
    /// The flags and their targeting in this environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<FlagKey, FlagWire>,
    /// What the edge does around a decision: hosts, timeouts, health.
    pub edge: EdgeWire,
}

/// Slots, weight and the exceptions to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficWire {
    /// The slot that serves by default.
    pub active: Slot,
    /// What each slot holds.
    pub slots: SlotsWire,
    /// Share of units that the other slot takes; 1 = 0.0001 %, 1 000 000 = all.
    pub candidate_weight: u32,
    /// Salt of the traffic split; a new one re-draws the cohorts.
    pub salt: String,
    /// Bucketing algorithm, `siphash24-v1`.
    pub algorithm: String,
    /// Routing rules, first match wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RouteRuleWire>,
    /// Where a signed override may come from; absent = overrides are ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#override: Option<OverrideWire>,
    /// Release pins; absent = no pins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinWire>,
    /// Weights that differ by region.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<RegionName, RegionWire>,
    /// Releases that were rolled back: their pins are void.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rolled_back: Vec<ReleaseId>,
}

/// The release in each slot.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SlotsWire {
    /// The release in the blue slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blue: Option<ReleaseId>,
    /// The release in the green slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub green: Option<ReleaseId>,
}

/// A forced route: whoever meets the condition is served by the slot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteRuleWire {
    /// Shown in decisions and traces.
    pub id: RuleId,
    /// The condition.
    pub when: ConditionWire,
    /// The slot that serves when it holds.
    pub slot: Slot,
}

/// The names under which a signed override is looked for, in this order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OverrideWire {
    /// Request header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// Query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// How long a client keeps its release after the cut-over.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PinWire {
    /// Seconds, 1 to 604 800 (a week).
    pub max_age_seconds: u32,
}

/// What differs in one region.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionWire {
    /// As in [`TrafficWire::candidate_weight`].
    pub candidate_weight: u32,
}

/// An immutable build and where it runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseWire {
    /// Human version, e.g. `1.5.0`.
    pub version: String,
    /// Source revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Where it runs, at least one.
    pub upstreams: Vec<UpstreamWire>,
    /// Where the written rollback plan is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_plan: Option<String>,
    /// Timeouts that differ from the environment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutsWire>,
}

/// One address of a release.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpstreamWire {
    /// `http://host[:port]` or `https://host[:port]`, without path or query.
    pub url: String,
    /// The region it belongs to; upstreams of the edge's own region are preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// The protocol to speak.
    #[serde(skip_serializing_if = "UpstreamProtocol::is_default")]
    pub protocol: UpstreamProtocol,
}

/// What to speak to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: with prior knowledge over `http`, by ALPN over `https`.
    Http2,
}

impl UpstreamProtocol {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    fn is_default(&self) -> bool {
        *self == Self::Http1
    }
}

/// A named condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentWire {
    /// The condition.
    pub when: ConditionWire,
}

/// A typed decision with its targeting in this environment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlagWire {
    /// Stable identity; the default salt, so that renaming the key moves nobody.
    pub id: String,
    /// Type of every variant's value.
    pub r#type: FlagType,
    /// Named values in the order of creation.
    pub variants: Vec<VariantWire>,
    /// What is served when the flag is off.
    pub off_variant: VariantKey,
    /// Off means: the off variant for everybody.
    pub enabled: bool,
    /// Whether the edge decides it for each request and tells the upstream.
    #[serde(skip_serializing_if = "is_false")]
    pub forward: bool,
    /// Whether browsers may see it.
    #[serde(skip_serializing_if = "is_false")]
    pub client_visible: bool,
    /// Salt of its splits; defaults to `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Bucketing algorithm, `siphash24-v1`, or `flagd-v2` or `flagd-v3` for a flag that comes from there.
    pub algorithm: String,
    /// Unit sources of its splits; defaults to the environment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Vec<String>>,
    /// Flags that must have one of the named variants first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<PrerequisiteWire>,
    /// Targeting rules, first match wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<FlagRuleWire>,
    /// What is served when no rule matches.
    pub fallthrough: ServeWire,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The type that all values of a flag share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FlagType {
    /// `true` or `false`.
    Boolean,
    /// A text.
    String,
    /// A number.
    Number,
    /// A JSON object.
    Object,
}

/// A named value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VariantWire {
    /// Its name.
    pub key: VariantKey,
    /// Its value, of the flag's type.
    pub value: serde_json::Value,
}

/// Another flag's variant that this flag depends on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrerequisiteWire {
    /// The other flag.
    pub flag: FlagKey,
    /// The variants that satisfy it.
    pub is: Vec<VariantKey>,
}

/// A targeting rule. Exactly one of `serve` and `split`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlagRuleWire {
    /// Shown in decisions and traces.
    pub id: RuleId,
    /// The condition.
    pub when: ConditionWire,
    /// One variant for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serve: Option<VariantKey>,
    /// A share of the units for each variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Vec<RangeWire>>,
}

/// What is served. Exactly one of `serve` and `split`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServeWire {
    /// One variant for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serve: Option<VariantKey>,
    /// A share of the units for each variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Vec<RangeWire>>,
}

/// The buckets `from ≤ b < to` of a variant. The ranges of a split tile 0 to 1 000 000 in order; with an algorithm of
/// flagd 0 to the sum of its weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RangeWire {
    /// The variant that owns these buckets.
    pub variant: VariantKey,
    /// First bucket.
    pub from: u32,
    /// One past the last bucket.
    pub to: u32,
}

/// A condition: exactly one of the forms `all`, `any`, `not`, `attr`, `segment`, `flag`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ConditionWire {
    /// Holds when every part holds; an empty list holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<Vec<ConditionWire>>,
    /// Holds when one part holds; an empty list does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any: Option<Vec<ConditionWire>>,
    /// Holds when the part does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<ConditionWire>>,
    /// Attribute to look at, with `op` and `values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attr: Option<String>,
    /// Operator name, e.g. `in`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// Scalars, `ORed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<serde_json::Value>>,
    /// A segment that must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<SegmentKey>,
    /// A flag that must have one of the variants in `is`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<FlagKey>,
    /// Variants of `flag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<Vec<VariantKey>>,
}

/// What the edge does around a decision.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeWire {
    /// Hosts that select this environment; `*.shop.example` matches one more label.
    pub hosts: Vec<String>,
    /// Whether clients see `x-bascule-release` and `x-bascule-decision`.
    pub debug: bool,
    /// Timeouts towards upstreams.
    pub timeouts: TimeoutsWire,
    /// Whether the active release answers for a failing candidate.
    pub shield: bool,
    /// Active health checks; absent = passive only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthWire>,
    /// The local breaker.
    pub breaker: BreakerWire,
    /// Milliseconds that open tunnels and streams keep after their release was rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_grace_ms: Option<u32>,
    /// Origins of pages that may evaluate flags here, `*` = all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cors: Vec<String>,
}

/// Timeouts in milliseconds; absent = the default that `edge.rs` names.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutsWire {
    /// To establish a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u32>,
    /// Between two reads: until the response head, then until each part of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_ms: Option<u32>,
    /// For the whole exchange; 0 = no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u32>,
}

/// Active health checks of each upstream.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthWire {
    /// Path and query to GET; a status of 200 to 399 is healthy.
    pub path: String,
    /// Milliseconds between probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
    /// Milliseconds for one probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
    /// Failures in a row that make an upstream unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_after: Option<u32>,
    /// Successes in a row that make it healthy again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_after: Option<u32>,
}

/// The local breaker of the candidate.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerWire {
    /// Failures in a row that open it; default 5, 0 = never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_failures: Option<u32>,
    /// Milliseconds it stays open the first time; n times that the n-th time in a row. Default 30 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_ms: Option<u32>,
}
