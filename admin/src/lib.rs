//! The control plane: flags per environment, releases, snapshots for edges, rollback with proof.
//!
//! `model` is what is edited and what follows from it, pure; `store` keeps it; `service` has the use-cases, one
//! transaction each; `http` lets people and programs ask for them; `edges` hands snapshots out and waits for answers.

pub mod edges;
pub mod http;
pub mod ids;
pub mod integrations;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod outbound;
pub mod principal;
pub mod serve;
pub mod service;
pub mod signing;
pub mod store;
pub mod token;
