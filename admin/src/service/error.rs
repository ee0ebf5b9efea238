//! Why a use-case was not done. What becomes of it over HTTP is decided in `http::error`.

use crate::model::Fault;
use crate::model::rollback::RollbackError;
use crate::store::StoreError;

/// Why a use-case was not done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such thing.
    #[error("there is no {what} \"{key}\"")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Under which name.
        key: String,
    },
    /// It is already there.
    #[error("there is already a {what} \"{key}\"")]
    Exists {
        /// What.
        what: &'static str,
        /// Under which name.
        key: String,
    },
    /// The object has another revision than the caller saw.
    #[error("the object was changed: it has revision {actual}, not {expected}")]
    Stale {
        /// What the caller saw.
        expected: String,
        /// What it has; 0 = it does not exist.
        actual: i64,
        /// What it says now.
        current: Option<serde_json::Value>,
    },
    /// The change has mistakes.
    #[error("the change has {} problem(s)", .0.len())]
    Faults(Vec<Fault>),
    /// The change is sound and not allowed now.
    #[error("{detail}")]
    Refused {
        /// Stable code.
        code: &'static str,
        /// Why.
        detail: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The principal lacks a role.
    #[error("this needs the role {role} {place}")]
    Forbidden {
        /// Which.
        role: &'static str,
        /// Where.
        place: String,
    },
    /// A rollback has nowhere to go.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    /// The store holds what nobody could have written.
    #[error("the store holds something that cannot be read: {detail}")]
    Corrupt {
        /// What.
        detail: String,
    },
}

impl ServiceError {
    /// There is no such thing.
    pub fn not_found(what: &'static str, key: &str) -> Self {
        Self::NotFound { what, key: key.to_owned() }
    }
}
