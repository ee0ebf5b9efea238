//! The edge as a Cloudflare Worker: fetch, context, decide, respond.
//!
//! The engine is the same crate that the gateway hosts, compiled in. What depends on nothing but its arguments stands in
//! [`sealed`], [`context`], [`choice`] and [`url`] and is tested on the host; what touches the platform is built for `wasm32` only.
//! Invariant: no request, no snapshot and no failing binding panics; a panic would reset the whole instance.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod choice;
pub mod context;
pub mod sealed;
pub mod url;

#[cfg(target_arch = "wasm32")]
mod door;
#[cfg(target_arch = "wasm32")]
mod held;
#[cfg(target_arch = "wasm32")]
mod object;
#[cfg(target_arch = "wasm32")]
mod proxy;
#[cfg(target_arch = "wasm32")]
mod settings;
