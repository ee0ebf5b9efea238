//! Where a rollout is, what may happen to it, and what follows. Values only; the rules are in `machine`.

use serde::{Deserialize, Serialize};
use verdict::{HoldReason, RollBackReason, Verdict};

use crate::plan::{Ms, Plan};

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// A person, by name.
    Person(String),
    /// The plan, the clock or the evidence.
    Machine,
}

/// Which step of which wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Index into the plan's waves; 0 when there are none.
    pub wave: usize,
    /// Index into the plan's steps.
    pub step: usize,
}

/// Where a paused or held rollout goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// At 0 %, by override links.
    Preview,
    /// At a step, from its beginning.
    Step(Position),
    /// At 100 %, from the beginning of the bake time.
    Bake,
}

/// Why a rollout stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HeldWhy {
    /// The verdict says so.
    Verdict(HoldReason),
    /// A gate said no.
    Gate(String),
    /// The step's time is up without a decision: evidence, a gate's answer or an open window is missing.
    TimeUp,
    /// The stable release fails too: taking traffic back would not help.
    StableFailsToo(String),
}

/// Why traffic is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// The verdict.
    Verdict(RollBackReason),
    /// An alarm from outside the statistics.
    Alarm(String),
    /// Neither harm nor its absence was shown, and the plan says abort.
    Inconclusive,
    /// The maximum duration is over.
    MaximumDuration,
    /// A person's reason.
    Person(String),
    /// A newer release.
    Newer(String),
}

/// What a rollout is called when its traffic is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// The release was bad, or somebody said so.
    RolledBack,
    /// The rollout was given up; nothing is said of the release.
    Aborted,
    /// A newer release took the place.
    Superseded,
}

/// A state with its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
#[expect(missing_docs, reason = "`since` and `why` say what they are")]
pub enum Phase {
    /// Not started.
    Pending { since: Ms },
    /// At 0 %, by override links.
    Previewing { since: Ms },
    /// At a step; `passed` are gates, `ready` is the evidence of a good candidate.
    Step { at: Position, since: Ms, passed: Vec<String>, ready: Option<String> },
    /// A step is done, and a person must say so.
    WaitingForApproval { at: Position, since: Ms },
    /// A person said stop; the weight stays.
    Paused { by: By, from: Place, since: Ms },
    /// The machine does not know; the weight stays.
    Held { why: HeldWhy, from: Place, since: Ms },
    /// At 100 % everywhere, still judged.
    Baking { since: Ms },
    /// Promoted; the loser is still ready.
    KeepingWarm { since: Ms },
    /// The end: the candidate is stable.
    Promoted { since: Ms },
    /// Traffic is being taken back; `asked` says how often edges were told.
    RollingBack { why: Why, by: By, end: End, since: Ms, asked: u8 },
    /// Edges have acknowledged; probes look whether stable serves.
    Verifying { why: Why, by: By, end: End, since: Ms },
    /// The end: as it was before. A machine's roll back counts towards quarantine.
    TakenBack { why: Why, by: By, end: End, since: Ms },
    /// The end: taking back could not be shown to have worked. A person is paged.
    Failed { why: Why, by: By, detail: String, since: Ms },
}

/// A rollout between two events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// When it was created.
    pub created: Ms,
    /// The latest time that it has seen; a clock that goes back stands still instead.
    pub seen: Ms,
    /// The freeze window that is in force, by name.
    pub frozen: Option<String>,
    /// The state itself.
    pub phase: Phase,
}

/// What happens to a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
#[expect(missing_docs, reason = "fields are named by what they are")]
pub enum Event {
    /// Time passes.
    Tick,
    /// Begin. `machine_rollbacks`: how often the machine has rolled this release back.
    Start { by: By, machine_rollbacks: u32 },
    /// The verdict, and its sentence.
    Judged { verdict: Verdict, evidence: String },
    /// A gate's answer. A gate that could not be asked has no answer.
    Gate { at: Position, name: String, passed: bool, detail: String },
    /// Failed probes, breakers, an alert: in words, with numbers.
    Alarm { detail: String, stable_too: bool },
    /// A person approves.
    Approve { by: By },
    /// A person says stop.
    Pause { by: By },
    /// A person says go on.
    Resume { by: By },
    /// A person goes to the next step, or with `full` to 100 %.
    Promote { by: By, full: bool },
    /// Take the traffic back: the release is bad.
    RollBack { by: By, why: String },
    /// Take the traffic back: not now.
    Abort { by: By, why: String },
    /// A newer release wants the place.
    Supersede { release: String },
    /// A freeze window opens.
    Freeze { name: String },
    /// The freeze window is over.
    Thaw,
    /// All edges have acknowledged that traffic is taken back.
    Acknowledged,
    /// Probes found stable serving, or not.
    Verified { good: bool, detail: String },
}

