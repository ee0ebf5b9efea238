//! Releases without a fault: how often traffic is taken back all the same.

use crate::simulate::{Checks, Noisy, Outage, Random, Rule, Scenario, Slice, Step, Summary, Traffic, run};
use crate::{
    Arm, Batch, Calibration, Counts, EpochAlarms, Errors, Event, Evidence, Exposure, HoldReason, Level, Measure,
    Measured, Policy, Progress, Verdict, fake_arm,
};

fn rule(level: Level) -> Rule {
    Rule::Verdict(Box::new(Policy { level, ..Policy::default() }))
}

/// α and three standard errors of the share of `runs`.
fn allowed(runs: u32) -> f64 {
    let alpha: f64 = 0.01;
    f64::from(runs) * (alpha + 3.0 * (alpha * (1.0 - alpha) / f64::from(runs)).sqrt())
}

/// 2 000 users, a ramp, and a few clients that are broken whatever serves them.
fn with_noise(look_seconds: u64, clients: u32) -> Scenario {
    let step = |minutes: u64, weight| Step { from_seconds: minutes * 60, weight };
    Scenario {
        visitors: Some(2000),
        noisy: Noisy { clients, rate: 1.0, errors: 0.5 },
        schedule: vec![step(0, 50_000), step(10, 250_000), step(20, 500_000)],
        look_seconds,
        seconds: 40 * 60,
        ..Scenario::new(55.0, 0, 0.001, 0.001)
    }
}

/// Visitors of another seed in each run, with this rule.
fn rollbacks(scenario: &Scenario, rule: &Rule, runs: u32) -> Summary {
    run(scenario, rule, 17, runs).unwrap()
}

#[test]
fn ten_thousand_good_releases_are_rolled_back_no_more_often_than_promised() {
    // Without the floor, so that it is the e-values that keep the promise.
    let errors = Errors { least_difference: 0.0, least_units: 0, ..Errors::default() };
    let rule = Rule::Verdict(Box::new(Policy { errors, ..Policy::default() }));
    let schedules = [(2, 2, 1000), (10, 4, 3000), (20, 10, 3000), (60, 10, 3000)];
    let false_alarms = schedules
        .map(|(look_seconds, clients, runs)| rollbacks(&with_noise(look_seconds, clients), &rule, runs).rolled_back);
    let total: u32 = false_alarms.iter().sum();
    assert!(f64::from(total) <= allowed(10_000), "{false_alarms:?}");
    let last = f64::from(false_alarms[3]);
    assert!(last <= allowed(3000), "whatever the looks: {false_alarms:?}");
}

#[test]
fn a_bad_release_among_broken_clients_is_found_by_units_and_often_missed_by_requests() {
    let bad = Scenario { candidate: 0.01, ..with_noise(10, 4) };
    let by_units = rollbacks(&bad, &rule(Level::Unit), 200);
    assert_eq!(by_units.rolled_back, 200);
    assert!((150..=250).contains(&by_units.seconds.median), "{by_units:?}");
    assert!(by_units.units.median <= 10, "{by_units:?}");
    let by_requests = rollbacks(&bad, &rule(Level::Request), 200);
    assert!(by_requests.rolled_back < 180, "{by_requests:?}");
    let good = rollbacks(&with_noise(10, 4), &rule(Level::Request), 200);
    assert!(good.rolled_back > 20, "and they roll back good ones: {good:?}");
}

#[test]
fn independent_requests_keep_the_promise_too() {
    for (rate, weight, base) in [(20.0, 50_000, 0.001), (4.0, 500_000, 0.01), (20.0, 100_000, 0.1)] {
        let scenario = Scenario { seconds: 1800, ..Scenario::new(rate, weight, base, base) };
        let summary = rollbacks(&scenario, &rule(Level::Request), 1000);
        assert!(f64::from(summary.rolled_back) <= allowed(1000), "{rate} {weight} {base}: {summary:?}");
    }
}

#[test]
fn a_common_outage_rolls_nothing_back() {
    let outage = Some(Outage { from_seconds: 600, to_seconds: 720, errors: 0.2 });
    let scenario =
        Scenario { outage, seconds: 1800, visitors: Some(2000), ..Scenario::new(20.0, 100_000, 0.001, 0.001) };
    for level in [Level::Unit, Level::Request] {
        let summary = rollbacks(&scenario, &rule(level), 500);
        assert!(f64::from(summary.rolled_back) <= allowed(500), "{level:?}: {summary:?}");
    }
    let checks = Checks { failures: 2, ..Checks::FL5 };
    assert_eq!(rollbacks(&scenario, &Rule::Checks(checks), 50).rolled_back, 50, "a fixed threshold does");
}

