//! What people decide about a rollout, and what others may not do meanwhile.

use admin::model::{At, Edit};
use admin::service::rollouts::Act;
use admin::service::{Intent, ServiceError};
use admin_api::answers::RollbackRequest;
use admin_api::rollouts::StartRollout;
use serde_json::{Value, json};

use super::world::{Failing, World, code, person};

const GOOD: Failing = Failing { candidate: 1000, stable: 1000 };

fn plan() -> Value {
    json!({"name": "asked", "preview": true, "approvers": ["ada", "bob"], "superseding": "replace", "steps": [
        {"weight": 10, "holdMs": 30_000, "approval": true},
        {"weight": 100, "holdMs": 30_000}
    ]})
}

#[test]
fn an_approval_takes_a_second_person() {
    let mut world = World::sqlite();
    assert_eq!(world.start(plan()).head.state, "previewing");
    assert_eq!(world.traffic()["candidateWeight"], 0);
    world.act("ada", Act::Promote { full: false }).expect("a preview needs nobody else");
    assert_eq!(code(world.act("ada", Act::Promote { full: true })), "four_eyes");
    world.until("waitingForApproval", GOOD);
    assert_eq!(code(world.act("ada", Act::Promote { full: false })), "four_eyes");
    assert_eq!(code(world.act("eve", Act::Promote { full: false })), "approver_needed");
    let approved = world.act("bob", Act::Promote { full: false }).expect("bob approves");
    assert_eq!((approved.head.step, approved.head.weight), (Some(2), 100.0));
    let last = approved.transitions.last().expect("it went on");
    assert_eq!((last.actor.as_str(), last.actor_name.as_str()), ("id-bob", "bob"));
    assert!(last.sentence.starts_with("bob promoted, past the approval of step 1"), "{}", last.sentence);
}

#[test]
fn pausing_keeps_the_weight_and_aborting_takes_it_back() {
    let mut world = World::sqlite();
    world.start(plan());
    world.act("ada", Act::Promote { full: false }).expect("it goes on");
    assert_eq!(world.act("eve", Act::Pause).expect("it pauses").head.state, "paused");
    assert_eq!(code(world.act("eve", Act::Pause)), "rollout_not_now");
    world.silence(600_000);
    assert_eq!((world.state().as_str(), &world.traffic()["candidateWeight"]), ("paused", &json!(10)));
    assert_eq!(world.act("eve", Act::Resume).expect("it resumes").head.state, "step");
    assert_eq!(world.act("eve", Act::Abort).expect("it aborts").head.state, "rollingBack");
    assert_eq!(world.traffic()["slots"], json!({"blue": "web-1"}), "at once");
    world.silence(0);
    world.silence(0);
    assert_eq!(world.state(), "aborted");
    assert_eq!(code(world.act("eve", Act::Resume)), "rollout_ended");
    let bob = person("bob");
    let again = world.control().retry_rollout(&bob, ("web", "production"), None, world.now);
    let again = world.block_on(again).expect("it starts anew");
    assert_eq!((again.head.id, again.head.state.as_str(), again.head.started_by.as_str()), (2, "previewing", "bob"));
}

#[test]
fn a_rollback_by_a_person_ends_it_and_nobody_else_moves_its_traffic() {
    let mut world = World::sqlite();
    world.start(plan());
    world.act("ada", Act::Promote { full: false }).expect("it goes on");
    let slots = json!({"blue": "web-1", "green": "web-2"});
    let traffic = json!({"active": "blue", "slots": slots, "candidateWeight": 90});
    let intent = Intent { app: "web".into(), is_authorised: true, ..Intent::default() };
    let edit = vec![Edit::put(At::traffic("production"), traffic)];
    let refused = world.block_on(world.control().change(&person("eve"), intent.clone(), |_| Ok(edit)));
    assert!(matches!(refused, Err(ServiceError::Refused { code: "rollout_under_way", .. })), "{refused:?}");
    let deleted = vec![Edit::delete(At::environment("production"))];
    let refused = world.block_on(world.control().change(&person("eve"), intent, |_| Ok(deleted)));
    assert!(matches!(refused, Err(ServiceError::Refused { code: "rollout_under_way", .. })), "{refused:?}");
    let request = RollbackRequest { to: None, from: Some("web-2".into()), reason: "5xx".into(), wait_ms: Some(0) };
    let eve = person("eve");
    let done = world.control().roll_back(&eve, "web", "production", &request);
    assert_eq!(world.block_on(done).expect("always").from, "web-2");
    world.look();
    world.look();
    let ended = world.rollout();
    assert_eq!(ended.head.state, "rolledBack");
    assert!(ended.transitions.iter().any(|one| one.actor_name == "eve" && one.sentence.contains("5xx")), "{ended:?}");
}

