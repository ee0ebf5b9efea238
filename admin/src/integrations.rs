//! What an operator connects the control plane with, as their file says it.
//!
//! Invariant: whom the control plane calls stands in that file, and nobody adds to it by the API.

pub mod gate;
mod path;

/// Everything that the file names.
#[derive(Debug, Clone, Default)]
pub struct Integrations {
    /// What templates may ask.
    pub gates: Vec<gate::Gate>,
    /// What every rollout meets.
    pub hooks: Vec<gate::Hook>,
}
