//! Single decisions.

use super::*;
use crate::{End, Inconclusive, Phase, Place, Position, Superseding};

#[test]
fn a_good_candidate_is_promoted_and_a_bad_one_is_not() {
    let (mut ride, now) = Ride::baking(canary());
    assert_eq!(now, 20 * MINUTE);
    let ride_bad = Ride { plan: ride.plan.clone(), state: ride.state.clone(), effects: Vec::new(), last: None };
    let mut other = ride_bad;
    assert_eq!(other.on(bad(), now + 1), "rollingBack");
    assert!(
        other.sentence().contains("12 of 400") && other.effects.contains(&Effect::TakeBack),
        "{}",
        other.sentence()
    );
    assert_eq!(ride.on(good(), now + 10 * MINUTE), "keepingWarm");
    assert_eq!(ride.effects, [Effect::Promote]);
    assert_eq!(ride.on(Event::Tick, now + 70 * MINUTE), "promoted");
    assert_eq!(ride.effects, [Effect::Release]);
    let last = ride.last.expect("it went on");
    assert_eq!((last.by, last.changed), (By::Machine, true));
}

#[test]
fn a_transition_tells_who_decided_on_which_evidence() {
    let mut ride = Ride::started(canary());
    assert_eq!(ride.last.as_ref().map(|last| last.by.clone()), Some(person("ada")));
    assert_eq!(ride.sentence(), "ada started v2 against v1: step 1 of 4, 5 % for at least 5 min.");
    ride.on(good(), 5 * MINUTE);
    assert_eq!(ride.sentence(), "After 5 min, 5xx: 12 of 400 requests at v2: step 2 of 4, 25 % for at least 5 min.");
    let grounds = ride.last.as_ref().and_then(|last| last.grounds.clone()).expect("there was evidence");
    assert_eq!((grounds.batches, grounds.candidate.total), (7, 400));
    assert_eq!(ride.state.latest, None, "a step begins without evidence");
}

#[test]
fn a_bake_without_data_is_no_success() {
    let (mut ride, now) = Ride::baking(canary());
    assert_eq!(ride.on(Event::Tick, now + 10 * MINUTE), "baking");
    assert_eq!(ride.on(Event::Tick, now + 60 * MINUTE), "held");
    assert!(ride.sentence().contains("no request was reported"), "{}", ride.sentence());
    assert!(matches!(ride.effects[..], [Effect::Notify { page: false, .. }]));
    assert_eq!(ride.on(good(), now + 90 * MINUTE), "keepingWarm", "later evidence moves it on");
    for (policy, state) in [(Inconclusive::Promote, "keepingWarm"), (Inconclusive::Abort, "rollingBack")] {
        let mut plan = canary();
        plan.template.inconclusive = policy;
        let (mut ride, now) = Ride::baking(plan);
        assert_eq!(ride.on(Event::Tick, now + 59 * MINUTE), "baking");
        assert_eq!(ride.on(undecided(HoldReason::NoData), now + 60 * MINUTE), state);
    }
}

#[test]
fn what_is_held_goes_on_by_itself_when_the_evidence_is_good() {
    let mut ride = Ride::started(canary());
    assert_eq!(ride.on(undecided(HoldReason::Warning(verdict::Criterion::Errors)), MINUTE), "held");
    assert_eq!(ride.on(judged(Verdict::Continue), 2 * MINUTE), "step", "the suspicion is gone");
    assert_eq!(ride.on(Event::Tick, 60 * MINUTE), "held");
    assert_eq!(ride.on(judged(Verdict::Continue), 61 * MINUTE), "held", "that is no evidence");
    assert_eq!(ride.on(good(), 62 * MINUTE), "step");
    assert!(ride.sentence().contains("step 2 of 4"), "{}", ride.sentence());
    assert_eq!(ride.on(undecided(HoldReason::NoData), 63 * MINUTE), "step", "its time is not up");
    let maximum = ride.plan.template.maximum_ms;
    ride.on(Event::Tick, 130 * MINUTE);
    assert_eq!(ride.state.deadline(&ride.plan), Some(maximum));
    assert_eq!(ride.on(Event::Tick, maximum), "rollingBack");
    assert!(matches!(ride.state.phase, Phase::RollingBack { end: End::Aborted, .. }));
}

