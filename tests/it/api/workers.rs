//! Pushing to Workers, against a server that plays one.

use admin::edges::workers::Worker;
use admin::store::Location;
use admin_api::edge::PushHead;
use serde_json::{Value, json};
use tests::admin::{Answer, ControlPlane};
use tests::edge::Edge;
use tests::{Mood, Origin, PlayedWorker, postgres};

use super::{PRODUCTION, SHOP};
use crate::rig::eventually;

const TOKEN: &str = "bsc_canary_edge_token";

/// A control plane on SQLite in this folder that pushes to these.
fn plane(folder: tempfile::TempDir, workers: Vec<Worker>) -> ControlPlane {
    let database = Location::Sqlite(folder.path().join("bascule.db"));
    ControlPlane::start_pushing(folder, database, workers)
}

/// A Worker, and a control plane with a shop that pushes to it.
fn shop() -> (PlayedWorker, ControlPlane) {
    let worker = PlayedWorker::start(TOKEN);
    let folder = tempfile::tempdir().expect("a folder for the test");
    let configured = worker.configured("edge-eu", folder.path());
    let plane = plane(folder, vec![configured]);
    plane.apply(SHOP);
    (worker, plane)
}

/// Gives the candidate a share of the traffic: a snapshot, and something to take back.
fn move_traffic(plane: &ControlPlane, percent: u32) {
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": percent});
    let changed = plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(traffic));
    assert_eq!(changed.status, 200, "{changed:?}");
}

fn roll_back(plane: &ControlPlane, wait_ms: u32) -> Answer {
    plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "errors", "waitMs": wait_ms})))
}

