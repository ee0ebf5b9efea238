//! What a rollout means to do. Invariant: a plan whose [`Plan::check`] is empty only ever raises the weight within a wave,
//! ends each wave at 100 %, and fits into its own maximum duration.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use verdict::{FULL_WEIGHT, Policy};

/// Milliseconds, as times since an epoch of the caller's choice and as durations.
pub type Ms = u64;

const MINUTE: Ms = 60_000;
const HOUR: Ms = 60 * MINUTE;
/// The longest that a plan may take: 30 days.
pub const LONGEST: Ms = 30 * 24 * HOUR;
/// The most steps of a plan.
pub const MOST_STEPS: usize = 64;

/// How a candidate takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// One step from nothing to everything.
    BlueGreen,
    /// Several steps.
    Canary,
}

/// What happens when a step's time is up and neither harm nor its absence is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inconclusive {
    /// Keep the weight and notify a person.
    #[default]
    Hold,
    /// Go on.
    Promote,
    /// Take the traffic back.
    Abort,
}

/// What happens to a rollout under way when a newer release wants its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Superseding {
    /// The newer release is refused until this one has ended.
    #[default]
    Refuse,
    /// This one is taken back.
    Replace,
}

/// One weight and what it takes to leave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Percent of the units, with up to four decimals.
    pub weight: f64,
    /// The least time at this weight.
    pub hold_ms: Ms,
    /// The time after which a step without a decision is held.
    pub limit_ms: Ms,
    /// Names of the gates that must pass.
    #[serde(default)]
    pub gates: Vec<String>,
    /// Whether a person must approve before the step is left.
    #[serde(default)]
    pub approval: bool,
}

impl Step {
    /// The weight in millionths; `None` when it is no percentage with at most four decimals.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
    pub fn millionths(&self) -> Option<u32> {
        let scaled = self.weight * 10_000.0;
        let near = (scaled - scaled.round()).abs() < 1e-6;
        (near && (0.0..=f64::from(FULL_WEIGHT)).contains(&scaled)).then(|| scaled.round() as u32)
    }
}

/// How a release takes over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The candidate.
    pub release: String,
    /// How it takes over.
    pub strategy: Strategy,
    /// Whether the candidate is shown at 0 % by override links until a person promotes it.
    #[serde(default)]
    pub preview: bool,
    /// The steps, in order; the last is at 100 %.
    pub steps: Vec<Step>,
    /// Regions that go through the steps one wave after another; empty = all at once.
    #[serde(default)]
    pub waves: Vec<Vec<String>>,
    /// How long the candidate is judged at 100 % everywhere.
    pub bake_ms: Ms,
    /// How long the loser is kept ready after that.
    pub keep_warm_ms: Ms,
    /// The time after which a rollout that is not promoted is taken back.
    pub maximum_ms: Ms,
    /// How long edges have to acknowledge that traffic is taken back, before it is said again.
    pub acknowledge_ms: Ms,
    /// How long the verification after that may take.
    pub verify_ms: Ms,
    /// What to do without a result.
    #[serde(default)]
    pub inconclusive: Inconclusive,
    /// What to do about a newer release.
    #[serde(default)]
    pub superseding: Superseding,
    /// How the candidate is judged.
    pub verdict: Policy,
}

/// One mistake in a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct Fault {
    /// JSON pointer into the plan.
    pub pointer: String,
    /// Stable code.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
}

impl Plan {
    /// The default of a strategy, under the name of the strategy.
    #[must_use]
    pub fn of(strategy: Strategy, release: impl Into<String>) -> Self {
        let step = |weight, hold_ms| Step { weight, hold_ms, limit_ms: HOUR, gates: Vec::new(), approval: false };
        let steps = match strategy {
            Strategy::BlueGreen => vec![step(100.0, 5 * MINUTE)],
            Strategy::Canary => [5.0, 25.0, 50.0, 100.0].map(|weight| step(weight, 5 * MINUTE)).into(),
        };
        Self {
            release: release.into(),
            strategy,
            preview: strategy == Strategy::BlueGreen,
            steps,
            waves: Vec::new(),
            bake_ms: 10 * MINUTE,
            keep_warm_ms: HOUR,
            maximum_ms: 24 * HOUR,
            acknowledge_ms: 10_000,
            verify_ms: 30_000,
            inconclusive: Inconclusive::Hold,
            superseding: Superseding::Refuse,
            verdict: Policy::default(),
        }
    }

    /// The plan of a named template.
    #[must_use]
    pub fn template(name: &str, release: &str) -> Option<Self> {
        match name {
            "blue-green" => Some(Self::of(Strategy::BlueGreen, release)),
            "canary" => Some(Self::of(Strategy::Canary, release)),
            _ => None,
        }
    }

