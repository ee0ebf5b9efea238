//! Reports come twice, late, in any order, and from everywhere.

use proptest::prelude::*;

use crate::{
    Added, Arm, Batch, Counts, Custom, Direction, Event, Evidence, Exposed, Exposure, Latency, Level, MOST_WINDOWS,
    Measure, Measured, Policy, Promotion, Refusal,
};

fn policy(level: Level) -> Policy {
    let custom = Custom { name: "orders".to_owned(), direction: Direction::FewerIsBad, tolerance: 1.0 };
    let promotion = Promotion { relative: Some(2.0), ..Promotion::default() };
    let latency = Some(Latency { thresholds_ms: vec![500, 2000], tolerance: 1.25 });
    Policy { level, latency, custom: vec![custom], promotion, ..Policy::default() }
}

fn measure() -> impl Strategy<Value = Measure> {
    prop_oneof![
        Just(Measure::Errors),
        Just(Measure::Slower(500)),
        Just(Measure::Slower(2000)),
        Just(Measure::Custom("orders".to_owned())),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    // Few units, so that many meet faults in several batches, and weights with an arm that does not follow from them.
    let weight = prop_oneof![Just(0_u32), Just(50_000), Just(250_000), Just(1_000_000)];
    let arm = prop_oneof![Just(Arm::Candidate), Just(Arm::Stable)];
    (measure(), 0_u64..12, arm, weight).prop_map(|(measure, unit, arm, weight)| Event { measure, unit, arm, weight })
}

fn measured() -> impl Strategy<Value = Measured> {
    (measure(), (0_u64..100, 0_u64..900), (0_u64..=100, 0_u64..=100)).prop_map(|(measure, totals, percent)| {
        let tally = |total: u64, percent: u64| (total, total * percent / 100);
        let counts = Counts::new(tally(totals.0, percent.0), tally(totals.1, percent.1));
        Measured { measure, counts }
    })
}

fn exposed() -> impl Strategy<Value = Exposed> {
    let arm = prop_oneof![Just(Arm::Candidate), Just(Arm::Stable)];
    (0_u64..12, arm, 0_u32..1_000_000).prop_map(|(unit, arm, weight)| Exposed { unit, arm, weight, stands_for: 16 })
}

/// Batches of three edges, in the order of their numbers.
fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let content = (
        0_u64..60,
        prop::collection::vec(measured(), 0..3),
        prop::collection::vec(event(), 0..4),
        (0_u32..1_000_000, 0_u64..20, 0_u64..20),
        prop::collection::vec(exposed(), 0..4),
    );
    prop::collection::vec(content, 1..24).prop_map(|contents| {
        let batch = |(number, (window, counts, events, (weight, candidate, stable), exposed))| Batch {
            edge: format!("edge-{}", number % 3),
            sequence: number / 3,
            window,
            units: vec![Exposure { weight, candidate, stable }],
            exposed,
            counts,
            events,
        };
        (0_u64..).zip(contents).map(batch).collect()
    })
}

fn sum(level: Level, batches: impl IntoIterator<Item = Batch>) -> Evidence {
    let mut evidence = Evidence::new(policy(level)).unwrap();
    for batch in batches {
        assert_ne!(evidence.add(&batch), Added::Refused(Refusal::UnknownMeasure));
    }
    evidence
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn neither_repetition_nor_order_nor_lateness_changes_a_bit(
        batches in batches(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 48),
    ) {
        for level in [Level::Unit, Level::Request] {
            let straight = sum(level, batches.clone());
            // Each comes at least once, and many come again, in some order.
            let again = order.iter().map(|index| index.get(&batches).clone());
            let shuffled = sum(level, again.chain(batches.iter().rev().cloned()));
            prop_assert_eq!(&shuffled, &straight);
            for evidence in [&straight, &shuffled] {
                let text = serde_json::to_string(evidence).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Evidence>(&text).unwrap(), evidence);
            }
        }
    }

    #[test]
    fn a_batch_with_an_empty_arm_is_no_evidence_of_a_difference(total in 0_u64..1000, bad in 0_u64..1000) {
        let mut evidence = sum(Level::Request, [batch(0, Counts::new((100, 5), (900, 5)))]);
        let before = [Measure::Errors, Measure::Slower(2000)].map(|measure| evidence.harm(&measure));
        let tally = (total, bad.min(total));
        for (sequence, counts) in [(1, Counts::new(tally, (0, 0))), (2, Counts::new((0, 0), tally))] {
            prop_assert_eq!(evidence.add(&batch(sequence, counts)), Added::Counted);
        }
        let after = [Measure::Errors, Measure::Slower(2000)].map(|measure| evidence.harm(&measure));
        prop_assert_eq!(after.map(f64::to_bits), before.map(f64::to_bits));
    }
}

