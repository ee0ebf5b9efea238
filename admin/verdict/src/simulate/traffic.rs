//! Made-up traffic, a slice at a time.
//!
//! Requests come as a Poisson process and fail independently, so only failures are drawn one by one; requests that went well
//! are counts. That is exact, and makes an hour of any rate cheap.

use super::{Noisy, Random, Scenario, mix};
use crate::counts::{Counts, Tally};
use crate::unit::Arm;

/// What happened between two looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    /// Its number.
    pub window: u64,
    /// When it ended, in seconds.
    pub until_seconds: u64,
    /// The candidate's share, in millionths.
    pub weight: u32,
    /// Requests and bad ones.
    pub counts: Counts,
    /// The unit and the place of each bad request.
    pub bad: Vec<(u64, Arm)>,
}

/// The traffic of one run.
#[derive(Debug)]
pub struct Traffic<'a> {
    scenario: &'a Scenario,
    random: Random,
    /// Salt of the units' hashes: other units in each run.
    salt: u64,
    next: u64,
    counted: Option<(u32, f64)>,
}

/// Units of noisy clients are far from those of visitors.
const NOISY: u64 = 1 << 40;

impl<'a> Traffic<'a> {
    /// From the beginning.
    pub fn new(scenario: &'a Scenario, mut random: Random) -> Self {
        let salt = random.bits();
        Self { scenario, random, salt, next: 0, counted: None }
    }

    /// Fills in the next slice; false at the end.
    pub fn next(&mut self, slice: &mut Slice) -> bool {
        let scenario = self.scenario;
        let from = self.next * scenario.look_seconds;
        if from >= scenario.seconds {
            return false;
        }
        let until = (from + scenario.look_seconds).min(scenario.seconds);
        let step = scenario.schedule.iter().rev().find(|step| step.from_seconds <= from);
        let weight = step.map_or(0, |step| step.weight);
        slice.bad.clear();
        slice.counts = Counts::default();
        (slice.window, slice.until_seconds, slice.weight) = (self.next, until, weight);
        let seconds = (until - from) as f64;
        self.visitors(slice, from, seconds);
        self.noisy(slice, seconds);
        for &(_, arm) in &slice.bad {
            tally(&mut slice.counts, arm).bad += 1;
        }
        slice.counts.candidate.total += slice.counts.candidate.bad;
        slice.counts.stable.total += slice.counts.stable.bad;
        self.next += 1;
        true
    }

    fn visitors(&mut self, slice: &mut Slice, from: u64, seconds: f64) {
        let rates = self.rates(from);
        let mean = self.scenario.rate * seconds;
        let most = rates[0].max(rates[1]);
        for _ in 0..self.random.poisson(mean * most) {
            let unit = match self.scenario.visitors {
                Some(visitors) => {
                    let number = self.random.below(visitors as usize);
                    self.unit(number as u64)
                }
                None => self.random.bits(),
            };
            let arm = arm(unit, slice.weight);
            let rate = if arm == Arm::Candidate { rates[0] } else { rates[1] };
            if self.random.chance(rate / most) {
                slice.bad.push((unit, arm));
            }
        }
        let share = self.candidates_share(slice.weight);
        slice.counts.candidate.total += self.random.poisson(mean * share * (1.0 - rates[0]));
        slice.counts.stable.total += self.random.poisson(mean * (1.0 - share) * (1.0 - rates[1]));
    }

    /// The shares of bad requests at the candidate and at stable now.
    fn rates(&self, now: u64) -> [f64; 2] {
        let scenario = self.scenario;
        match scenario.outage {
            Some(outage) if (outage.from_seconds..outage.to_seconds).contains(&now) => [outage.errors; 2],
            _ if now >= scenario.onset_seconds => [scenario.candidate, scenario.base],
            _ => [scenario.base; 2],
        }
    }

    fn noisy(&mut self, slice: &mut Slice, seconds: f64) {
        let Noisy { clients, rate, errors } = self.scenario.noisy;
        for client in 0..clients {
            let unit = self.unit(NOISY + u64::from(client));
            let arm = arm(unit, slice.weight);
            let bad = self.random.poisson(rate * errors * seconds);
            slice.bad.extend((0..bad).map(|_| (unit, arm)));
            tally(&mut slice.counts, arm).total += self.random.poisson(rate * (1.0 - errors) * seconds);
        }
    }

    fn unit(&self, number: u64) -> u64 {
        mix(self.salt ^ mix(number))
    }

    /// The share of visitors that the candidate really has.
    fn candidates_share(&mut self, weight: u32) -> f64 {
        let Some(visitors) = self.scenario.visitors else { return f64::from(weight) / f64::from(crate::FULL_WEIGHT) };
        match self.counted {
            Some((counted, share)) if counted == weight => share,
            _ => {
                let there = (0..u64::from(visitors)).filter(|&number| arm(self.unit(number), weight) == Arm::Candidate);
                let share = there.count() as f64 / f64::from(visitors);
                self.counted = Some((weight, share));
                share
            }
        }
    }
}

/// Where a unit is served: as edges do it, by the bucket of its hash.
fn arm(unit: u64, weight: u32) -> Arm {
    let bucket = (u128::from(unit) * u128::from(crate::FULL_WEIGHT)) >> 64;
    if bucket < u128::from(weight) { Arm::Candidate } else { Arm::Stable }
}

fn tally(counts: &mut Counts, arm: Arm) -> &mut Tally {
    match arm {
        Arm::Candidate => &mut counts.candidate,
        Arm::Stable => &mut counts.stable,
    }
}
