//! OFREP on the Worker: the gateway's answers, for the tokens that the control plane pushed.

use admin_api::edge::OfrepToken;
use edge_engine::{BucketingKey, check, parse};
use edge_ofrep::{Audience, Conditions, Reply, Request, Target, native, respond};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Origin, Response};

use super::runtime::{HOST, KEY, Worker, document, json_of, sealed_for};

const SERVER: &str = "bsc_server";
const BROWSER: &str = "bsc_browser";

fn token(text: &str, is_client: bool, expires_at_ms: Option<i64>) -> OfrepToken {
    let sha256 = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    OfrepToken { sha256, is_client, expires_at_ms }
}

fn flags(origin: &Origin) -> Value {
    let mut document = document(1, origin, origin, 0);
    let hidden = document["flags"]["checkout"].clone();
    document["flags"]["checkout"]["clientVisible"] = json!(true);
    document["flags"]["secret"] = hidden;
    document["flags"]["secret"]["id"] = json!("f2");
    document["edge"]["cors"] = json!(["https://app.example"]);
    document
}

fn ask(worker: &Worker, target: &str, token: &str, fields: &str, body: &str) -> Response {
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n{fields}\r\n",
        body.len()
    );
    worker.client().send(head + body).response()
}

#[test]
fn a_token_gets_the_answers_of_every_other_edge() {
    let origin = Origin::named("app");
    let worker = Worker::start(&origin);
    let document = flags(&origin);
    let tokens = vec![token(SERVER, false, None), token(BROWSER, true, None), token("bsc_old", false, Some(1))];
    assert_eq!(worker.push(&sealed_for(1, &document, &KEY, tokens)).status, 200);
    let snapshot = check(parse(document.to_string().as_bytes()).unwrap(), &BucketingKey::new(KEY)).unwrap();
    let body = json!({"context": {"targetingKey": "u1"}}).to_string();
    for path in ["/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/checkout", "/ofrep/v1/evaluate/flags/none"] {
        let there = ask(&worker, path, SERVER, "", &body);
        let target = Target::parse(path).unwrap();
        let request = Request {
            target: &target,
            content_type: Some(b"application/json"),
            body: body.as_bytes(),
            conditions: Conditions::default(),
        };
        let mut here = Reply::default();
        let audience = Audience { snapshot: &snapshot, visible: None, stream_uri: None };
        respond(&request, &audience, native(&snapshot, 0), &mut here);
        assert_eq!((there.status, there.text()), (here.status, String::from_utf8(here.body).unwrap()), "{path}");
    }
    let bulk = ask(&worker, "/ofrep/v1/evaluate/flags", SERVER, "", &body);
    let unchanged = format!("if-none-match: {}\r\n", bulk.field("etag").unwrap());
    assert_eq!(ask(&worker, "/ofrep/v1/evaluate/flags", SERVER, &unchanged, &body).status, 304);

    let seen = |token: &str| {
        let answer = json_of(&ask(&worker, "/ofrep/v1/evaluate/flags", token, "", &body));
        answer["flags"].as_array().unwrap().iter().map(|flag| flag["key"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(seen(SERVER), ["checkout", "secret"]);
    assert_eq!(seen(BROWSER), ["checkout"], "only what browsers may see");
    for token in ["bsc_old", "bsc_other"] {
        assert_eq!(ask(&worker, "/ofrep/v1/evaluate/flags", token, "", &body).status, 401, "{token}");
    }
    let long = "x".repeat(300_000);
    assert_eq!(ask(&worker, "/ofrep/v1/evaluate/flags", SERVER, "", &long).status, 413);
    assert_eq!(ask(&worker, "/ofrep/v1/evaluate/flags", SERVER, "", "{").status, 400);
    assert!(origin.seen().is_empty(), "none of these reached the app");
}

#[test]
fn a_page_of_an_allowed_origin_may_ask() {
    let origin = Origin::named("app");
    let worker = Worker::start(&origin);
    assert_eq!(worker.push(&sealed_for(1, &flags(&origin), &KEY, vec![token(BROWSER, true, None)])).status, 200);
    let preflight = |page: &str| {
        let head = format!("OPTIONS /ofrep/v1/evaluate/flags HTTP/1.1\r\nhost: {HOST}\r\norigin: {page}\r\n\r\n");
        worker.client().send(head).response()
    };
    let allowed = preflight("https://app.example");
    assert_eq!((allowed.status, allowed.field("access-control-allow-origin")), (204, Some("https://app.example")));
    assert_eq!(preflight("https://evil.example").field("access-control-allow-origin"), None);
    let answer = ask(&worker, "/ofrep/v1/evaluate/flags", BROWSER, "origin: https://app.example\r\n", "{}");
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://app.example"));
}

#[test]
fn tokens_come_and_go_with_the_same_snapshot() {
    let origin = Origin::named("app");
    let worker = Worker::start(&origin);
    let document = flags(&origin);
    let path = "/ofrep/v1/evaluate/flags/checkout";
    assert_eq!(worker.push(&sealed_for(1, &document, &KEY, Vec::new())).status, 200);
    assert_eq!(ask(&worker, path, "app-token", "", "{}").text(), "app", "without tokens the path is the app's");
    assert_eq!(worker.push(&sealed_for(1, &document, &KEY, vec![token(SERVER, false, None)])).status, 200);
    assert_eq!(ask(&worker, path, SERVER, "", "{}").status, 200);
    assert_eq!(worker.push(&sealed_for(1, &document, &KEY, vec![token(BROWSER, false, None)])).status, 200);
    assert_eq!(ask(&worker, path, SERVER, "", "{}").status, 401, "revoked");
}
