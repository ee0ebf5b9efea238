//! Secrets of the operator's integrations: read when they are needed, so that a turned one counts at once.

use std::path::PathBuf;

/// Where a secret is. It is in no debug output: only its place is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretAt {
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

/// Why there is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} {detail}")]
pub struct SecretError {
    place: String,
    detail: String,
}

impl SecretAt {
    /// The secret, without the line end that editors leave.
    pub fn read(&self) -> Result<String, SecretError> {
        let (place, text) = match self {
            Self::File(path) => {
                (path.display().to_string(), std::fs::read_to_string(path).map_err(|error| error.to_string()))
            }
            Self::Variable(name) => (name.clone(), std::env::var(name).map_err(|error| error.to_string())),
        };
        let fail = |detail: &str| SecretError { place: place.clone(), detail: detail.to_owned() };
        let text = text.map_err(|detail| fail(&format!("cannot be read: {detail}")))?;
        let text = text.trim();
        if text.is_empty() { Err(fail("is empty")) } else { Ok(text.to_owned()) }
    }
}
