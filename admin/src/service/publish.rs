//! Snapshots: numbered, signed, kept, and handed to the edges.

use std::collections::BTreeMap;
use std::sync::Arc;

use admin_api::edge::Scope;
use edge_engine::wire::SnapshotWire;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Actor, Cached, Control, Intent, Published, ServiceError};
use crate::ids;
use crate::model::Built;
use crate::signing::Signer;
use crate::store::Notice;
use crate::store::Publication;

/// Another process has published.
pub(crate) const TOPIC_PUBLISHED: &str = "published";

/// A snapshot that is to be published.
#[derive(Debug)]
pub(super) struct Ready {
    wire: SnapshotWire,
    content: [u8; 32],
    previous: String,
}

/// Those of the built snapshots that say something else than what was last published.
pub(super) fn ready(published: &BTreeMap<String, Published>, built: Vec<Built>) -> Vec<Ready> {
    let ready = built.into_iter().filter(|built| built.is_complete).filter_map(|built| {
        let last = published.get(built.environment.as_str());
        if last.is_some_and(|last| last.content == Some(built.content)) {
            return None;
        }
        let number = u64::try_from(last.map_or(0, |last| last.number)).unwrap_or(0) + 1;
        let previous = last.map(|last| last.sha256.clone()).unwrap_or_default();
        Some(Ready { wire: SnapshotWire { number, ..built.wire }, content: built.content, previous })
    });
    ready.collect()
}

impl Ready {
    /// A snapshot of before, as the next number.
    pub(super) fn again(wire: SnapshotWire, last: &Published) -> Self {
        let number = u64::try_from(last.number).unwrap_or(0) + 1;
        let content = crate::model::compile::content(&wire);
        Self { wire: SnapshotWire { number, ..wire }, content, previous: last.sha256.clone() }
    }

    pub(super) fn environment(&self) -> &str {
        self.wire.environment.as_str()
    }

    pub(super) fn number(&self) -> i64 {
        i64::try_from(self.wire.number).unwrap_or(i64::MAX)
    }

    /// Writes and signs the document.
    pub(super) fn sign(mut self, app: &str, now: i64, audit: i64, signer: &Signer) -> (Publication, Published) {
        self.wire.created_at = ids::rfc3339(now);
        // The wire's maps have text keys, and nothing else can fail.
        let document = serde_json::to_string(&self.wire).unwrap_or_default();
        let sha256 = ids::hex(&Sha256::digest(document.as_bytes()));
        let signature = signer.sign(&admin_api::edge::signed_bytes(&self.previous, document.as_bytes()));
        let publication = Publication {
            sequence: 0,
            app: app.to_owned(),
            environment: self.environment().to_owned(),
            number: self.number(),
            created_at: now,
            document: Some(document),
            sha256: sha256.clone(),
            previous: self.previous,
            key_id: signer.public_key().id.clone(),
            signature,
            audit,
        };
        let state = Published { number: publication.number, sha256, content: Some(self.content) };
        (publication, state)
    }
}

/// An environment that is served no longer.
pub(crate) fn withdrawal(app: &str, environment: &str, number: i64, now: i64, audit: i64) -> Publication {
    Publication {
        sequence: 0,
        app: app.to_owned(),
        environment: environment.to_owned(),
        number,
        created_at: now,
        document: None,
        sha256: String::new(),
        previous: String::new(),
        key_id: String::new(),
        signature: String::new(),
        audit,
    }
}

