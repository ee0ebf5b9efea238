//! The verdict: what follows from the evidence.
//!
//! Invariant: no data is neither pass nor failure; what a rollback would not mend is no reason for one.

mod sentence;

use serde::{Deserialize, Serialize};

pub use self::sentence::{Names, grouped};
use crate::counts::Tally;
use crate::evidence::{Evidence, Measure, Track, direction};
use crate::policy::{Direction, Level};
use crate::unit::Arm;

/// What to do with a rollout now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "verdict", content = "reason")]
pub enum Verdict {
    /// Nothing to do yet: the step is young, or evidence is still being gathered.
    Continue,
    /// The step may advance.
    PromoteReady,
    /// Stay at this weight; a person should look.
    Hold(HoldReason),
    /// Take traffic back now.
    RollBack(RollBackReason),
}

/// Why a rollout stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HoldReason {
    /// Units do not arrive as configured: routing or reports are broken, and what they say with them.
    SampleRatioMismatch,
    /// Both releases miss the objective: taking traffic back would not help. Page somebody.
    SharedIncident,
    /// There is a suspicion of harm, short of proof.
    Warning(Criterion),
    /// More units failed than can be remembered: later ones did not count.
    EvidenceFull,
    /// The time is up, and there was not a single request.
    NoData,
    /// The time is up, and neither harm nor its absence is shown.
    Inconclusive,
}

/// Why traffic is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RollBackReason {
    /// The candidate is worse than stable.
    Worse(Criterion),
    /// The candidate misses the objective, and stable does not.
    ObjectiveMissed,
}

/// What a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Criterion {
    /// Failed requests.
    Errors,
    /// Slow requests.
    Latency,
    /// A criterion of the app's own.
    Custom(String),
}

/// How far a step is. Times are the caller's; this crate has no clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Seconds since the step began.
    pub elapsed_seconds: u64,
    /// Seconds that it lasts at least.
    pub minimum_seconds: u64,
    /// Seconds after which it is inconclusive. None: never.
    pub maximum_seconds: Option<u64>,
}

/// What is known about one criterion, as numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which one.
    pub criterion: Criterion,
    /// The measure that shows most, and what the tallies are of: for latency one of the thresholds.
    pub measure: Measure,
    /// The e-value of harm.
    pub e_value: f64,
    /// The e-value at which harm is proven: 1/α of this criterion.
    pub bound: f64,
    /// What was seen at the candidate, in units or requests.
    pub candidate: Tally,
    /// What was seen at stable.
    pub stable: Tally,
    /// Whether the tallies are of units.
    pub of_units: bool,
    /// Whether the difference is large enough to matter, and seen by enough units.
    pub noticeable: bool,
}

impl Finding {
    /// Harm is proven, and large enough to matter.
    pub fn is_proven(&self) -> bool {
        self.e_value >= self.bound && self.noticeable
    }
}

impl Evidence {
    /// The verdict now.
    pub fn verdict(&self, progress: &Progress) -> Verdict {
        let policy = self.policy();
        if self.ratio() >= 1.0 / policy.ratio_alpha {
            return Verdict::Hold(HoldReason::SampleRatioMismatch);
        }
        let findings = self.findings();
        if let Some(proven) = findings.iter().find(|finding| finding.is_proven()) {
            return Verdict::RollBack(RollBackReason::Worse(proven.criterion.clone()));
        }
        if self.misses_objective() {
            return if self.is_stable_in_trouble() {
                Verdict::Hold(HoldReason::SharedIncident)
            } else {
                Verdict::RollBack(RollBackReason::ObjectiveMissed)
            };
        }
        if self.is_full() {
            return Verdict::Hold(HoldReason::EvidenceFull);
        }
        let alarming = |finding: &&Finding| finding.e_value >= 1.0 / policy.promotion.warning;
        if let Some(warning) = findings.iter().find(alarming) {
            return Verdict::Hold(HoldReason::Warning(warning.criterion.clone()));
        }
        let is_young = progress.elapsed_seconds < progress.minimum_seconds;
        let is_over = progress.maximum_seconds.is_some_and(|maximum| progress.elapsed_seconds >= maximum);
        match (is_young, self.is_good_enough(), is_over) {
            (false, true, _) => Verdict::PromoteReady,
            (false, false, true) if self.has_nothing() => Verdict::Hold(HoldReason::NoData),
            (false, false, true) => Verdict::Hold(HoldReason::Inconclusive),
            _ => Verdict::Continue,
        }
    }

