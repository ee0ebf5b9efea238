//! The edge protocol: streams, acknowledgements, reports.

use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use tests::edge::Edge;

use super::{PRODUCTION, shop};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).expect("digits")).collect()
}

#[test]
fn an_edge_gets_what_there_is_signed_and_then_what_changes() {
    let plane = shop();
    let key = plane.ask("GET", "/api/v1/signing-keys", None).body["keys"][0]["key"].as_str().map(hex).expect("a key");
    let mut edge = Edge::connect(&plane, "e1", None);
    let mut seen = Vec::new();
    let current = loop {
        let event = edge.stream.event().expect("the stream goes on");
        match event.name.as_str() {
            "snapshot" => {
                let head: Value = event.json(0);
                let bytes =
                    admin_api::edge::signed_bytes(head["previous"].as_str().expect("text"), event.data[1].as_bytes());
                let signature = hex(head["signature"].as_str().expect("text"));
                assert!(UnparsedPublicKey::new(&ED25519, &key).verify(&bytes, &signature).is_ok());
                seen.push(head["environment"].as_str().expect("text").to_owned());
            }
            "current" => break event.json(0),
            _ => {}
        }
    };
    seen.sort();
    assert_eq!(seen, ["production", "staging"]);
    assert_eq!(current["environments"].as_array().map(Vec::len), Some(2));
    plane.change("PUT", &format!("{PRODUCTION}/flags/checkout"), "*", Some(json!({"enabled": false})));
    let next = edge.stream.until("snapshot");
    assert_eq!((&next.json(0)["number"], next.id.as_deref()), (&json!(2), Some("3")));
    // Whoever comes back gets only what is new.
    let mut back = Edge::connect(&plane, "e1", Some("2"));
    assert_eq!(back.stream.until("snapshot").json(0)["number"], 2);
    assert_eq!(back.stream.event().map(|event| event.name), Some("current".to_owned()));
    // And a number that this control plane has not reached counts for nothing.
    let mut foreign = Edge::connect(&plane, "e2", Some("99"));
    let ids = [(); 2].map(|()| foreign.stream.until("snapshot").id);
    assert_eq!(ids.map(Option::unwrap_or_default), ["2", "3"]);
}

#[test]
fn a_rollback_returns_when_every_edge_has_acknowledged() {
    let plane = shop();
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 5});
    plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(traffic));
    let mut edges = ["e1", "e2"].map(|id| Edge::connect(&plane, id, None));
    for edge in &mut edges {
        edge.stream.until("current");
        assert_eq!(edge.acknowledge(&plane, "production", 2), 204);
    }
    let answer = std::thread::scope(|scope| {
        let rollback =
            scope.spawn(|| plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "test"}))));
        for edge in &mut edges {
            assert_eq!(edge.stream.until("snapshot").json(0)["number"], 3);
            assert!(!rollback.is_finished(), "not all have answered");
            assert_eq!(edge.acknowledge(&plane, "production", 3), 204);
        }
        rollback.join().expect("no panic")
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&answer.body["acknowledged"], &answer.body["connected"]), (&json!(2), &json!(2)));
    assert_eq!(answer.body["edges"][0]["region"], "eu");
    let listed = plane.ask("GET", "/api/v1/edges", None);
    assert_eq!(listed.body["items"][0]["environments"][0]["lag"], 0, "{listed:?}");
}

#[test]
fn an_edge_that_does_not_answer_is_named() {
    let plane = shop();
    let mut quiet = Edge::connect(&plane, "quiet", None);
    quiet.stream.until("current");
    let gone = Edge::connect(&plane, "gone", None);
    drop(gone);
    let body = json!({"reason": "test", "to": "web-2", "waitMs": 300});
    let answer = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(body));
    assert_eq!(answer.status, 202, "{answer:?}");
    let missing: Vec<_> =
        answer.body["missing"].as_array().expect("a list").iter().map(|edge| edge["id"].clone()).collect();
    assert_eq!(missing, ["gone", "quiet"], "{answer:?}");
}

#[test]
fn nobody_stands_for_an_edge_of_another_token() {
    let plane = shop();
    let connect = |token: &str, boot: &str| {
        let path = format!("/edge/v1/snapshots?edge=e1&boot={boot}&kind=gateway&version=1&engine=native");
        let mut stream = plane.request("GET", &path).token(token).stream();
        let welcome = stream.until("welcome").json(0);
        stream.until("current");
        (stream, welcome["connection"].as_str().expect("a name").to_owned())
    };
    let (own, foreign) = (plane.token("web", "production", "edge"), plane.token("web", "staging", "edge"));
    // It may still serve, although its connection broke.
    drop(connect(&own, "b1"));
    let posers = ["b1", "b2"].map(|boot| connect(&foreign, boot));
    for (_, connection) in &posers {
        let acks = ["production", "staging", "nowhere"].map(|environment| {
            json!({"app": "web", "environment": environment, "number": 9, "engine": "native", "appliedUs": 1})
        });
        let body = json!({"edge": "e1", "connection": connection, "acks": acks, "leaving": true});
        assert_eq!(plane.request("POST", "/edge/v1/acks").token(&foreign).json(Some(body)).send().status, 204);
    }
    let body = json!({"reason": "test", "to": "web-2", "waitMs": 300});
    let answer = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(body));
    assert_eq!((answer.status, &answer.body["missing"][0]["id"]), (202, &json!("e1")), "{answer:?}");
    assert_eq!((&answer.body["missing"][0]["number"], &answer.body["acknowledged"]), (&Value::Null, &json!(0)));
    let edges = plane.admin().control().hub.edges();
    let kept: Vec<usize> = edges.iter().map(|edge| edge.runs.len()).collect();
    assert_eq!(kept.iter().max(), Some(&1), "only what it was given is kept: {kept:?}");
}

