//! Hooks: gates that no step names.

use super::*;
use crate::{HeldWhy, Hooks, Phase, Place, Position};

fn hooked() -> Plan {
    let one = |name: &str| vec![name.to_owned()];
    let hooks = Hooks {
        confirm: one("may begin"),
        before: one("check"),
        during: one("watch"),
        raise: one("may raise"),
        promote: one("may promote"),
    };
    Plan { hooks, ..canary() }
}

const fn step(step: usize) -> Place {
    Place::Step(Position { wave: 0, step })
}

impl Ride {
    fn says(&mut self, at: Place, name: &str, passed: bool, now: u64) -> &str {
        self.on(Event::Gate { at, name: name.into(), passed, detail: "7 of 9".into() }, now)
    }

    fn asks(&self, now: u64) -> Vec<&str> {
        self.state.asks(&self.plan, now)
    }
}

#[test]
fn nothing_begins_before_hooks_said_yes_one_after_another() {
    let mut ride = Ride::started(hooked());
    assert_eq!(ride.state.phase.name(), "starting");
    assert!(ride.sentence().contains("0 %, until may begin, check, may raise said yes"), "{}", ride.sentence());
    assert!(!ride.effects.iter().any(|effect| matches!(effect, Effect::SetWeight { .. })), "{:?}", ride.effects);
    assert_eq!(ride.asks(0), ["may begin"]);
    assert_eq!(ride.says(Place::Start, "may begin", false, MINUTE), "starting", "a confirmation waits");
    assert_eq!(ride.says(Place::Start, "may begin", true, MINUTE), "starting");
    assert_eq!(ride.asks(0), ["check"]);
    assert_eq!(ride.on(good(), 60 * MINUTE), "starting", "evidence of nobody's requests counts nothing");
    assert_eq!(ride.says(Place::Start, "check", true, 61 * MINUTE), "starting");
    assert_eq!(ride.asks(0), ["may raise"]);
    assert_eq!(ride.says(Place::Start, "may raise", true, 62 * MINUTE), "step");
    assert!(ride.sentence().starts_with("After 62 min, all hooks before the first traffic said yes: step 1 of 4"));
}

#[test]
fn a_preview_comes_before_the_hooks_and_none_come_without_hooks() {
    let mut plan = hooked();
    plan.template.preview = true;
    let mut ride = Ride::started(plan);
    assert_eq!((ride.state.phase.name(), ride.asks(0).len()), ("previewing", 0));
    assert_eq!(ride.on(Event::Promote { by: person("ada"), full: false }, 1), "starting");
    let past = Event::Promote { by: person("ada"), full: false };
    assert_eq!(ride.refused(past, 2), Refused::FourEyes, "hooks are passed over by an approver alone");
    assert_eq!(ride.on(Event::Promote { by: person("bob"), full: false }, 2), "step");
    assert!(ride.sentence().contains("past gate may begin, gate check, gate may raise"), "{}", ride.sentence());
    assert_eq!(Ride::started(canary()).state.phase.name(), "step");
}

#[test]
fn confirmations_are_asked_when_nothing_else_is_missing() {
    let mut ride =
        Ride::started(Plan { hooks: Hooks { confirm: Vec::new(), before: Vec::new(), ..hooked().hooks }, ..hooked() });
    ride.says(Place::Start, "may raise", true, 0);
    assert_eq!(ride.asks(0), ["watch"]);
    ride.says(step(0), "watch", true, MINUTE);
    assert_eq!(ride.on(good(), 2 * MINUTE), "step");
    assert_eq!(ride.asks(2 * MINUTE), ["watch"], "the hold is not over");
    assert_eq!(ride.asks(5 * MINUTE), ["watch", "may raise"]);
    ride.says(step(0), "watch", false, 5 * MINUTE);
    assert_eq!(ride.asks(5 * MINUTE), ["watch"], "its last answer counts");
    assert_eq!(ride.says(step(0), "may raise", true, 5 * MINUTE), "step");
    assert_eq!(ride.state.phase.place(), Some(step(0)));
    assert_eq!(ride.says(step(0), "watch", true, 6 * MINUTE), "step");
    assert_eq!(ride.state.phase.place(), Some(step(1)), "both said yes");
}

#[test]
fn the_last_raise_needs_no_confirmation_and_the_promotion_does() {
    let one = |name: &str| vec![name.to_owned()];
    let hooks = Hooks { raise: one("may raise"), promote: one("may promote"), ..Hooks::default() };
    let mut ride = Ride::started(Plan { hooks, ..canary() });
    ride.says(Place::Start, "may raise", true, 0);
    for (at, now) in [(0, 5), (1, 10), (2, 15)] {
        ride.on(good(), now * MINUTE);
        assert_eq!(ride.asks(now * MINUTE), ["may raise"]);
        ride.says(step(at), "may raise", true, now * MINUTE);
    }
    assert_eq!(ride.on(good(), 20 * MINUTE), "baking", "at 100 % there is nothing to raise");
    assert_eq!(ride.on(good(), 60 * MINUTE), "baking");
    assert_eq!(ride.asks(60 * MINUTE), ["may promote"]);
    assert_eq!(ride.says(Place::Bake, "may promote", false, 60 * MINUTE), "baking");
    assert_eq!(ride.says(Place::Bake, "may promote", true, 61 * MINUTE), "keepingWarm");
}

#[test]
fn without_a_yes_the_longest_time_takes_it_back() {
    let mut ride = Ride::started(hooked());
    assert_eq!(ride.state.deadline(&ride.plan), Some(24 * 60 * MINUTE));
    assert_eq!(ride.on(Event::Tick, 24 * 60 * MINUTE), "rollingBack");
    let mut ride = Ride::started(hooked());
    assert_eq!(ride.on(Event::Alarm { detail: "5 failed checks".into(), stable_too: false }, 1), "rollingBack");
    let mut ride = Ride::started(hooked());
    assert_eq!(ride.on(Event::Alarm { detail: "both".into(), stable_too: true }, 1), "held");
    assert!(matches!(&ride.state.phase, Phase::Held { why: HeldWhy::StableFailsToo(_), .. }));
    for name in ["may begin", "check", "may raise"] {
        assert_eq!(ride.says(Place::Start, name, true, 2), "held", "while stable fails nothing begins");
    }
    assert_eq!(ride.on(Event::Resume { by: person("bob") }, 3), "starting", "hooks are asked anew");
    assert_eq!(ride.asks(3), ["may begin"]);
}

#[test]
fn a_newer_release_does_not_get_a_promotion_past_its_confirmation() {
    let mut plan = canary();
    plan.template.superseding = crate::Superseding::Replace;
    plan.hooks.promote = vec!["may promote".into()];
    let (mut ride, now) = Ride::baking(plan);
    ride.on(good(), now + 1);
    let newer = || Event::Supersede { by: person("bob"), release: "v3".into() };
    assert_eq!(ride.refused(newer(), now + 2), Refused::Waits);
    ride.says(Place::Bake, "may promote", true, now + 3);
    assert_eq!(ride.on(newer(), now + 4), "promoted");
}

#[test]
fn a_plan_of_before_has_no_hooks() {
    let text = serde_json::to_string(&canary()).expect("it is written");
    assert!(!text.contains("hooks"), "{text}");
    assert_eq!(serde_json::from_str::<Plan>(&text).expect("it is read"), canary());
    let text = serde_json::to_string(&hooked()).expect("it is written");
    assert_eq!(serde_json::from_str::<Plan>(&text).expect("it is read"), hooked());
}
