//! A snapshot that is fit to serve: checked natively, tried in the module.

use std::sync::{Arc, Mutex, PoisonError};

use edge_engine::wire::SnapshotWire;
use edge_engine::{BucketingKey, Decision, Problem, RequestContext, Snapshot};

use super::instance::{HostError, Instance};
use super::{Decider, Engine};

/// Why a snapshot is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The document is wrong; all problems at once.
    #[error("{}", summary(.0))]
    Problems(Vec<Problem>),
    /// The module cannot use what the native engine accepts.
    #[error("the module failed the trial load")]
    Module(#[from] HostError),
}

fn summary(problems: &[Problem]) -> String {
    match problems {
        [] => "the snapshot has problems".into(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// A snapshot ready to make deciders. Cheap to clone.
#[derive(Clone)]
pub struct LoadedSnapshot(Arc<Loaded>);

pub(super) struct Loaded {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) engine: Engine,
    /// Kept for further instances: one per worker, and replacements.
    document: Box<[u8]>,
    key: BucketingKey,
    traffic_salt: Box<str>,
    /// The instance of the trial load; the first decider takes it.
    tried: Mutex<Option<Instance>>,
}

impl std::fmt::Debug for LoadedSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let snapshot = &self.0.snapshot;
        write!(f, "LoadedSnapshot({}/{} #{})", snapshot.app(), snapshot.environment(), snapshot.number())
    }
}

impl LoadedSnapshot {
    /// Checks a snapshot document and tries it in the module: it must load within the budget and decide
    /// an empty request. Takes milliseconds to seconds; not for the request path.
    pub fn load(document: &[u8], key: &BucketingKey, engine: &Engine) -> Result<Self, LoadError> {
        let wire = edge_engine::parse(document).map_err(LoadError::Problems)?;
        Self::of(wire, document.into(), key, engine)
    }

    /// The same for a document that the caller has read, or written, already: it must say what `wire` says.
    pub fn of(wire: SnapshotWire, document: Box<[u8]>, key: &BucketingKey, engine: &Engine) -> Result<Self, LoadError> {
        let traffic_salt = wire.traffic.salt.as_str().into();
        let snapshot = edge_engine::check(wire, key).map_err(LoadError::Problems)?;
        let loaded = Loaded {
            snapshot: Arc::new(snapshot),
            engine: engine.clone(),
            document,
            key: key.clone(),
            traffic_salt,
            tried: Mutex::new(None),
        };
        if let Some(mut instance) = loaded.instance()? {
            let nothing = RequestContext { values: &[], now_ms: 0 };
            instance.decide(&loaded.snapshot, &nothing, &mut Decision::new())?;
            *loaded.tried.lock().unwrap_or_else(PoisonError::into_inner) = Some(instance);
        }
        Ok(Self(Arc::new(loaded)))
    }

    /// The same snapshot under another engine, tried anew.
    pub fn reload(&self, engine: &Engine) -> Result<Self, LoadError> {
        Self::load(&self.0.document, &self.0.key, engine)
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.0.snapshot
    }

    /// The snapshot's JSON document.
    pub fn document(&self) -> &[u8] {
        &self.0.document
    }

    /// The environment's secret.
    pub fn key(&self) -> &BucketingKey {
        &self.0.key
    }

    /// The salt of the traffic's split.
    pub fn traffic_salt(&self) -> &str {
        &self.0.traffic_salt
    }

    /// The engine that decides it.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// A decider for one worker thread.
    pub fn decider(&self) -> Result<Decider, HostError> {
        let tried = self.0.tried.lock().unwrap_or_else(PoisonError::into_inner).take();
        let instance = match tried {
            Some(instance) => Some(instance),
            None => self.0.instance()?,
        };
        Ok(Decider::new(Arc::clone(&self.0), instance))
    }
}

impl Loaded {
    /// A fresh instance with the snapshot loaded; `None` for the native engine.
    pub(super) fn instance(&self) -> Result<Option<Instance>, HostError> {
        let Some(module) = &self.engine.module else { return Ok(None) };
        let mut instance = module.instantiate()?;
        instance.configure(&self.document, &self.key)?;
        Ok(Some(instance))
    }
}
