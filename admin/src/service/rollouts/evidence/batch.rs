//! What one report says about a rollout, in the words of the analysis. Pure: no store, no clock.
//!
//! Invariant: requests whose route was forced compare nothing, and what the plan's policy does not ask for is left out.

use crate::model::rollout::CLIENT_ERRORS;
use admin_api::edge::{EXPOSED_OF, EnvironmentReport, Failure, FirstBad, LATENCY_BOUNDS_US, ReleaseReport};
use rollout::{Phase, Plan};
use verdict::{Arm, Batch, Counts, Event, Exposed, FULL_WEIGHT, Measure, Measured, Tally, measures};

/// A rollout, as far as its reports are concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// What it means to do.
    pub(super) plan: &'a Plan,
    /// Where it is.
    pub(super) phase: &'a Phase,
    /// Whether the report begins after the candidate got its share.
    pub(super) is_fresh: bool,
}

impl Context<'_> {
    /// Everybody is at the candidate, and nothing is split any more.
    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::KeepingWarm { .. })
    }

    fn arm(&self, release: &str) -> Option<Arm> {
        match release {
            _ if release == self.plan.release => Some(Arm::Candidate),
            _ if release == self.plan.stable => Some(Arm::Stable),
            _ => None,
        }
    }

    /// The batch; `None` when it says nothing.
    pub(super) fn batch(&self, report: &EnvironmentReport) -> Option<Batch> {
        let mut counts: Vec<Measured> = measures(&self.plan.template.verdict)
            .into_iter()
            .filter_map(|measure| {
                let counts = self.counts(report, &measure)?;
                Some(Measured { measure, counts })
            })
            .collect();
        counts.retain(|measured| measured.counts.candidate.total + measured.counts.stable.total > 0);
        let events: Vec<Event> = report.first_bad.iter().flat_map(|bad| self.events(bad)).collect();
        let exposed: Vec<Exposed> = report.exposed.iter().filter_map(exposed).collect();
        let any = !(counts.is_empty() && events.is_empty() && exposed.is_empty());
        any.then(|| Batch { counts, events, exposed, ..Batch::default() })
    }

    /// The counters of a measure; `None` when no edge counts it.
    fn counts(&self, report: &EnvironmentReport, measure: &Measure) -> Option<Counts> {
        let tally = |one: &ReleaseReport| match measure {
            Measure::Errors => Some(self.errors(one)),
            Measure::Slower(ms) => Some(slower(one, *ms)),
            Measure::Custom(name) if name == CLIENT_ERRORS => Some(tally(one.requests, one.client_errors)),
            Measure::Custom(_) => None,
        };
        let of = |release: &str| {
            let reports = report.releases.iter().filter(|one| one.release == release);
            reports.filter_map(tally).fold(Tally::default(), Tally::plus)
        };
        tally(&ReleaseReport::default())?;
        let candidate = of(&self.plan.release);
        // A report that reaches over a change of weight: its requests were not shared out alike, so the releases cannot be
        // compared by it. How the candidate fared by itself counts, because a breaker may have closed by the next report.
        let stable = if self.is_fresh { of(&self.plan.stable) } else { Tally::default() };
        Some(Counts { candidate, stable })
    }

    /// Failed requests among those that the hash sent here; among all, where an edge does not tell them apart, and where
    /// nothing is split any more.
    fn errors(&self, one: &ReleaseReport) -> Tally {
        if one.split.is_empty() || self.is_over() {
            return tally(one.requests, one.server_errors.saturating_add(one.transport_errors));
        }
        one.split.iter().fold(Tally::default(), |sum, half| sum.plus(tally(half.requests, half.failed)))
    }

    fn events(&self, bad: &FirstBad) -> Vec<Event> {
        let Some((arm, unit)) = self.arm(&bad.release).zip(unit(&bad.unit)) else { return Vec::new() };
        let is_candidate = arm == Arm::Candidate;
        let weight = match (self.is_over(), bad.is_candidate == is_candidate) {
            (true, _) if is_candidate => FULL_WEIGHT,
            (false, true) => bad.weight,
            // Of another time, when the releases were in other slots.
            _ => return Vec::new(),
        };
        let policy = &self.plan.template.verdict;
        let asked = match bad.failure {
            Failure::Status | Failure::Transport | Failure::Timeout => vec![Measure::Errors],
            Failure::ClientError => {
                let is_asked = policy.custom.iter().any(|custom| custom.name == CLIENT_ERRORS);
                is_asked.then(|| Measure::Custom(CLIENT_ERRORS.to_owned())).into_iter().collect()
            }
            Failure::Slow => {
                let slower_than = bad.slower_than_ms.unwrap_or(0);
                let thresholds = policy.latency.iter().flat_map(|latency| &latency.thresholds_ms);
                thresholds.filter(|ms| **ms <= slower_than).map(|ms| Measure::Slower(*ms)).collect()
            }
        };
        asked.into_iter().map(|measure| Event { measure, unit, arm, weight }).collect()
    }
}

fn exposed(of: &admin_api::edge::Exposed) -> Option<Exposed> {
    let arm = if of.is_candidate { Arm::Candidate } else { Arm::Stable };
    Some(Exposed { unit: unit(&of.unit)?, arm, weight: of.weight, stands_for: EXPOSED_OF })
}

fn unit(name: &str) -> Option<u64> {
    u64::from_str_radix(name, 16).ok()
}

