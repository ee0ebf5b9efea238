//! What nobody should send: every write refuses it with a code and a place, and nothing is different afterwards.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::admin::{Answer, ControlPlane, Request};

use super::authorisation::patient_shop;
use super::{PRODUCTION, SHOP, faults};

/// A write that would be done if its body were not spoilt.
struct Write {
    id: &'static str,
    method: &'static str,
    path: String,
    body: Value,
    if_match: bool,
}

fn write(id: &'static str, method: &'static str, path: &str, body: Value, if_match: bool) -> Write {
    Write { id, method, path: path.to_owned(), body, if_match }
}

/// What a person decides about a rollout; it may come without a body.
fn act(id: &'static str, verb: &str) -> Write {
    write(id, "POST", &format!("{PRODUCTION}/rollouts/current/{verb}"), json!({"reason": "why"}), false)
}

/// Every write with a body.
fn writes() -> Vec<Write> {
    let when = json!({"attr": "a", "op": "in", "values": [1]});
    let release = json!({"id": "r", "version": "3", "upstreams": [{"url": "http://127.0.0.1:7003"}]});
    let scopes = json!([{"app": "web", "environment": "*", "role": "viewer"}]);
    let traffic = json!({"active": "blue", "slots": {"blue": "web-2"}, "candidateWeight": 0});
    let environment = json!({"hosts": ["other.shop.example"]});
    let template = json!({"preview": true, "bakeMs": 1000});
    let apply: Value = json!({"app": "web", "environments": {"staging": {"hosts": ["x.example"]}}});
    vec![
        write("createApp", "POST", "/api/v1/apps", json!({"name": "api", "description": "x"}), false),
        write("updateApp", "PATCH", "/api/v1/apps/web", json!({"description": "x"}), true),
        write("putEnvironment", "PUT", PRODUCTION, environment, true),
        write("createFlag", "POST", "/api/v1/apps/web/flags", json!({"key": "f", "description": "x"}), false),
        write("updateFlag", "PATCH", "/api/v1/apps/web/flags/checkout", json!({"description": "x"}), true),
        write("putTargeting", "PUT", &format!("{PRODUCTION}/flags/checkout"), json!({"enabled": false}), true),
        write("copyTargeting", "POST", &format!("{PRODUCTION}/flags/checkout/copy"), json!({"reason": "why"}), false),
        write("putSegment", "PUT", "/api/v1/apps/web/segments/staff", json!({"when": when}), true),
        write("createRelease", "POST", "/api/v1/apps/web/releases", release, false),
        write("putTraffic", "PUT", &format!("{PRODUCTION}/traffic"), traffic, true),
        write("rollback", "POST", &format!("{PRODUCTION}/rollback"), json!({"reason": "x", "to": "web-2"}), false),
        write("signPanicOverride", "POST", &format!("{PRODUCTION}/panic-override"), json!({"reason": "x"}), false),
        write("republishSnapshot", "POST", &format!("{PRODUCTION}/snapshots/1/publish"), json!({"reason": "x"}), false),
        write("startRollout", "POST", &format!("{PRODUCTION}/rollouts"), json!({"release": "web-2"}), false),
        write("putRolloutTemplate", "PUT", &format!("{PRODUCTION}/rollout-templates/slow"), template, false),
        write(
            "takeInfrastructureUse",
            "POST",
            &format!("{PRODUCTION}/signals/infrastructure"),
            json!({"values": {"cpu": 0.5}}),
            false,
        ),
        act("pauseRollout", "pause"),
        act("resumeRollout", "resume"),
        act("approveRollout", "approve"),
        act("previewRollout", "preview-links"),
        act("promoteRollout", "promote"),
        act("abortRollout", "abort"),
        act("retryRollout", "retry"),
        write("apply", "PUT", "/api/v1/apply", apply, false),
        write("createToken", "POST", "/api/v1/tokens", json!({"name": "t", "scopes": scopes}), false),
    ]
}