fn batch(sequence: u64, counts: Counts) -> Batch {
    let counts = vec![Measured { measure: Measure::Errors, counts }];
    Batch { edge: "a".to_owned(), sequence, counts, ..Batch::default() }
}

fn failure(unit: u64, weight: u32) -> Event {
    Event { measure: Measure::Errors, unit, arm: Arm::Candidate, weight }
}

#[test]
fn a_duplicate_is_told_and_a_batch_that_cannot_be_is_refused() {
    let mut evidence = Evidence::new(policy(Level::Unit)).unwrap();
    let good = batch(0, Counts::new((10, 1), (90, 1)));
    assert_eq!([evidence.add(&good), evidence.add(&good)], [Added::Counted, Added::Duplicate]);
    let before = evidence.clone();
    let counts = |counts| Batch { sequence: 1, ..batch(1, counts) };
    let unknown = Event { measure: Measure::Slower(7), ..failure(1, 0) };
    for (refused, why) in [
        (counts(Counts::new((1, 2), (0, 0))), Refusal::Counts),
        (counts(Counts::new((u64::MAX, 2), (0, 0))), Refusal::Counts),
        (Batch { events: vec![unknown], ..good.clone() }, Refusal::UnknownMeasure),
        (Batch { events: vec![failure(1, 1_000_001)], ..good.clone() }, Refusal::Weight),
        (Batch { edge: "e".repeat(257), ..good.clone() }, Refusal::EdgeName),
        (Batch { window: MOST_WINDOWS, ..good.clone() }, Refusal::Window),
    ] {
        assert_eq!(evidence.add(&refused), Added::Refused(why));
    }
    assert_eq!(evidence, before);
}

#[test]
fn a_batch_after_the_horizon_still_counts() {
    let mut evidence = Evidence::new(Policy { horizon: 4, ..policy(Level::Unit) }).unwrap();
    evidence.add(&Batch { window: 1000, ..batch(0, Counts::default()) });
    let events = (0..12).map(|unit| failure(unit, 50_000)).collect();
    let late = Batch { sequence: 1, window: 3, events, ..batch(1, Counts::default()) };
    assert_eq!(evidence.add(&late), Added::Counted);
    assert!(evidence.harm(&Measure::Errors) > 100.0);
}

#[test]
fn the_weight_may_change_at_any_time() {
    let events = [(1, 50_000), (2, 250_000), (3, 250_000)].map(|(unit, weight)| failure(unit, weight));
    let stable = [4, 5, 6].map(|unit| Event { arm: Arm::Stable, ..failure(unit, 250_000) });
    let content = Batch { events: [events, stable].concat(), ..batch(0, Counts::default()) };
    let evidence = sum(Level::Unit, [content]);
    // One window, so half of the stake is in the plain product, of which the e-value is published.
    let expected = 0.5 * 2.170_256 + 0.5;
    assert!((evidence.harm(&Measure::Errors) / expected - 1.0).abs() < 1e-6, "{}", evidence.harm(&Measure::Errors));
}

#[test]
fn memory_is_bounded_and_fullness_is_told() {
    let mut evidence = Evidence::new(Policy { most_units: 3, ..policy(Level::Unit) }).unwrap();
    let events = |units: std::ops::Range<u64>| units.map(|unit| failure(unit, 500_000)).collect::<Vec<_>>();
    evidence.add(&Batch { events: events(0..3), ..batch(0, Counts::default()) });
    assert!(!evidence.is_full());
    let harm = evidence.harm(&Measure::Errors);
    evidence.add(&Batch { events: events(0..9), ..batch(1, Counts::default()) });
    assert!(evidence.is_full());
    assert_eq!(evidence.harm(&Measure::Errors).to_bits(), harm.to_bits());
}

#[test]
fn a_unit_that_several_edges_see_is_one_unit() {
    let seen = |edge: &str, unit, arm| {
        let exposed = vec![Exposed { unit, arm, weight: 50_000, stands_for: 16 }];
        Batch { edge: edge.to_owned(), exposed, ..Batch::default() }
    };
    let mut evidence = Evidence::new(policy(Level::Unit)).unwrap();
    for edge in ["a", "b", "c"] {
        evidence.add(&seen(edge, 7, Arm::Candidate));
    }
    assert_eq!((evidence.units(Arm::Candidate), evidence.units(Arm::Stable)), (16, 0));
    // Forty units of which all came to the candidate are no accident at 5 %.
    for unit in 0..40 {
        evidence.add(&seen(&format!("d{unit}"), 100 + unit, Arm::Candidate));
    }
    assert!(evidence.ratio() > 1e4, "{}", evidence.ratio());
    let wrong = Exposed { unit: 1, arm: Arm::Stable, weight: 0, stands_for: 0 };
    let batch = Batch { edge: "e".to_owned(), exposed: vec![wrong], ..Batch::default() };
    assert_eq!(evidence.add(&batch), Added::Refused(Refusal::Counts));
}
