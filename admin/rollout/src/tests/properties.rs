//! What must hold for any sequence of events.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::Strategy;
use verdict::{Criterion, FULL_WEIGHT};

use super::*;
use crate::{HeldWhy, Hooks, Inconclusive, Phase, Place, Position, Superseding};

fn event() -> impl Strategy<Value = Event> {
    let who = prop_oneof![Just(person("ada")), Just(person("bob")), Just(person("eve")), Just(By::Machine)];
    let verdict = prop_oneof![
        Just(Verdict::Continue),
        Just(Verdict::Hold(HoldReason::NoData)),
        Just(Verdict::Hold(HoldReason::Inconclusive)),
        Just(Verdict::Hold(HoldReason::Warning(Criterion::Errors))),
    ];
    let step = (0..2_usize, 0..4_usize).prop_map(|(wave, step)| Place::Step(Position { wave, step }));
    let place = prop_oneof![8 => step, 1 => Just(Place::Start), 1 => Just(Place::Bake)];
    let name = prop::sample::select(vec!["smoke", "smoke", "begin", "check", "watch", "raise", "promote"]);
    prop_oneof![
        12 => Just(Event::Tick),
        16 => Just(good()),
        4 => verdict.prop_map(judged),
        1 => Just(bad()),
        1 => (who.clone(), 0..4_u32).prop_map(|(by, machine_rollbacks)| Event::Start { by, machine_rollbacks, accepted: false }),
        12 => (place, name, prop::bool::weighted(0.8)).prop_map(|(at, name, passed)| {
            Event::Gate { at, name: name.into(), passed, detail: String::new() }
        }),
        1 => prop::bool::weighted(0.8).prop_map(|stable_too| Event::Alarm { detail: "5 of 6 probes".into(), stable_too }),
        4 => who.clone().prop_map(|by| Event::Approve { by }),
        2 => who.clone().prop_map(|by| Event::Pause { by }),
        3 => who.clone().prop_map(|by| Event::Resume { by }),
        3 => (who.clone(), any::<bool>()).prop_map(|(by, full)| Event::Promote { by, full }),
        1 => who.clone().prop_map(|by| Event::Abort { by, why: "not now".into() }),
        1 => who.prop_map(|by| Event::Supersede { by, release: "v3".into() }),
        2 => Just(Event::Freeze { name: "night".into() }),
        3 => Just(Event::Thaw),
        2 => Just(Event::Strain { detail: "cpu is at 91 %".into() }),
        3 => Just(Event::Relax),
        1 => Just(Event::Calm { detail: "stable serves".into() }),
        1 => Just(Event::Acknowledged),
        1 => any::<bool>().prop_map(|good| Event::Verified { good, detail: String::new() }),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let inconclusive = prop_oneof![Just(Inconclusive::Hold), Just(Inconclusive::Promote), Just(Inconclusive::Abort)];
    (inconclusive, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(inconclusive, preview, replace, hooked)| {
        let mut plan = canary();
        if hooked {
            let one = |name: &str| vec![name.to_owned()];
            let (confirm, before, during) = (one("begin"), one("check"), one("watch"));
            plan.hooks = Hooks { confirm, before, during, raise: one("raise"), promote: one("promote") };
        }
        let template = &mut plan.template;
        template.waves = vec![vec!["eu".into()], vec!["us".into()]];
        template.steps[1].gates = vec!["smoke".into()];
        template.steps[2].approval = true;
        template.approvers = vec!["bob".into(), "id-ada".into()];
        template.superseding = if replace { Superseding::Replace } else { Superseding::Refuse };
        (template.inconclusive, template.preview) = (inconclusive, preview);
        plan
    })
}

/// The rank of the first step, and of the last.
const FIRST: usize = 3;
const LAST: usize = FIRST + 7;

/// How far a state is on the way.
fn rank(phase: &Phase) -> usize {
    let place = |place| match place {
        Place::Preview => 1,
        Place::Start => 2,
        Place::Step(Position { wave, step }) => FIRST + wave * 4 + step,
        Place::Bake => 100,
    };
    match phase {
        Phase::KeepingWarm { .. } => 101,
        Phase::Promoted { .. } => 102,
        phase => phase.place().map_or(0, place),
    }
}

/// Whether the step forward that was taken may be taken.
fn may_go(before: &State, event: &Event, now: u64, plan: &Plan, to: usize) -> bool {
    if before.frozen.is_some() && !matches!(event, Event::Thaw) {
        return matches!((event, &before.phase), (Event::Tick | Event::Supersede { .. }, Phase::KeepingWarm { .. }));
    }
    let machine = matches!(event, Event::Tick | Event::Thaw | Event::Gate { .. } | Event::Judged { .. });
    let goes_on = matches!(before.phase, Phase::KeepingWarm { .. });
    let stable_fails = matches!(&before.phase, Phase::Held { why: HeldWhy::StableFailsToo(_), .. });
    if machine && !goes_on && (before.strained.is_some() || stable_fails) {
        return false;
    }
    let place = before.phase.place();
    let step = match place {
        Some(Place::Step(at)) => Some(&plan.template.steps[at.step]),
        _ => None,
    };
    let stay = before.phase.stay();
    let passed = |gate: &String| {
        let now = matches!(event, Event::Gate { name, passed: true, .. } if name == gate);
        now || stay.is_some_and(|stay| stay.passed.contains(gate))
    };
    let rank_before = rank(&before.phase);
    let Hooks { confirm, before: first, during, raise, promote } = &plan.hooks;
    let hooks: Vec<&String> = match rank_before {
        2 => confirm.iter().chain(first).chain(raise).collect(),
        FIRST..LAST => during.iter().chain(raise).collect(),
        LAST => during.iter().collect(),
        100 => during.iter().chain(promote).collect(),
        _ => Vec::new(),
    };
    let gates = step.is_none_or(|step| step.gates.iter().all(passed)) && hooks.into_iter().all(passed);
    let approval = step.is_some_and(|step| step.approval);
    match event {
        Event::Start { .. } => true,
        Event::Approve { by } => matches!(before.phase, Phase::WaitingForApproval { .. }) && approves(before, by),
        Event::Promote { by, .. } => {
            let steps = (rank_before..to).filter(|rank| (FIRST..=LAST).contains(rank));
            let step = |rank: usize| (rank - FIRST) % 4;
            let later = steps.clone().filter(|rank| *rank > rank_before).collect::<Vec<_>>();
            let approvals = steps.clone().any(|rank| step(rank) == 2);
            let asked = later.iter().any(|rank| step(*rank) == 1 || !during.is_empty());
            let started = rank_before < 2 && to > 2 && !confirm.is_empty();
            let free = !approvals && gates && !asked && !started;
            *by != By::Machine && (free || approves(before, by))
        }
        Event::Supersede { .. } => {
            matches!(before.phase, Phase::KeepingWarm { .. }) || stay.is_some_and(|stay| stay.ready)
        }
        Event::Tick if matches!(before.phase, Phase::KeepingWarm { .. }) => true,
        Event::Tick | Event::Thaw | Event::Relax | Event::Gate { .. } | Event::Judged { .. } => {
            let Some(stay) = stay else { return false };
            let (hold, limit) =
                step.map_or((plan.template.bake_ms, plan.template.bake_limit_ms), |step| (step.hold_ms, step.limit_ms));
            let ready = match event {
                Event::Judged { grounds } => grounds.verdict == Verdict::PromoteReady,
                _ => stay.ready,
            };
            let without = plan.template.inconclusive == Inconclusive::Promote && now >= stay.since + limit;
            // Two waves of four steps.
            let next = if rank_before == LAST { 100 } else { rank_before + 1 };
            let (early, shown) = (now < stay.since + hold, ready || without);
            to == next && gates && !approval && (rank_before == 2 || (!early && shown))
        }
        _ => false,
    }
}

fn approves(before: &State, by: &By) -> bool {
    before.started_by.as_ref() != Some(by) && [person("ada"), person("bob")].contains(by)
}

/// The weights that a state means.
fn weights(phase: &Phase, plan: &Plan) -> Option<BTreeMap<&'static str, u32>> {
    let of = |eu, us| Some([("eu", eu), ("us", us), ("", us)].into());
    match phase.place()? {
        Place::Preview | Place::Start => of(0, 0),
        Place::Bake => of(FULL_WEIGHT, FULL_WEIGHT),
        Place::Step(at) => {
            let weight = plan.template.steps[at.step].millionths()?;
            if at.wave == 0 { of(weight, 0) } else { of(FULL_WEIGHT, weight) }
        }
    }
}

