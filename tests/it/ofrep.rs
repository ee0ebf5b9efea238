//! OFREP at a whole gateway over real sockets.

mod access;
mod answers;
mod bodies;
mod clients;
mod cors;
mod engines;
mod events;
mod failures;
mod http2;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use admin_api::edge::{Access, EnvironmentAccess, OfrepToken, Scope};
use edge_ofrep::Fingerprint;
use serde_json::{Value, json};
use tests::world::{HOST, WorldBuilder};
use tests::{Client, Response, World};

/// A token that sees all flags.
const SERVER: &str = "bsc_server";
/// A token that sees what clients may.
const CLIENT: &str = "bsc_client";
const BULK: &str = "/ofrep/v1/evaluate/flags";

fn token(text: &str, is_client: bool, expires_at_ms: Option<i64>) -> OfrepToken {
    OfrepToken { sha256: Fingerprint::of(text).hex(), is_client, expires_at_ms }
}

fn of(app: &str, environment: &str, tokens: Vec<OfrepToken>) -> EnvironmentAccess {
    EnvironmentAccess { scope: Scope { app: app.into(), environment: environment.into() }, tokens }
}

/// Both tokens, for the environment of a world.
fn access() -> Access {
    let tokens = vec![token(SERVER, false, None), token(CLIENT, true, None)];
    Access { environments: vec![of("web", "production", tokens)] }
}

fn flag(id: &str, kind: &str, on: Value, off: Value) -> Value {
    json!({"id": id, "type": kind, "enabled": true, "offVariant": "off", "clientVisible": true,
        "variants": [{"key": "on", "value": on}, {"key": "off", "value": off}], "fallthrough": {"serve": "on"}})
}

/// Ten flags of all kinds.
fn flags() -> Value {
    let with = |mut flag: Value, changes: Value| {
        flag.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        flag
    };
    let boolean = |id| flag(id, "boolean", json!(true), json!(false));
    json!({
        "static": boolean("static"),
        "path/to:flag": boolean("path"),
        "float": flag("float", "number", json!(1.0), json!(0.5)),
        "integer": flag("integer", "number", json!(100), json!(0)),
        "text": flag("text", "string", json!("hello"), json!("")),
        "object": flag("object", "object", json!({"a": {"b": [1, 2]}}), json!({})),
        "rule": with(boolean("rule"), json!({"fallthrough": {"serve": "off"}, "rules": [
            {"id": "staff", "when": {"attr": "email", "op": "endsWith", "values": ["@shop.example"]}, "serve": "on"}]})),
        "split": with(boolean("split"), json!({"fallthrough": {"split": [
            {"variant": "on", "from": 0, "to": 500_000}, {"variant": "off", "from": 500_000, "to": 1_000_000}]}})),
        "disabled": with(boolean("disabled"), json!({"enabled": false})),
        "secret": with(boolean("secret"), json!({"clientVisible": false})),
    })
}

/// A world with ten flags, whose upstreams nobody needs.
fn builder() -> WorldBuilder {
    World::of("http://127.0.0.1:9", "http://127.0.0.1:9").snapshot(|snapshot| snapshot["flags"] = flags())
}

/// It, with both tokens.
fn world() -> World {
    with_tokens(builder())
}

fn with_tokens(builder: WorldBuilder) -> World {
    let world = builder.start();
    world.gateway().publisher().set_access(access()).unwrap();
    world
}

/// Sends a request for flags, with more fields (each with its line end).
fn request(client: &mut Client, line: &str, fields: &str, body: &[u8]) -> Response {
    let head = format!("{line} HTTP/1.1\r\nhost: {HOST}\r\n{fields}content-length: {}\r\n\r\n", body.len());
    client.send([head.as_bytes(), body].concat());
    client.try_response(line.starts_with("HEAD")).unwrap()
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n")
}

/// Evaluates with a token and a context.
fn evaluate(world: &World, token: &str, target: &str, context: &Value) -> Response {
    let body = json!({"context": context}).to_string();
    request(&mut world.client(), &format!("POST {target}"), &bearer(token), body.as_bytes())
}

fn json_of(response: &Response) -> Value {
    assert_eq!(response.field("content-type"), Some("application/json"), "{response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

/// The value of a flag for a token.
fn value(world: &World, token: &str, key: &str, context: &Value) -> Value {
    let response = evaluate(world, token, &format!("{BULK}/{key}"), context);
    assert_eq!(response.status, 200, "{}", response.text());
    json_of(&response)["value"].clone()
}

/// Status and code of a failure, which has details and the security of its headers.
#[track_caller]
fn failure(response: &Response) -> (u16, String) {
    let json = json_of(response);
    assert!(json["errorDetails"].as_str().is_some_and(|detail| !detail.is_empty()), "{json}");
    assert_eq!(response.field("cache-control"), Some("no-store"));
    assert!(response.field("x-request-id").is_some());
    (response.status, json["errorCode"].as_str().unwrap().to_owned())
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_millis()).unwrap()
}
