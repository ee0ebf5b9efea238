//! What the driver makes of time and reports.

use serde_json::{Value, json};

use super::world::{BEAT, Failing, World};

const GOOD: Failing = Failing { candidate: 1000, stable: 1000 };
const BAD: Failing = Failing { candidate: 10, stable: 1000 };

/// Three steps of half a minute.
fn plan() -> Value {
    json!({"name": "short", "bakeMs": 60_000, "keepWarmMs": 120_000, "steps": [
        {"weight": 10, "holdMs": 30_000, "gates": ["acknowledged"]},
        {"weight": 50, "holdMs": 30_000},
        {"weight": 100, "holdMs": 30_000}
    ]})
}

fn a_good_candidate_takes_over(mut world: World) {
    let started = world.start(plan());
    assert_eq!((started.head.state.as_str(), started.head.step, started.head.weight), ("step", Some(1), 10.0));
    assert_eq!(world.traffic()["candidateWeight"], 10);
    assert_eq!(world.traffic()["slots"], json!({"blue": "web-1", "green": "web-2"}));
    world.until("keepingWarm", GOOD);
    let traffic = world.traffic();
    assert_eq!((&traffic["active"], &traffic["candidateWeight"]), (&json!("green"), &json!(0)));
    assert_eq!(traffic["slots"], json!({"blue": "web-1", "green": "web-2"}), "the loser is kept ready");
    world.until("promoted", GOOD);
    assert_eq!(world.traffic()["slots"], json!({"green": "web-2"}));
    let done = world.rollout();
    assert!(done.head.ended && done.head.deadline.is_none(), "{done:?}");
    let reached: Vec<&str> = done.transitions.iter().map(|one| one.to.as_str()).collect();
    assert_eq!(reached, ["step", "step", "step", "baking", "keepingWarm", "promoted"]);
    for one in &done.transitions[1..5] {
        let evidence = one.evidence.as_ref().expect("every step forward has evidence");
        assert_eq!(evidence.verdict["verdict"], "promoteReady", "{one:?}");
        assert!(evidence.candidate.total > 0 && one.sentence.contains("requests"), "{one:?}");
    }
}

#[test]
fn a_good_candidate_takes_over_on_sqlite() {
    a_good_candidate_takes_over(World::sqlite());
}

#[test]
fn a_good_candidate_takes_over_on_postgres() {
    a_good_candidate_takes_over(World::postgres());
}

#[test]
fn a_bad_candidate_is_taken_back_by_itself() {
    let mut world = World::sqlite();
    world.start(plan());
    let beats = world.until("rolledBack", BAD);
    assert!(beats < 30, "{beats}");
    let traffic = world.traffic();
    assert_eq!((&traffic["slots"], &traffic["candidateWeight"]), (&json!({"blue": "web-1"}), &json!(0)));
    assert_eq!(traffic["rolledBack"], json!(["web-2"]));
    let story = world.rollout().transitions;
    let back = story.iter().find(|one| one.to == "rollingBack").expect("it was taken back");
    assert_eq!((back.actor.as_str(), back.actor_name.as_str()), ("system", "the machine"));
    assert!(back.sentence.contains("web-2 against") && back.sentence.contains("e-value"), "{}", back.sentence);
    // The release may be tried again by whoever means it.
    let again = world.start(plan());
    assert_eq!((again.head.id, world.traffic()["rolledBack"].as_array().map_or(0, Vec::len)), (2, 0));
}

#[test]
fn a_fault_during_the_bake_and_after_it_is_taken_back_too() {
    for state in ["baking", "keepingWarm"] {
        let mut world = World::sqlite();
        world.start(plan());
        world.until(state, GOOD);
        world.until("rolledBack", BAD);
        let traffic = world.traffic();
        assert_eq!((&traffic["active"], &traffic["slots"]), (&json!("blue"), &json!({"blue": "web-1"})), "{state}");
    }
}

