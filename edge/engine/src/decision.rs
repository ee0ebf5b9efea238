//! What the engine answers. Indices refer to the snapshot that decided, so a decision is plain
//! data: copied between module and host as it is, and reused without allocation.
//!
//! The names of the reasons are public API.

use crate::decide::fall_back;
use crate::names::Slot;
use crate::snapshot::Snapshot;

/// Index into [`crate::Snapshot::releases`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReleaseIndex(pub u16);
/// Index into [`crate::Snapshot::flags`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlagIndex(pub u32);
/// Index into a flag's variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VariantIndex(pub u16);
/// Index into the rules of a flag, or of the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleIndex(pub u16);
/// Index into [`crate::Snapshot::unit_sources`]: the source that gave the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnitIndex(pub u8);

/// The engine's answer for one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Which release serves.
    pub route: Route,
    /// The outcome of each forwarded flag, in the order of [`crate::Snapshot::forwarded`].
    pub flags: Vec<FlagOutcome>,
}

impl Decision {
    /// A decision to be overwritten: the blue slot, no flags.
    pub const fn new() -> Self {
        let route = Route {
            slot: Slot::Blue,
            release: ReleaseIndex(0),
            reason: RouteReason::Fallback,
            rule: None,
            bucket: None,
            unit: None,
            renew_pin: false,
        };
        Self { route, flags: Vec::new() }
    }

    /// The decision of an edge that could not ask its engine.
    pub fn fallback(snapshot: &Snapshot) -> Self {
        let mut decision = Self::new();
        fall_back(snapshot, &mut decision);
        decision
    }
}

impl Default for Decision {
    fn default() -> Self {
        Self::new()
    }
}

/// Which release serves, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The slot.
    pub slot: Slot,
    /// The release in it.
    pub release: ReleaseIndex,
    /// Why.
    pub reason: RouteReason,
    /// The rule, when the reason is `RULE`.
    pub rule: Option<RuleIndex>,
    /// The bucket, when one was computed.
    pub bucket: Option<u32>,
    /// Where the unit came from, when there is one.
    pub unit: Option<UnitIndex>,
    /// Whether the host should give the client a fresh pin to this release.
    pub renew_pin: bool,
}

/// Why a release serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RouteReason {
    /// A signed override named the slot.
    Override = 0,
    /// A routing rule matched.
    Rule = 1,
    /// The client is pinned to the release it was served by before.
    Pin = 2,
    /// The unit's bucket against the candidate's weight.
    Split = 3,
    /// No candidate takes traffic: the active slot.
    Active = 4,
    /// No unit to split by, or the edge could not decide: the active slot.
    Fallback = 5,
}

/// One flag's variant, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagOutcome {
    /// The flag.
    pub flag: FlagIndex,
    /// The variant served.
    pub variant: VariantIndex,
    /// Why.
    pub reason: FlagReason,
    /// The rule that matched.
    pub rule: Option<RuleIndex>,
    /// The bucket, when one was computed.
    pub bucket: Option<u32>,
    /// What was wrong, when the reason is `ERROR` or a prerequisite failed.
    pub error: Option<ErrorCode>,
}

/// Why a variant is served; `OpenFeature`'s words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlagReason {
    /// The flag has no rules: everybody gets the same.
    Static = 0,
    /// No rule matched.
    Default = 1,
    /// A rule matched.
    TargetingMatch = 2,
    /// A bucket chose among variants.
    Split = 3,
    /// The flag is off, or a prerequisite failed.
    Disabled = 4,
    /// The flag could not be evaluated; see the error code.
    Error = 5,
}

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// A split needs a unit and the request has none; the off variant is served.
    TargetingKeyMissing = 0,
    /// Another flag does not have the variant that this one depends on.
    PrerequisiteFailed = 1,
    /// The edge could not decide; the off variant is served.
    General = 2,
}

impl RouteReason {
    /// The public name, e.g. `SPLIT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Override => "OVERRIDE",
            Self::Rule => "RULE",
            Self::Pin => "PIN",
            Self::Split => "SPLIT",
            Self::Active => "ACTIVE",
            Self::Fallback => "FALLBACK",
        }
    }
}

impl FlagReason {
    /// The public name, e.g. `TARGETING_MATCH`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Default => "DEFAULT",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
            Self::Error => "ERROR",
        }
    }
}

impl ErrorCode {
    /// The public name, e.g. `TARGETING_KEY_MISSING`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TargetingKeyMissing => "TARGETING_KEY_MISSING",
            Self::PrerequisiteFailed => "PREREQUISITE_FAILED",
            Self::General => "GENERAL",
        }
    }
}
