//! The Worker in the real Workers runtime: what it decides, what passes, and which snapshots it takes.
//!
//! `cargo xtask test` builds it into the target folder, where the setup installs the runtime too. Two isolates are the most
//! that are started here; where bounds for many are stated, docs/worker.md says what they rest on.

mod bound;
mod deploy;
mod failures;
mod ofrep;
mod panics;
mod parity;
mod plane;
mod reports;
mod routing;
mod runtime;
mod snapshots;
