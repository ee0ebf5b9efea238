//! What a rollout does to an environment's traffic, and the templates that the environment has for it.
//!
//! The candidate is in the slot that is not active, and its weight is the rollout's alone while it is under way. When it is
//! promoted, the active pointer moves and the loser stays in its slot without traffic, so that the way back is one pointer.

use admin_api::edge::{LATENCY_BOUNDS_US, is_latency_threshold};
use edge_engine::Slot;
use rollout::{Effect, Plan, Template, Templates};
use serde_json::{Map, Value, json};
use verdict::{Level, Policy};

use super::fault::Unfit;
use super::rollback::{self, held, remember};
use super::{App, At, Edit, Fault};
use crate::store::Kind;

/// Answers from 400 to 499, as a criterion of a policy.
pub const CLIENT_ERRORS: &str = "clientErrors";
/// The gate that every connected edge runs the newest snapshot.
pub const ACKNOWLEDGED: &str = "acknowledged";

/// Why a rollout cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The environment is not there, or nothing serves it.
    #[error("no release serves this environment, so there is nothing to compare with")]
    NothingServes,
    /// The release is not registered.
    #[error("there is no release \"{0}\"")]
    Unknown(String),
    /// The release serves already.
    #[error("\"{0}\" is the active release already")]
    Active(String),
    /// Somebody else gives the other slot traffic.
    #[error("\"{0}\" takes a share of the traffic that no rollout gave it")]
    Taken(String),
}

/// The release that a candidate is compared with.
pub fn stable(app: &App, environment: &str, release: &str) -> Result<String, StartError> {
    let parts = app.environment(environment).ok_or(StartError::NothingServes)?;
    let traffic = &parts.traffic;
    let active = held(traffic, traffic.active).ok_or(StartError::NothingServes)?;
    if app.release(release).is_none() {
        return Err(StartError::Unknown(release.to_owned()));
    }
    if active == release {
        return Err(StartError::Active(release.to_owned()));
    }
    let takes = traffic.candidate_weight > 0 || traffic.regions.values().any(|region| region.candidate_weight > 0);
    match held(traffic, traffic.active.other()) {
        Some(other) if takes => Err(StartError::Taken(other.to_owned())),
        _ => Ok(active.to_owned()),
    }
}

/// A template in its one form, with its name.
pub fn template(at: &At, document: &Value) -> Result<Value, Vec<Fault>> {
    let fault = |pointer: String, code, detail: String| Fault { pointer, ..Fault::whole(at.clone(), code, detail) };
    if edge_engine::FlagKey::new(at.key.as_str()).is_err() {
        let detail = "a template is named by 1 to 128 letters, digits and . _ - / : +".to_owned();
        return Err(vec![fault(String::new(), "key_invalid", detail)]);
    }
    let read = serde_path_to_error::deserialize::<_, Template>(document);
    let template = read.map_err(|error| {
        let Unfit { pointer, code, detail } = Unfit::of(&error);
        vec![fault(pointer, code, detail)]
    })?;
    let template = Template { name: at.key.clone(), ..template };
    let found = template.check().into_iter().map(|found| fault(found.pointer, found.code, found.detail));
    let faults: Vec<Fault> = found.chain(unavailable(at, "", &template)).collect();
    // A template has text keys and finite numbers, and nothing else can fail.
    if faults.is_empty() { Ok(serde_json::to_value(&template).unwrap_or_default()) } else { Err(faults) }
}

/// What a template may say and this control plane cannot do: judge by what nobody counts.
pub fn unavailable(at: &At, parent: &str, template: &Template) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut refuse = |pointer: String, code, detail: String| {
        faults.push(Fault { pointer: format!("{parent}{pointer}"), ..Fault::whole(at.clone(), code, detail) });
    };
    let Policy { level, latency, custom, .. } = &template.verdict;
    let thresholds = latency.iter().flat_map(|latency| &latency.thresholds_ms);
    for (index, threshold) in thresholds.enumerate().filter(|(_, threshold)| !is_latency_threshold(**threshold)) {
        let bounds = LATENCY_BOUNDS_US.iter().filter_map(|us| u32::try_from(us / 1000).ok());
        let bounds: Vec<String> = bounds.filter(|ms| is_latency_threshold(*ms)).map(|ms| ms.to_string()).collect();
        let detail = format!("edges do not count answers slower than {threshold} ms, but: {}", bounds.join(", "));
        refuse(format!("/verdict/latency/thresholdsMs/{index}"), "threshold_unknown", detail);
    }
    if *level == Level::Request {
        for (index, custom) in custom.iter().enumerate().filter(|(_, custom)| custom.name != CLIENT_ERRORS) {
            let detail = format!("events of the app are of units, so {} is judged by units: unit", custom.name);
            refuse(format!("/verdict/custom/{index}"), "level_unavailable", detail);
        }
    }
    faults
}

/// The templates that an environment has of its own.
pub fn templates(app: &App, environment: &str) -> Templates {
    let own = app.entries_of(Kind::Template).filter(|(at, _)| at.environment == environment);
    // They were read before they were stored.
    let read =
        own.filter_map(|(at, entry)| Some((at.key.clone(), serde_json::from_value((*entry.document).clone()).ok()?)));
    Templates::new(read.collect())
}

