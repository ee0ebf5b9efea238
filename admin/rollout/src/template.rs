//! Named ways to roll out. Invariant: a template whose [`Template::check`] is empty only ever raises the weight within a
//! wave, ends each wave at 100 %, and fits into its own maximum duration.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use verdict::{FULL_WEIGHT, Latency, Policy};

use crate::plan::{Fault, Faults};

/// Milliseconds, as times since an epoch of the caller's choice and as durations.
pub type Ms = u64;

const MINUTE: Ms = 60_000;
const HOUR: Ms = 60 * MINUTE;
/// The longest that a rollout may take: 30 days.
pub const LONGEST: Ms = 30 * 24 * HOUR;
/// The most steps of a template.
pub const MOST_STEPS: usize = 64;
/// The most names in a list: of gates, approvers, regions.
const MOST_NAMES: usize = 64;
/// Bytes of a name.
const LONGEST_NAME: usize = 128;
/// The threshold of the deployment standard, in milliseconds.
pub const THE_STANDARDS: u32 = 2000;
const CHOSEN_LATER: Latency = Latency { thresholds_ms: Vec::new(), tolerance: 1.0 };

/// How a candidate takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// One step from nothing to everything.
    BlueGreen,
    /// Several steps.
    #[default]
    Canary,
}

/// What happens when a step's time is up and neither harm nor its absence is shown, also for want of any data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inconclusive {
    /// Keep the weight and notify a person; later evidence moves it on.
    #[default]
    Hold,
    /// Go on, unless there is a suspicion.
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
    /// Below 100 %, this one is taken back. At 100 % it is promoted first if the evidence is good, and else the newer waits:
    /// traffic never goes back to the release before for the sake of one that nobody has tried.
    Replace,
}

/// One weight and what it takes to leave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Percent of the units, with up to four decimals.
    pub weight: f64,
    /// The least time at this weight.
    #[serde(default = "five_minutes")]
    pub hold_ms: Ms,
    /// The time after which a step without a decision is inconclusive.
    #[serde(default = "one_hour")]
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

/// What takes traffic back beside the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Alarms {
    /// At an edge, no upstream of the candidate can be used in so many of the last looks. `null`: never.
    pub probes: Option<OutOf>,
    /// The candidate's breaker is open at so many edges, or at all of them where there are fewer. 0: never.
    pub breaker_edges: u32,
    /// Alerts that Prometheus Alertmanager sends.
    pub alertmanager: bool,
}

impl Default for Alarms {
    fn default() -> Self {
        Self { probes: Some(OutOf { failed: 3, of: 5 }), breaker_edges: 2, alertmanager: true }
    }
}

/// N of M.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutOf {
    /// N.
    pub failed: usize,
    /// M, at most [`MOST_LOOKS`].
    pub of: usize,
}

/// Looks at a release that are remembered.
pub const MOST_LOOKS: usize = 10;

/// Shares of what there is, above which no step goes forward. Without data newer than two minutes there is no condition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Infrastructure {
    /// Default 0.8. `null`: it does not count.
    pub cpu: Option<f64>,
    /// Default 0.85. `null`: it does not count.
    pub memory: Option<f64>,
}

impl Default for Infrastructure {
    fn default() -> Self {
        Self { cpu: Some(0.8), memory: Some(0.85) }
    }
}