/// Everything that a write could change.
fn state(plane: &ControlPlane) -> Vec<String> {
    let get = |path: &str| plane.ask("GET", path, None);
    let mut state: Vec<String> = ["/api/v1/apps/web/export", "/api/v1/apps", "/api/v1/audit/verify"]
        .into_iter()
        .map(|path| get(path).text)
        .collect();
    state.extend(["staging", "production"].map(|name| {
        let path = format!("/api/v1/apps/web/environments/{name}/snapshots");
        get(&path).text
    }));
    let tokens = get("/api/v1/tokens").body["items"].as_array().map_or(0, Vec::len);
    state.push(tokens.to_string());
    state
}

fn to(plane: &ControlPlane, write: &Write, query: &str) -> Request {
    let request = plane.request(write.method, &format!("{}{query}", write.path)).token(plane.root());
    if write.if_match { request.header("if-match", "*") } else { request }
}

/// A refusal is a problem with a code, and has one of these statuses.
#[track_caller]
fn refused(what: &str, answer: &Answer, expected: &[u16]) {
    assert!(expected.contains(&answer.status), "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}: {answer:?}");
    assert!(answer.body["code"].as_str().is_some_and(|code| !code.is_empty()), "{what}: {answer:?}");
    assert_eq!(answer.body["status"], answer.status, "{what}: {answer:?}");
}

/// Spoils a body in every way that has nothing to do with what it says.
fn spoilt(body: &Value) -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let text = body.to_string();
    let nested = |open: &str, close: &str| [open.repeat(10_000), "1".to_owned(), close.repeat(10_000)].concat();
    let with = |name: &str, value: &str| format!("{},\"{name}\":{value}}}", &text[..text.len() - 1]);
    let mut invalid = with("bogus", "\"#\"").into_bytes();
    let place = invalid.iter().rposition(|byte| *byte == b'#').expect("just written");
    invalid[place] = 0xff;
    vec![
        ("an unknown field", with("bogus", "1").into_bytes(), &[422]),
        ("a list", b"[]".to_vec(), &[422]),
        ("a text", b"\"x\"".to_vec(), &[422]),
        ("a number", b"7".to_vec(), &[422]),
        ("a null", b"null".to_vec(), &[422]),
        ("nothing", Vec::new(), &[400, 422]),
        ("half of it", text.as_bytes()[..text.len() - 2].to_vec(), &[400, 422]),
        ("two of it", format!("{text} {text}").into_bytes(), &[400, 422]),
        ("bytes that are no text", invalid, &[400]),
        ("a NUL byte", with("bogus", "\"\0\"").into_bytes(), &[400, 422]),
        ("a number beyond all", with("bogus", "1e999").into_bytes(), &[400, 422]),
        ("deep lists", nested("[", "]").into_bytes(), &[400, 422]),
        ("deep objects", nested("{\"a\":", "}").into_bytes(), &[400, 422]),
        ("a deep field", with("bogus", &nested("[", "]")).into_bytes(), &[400, 422]),
    ]
}

#[test]
fn spoilt_bodies_change_nothing() {
    let plane = patient_shop();
    let document = plane.request("GET", "/openapi.json").send().body;
    let operations = document["paths"].as_object().expect("paths").values();
    let operations = operations.flat_map(|methods| methods.as_object().expect("methods").iter());
    let with_body = operations.filter(|(method, operation)| *method != "get" && operation.get("requestBody").is_some());
    let there: BTreeSet<&str> = with_body.filter_map(|(_, operation)| operation["operationId"].as_str()).collect();
    // Alertmanager says more than is read, and events of an app take another token.
    let harmless = ["evaluate", "ofrepBulk", "ofrepSingle", "acknowledge", "report", "takeAlerts", "takeAppEvents"];
    let known: BTreeSet<&str> = writes().iter().map(|write| write.id).chain(harmless).collect();
    assert_eq!(known, there, "every write with a body is tried");
    let before = state(&plane);
    for write in writes() {
        for (what, body, expected) in spoilt(&write.body) {
            // All that it says is optional, and so is the body.
            let is_optional = ["copyTargeting", "signPanicOverride"].contains(&write.id);
            if (is_optional || write.path.contains("/current/")) && what == "nothing" {
                continue;
            }
            let answer = to(&plane, &write, "").bytes("application/json", &body).send();
            let what = format!("{what} to {}", write.id);
            refused(&what, &answer, expected);
            if what.starts_with("an unknown field") {
                let found = faults(&answer.body);
                let place = if write.id == "apply" { "" } else { "/bogus" };
                assert_eq!(found.first().map(|(pointer, _)| pointer.as_str()), Some(place), "{what}: {answer:?}");
            }
            assert!(answer.status == 400 || !faults(&answer.body).is_empty(), "{what} has no place: {answer:?}");
        }
        let size = if write.id == "apply" { 33 } else { 10 };
        let large = format!("{{\"description\":\"{}\"}}", "a".repeat(size << 20));
        refused(write.id, &to(&plane, &write, "").body("application/json", &large).send(), &[413]);
        let text = write.body.to_string();
        refused(write.id, &to(&plane, &write, "").body("text/plain", &text).send(), &[415]);
        refused(write.id, &to(&plane, &write, "").body("application/x-www-form-urlencoded", &text).send(), &[415]);
        assert_eq!(state(&plane), before, "{} changed something", write.id);
    }
}

