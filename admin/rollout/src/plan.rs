//! What one rollout means to do: which release, against which, and how. Invariant: a plan does not change while its rollout
//! is under way.

use serde::{Deserialize, Serialize};
use verdict::FULL_WEIGHT;

use crate::hooks::Hooks;
use crate::state::{By, Place, Position, Stay};
use crate::template::{Ms, Step, Template};

/// How one release takes over from another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The candidate.
    pub release: String,
    /// The release that served before, and that traffic goes back to.
    pub stable: String,
    /// How.
    pub template: Template,
    /// What is not as the template said it, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overruled: Option<String>,
    /// What is asked besides the gates of the steps.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
}

/// One mistake in a plan or a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct Fault {
    /// JSON pointer into it.
    pub pointer: String,
    /// Stable code.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
}

impl Plan {
    /// A plan by a template.
    #[must_use]
    pub fn new(release: impl Into<String>, stable: impl Into<String>, template: Template) -> Self {
        Self { release: release.into(), stable: stable.into(), template, overruled: None, hooks: Hooks::default() }
    }

    /// All mistakes; none = the plan may be started.
    #[must_use]
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.unless(!self.release.is_empty(), "/release", "required", "a rollout needs a release");
        let two = self.release != self.stable;
        faults.unless(two, "/release", "same", "the release is the one that serves already");
        faults.below("/template", self.template.check());
        faults.all()
    }

    /// The step of a place, where it is one.
    #[must_use]
    pub fn step(&self, place: Place) -> Option<&Step> {
        match place {
            Place::Step(at) => self.template.steps.get(at.step),
            Place::Preview | Place::Start | Place::Bake => None,
        }
    }

    /// The least time at a place.
    #[must_use]
    pub fn hold(&self, place: Place) -> Ms {
        match place {
            Place::Preview | Place::Start => 0,
            Place::Step(_) => self.step(place).map_or(0, |step| step.hold_ms),
            Place::Bake => self.template.bake_ms,
        }
    }

    /// The time after which a stay is inconclusive.
    #[must_use]
    pub fn limit(&self, place: Place) -> Ms {
        match place {
            Place::Preview | Place::Start => self.template.maximum_ms,
            Place::Step(_) => self.step(place).map_or(0, |step| step.limit_ms),
            Place::Bake => self.template.bake_limit_ms,
        }
    }

    /// The gates that have not passed yet.
    #[must_use]
    pub fn missing<'p>(&'p self, stay: &Stay) -> Vec<&'p str> {
        self.gates(stay.place).filter(|gate| !stay.passed.contains(gate)).map(String::as_str).collect()
    }

    /// All gates of a place: those of its step, and the hooks that are asked there.
    pub(crate) fn gates(&self, place: Place) -> impl Iterator<Item = &String> {
        let own = self.step(place).map_or(&[][..], |step| &step.gates);
        own.iter().chain(self.hooks.at(place, self.after(place)).into_iter().flatten())
    }

    pub(crate) fn needs_approval(&self, place: Place) -> bool {
        self.step(place).is_some_and(|step| step.approval)
    }

    /// What comes after a place.
    pub(crate) fn after(&self, place: Place) -> Place {
        let (steps, waves) = (self.template.steps.len(), self.template.waves.len());
        match place {
            Place::Preview if self.hooks.is_asked_first() => Place::Start,
            Place::Preview | Place::Start => Place::Step(Position { wave: 0, step: 0 }),
            Place::Step(at) if at.step + 1 < steps => Place::Step(Position { step: at.step + 1, ..at }),
            Place::Step(at) if at.wave + 1 < waves => Place::Step(Position { wave: at.wave + 1, step: 0 }),
            Place::Step(_) | Place::Bake => Place::Bake,
        }
    }

    /// Whether everybody is at the candidate there.
    pub(crate) fn is_full(&self, place: Place) -> bool {
        let at_full = self.step(place).is_some_and(|step| step.millionths() == Some(FULL_WEIGHT));
        place == Place::Bake || (at_full && self.after(place) == Place::Bake)
    }

    /// Whether a step is one of the last wave, with which regions go that are in none.
    pub(crate) fn is_last_wave(&self, at: Position) -> bool {
        at.wave + 1 >= self.template.waves.len()
    }

    /// Whether this person may approve. The one who started never may.
    pub(crate) fn may_approve(&self, by: &By) -> bool {
        let By::Person { id, name } = by else { return false };
        let approvers = &self.template.approvers;
        approvers.is_empty() || approvers.iter().any(|approver| approver == id || approver == name)
    }
}

/// Mistakes as they are found.
#[derive(Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn unless(&mut self, sound: bool, pointer: &str, code: &'static str, detail: &str) {
        if !sound {
            self.0.push(Fault { pointer: pointer.to_owned(), code, detail: detail.to_owned() });
        }
    }

    /// Mistakes of a part.
    pub(crate) fn below(&mut self, pointer: &str, faults: Vec<Fault>) {
        let moved = faults.into_iter().map(|fault| Fault { pointer: format!("{pointer}{}", fault.pointer), ..fault });
        self.0.extend(moved);
    }

    pub(crate) fn all(self) -> Vec<Fault> {
        self.0
    }
}
