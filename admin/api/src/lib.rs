//! What the control plane says over HTTP: the types of API v1 and of the edge protocol, and their client.
//!
//! It owns the shapes that cross the wire, for both ends: the control plane writes them, command line, gateway and tests
//! read them. It holds no rule of the domain; `docs/api.md` describes the API for people.

pub mod access;
pub mod answers;
pub mod calibration;
#[cfg(feature = "client")]
pub mod client;
pub mod edge;
pub mod notifications;
pub mod objects;
pub mod problem;
pub mod releases;
pub mod rollouts;
pub mod signals;

#[cfg(feature = "client")]
pub use client::{Client, ClientError};
pub use problem::{Fault, Problem};
