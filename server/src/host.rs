//! The host of the engine: hands requests to the edge module in wasmtime, or to the native engine.
//!
//! A [`LoadedSnapshot`] was checked natively and tried in the module under a budget; it makes one
//! [`Decider`] per worker thread. A decider is total: a trap, a missed deadline or an answer that is
//! not for the snapshot gives the fallback decision, and the instance is replaced off the request path.
//!
//! What this module does not do: read files, watch anything, or know HTTP.

mod decider;
mod instance;
mod limits;
mod loaded;
mod module;

pub use decider::{Decided, Decider, EvaluateError, FallbackCause};
pub use instance::HostError;
pub use loaded::{LoadError, LoadedSnapshot};
pub use module::{Module, ModuleError};

/// Which engine decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// The edge module in wasmtime.
    Wasm,
    /// The same engine, compiled into this binary.
    Native,
}

/// The engine that decides, and how it is watched.
#[derive(Debug, Clone)]
pub struct Engine {
    module: Option<Module>,
    shadow: bool,
}

impl Engine {
    /// The native engine.
    pub fn native() -> Self {
        Self { module: None, shadow: false }
    }

    /// The engine in this module.
    pub fn wasm(module: Module) -> Self {
        Self { module: Some(module), shadow: false }
    }

    /// Runs the native engine beside the module and compares the two.
    #[must_use]
    pub fn with_shadow(self, shadow: bool) -> Self {
        Self { shadow, ..self }
    }

    /// Which engine this is.
    pub fn kind(&self) -> EngineKind {
        if self.module.is_some() { EngineKind::Wasm } else { EngineKind::Native }
    }

    /// The engine hash, SHA-256 of the module in hex, or `native`.
    pub fn name(&self) -> &str {
        self.module.as_ref().map_or("native", Module::hash)
    }
}
