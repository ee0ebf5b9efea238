//! What a policy would do to made-up traffic: how often, how fast, and what people saw until then.
//!
//! Invariant: a seed is a run, to the bit; every rule sees the same traffic.

mod policies;
mod random;
mod traffic;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

pub use self::policies::{Checks, Rule, Watch};
pub use self::random::{Random, mix};
pub use self::traffic::{Slice, Traffic};
use crate::policy::PolicyError;
use crate::unit::Arm;

/// Traffic to make up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// Requests per second to both releases together.
    pub rate: f64,
    /// How many units send them, each as many as any other and always to the same release. None: every request is a unit of its own.
    pub visitors: Option<u32>,
    /// Clients that are broken whatever serves them.
    pub noisy: Noisy,
    /// The share of bad requests at stable, 0 to 1.
    pub base: f64,
    /// The share of bad requests at the candidate, 0 to 1.
    pub candidate: f64,
    /// When the candidate begins to differ, in seconds.
    pub onset_seconds: u64,
    /// The candidate's share over time; ascending, the first from 0.
    pub schedule: Vec<Step>,
    /// A common cause that fails both.
    pub outage: Option<Outage>,
    /// How long to watch, in seconds.
    pub seconds: u64,
    /// How often there is a look, in seconds, at least 1.
    pub look_seconds: u64,
}

/// Clients that fail for a reason of their own, on top of the other traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Noisy {
    /// How many.
    pub clients: u32,
    /// Requests per second of each.
    pub rate: f64,
    /// The share of their requests that is bad.
    pub errors: f64,
}

/// A weight from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// From when, in seconds.
    pub from_seconds: u64,
    /// The candidate's share, in millionths.
    pub weight: u32,
}

/// A time in which both releases fail alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    /// From when, in seconds.
    pub from_seconds: u64,
    /// Until when, in seconds.
    pub to_seconds: u64,
    /// The share of bad requests of both meanwhile.
    pub errors: f64,
}

/// Why a scenario cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// A number outside of its range.
    #[error("{name} is {value}, and has to be {range}")]
    Range {
        /// Which one.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// The steps have no order.
    #[error("the schedule has 1 to 100 steps with ascending times, the first from 0")]
    Schedule,
    /// The policy cannot be.
    #[error("the policy is not possible")]
    Policy(#[from] PolicyError),
}

/// How one run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Whether there was a rollback.
    pub rolled_back: bool,
    /// Seconds until it, or until the end.
    pub seconds: u64,
    /// Requests that the candidate served until then.
    pub requests: u64,
    /// Bad ones among them.
    pub errors: u64,
    /// Distinct units that met one of those.
    pub units: u64,
}

/// How many runs ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Runs.
    pub runs: u32,
    /// Runs with a rollback.
    pub rolled_back: u32,
    /// Seconds until the rollback, over the runs with one.
    pub seconds: Spread,
    /// Requests that the candidate served, over all runs.
    pub requests: Spread,
    /// Bad requests at the candidate, over all runs.
    pub errors: Spread,
    /// Distinct units that met one, over all runs.
    pub units: Spread,
}

/// A distribution in three numbers; all 0 if it is of nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The value in the middle.
    pub median: u64,
    /// The value that nine of ten do not exceed.
    pub p90: u64,
}

impl Scenario {
    /// A constant weight (millionths), one unit for each request, an hour, a look every ten seconds.
    pub fn new(rate: f64, weight: u32, base: f64, candidate: f64) -> Self {
        Self {
            rate,
            visitors: None,
            noisy: Noisy::default(),
            base,
            candidate,
            onset_seconds: 0,
            schedule: vec![Step { from_seconds: 0, weight }],
            outage: None,
            seconds: 3600,
            look_seconds: 10,
        }
    }

    /// The same traffic with a candidate that is as good as stable.
    #[must_use]
    pub fn without_fault(&self) -> Self {
        Self { candidate: self.base, ..self.clone() }
    }

