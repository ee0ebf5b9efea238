//! Rollouts as people see them.

use admin_api::rollouts::{
    Rollout as Shown, RolloutEvidence, RolloutGate, RolloutGroup, RolloutHead, RolloutReports, RolloutTally,
    RolloutTransition,
};
use rollout::{By, Grounds, Phase, Place};
use serde_json::Value;
use verdict::{FULL_WEIGHT, Tally};

use super::calibration::STRATUM;
use super::{Rollout, stamp};
use crate::ids;
use crate::metrics::releases::RolloutNow;
use crate::service::{Control, ServiceError};
use crate::store::TransitionRow;

/// Groups of reports in one answer.
const MOST_GROUPS: i64 = 1000;
/// The most transitions that are shown.
const MOST: i64 = 200;

impl Control {
    /// A rollout of an environment by its id; without one the newest.
    pub async fn rollout(&self, app: &str, environment: &str, id: Option<i64>) -> Result<Shown, ServiceError> {
        let Some(id) = id else {
            let newest = self.newest_rollout(app, environment).await?;
            return self.shown_rollout(&newest).await;
        };
        let row = self.store.read().await?.rollout(id).await?;
        let row = row.filter(|row| row.app == app && row.environment == environment);
        let row = row.ok_or_else(|| ServiceError::not_found("rollout", &id.to_string()))?;
        self.shown_rollout(&Rollout::read(row)?).await
    }