impl Control {
    /// Tells the edges, and the other processes on this store, what was committed.
    pub(super) async fn announce(&self, intent: &Intent, revision: i64, publications: Vec<Publication>) {
        let sequence = publications.iter().map(|one| one.sequence).max();
        // Which tokens reach an environment is told once it has a snapshot.
        let is_other_set = publications.iter().any(|one| one.number == 1 || one.document.is_none());
        for publication in publications {
            let keys = self.apps().get(&publication.app).map(|cached| cached.keys.clone());
            let key = keys.and_then(|keys| keys.get(&publication.environment).cloned());
            self.hub.publish(&publication, key.as_ref());
        }
        self.hub.changed(&intent.app, &intent.environment, intent.operation, &intent.subject, revision);
        if is_other_set && let Err(error) = self.refresh_access().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "edges were not told the OFREP tokens of a new environment"
            );
        }
        if self.store.is_shared() {
            let body = json!({"process": self.hub.process(), "sequence": sequence, "app": intent.app,
                "environment": intent.environment, "operation": intent.operation, "subject": intent.subject,
                "revision": revision});
            let notice = Notice { topic: TOPIC_PUBLISHED.to_owned(), body };
            if let Err(error) = self.store.notify(&notice).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "other processes hear of a change only later");
            }
        }
    }

    /// Publishes an old snapshot again, as the next number.
    pub async fn republish(
        &self,
        actor: &Actor,
        app: &str,
        environment: &str,
        old: Publication,
        reason: String,
    ) -> Result<i64, ServiceError> {
        let mut tx = self.store.write().await?;
        if let Some(row) = tx.rollout_under_way(app, environment).await? {
            return Err(super::rollouts::under_way(&row));
        }
        let cached = self.app_in(&mut tx, app).await?;
        let last = cached.published.get(environment);
        let last = last.ok_or_else(|| ServiceError::not_found("environment", environment))?;
        let wire = edge_engine::parse(old.document.as_deref().unwrap_or_default().as_bytes());
        let wire = wire.map_err(|_| ServiceError::Corrupt { detail: format!("snapshot {}", old.number) })?;
        let (_, key) =
            cached.keys.get(environment).ok_or_else(|| ServiceError::not_found("environment", environment))?;
        edge_engine::check(wire.clone(), key).map_err(|problems| ServiceError::Refused {
            code: "snapshot_unfit",
            detail: format!(
                "snapshot {} does not pass the check any more: {}",
                old.number,
                problems.first().map_or_else(String::new, ToString::to_string)
            ),
            hint: None,
        })?;
        let intent = Intent {
            app: app.to_owned(),
            environment: environment.to_owned(),
            operation: "republishSnapshot",
            subject: format!("environments/{environment}/snapshots/{}", old.number),
            reason,
            ..Intent::default()
        };
        let now = ids::now_ms();
        let audit = tx.append_audit(super::change::entry(actor, &intent, &[], now)).await?;
        let (publication, state) = Ready::again(wire, last).sign(app, now, audit.sequence, &self.signer);
        let revision = tx.next_revision().await?;
        let publication = tx.publish(publication).await?;
        tx.commit().await?;
        let mut published = (*cached.published).clone();
        published.insert(environment.to_owned(), state);
        self.remember(&Arc::new(Cached { published: Arc::new(published), ..(*cached).clone() }));
        let number = publication.number;
        self.announce(&intent, revision, vec![publication]).await;
        Ok(number)
    }

    /// Hands the hub everything that was published after what it has, and the OFREP tokens of an environment that is new
    /// to it.
    pub async fn catch_up(&self) -> Result<(), ServiceError> {
        let mut tx = self.store.read().await?;
        let mut is_other_set = false;
        loop {
            let page = tx.publications_after(i64::try_from(self.hub.sequence()).unwrap_or(i64::MAX), 100).await?;
            if page.is_empty() {
                break;
            }
            for publication in page {
                let scope = Scope { app: publication.app.clone(), environment: publication.environment.clone() };
                is_other_set |= self.hub.latest(&scope).is_none();
                let row = tx.environment_key(&publication.app, &publication.environment).await?;
                let key = row.map(|row| Ok::<_, ServiceError>((row.id.clone(), super::bucketing_key(&row)?)));
                self.hub.publish(&publication, key.transpose()?.as_ref());
            }
        }
        drop(tx);
        if is_other_set { self.refresh_access().await } else { Ok(()) }
    }
}
