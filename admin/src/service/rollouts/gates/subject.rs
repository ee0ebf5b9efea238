//! What is said about a rollout to whoever is asked or told. Bodies of hooks have Flagger's fields, so that what answers
//! Flagger answers us.

use rollout::{Phase, Place, Position, Transition};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::{Rollout, show};
use crate::integrations::gate::{Hook, Webhook};

/// A rollout as it is when one asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Subject {
    pub(crate) rollout: i64,
    pub(crate) app: String,
    pub(crate) environment: String,
    pub(crate) release: String,
    pub(crate) stable: String,
    state: &'static str,
    phase: &'static str,
    step: Option<usize>,
    wave: Option<usize>,
    weight: f64,
}

impl Subject {
    pub(crate) fn of(rollout: &Rollout) -> Self {
        let phase = &rollout.state.phase;
        let at = match phase.place() {
            Some(Place::Step(at)) => Some(at),
            _ => None,
        };
        let waves = rollout.plan.template.waves.len();
        Self {
            rollout: rollout.row.id,
            app: rollout.row.app.clone(),
            environment: rollout.row.environment.clone(),
            release: rollout.plan.release.clone(),
            stable: rollout.plan.stable.clone(),
            state: phase.name(),
            phase: flaggers(phase),
            step: at.map(|Position { step, .. }| step + 1),
            wave: at.map(|Position { wave, .. }| wave + 1).filter(|_| waves > 0),
            weight: f64::from(show::weight(rollout)) / 10_000.0,
        }
    }

    /// What a gate's webhook gets.
    pub(crate) fn to_gate(&self, webhook: &Webhook) -> Value {
        json!({
            "name": self.release, "app": self.app, "environment": self.environment, "phase": self.state,
            "step": self.step, "wave": self.wave, "weight": self.weight, "rollout": self.rollout,
            "stable": self.stable, "metadata": webhook.metadata,
        })
    }

    /// What a hook gets.
    pub(crate) fn to_hook(&self, hook: &Hook) -> Value {
        json!({
            "name": self.app, "namespace": self.environment, "phase": self.phase, "checksum": self.checksum(),
            "metadata": hook.webhook.metadata, "hook": hook.kind.name(), "release": self.release,
            "stable": self.stable, "state": self.state, "step": self.step, "wave": self.wave,
            "weight": self.weight, "rollout": self.rollout,
        })
    }

    /// The same about a decision. What people wrote as reasons stays here: sentences go to whoever may see the rollout.
    pub(crate) fn to_event_hook(&self, hook: &Hook, decided: &Transition) -> Value {
        let mut body = self.to_hook(hook);
        let is_bad = matches!(decided.to.as_str(), "held" | "rollingBack" | "rolledBack" | "aborted" | "failed");
        let mut metadata = json!(hook.webhook.metadata);
        metadata["eventMessage"] = json!(decided.sentence);
        metadata["eventType"] = json!(if is_bad { "Warning" } else { "Normal" });
        metadata["timestamp"] = json!(decided.at.to_string());
        (metadata["from"], metadata["to"]) = (json!(decided.from), json!(decided.to));
        body["metadata"] = metadata;
        body
    }

    /// Tells one candidate from another, also when a release is tried again.
    fn checksum(&self) -> String {
        let all = format!("{}\0{}\0{}\0{}", self.app, self.environment, self.release, self.rollout);
        crate::ids::hex(Sha256::digest(all).get(..5).unwrap_or_default())
    }

    /// A query with what it is about.
    pub(crate) fn fill(&self, query: &str) -> String {
        let fields = [
            ("{{app}}", &self.app),
            ("{{environment}}", &self.environment),
            ("{{release}}", &self.release),
            ("{{stable}}", &self.stable),
        ];
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
        fields.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, &escaped(value)))
    }
}

/// Flagger's word for a state.
fn flaggers(phase: &Phase) -> &'static str {
    match phase {
        Phase::Pending { .. } => "Initialized",
        Phase::Previewing { .. } | Phase::Starting(_) | Phase::WaitingForApproval { .. } | Phase::Paused { .. } => {
            "Waiting"
        }
        Phase::Step(_) | Phase::Held { .. } => "Progressing",
        Phase::Baking(_) => "WaitingPromotion",
        Phase::KeepingWarm { .. } => "Finalising",
        Phase::Promoted { .. } => "Succeeded",
        Phase::RollingBack { .. } | Phase::Verifying { .. } | Phase::TakenBack { .. } | Phase::Failed { .. } => {
            "Failed"
        }
    }
}