#[test]
fn what_cannot_be_started_is_refused_with_its_reason() {
    let world = World::sqlite();
    let try_start = |release: &str, plan| code(world.try_start("ada", release, plan));
    assert_eq!(try_start("web-9", plan()), "release_unknown");
    assert_eq!(try_start("web-1", plan()), "release_active");
    assert_eq!(try_start("web-2", json!({"steps": [{"weight": 50}]})), "not-full");
    assert_eq!(try_start("web-2", json!({"stpes": []})), "key_unknown");
    assert_eq!(try_start("web-2", json!({"steps": [{"weight": 100, "gates": ["smoke"]}]})), "gate_unknown");
    let judged = |verdict| json!({"verdict": verdict});
    assert_eq!(try_start("web-2", judged(json!({"latency": {"thresholdsMs": [501]}}))), "threshold_unknown");
    let orders = json!({"level": "request", "custom": [{"name": "orders", "direction": "fewerIsBad"}]});
    assert_eq!(try_start("web-2", judged(orders)), "level_unavailable");
    world.start(plan());
    assert_eq!(try_start("web-2", plan()), "rollout_under_way");
}

#[test]
fn a_newer_release_takes_the_place_of_one_that_is_not_there_yet() {
    let mut world = World::sqlite();
    world.start(plan());
    assert_eq!(code(world.try_start("ada", "web-3", plan())), "rollout_superseded");
    world.silence(0);
    world.silence(0);
    assert_eq!(world.state(), "superseded");
    assert_eq!(world.try_start("ada", "web-3", plan()).expect("the place is free").head.id, 2);
}

#[test]
fn a_newer_release_waits_until_what_everybody_has_is_known() {
    let mut world = World::sqlite();
    let quick = json!({"superseding": "replace", "steps": [{"weight": 100, "holdMs": 30_000}]});
    world.start(quick.clone());
    world.beat(GOOD, 1);
    assert_eq!(code(world.try_start("ada", "web-3", quick.clone())), "rollout_waits");
    world.until("baking", GOOD);
    world.until("keepingWarm", GOOD);
    let newer = world.try_start("ada", "web-3", quick).expect("it starts");
    assert_eq!((newer.head.stable.as_str(), newer.head.release.as_str()), ("web-2", "web-3"));
    assert_eq!(world.traffic()["slots"], json!({"blue": "web-3", "green": "web-2"}));
}

#[test]
fn rollouts_keep_to_the_templates_of_their_environment() {
    let world = World::sqlite();
    let intent = Intent { app: "web".into(), is_authorised: true, ..Intent::default() };
    let put = |name: &str, document: Value| {
        let edits = vec![Edit::put(At::template("production", name), document)];
        let (root, intent) = (person("root"), intent.clone());
        world.block_on(world.control().change(&root, intent, |_| Ok(edits)))
    };
    let refused = put("slow", json!({"steps": [{"weight": 10, "holdMs": 1}]})).expect_err("it does not end at 100 %");
    let ServiceError::Faults(faults) = refused else { panic!("{refused}") };
    let found: Vec<(&str, &str)> = faults.iter().map(|fault| (fault.pointer.as_str(), fault.code)).collect();
    assert_eq!(found, [("/steps", "not-full")]);
    let done = put("slow", json!({"steps": [{"weight": 10, "approval": true}, {"weight": 100}]})).expect("it is made");
    assert!(done.snapshots.is_empty(), "no edge has anything to do with it");
    assert_eq!(code(world.try_start("ada", "web-2", plan())), "template_required");
    let start = |template: Option<&str>| {
        let template = template.map(str::to_owned);
        let request = StartRollout { release: "web-2".into(), template, ..StartRollout::default() };
        let ada = person("ada");
        let place = ("web", "production");
        world.block_on(world.control().start_rollout(&ada, place, &request, false, world.now))
    };
    assert_eq!(code(start(Some("canary"))), "template_required");
    let started = start(None).expect("the only one is meant");
    assert_eq!((started.head.template.as_str(), started.head.steps), ("slow", 2));
    assert_eq!(code(world.act("ada", Act::Promote { full: true })), "four_eyes");
}
