//! The permanent A/A beside every rollout: stable against itself, in two made-up arms that get the same release.
//!
//! Invariant: what it is judged by is stored in a stratum of its own, in the groups that the real evidence is counted in, and
//! neither sees the other's. A rollout is one epoch; the counters of epochs and false alarms are raised in the transaction in
//! which it ends.

use admin_api::calibration::{Calibration as Shown, CalibrationLevel, CalibrationRate};
use admin_api::edge::{EnvironmentReport, SplitCount};
use rollout::Plan;
use verdict::{
    Arm, Batch, Calibration, CalibrationReport, Counts, EpochAlarms, Event, FalseAlarms, Level, MOST_WINDOWS, Measure,
    Measured, Policy, Tally, fake_arm,
};

use super::Rollout;
use crate::service::{Control, ServiceError};
use crate::store::{Usage, UsageDelta};

/// What its batches are stored under.
pub(crate) const STRATUM: &str = "a/a";
/// How its counters are called.
const KIND: &str = "calibration";
const UNITS: &str = "unit";
const REQUESTS: &str = "request";
const EPOCHS: &str = "epochs";
const ALARMS: &str = "alarms";
/// Both made-up arms get half.
const HALF: u32 = 500_000;

/// No epoch is over before its rollout is. Judged are failures, with all of one α: nothing else is fed, and epochs of plans
/// with different promises would have no rate in common.
pub(super) fn begin(policy: &Policy) -> Result<Calibration, ServiceError> {
    let policy = Policy { alpha: Policy::default().alpha, latency: None, custom: Vec::new(), ..policy.clone() };
    Calibration::new(&policy, MOST_WINDOWS).map_err(|error| ServiceError::Corrupt { detail: error.to_string() })
}

/// What a report says about stable against itself: its units by a hash of their own, its requests by the half of the buckets.
/// `events` are what the report says about the rollout.
pub(super) fn batch(report: &EnvironmentReport, stable: &str, events: &[Event]) -> Option<Batch> {
    let splits = report.releases.iter().filter(|one| one.release == stable && one.split.len() == 2);
    let half = |index: usize| {
        let halves = splits.clone().filter_map(|one| one.split.get(index));
        halves.fold(Tally::default(), |sum, half: &SplitCount| {
            sum.plus(Tally { total: half.requests.max(half.failed), bad: half.failed })
        })
    };
    let counts = Counts { candidate: half(0), stable: half(1) };
    let of_stable = events.iter().filter(|event| event.arm == Arm::Stable && event.measure == Measure::Errors);
    let events = of_stable.map(|event| Event { arm: fake_arm(event.unit, HALF), weight: HALF, ..event.clone() });
    let events: Vec<Event> = events.collect();
    let counts = (counts != Counts::default()).then_some(Measured { measure: Measure::Errors, counts });
    let any = counts.is_some() || !events.is_empty();
    any.then(|| Batch { counts: counts.into_iter().collect(), events, ..Batch::default() })
}

/// By how much a rollout that ends raises the counters of its environment.
pub(super) fn deltas(rollout: &Rollout) -> Vec<UsageDelta> {
    let EpochAlarms { units, requests } = rollout.state.calibration;
    let levels = [(UNITS, units), (REQUESTS, requests)];
    let counters = levels.into_iter().filter_map(|(key, alarmed)| Some((key, alarmed?))).flat_map(|(key, alarmed)| {
        let alarms = alarmed.then_some((key, ALARMS));
        [(key, EPOCHS)].into_iter().chain(alarms)
    });
    let delta = |(key, variant): (&str, &str)| UsageDelta {
        app: rollout.row.app.clone(),
        environment: rollout.row.environment.clone(),
        kind: KIND.to_owned(),
        key: key.to_owned(),
        variant: variant.to_owned(),
        count: 1,
    };
    counters.map(delta).collect()
}

/// What the rollouts that ended have shown.
fn report(usage: &[Usage]) -> CalibrationReport {
    let count = |key: &str, variant: &str| {
        let row = usage.iter().find(|row| row.kind == KIND && row.key == key && row.variant == variant);
        row.map_or(0, |row| u64::try_from(row.count).unwrap_or(0))
    };
    let [units, requests] = [UNITS, REQUESTS].map(|key| Tally { total: count(key, EPOCHS), bad: count(key, ALARMS) });
    CalibrationReport::new(Policy::default().alpha, units, requests)
}

