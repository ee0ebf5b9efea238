//! The use-cases. One function is one transaction: the change, its audit entry, and the snapshots that it makes.
//!
//! It owns the [`Control`] that handlers work with. Invariants: nothing is published that was not committed, nothing is
//! committed that did not pass the engine's check, and the cache of apps is only ever as new as the store.

pub mod apply;
pub mod change;
pub mod error;
pub mod outbox;
pub mod panic;
pub(crate) mod publish;
pub mod reports;
pub mod rollback;
pub mod rollouts;
mod signals;
pub mod stale;
pub mod tokens;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge_engine::{AppName, BucketingKey};

use crate::edges::Hub;
use crate::ids;
use crate::integrations::Integrations;
use crate::metrics::releases::Releases;
use crate::model::app::Keys;
use crate::model::{App, compile};
use crate::outbound::Outbound;
use crate::principal::Principal;
use crate::signing::Signer;
use crate::store::{EnvironmentKey, Store, View};

pub use change::{Committed, Intent, Mover};
pub use error::ServiceError;

/// Who does something, in which request.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Who.
    pub principal: Arc<Principal>,
    /// In which request.
    pub request_id: String,
}

impl Actor {
    /// The control plane itself.
    pub fn system(request_id: &str) -> Self {
        let principal = Principal { id: "system".to_owned(), name: "system".to_owned(), scopes: Vec::new() };
        Self { principal: Arc::new(principal), request_id: request_id.to_owned() }
    }
}

/// The control plane.
#[derive(Debug)]
pub struct Control {
    /// Where everything is kept.
    pub store: Store,
    /// Signs snapshots.
    pub signer: Signer,
    /// The edges.
    pub hub: Arc<Hub>,
    /// Recognised tokens.
    pub tokens: tokens::Tokens,
    /// What edges counted and is not stored yet.
    pub reports: reports::Reports,
    /// Tells the driver of rollouts that there is something to do.
    pub wake: Arc<tokio::sync::Notify>,
    /// Tells whoever sends notifications that there is one.
    pub told: tokio::sync::Notify,
    /// How releases fare.
    pub releases: Arc<Releases>,
    /// What the operator wants called.
    pub integrations: Integrations,
    /// Calls it.
    pub outbound: Outbound,
    /// Who is asked about a candidate, and what they said.
    pub gates: rollouts::gates::Gates,
    apps: Mutex<HashMap<String, Arc<Cached>>>,
}

/// An app with what belongs to it and is not one of its objects.
#[derive(Debug, Clone)]
pub struct Cached {
    /// The app.
    pub app: Arc<App>,
    /// The secrets of its environments.
    pub keys: Arc<Keys>,
    /// What each environment last published.
    pub published: Arc<BTreeMap<String, Published>>,
}

/// What an environment last published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub number: i64,
    /// SHA-256 of its document.
    pub sha256: String,
    /// Stands for what it says; `None` when the environment was withdrawn.
    pub content: Option<[u8; 32]>,
}

impl Control {
    /// A control plane over a store, that calls nobody.
    pub fn new(store: Store, signer: Signer, hub: Arc<Hub>) -> Self {
        Self {
            store,
            signer,
            hub,
            tokens: tokens::Tokens::default(),
            reports: reports::Reports::default(),
            wake: Arc::default(),
            told: tokio::sync::Notify::new(),
            releases: Arc::default(),
            integrations: Integrations::default(),
            outbound: Outbound::default(),
            gates: rollouts::gates::Gates::default(),
            apps: Mutex::default(),
        }
    }

    /// With what its operator's file names.
    #[must_use]
    pub fn with_integrations(self, integrations: Integrations) -> Self {
        let gates = rollouts::gates::Gates::new(&integrations);
        Self { integrations, gates, ..self }
    }

    /// The app as it is now; one that does not exist is empty.
    pub async fn app(&self, name: &str) -> Result<Arc<Cached>, ServiceError> {
        let mut tx = self.store.read().await?;
        self.app_in(&mut tx, name).await
    }

    /// The app as a transaction sees it.
    pub(crate) async fn app_in(&self, tx: &mut View, name: &str) -> Result<Arc<Cached>, ServiceError> {
        let app_name = AppName::new(name).map_err(|_| ServiceError::NotFound { what: "app", key: name.to_owned() })?;
        let revision = tx.app_revision(name).await?;
        if let Some(cached) = self.apps().get(name).filter(|cached| cached.app.revision() == revision) {
            return Ok(Arc::clone(cached));
        }
        let cached = Arc::new(load(tx, app_name, revision).await?);
        self.remember(&cached);
        Ok(cached)
    }

    /// The app, or that there is none.
    pub async fn existing(&self, name: &str) -> Result<Arc<Cached>, ServiceError> {
        let cached = self.app(name).await?;
        if cached.app.exists() { Ok(cached) } else { Err(ServiceError::not_found("app", name)) }
    }

    fn remember(&self, cached: &Arc<Cached>) {
        let mut apps = self.apps();
        let newer = apps.get(cached.app.name().as_str()).is_none_or(|old| old.app.revision() <= cached.app.revision());
        if newer {
            apps.insert(cached.app.name().as_str().to_owned(), Arc::clone(cached));
        }
    }

    fn apps(&self) -> MutexGuard<'_, HashMap<String, Arc<Cached>>> {
        // Entries are replaced whole.
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn load(tx: &mut View, name: AppName, revision: i64) -> Result<Cached, ServiceError> {
    let rows = tx.objects(name.as_str()).await?;
    let app = App::restore(name, revision, rows).map_err(|faults| ServiceError::Corrupt {
        detail: faults
            .first()
            .map_or_else(String::new, |fault| format!("{}{}: {}", fault.at, fault.pointer, fault.detail)),
    })?;
    let (mut keys, mut published) = (Keys::new(), BTreeMap::new());
    let environments: Vec<String> = app.environments().map(|(name, _)| name.as_str().to_owned()).collect();
    for environment in environments {
        if let Some(row) = tx.environment_key(app.name().as_str(), &environment).await? {
            keys.insert(environment.clone(), (row.id.clone(), bucketing_key(&row)?));
        }
        if let Some(last) = tx.latest_snapshot(app.name().as_str(), &environment).await? {
            let content = match &last.document {
                Some(document) => edge_engine::parse(document.as_bytes()).ok().map(|wire| compile::content(&wire)),
                None => None,
            };
            published.insert(environment, Published { number: last.number, sha256: last.sha256, content });
        }
    }
    Ok(Cached { app: Arc::new(app), keys: Arc::new(keys), published: Arc::new(published) })
}

/// The key that a row holds.
pub(crate) fn bucketing_key(row: &EnvironmentKey) -> Result<BucketingKey, ServiceError> {
    let bytes = ids::from_hex::<16>(&row.key);
    let corrupt = || ServiceError::Corrupt { detail: format!("the bucketing key {} is not 32 digits", row.id) };
    bytes.map(BucketingKey::new).ok_or_else(corrupt)
}
