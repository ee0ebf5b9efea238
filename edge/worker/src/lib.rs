//! The edge as a Cloudflare Worker: fetch, context, decide, respond.
//!
//! The engine is the same crate that the gateway hosts, compiled in. What depends on nothing but its arguments stands in
//! modules that are tested on the host; what touches the platform is built for `wasm32` only. `entry.mjs` holds the instance
//! of this program: when it traps, requests under way are answered from the origin, and a new one takes its place.
//! Invariant: no request, no snapshot and no failing binding panics.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod board;
pub mod choice;
pub mod context;
pub mod fresh;
pub mod ledger;
pub mod ofrep;
pub mod sealed;
pub mod url;

#[cfg(target_arch = "wasm32")]
mod door;
#[cfg(target_arch = "wasm32")]
mod forward;
#[cfg(target_arch = "wasm32")]
mod held;
#[cfg(target_arch = "wasm32")]
mod object;
#[cfg(target_arch = "wasm32")]
mod platform;
#[cfg(target_arch = "wasm32")]
mod proxy;
#[cfg(target_arch = "wasm32")]
mod reports;
#[cfg(target_arch = "wasm32")]
mod settings;