    /// Refuses what cannot be, or would take for ever.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let within = |name, value: f64, least: f64, most: f64, range| {
            if (least..=most).contains(&value) { Ok(()) } else { Err(ScenarioError::Range { name, value, range }) }
        };
        within("the rate", self.rate, 0.001, 1e6, "0.001 to 1 000 000 requests per second")?;
        within("the base", self.base, 0.0, 1.0, "0 to 1")?;
        within("the candidate's share of errors", self.candidate, 0.0, 1.0, "0 to 1")?;
        within("the time", self.seconds as f64, 1.0, 31e6, "1 second to a year")?;
        within("the time between looks", self.look_seconds as f64, 1.0, 86_400.0, "1 second to a day")?;
        within("visitors", self.visitors.unwrap_or(1).into(), 1.0, 1e7, "1 to 10 000 000")?;
        within("noisy clients", self.noisy.clients.into(), 0.0, 1e6, "at most 1 000 000")?;
        within("the rate of a noisy client", self.noisy.rate, 0.0, 1e3, "0 to 1000 requests per second")?;
        within("the errors of a noisy client", self.noisy.errors, 0.0, 1.0, "0 to 1")?;
        if let Some(outage) = self.outage {
            within("the errors of an outage", outage.errors, 0.0, 1.0, "0 to 1")?;
        }
        let ascending = self.schedule.windows(2).all(|pair| pair[0].from_seconds < pair[1].from_seconds);
        let begins = self.schedule.first().is_some_and(|step| step.from_seconds == 0);
        let possible = self.schedule.iter().all(|step| step.weight <= crate::FULL_WEIGHT);
        if !ascending || !begins || !possible || self.schedule.len() > 100 {
            return Err(ScenarioError::Schedule);
        }
        Ok(())
    }
}

/// Runs a rule over `runs` times of made-up traffic, and sums up.
pub fn run(scenario: &Scenario, rule: &Rule, seed: u64, runs: u32) -> Result<Summary, ScenarioError> {
    scenario.check()?;
    let mut outcomes = Vec::new();
    for number in 0..runs {
        let mut watch = rule.watch()?;
        outcomes.push(one(scenario, watch.as_mut(), seed, number));
    }
    Ok(summary(&outcomes))
}

/// One run: the traffic number `number` of `seed`.
pub fn one(scenario: &Scenario, watch: &mut dyn Watch, seed: u64, number: u32) -> Outcome {
    let mut traffic = Traffic::new(scenario, Random::new(mix(seed) ^ u64::from(number)));
    let mut outcome = Outcome { rolled_back: false, seconds: scenario.seconds, requests: 0, errors: 0, units: 0 };
    let mut hurt = HashSet::new();
    let mut slice = Slice::default();
    while traffic.next(&mut slice) {
        outcome.requests += slice.counts.candidate.total;
        outcome.errors += slice.counts.candidate.bad;
        hurt.extend(slice.bad.iter().filter(|(_, arm)| *arm == Arm::Candidate).map(|(unit, _)| *unit));
        if watch.look(&slice) {
            outcome.rolled_back = true;
            outcome.seconds = slice.until_seconds;
            break;
        }
    }
    outcome.units = hurt.len() as u64;
    outcome
}

fn summary(outcomes: &[Outcome]) -> Summary {
    let of = |value: fn(&Outcome) -> u64| spread(outcomes.iter().map(value).collect());
    let rolled_back: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.rolled_back).collect();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Summary {
        runs: count(outcomes.len()),
        rolled_back: count(rolled_back.len()),
        seconds: spread(rolled_back.iter().map(|outcome| outcome.seconds).collect()),
        requests: of(|outcome| outcome.requests),
        errors: of(|outcome| outcome.errors),
        units: of(|outcome| outcome.units),
    }
}

/// The spread of some values.
pub fn spread(mut values: Vec<u64>) -> Spread {
    values.sort_unstable();
    let at = |tenths: usize| values.get((values.len() * tenths / 10).min(values.len().saturating_sub(1)));
    let (median, p90) = (at(5).copied().unwrap_or(0), at(9).copied().unwrap_or(0));
    Spread { mean: values.iter().map(|&value| value as f64).sum::<f64>() / values.len().max(1) as f64, median, p90 }
}
