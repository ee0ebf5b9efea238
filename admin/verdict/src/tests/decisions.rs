//! From evidence to a verdict and its sentence.

use crate::{
    Arm, Batch, Counts, Criterion, Custom, Direction, Errors, Event, Evidence, Exposure, HoldReason, Latency, Level,
    Measure, Measured, Names, Policy, Progress, Promotion, RollBackReason, Verdict,
};

const NAMES: Names<'_> = Names { candidate: "green", stable: "blue" };
const RUNNING: Progress = Progress { elapsed_seconds: 300, minimum_seconds: 120, maximum_seconds: Some(3600) };

fn nothing() -> Batch {
    Batch { edge: "a".to_owned(), ..Batch::default() }
}

/// Evidence of one batch, and what follows from it.
fn judged(policy: Policy, batch: &Batch, progress: Progress) -> (Verdict, String) {
    let mut evidence = Evidence::new(policy).unwrap();
    evidence.add(batch);
    let verdict = evidence.verdict(&progress);
    let sentence = evidence.sentence(&verdict, &progress, NAMES);
    (verdict, sentence)
}

fn requests(policy: Policy, counts: Counts, progress: Progress) -> (Verdict, String) {
    let counts = vec![Measured { measure: Measure::Errors, counts }];
    judged(Policy { level: Level::Request, ..policy }, &Batch { counts, ..nothing() }, progress)
}

fn events(measure: &Measure, candidate: u64, stable: u64, weight: u32) -> Vec<Event> {
    let event = |unit, arm| Event { measure: measure.clone(), unit, arm, weight };
    let there = (0..candidate).map(|unit| event(unit, Arm::Candidate));
    there.chain((0..stable).map(|unit| event(1000 + unit, Arm::Stable))).collect()
}

fn errors(objective: Option<f64>) -> Errors {
    Errors { objective: objective.map(|rate| crate::Objective::new(rate).unwrap()), ..Errors::default() }
}

#[test]
fn a_worse_candidate_is_rolled_back_with_its_numbers() {
    let units = vec![Exposure { weight: 50_000, candidate: 240, stable: 4560 }];
    let events = events(&Measure::Errors, 12, 3, 50_000);
    let (verdict, sentence) = judged(Policy::default(), &Batch { units, events, ..nothing() }, RUNNING);
    assert_eq!(verdict, Verdict::RollBack(RollBackReason::Worse(Criterion::Errors)));
    assert_eq!(sentence, "5xx: 12 of 240 units at green against 3 of 4 560 at blue, e-value 10^10 over the bound 125");
}

#[test]
fn a_difference_that_does_not_matter_is_a_warning() {
    // Significant beyond doubt, and less than a tenth of a percentage point.
    let counts = Counts::new((500_000, 400), (500_000, 100));
    let (verdict, sentence) = requests(Policy::default(), counts, RUNNING);
    assert_eq!(verdict, Verdict::Hold(HoldReason::Warning(Criterion::Errors)));
    assert!(sentence.ends_with("over the bound 125, but too small or seen by too few"), "{sentence}");
    let few = Counts::new((20, 2), (100_000, 0));
    let (verdict, _) = requests(Policy::default(), few, RUNNING);
    assert_eq!(verdict, Verdict::Hold(HoldReason::Warning(Criterion::Errors)), "two are no three");
}

#[test]
fn a_suspicion_holds_the_step() {
    let (verdict, sentence) = requests(Policy::default(), Counts::new((100, 5), (900, 5)), RUNNING);
    assert_eq!(verdict, Verdict::Hold(HoldReason::Warning(Criterion::Errors)));
    assert_eq!(
        sentence,
        "5xx: 5 of 100 requests at green against 5 of 900 at blue, e-value 25 under the bound 125, but suspicious"
    );
}

