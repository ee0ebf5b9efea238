//! What takes traffic back, or holds it, beside the verdict; quarantine; and events of the app.

use admin::service::ServiceError;
use admin_api::edge::{self, EnvironmentReport, ReleaseHealth, Report};
use admin_api::rollouts::StartRollout;
use admin_api::signals::{
    AlertMeans, AlertmanagerAlert, AlertmanagerMessage, AppEvent, AppEvents, AppUnit, InfrastructureUse,
};
use serde_json::{Value, json};

use super::world::{Failing, World, code, person};

const GOOD: Failing = Failing { candidate: 1000, stable: 1000 };
const PLACE: (&str, &str) = ("web", "production");

fn plan() -> Value {
    json!({"name": "short", "bakeMs": 60_000, "keepWarmMs": 120_000, "steps": [
        {"weight": 10, "holdMs": 30_000}, {"weight": 100, "holdMs": 30_000}]})
}

/// What an edge finds: which releases can be used, and whether the candidate's breaker is open.
#[derive(Clone, Copy)]
struct Found {
    candidate: bool,
    stable: bool,
    breaker: bool,
}

const FINE: Found = Found { candidate: true, stable: true, breaker: false };

/// Two seconds later an edge tells what it found.
fn look(world: &mut World, edges: &[(&str, Found)], sequence: u64) {
    world.now += 2_000;
    for (edge, found) in edges {
        let release = |release: &str, is_usable: bool, breaker_open| ReleaseHealth {
            release: release.into(),
            upstreams: 2,
            available: is_usable.into(),
            failing: if is_usable { 1 } else { 2 },
            breaker_open,
        };
        let scope = edge::Scope { app: PLACE.0.into(), environment: PLACE.1.into() };
        let health = vec![release("web-2", found.candidate, found.breaker), release("web-1", found.stable, false)];
        let report = Report {
            edge: (*edge).into(),
            boot: "b1".into(),
            sequence,
            covers_ms: 2_000,
            lost: 0,
            environments: vec![EnvironmentReport { scope, health, ..EnvironmentReport::default() }],
        };
        world.block_on(world.control().record_reports(&[&report], world.now)).expect("it is written");
    }
    world.look();
}

fn last_sentence(world: &World, to: &str) -> String {
    let transitions = world.rollout().transitions;
    let found = transitions.iter().rev().find(|one| one.to == to);
    found.map(|one| one.sentence.clone()).unwrap_or_default()
}

#[test]
fn a_candidate_that_edges_cannot_use_is_taken_back_and_stable_is_verified() {
    let mut world = World::sqlite();
    world.start(plan());
    let down = Found { candidate: false, ..FINE };
    for sequence in 1..3 {
        look(&mut world, &[("a", down), ("b", down)], sequence);
        assert_eq!(world.state(), "step", "two looks may be a hiccup");
    }
    look(&mut world, &[("a", down), ("b", down)], 3);
    assert_eq!(world.state(), "rollingBack");
    let sentence = last_sentence(&world, "rollingBack");
    assert!(
        sentence.contains("3 of the last 5 looks found no usable upstream of web-2, at 2 of 2 edges"),
        "{sentence}"
    );
    look(&mut world, &[("a", FINE), ("b", FINE)], 4);
    assert_eq!(world.state(), "verifying", "one look is not enough");
    for sequence in 5..8 {
        look(&mut world, &[("a", FINE), ("b", FINE)], sequence);
    }
    assert_eq!(world.state(), "rolledBack");
    let sentence = last_sentence(&world, "rolledBack");
    assert!(sentence.contains("3 looks in a row found web-1 usable at 2 edges"), "{sentence}");
}

