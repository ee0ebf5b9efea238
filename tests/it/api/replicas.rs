//! Several control planes on one database, and one after another: a proof is about every edge.

use std::path::Path;

use admin::store::Location;
use serde_json::{Value, json};
use tests::admin::{Answer, ControlPlane};
use tests::edge::Edge;
use tests::postgres;

use super::{PRODUCTION, SHOP, shop};
use crate::rig::eventually;

fn loopback() -> std::net::SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A control plane on this database, with the signing key of another one.
fn replica(database: &str, key: Option<&Path>) -> ControlPlane {
    let folder = tempfile::tempdir().expect("a folder for the test");
    if let Some(key) = key {
        std::fs::create_dir(folder.path().join("state")).expect("a new folder");
        std::fs::copy(key, folder.path().join("state/signing.key")).expect("a key to copy");
    }
    ControlPlane::start_in(folder, database.parse::<Location>().expect("a location"), loopback())
}

fn pair() -> (ControlPlane, ControlPlane) {
    let database = postgres::database();
    let one = replica(&database, None);
    one.apply(SHOP);
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 50});
    let changed = one.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(traffic));
    assert_eq!(changed.status, 200, "{changed:?}");
    let two = replica(&database, Some(&one.path().join("state/signing.key")));
    (one, two)
}

fn roll_back(plane: &ControlPlane, wait_ms: u32) -> Answer {
    plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "errors", "waitMs": wait_ms})))
}

fn states(answer: &Answer) -> Vec<(String, String)> {
    let missing = answer.body["missing"].as_array().cloned().unwrap_or_default();
    let text = |edge: &Value, name: &str| edge[name].as_str().unwrap_or_default().to_owned();
    missing.iter().map(|edge| (text(edge, "id"), text(edge, "state"))).collect()
}

/// What a control plane says of an edge.
fn seen(plane: &ControlPlane, id: &str) -> Value {
    let edges = plane.ask("GET", "/api/v1/edges", None);
    let items = edges.body["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().find(|edge| edge["id"] == id).unwrap_or(Value::Null)
}

#[test]
fn a_rollback_waits_for_the_edges_of_every_control_plane_on_the_database() {
    let (one, two) = pair();
    let mut here = Edge::connect(&one, "here", None);
    let mut there = Edge::connect(&two, "there", None);
    for (edge, plane) in [(&mut here, &one), (&mut there, &two)] {
        edge.stream.until("current");
        assert_eq!(edge.acknowledge(plane, "production", 2), 204);
    }
    let runs = |edge: &Value| edge["environments"][0]["number"] == 2;
    eventually("the one knows what the other's edge runs", || seen(&one, "there"), runs);
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| roll_back(&one, 20_000));
        for (edge, plane) in [(&mut here, &one), (&mut there, &two)] {
            assert_eq!(edge.stream.until("snapshot").json(0)["number"], 3);
            assert!(!answer.is_finished(), "nobody has acknowledged everything yet");
            assert_eq!(edge.acknowledge(plane, "production", 3), 204);
        }
        answer.join().expect("an answer")
    });
    assert_eq!((answer.status, &answer.body["acknowledged"]), (200, &json!(2)), "{answer:?}");
    assert_eq!(states(&answer), []);
}

#[test]
fn an_edge_of_another_control_plane_that_says_nothing_is_missing() {
    let (one, two) = pair();
    let _there = Edge::connect(&two, "there", None);
    eventually("the one knows of it", || seen(&one, "there"), |edge| edge["connected"] == true);
    let answer = roll_back(&one, 200);
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(states(&answer), [("there".to_owned(), "waiting".to_owned())]);
}

#[test]
fn an_edge_whose_control_plane_ends_is_expected_until_it_is_elsewhere() {
    let (one, two) = pair();
    let edge = Edge::connect(&two, "moves", None);
    eventually("the one knows of it", || seen(&one, "moves"), |edge| edge["connected"] == true);
    two.stop();
    let token = edge.token;
    drop(edge.stream);
    eventually("the one knows that it lost it", || seen(&one, "moves"), |edge| edge["connected"] == false);
    let answer = roll_back(&one, 200);
    assert_eq!(states(&answer), [("moves".to_owned(), "disconnected".to_owned())], "{answer:?}");
    let edge = Edge::connect_as(&one, "moves", None, token);
    assert_eq!(edge.acknowledge(&one, "production", 3), 204);
    let seen = seen(&one, "moves");
    assert_eq!((&seen["connected"], &seen["environments"][0]["number"]), (&json!(true), &json!(3)), "{seen}");
}