fn apply(effects: &[Effect], known: &mut BTreeMap<&'static str, u32>) {
    for effect in effects {
        if let Effect::SetWeight { regions, rest, weight } = effect {
            for (region, known) in known.iter_mut() {
                if regions.iter().any(|name| name == region) || (region.is_empty() && *rest) {
                    *known = *weight;
                }
            }
        }
    }
}

/// Ticks alone lead to an end, and none of them is without effect.
fn ends(mut state: State, plan: &Plan, most: usize) -> Result<(), TestCaseError> {
    for _ in 0..most {
        let Some(deadline) = state.deadline(plan) else { break };
        let (next, _, transition) = state.on(Event::Tick, deadline, plan).expect("time passes");
        prop_assert!(transition.changed || next.deadline(plan) > Some(deadline), "{:?}", next);
        state = next;
    }
    prop_assert!(state.phase.is_end(), "{:?}", state);
    Ok(())
}

proptest! {
    #[test]
    fn any_events_keep_the_promises(
        plan in plan(),
        events in prop::collection::vec((event(), 0..900_000_u64), 0..80),
    ) {
        let start = Event::Start { by: person("ada"), machine_rollbacks: 0, accepted: false };
        let (mut state, effects, _) = State::new(0).on(start, 0, &plan).expect("it starts");
        let mut known = [("eu", 0), ("us", 0), ("", 0)].into();
        apply(&effects, &mut known);
        let mut now = 0;
        for (event, later) in events {
            now += later;
            let text = serde_json::to_string(&state).expect("it is written");
            let read: State = serde_json::from_str(&text).expect("it is read");
            prop_assert_eq!(&read, &state);
            let result = state.clone().on(event.clone(), now, &plan);
            prop_assert_eq!(&result, &read.on(event.clone(), now, &plan));
            prop_assert!(!state.phase.is_end() || result == Err(Refused::Ended));
            let Ok((next, effects, transition)) = result else { continue };
            apply(&effects, &mut known);
            if let Some(meant) = weights(&next.phase, &plan) {
                prop_assert_eq!(&meant, &known, "{:?} after {:?}", &next, &event);
            }
            if rank(&next.phase) > rank(&state.phase) {
                let may = may_go(&state, &event, now, &plan, rank(&next.phase));
                prop_assert!(may, "{:?} by {:?} to {:?}", &state, &event, &next);
            }
            prop_assert!(transition.sentence.len() > 10);
            prop_assert!(transition.changed || (transition.from == transition.to && effects.is_empty()));
            prop_assert_eq!(next.deadline(&plan).is_none(), next.phase.is_end());
            state = next;
        }
        ends(state.clone(), &plan, 40)?;
        for roll_back in [true, false] {
            let (by, why) = (person("eve"), "bad".to_owned());
            let event = if roll_back { Event::RollBack { by, why } } else { Event::Abort { by, why } };
            let state = match state.clone().on(event, now, &plan) {
                Ok((state, ..)) => state,
                Err(refused) => {
                    prop_assert!(matches!(refused, Refused::Ended | Refused::TakingBack));
                    state.clone()
                }
            };
            ends(state, &plan, 4)?;
        }
    }
}
