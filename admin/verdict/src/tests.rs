//! What the statistics promise, tested over the public interface of the crate.
//!
//! Every simulation has a fixed seed, so a test passes always or never.

mod decisions;
mod evidence;
mod false_alarms;
mod late;
mod latency;
mod power;
mod vectors;
