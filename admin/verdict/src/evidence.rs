//! What is known about a candidate so far: all reports of an analysis, added up.
//!
//! Invariant: evidence is a function of the *set* of batches. A batch counts once however often it comes, and within the
//! horizon of late windows the order does not change a single bit. Its size is bounded.

mod sequences;
mod track;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::sequences::Sequences;
use self::track::First;
pub use self::track::Track;
use crate::bernoulli::{Objective, RateBet};
use crate::counts::{Counts, CountsFactor, Method, Tally};
use crate::grid::Grid;
use crate::policy::{Direction, Level, Policy, PolicyError};
use crate::process::{Product, Restart};
use crate::unit::{Arm, unit_log_factor};

/// What an edge saw in one flush.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Batch {
    /// Which edge; a process that starts anew is another one, because its numbers start anew.
    pub edge: String,
    /// The number of this batch among those of the edge. A number is used once.
    pub sequence: u64,
    /// The window in which it was seen: seconds since the analysis began, divided by the length of a window that the caller
    /// chooses once. Below 2²⁰. Whoever has a clock compares it with that first: a window of the far future closes all before it.
    pub window: u64,
    /// Distinct units that were seen for the first time, by the share that was configured then.
    #[serde(default)]
    pub units: Vec<Exposure>,
    /// Single units that were seen for the first time: a sample that the hash chose. An edge may send a unit again, and
    /// several edges may see it; only the first time counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<Exposed>,
    /// Counters for each measure.
    #[serde(default)]
    pub counts: Vec<Measured>,
    /// First bad events of units. An edge may send a unit again; only the first counts.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// Failed requests.
    Errors,
    /// Requests that took longer than this many milliseconds; a threshold of the policy.
    Slower(u32),
    /// The criterion of the app's own with this name.
    Custom(String),
}

/// How many units an arm got at a configured share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exposure {
    /// The candidate's configured share, in millionths.
    pub weight: u32,
    /// Units that went to the candidate.
    pub candidate: u64,
    /// Units that went to stable.
    pub stable: u64,
}

/// A unit that was seen for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exposed {
    /// A hash of the unit.
    pub unit: u64,
    /// Where the split sent it.
    pub arm: Arm,
    /// The candidate's configured share at that moment and place, in millionths.
    pub weight: u32,
    /// How many units it stands for, 1 to 1000: one of so many is in the sample.
    pub stands_for: u32,
}

/// The counters of a measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// What was counted.
    pub measure: Measure,
    /// How much of it.
    pub counts: Counts,
}

/// A bad event of a unit. Requests on forced routes (overrides, rules, pins) are never reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What happened.
    pub measure: Measure,
    /// A hash of the unit.
    pub unit: u64,
    /// Where it was served.
    pub arm: Arm,
    /// The candidate's configured share at that moment and place, in millionths.
    pub weight: u32,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It counts.
    Counted,
    /// It was there already; nothing changed.
    Duplicate,
    /// It cannot be; nothing changed.
    Refused(Refusal),
}

/// Why a batch cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not in the policy.
    #[error("a measure is not part of the policy")]
    UnknownMeasure,
    /// Too much for a flush, or more bad requests than requests.
    #[error("counters are impossible")]
    Counts,
    /// Above 100 %.
    #[error("a weight is above 1 000 000")]
    Weight,
    /// Too far.
    #[error("a window is beyond {MOST_WINDOWS}")]
    Window,
    /// Too late.
    #[error("its epoch is over")]
    Late,
    /// Empty, or too long to be remembered.
    #[error("the name of an edge has 1 to {MOST_EDGE_NAME} bytes")]
    EdgeName,
    /// Too many.
    #[error("there are more than {MOST_EDGES} edges")]
    Edges,
}

/// Windows of one analysis: 121 days of ten seconds each.
pub const MOST_WINDOWS: u64 = 1 << 20;
/// Edges that an analysis knows.
pub const MOST_EDGES: usize = 4096;
/// Bytes in the name of an edge.
pub const MOST_EDGE_NAME: usize = 256;
/// Units that one of a sample may stand for.
const MOST_STANDS_FOR: u32 = 1000;
/// A weight of 100 %.
pub const FULL_WEIGHT: u32 = 1_000_000;

/// Everything that is known, and the policy by which it will be judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    policy: Policy,
    edges: BTreeMap<String, Sequences>,
    newest: u64,
    /// In the order of [`measures`].
    tracks: Vec<Track>,
    objective: [Restart; 2],
    kept: Product,
    not_inferior: Product,
    ratio: Product,
    units: Exposure,
    /// The first time of each unit that was named.
    exposed: BTreeMap<u64, First>,
    remembered: u32,
    full: bool,
}