/// What effects do to the traffic, all together; `begins` puts the candidate into its slot first.
pub fn edits(app: &App, environment: &str, plan: &Plan, begins: bool, effects: &[Effect]) -> Vec<Edit> {
    let Some(mut traffic) = Traffic::of(app, environment) else { return Vec::new() };
    if effects.contains(&Effect::TakeBack) {
        return take_back(app, environment, plan, traffic);
    }
    let mut history = None;
    let mut changed = begins;
    if begins {
        traffic.enter(plan);
    }
    for effect in effects {
        match effect {
            Effect::SetWeight { regions, rest, weight } => {
                let weight = percent(*weight);
                for region in regions {
                    traffic.regions.insert(region.clone(), json!({"candidateWeight": weight}));
                }
                if *rest {
                    traffic.weight = weight;
                }
            }
            Effect::Promote => {
                let Some(slot) = traffic.slot_of(&plan.release) else { continue };
                traffic.active = slot;
                traffic.weigh_nothing();
                history = remember(app, environment, &plan.stable, &plan.release);
            }
            Effect::Release => traffic.slots.retain(|_, id| id.as_str() != Some(&plan.stable)),
            _ => continue,
        }
        changed = true;
    }
    if changed { traffic.edits(environment).into_iter().chain(history).collect() } else { Vec::new() }
}

/// As a rollback does it; where the candidate has no traffic to take, its slot is emptied all the same.
fn take_back(app: &App, environment: &str, plan: &Plan, mut traffic: Traffic) -> Vec<Edit> {
    if let Ok(back) = rollback::plan(app, environment, Some(&plan.stable), Some(&plan.release)) {
        return back.edits;
    }
    if traffic.slot_of(&plan.release).is_none_or(|slot| slot == traffic.active) {
        return Vec::new();
    }
    traffic.slots.retain(|_, id| id.as_str() != Some(&plan.release));
    traffic.weigh_nothing();
    traffic.edits(environment)
}

/// Whether the traffic is still the rollout's: both releases are where it put them.
pub fn is_own(app: &App, environment: &str, plan: &Plan, promoted: bool) -> bool {
    let Some(parts) = app.environment(environment) else { return false };
    let (active, other) =
        (held(&parts.traffic, parts.traffic.active), held(&parts.traffic, parts.traffic.active.other()));
    let (first, second) = if promoted { (&plan.release, &plan.stable) } else { (&plan.stable, &plan.release) };
    active == Some(first) && other == Some(second)
}

/// Whether no request can reach the candidate.
pub fn is_back(app: &App, environment: &str, plan: &Plan) -> bool {
    let Some(parts) = app.environment(environment) else { return true };
    [Slot::Blue, Slot::Green].into_iter().all(|slot| held(&parts.traffic, slot) != Some(&plan.release))
}

/// A traffic document that is being edited.
struct Traffic {
    document: Map<String, Value>,
    active: Slot,
    slots: Map<String, Value>,
    regions: Map<String, Value>,
    weight: Value,
}

impl Traffic {
    fn of(app: &App, environment: &str) -> Option<Self> {
        let active = app.environment(environment)?.traffic.active;
        let mut document = app.entry(&At::traffic(environment))?.document.as_object()?.clone();
        let mut part = |key: &str| match document.remove(key) {
            Some(Value::Object(part)) => part,
            _ => Map::new(),
        };
        let (slots, regions) = (part("slots"), part("regions"));
        let weight = document.remove("candidateWeight").unwrap_or_else(|| json!(0));
        Some(Self { document, active, slots, regions, weight })
    }

    fn slot_of(&self, release: &str) -> Option<Slot> {
        let is_there = |slot: &Slot| self.slots.get(slot.as_str()).and_then(Value::as_str) == Some(release);
        [Slot::Blue, Slot::Green].into_iter().find(is_there)
    }

    fn weigh_nothing(&mut self) {
        self.weight = json!(0);
        self.regions.clear();
    }

    /// Puts the candidate into its slot, without traffic.
    fn enter(&mut self, plan: &Plan) {
        self.weigh_nothing();
        self.slots.insert(self.active.other().as_str().to_owned(), json!(plan.release));
        // Whoever starts a rollout of it again means it.
        if let Some(Value::Array(voided)) = self.document.get_mut("rolledBack") {
            voided.retain(|id| id.as_str() != Some(&plan.release));
        }
    }

    fn edits(self, environment: &str) -> Vec<Edit> {
        let mut document = self.document;
        document.insert("active".to_owned(), json!(self.active.as_str()));
        document.insert("slots".to_owned(), Value::Object(self.slots));
        document.insert("candidateWeight".to_owned(), self.weight);
        if !self.regions.is_empty() {
            document.insert("regions".to_owned(), Value::Object(self.regions));
        }
        vec![Edit::put(At::traffic(environment), Value::Object(document))]
    }
}

/// Millionths as the document says them.
fn percent(weight: u32) -> Value {
    if weight.is_multiple_of(10_000) { json!(weight / 10_000) } else { json!(f64::from(weight) / 10_000.0) }
}
