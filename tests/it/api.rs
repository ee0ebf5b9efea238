//! The control plane through its HTTP API.

mod apply;
mod authorisation;
mod bad_input;
mod browsers;
mod edges;
mod environments;
mod health;
mod logs;
mod objects;
mod panic;
mod patience;
mod replicas;
mod rollback;
mod schemathesis;
mod tokens;
mod workers;
mod writers;

use serde_json::{Value, json};
use tests::admin::ControlPlane;

/// An app with two environments, two releases and a flag.
pub(crate) const SHOP: &str = r#"
app: web
environments:
  staging:
    hosts: [staging.shop.example]
    traffic: {active: blue, slots: {blue: web-1}}
  production:
    promotesFrom: staging
    hosts: [shop.example]
    unit: [header:x-user-id]
    traffic: {active: blue, slots: {blue: web-1}}
releases:
  web-1: {version: 1.0.0, upstreams: [{url: "http://127.0.0.1:7001"}]}
  web-2: {version: 2.0.0, upstreams: [{url: "http://127.0.0.1:7002"}]}
segments:
  staff: {when: {attr: email, op: endsWith, values: ["@shop.example"]}}
flags:
  checkout:
    clientVisible: true
    environments:
      staging: {fallthrough: on}
      production:
        rules: [{id: staff, when: {segment: staff}, serve: on}]
        fallthrough: {split: {on: 10, off: 90}}
"#;

pub(crate) fn shop() -> ControlPlane {
    let plane = ControlPlane::start();
    plane.apply(SHOP);
    plane
}

pub(crate) const PRODUCTION: &str = "/api/v1/apps/web/environments/production";

/// The pointers and codes of a problem.
pub(crate) fn faults(problem: &Value) -> Vec<(String, String)> {
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let text = |fault: &Value, name: &str| fault[name].as_str().unwrap_or_default().to_owned();
    errors.iter().map(|fault| (text(fault, "pointer"), text(fault, "code"))).collect()
}

#[test]
fn an_app_grows_from_nothing() {
    let plane = ControlPlane::start();
    let made = plane.ask("POST", "/api/v1/apps", Some(json!({"name": "web", "description": "the shop"})));
    assert_eq!((made.status, made.header("location")), (201, Some("/api/v1/apps/web")), "{made:?}");
    let made = plane.ask("PUT", PRODUCTION, Some(json!({"hosts": ["shop.example"], "unit": ["cookie:uid"]})));
    assert_eq!(made.status, 201, "{made:?}");
    let release = json!({"id": "web-1", "version": "1.10", "upstreams": [{"url": "http://127.0.0.1:7001"}]});
    assert_eq!(plane.ask("POST", "/api/v1/apps/web/releases", Some(release.clone())).status, 201);
    assert_eq!(plane.ask("POST", "/api/v1/apps/web/releases", Some(release)).status, 200, "the same again");
    let made = plane.ask("PUT", &format!("{PRODUCTION}/traffic"), Some(json!({"slots": {"blue": "web-1"}})));
    assert_eq!(made.status, 201, "{made:?}");
    let snapshots = plane.ask("GET", &format!("{PRODUCTION}/snapshots"), None);
    assert_eq!(snapshots.body["items"][0]["number"], 1, "{snapshots:?}");
    let flag = plane.ask("POST", "/api/v1/apps/web/flags", Some(json!({"key": "a/b", "clientVisible": true})));
    assert_eq!((flag.status, flag.header("location")), (201, Some("/api/v1/apps/web/flags/a%2Fb")), "{flag:?}");
    assert_eq!(flag.body["variants"], json!([{"key": "on", "value": true}, {"key": "off", "value": false}]));
    let targeting = json!({"enabled": true, "fallthrough": {"split": {"on": 25.5, "off": 74.5}}});
    let put = plane.ask("PUT", &format!("{PRODUCTION}/flags/a%2Fb"), Some(targeting));
    assert_eq!(put.status, 201, "{put:?}");
    let newest = plane.ask("GET", &format!("{PRODUCTION}/snapshots/3"), None);
    assert_eq!(newest.body["document"]["flags"]["a/b"]["fallthrough"]["split"][0]["to"], 255_000, "{newest:?}");
    assert_eq!(newest.body["document"]["releases"]["web-1"]["version"], "1.10");
    let context = json!({"context": {"targetingKey": "ada"}, "flags": ["a/b"]});
    let decided = plane.ask("POST", &format!("{PRODUCTION}/evaluate"), Some(context));
    assert_eq!(decided.body["decisions"][0]["flags"]["a/b"]["reason"], "SPLIT", "{decided:?}");
    assert!(decided.body["decisions"][0]["trace"].is_object());
}
