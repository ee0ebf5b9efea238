//! The rollout of a release as a type: what it means to do, and what each event makes of it.
//!
//! Pure: no I/O and no clock; time comes in as milliseconds. [`State::on`] consumes a [`State`] and an [`Event`] and gives the
//! next state, the [`Effect`]s for a driver, and a [`Transition`] that says why.
#![forbid(unsafe_code)]

mod machine;
mod plan;
mod state;

pub use plan::{Fault, Inconclusive, LONGEST, MOST_STEPS, Ms, Plan, Step, Strategy, Superseding};
pub use state::{By, Effect, End, Event, HeldWhy, Phase, Place, Position, Refused, State, Transition, Why};

#[cfg(test)]
mod tests;
