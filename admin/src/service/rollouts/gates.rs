//! Gates and hooks: which there are, and what of them a plan or a template may name.
//!
//! Invariants: asking happens beside the driver, so whoever does not answer delays nobody; answers are in memory alone and
//! belong to one stay, so whoever leads next asks again; and what could not be asked is no answer.

mod answers;
mod ask;
mod board;
mod listen;
mod subject;
mod tell;

use std::sync::Arc;

use rollout::{Hooks, Template};
use serde_json::Value;
use tokio::sync::Semaphore;

use self::board::Board;
use crate::integrations::Integrations;
use crate::integrations::gate::{Gate, Hook, HookKind};
use crate::model::rollout::ACKNOWLEDGED;
use crate::model::{At, Edit, Fault};
use crate::outbound::Outbound;
use crate::store::Kind;

/// Questions under way at once; the others wait.
const AT_ONCE: usize = 16;

/// The operator's gates and hooks, and what they said.
#[derive(Debug)]
pub struct Gates {
    own: Vec<Gate>,
    hooks: Vec<Hook>,
    /// `None` = nobody is ever called.
    outbound: Option<Outbound>,
    places: Arc<Semaphore>,
    board: Arc<Board>,
}

impl Default for Gates {
    fn default() -> Self {
        Self::new(&Integrations::default())
    }
}

impl Gates {
    /// Those of the operator's file.
    pub fn new(Integrations { gates, hooks, .. }: &Integrations) -> Self {
        let outbound = (!(gates.is_empty() && hooks.is_empty())).then(Outbound::default);
        Self {
            own: gates.clone(),
            hooks: hooks.clone(),
            outbound,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            board: Arc::default(),
        }
    }

    fn hooks(&self, app: &str, environment: &str) -> impl Iterator<Item = &Hook> {
        self.hooks.iter().filter(move |hook| hook.reach.covers(app, environment))
    }

    /// What every rollout of an environment is asked besides its steps' gates.
    pub(super) fn plan(&self, app: &str, environment: &str) -> Hooks {
        let named = |kind: HookKind| {
            self.hooks(app, environment).filter(|hook| hook.kind == kind).map(Hook::gate_name).collect()
        };
        Hooks {
            confirm: named(HookKind::ConfirmRollout),
            before: named(HookKind::PreRollout),
            during: named(HookKind::Rollout),
            raise: named(HookKind::ConfirmTrafficIncrease),
            promote: named(HookKind::ConfirmPromotion),
        }
    }

    /// The gates of a plan that are not there.
    pub(super) fn unknown(&self, app: &str, at: &At, parent: &str, template: &Template) -> Vec<Fault> {
        let steps = template.steps.iter().map(|step| step.gates.iter().map(String::as_str).collect());
        self.not_there(app, at, parent, steps)
    }

    /// The gates that are not there of templates which are about to be stored. One that is stored may outlive its gates.
    pub(in crate::service) fn unknown_in(&self, app: &str, edits: &[Edit]) -> Vec<Fault> {
        let templates = edits.iter().filter(|edit| edit.at.kind == Kind::Template);
        let documents = templates.filter_map(|edit| Some((&edit.at, edit.document.as_ref()?)));
        documents
            .flat_map(|(at, document)| {
                let steps = document["steps"].as_array().into_iter().flatten();
                self.not_there(app, at, "", steps.map(named))
            })
            .collect()
    }

    fn not_there<'s>(&self, app: &str, at: &At, parent: &str, steps: impl Iterator<Item = Vec<&'s str>>) -> Vec<Fault> {
        let own = self.own.iter().filter(|gate| gate.reach.covers(app, &at.environment));
        let known: Vec<&str> = [ACKNOWLEDGED].into_iter().chain(own.map(|gate| gate.name.as_str())).collect();
        let mut faults = Vec::new();
        for (index, gates) in steps.enumerate() {
            for gate in gates.into_iter().filter(|gate| !known.contains(gate)) {
                let near = known.iter().map(|name| (strsim::damerau_levenshtein(gate, name), *name)).min();
                let near = near.filter(|(distance, name)| *distance <= name.len().div_ceil(4));
                let help = near.map(|(_, name)| format!("; did you mean \"{name}\"?")).unwrap_or_default();
                let detail = format!("there is no gate \"{gate}\" here, only {}{help}", known.join(", "));
                let pointer = format!("{parent}/steps/{index}/gates");
                faults.push(Fault { pointer, ..Fault::whole(at.clone(), "gate_unknown", detail) });
            }
        }
        faults
    }

    fn gate(&self, app: &str, environment: &str, name: &str) -> Option<&Gate> {
        self.own.iter().find(|gate| gate.name == name && gate.reach.covers(app, environment))
    }

    fn hook(&self, app: &str, environment: &str, name: &str) -> Option<&Hook> {
        self.hooks(app, environment).find(|hook| hook.gate_name() == name)
    }

    /// What was said about rollouts that are not among these is of no use any more.
    pub(super) fn keep(&self, rollouts: &[i64]) {
        self.board.keep(rollouts);
    }

    /// Forgets everything: somebody else may have asked meanwhile.
    pub(crate) fn forget(&self) {
        self.board.keep(&[]);
    }
}

/// The gates that a step names. What is no step at all is told where templates are read.
fn named(step: &Value) -> Vec<&str> {
    step["gates"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