    /// All mistakes; none = the plan may be started.
    #[must_use]
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Faults(Vec::new());
        faults.unless(!self.release.is_empty(), "/release", "required", "a rollout needs a release");
        self.check_steps(&mut faults);
        self.check_waves(&mut faults);
        let shortest = self.shortest();
        let fits = shortest.is_some_and(|shortest| shortest < self.maximum_ms) && self.maximum_ms <= LONGEST;
        faults.unless(
            fits,
            "/maximumMs",
            "duration",
            "the steps and the bake time fit into it, and it is at most 30 days",
        );
        faults.unless(self.keep_warm_ms <= LONGEST, "/keepWarmMs", "duration", "at most 30 days");
        for (pointer, value) in [("/acknowledgeMs", self.acknowledge_ms), ("/verifyMs", self.verify_ms)] {
            faults.unless((1000..=10 * MINUTE).contains(&value), pointer, "duration", "between 1 s and 10 min");
        }
        if let Err(error) = self.verdict.check() {
            faults.unless(false, "/verdict", "verdict-policy", &error.to_string());
        }
        faults.0
    }

    fn check_steps(&self, faults: &mut Faults) {
        let count = (1..=MOST_STEPS).contains(&self.steps.len());
        faults.unless(count, "/steps", "steps", "a plan has 1 to 64 steps");
        let blue_green = self.strategy != Strategy::BlueGreen || self.steps.len() == 1;
        faults.unless(blue_green, "/steps", "strategy", "blue-green has one step");
        let mut before = 0;
        for (index, step) in self.steps.iter().enumerate() {
            let at = |field: &str| format!("/steps/{index}/{field}");
            let weight = step.millionths();
            let sound = weight.is_some();
            faults.unless(sound, &at("weight"), "weight", "a percentage from 0 to 100 with at most four decimals");
            let rises = !sound || weight > Some(before);
            faults.unless(rises, &at("weight"), "not-rising", "a step has more weight than the one before");
            before = weight.unwrap_or(before);
            let limit = step.limit_ms > step.hold_ms && step.limit_ms <= LONGEST;
            faults.unless(limit, &at("limitMs"), "duration", "longer than the hold, at most 30 days");
            let gates: BTreeSet<_> = step.gates.iter().filter(|name| !name.is_empty()).collect();
            faults.unless(gates.len() == step.gates.len(), &at("gates"), "names", "gates have different names");
        }
        faults.unless(before == FULL_WEIGHT, "/steps", "not-full", "the last step is at 100 %");
    }

    fn check_waves(&self, faults: &mut Faults) {
        let mut seen = BTreeSet::new();
        for (index, wave) in self.waves.iter().enumerate() {
            let pointer = format!("/waves/{index}");
            faults.unless(!wave.is_empty(), &pointer, "required", "a wave has a region");
            let new = wave.iter().filter(|region| !region.is_empty() && seen.insert(*region)).count() == wave.len();
            faults.unless(new, &pointer, "names", "a region is named once");
        }
    }

    fn shortest(&self) -> Option<Ms> {
        let holds = self.steps.iter().try_fold(0_u64, |sum, step| sum.checked_add(step.hold_ms))?;
        holds.checked_mul(u64::try_from(self.waves.len().max(1)).ok()?)?.checked_add(self.bake_ms)
    }
}

struct Faults(Vec<Fault>);

impl Faults {
    fn unless(&mut self, sound: bool, pointer: &str, code: &'static str, detail: &str) {
        if !sound {
            self.0.push(Fault { pointer: pointer.to_owned(), code, detail: detail.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_sound() {
        for name in ["blue-green", "canary"] {
            assert_eq!(Plan::template(name, "v2").expect("it exists").check(), []);
        }
        assert!(Plan::template("other", "v2").is_none());
    }

    #[test]
    fn mistakes_are_named_by_pointer_and_code() {
        let mut plan = Plan::of(Strategy::Canary, "");
        plan.steps[1].weight = 0.00001;
        plan.steps[2].weight = 1.0;
        plan.steps[3].weight = 99.0;
        plan.waves = vec![vec!["eu".into()], vec!["eu".into()]];
        plan.maximum_ms = 1;
        let faults = plan.check();
        let found: Vec<_> = faults.iter().map(|fault| (fault.pointer.as_str(), fault.code)).collect();
        let expected = [
            ("/release", "required"),
            ("/steps/1/weight", "weight"),
            ("/steps/2/weight", "not-rising"),
            ("/steps", "not-full"),
            ("/waves/1", "names"),
            ("/maximumMs", "duration"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_weight_has_four_decimals() {
        let weight = |weight| Step { weight, ..Plan::of(Strategy::BlueGreen, "v2").steps[0].clone() }.millionths();
        assert_eq!(weight(0.0001), Some(1));
        assert_eq!(weight(33.3333), Some(333_333));
        assert_eq!(weight(0.000_05), None);
        assert_eq!(weight(f64::NAN), None);
        assert_eq!(weight(100.1), None);
    }
}