#[test]
fn no_step_forward_against_a_suspicion_even_where_the_plan_does_without_evidence() {
    let mut plan = canary();
    plan.template.inconclusive = Inconclusive::Promote;
    let mut ride = Ride::started(plan);
    ride.on(undecided(HoldReason::Warning(verdict::Criterion::Errors)), MINUTE);
    assert_eq!(ride.on(Event::Tick, 120 * MINUTE), "held");
    let mut ride = Ride::started(ride.plan);
    ride.on(Event::Alarm { detail: "both down".into(), stable_too: true }, MINUTE);
    assert!(matches!(ride.effects[..], [Effect::Notify { page: true, .. }]));
    assert_eq!(ride.on(Event::Tick, 120 * MINUTE), "held");
    assert_eq!(ride.on(good(), 121 * MINUTE), "held", "stable still fails");
    assert_eq!(ride.on(Event::Calm { detail: "stable serves again".into() }, 122 * MINUTE), "step");
    assert!(ride.sentence().contains("stable serves again"), "{}", ride.sentence());
    ride.on(good(), 122 * MINUTE);
    assert!(ride.sentence().contains("step 2 of 4"), "{}", ride.sentence());
}

#[test]
fn no_step_forward_while_the_infrastructure_is_short_of_something() {
    let mut ride = Ride::started(canary());
    let strain = || Event::Strain { detail: "cpu is at 91 %, above 80 %".into() };
    assert_eq!(ride.on(strain(), MINUTE), "step");
    assert!(ride.sentence().contains("91 %"), "{}", ride.sentence());
    ride.on(strain(), 2 * MINUTE);
    assert!(ride.last.as_ref().is_some_and(|last| !last.changed), "told once");
    assert_eq!(ride.on(good(), 6 * MINUTE), "step");
    assert!(ride.last.as_ref().is_some_and(|last| !last.changed));
    ride.on(Event::Relax, 7 * MINUTE);
    assert!(ride.sentence().contains("step 2 of 4"), "{}", ride.sentence());
    ride.on(strain(), 8 * MINUTE);
    assert_eq!(ride.on(bad(), 9 * MINUTE), "rollingBack", "it never keeps traffic from going back");
}

#[test]
fn a_gate_that_says_no_holds_until_it_says_yes() {
    let mut plan = canary();
    plan.template.steps[0].gates = vec!["smoke".into()];
    let mut ride = Ride::started(plan);
    let gate = |passed| Event::Gate {
        at: Place::Step(Position { wave: 0, step: 0 }),
        name: "smoke".into(),
        passed,
        detail: "2 of 9 checks".into(),
    };
    assert!(ride.effects.iter().any(|effect| matches!(effect, Effect::RunGate { .. })));
    assert_eq!(ride.on(gate(false), MINUTE), "held");
    assert_eq!(ride.on(good(), 6 * MINUTE), "held");
    assert_eq!(ride.on(gate(true), 7 * MINUTE), "step");
    assert!(ride.sentence().contains("step 2"), "{}", ride.sentence());
}

#[test]
fn nobody_approves_alone() {
    let mut plan = canary();
    plan.template.steps[0].approval = true;
    plan.template.approvers = vec!["ada".into(), "bob".into()];
    let mut ride = Ride::started(plan);
    let promote = |name: &str, full| Event::Promote { by: person(name), full };
    assert_eq!(ride.refused(promote("ada", false), MINUTE), Refused::FourEyes);
    assert_eq!(ride.refused(promote("eve", true), MINUTE), Refused::NeedsApprover);
    assert_eq!(ride.on(good(), 5 * MINUTE), "waitingForApproval");
    assert_eq!(ride.refused(Event::Approve { by: person("ada") }, 6 * MINUTE), Refused::FourEyes);
    assert_eq!(ride.refused(Event::Approve { by: person("eve") }, 6 * MINUTE), Refused::NeedsApprover);
    assert_eq!(ride.refused(Event::Approve { by: By::Machine }, 6 * MINUTE), Refused::NeedsApprover);
    let mut other = Ride { state: ride.state.clone(), plan: ride.plan.clone(), effects: Vec::new(), last: None };
    assert_eq!(other.on(promote("bob", false), 6 * MINUTE), "step");
    assert!(other.sentence().starts_with("bob promoted, past the approval of step 1"), "{}", other.sentence());
    assert_eq!(ride.on(Event::Approve { by: person("bob") }, 6 * MINUTE), "step");
    assert!(ride.sentence().starts_with("bob approved after 60 s; 5xx: 12 of 400"), "{}", ride.sentence());
    assert_eq!(ride.on(promote("ada", false), 7 * MINUTE), "step", "no approval is in the way here");
    assert_eq!(ride.on(promote("ada", true), 8 * MINUTE), "baking");
}

