//! What every edge does with HTTP around a decision: one definition for gateway and Worker.
//!
//! Pure: fields and texts in, fields and texts out; no I/O, no clock, no randomness. Invariant: a name that a back end may
//! read as one of ours, or as one that only a proxy may set, has the same fate in both kinds of edge.
#![forbid(unsafe_code)]

pub mod breaker;
pub mod cookies;
pub mod fields;
pub mod host;
pub mod ids;
pub mod query;