#[test]
fn spoilt_queries_change_nothing() {
    let plane = patient_shop();
    let before = state(&plane);
    let long = format!("?reason={}", "a".repeat(600));
    let longer = format!("?reason={}", "a".repeat(5_000));
    let longest = format!("?reason={}", "a".repeat(9_000));
    for write in writes() {
        let query = |query: &str| to(&plane, &write, query).json(Some(write.body.clone())).send();
        for bad in [
            "?bogus=1",
            "?dryrun=true",
            "?dryRun=true&dryRun=true",
            "?dryRun=false&dryRun=true",
            "?dryRun=yes",
            "?dryRun",
            "?reason=a&reason=b",
            "?reason=%00",
            "?reason=%0a",
            "?dryRun=true&%64ryRun=false",
            &long,
            &longer,
        ] {
            refused(&format!("{bad:.40} to {}", write.id), &query(bad), &[400]);
        }
        refused(write.id, &query(&longest), &[414]);
        assert_eq!(state(&plane), before, "{} changed something", write.id);
    }
    for path in [
        "flags?limit=0",
        "flags?limit=201",
        "flags?limit=-1",
        "flags?limit=99999999999999999999",
        "flags?limit=1&limit=1",
    ] {
        refused(path, &plane.ask("GET", &format!("/api/v1/apps/web/{path}"), None), &[400]);
    }
}

#[test]
fn conditions_that_do_not_hold_change_nothing() {
    let plane = patient_shop();
    let before = state(&plane);
    for write in writes().into_iter().filter(|write| write.if_match) {
        let ask = |value: &str| {
            let request = plane.request(write.method, &write.path).token(plane.root()).header("if-match", value);
            request.json(Some(write.body.clone())).send()
        };
        for stale in ["\"999999\"", "\"0\"", "\"-1\"", "W/\"1\"", "\"", "\"99999999999999999999999\"", "x, y"] {
            let answer = ask(stale);
            refused(&format!("{stale} to {}", write.id), &answer, &[400, 412]);
            assert!(answer.status == 400 || answer.body["current"].is_object(), "{}: {answer:?}", write.id);
        }
        let without =
            plane.request(write.method, &write.path).token(plane.root()).json(Some(write.body.clone())).send();
        refused(write.id, &without, &[428]);
        assert_eq!(state(&plane), before, "{} changed something", write.id);
    }
}