    /// The rollouts of an environment with an id below this one, newest first.
    pub async fn rollouts(
        &self,
        app: &str,
        environment: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<RolloutHead>, ServiceError> {
        let cached = self.existing(app).await?;
        if cached.app.environment(environment).is_none() {
            return Err(ServiceError::not_found("environment", environment));
        }
        let rows = self.store.read().await?.rollouts(app, environment, before, limit).await?;
        rows.into_iter().map(|row| Rollout::read(row).map(|rollout| head(&rollout))).collect()
    }

    /// A part of the reports that a rollout was judged by: groups after this one.
    pub async fn rollout_reports(
        &self,
        app: &str,
        environment: &str,
        id: i64,
        after: i64,
    ) -> Result<RolloutReports, ServiceError> {
        let mut tx = self.store.read().await?;
        let row = tx.rollout(id).await?.filter(|row| row.app == app && row.environment == environment);
        let row = row.ok_or_else(|| ServiceError::not_found("rollout", &id.to_string()))?;
        let to = after.saturating_add(MOST_GROUPS).min(row.counted);
        let rows = tx.batches(id, after.saturating_add(1), to).await?;
        let groups = rows.chunk_by(|one, other| one.sequence == other.sequence).map(|rows| {
            let (mut batches, mut calibration) = (Vec::new(), Vec::new());
            for row in rows {
                let batch = serde_json::from_str(&row.document).map_err(|error| ServiceError::Corrupt {
                    detail: format!("group {} of rollout {id}: {error}", row.sequence),
                })?;
                if row.stratum == STRATUM { calibration.push(batch) } else { batches.push(batch) }
            }
            Ok(RolloutGroup { sequence: rows.first().map_or(0, |row| row.sequence), batches, calibration })
        });
        let groups = groups.collect::<Result<_, ServiceError>>()?;
        Ok(RolloutReports { groups, next: (to < row.counted).then_some(to) })
    }

    pub(super) async fn shown_rollout(&self, rollout: &Rollout) -> Result<Shown, ServiceError> {
        let after = rollout.row.transitions - MOST;
        let mut tx = self.store.read().await?;
        let transitions = tx.transitions(rollout.row.id, after.max(0), 2 * u32::try_from(MOST).unwrap_or(0)).await?;
        Ok(shown(rollout, &transitions, self.shown_gates(rollout)))
    }
}

pub(super) fn shown(rollout: &Rollout, transitions: &[TransitionRow], gates: Vec<RolloutGate>) -> Shown {
    Shown {
        head: head(rollout),
        dry_run: rollout.row.id == 0,
        overruled: rollout.plan.overruled.clone(),
        evidence: rollout.state.latest.as_ref().map(evidence),
        gates,
        plan: serde_json::to_value(&rollout.plan.template).unwrap_or_default(),
        transitions: transitions.iter().map(transition).collect(),
    }
}

fn head(rollout: &Rollout) -> RolloutHead {
    let (state, plan) = (&rollout.state, &rollout.plan);
    let phase = &state.phase;
    let at = match phase.place() {
        Some(Place::Step(at)) => Some(at),
        _ => None,
    };
    let waves = plan.template.waves.len();
    RolloutHead {
        id: rollout.row.id,
        release: plan.release.clone(),
        stable: plan.stable.clone(),
        template: plan.template.name.clone(),
        state: phase.name().to_owned(),
        ended: phase.is_end(),
        step: at.map(|at| at.step + 1),
        steps: plan.template.steps.len(),
        wave: at.map(|at| at.wave + 1).filter(|_| waves > 0),
        waves,
        weight: f64::from(weight(rollout)) / 10_000.0,
        started_at: ids::rfc3339(rollout.row.created_at),
        started_by: state.started_by.as_ref().map_or("", By::name).to_owned(),
        since: ids::rfc3339(stamp(phase.since())),
        deadline: state.deadline(plan).map(|deadline| ids::rfc3339(stamp(deadline))),
        frozen: state.frozen.clone(),
        strained: state.strained.clone(),
    }
}

/// Where it is, for metrics.
pub(super) fn now(rollout: &Rollout) -> RolloutNow {
    let findings = rollout.state.latest.iter().flat_map(|grounds| &grounds.findings);
    let name = |finding: &verdict::Finding| match serde_json::to_value(&finding.criterion) {
        Ok(Value::String(name)) => name,
        Ok(other) => other["custom"].as_str().unwrap_or_default().to_owned(),
        Err(_) => String::new(),
    };
    RolloutNow {
        state: rollout.state.phase.name().to_owned(),
        weight: f64::from(weight(rollout)) / f64::from(FULL_WEIGHT),
        harm: findings.map(|finding| (name(finding), finding.e_value.max(1e-300).log10())).collect(),
    }
}

/// The candidate's share, in millionths.
pub(super) fn weight(rollout: &Rollout) -> u32 {
    match (&rollout.state.phase, rollout.state.phase.place()) {
        (Phase::KeepingWarm { .. } | Phase::Promoted { .. }, _) | (_, Some(Place::Bake)) => FULL_WEIGHT,
        (_, Some(place)) => rollout.plan.step(place).and_then(rollout::Step::millionths).unwrap_or(0),
        (_, None) => 0,
    }
}

fn transition(row: &TransitionRow) -> RolloutTransition {
    let grounds = row.grounds.as_deref().and_then(|text| serde_json::from_str(text).ok());
    RolloutTransition {
        number: row.number,
        at: ids::rfc3339(row.at),
        from: row.before.clone(),
        to: row.after.clone(),
        actor: row.actor.clone(),
        actor_name: row.actor_name.clone(),
        sentence: row.sentence.clone(),
        begins_step: row.begins_step,
        counted: row.counted,
        evidence: grounds.as_ref().map(evidence),
    }
}

fn evidence(grounds: &Grounds) -> RolloutEvidence {
    let tally = |Tally { total, bad }| RolloutTally { total, bad };
    RolloutEvidence {
        verdict: serde_json::to_value(&grounds.verdict).unwrap_or_default(),
        sentence: grounds.sentence.clone(),
        progress: serde_json::to_value(grounds.progress).unwrap_or_default(),
        batches: grounds.batches,
        candidate: tally(grounds.candidate),
        stable: tally(grounds.stable),
        hurt: grounds.hurt,
        findings: grounds.findings.iter().map(|finding| serde_json::to_value(finding).unwrap_or(Value::Null)).collect(),
        kept: grounds.kept,
    }
}
