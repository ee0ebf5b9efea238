//! Taking traffic back, with proof.
//!
//! A rollback asks nobody: no freeze, no approval, no pipeline stands before it. It is one transaction like any other
//! change, and then waits for the edges.

use std::time::{Duration, Instant};

use admin_api::answers::{RollbackAnswer, RollbackRequest};
use admin_api::edge::Scope;

use super::{Actor, Control, Intent, Mover, ServiceError, outbox};
use crate::model::rollback;

/// How long a caller who says nothing waits for acknowledgements.
pub const DEFAULT_WAIT_MS: u32 = 5_000;
/// The longest anybody may wait.
pub const MAX_WAIT_MS: u32 = 60_000;

impl Control {
    /// Rolls back and waits for the edges.
    pub async fn roll_back(
        &self,
        actor: &Actor,
        app: &str,
        environment: &str,
        request: &RollbackRequest,
    ) -> Result<RollbackAnswer, ServiceError> {
        let intent = Intent {
            app: app.to_owned(),
            environment: environment.to_owned(),
            operation: "rollback",
            subject: format!("environments/{environment}/traffic"),
            reason: request.reason.clone(),
            is_authorised: true,
            mover: Mover::Rollout,
            ..Intent::default()
        };
        let mut planned = None;
        let mut tx = self.store.write().await?;
        let written = self
            .change_in(&mut tx, actor, &intent, |app| {
                if app.environment(environment).is_none() {
                    return Err(ServiceError::not_found("environment", environment));
                }
                let plan = rollback::plan(app, environment, request.to.as_deref(), request.from.as_deref())?;
                planned = Some((plan.from, plan.to));
                Ok(plan.edits)
            })
            .await?;
        let (from, to) = planned.unwrap_or_default();
        let now = super::rollouts::ms(crate::ids::now_ms());
        let is_of_rollout = self.rolled_back(&mut tx, actor, (app, environment), (&from, &request.reason), now).await?;
        if !is_of_rollout {
            let by = (actor.principal.name.as_str(), request.reason.as_str());
            let told = outbox::rollback((app, environment), (&from, &to), by, crate::ids::now_ms());
            outbox::enqueue(&mut tx, &self.integrations.notify, &told).await?;
        }
        let committed = self.finish(tx, &intent, written).await?;
        let number = committed.snapshots.iter().find(|(name, _)| name == environment).map(|(_, number)| *number);
        let number = match number {
            Some(number) => number,
            None => self.app(app).await?.published.get(environment).map_or(0, |last| last.number),
        };
        let wait = Duration::from_millis(request.wait_ms.unwrap_or(DEFAULT_WAIT_MS).min(MAX_WAIT_MS).into());
        let scope = Scope { app: app.to_owned(), environment: environment.to_owned() };
        let wanted = u64::try_from(number).unwrap_or(0);
        let proof = self.hub.prove(&scope, wanted, committed.at, Instant::now() + wait).await;
        tracing::warn!(
            app,
            environment,
            from,
            to,
            snapshot.number = number,
            request_id = actor.request_id,
            acknowledged = proof.edges.len(),
            missing = proof.missing.len(),
            "rolled back"
        );
        Ok(RollbackAnswer {
            snapshot: number,
            from,
            to,
            reason: request.reason.clone(),
            acknowledged: proof.edges.len(),
            connected: proof.edges.len() + proof.missing.len(),
            propagated_ms: proof.edges.last().map_or(0.0, |last| last.ack_ms),
            edges: proof.edges,
            missing: proof.missing,
        })
    }
}