#[test]
fn requests_that_an_edge_lost_are_shown_and_counted_once() {
    let plane = shop();
    let edge = Edge::connect(&plane, "e1", None);
    let report = |edge_id: &str, boot: &str, sequence: u64, lost: u64| {
        let body = json!({"edge": edge_id, "boot": boot, "sequence": sequence, "coversMs": 2000, "lost": lost,
            "environments": []});
        let answer = plane.request("POST", "/edge/v1/reports").token(&edge.token).json(Some(body)).send();
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    report("e1", "b-e1", 1, 0);
    assert!(!plane.request("GET", "/metrics").send().text.contains("lost_requests_total{"), "nothing is lost");
    for sequence in [2, 2, 3] {
        report("e1", "b-e1", sequence, 7);
    }
    report("somebody", "b", 1, 5);
    let listed = plane.ask("GET", "/api/v1/edges", None);
    assert_eq!(listed.body["items"][0]["lostRequests"], 14, "{listed:?}");
    let metrics = plane.request("GET", "/metrics").send().text;
    for line in ["{kind=\"gateway\"} 14\n", "{kind=\"unknown\"} 5\n"] {
        let line = format!("bascule_admin_edge_lost_requests_total{line}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("somebody"), "who reports names no series");
}

#[test]
fn a_report_with_first_bad_events_beyond_the_protocol_is_refused() {
    let plane = shop();
    let edge = Edge::connect(&plane, "e1", None);
    let event = |unit: &str| json!({"unit": unit, "release": "web-2", "isCandidate": true, "weight": 50_000, "failure": "status"});
    let report = |sequence: u64, first_bad: Vec<Value>| {
        let environments = json!([{"app": "web", "environment": "staging"},
            {"app": "web", "environment": "production", "firstBad": first_bad}]);
        let body =
            json!({"edge": "e1", "boot": "b-e1", "sequence": sequence, "coversMs": 2000, "environments": environments});
        let answer = plane.request("POST", "/edge/v1/reports").token(&edge.token).json(Some(body)).send();
        (answer.status, answer.body["code"].as_str().map(str::to_owned), answer.body["errors"][0]["pointer"].clone())
    };
    let good = event("00ff00ff00ff00ff");
    assert_eq!(report(1, vec![good.clone(); admin_api::edge::MOST_FIRST_BAD]).0, 200);
    let many = report(2, vec![good.clone(); admin_api::edge::MOST_FIRST_BAD + 1]);
    assert_eq!(many, (400, Some("limit_exceeded".to_owned()), json!("/environments/1/firstBad")));
    for unit in ["", "0", "00ff00ff00ff00fg", "00ff00ff00ff00ff0", "+0ff00ff00ff00ff", "0ff00ff00ff00ffé"] {
        let refused = report(2, vec![good.clone(), event(unit)]);
        let pointer = json!("/environments/1/firstBad/1/unit");
        assert_eq!(refused, (400, Some("unit_invalid".to_owned()), pointer), "{unit}");
    }
}

#[test]
fn a_report_counts_once() {
    let plane = shop();
    let edge = Edge::connect(&plane, "e1", None);
    let report = |sequence: u64| {
        let environments = json!([{"app": "web", "environment": "production",
            "releases": [{"release": "web-1", "requests": 100, "clientErrors": 1, "serverErrors": 2, "transportErrors": 0}],
            "flags": [{"flag": "checkout", "variant": "on", "count": 10}]}]);
        let body =
            json!({"edge": "e1", "boot": "b-e1", "sequence": sequence, "coversMs": 2000, "environments": environments});
        plane.request("POST", "/edge/v1/reports").token(&edge.token).json(Some(body)).send()
    };
    assert_eq!(report(1).body["sequence"], 1);
    assert_eq!(report(1).status, 200, "sent again");
    assert_eq!(report(2).status, 200);
    let usage = plane.admin().control().store.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let counted = runtime
        .block_on(async { usage.read().await.expect("readable").usage("web", "production").await.expect("readable") });
    let on = counted.iter().find(|row| row.variant == "on").expect("counted");
    assert_eq!(on.count, 20);
    let listed = plane.ask("GET", "/api/v1/edges", None);
    assert_eq!(listed.body["items"][0]["requestsPerSecond"], 50.0, "{listed:?}");
}
