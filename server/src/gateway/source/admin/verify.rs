//! From a head and a document to a snapshot that may be loaded.

use admin_api::edge::{SnapshotHead, may_be_bucketing_key};
use edge_engine::{BucketingKey, Problem};

use super::keys::{Keyring, Untrusted};
use crate::config::secret::{KeySource, Secret};
use crate::gateway::publish::PublishError;
use crate::gateway::scope::Scope;
use crate::gateway::source::read;
use crate::host::{Engine, LoadError, LoadedSnapshot};
use crate::telemetry;

/// Why a snapshot is not taken: the code that the control plane is told, and the reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) detail: String,
}

impl Refusal {
    fn document(detail: String) -> Self {
        Self { code: "document_invalid", detail }
    }

    fn problems(problems: &[Problem]) -> Self {
        let is_unknown = problems.iter().any(|problem| problem.code == "format_unknown");
        Self { code: if is_unknown { "format_unknown" } else { "document_invalid" }, detail: read::lines(problems) }
    }
}

impl From<Untrusted> for Refusal {
    fn from(untrusted: Untrusted) -> Self {
        let code = match untrusted {
            Untrusted::Key(_) => "key_unknown",
            Untrusted::Signature => "signature_invalid",
        };
        Self { code, detail: untrusted.to_string() }
    }
}

impl From<&PublishError> for Refusal {
    fn from(error: &PublishError) -> Self {
        Self { code: error.code(), detail: telemetry::chain(error) }
    }
}

/// Loads a snapshot that a control plane sent, or that was kept from one; its signature is good already.
pub(super) fn load(head: &SnapshotHead, document: Vec<u8>, engine: &Engine) -> Result<LoadedSnapshot, Refusal> {
    let wire = edge_engine::parse(&document).map_err(|problems| Refusal::problems(&problems))?;
    let scope = Scope::new(wire.app.as_str(), wire.environment.as_str());
    if scope != scope_of(head) || wire.number != head.number {
        return Err(Refusal::document(format!(
            "the document is snapshot {} of {scope}, but was sent as snapshot {} of {}",
            wire.number,
            head.number,
            scope_of(head)
        )));
    }
    if wire.bucketing_key_id.as_str() != head.bucketing_key.id {
        return Err(Refusal::document("the bucketing key that came along is another one".to_owned()));
    }
    let key = bucketing_key(head).ok_or_else(|| Refusal::document("the bucketing key is none".to_owned()))?;
    // The key itself is not signed, its id is.
    if !may_be_bucketing_key(&head.bucketing_key.id, key.as_bytes()) {
        return Err(Refusal::document("the bucketing key is not the one of its id".to_owned()));
    }
    LoadedSnapshot::of(wire, document.into(), &key, engine).map_err(|error| match &error {
        LoadError::Problems(problems) => Refusal::problems(problems),
        LoadError::Module(_) => Refusal { code: "module_failed", detail: telemetry::chain(&error) },
    })
}

/// Whose signature counts, and whose snapshot it then is.
pub(super) fn authenticate(keyring: &Keyring, head: &SnapshotHead, document: &[u8]) -> Result<Scope, Refusal> {
    keyring.verify(head, document)?;
    Ok(scope_of(head))
}

/// What a head is about.
pub(super) fn scope_of(head: &SnapshotHead) -> Scope {
    Scope::new(&head.scope.app, &head.scope.environment)
}

fn bucketing_key(head: &SnapshotHead) -> Option<BucketingKey> {
    match KeySource::parse(&Secret::new(head.bucketing_key.key.as_str())).ok()? {
        KeySource::Given(key) => Some(key),
        KeySource::Derived => None,
    }
}
