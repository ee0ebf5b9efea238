//! Stable against itself, beside every rollout.

use admin::service::rollouts::Act;
use admin_api::calibration::Calibration;
use serde_json::{Value, json};

use super::world::{Failing, World};

const PLACE: (&str, &str) = ("web", "production");
const GOOD: Failing = Failing { candidate: 1000, stable: 1000 };

fn plan() -> Value {
    json!({"name": "short", "bakeMs": 60_000, "keepWarmMs": 120_000, "steps": [
        {"weight": 10, "holdMs": 30_000}, {"weight": 50, "holdMs": 30_000}, {"weight": 100, "holdMs": 30_000}]})
}

fn known(world: &World) -> Calibration {
    world.block_on(world.control().calibration(PLACE.0, PLACE.1)).expect("it is known")
}

/// Epochs and false alarms, of units and of requests.
fn counted(world: &World) -> [(u64, u64); 2] {
    let known = known(world);
    [known.units, known.requests].map(|level| (level.epochs, level.alarms))
}

fn aborted(world: &mut World) {
    world.start(plan());
    for _ in 0..30 {
        world.beat(GOOD, 1);
    }
    world.act("ada", Act::Abort).expect("it is aborted");
    world.until("aborted", GOOD);
}

#[test]
fn broken_clients_are_false_alarms_of_requests_and_not_of_units() {
    let mut world = World::sqlite();
    assert_eq!(counted(&world), [(0, 0), (0, 0)]);
    for _ in 0..3 {
        aborted(&mut world);
    }
    assert_eq!(counted(&world), [(3, 0), (3, 0)], "nobody is broken");
    assert!(!known(&world).requests_are_unsafe);
    // Four clients of 2000 send a failing request each second, and all of them happen to be in even buckets.
    world.noise = 8;
    for _ in 0..3 {
        aborted(&mut world);
    }
    assert_eq!(counted(&world), [(6, 0), (6, 3)]);
    let unsafe_now = known(&world);
    assert!(unsafe_now.requests_are_unsafe && unsafe_now.requests.rate.low > unsafe_now.alpha, "{unsafe_now:?}");
    assert!(unsafe_now.units.rate.low < unsafe_now.alpha, "{unsafe_now:?}");
}

#[test]
fn a_plan_that_counts_requests_is_judged_by_units_where_that_is_unsafe() {
    let by_requests = || {
        let mut plan = plan();
        plan["verdict"] = json!({"level": "request"});
        plan
    };
    let mut world = World::sqlite();
    let started = world.start(by_requests());
    assert_eq!((&started.plan["verdict"]["level"], started.overruled), (&json!("request"), None));
    world.act("ada", Act::Abort).expect("it is aborted");
    world.until("aborted", GOOD);
    world.noise = 8;
    aborted(&mut world);
    let started = world.start(by_requests());
    assert_eq!(started.plan["verdict"]["level"], "unit");
    let why = started.overruled.expect("it says why");
    assert!(why.contains("1 false alarms in 1 rollouts"), "{why}");
    assert_eq!(world.rollout().overruled, Some(why), "also later");
}

/// A rollout from start to end, with a restart before each look that `restarts` names.
fn story(restarts: impl Fn(usize) -> bool) -> (Vec<Value>, Calibration) {
    let mut world = World::sqlite();
    world.noise = 8;
    world.start(plan());
    for beat in 0..400 {
        if restarts(beat) {
            world.restart();
        }
        world.beat(GOOD, 1);
        if world.rollout().head.ended {
            return (world.story(), known(&world));
        }
    }
    panic!("it does not end: {:?}", world.rollout());
}

#[test]
fn a_restart_anywhere_finds_the_same_false_alarms() {
    let whole = story(|_| false);
    assert_eq!((whole.1.units.alarms, whole.1.requests.alarms), (0, 1));
    assert_eq!(story(|_| true), whole, "before every look");
    assert_eq!(story(|beat| beat % 7 == 3), whole, "now and then");
}

#[test]
fn the_evidence_of_the_candidate_never_sees_it() {
    let mut world = World::sqlite();
    world.start(plan());
    for _ in 0..10 {
        world.beat(GOOD, 1);
    }
    let evidence = world.rollout().evidence.expect("there is some");
    assert_eq!((evidence.candidate.total, evidence.stable.total), (200, 1800));
    let reports = world.block_on(world.control().rollout_reports(PLACE.0, PLACE.1, 1, 0)).expect("they are kept");
    assert_eq!(reports.groups.len(), 10);
    for group in reports.groups {
        assert_eq!((group.batches.len(), group.calibration.len()), (1, 1));
        assert_eq!((&group.batches[0]["edge"], &group.calibration[0]["edge"]), (&json!("*"), &json!("a/a")));
        let halves = &group.calibration[0]["counts"][0]["counts"];
        assert_eq!((&halves["candidate"]["total"], &halves["stable"]["total"]), (&json!(90), &json!(90)));
    }
}