/// What is wrong in what a body says: id, body, pointer, code.
fn unsound() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let long = "a".repeat(129);
    let split = |on: f64, off: f64| json!({"fallthrough": {"split": {"on": on, "off": off}}});
    let slots = json!({"blue": "web-1", "green": "web-2"});
    let weight = |weight: Value| json!({"slots": slots, "candidateWeight": weight});
    let scope = |role: &str| json!([{"app": "web", "environment": "*", "role": role}]);
    let release = |url: &str| json!({"id": "r", "version": "1", "upstreams": [{"url": url}]});
    vec![
        ("createApp", json!({"name": "a".repeat(64)}), "/name", "name_invalid"),
        ("createApp", json!({"name": "A"}), "/name", "name_invalid"),
        ("createApp", json!({"name": "a\0"}), "/name", "name_invalid"),
        ("createApp", json!({"name": 1}), "/name", "type_mismatch"),
        ("createApp", json!({}), "", "key_missing"),
        ("createApp", json!({"name": "api", "description": "a\0b"}), "/description", "text_invalid"),
        ("updateApp", json!({"description": 5}), "/description", "type_mismatch"),
        ("updateApp", json!({"description": "a\0b"}), "/description", "text_invalid"),
        ("putEnvironment", json!({"promotesFrom": "nowhere"}), "/promotesFrom", "environment_unknown"),
        ("putEnvironment", json!({"hosts": ["a b"]}), "/hosts/0", "host_invalid"),
        ("putEnvironment", json!({"timeouts": {"connectMs": 1e300}}), "/timeouts/connectMs", ""),
        ("createFlag", json!({"key": long}), "", ""),
        ("createFlag", json!({"key": "a b"}), "", ""),
        ("createFlag", json!({"key": "a\0"}), "", ""),
        ("createFlag", json!({"key": ""}), "", ""),
        ("createFlag", json!({}), "/key", "key_missing"),
        ("createFlag", json!({"key": 5}), "/key", "key_missing"),
        (
            "createFlag",
            json!({"key": "f", "prerequisites": [{"flag": "nope", "is": ["on"]}]}),
            "/prerequisites/0/flag",
            "flag_unknown",
        ),
        ("updateFlag", json!({"type": "integer"}), "/type", ""),
        ("putTargeting", split(50.0, 49.0), "/fallthrough/split", "split_sum"),
        ("putTargeting", split(100.0, 100.0), "/fallthrough/split", "split_sum"),
        ("putTargeting", split(-1.0, 101.0), "", ""),
        ("putTargeting", split(1e300, 0.0), "", ""),
        ("putTargeting", split(33.333_33, 66.666_67), "", ""),
        ("putTargeting", json!({"fallthrough": {"serve": "maybe"}}), "/fallthrough/serve", "variant_unknown"),
        (
            "putTargeting",
            json!({"rules": [{"when": {"segment": "nope"}, "serve": "on"}]}),
            "/rules/0/when/segment",
            "segment_unknown",
        ),
        ("putTargeting", json!({"rules": {}}), "/rules", "type_mismatch"),
        ("putSegment", json!({"when": {"attr": "a", "op": "resembles", "values": [1]}}), "/when/op", ""),
        ("putSegment", json!({"when": {"segment": "staff"}}), "", ""),
        ("createRelease", release("ftp://x"), "/upstreams/0/url", ""),
        ("createRelease", release("http://a b"), "/upstreams/0/url", "upstream_invalid"),
        ("createRelease", json!({"id": "r", "version": "1", "upstreams": []}), "/upstreams", ""),
        ("createRelease", json!({"id": long, "version": "1", "upstreams": [{"url": "http://x"}]}), "", ""),
        ("createRelease", json!({}), "/id", "key_missing"),
        ("putTraffic", weight(json!(101)), "/candidateWeight", ""),
        ("putTraffic", weight(json!(-1)), "/candidateWeight", ""),
        ("putTraffic", weight(json!(1e300)), "/candidateWeight", ""),
        ("putTraffic", weight(json!("ten")), "/candidateWeight", ""),
        ("putTraffic", json!({"slots": {"blue": "web-9"}}), "/slots/blue", "release_unknown"),
        ("rollback", json!({"reason": "x", "to": "web-9"}), "/to", "release_unknown"),
        ("rollback", json!({"reason": "x", "waitMs": 60_001}), "/waitMs", "out_of_range"),
        ("rollback", json!({"reason": "x", "waitMs": 99_999_999_999_u64}), "/waitMs", "type_mismatch"),
        ("rollback", json!({"reason": " "}), "/reason", "reason_invalid"),
        ("rollback", json!({"reason": "a\0"}), "/reason", "reason_invalid"),
        ("rollback", json!({"reason": "a".repeat(1_001)}), "/reason", "reason_invalid"),
        ("rollback", json!({}), "", "key_missing"),
        ("signPanicOverride", json!({"release": "web-9"}), "/release", "release_unknown"),
        ("signPanicOverride", json!({"before": 0}), "/before", "out_of_range"),
        ("signPanicOverride", json!({"before": -1}), "/before", "type_mismatch"),
        ("signPanicOverride", json!({"reason": " "}), "/reason", "reason_invalid"),
        ("republishSnapshot", json!({"reason": "a\0"}), "/reason", "reason_invalid"),
        ("copyTargeting", json!({"reason": "a".repeat(1_001)}), "/reason", "reason_invalid"),
        ("copyTargeting", json!({"reason": "a\0"}), "/reason", "reason_invalid"),
        ("createToken", json!({"name": "", "scopes": scope("viewer")}), "/name", "name_invalid"),
        ("createToken", json!({"name": "a".repeat(101), "scopes": scope("viewer")}), "/name", "name_invalid"),
        ("createToken", json!({"name": "a\0", "scopes": scope("viewer")}), "/name", "name_invalid"),
        ("createToken", json!({"name": "t", "scopes": []}), "/scopes", "out_of_range"),
        ("createToken", json!({"name": "t", "scopes": scope("king")}), "/scopes/0/role", "choice_unknown"),
        (
            "createToken",
            json!({"name": "t", "scopes": scope("viewer"), "expiresAt": "soon"}),
            "/expiresAt",
            "timestamp_invalid",
        ),
        (
            "createToken",
            json!({"name": "t", "scopes": scope("viewer"), "expiresAt": "2001-01-01T00:00:00Z"}),
            "/expiresAt",
            "out_of_range",
        ),
    ]
}

