//! Where a rollout is, what may happen to it, and what follows. Values only; the rules are in `machine`.

use serde::{Deserialize, Serialize};
use verdict::{EpochAlarms, HoldReason, RollBackReason};

use crate::grounds::Grounds;
use crate::plan::Plan;
use crate::template::Ms;

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// A person.
    Person {
        /// What tells two people apart.
        id: String,
        /// What they are called.
        name: String,
    },
    /// The plan, the clock or the evidence.
    Machine,
}

/// Which step of which wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Index into the template's waves; 0 when there are none.
    pub wave: usize,
    /// Index into the template's steps.
    pub step: usize,
}

/// A part of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// At 0 %, by override links.
    Preview,
    /// At 0 %, until the hooks before the first traffic have said yes.
    Start,
    /// At a step.
    Step(Position),
    /// At 100 % everywhere.
    Bake,
}

/// A stay at a weight: what has been gathered there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stay {
    /// Where.
    pub place: Place,
    /// Since when.
    pub since: Ms,
    /// The gates that passed.
    pub passed: Vec<String>,
    /// Whether the newest verdict is for the candidate.
    pub ready: bool,
}

/// Why a rollout stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HeldWhy {
    /// The verdict says so.
    Verdict(HoldReason),
    /// A gate said no.
    Gate(String),
    /// The time is up, and a gate's answer or an open window is missing.
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
    /// Somebody's reason.
    Said(String),
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
#[expect(missing_docs, reason = "`since`, `why` and `stay` say what they are")]
pub enum Phase {
    /// Not started.
    Pending { since: Ms },
    /// At 0 %, by override links.
    Previewing { since: Ms },
    /// At 0 %, until the hooks before the first traffic have said yes.
    Starting(Stay),
    /// At a step.
    Step(Stay),
    /// A step is done, and a person must say so.
    WaitingForApproval { stay: Stay, since: Ms },
    /// A person said stop; the weight stays. Going on begins the place anew.
    Paused { by: By, from: Place, since: Ms },
    /// The machine does not know; the weight stays, and what was gathered with it.
    Held { why: HeldWhy, stay: Stay, since: Ms },
    /// At 100 % everywhere, still judged.
    Baking(Stay),
    /// Promoted; the loser is still ready.
    KeepingWarm { since: Ms },
    /// The end: the candidate is stable.
    Promoted { since: Ms },
    /// Traffic is being taken back; `asked` says how often edges were told.
    RollingBack { why: Why, by: By, end: End, since: Ms, asked: u8 },
    /// Edges have acknowledged; it is looked whether stable serves.
    Verifying { why: Why, by: By, end: End, since: Ms },
    /// The end: as it was before. A machine's roll back counts towards quarantine.
    TakenBack { why: Why, by: By, end: End, since: Ms },
    /// The end: taking back could not be shown to have worked. A person is paged.
    Failed { why: Why, by: By, detail: String, since: Ms },
}

/// A rollout between two events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// When it was created.
    pub created: Ms,
    /// The latest time that it has seen; a clock that goes back stands still instead.
    pub seen: Ms,
    /// Who started it: that one never approves.
    pub started_by: Option<By>,
    /// The freeze window that is in force, by name.
    pub frozen: Option<String>,
    /// What the infrastructure is short of: no step forward until that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strained: Option<String>,
    /// What the newest verdict of this place rests on.
    pub latest: Option<Grounds>,
    /// What stable against itself has shown beside it. No event looks at it.
    #[serde(default)]
    pub calibration: EpochAlarms,
    /// The state itself.
    pub phase: Phase,
}

/// What happens to a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
#[expect(missing_docs, reason = "fields are named by what they are")]
pub enum Event {
    /// Time passes.
    Tick,
    /// Begin. `machine_rollbacks`: how often the machine has rolled this release back; twice is quarantine, which a person
    /// lifts by saying so.
    Start { by: By, machine_rollbacks: u32, accepted: bool },
    /// The evidence, as it is judged now.
    Judged { grounds: Grounds },
    /// A gate's answer. A gate that could not be asked has no answer.
    Gate { at: Place, name: String, passed: bool, detail: String },
    /// Failed probes, breakers, an alert: in words, with numbers.
    Alarm { detail: String, stable_too: bool },
    /// What made a person look because stable fails too is over.
    Calm { detail: String },
    /// A person approves.
    Approve { by: By },
    /// A person says stop.
    Pause { by: By },
    /// A person says go on.
    Resume { by: By },
    /// A person does not wait for hold and evidence of this place, or with `full` goes to 100 %.
    Promote { by: By, full: bool },
    /// Take the traffic back: the release is bad.
    RollBack { by: By, why: String },
    /// Take the traffic back: not now.
    Abort { by: By, why: String },
    /// A newer release wants the place.
    Supersede { by: By, release: String },
    /// A freeze window opens.
    Freeze { name: String },
    /// The freeze window is over.
    Thaw,
    /// The infrastructure is short of something: in words, with numbers.
    Strain { detail: String },
    /// It has enough again.
    Relax,
    /// All edges have acknowledged that traffic is taken back.
    Acknowledged,
    /// Stable was found serving, or not.
    Verified { good: bool, detail: String },
}