/// What a control plane says of the Worker.
fn seen(plane: &ControlPlane) -> Value {
    let edges = plane.ask("GET", "/api/v1/edges", None);
    let items = edges.body["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().find(|edge| edge["id"] == "edge-eu").unwrap_or(Value::Null)
}

/// Waits until the control plane knows that the Worker runs a number.
#[track_caller]
fn runs(plane: &ControlPlane, number: u64) -> Value {
    eventually("the Worker runs it", || seen(plane), |edge| edge["environments"][0]["number"] == number)
}

#[test]
fn a_publication_is_pushed_with_the_token_and_the_bytes_that_gateways_get() {
    let (worker, plane) = shop();
    let listed = runs(&plane, 1);
    let push = worker.pushes().pop().expect("a push");
    assert_eq!(push.line, "PUT /.bascule/v1/snapshot HTTP/1.1");
    assert_eq!(push.field("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    let mut edge = Edge::connect(&plane, "gateway", None);
    let event = loop {
        let event = edge.stream.until("snapshot");
        if event.json(0)["environment"] == "production" {
            break event;
        }
    };
    assert_eq!(String::from_utf8(push.body).expect("text"), event.data.join("\n"));
    assert_eq!(
        (&listed["kind"], &listed["region"], &listed["engine"]),
        (&json!("worker"), &json!("eu"), &json!("native"))
    );
    assert_eq!((&listed["connected"], &listed["environments"][0]["lag"]), (&json!(true), &json!(0)), "{listed}");
    assert_eq!(listed["environments"].as_array().map(Vec::len), Some(1), "its own environment alone: {listed}");
    move_traffic(&plane, 5);
    runs(&plane, 2);
    assert_eq!((worker.numbers(), worker.connections()), (vec![1, 2], 1), "one connection is kept");
}

#[test]
fn a_rollback_has_the_acknowledgement_and_the_bound_of_the_isolates() {
    let (_worker, plane) = shop();
    runs(&plane, 1);
    move_traffic(&plane, 5);
    runs(&plane, 2);
    let answer = roll_back(&plane, 20_000);
    assert_eq!((answer.status, &answer.body["acknowledged"]), (200, &json!(1)), "{answer:?}");
    let edge = &answer.body["edges"][0];
    assert_eq!((&edge["id"], &edge["kind"], &edge["boundMs"]), (&json!("edge-eu"), &json!("worker"), &json!(1000)));
    assert!(edge["ackMs"].as_f64().is_some_and(|ms| ms > 0.0), "{answer:?}");
    let metrics = plane.request("GET", "/metrics").send().text;
    for line in
        ["bascule_admin_worker_pushes_total{outcome=\"acknowledged\"} 3", "worker_reachable{edge=\"edge-eu\"} 1"]
    {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn a_worker_that_cannot_be_reached_is_missing_and_catches_up() {
    let (worker, plane) = shop();
    move_traffic(&plane, 5);
    runs(&plane, 2);
    for (mood, why) in
        [(Mood::Breaks, "cannot be reached"), (Mood::Refuses(503, "object_unavailable"), "503 (object_un")]
    {
        worker.set_mood(mood);
        move_traffic(&plane, 6);
        let answer = roll_back(&plane, 300);
        assert_eq!((answer.status, &answer.body["connected"]), (202, &json!(1)), "{answer:?}");
        let missing = &answer.body["missing"][0];
        assert_eq!((&missing["id"], &missing["state"]), (&json!("edge-eu"), &json!("unreachable")), "{answer:?}");
        assert!(missing["detail"].as_str().is_some_and(|detail| detail.contains(why)), "{answer:?}");
        let listed = seen(&plane);
        assert_eq!(listed["connected"], false, "{listed}");
        assert!(listed["unreachable"].as_str().is_some_and(|detail| detail.contains(why)), "{listed}");
        worker.set_mood(Mood::Takes);
        let listed = runs(&plane, answer.body["snapshot"].as_u64().expect("a number"));
        assert_eq!((&listed["connected"], &listed["unreachable"]), (&json!(true), &Value::Null), "{listed}");
    }
}

#[test]
fn a_turned_token_is_read_anew() {
    let (worker, plane) = shop();
    runs(&plane, 1);
    worker.turn_token("bsc_another");
    move_traffic(&plane, 5);
    let why = |edge: &Value| edge["unreachable"].as_str().is_some_and(|why| why.contains("not its EDGE_TOKEN"));
    let listed = eventually("it is known why", || seen(&plane), why);
    assert!(!listed.to_string().contains("bsc_"), "{listed}");
    std::fs::remove_file(plane.path().join("edge-eu.token")).expect("it was there");
    let why = |edge: &Value| edge["unreachable"].as_str().is_some_and(|why| why.contains("cannot be read"));
    eventually("it is known that there is none", || seen(&plane), why);
    std::fs::write(plane.path().join("edge-eu.token"), "bsc_another\n").expect("writable");
    runs(&plane, 2);
}

#[test]
fn a_refusal_is_shown_and_not_pushed_again_and_again() {
    let (worker, plane) = shop();
    runs(&plane, 1);
    worker.set_mood(Mood::Refuses(422, "key_unknown"));
    move_traffic(&plane, 5);
    let refused = |edge: &Value| edge["environments"][0]["refused"].as_str().map(str::to_owned);
    let listed = eventually("it is refused", || seen(&plane), |edge| refused(edge).is_some());
    assert_eq!(refused(&listed).as_deref(), Some("2: key_unknown: as the test wants it"));
    assert_eq!(listed["connected"], true, "{listed}");
    // A newer one of another control plane is a refusal as well, and no acknowledgement of this one.
    worker.set_mood(Mood::Refuses(409, "older"));
    let answer = roll_back(&plane, 20_000);
    assert_eq!((answer.status, &answer.body["missing"][0]["state"]), (202, &json!("refused")), "{answer:?}");
    assert_eq!(answer.body["missing"][0]["detail"], "older: as the test wants it");
    worker.set_mood(Mood::Takes);
    move_traffic(&plane, 7);
    let listed = runs(&plane, 4);
    assert_eq!(refused(&listed), None, "{listed}");
    assert_eq!(worker.numbers(), [1, 2, 3, 4], "each was pushed once");
}

/// The tokens in the newest push, as hash and whether it is for clients.
fn pushed_tokens(worker: &PlayedWorker) -> Vec<(String, bool)> {
    let push = worker.pushes().pop().expect("a push");
    let head = push.body.split(|byte| *byte == b'\n').next().expect("a head");
    let head: PushHead = serde_json::from_slice(head).expect("a head");
    let mut tokens: Vec<_> = head.ofrep.into_iter().map(|token| (token.sha256, token.is_client)).collect();
    tokens.sort();
    tokens
}

/// A token's id and text.
fn mint(plane: &ControlPlane, environment: &str, role: &str, expires_at: Option<&str>) -> (String, String) {
    let scopes = json!([{"app": "web", "environment": environment, "role": role}]);
    let body = json!({"name": role, "scopes": scopes, "expiresAt": expires_at});
    let minted = plane.ask("POST", "/api/v1/tokens", Some(body));
    let text = |name: &str| minted.body[name].as_str().unwrap_or_else(|| panic!("{minted:?}")).to_owned();
    (text("id"), text("secret"))
}

fn sha256(text: &str) -> String {
    admin::token::TokenText::parse(text).expect("a token").sha256()
}

#[test]
fn ofrep_tokens_come_and_go_with_the_same_snapshot_and_those_of_other_environments_are_never_sent() {
    let (worker, plane) = shop();
    runs(&plane, 1);
    let (foreign, own) = (mint(&plane, "staging", "ofrep", None), mint(&plane, "production", "ofrep-client", None));
    let everywhere = mint(&plane, "*", "ofrep", None);
    let mut expected = vec![(sha256(&own.1), true), (sha256(&everywhere.1), false)];
    expected.sort();
    eventually("both are there", || pushed_tokens(&worker), |tokens| *tokens == expected);
    let revoke = |id: &str| plane.ask("DELETE", &format!("/api/v1/tokens/{id}"), None);
    assert_eq!(revoke(&foreign.0).status, 204);
    let pushes = worker.pushes().len();
    assert_eq!(revoke(&own.0).status, 204);
    eventually("it is gone", || pushed_tokens(&worker), |tokens| *tokens == [(sha256(&everywhere.1), false)]);
    assert_eq!(worker.pushes().len(), pushes + 1, "and nothing else was a reason to push");
    assert!(worker.numbers().iter().all(|number| *number == 1), "{:?}", worker.numbers());
    move_traffic(&plane, 5);
    runs(&plane, 2);
    assert_eq!(pushed_tokens(&worker), [(sha256(&everywhere.1), false)], "the next snapshot has it from the start");
    for push in worker.pushes() {
        let text = String::from_utf8(push.body).expect("text");
        assert!(!text.contains(&sha256(&foreign.1)) && !text.contains("\"ofrep\":[]"), "{text}");
        assert!([&foreign.1, &own.1, &everywhere.1].iter().all(|secret| !text.contains(*secret)), "{text}");
    }
}

#[test]
fn a_token_that_is_over_leaves_without_anybodys_doing() {
    let (worker, plane) = shop();
    runs(&plane, 1);
    let soon = admin::ids::rfc3339(admin::ids::now_ms() + 3_000);
    let (_, text) = mint(&plane, "production", "ofrep", Some(&soon));
    eventually("it is there", || pushed_tokens(&worker), |tokens| *tokens == [(sha256(&text), false)]);
    eventually("it is gone", || pushed_tokens(&worker), Vec::is_empty);
    assert_eq!(worker.numbers(), [1, 1, 1]);
}

#[test]
fn a_redirect_of_a_worker_is_not_followed() {
    let (worker, plane) = shop();
    runs(&plane, 1);
    let elsewhere = Origin::named("elsewhere");
    worker.set_mood(Mood::Redirects(elsewhere.address()));
    move_traffic(&plane, 5);
    let why = |edge: &Value| edge["unreachable"].as_str().is_some_and(|why| why.contains("it answered 307"));
    eventually("it is no answer", || seen(&plane), why);
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn no_edge_that_connects_stands_for_a_configured_worker() {
    let (worker, plane) = shop();
    move_traffic(&plane, 5);
    runs(&plane, 2);
    worker.set_mood(Mood::Breaks);
    // Under its id, and with a token for its environment.
    let mut edge = Edge::connect(&plane, "edge-eu", None);
    edge.stream.until("current");
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| roll_back(&plane, 500));
        assert_eq!(edge.stream.until("snapshot").json(0)["number"], 3);
        assert_eq!(edge.acknowledge(&plane, "production", 3), 204);
        answer.join().expect("an answer")
    });
    assert_eq!((answer.status, &answer.body["acknowledged"]), (202, &json!(1)), "{answer:?}");
    assert_eq!(answer.body["missing"][0]["state"], "unreachable", "{answer:?}");
}

#[test]
fn of_a_burst_only_the_newest_is_pushed() {
    let (worker, plane) = shop();
    runs(&plane, 1);
    worker.set_mood(Mood::Waits);
    move_traffic(&plane, 1);
    eventually("a push is under way", || worker.numbers(), |numbers| numbers.last() == Some(&2));
    (2..=6).for_each(|percent| move_traffic(&plane, percent));
    worker.set_mood(Mood::Takes);
    runs(&plane, 7);
    assert_eq!(worker.numbers(), [1, 2, 7]);
}

#[test]
fn a_slow_worker_delays_no_gateway() {
    let (worker, plane) = shop();
    move_traffic(&plane, 5);
    runs(&plane, 2);
    let mut gateway = Edge::connect(&plane, "gateway", None);
    gateway.stream.until("current");
    assert_eq!(gateway.acknowledge(&plane, "production", 2), 204);
    worker.set_mood(Mood::Waits);
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| roll_back(&plane, 1500));
        assert_eq!(gateway.stream.until("snapshot").json(0)["number"], 3);
        assert_eq!(gateway.acknowledge(&plane, "production", 3), 204);
        answer.join().expect("an answer")
    });
    assert_eq!((answer.status, &answer.body["edges"][0]["id"]), (202, &json!("gateway")), "{answer:?}");
    assert!(answer.body["edges"][0]["ackMs"].as_f64().is_some_and(|ms| ms < 1000.0), "{answer:?}");
    assert_eq!(answer.body["edges"][0].get("boundMs"), None);
    assert_eq!(
        (&answer.body["missing"][0]["id"], &answer.body["missing"][0]["state"]),
        (&json!("edge-eu"), &json!("waiting"))
    );
}