#[test]
fn the_a_a_reports_the_rate_of_false_alarms_and_that_requests_are_not_independent() {
    let mut calibration = Calibration::new(&Policy::default(), 90).unwrap();
    assert_eq!(calibration.running(), EpochAlarms::default(), "there is nothing to judge yet");
    let scenario = Scenario { seconds: 900, ..with_noise(10, 4) };
    let mut running = [0, 0];
    for epoch in 0..120 {
        let mut traffic = Traffic::new(&scenario, Random::new(epoch));
        let mut slice = Slice::default();
        while traffic.next(&mut slice) {
            let number = epoch * 90 + slice.window;
            // All of the traffic is stable's; a twentieth of its units play the candidate.
            let arm = |unit| fake_arm(unit, 50_000);
            let total = slice.counts.plus(slice.counts.exchanged()).candidate.total;
            let fake = slice.bad.iter().filter(|(unit, _)| arm(*unit) == Arm::Candidate).count() as u64;
            let requests = total / 20 + fake;
            let counts = Counts::new((requests, fake), (total - total / 20, slice.bad.len() as u64 - fake));
            let event =
                |&(unit, _): &(u64, Arm)| Event { measure: Measure::Errors, unit, arm: arm(unit), weight: 50_000 };
            let batch = Batch {
                edge: "a".to_owned(),
                sequence: number,
                window: number,
                counts: vec![Measured { measure: Measure::Errors, counts }],
                events: slice.bad.iter().map(event).collect(),
                ..Batch::default()
            };
            calibration.observe(&batch);
        }
        let EpochAlarms { units, requests } = calibration.running();
        running = [(0, units), (1, requests)].map(|(level, alarm)| running[level] + u64::from(alarm == Some(true)));
    }
    let report = calibration.report();
    assert_eq!(report.units.epochs, 119);
    // The last epoch is not over.
    for (running, over) in running.into_iter().zip([report.units.alarms, report.requests.alarms]) {
        assert!((over..=over + 1).contains(&running), "{running} {over}");
    }
    assert!(report.units.alarms <= 3 && report.units.rate.low <= report.alpha, "{report:?}");
    assert!(report.requests_are_unsafe && report.requests.alarms > 10, "{report:?}");
}

#[test]
fn the_guard_of_the_ratio_is_silent_on_chance_and_sees_what_is_broken() {
    let mut random = Random::new(41);
    // Of a thousand analyses with 100 000 units each; and the units until one candidate of ten is lost on the way.
    let mut held = |candidate_share: f64, analyses: u32| {
        let held = |_: &u32| {
            let mut evidence = Evidence::new(Policy::default()).unwrap();
            (0..100).any(|sequence| {
                let (candidate, stable) = (random.poisson(1000.0 * candidate_share), random.poisson(900.0));
                let units = vec![Exposure { weight: 100_000, candidate, stable }];
                evidence.add(&Batch { edge: "a".to_owned(), sequence, window: sequence, units, ..Batch::default() });
                evidence.verdict(&Progress::default()) == Verdict::Hold(HoldReason::SampleRatioMismatch)
            })
        };
        (0..analyses).filter(held).count()
    };
    assert!(held(0.1, 1000) <= 2);
    assert_eq!(held(0.09, 100), 100);
}

/// Share of rollbacks, median minutes, and median errors that people saw.
fn configured(rate: f64, base: f64, candidate: f64, rule: &Rule) -> (f64, f64, u64) {
    let scenario = Scenario { seconds: 1800, ..Scenario::new(rate, 100_000, base, candidate) };
    let summary = rollbacks(&scenario, rule, 200);
    let share = f64::from(summary.rolled_back) / 200.0;
    (share, summary.seconds.median as f64 / 60.0, summary.errors.median)
}

#[test]
fn fixed_thresholds_fire_at_good_releases_or_sleep_through_bad_ones() {
    let [flagger, argo, argo_example] = [Checks::FL5, Checks::AR1, Checks::AR4].map(Rule::Checks);
    let ours = rule(Level::Request);
    // A tenth of 20 or 200 requests per second is 2 or 20 at the candidate.
    let (share, ..) = configured(20.0, 0.005, 0.005, &flagger);
    assert!((0.25..0.45).contains(&share), "published 34 %: {share}");
    assert!(configured(20.0, 0.005, 0.005, &argo).0 > 0.94, "published 98 %");
    assert!(configured(20.0, 0.005, 0.005, &ours).0 < 0.03);
    assert!(configured(200.0, 0.001, 0.01, &argo_example).0 < 0.01, "published 0");
    let (share, minutes, errors) = configured(200.0, 0.001, 0.01, &flagger);
    assert!(
        share > 0.99 && (9.0..11.0).contains(&minutes) && (110..130).contains(&errors),
        "{share} {minutes} {errors}"
    );
    let (share, minutes, errors) = configured(200.0, 0.001, 0.01, &ours);
    assert!(share > 0.99 && minutes < 0.8 && errors <= 10, "{share} {minutes} {errors}");
    // A blow-up: five minutes, one, twenty, and the first look.
    for (rule, minutes) in [(&flagger, 5.0), (&argo, 1.0), (&argo_example, 20.0)] {
        assert!((configured(200.0, 0.001, 0.5, rule).1 - minutes).abs() < 0.5, "{rule:?}");
    }
    assert!(configured(200.0, 0.001, 0.5, &ours).1 < 0.2);
}
