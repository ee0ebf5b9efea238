//! Snapshots for the tests of this crate.

use edge_engine::{BucketingKey, Snapshot, check, parse};
use serde_json::{Value, json};

use crate::{Audience, Conditions, Reply, Request, Target, native, respond};

pub(crate) fn document() -> Value {
    let flag = |kind: &str, on: Value, off: Value| {
        json!({"id": "f", "type": kind, "enabled": true, "offVariant": "off", "clientVisible": true,
            "variants": [{"key": "on", "value": on}, {"key": "off", "value": off}], "fallthrough": {"serve": "on"}})
    };
    let with = |mut flag: Value, key: &str, value: Value| {
        flag[key] = value;
        flag
    };
    let boolean = || flag("boolean", json!(true), json!(false));
    let rule = json!([{"id": "staff", "when": {"attr": "email", "op": "endsWith", "values": ["@shop.example"]},
        "serve": "on"}]);
    let halves = json!({"split": [{"variant": "on", "from": 0, "to": 500_000},
        {"variant": "off", "from": 500_000, "to": 1_000_000}]});
    let mut document = json!({
        "format": "v1", "app": "web", "environment": "production", "number": 7,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1",
        "traffic": {"active": "blue", "slots": {"blue": "web-1"}, "salt": "s"},
        "releases": {"web-1": {"version": "1", "upstreams": [{"url": "http://127.0.0.1:7001"}]}},
        "flags": {
            "static": boolean(),
            "path/to:flag": boolean(),
            "float": flag("number", json!(1.0), json!(0.5)),
            "integer": flag("number", json!(100), json!(0)),
            "object": flag("object", json!({"a": {"b": [1, 2.0, null]}}), json!({})),
            "rule": with(with(flag("string", json!("hello \"you\""), json!("")), "rules", rule), "fallthrough",
                json!({"serve": "off"})),
            "split": with(boolean(), "fallthrough", halves),
            "disabled": with(boolean(), "enabled", json!(false)),
            "secret": with(boolean(), "clientVisible", json!(false)),
            "dependent": with(boolean(), "prerequisites", json!([{"flag": "secret", "is": ["on"]}])),
            "failed": with(boolean(), "prerequisites", json!([{"flag": "disabled", "is": ["on"]}])),
        },
    });
    for (key, flag) in document["flags"].as_object_mut().expect("an object") {
        flag["id"] = json!(key);
    }
    document
}

pub(crate) fn of(document: &Value) -> Snapshot {
    let wire = parse(document.to_string().as_bytes()).expect("well formed");
    check(wire, &BucketingKey::new([7; 16])).expect("consistent")
}

pub(crate) fn snapshot() -> Snapshot {
    of(&document())
}

/// A reply to a context, which is no object when the test says so.
pub(crate) fn ask(path: &str, context: &Value, is_client: bool) -> Reply {
    let snapshot = snapshot();
    let visible = is_client.then(|| crate::visible(&snapshot));
    let audience = Audience { snapshot: &snapshot, visible: visible.as_deref(), stream_uri: None };
    let body = json!({"context": context}).to_string();
    let target = Target::parse(path).expect("OFREP's");
    let request =
        Request { target: &target, content_type: None, body: body.as_bytes(), conditions: Conditions::default() };
    let mut reply = Reply::default();
    respond(&request, &audience, native(&snapshot, 0), &mut reply);
    reply
}

/// Status and body of a single evaluation.
pub(crate) fn single(key: &str, context: &Value) -> (u16, Value) {
    let reply = ask(&format!("/ofrep/v1/evaluate/flags/{key}"), context, false);
    (reply.status, serde_json::from_slice(&reply.body).expect("JSON"))
}

/// The flags of a bulk evaluation.
pub(crate) fn bulk(context: &Value, is_client: bool) -> Vec<Value> {
    let reply = ask("/ofrep/v1/evaluate/flags", context, is_client);
    assert_eq!(reply.status, 200);
    let json: Value = serde_json::from_slice(&reply.body).expect("JSON");
    json["flags"].as_array().expect("a list").clone()
}