#[test]
fn a_restarted_control_plane_pushes_again() {
    let (worker, before) = shop();
    runs(&before, 1);
    let folder = before.stop();
    worker.set_mood(Mood::Breaks);
    let configured = worker.configured("edge-eu", folder.path());
    let after = plane(folder, vec![configured]);
    // It is expected from the first moment on.
    let answer = after.ask(
        "POST",
        &format!("{PRODUCTION}/rollback"),
        Some(json!({"reason": "x", "to": "web-2", "waitMs": 100})),
    );
    assert_eq!((answer.status, &answer.body["missing"][0]["state"]), (202, &json!("unreachable")), "{answer:?}");
    worker.set_mood(Mood::Takes);
    runs(&after, 2);
    let folder = after.stop();
    let pushed = worker.numbers().len();
    let configured = worker.configured("edge-eu", folder.path());
    let again = plane(folder, vec![configured]);
    runs(&again, 2);
    assert_eq!(worker.numbers()[pushed..], [2], "the same snapshot, to know what it runs");
}

#[test]
fn a_withdrawn_environment_is_not_pushed_and_its_next_snapshot_is() {
    let (worker, plane) = shop();
    runs(&plane, 1);
    let deleted = plane.change("DELETE", PRODUCTION, "*", None);
    assert!(deleted.status < 300, "{deleted:?}");
    let listed = seen(&plane);
    assert_eq!((&listed["environments"], &listed["connected"]), (&json!([]), &json!(true)), "{listed}");
    plane.apply(SHOP);
    let newest = plane.ask("GET", &format!("{PRODUCTION}/snapshots"), None).body["items"][0]["number"].clone();
    runs(&plane, newest.as_u64().expect("a number"));
    assert_eq!(json!(worker.numbers()), json!([1, newest]));
}