fn tally(total: u64, bad: u64) -> Tally {
    Tally { total: total.max(bad), bad }
}

/// Answers that took longer than a threshold, which is one of the bounds.
fn slower(one: &ReleaseReport, threshold_ms: u32) -> Tally {
    let total = one.latency.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let up_to = LATENCY_BOUNDS_US.partition_point(|bound| *bound <= u64::from(threshold_ms) * 1000);
    let bad = one.latency.iter().skip(up_to).fold(0_u64, |sum, count| sum.saturating_add(*count));
    tally(total, bad)
}

#[cfg(test)]
mod tests {
    use admin_api::edge::SplitCount;
    use rollout::{By, Event as Happened, State, Template};
    use verdict::{Custom, Direction, Latency};

    use super::*;

    fn plan() -> Plan {
        let mut template = Template::built_in("canary").expect("it is built in");
        template.verdict.latency = Some(Latency { thresholds_ms: vec![250, 2000], tolerance: 1.0 });
        let custom = Custom { name: CLIENT_ERRORS.into(), direction: Direction::MoreIsBad, tolerance: 1.0 };
        template.verdict.custom = vec![custom];
        Plan::new("web-2", "web-1", template)
    }

    fn started(plan: &Plan) -> State {
        let by = By::Person { id: "1".into(), name: "ada".into() };
        State::new(0).on(Happened::Start { by, machine_rollbacks: 0, accepted: false }, 0, plan).expect("it starts").0
    }

    fn bad(release: &str, is_candidate: bool, failure: Failure, slower_than_ms: Option<u32>) -> FirstBad {
        let (unit, weight) = ("00000000000000ff".to_owned(), 50_000);
        FirstBad { unit, release: release.into(), is_candidate, weight, failure, slower_than_ms }
    }

    fn batch(report: &EnvironmentReport, is_fresh: bool) -> Option<Batch> {
        let plan = plan();
        let phase = started(&plan).phase;
        Context { plan: &plan, phase: &phase, is_fresh }.batch(report)
    }

    #[test]
    fn what_the_hash_sent_to_a_release_is_counted_and_what_was_forced_is_not() {
        let mut latency = vec![0; LATENCY_BOUNDS_US.len() + 1];
        (latency[0], latency[8], latency[9], latency[17]) = (90, 5, 4, 1);
        let release = |release: &str, split: Vec<SplitCount>| ReleaseReport {
            release: release.into(),
            requests: 100,
            client_errors: 7,
            server_errors: 40,
            transport_errors: 2,
            latency: latency.clone(),
            split,
            ..ReleaseReport::default()
        };
        let half = |requests, failed| SplitCount { requests, failed };
        let releases = vec![release("web-2", vec![half(30, 1), half(20, 2)]), release("web-1", Vec::new())];
        let report = EnvironmentReport { releases, ..EnvironmentReport::default() };
        let counted = batch(&report, true).expect("it says something");
        let of = |measure: &Measure| counted.counts.iter().find(|one| one.measure == *measure).expect("counted").counts;
        let tally = |total, bad| Tally { total, bad };
        assert_eq!(of(&Measure::Errors), Counts { candidate: tally(50, 3), stable: tally(100, 42) });
        assert_eq!(of(&Measure::Slower(250)).candidate, tally(100, 5));
        assert_eq!(of(&Measure::Slower(2000)).candidate, tally(100, 1));
        assert_eq!(of(&Measure::Custom(CLIENT_ERRORS.into())).candidate, tally(100, 7));
        let late = batch(&report, false).expect("the candidate's count");
        assert!(late.counts.iter().all(|one| one.counts.stable == Tally::default()));
    }

    #[test]
    fn events_are_of_the_measures_that_the_policy_has_and_of_the_arms_of_the_rollout() {
        let first_bad = vec![
            bad("web-2", true, Failure::Timeout, None),
            bad("web-1", false, Failure::ClientError, None),
            bad("web-2", true, Failure::Slow, Some(1000)),
            bad("web-1", true, Failure::Status, None),
            bad("web-0", false, Failure::Status, None),
        ];
        let report = EnvironmentReport { first_bad, ..EnvironmentReport::default() };
        let counted = batch(&report, true).expect("it says something");
        let event = |measure, arm| Event { measure, unit: 255, arm, weight: 50_000 };
        let expected = [
            event(Measure::Errors, Arm::Candidate),
            event(Measure::Custom(CLIENT_ERRORS.into()), Arm::Stable),
            event(Measure::Slower(250), Arm::Candidate),
        ];
        assert_eq!(counted.events, expected);
        assert_eq!(batch(&EnvironmentReport::default(), true), None);
    }

    #[test]
    fn once_everybody_is_at_the_candidate_its_events_are_its_own() {
        let plan = plan();
        let phase = Phase::KeepingWarm { since: 0 };
        let first_bad = vec![bad("web-2", false, Failure::Status, None), bad("web-1", true, Failure::Status, None)];
        let report = EnvironmentReport { first_bad, ..EnvironmentReport::default() };
        let batch = Context { plan: &plan, phase: &phase, is_fresh: true }.batch(&report).expect("one of them");
        let event = Event { measure: Measure::Errors, unit: 255, arm: Arm::Candidate, weight: FULL_WEIGHT };
        assert_eq!(batch.events, [event]);
    }
}
