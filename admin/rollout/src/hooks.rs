//! Gates that no step names: what the operator's hooks ask of every rollout of an environment, and where.
//!
//! Invariant: they are written down when the rollout starts, like the rest of its plan.

use serde::{Deserialize, Serialize};

use crate::state::Place;

/// The names of hooks that have to say yes, by where they are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hooks {
    /// Before the first traffic: whether it may begin.
    pub confirm: Vec<String>,
    /// Before the first traffic, after that: checks of the candidate.
    pub before: Vec<String>,
    /// While a stay is judged, again and again; the last answer counts.
    pub during: Vec<String>,
    /// Before each raise of the weight.
    pub raise: Vec<String>,
    /// Before the candidate becomes the active release.
    pub promote: Vec<String>,
}

impl Hooks {
    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let all = [&self.confirm, &self.before, &self.during, &self.raise, &self.promote];
        all.into_iter().flatten().any(|hook| hook == name)
    }

    pub(crate) fn is_asked_first(&self) -> bool {
        !(self.confirm.is_empty() && self.before.is_empty() && self.raise.is_empty())
    }

    pub(crate) fn is_asked_last(&self) -> bool {
        !self.promote.is_empty()
    }

    /// What is asked at a place, in the order in which it is asked; `next` is the place after it.
    pub(crate) fn at(&self, place: Place, next: Place) -> [&[String]; 3] {
        match (place, next) {
            (Place::Preview, _) => [&[], &[], &[]],
            (Place::Start, _) => [&self.confirm, &self.before, &self.raise],
            (Place::Step(_), Place::Step(_)) => [&self.during, &[], &self.raise],
            (Place::Step(_), _) => [&self.during, &[], &[]],
            (Place::Bake, _) => [&self.during, &[], &self.promote],
        }
    }
}