#[test]
fn several_control_planes_push_to_a_worker_that_counts_once() {
    let worker = PlayedWorker::start(TOKEN);
    let database = postgres::database();
    let start = |key: Option<&std::path::Path>| {
        let folder = tempfile::tempdir().expect("a folder for the test");
        if let Some(key) = key {
            std::fs::create_dir(folder.path().join("state")).expect("a new folder");
            std::fs::copy(key, folder.path().join("state/signing.key")).expect("a key to copy");
        }
        let configured = worker.configured("edge-eu", folder.path());
        ControlPlane::start_pushing(folder, database.parse().expect("a location"), vec![configured])
    };
    let one = start(None);
    one.apply(SHOP);
    move_traffic(&one, 50);
    let two = start(Some(&one.path().join("state/signing.key")));
    for plane in [&one, &two] {
        runs(plane, 2);
    }
    let answer = roll_back(&one, 20_000);
    assert_eq!((answer.status, &answer.body["connected"]), (200, &json!(1)), "{answer:?}");
    // That of the other one is enough.
    eventually("both have pushed it", || worker.numbers(), |numbers| numbers.iter().filter(|n| **n == 3).count() == 2);
    std::fs::write(one.path().join("edge-eu.token"), "bsc_wrong").expect("writable");
    worker.turn_token("bsc_right");
    std::fs::write(two.path().join("edge-eu.token"), "bsc_right").expect("writable");
    move_traffic(&two, 10);
    let answer = roll_back(&one, 20_000);
    assert_eq!((answer.status, &answer.body["connected"]), (200, &json!(1)), "{answer:?}");
    let edges = two.ask("GET", "/api/v1/edges", None);
    assert_eq!(edges.body["items"].as_array().map(Vec::len), Some(1), "{edges:?}");
}