/// How a release takes over. What is not said is as in `canary`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Template {
    /// What people call it.
    pub name: String,
    /// How it takes over.
    pub strategy: Strategy,
    /// Whether the candidate is shown at 0 % by override links until a person promotes it.
    pub preview: bool,
    /// The steps, in order; the last is at 100 %.
    pub steps: Vec<Step>,
    /// Regions that go through the steps one wave after another; empty = all at once. A region that is in no wave goes
    /// with the last.
    pub waves: Vec<Vec<String>>,
    /// How long the candidate is judged at 100 % everywhere, at least.
    pub bake_ms: Ms,
    /// The time after which a bake without a decision is inconclusive.
    pub bake_limit_ms: Ms,
    /// How long the loser is kept ready after that.
    pub keep_warm_ms: Ms,
    /// The time after which a rollout that is not promoted is taken back.
    pub maximum_ms: Ms,
    /// How long edges have to acknowledge that traffic is taken back, before it is said again.
    pub acknowledge_ms: Ms,
    /// How long the verification after that may take.
    pub verify_ms: Ms,
    /// Who may approve, by id or by name; nobody named = whoever may operate. Never the one who started it.
    pub approvers: Vec<String>,
    /// What takes traffic back beside the verdict.
    pub alarms: Alarms,
    /// What the infrastructure may use while steps go forward.
    pub infrastructure: Infrastructure,
    /// What to do without a result.
    pub inconclusive: Inconclusive,
    /// What to do about a newer release.
    pub superseding: Superseding,
    /// How the candidate is judged. Latency counts unless it says `null`; thresholds that it does not name are chosen when a
    /// rollout starts, by how fast stable is.
    #[serde(deserialize_with = "judged")]
    pub verdict: Policy,
}

impl Default for Template {
    fn default() -> Self {
        Self {
            name: String::new(),
            strategy: Strategy::Canary,
            preview: false,
            steps: steps(&[5.0, 25.0, 50.0, 100.0], 5 * MINUTE),
            waves: Vec::new(),
            bake_ms: 10 * MINUTE,
            bake_limit_ms: HOUR,
            keep_warm_ms: HOUR,
            maximum_ms: 24 * HOUR,
            acknowledge_ms: 10_000,
            verify_ms: 30_000,
            approvers: Vec::new(),
            alarms: Alarms::default(),
            infrastructure: Infrastructure::default(),
            inconclusive: Inconclusive::Hold,
            superseding: Superseding::Refuse,
            verdict: Policy { latency: Some(CHOSEN_LATER), ..Policy::default() },
        }
    }
}