#[test]
fn without_data_it_is_held_and_goes_on_when_there_is_some() {
    let mut world = World::sqlite();
    world.start(plan());
    world.silence(3_599_000);
    assert_eq!(world.state(), "step");
    world.silence(1_000);
    assert_eq!(world.state(), "held");
    assert!(world.rollout().transitions[1].sentence.contains("not a single request at web-2"), "{:?}", world.story());
    world.until("step", GOOD);
    assert_eq!(world.rollout().head.step, Some(2));
    world.until("baking", GOOD);
    world.silence(3_600_000);
    assert_eq!(world.state(), "held", "at 100 % as well");
    world.silence(24 * 3_600_000);
    world.silence(0);
    world.silence(0);
    assert_eq!(world.state(), "aborted", "nobody decided for a day");
}

/// A rollout from start to end, with a restart before each look that `restarts` names.
fn story(failing: Failing, restarts: impl Fn(usize) -> bool, times: usize) -> (Vec<Value>, Value) {
    let mut world = World::sqlite();
    world.start(plan());
    for beat in 0..400 {
        if restarts(beat) {
            world.restart();
        }
        world.beat(failing, times);
        if world.rollout().head.ended {
            return (world.story(), world.traffic());
        }
    }
    panic!("it does not end: {:?}", world.rollout());
}

#[test]
fn a_restart_anywhere_continues_to_the_last_bit() {
    for failing in [GOOD, Failing { candidate: 60, stable: 1000 }] {
        let whole = story(failing, |_| false, 1);
        assert_eq!(story(failing, |_| true, 1), whole, "before every look");
        assert_eq!(story(failing, |beat| beat % 7 == 3, 1), whole, "now and then");
    }
}

#[test]
fn a_report_that_comes_twice_counts_once() {
    assert_eq!(story(GOOD, |_| false, 2), story(GOOD, |_| false, 1));
}

#[test]
fn a_report_over_a_change_of_weight_compares_nothing() {
    let mut world = World::sqlite();
    world.start(plan());
    world.now -= BEAT / 2;
    world.beat(GOOD, 1);
    let seen = |world: &World| {
        let evidence = world.rollout().evidence.expect("there is some");
        (evidence.candidate.total, evidence.stable.total)
    };
    assert_eq!(seen(&world), (20, 0));
    world.beat(GOOD, 1);
    assert_eq!(seen(&world), (40, 180));
}

#[test]
fn waves_go_region_by_region() {
    let mut world = World::sqlite();
    let mut waves = plan();
    waves["waves"] = json!([["eu"], ["us"]]);
    world.start(waves);
    let share = |weight: u32| json!({"candidateWeight": weight});
    assert_eq!(
        (&world.traffic()["candidateWeight"], &world.traffic()["regions"]),
        (&json!(0), &json!({"eu": share(10)}))
    );
    let mut seen = Vec::new();
    for _ in 0..300 {
        world.beat(GOOD, 1);
        let traffic = world.traffic();
        let now = json!([
            traffic["candidateWeight"],
            traffic["regions"]["eu"]["candidateWeight"],
            traffic["regions"]["us"]["candidateWeight"]
        ]);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    let expected = [json!([0, 10, null]), json!([0, 50, null]), json!([0, 100, null]), json!([10, 100, 10])];
    assert_eq!(seen[..4], expected, "the rest goes with the last wave");
    assert_eq!(seen[4..], [json!([50, 100, 50]), json!([100, 100, 100]), json!([0, null, null])]);
    assert_eq!(world.state(), "promoted");
}

#[test]
fn two_drivers_at_once_do_what_one_does() {
    let mut world = World::postgres();
    let other = world.another();
    let mut second = admin::service::rollouts::drive::Driver::default();
    world.start(plan());
    for _ in 0..200 {
        world.beat(GOOD, 1);
        world.block_on(other.drive_rollouts(&mut second, world.now)).expect("it drives");
        world.block_on(other.catch_up()).expect("it follows");
    }
    let done = world.rollout();
    let reached: Vec<&str> = done.transitions.iter().map(|one| one.to.as_str()).collect();
    assert_eq!(reached, ["step", "step", "step", "baking", "keepingWarm", "promoted"]);
}

#[test]
fn one_process_leads() {
    let world = World::postgres();
    let other = world.another();
    let mut first = world.block_on(world.control().store.lead()).expect("it asks").expect("nobody else does");
    assert!(world.block_on(first.is_held()));
    assert!(world.block_on(other.store.lead()).expect("it asks").is_none());
    world.block_on(first.end());
    assert!(world.block_on(other.store.lead()).expect("it asks").is_some());
}
