//! The control plane: flags per environment, releases, snapshots for edges, rollback with proof.

pub mod store;