#[test]
fn a_freeze_stops_every_step_forward_and_never_a_roll_back() {
    let mut ride = Ride::started(canary());
    ride.on(Event::Freeze { name: "night".into() }, 1);
    assert_eq!(ride.refused(Event::Promote { by: person("bob"), full: true }, 2), Refused::Frozen);
    assert_eq!(ride.on(good(), 6 * MINUTE), "step");
    assert_eq!(ride.on(Event::Tick, 60 * MINUTE), "held");
    assert!(ride.sentence().contains("night is in force"), "{}", ride.sentence());
    assert_eq!(ride.refused(Event::Resume { by: person("bob") }, 61 * MINUTE), Refused::Frozen);
    let mut other = Ride { state: ride.state.clone(), plan: ride.plan.clone(), effects: Vec::new(), last: None };
    assert_eq!(other.on(Event::RollBack { by: person("bob"), why: "bad".into() }, 62 * MINUTE), "rollingBack");
    assert_eq!(ride.on(Event::Thaw, 62 * MINUTE), "step");
    assert!(ride.sentence().contains("step 2"), "{}", ride.sentence());
    let fresh = Ride::new(canary());
    let (mut frozen, ..) = fresh.state.on(Event::Freeze { name: "night".into() }, 0, &fresh.plan).expect("it freezes");
    frozen.seen = 1;
    let start = Event::Start { by: person("ada"), machine_rollbacks: 0, accepted: false };
    assert_eq!(frozen.on(start, 2, &fresh.plan), Err(Refused::Frozen));
}

#[test]
fn a_newer_release_takes_no_traffic_back_from_one_that_has_it_all() {
    let newer = || Event::Supersede { by: person("ada"), release: "v3".into() };
    let mut plan = canary();
    assert_eq!(Ride::started(plan.clone()).refused(newer(), 1), Refused::Occupied);
    plan.template.superseding = Superseding::Replace;
    let mut ride = Ride::started(plan.clone());
    assert_eq!(ride.on(newer(), 1), "rollingBack");
    let (mut ride, now) = Ride::baking(plan);
    assert_eq!(ride.refused(newer(), now + 1), Refused::Waits);
    ride.on(good(), now + 2);
    assert_eq!(ride.on(newer(), now + 3), "promoted");
    assert_eq!(ride.effects, [Effect::Promote, Effect::Release]);
}

#[test]
fn waves_go_one_after_another_and_the_rest_goes_with_the_last() {
    let mut plan = canary();
    plan.template.waves = vec![vec!["eu".into()], vec!["us".into(), "ap".into()]];
    let mut ride = Ride::started(plan);
    let weight = |regions: &[&str], rest, weight| Effect::SetWeight {
        regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        rest,
        weight,
    };
    assert!(ride.effects.contains(&weight(&["eu"], false, 50_000)));
    for number in 1..=4 {
        ride.on(good(), number * 5 * MINUTE);
    }
    assert!(ride.effects.contains(&weight(&["us", "ap"], true, 50_000)), "{:?}", ride.effects);
    assert!(ride.sentence().contains("step 1 of 4 of wave 2 of 2"), "{}", ride.sentence());
}

#[test]
fn quarantine_needs_a_person() {
    let ride = Ride::new(canary());
    let start = Event::Start { by: By::Machine, machine_rollbacks: 2, accepted: false };
    assert_eq!(ride.refused(start, 0), Refused::Quarantined);
    let by_person = |machine_rollbacks, accepted| Event::Start { by: person("ada"), machine_rollbacks, accepted };
    assert_eq!(ride.refused(by_person(2, false), 0), Refused::Quarantined, "a token of a pipeline is a person, too");
    let mut once = Ride::new(canary());
    assert_eq!(once.on(by_person(1, false), 0), "step");
    let mut meant = Ride::new(canary());
    assert_eq!(meant.on(by_person(2, true), 0), "step");
}

#[test]
fn edges_that_do_not_answer_are_told_three_times() {
    let mut ride = Ride::started(canary());
    ride.on(Event::Abort { by: person("bob"), why: "not now".into() }, 1000);
    for asked in 1..3 {
        assert_eq!(ride.on(Event::Tick, 1000 + asked * 10_000), "rollingBack");
        assert!(matches!(ride.effects[..], [Effect::TakeBack, Effect::Notify { page: true, .. }]));
    }
    assert_eq!(ride.on(Event::Tick, 31_000), "failed");
    assert!(matches!(ride.effects[..], [Effect::Notify { page: true, .. }]));
}