/// Where requests are shown to depend on each other, a rollout is judged by units, whatever its template says.
pub(super) fn overrule(plan: &mut Plan, usage: &[Usage]) {
    let CalibrationReport { alpha, requests, requests_are_unsafe, .. } = report(usage);
    if !requests_are_unsafe || plan.template.verdict.level != Level::Request {
        return;
    }
    plan.template.verdict.level = Level::Unit;
    let FalseAlarms { epochs, alarms, .. } = requests;
    plan.overruled = Some(format!(
        "judged by units, not by requests: stable against itself raised {alarms} false alarms in {epochs} rollouts by \
         requests, more than the {} % that are promised",
        alpha * 100.0
    ));
}

impl Control {
    /// How often the verdict has been wrong in an environment, as far as that is known.
    pub async fn calibration(&self, app: &str, environment: &str) -> Result<Shown, ServiceError> {
        let cached = self.existing(app).await?;
        if cached.app.environment(environment).is_none() {
            return Err(ServiceError::not_found("environment", environment));
        }
        let usage = self.store.read().await?.usage(app, environment).await?;
        let CalibrationReport { alpha, units, requests, requests_are_unsafe } = report(&usage);
        let level = |FalseAlarms { epochs, alarms, rate }| {
            let rate = CalibrationRate { low: rate.low, high: rate.high };
            CalibrationLevel { epochs, alarms, rate }
        };
        Ok(Shown { alpha, units: level(units), requests: level(requests), requests_are_unsafe })
    }
}

#[cfg(test)]
mod tests {
    use admin_api::edge::ReleaseReport;
    use rollout::Template;

    use super::*;

    fn usage(key: &str, variant: &str, count: i64) -> Usage {
        Usage { kind: KIND.into(), key: key.into(), variant: variant.into(), count, last_at: 0 }
    }

    #[test]
    fn a_report_is_split_by_units_and_by_halves_of_stable_alone() {
        let half = |requests, failed| SplitCount { requests, failed };
        let release = |name: &str, split| ReleaseReport { release: name.into(), split, ..ReleaseReport::default() };
        let releases =
            vec![release("web-1", vec![half(90, 4), half(80, 1)]), release("web-2", vec![half(10, 9), half(10, 9)])];
        let report = EnvironmentReport { releases, ..EnvironmentReport::default() };
        let event = |unit, measure, arm| Event { measure, unit, arm, weight: 100_000 };
        let mut events: Vec<Event> = (0..1000).map(|unit| event(unit, Measure::Errors, Arm::Stable)).collect();
        events.push(event(7, Measure::Slower(250), Arm::Stable));
        events.push(event(8, Measure::Errors, Arm::Candidate));
        let fake = batch(&report, "web-1", &events).expect("it says something");
        let tally = |total, bad| Tally { total, bad };
        assert_eq!(fake.counts[0].counts, Counts { candidate: tally(90, 4), stable: tally(80, 1) });
        assert_eq!(fake.events.len(), 1000);
        let candidates = fake.events.iter().filter(|event| event.arm == Arm::Candidate).count();
        assert!((430..570).contains(&candidates), "{candidates}");
        assert!(fake.events.iter().all(|event| event.weight == HALF));
        assert_eq!(batch(&report, "web-0", &[]), None, "nothing of it");
    }

    #[test]
    fn a_plan_is_overruled_where_requests_are_shown_to_depend_on_each_other() {
        let mut template = Template::built_in("canary").expect("it is built in");
        template.verdict.level = Level::Request;
        let planned = |usage: &[Usage]| {
            let mut plan = Plan::new("web-2", "web-1", template.clone());
            overrule(&mut plan, usage);
            (plan.template.verdict.level, plan.overruled)
        };
        assert_eq!(planned(&[]), (Level::Request, None));
        assert_eq!(planned(&[usage(REQUESTS, EPOCHS, 40)]), (Level::Request, None));
        let unsafe_ones = [usage(REQUESTS, EPOCHS, 4), usage(REQUESTS, ALARMS, 3), usage(UNITS, EPOCHS, 4)];
        let (level, why) = planned(&unsafe_ones);
        let why = why.expect("it says why");
        assert_eq!(level, Level::Unit);
        assert!(why.contains("3 false alarms in 4 rollouts") && why.contains("the 1 %"), "{why}");
    }
}
