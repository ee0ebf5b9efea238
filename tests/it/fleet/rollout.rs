//! A rollout with real gateways, visitors and reports: a bad candidate goes, a good one stays, and nobody's traffic moves
//! without data.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tests::{Client, Origin};

use super::{Fleet, PRODUCTION};
use crate::rig::{eventually, patiently};

/// Two gateways, the candidate without traffic.
fn fleet(green: Origin) -> Fleet {
    let fleet = Fleet::of(2, Origin::named("blue"), green);
    let alone = json!({"active": "blue", "slots": {"blue": "web-1"}});
    assert_eq!(fleet.plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(alone)).status, 200);
    fleet
}

fn failing() -> Origin {
    Origin::scripted(|exchange| exchange.respond("500 Internal Server Error", "", ""))
}

fn plan() -> Value {
    json!({"bakeMs": 1_000, "keepWarmMs": 1_000, "steps": [
        {"weight": 50, "holdMs": 1_000, "gates": ["acknowledged"]},
        {"weight": 100, "holdMs": 1_000}
    ]})
}

fn visit(address: SocketAddr, visitor: usize, stop: &AtomicBool) {
    let mut client = Client::connect(address);
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        client.get("shop.example", "/", &format!("x-user-id: u{visitor}-{n}\r\n"));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn start(fleet: &Fleet) {
    let body = json!({"release": "web-2", "plan": plan(), "reason": "a test"});
    let started = fleet.plane.ask("POST", &format!("{PRODUCTION}/rollouts"), Some(body));
    assert_eq!((started.status, &started.body["state"]), (201, &json!("step")), "{started:?}");
}

fn current(fleet: &Fleet) -> Value {
    fleet.plane.ask("GET", &format!("{PRODUCTION}/rollouts/current"), None).body
}

/// The rollout when it is in this state, with visitors all the while.
fn with_visitors(fleet: &Fleet, state: &str) -> Value {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (visitor, address) in fleet.addresses().into_iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || visit(address, visitor, stop));
        }
        start(fleet);
        let reached =
            patiently(state, || current(fleet), |rollout| rollout["state"] == state || rollout["ended"] == true);
        stop.store(true, Ordering::Relaxed);
        reached
    })
}

#[test]
fn a_bad_candidate_is_taken_back_by_what_the_gateways_report() {
    let fleet = fleet(failing());
    let ended = with_visitors(&fleet, "rolledBack");
    assert_eq!(ended["state"], "rolledBack", "{ended}");
    let reached = fleet.green.seen().len();
    let mut client = Client::connect(fleet.addresses()[0]);
    for user in 0..200 {
        assert_eq!(client.get("shop.example", "/", &format!("x-user-id: after-{user}\r\n")).status, 200);
    }
    assert_eq!(fleet.green.seen().len(), reached, "nothing reaches it any more");
    let traffic = fleet.plane.ask("GET", &format!("{PRODUCTION}/traffic"), None).body;
    assert_eq!((&traffic["slots"], &traffic["rolledBack"]), (&json!({"blue": "web-1"}), &json!(["web-2"])));
    let audit = fleet.plane.ask("GET", "/api/v1/audit/verify", None);
    assert_eq!(audit.status, 200, "{audit:?}");
}

#[test]
fn a_good_candidate_takes_over_by_what_the_gateways_report() {
    let fleet = fleet(Origin::named("green"));
    let ended = with_visitors(&fleet, "promoted");
    assert_eq!(ended["state"], "promoted", "{ended}");
    let mut client = Client::connect(fleet.addresses()[0]);
    let all = |client: &mut Client| {
        (0..50).all(|user| {
            let answer = client.get("shop.example", "/", &format!("x-user-id: after-{user}\r\n"));
            answer.status == 200
        })
    };
    assert!(all(&mut client));
    let traffic = fleet.plane.ask("GET", &format!("{PRODUCTION}/traffic"), None).body;
    assert_eq!((&traffic["active"], &traffic["slots"]), (&json!("green"), &json!({"green": "web-2"})));
    let served = fleet.blue.seen().len();
    assert!(all(&mut client));
    assert_eq!(fleet.blue.seen().len(), served, "everybody is at the new one");
}

#[test]
fn without_visitors_it_is_held() {
    let fleet = fleet(Origin::named("green"));
    let plan = json!({"steps": [{"weight": 50, "holdMs": 500, "limitMs": 1_000}, {"weight": 100}]});
    let body = json!({"release": "web-2", "plan": plan});
    assert_eq!(fleet.plane.ask("POST", &format!("{PRODUCTION}/rollouts"), Some(body)).status, 201);
    let held = eventually("it is held", || current(&fleet), |rollout| rollout["state"] == "held");
    let sentence = held["transitions"][1]["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains("not a single request at web-2"), "{held}");
    let traffic = fleet.plane.ask("GET", &format!("{PRODUCTION}/traffic"), None).body;
    assert_eq!(traffic["candidateWeight"], 50, "the weight stays");
}

#[test]
fn without_visitors_nothing_goes_forward_and_people_decide() {
    let fleet = fleet(Origin::named("green"));
    start(&fleet);
    let refused = fleet.plane.change(
        "PUT",
        &format!("{PRODUCTION}/traffic"),
        "*",
        Some(json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 90})),
    );
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("rollout_under_way")), "{refused:?}");
    let passed = |rollout: &Value| rollout["evidence"]["candidate"]["total"] == 0 && rollout["state"] == "step";
    eventually("the gate was asked, and nothing else came", || current(&fleet), passed);
    let act = |verb: &str, body| fleet.plane.ask("POST", &format!("{PRODUCTION}/rollouts/current/{verb}"), body);
    let paused = act("pause", Some(json!({"reason": "lunch"})));
    assert_eq!((paused.status, &paused.body["state"]), (200, &json!("paused")), "{paused:?}");
    assert_eq!(act("resume", None).body["state"], "step");
    let promoted = act("promote", Some(json!({"full": true})));
    // The gate of the step may not have been asked again yet.
    assert!(promoted.body["state"] == "baking" || promoted.body["code"] == "four_eyes", "{promoted:?}");
    assert_eq!(act("abort", Some(json!({"reason": "not today"}))).body["state"], "rollingBack");
    let ended = eventually("it ends", || current(&fleet), |rollout| rollout["ended"] == true);
    assert_eq!(ended["state"], "aborted", "{ended}");
    let again = act("retry", None);
    assert_eq!((again.status, &again.body["state"], &again.body["id"]), (200, &json!("step"), &json!(2)), "{again:?}");
    let list = fleet.plane.ask("GET", &format!("{PRODUCTION}/rollouts"), None);
    assert_eq!(list.body["items"].as_array().map(Vec::len), Some(2), "{list:?}");
}
