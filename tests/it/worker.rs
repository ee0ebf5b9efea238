//! The Worker in the real Workers runtime: what it decides, what passes, and which snapshots it takes.
//!
//! `cargo xtask test` builds it into the target folder, where the setup installs the runtime too. The runtime runs one
//! isolate, so what several isolates do beside each other is not seen here.

mod parity;
mod routing;
mod runtime;
mod snapshots;
