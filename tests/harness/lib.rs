//! What the end-to-end tests are made of: scripted upstreams, raw clients, whole gateways; no test
//! lives here.
#![expect(clippy::missing_panics_doc, reason = "a harness reports by panicking, everywhere")]

pub mod admin;
pub mod binary;
pub mod client;
pub mod control_plane;
pub mod edge;
pub mod frames;
pub mod origin;
pub mod played_worker;
pub mod postgres;
pub mod store;
pub mod world;
pub mod wrk;

pub use client::{Client, Response};
pub use control_plane::ControlPlane;
pub use origin::{Origin, Seen};
pub use played_worker::{Mood, PlayedWorker};
pub use world::{World, WorldBuilder};
pub use wrk::Wrk;

/// The content of a snapshot in the tests of the state directory: another one for each number, and long
/// enough that a write of it can be cut.
pub fn state_content(number: u64) -> Vec<u8> {
    let line = format!("{{\"number\":{number},\"fill\":\"{}\"}}\n", "x".repeat(64));
    line.repeat(512).into_bytes()
}