impl Template {
    /// A template that is always there: `canary`, `blue-green`, `careful`.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Self> {
        let template = Self { name: name.to_owned(), ..Self::default() };
        match name {
            "canary" => Some(template),
            "blue-green" => Some(Self {
                strategy: Strategy::BlueGreen,
                preview: true,
                steps: steps(&[100.0], 5 * MINUTE),
                ..template
            }),
            "careful" => {
                let mut steps = steps(&[1.0, 5.0, 10.0, 25.0, 50.0, 100.0], 15 * MINUTE);
                for step in &mut steps {
                    step.limit_ms = 4 * HOUR;
                }
                steps[4].approval = true;
                let verdict = Policy { alpha: 0.001, ..template.verdict.clone() };
                let (bake_ms, bake_limit_ms, maximum_ms) = (HOUR, 8 * HOUR, 72 * HOUR);
                Some(Self { preview: true, steps, bake_ms, bake_limit_ms, maximum_ms, verdict, ..template })
            }
            _ => None,
        }
    }

    /// All mistakes; none = rollouts may be started with it.
    #[must_use]
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        self.check_steps(&mut faults);
        self.check_waves(&mut faults);
        self.check_times(&mut faults);
        faults.unless(are_names(&self.approvers), "/approvers", "names", "approvers have different names");
        let (asked, named) = (self.steps.iter().any(|step| step.approval), self.approvers.is_empty());
        faults.unless(asked || named, "/approvers", "no-approval", "approvers are named, and no step asks them");
        let probes =
            self.alarms.probes.is_none_or(|OutOf { failed, of }| 1 <= failed && failed <= of && of <= MOST_LOOKS);
        faults.unless(probes, "/alarms/probes", "out-of", "1 to `of` looks, and at most 10");
        for (pointer, share) in [("cpu", self.infrastructure.cpu), ("memory", self.infrastructure.memory)] {
            let sound = share.is_none_or(|share| share > 0.0 && share <= 1.0);
            faults.unless(sound, &format!("/infrastructure/{pointer}"), "share", "above 0, at most 1");
        }
        if let Err(error) = self.settled(&[THE_STANDARDS]).verdict.check() {
            faults.unless(false, "/verdict", "verdict-policy", &error.to_string());
        }
        faults.all()
    }

    /// The same with these thresholds of latency, where it names none.
    #[must_use]
    pub fn settled(&self, thresholds_ms: &[u32]) -> Self {
        let mut settled = self.clone();
        if let Some(latency) = settled.verdict.latency.as_mut().filter(|latency| latency.thresholds_ms.is_empty()) {
            latency.thresholds_ms = thresholds_ms.to_vec();
        }
        settled
    }

    fn check_times(&self, faults: &mut Faults) {
        let shortest = self.shortest();
        let fits = shortest.is_some_and(|shortest| shortest < self.maximum_ms) && self.maximum_ms <= LONGEST;
        let detail = "the steps and the bake time fit into it, and it is at most 30 days";
        faults.unless(fits, "/maximumMs", "duration", detail);
        let bake = self.bake_limit_ms > self.bake_ms && self.bake_limit_ms <= LONGEST;
        faults.unless(bake, "/bakeLimitMs", "duration", "longer than the bake time, at most 30 days");
        faults.unless(self.keep_warm_ms <= LONGEST, "/keepWarmMs", "duration", "at most 30 days");
        for (pointer, value) in [("/acknowledgeMs", self.acknowledge_ms), ("/verifyMs", self.verify_ms)] {
            faults.unless((1000..=10 * MINUTE).contains(&value), pointer, "duration", "between 1 s and 10 min");
        }
    }

    fn check_steps(&self, faults: &mut Faults) {
        let count = (1..=MOST_STEPS).contains(&self.steps.len());
        faults.unless(count, "/steps", "steps", "there are 1 to 64 steps");
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
            faults.unless(are_names(&step.gates), &at("gates"), "names", "gates have different names");
        }
        faults.unless(before == FULL_WEIGHT, "/steps", "not-full", "the last step is at 100 %");
    }

    fn check_waves(&self, faults: &mut Faults) {
        let mut seen = BTreeSet::new();
        faults.unless(self.waves.len() <= MOST_NAMES, "/waves", "waves", "there are at most 64 waves");
        for (index, wave) in self.waves.iter().enumerate() {
            let pointer = format!("/waves/{index}");
            faults.unless(!wave.is_empty(), &pointer, "required", "a wave has a region");
            let new = are_names(wave) && wave.iter().filter(|region| !seen.insert(*region)).count() == 0;
            faults.unless(new, &pointer, "names", "a region is named once");
        }
    }

    fn shortest(&self) -> Option<Ms> {
        let holds = self.steps.iter().try_fold(0_u64, |sum, step| sum.checked_add(step.hold_ms))?;
        holds.checked_mul(u64::try_from(self.waves.len().max(1)).ok()?)?.checked_add(self.bake_ms)
    }
}

/// The templates of an environment: its own, and behind them those that are always there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Templates(BTreeMap<String, Template>);

impl Templates {
    /// The templates of an environment by name; the name of each is its key's.
    #[must_use]
    pub fn new(own: BTreeMap<String, Template>) -> Self {
        Self(own.into_iter().map(|(name, template)| (name.clone(), Template { name, ..template })).collect())
    }

    /// The template with this name. An own one goes before a built-in one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Template> {
        self.0.get(name).cloned().or_else(|| Template::built_in(name))
    }

    /// The names of the environment's own.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All mistakes, with pointers that begin with the name.
    #[must_use]
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        for (name, template) in &self.0 {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            faults.unless(is_name(name), &pointer, "names", "a template has a name of 1 to 128 bytes");
            faults.below(&pointer, template.check());
        }
        faults.all()
    }
}

fn steps(weights: &[f64], hold_ms: Ms) -> Vec<Step> {
    let step = |weight: &f64| Step { weight: *weight, hold_ms, limit_ms: HOUR, gates: Vec::new(), approval: false };
    weights.iter().map(step).collect()
}

fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= LONGEST_NAME && !name.contains(char::is_control)
}

fn are_names(names: &[String]) -> bool {
    let different: BTreeSet<_> = names.iter().filter(|name| is_name(name)).collect();
    different.len() == names.len() && names.len() <= MOST_NAMES
}