#[test]
fn a_rollback_after_which_stable_does_not_serve_fails_and_pages() {
    let mut world = World::sqlite();
    world.start(plan());
    let open = Found { breaker: true, ..FINE };
    look(&mut world, &[("a", open), ("b", FINE)], 1);
    assert_eq!(world.state(), "step", "one breaker of two");
    look(&mut world, &[("a", open), ("b", open)], 2);
    assert_eq!(world.state(), "rollingBack");
    let sentence = last_sentence(&world, "rollingBack");
    assert!(sentence.contains("the breaker of web-2 is open at 2 of 2 edges"), "{sentence}");
    let dead = Found { stable: false, ..FINE };
    for sequence in 3..30 {
        look(&mut world, &[("a", FINE), ("b", dead)], sequence);
    }
    assert_eq!(world.state(), "failed");
    let sentence = last_sentence(&world, "failed");
    assert!(sentence.contains("web-1 was not found usable 3 times in a row at b"), "{sentence}");
}

#[test]
fn when_both_are_down_it_is_held_until_that_is_over() {
    let mut world = World::sqlite();
    world.start(plan());
    let both = Found { candidate: false, stable: false, breaker: true };
    for sequence in 1..6 {
        look(&mut world, &[("a", both), ("b", both)], sequence);
    }
    let sentence = last_sentence(&world, "held");
    assert_eq!(world.state(), "held");
    assert!(sentence.contains("stable fails too"), "{sentence}");
    assert_eq!(world.traffic()["candidateWeight"], 10, "the weight stays");
    let told = world.rollout().transitions.len();
    for sequence in 6..20 {
        look(&mut world, &[("a", both), ("b", both)], sequence);
    }
    assert_eq!(world.rollout().transitions.len(), told, "it is told once");
    for sequence in 20..32 {
        look(&mut world, &[("a", FINE), ("b", FINE)], sequence);
    }
    assert_eq!(world.state(), "step", "it goes on");
}

fn alert(status: &str, release: Option<&str>, starts_at: &str) -> AlertmanagerMessage {
    let mut labels: std::collections::BTreeMap<String, String> =
        [("alertname", "HighErrorRate"), ("severity", "critical")].map(|(k, v)| (k.into(), v.into())).into();
    labels.extend(release.map(|release| ("release".into(), release.into())));
    let alert = AlertmanagerAlert {
        status: status.into(),
        labels,
        annotations: [("summary".into(), "3 % of requests fail".into())].into(),
        starts_at: starts_at.into(),
        fingerprint: "c0ffee".into(),
    };
    AlertmanagerMessage { version: Some("4".into()), alerts: vec![alert] }
}

fn told(world: &World, message: &AlertmanagerMessage) -> AlertMeans {
    let taken = world.block_on(world.control().take_alerts(PLACE, message, world.now)).expect("it is taken");
    taken.alerts[0].means
}

#[test]
fn an_alert_about_the_candidate_takes_it_back_and_one_about_stable_holds() {
    let mut world = World::sqlite();
    let old = alert("firing", None, "2020-01-01T00:00:00Z");
    assert_eq!(told(&world, &old), AlertMeans::Told, "no rollout is under way");
    world.start(plan());
    assert_eq!(told(&world, &old), AlertMeans::Told, "it began before");
    world.look();
    assert_eq!(world.state(), "step");
    assert_eq!(told(&world, &alert("firing", Some("web-1"), "2020-01-01T00:00:00Z")), AlertMeans::StableFails);
    world.look();
    assert_eq!(world.state(), "held");
    assert_eq!(told(&world, &alert("resolved", Some("web-1"), "")), AlertMeans::Resolved);
    world.silence(10_000);
    assert_eq!(world.state(), "step");
    assert_eq!(told(&world, &alert("firing", Some("web-2"), "2020-01-01T00:00:00.123Z")), AlertMeans::CandidateFails);
    world.look();
    assert_eq!(world.state(), "rollingBack");
    let sentence = last_sentence(&world, "rollingBack");
    assert!(sentence.contains("the alert HighErrorRate fires: 3 % of requests fail"), "{sentence}");
    let odd = alert("burning", None, "");
    let refused = world.block_on(world.control().take_alerts(PLACE, &odd, world.now)).expect_err("it is no status");
    let ServiceError::Faults(faults) = refused else { panic!("{refused}") };
    assert_eq!((faults[0].pointer.as_str(), faults[0].code), ("/alerts/0/status", "choice_unknown"));
}