/// The same for texts that are too long, and for lists in the place of objects, at any depth.
fn long_texts_and_lists() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let described = |key: &str, text: &str| {
        let mut release = json!({"id": "r", "version": "1", "upstreams": [{"url": "http://x"}]});
        release[key] = text.into();
        release
    };
    vec![
        ("updateApp", json!({"description": "a".repeat(2_001)}), "/description", "out_of_range"),
        ("createApp", json!({"name": "api", "description": "a".repeat(2_001)}), "/description", "out_of_range"),
        ("putEnvironment", json!({"description": "a".repeat(2_001)}), "/description", "out_of_range"),
        ("createFlag", json!({"key": "f", "description": "a".repeat(2_001)}), "/description", "out_of_range"),
        ("updateFlag", json!({"description": "a\0"}), "/description", "text_invalid"),
        (
            "putSegment",
            json!({"description": "a".repeat(2_001), "when": {"attr": "a", "op": "exists"}}),
            "/description",
            "out_of_range",
        ),
        ("createRelease", described("description", &"a".repeat(2_001)), "/description", "out_of_range"),
        ("createRelease", described("rollbackPlan", &"a".repeat(257)), "/rollbackPlan", "limit_exceeded"),
        ("createRelease", described("commit", &"a".repeat(257)), "/commit", "limit_exceeded"),
        ("updateFlag", json!({"salt": "a".repeat(257)}), "/salt", "limit_exceeded"),
        ("putEnvironment", json!({"timeouts": [1, 2, 3]}), "/timeouts", "type_mismatch"),
        ("putTargeting", json!({"rules": [["r", {"segment": "staff"}, "on"]]}), "/rules/0", "type_mismatch"),
        ("putTargeting", json!({"fallthrough": ["on"]}), "/fallthrough", "type_mismatch"),
        (
            "createRelease",
            json!({"id": "r", "version": "1", "upstreams": [["http://x"]]}),
            "/upstreams/0",
            "type_mismatch",
        ),
        ("putTraffic", json!({"slots": ["web-1", "web-2"]}), "/slots", "type_mismatch"),
        ("createToken", json!({"name": "t", "scopes": [["web", "*", "viewer"]]}), "/scopes/0", "type_mismatch"),
    ]
}