/// A policy that judges latency also where it does not say so.
fn judged<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Policy, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let is_said = value.get("latency").is_some();
    let policy = Policy::deserialize(value).map_err(D::Error::custom)?;
    Ok(if is_said { policy } else { Policy { latency: Some(CHOSEN_LATER), ..policy } })
}

fn five_minutes() -> Ms {
    5 * MINUTE
}

fn one_hour() -> Ms {
    HOUR
}

#[cfg(test)]
mod tests {
    use verdict::Level;

    use super::*;

    #[test]
    fn what_is_built_in_is_sound() {
        for name in ["blue-green", "canary", "careful"] {
            let template = Template::built_in(name).expect("it exists");
            assert_eq!((template.name.as_str(), template.check()), (name, Vec::new()));
        }
        assert!(Template::built_in("other").is_none());
    }

    #[test]
    fn an_environment_has_templates_of_its_own() {
        let own =
            r#"{"canary": {"steps": [{"weight": 10}, {"weight": 100, "holdMs": 60000}]}, "": {"bakeLimitMs": 1}}"#;
        let templates: Templates = serde_json::from_str(own).expect("they are read");
        let canary = templates.get("canary").expect("it is there");
        assert_eq!((canary.steps.len(), canary.steps[0].hold_ms, canary.bake_ms), (2, 300_000, 600_000));
        assert_eq!(templates.get("careful"), Template::built_in("careful"));
        let faults: Vec<_> = templates.check().into_iter().map(|fault| (fault.pointer, fault.code)).collect();
        assert_eq!(faults, [("/".to_owned(), "names"), ("//bakeLimitMs".to_owned(), "duration")]);
        let named = Templates::new([("slow".to_owned(), Template::default())].into());
        assert_eq!(named.get("slow").map(|template| template.name), Some("slow".to_owned()));
        assert!(serde_json::from_str::<Templates>(r#"{"a": {"stpes": []}}"#).is_err());
        let policy = |verdict: &str| {
            let template: Template = serde_json::from_str(&format!("{{\"verdict\": {verdict}}}")).expect("it is read");
            (template.check().len(), template.settled(&[250, 2000]).verdict)
        };
        let thresholds = |verdict: &str| policy(verdict).1.latency.map(|latency| latency.thresholds_ms);
        assert_eq!(policy(r#"{"alpha": 0.001}"#).1.level, Level::Unit);
        assert_eq!(policy(r#"{"level": "request"}"#).1.level, Level::Request);
        assert_eq!(thresholds("{}"), Some(vec![250, 2000]));
        assert_eq!(thresholds(r#"{"latency": {"tolerance": 1.25}}"#), Some(vec![250, 2000]));
        assert_eq!(thresholds(r#"{"latency": {"thresholdsMs": [500]}}"#), Some(vec![500]));
        assert_eq!((thresholds(r#"{"latency": null}"#), policy(r#"{"latency": null}"#).0), (None, 0));
    }

    #[test]
    fn mistakes_are_named_by_pointer_and_code() {
        let mut template = Template::default();
        template.steps[1].weight = 0.00001;
        template.steps[2].weight = 1.0;
        template.steps[3].weight = 99.0;
        template.waves = vec![vec!["eu".into()], vec!["eu".into()]];
        template.maximum_ms = 1;
        template.approvers = vec!["ada".into()];
        let faults = template.check();
        let found: Vec<_> = faults.iter().map(|fault| (fault.pointer.as_str(), fault.code)).collect();
        let expected = [
            ("/steps/1/weight", "weight"),
            ("/steps/2/weight", "not-rising"),
            ("/steps", "not-full"),
            ("/waves/1", "names"),
            ("/maximumMs", "duration"),
            ("/approvers", "no-approval"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_weight_has_four_decimals() {
        let weight = |weight| Step { weight, ..Template::default().steps[0].clone() }.millionths();
        assert_eq!(weight(0.0001), Some(1));
        assert_eq!(weight(33.3333), Some(333_333));
        assert_eq!(weight(0.000_05), None);
        assert_eq!(weight(f64::NAN), None);
        assert_eq!(weight(100.1), None);
    }
}
