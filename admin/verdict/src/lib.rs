//! The statistics of canary analysis: is a candidate worse, is it good enough, or is that not known yet?
//!
//! Pure: no I/O, clock, threads or globals. State goes in, an observation goes in, state comes out; the same observations
//! give the same bits. A rollout keeps an [`Evidence`], adds each [`Batch`] that an edge reports, and asks for the
//! [`Verdict`] whenever it likes: all tests are sequential, so looking often costs nothing.
//!
//! ```
//! use verdict::{Arm, Batch, Event, Evidence, Measure, Policy, Progress, Verdict};
//!
//! let mut evidence = Evidence::new(Policy::default()).expect("the defaults are sound");
//! let event = |unit| Event { measure: Measure::Errors, unit, arm: Arm::Candidate, weight: 50_000 };
//! let batch = Batch { edge: "eu-1".into(), events: (0..12).map(event).collect(), ..Batch::default() };
//! evidence.add(&batch);
//! // Twelve units met an error, all of them in the twentieth of the traffic that the candidate has.
//! assert!(matches!(evidence.verdict(&Progress::default()), Verdict::RollBack(_)));
//! ```
//!
//! From the bottom up: [`Grid`] is what a test bets on; [`unit_log_factor`] (test A), [`CountsFactor`] (test B) and
//! [`RateBet`] say what one observation is worth; [`Product`] and [`Restart`] make evidence of that which may be looked at
//! at any time; [`Evidence`] adds up reports; [`Verdict`] decides. [`Calibration`] checks all of it on
//! releases without a difference, and [`simulate`] on made-up ones.
#![forbid(unsafe_code)]
#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

mod bernoulli;
mod calibration;
mod counts;
mod evidence;
mod grid;
mod hypergeometric;
mod interval;
mod judge;
mod nats;
mod policy;
mod process;
pub mod simulate;
mod unit;

pub use bernoulli::{Objective, ObjectiveError, RateBet};
pub use calibration::{Calibration, CalibrationReport, EpochAlarms, FalseAlarms, fake_arm};
pub use counts::{Counts, CountsFactor, MOST_REQUESTS, Method, Tally};
pub use evidence::{
    Added, Batch, Event, Evidence, Exposed, Exposure, FULL_WEIGHT, MOST_EDGE_NAME, MOST_EDGES, MOST_WINDOWS, Measure,
    Measured, Refusal, Track, measures,
};
pub use grid::{Grid, GridError, MOST_POINTS};
pub use interval::{Interval, quantile_interval, rate_interval};
pub use judge::{Criterion, Finding, HoldReason, Names, Progress, RollBackReason, Verdict, grouped};
pub use policy::{Custom, Direction, Errors, Latency, Level, Policy, PolicyError, Promotion, Shares};
pub use process::{Detector, PValue, Product, Restart, stake};
pub use unit::{Arm, unit_log_factor};

#[cfg(test)]
mod tests;
