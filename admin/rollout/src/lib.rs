//! The rollout of a release as a type: what it means to do, and what each event makes of it.
//!
//! Pure: no I/O and no clock; time comes in as milliseconds.
#![forbid(unsafe_code)]

mod plan;

pub use plan::{Fault, Inconclusive, LONGEST, MOST_STEPS, Ms, Plan, Step, Strategy, Superseding};