#[test]
fn what_a_body_says_wrongly_has_its_place() {
    let plane = patient_shop();
    let before = state(&plane);
    let writes = writes();
    let mut wrong = Vec::new();
    for (id, body, pointer, code) in unsound().into_iter().chain(long_texts_and_lists()) {
        let write = writes.iter().find(|write| write.id == id).expect("a write");
        let answer = to(&plane, write, "").json(Some(body.clone())).send();
        let what = format!("{body:.200} to {id}");
        if answer.status != 422 {
            wrong.push(format!("{what}: {} {}", answer.status, answer.text));
            continue;
        }
        refused(&what, &answer, &[422]);
        let found = faults(&answer.body);
        let is_it = |fault: &(String, String)| {
            (pointer.is_empty() || fault.0 == pointer) && (code.is_empty() || fault.1 == code)
        };
        if !found.iter().any(is_it) {
            wrong.push(format!("{what}: expected {pointer} {code}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(state(&plane), before);
}

#[test]
fn what_is_not_there_is_not_found() {
    let plane = patient_shop();
    let before = state(&plane);
    let long = "a".repeat(2_000);
    for (method, path, body) in [
        ("PATCH", "/api/v1/apps/nope".to_owned(), json!({})),
        ("PUT", "/api/v1/apps/nope/environments/x".to_owned(), json!({})),
        ("PATCH", "/api/v1/apps/web/flags/nope".to_owned(), json!({})),
        ("PATCH", format!("/api/v1/apps/web/flags/{long}"), json!({})),
        ("PUT", format!("{PRODUCTION}/flags/nope"), json!({})),
        ("PUT", format!("{PRODUCTION}/flags/{long}"), json!({})),
        ("PUT", "/api/v1/apps/web/environments/nope/traffic".to_owned(), json!({"slots": {}})),
        ("POST", "/api/v1/apps/web/environments/nope/rollback".to_owned(), json!({"reason": "x"})),
        ("POST", "/api/v1/apps/web/environments/nope/panic-override".to_owned(), json!({})),
        ("POST", format!("{PRODUCTION}/snapshots/99/publish"), json!({"reason": "x"})),
        ("POST", format!("/api/v1/apps/{long}/flags"), json!({"key": "f"})),
        ("PATCH", format!("/api/v1/apps/{long}"), json!({})),
    ] {
        let answer = plane.request(method, &path).token(plane.root()).json(Some(body)).send();
        refused(&format!("{method} {path:.80}"), &answer, &[404]);
    }
    for (method, path) in [
        ("PUT", format!("/api/v1/apps/web/environments/{long}")),
        ("PUT", format!("/api/v1/apps/web/segments/{long}")),
        ("PUT", "/api/v1/apps/web/environments/A%20b".to_owned()),
    ] {
        let body = json!({"when": {"attr": "a", "op": "exists"}});
        let body = if path.contains("segments") { body } else { json!({"hosts": ["x.example"]}) };
        let answer = plane.request(method, &path).token(plane.root()).json(Some(body)).send();
        refused(&format!("{method} {path:.80}"), &answer, &[422]);
    }
    for number in ["0", "-1", "99999999999999999999", "1e3", "x", "%201"] {
        refused(number, &plane.ask("GET", &format!("{PRODUCTION}/snapshots/{number}"), None), &[400, 404]);
    }
    assert_eq!(state(&plane), before);
}

#[test]
fn a_spoilt_manifest_says_the_line() {
    let plane = patient_shop();
    let before = state(&plane);
    let apply = |body: &str| plane.request("PUT", "/api/v1/apply").token(plane.root()).body("application/yaml", body);
    let sum = SHOP.replace("on: 10, off: 90", "on: 10, off: 80");
    let unknown = SHOP.replace("segment: staff", "segment: stuff");
    let key = SHOP.replace("clientVisible: true", "clientVisble: true");
    for (body, place) in [(sum, "24:"), (unknown, "23:"), (key, "19:")] {
        let answer = apply(&body).send();
        refused("a manifest", &answer, &[422]);
        let found = answer.body["errors"][0]["place"].as_str().unwrap_or_default().to_owned();
        assert!(found.starts_with(place), "{found}: {answer:?}");
    }
    let bombs = [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: *c\n".to_owned(),
        format!("app: web\nx: {}\n", "[".repeat(10_000)),
        "app: web\napp: web\n".to_owned(),
        "app: web\n---\napp: web\n".to_owned(),
        "app: false\n".to_owned(),
        "{\"app\": true, \"environments\": {}}".to_owned(),
        "%YAML 9.9\n---\napp: !!python/object:x {}\n".to_owned(),
        "\0".to_owned(),
    ];
    for bomb in bombs {
        refused(&format!("{bomb:.40}"), &apply(&bomb).send(), &[400, 422]);
    }
    assert_eq!(state(&plane), before);
}