#[test]
fn after_a_restart_a_rollback_waits_for_the_edges_of_before() {
    let plane = shop();
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 50});
    assert_eq!(plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(traffic)).status, 200);
    let edge = Edge::connect(&plane, "e1", None);
    assert_eq!(edge.acknowledge(&plane, "production", 2), 204);
    let folder = plane.stop();
    let token = edge.token;
    drop(edge.stream);
    let database = Location::Sqlite(folder.path().join("bascule.db"));
    let plane = ControlPlane::start_in(folder, database, loopback());
    let answer = roll_back(&plane, 200);
    assert_eq!((answer.status, states(&answer)), (202, vec![("e1".to_owned(), "disconnected".to_owned())]));
    let edge = Edge::connect_as(&plane, "e1", None, token);
    assert_eq!(edge.acknowledge(&plane, "production", 3), 204);
    assert_eq!(seen(&plane, "e1")["environments"][0]["lag"], 0);
}

/// What an edge saw of a candidate of which every tenth request fails.
fn report(plane: &ControlPlane, token: &str, sequence: u64) {
    let release = |release: &str, errors: u64| json!({"release": release, "requests": 100, "clientErrors": 0, "serverErrors": errors, "transportErrors": 0});
    let bad = |n| json!({"unit": format!("{sequence:08x}{n:08x}"), "release": "web-2", "isCandidate": true, "weight": 50_000, "failure": "status"});
    let first_bad: Vec<Value> = (0..10).map(bad).collect();
    let releases = [release("web-2", 10), release("web-1", 0)];
    let environment = json!({"app": "web", "environment": "production", "releases": releases, "firstBad": first_bad});
    let report =
        json!({"edge": "there", "boot": "b", "sequence": sequence, "coversMs": 0, "environments": [environment]});
    let taken = plane.request("POST", "/edge/v1/reports").token(token).json(Some(report)).send();
    assert_eq!(taken.status, 200, "{taken:?}");
}

#[test]
fn whichever_leads_drives_a_rollout_and_counts_the_edges_of_all() {
    let (one, two) = pair();
    let alone = json!({"active": "blue", "slots": {"blue": "web-1"}});
    assert_eq!(two.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(alone)).status, 200);
    let mut edge = Edge::connect(&two, "there", None);
    edge.stream.until("current");
    let state =
        |plane: &ControlPlane| plane.ask("GET", &format!("{PRODUCTION}/rollouts/current"), None).body["state"].clone();
    let start =
        |plane: &ControlPlane| plane.ask("POST", &format!("{PRODUCTION}/rollouts"), Some(json!({"release": "web-2"})));
    assert_eq!(start(&two).status, 201);
    let number = |edge: &mut Edge| edge.stream.until("snapshot").json(0)["number"].as_u64().expect("a number");
    let first = number(&mut edge);
    assert_eq!(edge.acknowledge(&two, "production", first), 204);
    let token = two.token("*", "*", "edge");
    for sequence in 1..=3 {
        report(&two, &token, sequence);
    }
    let back = number(&mut edge);
    assert_eq!((back, state(&one)), (first + 1, json!("rollingBack")), "nobody has acknowledged it yet");
    assert_eq!(edge.acknowledge(&two, "production", back), 204);
    eventually(
        "every process sees the end",
        || (state(&one), state(&two)),
        |(one, two)| [one, two].into_iter().all(|state| state == "rolledBack"),
    );
    drop(one);
    assert_eq!(start(&two).status, 201);
    let again = number(&mut edge);
    assert_eq!(edge.acknowledge(&two, "production", again), 204);
    assert_eq!(two.ask("POST", &format!("{PRODUCTION}/rollouts/current/abort"), None).status, 200);
    let back = number(&mut edge);
    assert_eq!(edge.acknowledge(&two, "production", back), 204);
    eventually("the other one leads", || state(&two), |state| state == "aborted");
}