#[test]
fn a_missed_objective_is_rolled_back_unless_stable_misses_it_too() {
    // At full weight there is nothing to compare with.
    let (verdict, sentence) = requests(Policy::default(), Counts::new((1000, 60), (0, 0)), RUNNING);
    assert_eq!(verdict, Verdict::RollBack(RollBackReason::ObjectiveMissed));
    assert!(sentence.starts_with("5xx: 60 of 1 000 requests at green, more than the objective of 1 %"), "{sentence}");
    assert!(sentence.ends_with("over the bound 500; there is nothing to compare with"), "{sentence}");
    let (verdict, sentence) = requests(Policy::default(), Counts::new((1000, 200), (9000, 1800)), RUNNING);
    assert_eq!(verdict, Verdict::Hold(HoldReason::SharedIncident));
    assert!(sentence.ends_with("blue with 1 800 of 9 000 is in trouble too: taking traffic back would not help"));
    let none = Policy { errors: errors(None), promotion: relative(), ..Policy::default() };
    assert_eq!(requests(none, Counts::new((1000, 60), (0, 0)), RUNNING).0, Verdict::Continue);
}

fn relative() -> Promotion {
    Promotion { relative: Some(2.0), ..Promotion::default() }
}

#[test]
fn units_that_do_not_arrive_as_configured_hold_everything() {
    let events = events(&Measure::Errors, 12, 3, 50_000);
    let units = |candidate, stable| vec![Exposure { weight: 50_000, candidate, stable }];
    let batch = Batch { units: units(1000, 9000), events, ..nothing() };
    let (verdict, sentence) = judged(Policy::default(), &batch, RUNNING);
    assert_eq!(verdict, Verdict::Hold(HoldReason::SampleRatioMismatch));
    assert!(sentence.starts_with("1 000 of 10 000 units at green"), "{sentence}");
    for (candidate, stable) in [(500, 9500), (530, 9470), (470, 9530)] {
        let (verdict, _) =
            judged(Policy::default(), &Batch { units: units(candidate, stable), ..batch.clone() }, RUNNING);
        assert!(matches!(verdict, Verdict::RollBack(_)), "{candidate} of {stable} is chance");
    }
}

#[test]
fn a_step_advances_after_its_time_and_with_evidence() {
    let good = Counts::new((800, 0), (9000, 9));
    let young = Progress { elapsed_seconds: 60, ..RUNNING };
    let (verdict, sentence) = requests(Policy::default(), good, young);
    assert_eq!(verdict, Verdict::Continue);
    assert_eq!(sentence, "5xx: 0 of 800 requests at green, evidence that it is good 877 of 20; 60 s of 2 min are over");
    assert_eq!(requests(Policy::default(), good, RUNNING).0, Verdict::PromoteReady);
    let little = Counts::new((80, 0), (9000, 9));
    let (verdict, sentence) = requests(Policy::default(), little, RUNNING);
    assert_eq!(verdict, Verdict::Continue);
    assert!(sentence.ends_with("not enough to advance yet"), "{sentence}");
}

#[test]
fn evidence_of_promotion_is_of_this_step() {
    let mut evidence = Evidence::new(Policy { level: Level::Request, ..Policy::default() }).unwrap();
    let counts = vec![Measured { measure: Measure::Errors, counts: Counts::new((800, 0), (9000, 9)) }];
    evidence.add(&Batch { counts, ..nothing() });
    assert_eq!(evidence.verdict(&RUNNING), Verdict::PromoteReady);
    evidence.begin_step();
    assert_eq!(evidence.verdict(&RUNNING), Verdict::Continue);
}

#[test]
fn a_critical_app_may_ask_for_the_comparison_instead() {
    let policy = Policy { errors: errors(None), promotion: relative(), ..Policy::default() };
    let enough = Counts::new((20_000, 20), (180_000, 200));
    assert_eq!(requests(policy.clone(), enough, RUNNING).0, Verdict::PromoteReady);
    assert_eq!(requests(policy, Counts::new((2000, 2), (18_000, 20)), RUNNING).0, Verdict::Continue);
}