#[test]
fn an_isolate_reports_without_a_stream_if_its_token_is_for_the_environment() {
    let (_worker, plane) = shop();
    let report = |token: &str, boot: &str| {
        let environments = json!([{"app": "web", "environment": "production", "flags": [{"flag": "checkout", "variant": "on", "count": 10}]}]);
        let body = json!({"edge": "edge-eu", "boot": boot, "sequence": 1, "coversMs": 2000, "lost": 3,
            "environments": environments});
        plane.request("POST", "/edge/v1/reports").token(token).json(Some(body)).send()
    };
    let (own, foreign) = (plane.token("web", "production", "edge"), plane.token("web", "staging", "edge"));
    for boot in ["isolate-1", "isolate-2", "isolate-1"] {
        assert_eq!(report(&own, boot).body["sequence"], 1, "taken, or known");
    }
    assert_eq!(report(&foreign, "isolate-3").status, 200);
    assert_eq!(seen(&plane)["lostRequests"], 6, "of each isolate with a token for its environment");
    let wrong = report(&own, "not a name");
    assert_eq!((wrong.status, &wrong.body["code"]), (400, &json!("edge_invalid")), "{wrong:?}");
    let store = plane.admin().control().store.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let counted = runtime
        .block_on(async { store.read().await.expect("readable").usage("web", "production").await.expect("readable") });
    let on = counted.iter().find(|row| row.variant == "on").expect("counted");
    assert_eq!(on.count, 20, "once for each isolate, and not for another environment's token");
}