impl Evidence {
    /// No evidence yet. The policy stays the same for the whole analysis: changing it at sight of the data would void its promise.
    pub fn new(policy: Policy) -> Result<Self, PolicyError> {
        policy.check()?;
        let tracks = measures(&policy).into_iter().map(|measure| Track::new(measure, policy.grid.len())).collect();
        Ok(Self {
            edges: BTreeMap::new(),
            newest: 0,
            tracks,
            objective: [Restart::new(6), Restart::new(6)],
            kept: Product::new(5),
            not_inferior: Product::new(Grid::non_inferiority().len()),
            ratio: Product::new(Grid::two_sided().len()),
            units: Exposure::default(),
            exposed: BTreeMap::new(),
            remembered: 0,
            full: false,
            policy,
        })
    }

    /// The same policy without evidence; batches that were counted stay known.
    pub(crate) fn start_anew(&mut self) {
        let edges = std::mem::take(&mut self.edges);
        if let Ok(empty) = Self::new(self.policy.clone()) {
            *self = Self { edges, ..empty };
        }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Adds a batch.
    pub fn add(&mut self, batch: &Batch) -> Added {
        if let Err(refusal) = self.is_possible(batch) {
            return Added::Refused(refusal);
        }
        if !self.edges.contains_key(&batch.edge) && self.edges.len() >= MOST_EDGES {
            return Added::Refused(Refusal::Edges);
        }
        if !self.edges.entry(batch.edge.clone()).or_default().insert(batch.sequence) {
            return Added::Duplicate;
        }
        self.newest = self.newest.max(batch.window);
        let first_open = (self.newest + 1).saturating_sub(self.policy.horizon.into());
        self.tracks.iter_mut().for_each(|track| track.advance(self.newest, first_open));
        self.objective.iter_mut().for_each(|restart| restart.close_before(first_open));
        batch.units.iter().for_each(|units| self.add_units(units));
        batch.exposed.iter().for_each(|exposed| self.add_exposed(batch.window, exposed));
        batch.counts.iter().for_each(|measured| self.add_counts(batch.window, measured));
        batch.events.iter().for_each(|event| self.add_event(batch.window, event));
        Added::Counted
    }

    /// A new step began: evidence for promotion starts anew, evidence of harm goes on.
    pub fn begin_step(&mut self) {
        self.kept = Product::new(5);
        self.not_inferior = Product::new(Grid::non_inferiority().len());
    }

    /// What is known about a measure, if it is part of the policy.
    pub fn track(&self, measure: &Measure) -> Option<&Track> {
        self.tracks.iter().find(|track| track.measure() == measure)
    }

    /// What is known about each measure of the policy.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// The e-value of harm in a measure.
    pub fn harm(&self, measure: &Measure) -> f64 {
        self.track(measure).map_or(1.0, |track| track.e_value(&self.policy.grid))
    }

    /// The e-value of harm in latency: the mean over the thresholds.
    pub fn slowness(&self) -> f64 {
        let slow = self.tracks.iter().filter(|track| matches!(track.measure(), Measure::Slower(_)));
        let (count, sum) =
            slow.fold((0_u32, 0.0), |(count, sum), track| (count + 1, sum + track.e_value(&self.policy.grid)));
        if count == 0 { 1.0 } else { sum / f64::from(count) }
    }

    /// The e-value that an arm misses the objective. 1 without an objective.
    ///
    /// At the level of units each unit counts once among all requests, which can only lower the evidence, so that one
    /// broken client does not speak for the release.
    pub fn missed(&self, arm: Arm) -> f64 {
        if self.policy.errors.objective.is_none() {
            return 1.0;
        }
        self.objective[index(arm)].e_value(std::iter::repeat_n(1.0 / 6.0, 6))
    }

    /// The e-value that the candidate keeps the objective, from the counters of requests of this step.
    pub fn kept(&self) -> f64 {
        self.kept.e_value(std::iter::repeat_n(0.2, 5))
    }

    /// The e-value that the odds ratio of failed requests is below the one to be excluded, from the counters of this step.
    pub fn not_inferior(&self) -> f64 {
        self.not_inferior.e_value(Grid::non_inferiority().weights())
    }

    /// The e-value that units do not arrive in the configured ratio.
    pub fn ratio(&self) -> f64 {
        self.ratio.e_value(Grid::two_sided().weights())
    }

    /// Distinct units by arm, as far as edges reported them.
    pub fn units(&self, arm: Arm) -> u64 {
        if arm == Arm::Candidate { self.units.candidate } else { self.units.stable }
    }

    /// Distinct units by arm, where edges reported all of them; 0 where a sample is named: a unit counts where it came first,
    /// and a rising weight moves it on.
    pub(crate) fn all_units(&self, arm: Arm) -> u64 {
        if self.exposed.is_empty() { self.units(arm) } else { 0 }
    }

    /// Distinct units that met a failure of the candidate; at the level of requests, failed requests of it.
    pub fn hurt(&self) -> u64 {
        match (self.policy.level, self.tracks.first()) {
            (Level::Unit, Some(track)) => track.bad_units(Arm::Candidate),
            _ => self.requests(Arm::Candidate).bad,
        }
    }

    /// Requests by arm, from the counters of failed requests.
    pub fn requests(&self, arm: Arm) -> Tally {
        self.tracks.first().map_or_else(Tally::default, |track| track.counts().of(arm))
    }

    /// Whether more units were reported than can be remembered: what came after that did not count.
    pub fn is_full(&self) -> bool {
        self.full
    }

    fn is_possible(&self, batch: &Batch) -> Result<(), Refusal> {
        if batch.edge.is_empty() || batch.edge.len() > MOST_EDGE_NAME {
            return Err(Refusal::EdgeName);
        }
        if batch.window >= MOST_WINDOWS {
            return Err(Refusal::Window);
        }
        let measures = batch.counts.iter().map(|measured| &measured.measure);
        for measure in measures.chain(batch.events.iter().map(|event| &event.measure)) {
            if self.track(measure).is_none() {
                return Err(Refusal::UnknownMeasure);
            }
        }
        if !batch.counts.iter().all(|measured| measured.counts.is_sound()) {
            return Err(Refusal::Counts);
        }
        let weights = batch.units.iter().map(|units| units.weight);
        let weights = weights.chain(batch.exposed.iter().map(|exposed| exposed.weight));
        if weights.chain(batch.events.iter().map(|event| event.weight)).any(|weight| weight > FULL_WEIGHT) {
            return Err(Refusal::Weight);
        }
        if batch.exposed.iter().any(|exposed| !(1..=MOST_STANDS_FOR).contains(&exposed.stands_for)) {
            return Err(Refusal::Counts);
        }
        Ok(())
    }

    fn add_units(&mut self, units: &Exposure) {
        let weight = share(units.weight);
        let factor = |odds| {
            units.candidate as f64 * unit_log_factor(odds, 1.0, weight, Arm::Candidate)
                + units.stable as f64 * unit_log_factor(odds, 1.0, weight, Arm::Stable)
        };
        self.ratio.multiply(Grid::two_sided().odds().map(factor));
        self.count_units(Arm::Candidate, units.candidate, true);
        self.count_units(Arm::Stable, units.stable, true);
    }

    fn add_exposed(&mut self, window: u64, exposed: &Exposed) {
        let first = First { window, weight: exposed.weight, arm: exposed.arm };
        let old = self.exposed.get(&exposed.unit).copied();
        let is_news = old.map_or(self.exposed.len() < self.policy.most_units as usize, |old| first < old);
        if !is_news {
            return;
        }
        let ln = |first: First, odds| unit_log_factor(odds, 1.0, share(first.weight), first.arm);
        if let Some(old) = old {
            self.ratio.divide(Grid::two_sided().odds().map(|odds| ln(old, odds)));
            self.count_units(old.arm, exposed.stands_for.into(), false);
        }
        self.ratio.multiply(Grid::two_sided().odds().map(|odds| ln(first, odds)));
        self.count_units(exposed.arm, exposed.stands_for.into(), true);
        self.exposed.insert(exposed.unit, first);
    }

    fn count_units(&mut self, arm: Arm, units: u64, more: bool) {
        let Exposure { candidate, stable, .. } = &mut self.units;
        let count = if arm == Arm::Candidate { candidate } else { stable };
        *count = if more { count.saturating_add(units) } else { count.saturating_sub(units) };
    }

    fn add_counts(&mut self, window: u64, Measured { measure, counts }: &Measured) {
        let Some(position) = self.tracks.iter().position(|track| track.measure() == measure) else { return };
        let direction = direction(&self.policy, measure);
        let tolerance = tolerance(&self.policy, measure);
        let Self { policy, tracks, newest, .. } = self;
        tracks[position].add_counts(window, *newest, *counts);
        if policy.level == Level::Request {
            let judged = if direction == Direction::FewerIsBad { counts.exchanged() } else { *counts };
            let factor = CountsFactor::new(&judged, tolerance, Method::Auto);
            if factor.says_something() {
                tracks[position].multiply(window, policy.grid.odds().map(|odds| factor.ln(odds)));
            }
        }
        if *measure == Measure::Errors {
            self.add_requests(window, counts);
        }
    }

    /// What the counters of failed requests say about the objective and about promotion.
    fn add_requests(&mut self, window: u64, counts: &Counts) {
        if let Some(objective) = self.policy.errors.objective {
            for arm in [Arm::Candidate, Arm::Stable] {
                let Tally { total, bad } = counts.of(arm);
                // At the level of units, events bring the numerator.
                let bad = if self.policy.level == Level::Unit { 0 } else { bad };
                if total > 0 {
                    self.missed_by(arm, window, objective, |bet| bet.ln(total, bad));
                }
            }
            let Tally { total, bad } = counts.candidate;
            self.kept.multiply(objective.kept().iter().map(|bet| bet.ln(total, bad)));
        }
        if let Some(excluded) = self.policy.promotion.relative {
            let factor = CountsFactor::new(counts, excluded, Method::Exact);
            self.not_inferior.multiply(Grid::non_inferiority().odds().map(|odds| factor.ln(odds)));
        }
    }

    fn missed_by(&mut self, arm: Arm, window: u64, objective: Objective, ln: impl Fn(&RateBet) -> f64) {
        self.objective[index(arm)].multiply(window, objective.missed().iter().map(ln));
    }

    fn add_event(&mut self, window: u64, event: &Event) {
        let Some(position) = self.tracks.iter().position(|track| *track.measure() == event.measure) else { return };
        if self.policy.level == Level::Request {
            return;
        }
        let room = self.remembered < self.policy.most_units;
        let direction = direction(&self.policy, &event.measure);
        let tolerance = tolerance(&self.policy, &event.measure);
        let exchange = direction == Direction::FewerIsBad;
        let grid = &self.policy.grid;
        let change = self.tracks[position].add_event(
            (window, self.newest),
            event,
            room,
            |odds, first| {
                let (arm, weight) = (first.arm, share(first.weight));
                let (arm, weight) = if exchange { (arm.other(), 1.0 - weight) } else { (arm, weight) };
                unit_log_factor(odds, tolerance, weight, arm)
            },
            grid,
        );
        match change {
            track::Change::Known => {}
            track::Change::NoRoom => self.full = true,
            track::Change::New { window } => {
                self.remembered += 1;
                self.count_towards_objective(event, window);
            }
            track::Change::Moved { from, old_arm, to } => self.move_in_objective(event, from, old_arm, to),
        }
    }

    fn count_towards_objective(&mut self, event: &Event, window: u64) {
        if let (Measure::Errors, Some(objective)) = (&event.measure, self.policy.errors.objective) {
            self.missed_by(event.arm, window, objective, |bet| bet.ln(0, 1));
        }
    }

    fn move_in_objective(&mut self, event: &Event, from: u64, old_arm: Arm, to: u64) {
        if let (Measure::Errors, Some(objective)) = (&event.measure, self.policy.errors.objective) {
            let bets = objective.missed();
            self.objective[index(old_arm)].take_back(from, bets.iter().map(|bet| bet.ln(0, 1)));
            self.missed_by(event.arm, to, objective, |bet| bet.ln(0, 1));
        }
    }
}

/// The measures of a policy; failed requests are the first.
pub fn measures(policy: &Policy) -> Vec<Measure> {
    let slower = policy.latency.iter().flat_map(|latency| &latency.thresholds_ms).map(|&ms| Measure::Slower(ms));
    let custom = policy.custom.iter().map(|custom| Measure::Custom(custom.name.clone()));
    std::iter::once(Measure::Errors).chain(slower).chain(custom).collect()
}

/// Which way of a measure is bad.
pub(crate) fn direction(policy: &Policy, measure: &Measure) -> Direction {
    match measure {
        Measure::Errors | Measure::Slower(_) => Direction::MoreIsBad,
        Measure::Custom(name) => {
            let custom = policy.custom.iter().find(|custom| custom.name == *name);
            custom.map_or(Direction::MoreIsBad, |custom| custom.direction)
        }
    }
}

fn tolerance(policy: &Policy, measure: &Measure) -> f64 {
    match measure {
        Measure::Errors => policy.errors.tolerance,
        Measure::Slower(_) => policy.latency.as_ref().map_or(1.0, |latency| latency.tolerance),
        Measure::Custom(name) => {
            policy.custom.iter().find(|custom| custom.name == *name).map_or(1.0, |custom| custom.tolerance)
        }
    }
}

fn share(weight: u32) -> f64 {
    f64::from(weight) / f64::from(FULL_WEIGHT)
}

fn index(arm: Arm) -> usize {
    usize::from(arm == Arm::Stable)
}