#[test]
fn no_data_is_neither_pass_nor_failure() {
    let over = Progress { elapsed_seconds: 3600, ..RUNNING };
    let (verdict, sentence) = judged(Policy::default(), &nothing(), over);
    assert_eq!(verdict, Verdict::Hold(HoldReason::NoData));
    assert_eq!(sentence, "not a single request at green in 60 min");
    assert_eq!(judged(Policy::default(), &nothing(), RUNNING).0, Verdict::Continue);
    let (verdict, sentence) = requests(Policy::default(), Counts::new((80, 0), (9000, 9)), over);
    assert_eq!(verdict, Verdict::Hold(HoldReason::Inconclusive));
    assert!(sentence.ends_with("after 60 min: neither good nor bad is shown"), "{sentence}");
}

#[test]
fn a_criterion_of_ones_own_knows_which_way_is_bad() {
    let rule = |direction| {
        let custom = Custom { name: "orders".to_owned(), direction, tolerance: 1.0 };
        Policy { custom: vec![custom], ..Policy::default() }
    };
    let measure = Measure::Custom("orders".to_owned());
    let batch = |candidate, stable| Batch {
        units: vec![Exposure { weight: 500_000, candidate: 1000, stable: 1000 }],
        events: events(&measure, candidate, stable, 500_000),
        ..nothing()
    };
    let worse = Verdict::RollBack(RollBackReason::Worse(Criterion::Custom("orders".to_owned())));
    let verdict = |direction, batch: Batch| judged(rule(direction), &batch, RUNNING).0;
    assert_eq!(verdict(Direction::FewerIsBad, batch(20, 80)), worse);
    assert_eq!(verdict(Direction::FewerIsBad, batch(80, 20)), Verdict::Continue);
    assert_eq!(verdict(Direction::MoreIsBad, batch(80, 20)), worse);
    assert_eq!(verdict(Direction::MoreIsBad, batch(20, 80)), Verdict::Continue);
    let (_, sentence) = judged(rule(Direction::FewerIsBad), &batch(20, 80), RUNNING);
    assert!(sentence.starts_with("orders: 20 of 1 000 units at green against 80 of 1 000 at blue"), "{sentence}");
}

#[test]
fn latency_is_judged_by_all_thresholds_and_told_by_the_worst() {
    let policy =
        Policy { latency: Some(Latency { thresholds_ms: vec![500, 2000], tolerance: 1.0 }), ..Policy::default() };
    let units = vec![Exposure { weight: 100_000, candidate: 1000, stable: 9000 }];
    let mut slow = events(&Measure::Slower(500), 20, 180, 100_000);
    slow.extend(events(&Measure::Slower(2000), 15, 10, 100_000));
    let (verdict, sentence) = judged(policy, &Batch { units, events: slow, ..nothing() }, RUNNING);
    assert_eq!(verdict, Verdict::RollBack(RollBackReason::Worse(Criterion::Latency)));
    assert!(sentence.starts_with("slower than 2 000 ms: 15 of 1 000 units at green"), "{sentence}");
    assert!(sentence.ends_with("over the bound 267"), "{sentence}");
}

#[test]
fn full_evidence_is_told() {
    let events = events(&Measure::Errors, 1, 40, 500_000);
    let policy = Policy { most_units: 10, ..Policy::default() };
    assert_eq!(judged(policy, &Batch { events, ..nothing() }, RUNNING).0, Verdict::Hold(HoldReason::EvidenceFull));
}

#[test]
fn a_verdict_is_plain_json() {
    let json = |verdict: &Verdict| serde_json::to_string(verdict).unwrap();
    assert_eq!(json(&Verdict::Continue), r#"{"verdict":"continue"}"#);
    let worse = Verdict::RollBack(RollBackReason::Worse(Criterion::Custom("orders".to_owned())));
    assert_eq!(json(&worse), r#"{"verdict":"rollBack","reason":{"worse":{"custom":"orders"}}}"#);
    assert_eq!(serde_json::from_str::<Verdict>(&json(&worse)).unwrap(), worse);
}