#[test]
fn no_step_goes_forward_while_the_infrastructure_is_short() {
    let mut world = World::sqlite();
    world.start(plan());
    let used = |world: &World, value: f64| {
        let used = InfrastructureUse { values: [("cpu".to_owned(), value)].into() };
        world.block_on(world.control().take_use(PLACE, &used, world.now)).expect("it is taken");
    };
    for _ in 0..30 {
        used(&world, 0.93);
        world.beat(GOOD, 1);
    }
    let now = world.rollout();
    assert_eq!((now.head.step, now.head.strained.as_deref()), (Some(1), Some("cpu is at 93 %, above 80 %")));
    used(&world, 0.5);
    world.beat(GOOD, 1);
    let now = world.rollout();
    assert_eq!((now.head.step, now.head.strained), (Some(2), None));
}

#[test]
fn a_release_that_the_machine_rolled_back_twice_needs_a_person_who_says_so() {
    let mut world = World::sqlite();
    let bad = Failing { candidate: 10, stable: 1000 };
    for _ in 0..2 {
        world.start(plan());
        world.until("rolledBack", bad);
    }
    assert_eq!(code(world.try_start("ada", "web-2", plan())), "release_quarantined");
    let start = |accept_quarantine, reason: Option<&str>| {
        let (release, reason) = ("web-2".into(), reason.map(str::to_owned));
        let request =
            StartRollout { release, plan: Some(plan()), reason, accept_quarantine, ..StartRollout::default() };
        world.block_on(world.control().start_rollout(&person("ada"), PLACE, &request, false, world.now))
    };
    assert_eq!(code(start(true, None)), "release_quarantined", "without a reason");
    assert_eq!(code(start(false, Some("mended"))), "release_quarantined");
    assert_eq!(start(true, Some("mended")).expect("somebody means it").head.state, "step");
    assert!(world.try_start("ada", "web-3", plan()).is_err(), "the place is taken, and web-3 is in no quarantine");
}

fn orders(release: &str, users: std::ops::Range<u32>) -> AppEvents {
    let unit = |user| AppUnit { source: "cookie:bsc_unit".into(), value: format!("user-{user}") };
    let event =
        |user| AppEvent { criterion: "orders".into(), release: release.into(), unit: Some(unit(user)), count: None };
    AppEvents { events: users.map(event).collect() }
}

#[test]
fn a_candidate_with_too_few_orders_is_taken_back() {
    let mut world = World::sqlite();
    let mut plan = plan();
    plan["steps"][0]["weight"] = json!(50);
    plan["verdict"] = json!({"custom": [{"name": "orders", "direction": "fewerIsBad"}]});
    world.start(plan);
    world.beat(GOOD, 1);
    let take = |world: &World, events: &AppEvents| {
        world.block_on(world.control().take_events(PLACE, events, world.now)).expect("they are taken")
    };
    // As many orders at both.
    for round in 0..5 {
        let taken = take(&world, &orders("web-2", round * 20..round * 20 + 20));
        assert_eq!((taken.counted, taken.evidence), (20, 20));
        take(&world, &orders("web-1", 1000 + round * 20..1020 + round * 20));
        take(&world, &orders("web-1", 1000 + round * 20..1020 + round * 20));
        world.beat(GOOD, 1);
    }
    assert_eq!(world.state(), "step");
    // Then hardly any at the candidate.
    let mut round = 5;
    while ["step", "held"].contains(&world.state().as_str()) {
        assert!(round < 40, "{:#?}", world.rollout());
        take(&world, &orders("web-1", 1000 + round * 20..1020 + round * 20));
        take(&world, &orders("web-2", round * 20..round * 20 + 2));
        world.beat(GOOD, 1);
        round += 1;
    }
    assert_eq!(world.state(), "rollingBack");
    let sentence = last_sentence(&world, "rollingBack");
    assert!(sentence.contains("orders: "), "{sentence}");
    let unknown = orders("web-9", 0..1);
    let refused = world.block_on(world.control().take_events(PLACE, &unknown, world.now)).expect_err("no release");
    let ServiceError::Faults(faults) = refused else { panic!("{refused}") };
    assert_eq!((faults[0].pointer.as_str(), faults[0].code), ("/events/0/release", "release_unknown"));
}
