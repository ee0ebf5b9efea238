//! The rollout of a release as a type: what it means to do, and what each event makes of it.
//!
//! Pure: no I/O and no clock; time comes in as milliseconds. [`State::on`] consumes a [`State`] and an [`Event`] and gives the
//! next state, the [`Effect`]s for a driver, and a [`Transition`] that says what was decided, by whom, on which evidence.
#![forbid(unsafe_code)]

mod grounds;
mod hooks;
mod machine;
mod plan;
mod state;
mod template;

pub use grounds::Grounds;
pub use hooks::Hooks;
pub use plan::{Fault, Plan};
pub use state::{By, Effect, End, Event, HeldWhy, Phase, Place, Position, Refused, State, Stay, Transition, Why};
pub use template::{
    Alarms, Inconclusive, Infrastructure, LONGEST, MOST_LOOKS, MOST_STEPS, Ms, OutOf, Step, Strategy, Superseding,
    THE_STANDARDS, Template, Templates,
};

#[cfg(test)]
mod tests;