    /// What is known about each criterion of the policy, failed requests first.
    pub fn findings(&self) -> Vec<Finding> {
        let policy = self.policy();
        let mut findings = vec![self.finding(Criterion::Errors, &Measure::Errors, 1.0 / policy.errors_alpha())];
        let slow = self.tracks().iter().filter(|track| matches!(track.measure(), Measure::Slower(_)));
        let by_evidence = |a: &&Track, b: &&Track| a.e_value(&policy.grid).total_cmp(&b.e_value(&policy.grid));
        if let Some(slowest) = slow.max_by(by_evidence) {
            let finding = self.finding(Criterion::Latency, slowest.measure(), 1.0 / policy.latency_alpha());
            findings.push(Finding { e_value: self.slowness(), ..finding });
        }
        for custom in &policy.custom {
            let measure = Measure::Custom(custom.name.clone());
            findings.push(self.finding(Criterion::Custom(custom.name.clone()), &measure, 1.0 / policy.custom_alpha()));
        }
        findings
    }

    fn finding(&self, criterion: Criterion, measure: &Measure, bound: f64) -> Finding {
        let of_units = self.policy().level == Level::Unit;
        let seen = |arm| {
            self.track(measure).map_or_else(Tally::default, |track| {
                if of_units { track.of_units(arm, self.all_units(arm)) } else { track.counts().of(arm) }
            })
        };
        let (candidate, stable) = (seen(Arm::Candidate), seen(Arm::Stable));
        let noticeable = self.track(measure).is_some_and(|track| self.is_noticeable(track));
        let e_value = self.harm(measure);
        Finding { criterion, measure: measure.clone(), e_value, bound, candidate, stable, of_units, noticeable }
    }

    /// Whether a difference matters: enough units met it, and in one of the ways to see it, it is large enough. Those are
    /// shares of units, of all requests, and of the requests of the newest windows.
    fn is_noticeable(&self, track: &Track) -> bool {
        let direction = direction(self.policy(), track.measure());
        let rule = &self.policy().errors;
        let by_units = self.policy().level == Level::Unit;
        let affected = if by_units { track.bad_units(Arm::Candidate) } else { track.counts().candidate.bad };
        // What is missing has no units.
        if direction == Direction::MoreIsBad && affected < rule.least_units {
            return false;
        }
        let is_large = |candidate: Tally, stable: Tally| {
            let difference = candidate.rate() - stable.rate();
            let difference = if direction == Direction::MoreIsBad { difference } else { -difference };
            difference >= rule.least_difference
        };
        let (recent, recent_units) = track.recently();
        let all_units = [track.bad_units(Arm::Candidate), track.bad_units(Arm::Stable)];
        let ways = [(*track.counts(), all_units), (recent, recent_units)].map(|(counts, [candidate, stable])| {
            let bad = |tally: Tally, units| if by_units { Tally { bad: units, ..tally } } else { tally };
            (bad(counts.candidate, candidate), bad(counts.stable, stable))
        });
        let units = [Arm::Candidate, Arm::Stable].map(|arm| track.of_units(arm, self.all_units(arm)));
        let known = |candidate: Tally, stable: Tally| candidate.total > 0 && stable.total > 0;
        let ways = ways.into_iter().chain(by_units.then_some((units[0], units[1])));
        let mut ways = ways.filter(|&(candidate, stable)| known(candidate, stable)).peekable();
        // Without anything to divide by, the units alone have to do.
        ways.peek().is_none() || ways.any(|(candidate, stable)| is_large(candidate, stable))
    }

    fn misses_objective(&self) -> bool {
        let enough = self.policy().errors.least_units;
        let bad = match self.policy().level {
            Level::Unit => self.track(&Measure::Errors).map_or(0, |track| track.bad_units(Arm::Candidate)),
            Level::Request => self.requests(Arm::Candidate).bad,
        };
        bad >= enough && self.missed(Arm::Candidate) >= 1.0 / self.policy().objective_alpha()
    }

    /// A suspicion is enough here, since it only keeps us from a rollback that would not help.
    fn is_stable_in_trouble(&self) -> bool {
        let above = self.policy().errors.objective.is_some_and(|most| self.requests(Arm::Stable).rate() > most.rate());
        above || self.missed(Arm::Stable) >= 1.0 / self.policy().promotion.warning
    }

    fn is_good_enough(&self) -> bool {
        let promotion = &self.policy().promotion;
        let bound = 1.0 / promotion.alpha;
        (self.policy().errors.objective.is_some() && self.kept() >= bound)
            || (promotion.relative.is_some() && self.not_inferior() >= bound)
    }

    fn has_nothing(&self) -> bool {
        self.requests(Arm::Candidate).total == 0 && self.units(Arm::Candidate) == 0
    }
}
