//! Signing what takes a Worker back to one release when nothing can be pushed to it.
//!
//! Nothing changes in the control plane but the audit. Invariant: what is signed names a release that the newest snapshot
//! below its number knows, as far as that is kept; another one would make a Worker refuse what it runs.

use admin_api::answers::{PanicOverrideAnswer, PanicOverrideRequest};
use admin_api::edge::{PanicOverride, Scope};
use edge_engine::wire::{SnapshotWire, TrafficWire};
use edge_engine::{ReleaseId, Slot};
use serde_json::json;

use super::{Actor, Control, Intent, ServiceError, change};
use crate::ids;
use crate::model::App;
use crate::store::{NewAudit, Publication};

/// The operation, as the audit names it.
pub(crate) const OPERATION: &str = "signPanicOverride";

/// Why there is nothing to sign.
#[derive(Debug, thiserror::Error)]
pub enum PanicError {
    /// As with any use-case.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Nothing was published yet.
    #[error("\"{environment}\" has no snapshot yet, so no Worker runs one")]
    NoSnapshot {
        /// Of which environment.
        environment: String,
    },
    /// Nothing that requests could be sent to.
    #[error("no release serves \"{environment}\"")]
    NothingServes {
        /// Which environment.
        environment: String,
    },
    /// No such release.
    #[error("there is no release \"{release}\"")]
    NoRelease {
        /// What was asked for.
        release: String,
    },
    /// A Worker could not send it anything.
    #[error("snapshot {number}, which the override would count for, does not know release \"{release}\"")]
    NotInSnapshot {
        /// What was asked for, or serves.
        release: String,
        /// Which snapshot.
        number: i64,
    },
}

impl From<crate::store::StoreError> for PanicError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Service(error.into())
    }
}

impl Control {
    /// Signs a panic override, and says so in the audit.
    pub async fn sign_panic_override(
        &self,
        actor: &Actor,
        app: &str,
        environment: &str,
        request: &PanicOverrideRequest,
    ) -> Result<PanicOverrideAnswer, PanicError> {
        let mut tx = self.store.write().await?;
        let cached = self.app_in(&mut tx, app).await?;
        if cached.app.environment(environment).is_none() {
            return Err(ServiceError::not_found("environment", environment).into());
        }
        let newest = tx.latest_snapshot(app, environment).await?.filter(|newest| newest.document.is_some());
        let newest = newest.ok_or_else(|| PanicError::NoSnapshot { environment: environment.to_owned() })?;
        let current = wire(&newest)?;
        let (release, before) = plan(&cached.app, &current, request)?;
        // What is overruled first is the newest one that the override counts for.
        let number = i64::try_from(before.saturating_sub(1)).unwrap_or(i64::MAX).min(newest.number);
        let overruled = if number == newest.number {
            Some(current)
        } else {
            let old = tx.snapshot(app, environment, number).await?.filter(|old| old.document.is_some());
            old.map(|old| wire(&old)).transpose()?
        };
        if overruled.is_some_and(|wire| !wire.releases.keys().any(|id| id.as_str() == release)) {
            return Err(PanicError::NotInSnapshot { release, number });
        }
        let scope = Scope { app: app.to_owned(), environment: environment.to_owned() };
        let given = PanicOverride { scope, before, release };
        tx.append_audit(entry(actor, &given, request.reason.as_deref())).await?;
        tx.commit().await?;
        let (release, request_id) = (&given.release, &actor.request_id);
        tracing::warn!(app, environment, release, before, request_id, "a panic override is signed");
        let text = given.text(&self.signer.sign(&given.signed_bytes()));
        Ok(PanicOverrideAnswer { text, release: given.release, before })
    }
}

/// The release that serves, and the number from which on the override rests.
fn plan(app: &App, newest: &SnapshotWire, request: &PanicOverrideRequest) -> Result<(String, u64), PanicError> {
    let active = held(&newest.traffic, newest.traffic.active).map(ReleaseId::as_str);
    let is_there = |release: &&str| app.release(release).is_some();
    let release = match request.release.as_deref() {
        Some(named) => {
            Some(named).filter(is_there).ok_or_else(|| PanicError::NoRelease { release: named.to_owned() })?
        }
        // A snapshot of flags alone is served by a release that is none.
        None => active
            .filter(is_there)
            .ok_or_else(|| PanicError::NothingServes { environment: newest.environment.as_str().to_owned() })?,
    };
    // A snapshot that says the same needs no overruling.
    let says_the_same = active == Some(release) && !has_candidate(&newest.traffic);
    let before = request.before.unwrap_or(if says_the_same { newest.number } else { newest.number + 1 });
    Ok((release.to_owned(), before))
}

fn wire(publication: &Publication) -> Result<SnapshotWire, ServiceError> {
    let document = publication.document.as_deref().unwrap_or_default();
    edge_engine::parse(document.as_bytes())
        .map_err(|_| ServiceError::Corrupt { detail: format!("snapshot {}", publication.number) })
}

fn held(traffic: &TrafficWire, slot: Slot) -> Option<&ReleaseId> {
    match slot {
        Slot::Blue => traffic.slots.blue.as_ref(),
        Slot::Green => traffic.slots.green.as_ref(),
    }
}

/// Whether the slot that is not active takes requests of anybody.
fn has_candidate(traffic: &TrafficWire) -> bool {
    let by_split = traffic.candidate_weight > 0 || traffic.regions.values().any(|region| region.candidate_weight > 0);
    let by_rule = traffic.rules.iter().any(|rule| rule.slot != traffic.active);
    held(traffic, traffic.active.other()).is_some() && (by_split || by_rule)
}

fn entry(actor: &Actor, given: &PanicOverride, reason: Option<&str>) -> NewAudit {
    let environment = &given.scope.environment;
    let subject = format!("environments/{environment}/panic-override");
    let after = json!({"release": given.release, "before": given.before});
    let intent = Intent {
        app: given.scope.app.clone(),
        environment: environment.clone(),
        operation: OPERATION,
        subject: subject.clone(),
        reason: reason.unwrap_or_default().to_owned(),
        ..Intent::default()
    };
    let entry = change::entry(actor, &intent, &[], ids::now_ms());
    NewAudit { changes: json!([{"object": subject, "after": after}]).to_string(), ..entry }
}
