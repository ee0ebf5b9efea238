//! Which environment of which app: the key of everything that an edge keeps per environment.
//!
//! It owns the pair and its spelling `app/environment`. It does not parse names: a scope is made
//! from a snapshot, whose names are well formed.

use std::fmt;
use std::sync::Arc;

/// An environment of an app, cheap to clone and to compare.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    app: Arc<str>,
    environment: Arc<str>,
}

impl Scope {
    /// The scope of a snapshot.
    pub fn new(app: &str, environment: &str) -> Self {
        Self { app: app.into(), environment: environment.into() }
    }

    /// The app's name.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The environment's name.
    pub fn environment(&self) -> &str {
        &self.environment
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.environment)
    }
}