/// What a driver has to do. All of them may be done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "effect")]
#[expect(missing_docs, reason = "fields are named by what they are")]
pub enum Effect {
    /// Give the candidate this weight, in millionths, in these regions, and with `rest` in all that no wave names.
    SetWeight { regions: Vec<String>, rest: bool, weight: u32 },
    /// The evidence for promotion begins anew; that of harm goes on.
    BeginStep,
    /// Ask a gate, until it has an answer.
    RunGate { at: Place, name: String },
    /// The candidate is the active release from now on; the loser stays ready in its slot.
    Promote,
    /// Take all traffic back at once.
    TakeBack,
    /// Look whether stable serves.
    Verify,
    /// The loser may be stopped.
    Release,
    /// Tell people; `page` wakes somebody.
    Notify { sentence: String, page: bool },
}

/// What was decided, by whom, on which evidence, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// When.
    pub at: Ms,
    /// Who.
    pub by: By,
    /// A sentence with numbers.
    pub sentence: String,
    /// What was known then.
    pub grounds: Option<Grounds>,
    /// Whether anything was decided.
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
    #[error("the machine rolled this release back twice, so a person has to say that it may be tried again")]
    Quarantined,
    /// The plan does not let newer releases take the place.
    #[error("the plan refuses newer releases until this rollout has ended")]
    Occupied,
    /// Everybody is at the candidate, and it is not known yet whether it is good.
    #[error("this release has all traffic and its evidence is not complete: the newer one waits")]
    Waits,
    /// A gate or an approval is in the way.
    #[error("a gate or an approval is in the way, and only an approver of the plan may pass it")]
    NeedsApprover,
    /// The one who started it does not approve it.
    #[error("whoever started a rollout does not approve it")]
    FourEyes,
}

impl By {
    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Person { name, .. } => name,
            Self::Machine => "the machine",
        }
    }
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Previewing { .. } => "previewing",
            Self::Starting(_) => "starting",
            Self::Step(_) => "step",
            Self::WaitingForApproval { .. } => "waitingForApproval",
            Self::Paused { .. } => "paused",
            Self::Held { .. } => "held",
            Self::Baking(_) => "baking",
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

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Ms {
        match self {
            Self::Starting(stay) | Self::Step(stay) | Self::Baking(stay) => stay.since,
            Self::Pending { since }
            | Self::Previewing { since }
            | Self::WaitingForApproval { since, .. }
            | Self::Paused { since, .. }
            | Self::Held { since, .. }
            | Self::KeepingWarm { since }
            | Self::Promoted { since }
            | Self::RollingBack { since, .. }
            | Self::Verifying { since, .. }
            | Self::TakenBack { since, .. }
            | Self::Failed { since, .. } => *since,
        }
    }

    /// Whether nothing happens any more.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Promoted { .. } | Self::TakenBack { .. } | Self::Failed { .. })
    }

    /// Whether traffic is on its way back.
    #[must_use]
    pub fn is_taking_back(&self) -> bool {
        matches!(self, Self::RollingBack { .. } | Self::Verifying { .. })
    }

    /// What has been gathered at the present weight.
    #[must_use]
    pub fn stay(&self) -> Option<&Stay> {
        match self {
            Self::Starting(stay)
            | Self::Step(stay)
            | Self::Baking(stay)
            | Self::WaitingForApproval { stay, .. }
            | Self::Held { stay, .. } => Some(stay),
            _ => None,
        }
    }

    /// The part of the way on which a rollout is.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Previewing { .. } => Some(Place::Preview),
            Self::Paused { from, .. } => Some(*from),
            phase => phase.stay().map(|stay| stay.place),
        }
    }
}

impl State {
    /// A rollout that has not started.
    #[must_use]
    pub fn new(now: Ms) -> Self {
        let phase = Phase::Pending { since: now };
        let calibration = EpochAlarms::default();
        Self {
            created: now,
            seen: now,
            started_by: None,
            frozen: None,
            strained: None,
            latest: None,
            calibration,
            phase,
        }
    }

    /// When [`Event::Tick`] looks at it again at the latest; `None` only at an end.
    #[must_use]
    pub fn deadline(&self, plan: &Plan) -> Option<Ms> {
        let template = &plan.template;
        let maximum = self.created.saturating_add(template.maximum_ms);
        let own = match &self.phase {
            Phase::Step(stay) | Phase::Baking(stay) => {
                let held = stay.since.saturating_add(plan.hold(stay.place));
                if self.seen < held { held } else { stay.since.saturating_add(plan.limit(stay.place)) }
            }
            Phase::KeepingWarm { since } => return Some(since.saturating_add(template.keep_warm_ms)),
            Phase::RollingBack { since, .. } => return Some(since.saturating_add(template.acknowledge_ms)),
            Phase::Verifying { since, .. } => return Some(since.saturating_add(template.verify_ms)),
            phase if phase.is_end() => return None,
            _ => maximum,
        };
        Some(own.min(maximum))
    }
}