/// What a driver has to do. All of them may be done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "effect")]
#[expect(missing_docs, reason = "fields are named by what they are")]
pub enum Effect {
    /// Give the candidate this weight, in millionths; no regions = all.
    SetWeight { regions: Vec<String>, weight: u32 },
    /// A step's evidence begins anew.
    BeginStep,
    /// Ask a gate.
    RunGate { at: Position, name: String },
    /// Take all traffic back at once.
    TakeBack,
    /// Probe stable in every region.
    Verify,
    /// The loser may be stopped.
    Release,
    /// Tell people; `page` wakes somebody.
    Notify { sentence: String, page: bool },
}

/// What was decided, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// When.
    pub at: Ms,
    /// A sentence with numbers.
    pub sentence: String,
    /// Whether anything changed.
    pub changed: bool,
}

/// An event that may not happen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing happens to it any more.
    #[error("the rollout has ended")]
    Ended,
    /// The event does not belong to this state.
    #[error("the rollout is not in a state for that")]
    NotNow,
    /// Rolling back is under way and cannot be stopped.
    #[error("traffic is already being taken back")]
    TakingBack,
    /// A freeze window is in force.
    #[error("a freeze window is in force")]
    Frozen,
    /// The machine rolled this release back twice.
    #[error("the machine rolled this release back twice, so a person has to start it")]
    Quarantined,
    /// The plan does not let newer releases take the place.
    #[error("the plan refuses newer releases until this rollout has ended")]
    Occupied,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Previewing { .. } => "previewing",
            Self::Step { .. } => "step",
            Self::WaitingForApproval { .. } => "waitingForApproval",
            Self::Paused { .. } => "paused",
            Self::Held { .. } => "held",
            Self::Baking { .. } => "baking",
            Self::KeepingWarm { .. } => "keepingWarm",
            Self::Promoted { .. } => "promoted",
            Self::RollingBack { .. } => "rollingBack",
            Self::Verifying { .. } => "verifying",
            Self::TakenBack { end: End::RolledBack, .. } => "rolledBack",
            Self::TakenBack { end: End::Aborted, .. } => "aborted",
            Self::TakenBack { end: End::Superseded, .. } => "superseded",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether nothing happens any more.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Promoted { .. } | Self::TakenBack { .. } | Self::Failed { .. })
    }

    /// Where a pause or a hold would go on.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Previewing { .. } => Some(Place::Preview),
            Self::Step { at, .. } | Self::WaitingForApproval { at, .. } => Some(Place::Step(*at)),
            Self::Paused { from, .. } | Self::Held { from, .. } => Some(*from),
            Self::Baking { .. } => Some(Place::Bake),
            _ => None,
        }
    }
}

impl State {
    /// A rollout that has not started.
    #[must_use]
    pub fn new(now: Ms) -> Self {
        Self { created: now, seen: now, frozen: None, phase: Phase::Pending { since: now } }
    }

    /// When [`Event::Tick`] moves on at the latest; `None` only at an end.
    #[must_use]
    pub fn deadline(&self, plan: &Plan) -> Option<Ms> {
        let maximum = self.created.saturating_add(plan.maximum_ms);
        let own = match &self.phase {
            Phase::Step { at, since, .. } => {
                let (hold, limit) = plan.steps.get(at.step).map_or((0, 0), |step| (step.hold_ms, step.limit_ms));
                let held = since.saturating_add(hold);
                if self.seen < held { held } else { since.saturating_add(limit) }
            }
            Phase::Baking { since } => since.saturating_add(plan.bake_ms),
            Phase::KeepingWarm { since } => return Some(since.saturating_add(plan.keep_warm_ms)),
            Phase::RollingBack { since, .. } => return Some(since.saturating_add(plan.acknowledge_ms)),
            Phase::Verifying { since, .. } => return Some(since.saturating_add(plan.verify_ms)),
            phase if phase.is_end() => return None,
            _ => maximum,
        };
        Some(own.min(maximum))
    }
}
