//! What a rollback does to an environment's traffic.
//!
//! Two cases. While a candidate takes traffic, it is the one that goes: the active release stays. Otherwise the active
//! release goes, and the last one that served before it takes over, or the one that was asked for. Either way the slot
//! of what goes is emptied, so that no weight, rule, override or pin reaches it, and its pins are void.

use edge_engine::Slot;
use edge_engine::wire::TrafficWire;
use serde_json::{Value, json};

use super::{App, At, Edit};

/// How many releases an environment remembers to have been served by.
const MAX_HISTORY: usize = 50;

/// Why there is nothing to roll back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// The environment serves nothing.
    #[error("no release serves this environment")]
    NothingServes,
    /// No release has been active before, and no candidate takes traffic.
    #[error("no release has served as active before \"{from}\", and no candidate takes traffic")]
    NoTarget {
        /// What serves.
        from: String,
    },
    /// Something else is to go than the caller believed.
    #[error("\"{actual}\" would be rolled back, not \"{expected}\"")]
    NotFrom {
        /// What the caller believed.
        expected: String,
        /// What would go.
        actual: String,
    },
    /// The wanted release is the one that goes.
    #[error("\"{to}\" is what would be rolled back")]
    Same {
        /// What was wanted.
        to: String,
    },
    /// The wanted release is not registered.
    #[error("there is no release \"{to}\"")]
    Unknown {
        /// What was wanted.
        to: String,
    },
}

/// What a rollback comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollback {
    /// What no request reaches any more.
    pub from: String,
    /// What serves.
    pub to: String,
    /// The objects that change.
    pub edits: Vec<Edit>,
}

/// Plans a rollback.
pub fn plan(app: &App, environment: &str, to: Option<&str>, from: Option<&str>) -> Result<Rollback, RollbackError> {
    let parts = app.environment(environment).ok_or(RollbackError::NothingServes)?;
    let traffic = &parts.traffic;
    let active = held(traffic, traffic.active).ok_or(RollbackError::NothingServes)?.to_owned();
    let known = history(app, environment);
    let candidate = held(traffic, traffic.active.other()).filter(|id| is_candidate(traffic, &known, id));
    let candidate = candidate.map(str::to_owned);
    // A candidate goes before an active release: what is being rolled out is what one takes back.
    let goes = match (&candidate, to) {
        (Some(candidate), None) => candidate.clone(),
        (Some(candidate), Some(to)) if to == active => candidate.clone(),
        _ => active.clone(),
    };
    if let Some(expected) = from.filter(|expected| *expected != goes) {
        return Err(RollbackError::NotFrom { expected: expected.to_owned(), actual: goes });
    }
    let to = match to {
        Some(to) => to.to_owned(),
        None if goes != active => active.clone(),
        None => {
            let before = known.iter().rev().find(|id| **id != active && app.release(id).is_some());
            before.cloned().ok_or_else(|| RollbackError::NoTarget { from: active.clone() })?
        }
    };
    if to == goes {
        return Err(RollbackError::Same { to });
    }
    if app.release(&to).is_none() {
        return Err(RollbackError::Unknown { to });
    }
    let document = traffic_after(app, environment, traffic, &goes, &to);
    let mut edits = vec![Edit::put(At::traffic(environment), document)];
    if let Some(edit) = remember(app, environment, &active, &to) {
        edits.push(edit);
    }
    Ok(Rollback { from: goes, to, edits })
}

pub(crate) fn held(traffic: &TrafficWire, slot: Slot) -> Option<&str> {
    let release = match slot {
        Slot::Blue => &traffic.slots.blue,
        Slot::Green => &traffic.slots.green,
    };
    release.as_ref().map(edge_engine::ReleaseId::as_str)
}

/// Whether the release in the other slot is on its way in: it takes a share, or rules send it requests and it is not one
/// that has served before and was only kept.
fn is_candidate(traffic: &TrafficWire, known: &[String], id: &str) -> bool {
    let by_split = traffic.candidate_weight > 0 || traffic.regions.values().any(|region| region.candidate_weight > 0);
    let by_rule = traffic.rules.iter().any(|rule| rule.slot != traffic.active);
    by_split || (by_rule && !known.iter().any(|known| known == id))
}

fn traffic_after(app: &App, environment: &str, traffic: &TrafficWire, goes: &str, to: &str) -> Value {
    let entry = app.entry(&At::traffic(environment));
    let mut document = entry.map_or_else(|| json!({}), |entry| (*entry.document).clone());
    // Where the target already is, it stays; otherwise it takes the slot that is not the leaving one's.
    let place = [Slot::Blue, Slot::Green].into_iter().find(|slot| held(traffic, *slot) == Some(to));
    let leaves = [Slot::Blue, Slot::Green].into_iter().find(|slot| held(traffic, *slot) == Some(goes));
    let place = place.unwrap_or_else(|| leaves.unwrap_or(traffic.active).other());
    let mut rolled_back: Vec<String> = traffic.rolled_back.iter().map(|id| id.as_str().to_owned()).collect();
    rolled_back.retain(|id| id != to && id != goes);
    rolled_back.push(goes.to_owned());
    document["active"] = json!(place.as_str());
    document["slots"] = json!({place.as_str(): to});
    document["candidateWeight"] = json!(0);
    document["rolledBack"] = json!(rolled_back);
    if let Some(object) = document.as_object_mut() {
        object.remove("regions");
    }
    document
}

/// The releases that have served as active, the last at the end.
pub fn history(app: &App, environment: &str) -> Vec<String> {
    let entry = app.entry(&At::history(environment));
    let list = entry.and_then(|entry| entry.document.get("active")?.as_array().cloned());
    list.unwrap_or_default().iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// Adds to the history what an environment's active release was and is; `None` when both are its last.
pub fn remember(app: &App, environment: &str, before: &str, after: &str) -> Option<Edit> {
    let known = history(app, environment);
    let mut next: Vec<String> = known.iter().filter(|id| *id != before && *id != after).cloned().collect();
    next.push(before.to_owned());
    if after != before {
        next.push(after.to_owned());
    }
    let surplus = next.len().saturating_sub(MAX_HISTORY);
    next.drain(..surplus);
    (next != known).then(|| Edit::put(At::history(environment), json!({"active": next})))
}

/// The release in an environment's active slot.
pub fn active(app: &App, environment: &str) -> Option<String> {
    let traffic = &app.environment(environment)?.traffic;
    held(traffic, traffic.active).map(str::to_owned)
}
