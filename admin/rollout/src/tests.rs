//! What must hold for any sequence of events, and single decisions.

use proptest::prelude::*;
use verdict::{HoldReason, RollBackReason, Verdict};

use super::{By, Effect, Event, Plan, Position, Refused, State, Step, Superseding};

fn person() -> By {
    By::Person("ada".into())
}

fn started(plan: &Plan) -> State {
    let start = Event::Start { by: person(), machine_rollbacks: 0 };
    State::new(0).on(start, 0, plan).expect("it starts").0
}

fn judged(verdict: Verdict) -> Event {
    Event::Judged { verdict, evidence: "12 of 400 units failed.".into() }
}

fn event() -> impl proptest::strategy::Strategy<Value = Event> {
    let by = prop_oneof![Just(person()), Just(By::Machine)];
    let verdict = prop_oneof![
        Just(Verdict::Continue),
        Just(Verdict::PromoteReady),
        Just(Verdict::Hold(HoldReason::NoData)),
        Just(Verdict::Hold(HoldReason::Inconclusive)),
        Just(Verdict::RollBack(RollBackReason::ObjectiveMissed)),
    ];
    prop_oneof![
        Just(Event::Tick),
        (by.clone(), 0..4_u32).prop_map(|(by, machine_rollbacks)| Event::Start { by, machine_rollbacks }),
        verdict.prop_map(judged),
        (0..2_usize, 0..4_usize, any::<bool>()).prop_map(|(wave, step, passed)| Event::Gate {
            at: Position { wave, step },
            name: "smoke".into(),
            passed,
            detail: String::new()
        }),
        any::<bool>().prop_map(|stable_too| Event::Alarm { detail: "5 of 6 probes failed".into(), stable_too }),
        Just(Event::Approve { by: person() }),
        Just(Event::Pause { by: person() }),
        Just(Event::Resume { by: person() }),
        any::<bool>().prop_map(|full| Event::Promote { by: person(), full }),
        by.prop_map(|by| Event::Abort { by, why: "not now".into() }),
        Just(Event::Supersede { release: "v3".into() }),
        Just(Event::Freeze { name: "night".into() }),
        Just(Event::Thaw),
        Just(Event::Acknowledged),
        any::<bool>().prop_map(|good| Event::Verified { good, detail: String::new() }),
    ]
}

fn plan() -> Plan {
    let mut plan = Plan::template("canary", "v2").expect("it exists");
    plan.waves = vec![vec!["eu".into()], vec!["us".into()]];
    plan.steps[1].gates = vec!["smoke".into()];
    plan.steps[2].approval = true;
    plan.superseding = Superseding::Replace;
    assert_eq!(plan.check(), []);
    plan
}

proptest! {
    #[test]
    fn any_events_keep_the_promises(events in prop::collection::vec((event(), 0..900_000_u64), 0..60)) {
        let plan = plan();
        let weights: Vec<_> = plan.steps.iter().filter_map(Step::millionths).collect();
        let (mut state, mut now) = (started(&plan), 0);
        for (event, later) in events {
            now += later;
            let text = serde_json::to_string(&state).expect("it is written");
            let read: State = serde_json::from_str(&text).expect("it is read");
            prop_assert_eq!(&read, &state);
            let result = state.clone().on(event.clone(), now, &plan);
            prop_assert_eq!(&result, &read.on(event, now, &plan));
            prop_assert!(!state.phase.is_end() || result == Err(Refused::Ended));
            let Ok((next, effects, transition)) = result else { continue };
            for effect in effects {
                if let Effect::SetWeight { weight, .. } = effect {
                    prop_assert!(weights.contains(&weight));
                }
            }
            prop_assert!(transition.sentence.len() > 10);
            prop_assert_eq!(next.deadline(&plan).is_none(), next.phase.is_end());
            state = next;
        }
        for roll_back in [true, false] {
            let (by, why) = (person(), "bad".to_owned());
            let event = if roll_back { Event::RollBack { by, why } } else { Event::Abort { by, why } };
            let mut state = match state.clone().on(event, now, &plan) {
                Ok((state, ..)) => state,
                Err(refused) => { prop_assert!(matches!(refused, Refused::Ended | Refused::TakingBack)); state.clone() }
            };
            for _ in 0..4 {
                let Some(deadline) = state.deadline(&plan) else { break };
                state = state.on(Event::Tick, deadline, &plan).expect("time passes").0;
            }
            prop_assert!(state.phase.is_end());
        }
    }
}

#[test]
fn a_good_candidate_is_promoted_and_a_bad_one_is_not() {
    let plan = Plan::of(crate::Strategy::Canary, "v2");
    let mut state = started(&plan);
    for number in 1..=4_u64 {
        state = state.on(judged(Verdict::PromoteReady), number * 300_000, &plan).expect("it is judged").0;
    }
    assert_eq!(state.phase.name(), "baking");
    let bad = judged(Verdict::RollBack(RollBackReason::ObjectiveMissed));
    assert_eq!(state.clone().on(bad, 1_200_001, &plan).expect("it is judged").0.phase.name(), "rollingBack");
    state = state.on(Event::Tick, 1_800_000, &plan).expect("time passes").0;
    assert_eq!(state.phase.name(), "keepingWarm");
    state = state.on(Event::Tick, 5_400_000, &plan).expect("time passes").0;
    assert_eq!(state.phase.name(), "promoted");
}

#[test]
fn no_data_and_a_common_outage_hold_and_quarantine_needs_a_person() {
    let plan = Plan::of(crate::Strategy::Canary, "v2");
    let held = started(&plan).on(judged(Verdict::Hold(HoldReason::NoData)), 1, &plan).expect("it is judged").0;
    assert_eq!(held.phase.name(), "held");
    let alarm = Event::Alarm { detail: "both down".into(), stable_too: true };
    let (held, effects, _) = started(&plan).on(alarm, 1, &plan).expect("it is told");
    assert_eq!(held.phase.name(), "held");
    assert!(matches!(effects[..], [Effect::Notify { page: true, .. }]));
    let start = Event::Start { by: By::Machine, machine_rollbacks: 2 };
    assert_eq!(State::new(0).on(start, 0, &plan), Err(Refused::Quarantined));
}

#[test]
fn a_freeze_stops_promotion_and_never_a_roll_back() {
    let plan = Plan::of(crate::Strategy::Canary, "v2");
    let frozen = started(&plan).on(Event::Freeze { name: "night".into() }, 1, &plan).expect("it freezes").0;
    let promote = Event::Promote { by: person(), full: true };
    assert_eq!(frozen.clone().on(promote, 2, &plan), Err(Refused::Frozen));
    let back = Event::RollBack { by: person(), why: "bad".into() };
    assert_eq!(frozen.on(back, 2, &plan).expect("always").0.phase.name(), "rollingBack");
}
