//! Who may do what: an explicit table, paths that try to get past it, and what the audit says afterwards.
//!
//! The tables are written by hand. An operation of `/openapi.json` without a row, and a row without an operation, fail.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use admin::limits::{Limits, Timeouts};
use serde_json::{Value, json};
use tests::admin::ControlPlane;

use super::{PRODUCTION, SHOP, shop};
use crate::rig::eventually;

/// Who asks, in the order of the columns. Roles without another word are for `web/production`.
const WHO: [&str; 14] = [
    "nobody",
    "garbage",
    "expired",
    "revoked",
    "viewer of staging",
    "viewer",
    "editor",
    "operator",
    "admin",
    "admin of the app",
    "admin of everything",
    "edge",
    "ofrep",
    "ofrep-client",
];

/// What is answered: `.` = it may (anything but 401 and 403), `1` = 401, `3` = 403.
const MAY: [(&str, &str); 77] = [
    ("listApps", "1111 . .... .. 333"),
    ("createApp", "1111 3 3333 3. 333"),
    ("getApp", "1111 . .... .. 333"),
    ("updateApp", "1111 3 3333 .. 333"),
    ("deleteApp", "1111 3 3333 .. 333"),
    ("listEnvironments", "1111 . .... .. 333"),
    ("getEnvironment", "1111 3 .... .. 333"),
    ("putEnvironment", "1111 3 3333 .. 333"),
    ("deleteEnvironment", "1111 3 3333 .. 333"),
    ("listFlags", "1111 . .... .. 333"),
    ("createFlag", "1111 3 3... .. 333"),
    ("listStaleFlags", "1111 3 3333 .. 333"),
    ("getFlag", "1111 . .... .. 333"),
    ("updateFlag", "1111 3 3333 .. 333"),
    ("deleteFlag", "1111 3 3333 .. 333"),
    ("listTargetings", "1111 3 .... .. 333"),
    ("getTargeting", "1111 3 .... .. 333"),
    ("putTargeting", "1111 3 3... .. 333"),
    ("copyTargeting", "1111 3 3... .. 333"),
    ("listSegments", "1111 . .... .. 333"),
    ("getSegment", "1111 . .... .. 333"),
    ("putSegment", "1111 3 3... .. 333"),
    ("deleteSegment", "1111 3 3333 .. 333"),
    ("listReleases", "1111 . .... .. 333"),
    ("createRelease", "1111 3 3... .. 333"),
    ("getRelease", "1111 . .... .. 333"),
    ("getTraffic", "1111 3 .... .. 333"),
    ("putTraffic", "1111 3 33.. .. 333"),
    ("rollback", "1111 3 33.. .. 333"),
    ("startRollout", "1111 3 33.. .. 333"),
    ("listRollouts", "1111 3 .... .. 333"),
    ("getRollout", "1111 3 .... .. 333"),
    ("listRolloutTemplates", "1111 3 .... .. 333"),
    ("getRolloutTemplate", "1111 3 .... .. 333"),
    ("putRolloutTemplate", "1111 3 333. .. 333"),
    ("deleteRolloutTemplate", "1111 3 333. .. 333"),
    ("getRolloutReports", "1111 3 .... .. 333"),
    ("pauseRollout", "1111 3 33.. .. 333"),
    ("resumeRollout", "1111 3 33.. .. 333"),
    ("approveRollout", "1111 3 33.. .. 333"),
    ("previewRollout", "1111 3 33.. .. 333"),
    ("promoteRollout", "1111 3 33.. .. 333"),
    ("abortRollout", "1111 3 33.. .. 333"),
    ("retryRollout", "1111 3 33.. .. 333"),
    ("getCalibration", "1111 3 .... .. 333"),
    ("takeAlerts", "1111 3 33.. .. 333"),
    ("takeInfrastructureUse", "1111 3 3... .. 333"),
    // What an app's back end holds.
    ("takeAppEvents", "1111 3 3333 33 3.3"),
    ("getMetrics", "1111 3 .... .. 333"),
    ("listNotifications", "1111 3 .... .. 333"),
    ("retryNotification", "1111 3 33.. .. 333"),
    ("signPanicOverride", "1111 3 33.. .. 333"),
    ("listSnapshots", "1111 3 .... .. 333"),
    ("getSnapshot", "1111 3 .... .. 333"),
    ("diffSnapshots", "1111 3 .... .. 333"),
    ("republishSnapshot", "1111 3 33.. .. 333"),
    ("evaluate", "1111 3 .... .. 333"),
    // In which app is in the body; what is changed there is checked object by object.
    ("apply", "1111 3 3... .. 333"),
    ("export", "1111 3 3333 .. 333"),
    ("listEdges", "1111 . .... .. 333"),
    ("listSigningKeys", "1111 . .... .. 333"),
    ("listAudit", "1111 . .... .. 333"),
    ("verifyAudit", "1111 3 3333 3. 333"),
    ("streamEvents", "1111 . .... .. 333"),
    ("listTokens", "1111 3 3333 3. 333"),
    // An admin of anything gives away what they have.
    ("createToken", "1111 3 333. .. 333"),
    ("revokeToken", "1111 3 3333 3. 333"),
    ("ofrepBulk", "1111 3 3333 33 3.."),
    ("ofrepSingle", "1111 3 3333 33 3.."),
    // A ticket opens it, and no token does.
    ("ofrepEvents", "1111 1 1111 11 111"),
    ("streamSnapshots", "1111 3 3333 33 .33"),
    ("acknowledge", "1111 3 3333 33 .33"),
    ("report", "1111 3 3333 33 .33"),
    ("livez", ".... . .... .. ..."),
    ("readyz", ".... . .... .. ..."),
    ("health", ".... . .... .. ..."),
    ("metrics", ".... . .... .. ..."),
];

/// The description of the API describes itself.
const OPENAPI: (&str, &str) = ("openapi", ".... . .... .. ...");

pub(super) struct Described {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) path: String,
    /// As the document has it.
    pub(super) template: String,
    pub(super) has_body: bool,
    queries: Vec<String>,
}

/// All operations of `/openapi.json`, with paths that there are in the shop.
pub(super) fn described(plane: &ControlPlane) -> Vec<Described> {
    described_in(plane, "web", "production")
}

/// The same with paths of another environment.
pub(super) fn described_in(plane: &ControlPlane, app: &str, environment: &str) -> Vec<Described> {
    let document = plane.request("GET", "/openapi.json").send().body;
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let names = [("app", app), ("env", environment), ("flag", "checkout"), ("segment", "staff")];
        let more = [
            ("rollout", "current"),
            ("template", "slow"),
            ("release", "web-1"),
            ("number", "1"),
            ("other", "1"),
            ("token", "tok-none"),
            ("notification", "1"),
            ("key", "checkout"),
        ];
        let fill = |path: String, (name, value): (&str, &str)| path.replace(&format!("{{{name}}}"), value);
        let template = path;
        let path = names.into_iter().chain(more).fold(path.clone(), fill);
        assert!(!path.contains('{'), "{path}");
        for (method, operation) in methods.as_object().expect("methods") {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let queries = parameters.iter().filter(|parameter| parameter["in"] == "query");
            all.push(Described {
                id: operation["operationId"].as_str().expect("an id").to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                template: template.clone(),
                has_body: operation.get("requestBody").is_some(),
                queries: queries.map(|query| query["name"].as_str().unwrap_or_default().to_owned()).collect(),
            });
        }
    }
    all
}

/// A shop in which nobody asks too often.
pub(super) fn patient_shop() -> ControlPlane {
    let plane = patient();
    plane.apply(SHOP);
    plane
}

/// The same without anything in it.
pub(super) fn patient() -> ControlPlane {
    let often = 1e9;
    let limits = Limits { rate: often, burst: often, failures_rate: often, failures: often, ..Limits::default() };
    ControlPlane::start_within(limits, Timeouts::default())
}

fn expired(plane: &ControlPlane) -> String {
    let soon = admin::ids::rfc3339(admin::ids::now_ms() + 1_500);
    let scopes = json!([{"app": "*", "environment": "*", "role": "admin"}]);
    let body = json!({"name": "short", "scopes": scopes, "expiresAt": soon});
    let made = plane.ask("POST", "/api/v1/tokens", Some(body));
    let text = made.body["secret"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned();
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while plane.request("GET", "/api/v1/apps").token(&text).send().status != 401 {
        assert!(std::time::Instant::now() < until, "it does not expire");
        std::thread::sleep(Duration::from_millis(20));
    }
    text
}

fn revoked(plane: &ControlPlane) -> String {
    let scopes = json!([{"app": "*", "environment": "*", "role": "admin"}]);
    let made = plane.ask("POST", "/api/v1/tokens", Some(json!({"name": "gone", "scopes": scopes})));
    let id = made.body["id"].as_str().expect("an id");
    assert_eq!(plane.ask("DELETE", &format!("/api/v1/tokens/{id}"), None).status, 204);
    made.body["secret"].as_str().expect("a text").to_owned()
}

#[test]
fn every_operation_lets_through_whom_the_table_says_and_nobody_else() {
    let plane = patient_shop();
    let of = |role: &str| plane.token("web", "production", role);
    let mut tokens = vec![None, Some("bsc_garbage".to_owned()), Some(expired(&plane)), Some(revoked(&plane))];
    tokens.push(Some(plane.token("web", "staging", "viewer")));
    tokens.extend(["viewer", "editor", "operator", "admin"].map(|role| Some(of(role))));
    tokens.extend([Some(plane.token("web", "*", "admin")), Some(plane.root().to_owned())]);
    tokens.extend(["edge", "ofrep", "ofrep-client"].map(|role| Some(of(role))));
    let operations = described(&plane);
    let rows: Vec<(&str, &str)> = MAY.into_iter().chain([OPENAPI]).collect();
    let known: BTreeSet<&str> = rows.iter().map(|(id, _)| *id).collect();
    let there: BTreeSet<&str> = operations.iter().map(|operation| operation.id.as_str()).collect();
    assert_eq!(known, there, "every operation has a row, and every row an operation");
    let mut wrong = Vec::new();
    for (id, expected) in &rows {
        let operation = operations.iter().find(|operation| operation.id == *id).expect("compared above");
        let expected: Vec<char> = expected.chars().filter(|answer| *answer != ' ').collect();
        assert_eq!(expected.len(), WHO.len(), "{id}");
        for ((who, token), expected) in WHO.iter().zip(&tokens).zip(expected) {
            let request = plane.request(&operation.method, &operation.path);
            let request = token.iter().fold(request, |request, token| request.token(token));
            // What copies, copies without a word: this one is refused after the gates.
            let body = if *id == "copyTargeting" { json!({"from": 5}) } else { json!({}) };
            let status = request.json(operation.has_body.then_some(body)).status();
            let answered = match status {
                401 => '1',
                403 => '3',
                _ => '.',
            };
            if answered != expected || status >= 500 {
                wrong.push(format!("{id} by {who}: {status}, expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let web = plane.ask("GET", "/api/v1/apps/web/flags/checkout", None);
    assert_eq!(web.status, 200, "nothing was really done: {web:?}");
}

/// The status of a request whose head is written as it is; `None` when the connection was closed without an answer.
fn raw(plane: &ControlPlane, method: &str, target: &str, token: Option<&str>) -> Option<u16> {
    let mut stream = TcpStream::connect(plane.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("settable");
    let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let head =
        format!("{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{token}content-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("writable");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.split(' ').nth(1)?.parse().ok()
}

#[test]
fn no_spelling_of_a_path_reaches_a_handler_without_a_token() {
    let plane = patient_shop();
    let long = format!("/api/v1/apps/{}", "a".repeat(9_000));
    let targets = [
        "/api/v1/apps",
        "/api/v1/health/../apps",
        "/livez/../api/v1/apps",
        "/api/v1/../v1/apps",
        "/livez/%2e%2e/api/v1/apps",
        "/livez/%2E./api/v1/apps",
        "/livez/..%2fapi/v1/apps",
        "/livez/%252e%252e/api/v1/apps",
        "//api/v1/apps",
        "/api//v1/apps",
        "/livez;/api/v1/apps",
        "/api/v1/apps;.css",
        "/api/v1/apps%3b",
        "/livez\\..\\api\\v1\\apps",
        "/livez%5c..%5capi/v1/apps",
        "/api/v1/apps.",
        "/api/v1/apps./",
        "/api/v1/apps/",
        "/api/v1/apps/web.",
        "/api/v1/apps/web/..",
        "/api/v1/apps/web%2Fexport",
        "/api/v1/apps%2Fweb",
        "/api%2Fv1%2Fapps",
        "/api/v1/apps/web%00",
        "/api/v1/apps/web%20",
        "/api/v1/apps/%77eb",
        "/API/v1/apps",
        "/api/V1/apps",
        "/api/v1/apps/web/environments/production%2Ftraffic",
        "/api/v1/apps/%2A",
        "/api/v1/apps/*",
        "/openapi.json/../api/v1/apps",
        "/api/v1/apps?/livez",
        "/api/v1/apps#/livez",
        "/edge/v1/../../api/v1/apps",
        "http://x/api/v1/apps",
        "http://x/livez/../api/v1/apps",
        "http://x//api/v1/apps",
        "http://api/v1/apps/../../../api/v1/apps",
        "*",
        "x:443",
        "api/v1/apps",
        long.as_str(),
    ];
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get"];
    for target in targets {
        for method in methods {
            let status = raw(&plane, method, target, None);
            assert!(status.is_none_or(|status| (400..500).contains(&status)), "{method} {target}: {status:?}");
        }
    }
    assert_eq!(raw(&plane, "GET", &long, None), Some(414));
    assert_eq!(raw(&plane, "GET", "http://x/api/v1/apps", Some(plane.root())), Some(200), "this is only a spelling");
}

#[test]
fn no_spelling_of_a_path_leads_from_one_environment_to_another() {
    let plane = patient_shop();
    let token = plane.token("web", "staging", "admin");
    let in_web = |rest: &str| format!("/api/v1/apps/web/environments/{rest}");
    assert_eq!(raw(&plane, "GET", &in_web("staging/traffic"), Some(&token)), Some(200));
    for rest in [
        "production/traffic",
        "staging/../production/traffic",
        "staging%2F..%2Fproduction/traffic",
        "staging%2f%2e%2e%2fproduction/traffic",
        "staging;/production/traffic",
        "*/traffic",
        "%2A/traffic",
        "Production/traffic",
        "%70roduction/traffic",
        "production%20/traffic",
        "production%2Ftraffic",
        "staging%00production/traffic",
    ] {
        let status = raw(&plane, "GET", &in_web(rest), Some(&token));
        assert!(status.is_some_and(|status| (400..500).contains(&status)), "{rest}: {status:?}");
    }
}

/// Where an operation takes its reason.
#[derive(Clone, Copy, PartialEq)]
enum Reason {
    Query,
    Body,
    Nowhere,
}

/// Every writing operation in an order in which each can be done.
fn writes(token: &str) -> Vec<(&'static str, &'static str, String, Value, Reason)> {
    let web = |rest: &str| format!("/api/v1/apps/web/{rest}");
    let upstreams = json!([{"url": "http://127.0.0.1:7003"}]);
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 10});
    let scopes = json!([{"app": "web", "environment": "*", "role": "viewer"}]);
    let rollouts = |rest: &str| format!("{PRODUCTION}/rollouts{rest}");
    let template = format!("{PRODUCTION}/rollout-templates/slow");
    let rollout = json!({"release": "web-2", "template": "blue-green", "reason": "why"});
    let (query, body, nowhere) = (Reason::Query, Reason::Body, Reason::Nowhere);
    let api = |rest: &str| format!("/api/v1/apps/api{rest}");
    vec![
        ("createApp", "POST", "/api/v1/apps".to_owned(), json!({"name": "api"}), query),
        ("updateApp", "PATCH", api(""), json!({"description": "x"}), query),
        ("putEnvironment", "PUT", api("/environments/test"), json!({"hosts": ["api.example"]}), query),
        ("deleteEnvironment", "DELETE", api("/environments/test"), Value::Null, query),
        ("deleteApp", "DELETE", api(""), Value::Null, query),
        ("createFlag", "POST", web("flags"), json!({"key": "f"}), query),
        ("updateFlag", "PATCH", web("flags/f"), json!({"description": "x"}), query),
        ("deleteFlag", "DELETE", web("flags/f"), Value::Null, query),
        ("putTargeting", "PUT", format!("{PRODUCTION}/flags/checkout"), json!({"enabled": false}), query),
        ("copyTargeting", "POST", format!("{PRODUCTION}/flags/checkout/copy"), json!({"reason": "why"}), body),
        ("putSegment", "PUT", web("segments/s"), json!({"when": {"attr": "a", "op": "exists"}}), query),
        ("deleteSegment", "DELETE", web("segments/s"), Value::Null, query),
        ("createRelease", "POST", web("releases"), json!({"id": "r", "version": "3", "upstreams": upstreams}), query),
        ("putTraffic", "PUT", format!("{PRODUCTION}/traffic"), traffic, query),
        ("rollback", "POST", format!("{PRODUCTION}/rollback"), json!({"reason": "why", "waitMs": 0}), body),
        ("republishSnapshot", "POST", format!("{PRODUCTION}/snapshots/1/publish"), json!({"reason": "why"}), body),
        ("signPanicOverride", "POST", format!("{PRODUCTION}/panic-override"), json!({"reason": "why"}), body),
        ("apply", "PUT", "/api/v1/apply".to_owned(), Value::Null, query),
        ("putRolloutTemplate", "PUT", template.clone(), json!({"preview": true}), query),
        ("deleteRolloutTemplate", "DELETE", template, Value::Null, query),
        ("startRollout", "POST", rollouts(""), rollout, body),
        ("previewRollout", "POST", rollouts("/current/preview-links"), json!({"reason": "why"}), body),
        ("pauseRollout", "POST", rollouts("/current/pause"), json!({"reason": "why"}), body),
        ("resumeRollout", "POST", rollouts("/current/resume"), json!({"reason": "why"}), body),
        ("promoteRollout", "POST", rollouts("/current/promote"), json!({"reason": "why"}), body),
        ("abortRollout", "POST", rollouts("/current/abort"), json!({"reason": "why"}), body),
        ("retryRollout", "POST", rollouts("/current/retry"), json!({"reason": "why"}), body),
        ("approveRollout", "POST", rollouts("/current/approve"), json!({"reason": "why"}), body),
        ("createToken", "POST", "/api/v1/tokens".to_owned(), json!({"name": "t", "scopes": scopes}), nowhere),
        ("revokeToken", "DELETE", format!("/api/v1/tokens/{token}"), Value::Null, nowhere),
    ]
}

/// The shop, where candidates can be shown.
fn with_override() -> String {
    SHOP.replace("slots: {blue: web-1}}\nreleases:", "slots: {blue: web-1}, override: {query: try}}\nreleases:")
}

/// In place of the rollout under way, one that somebody else started and that waits for an approval.
fn waits_for_approval(plane: &ControlPlane) {
    let rollouts = format!("{PRODUCTION}/rollouts");
    let current = || plane.ask("GET", &format!("{rollouts}/current"), None).body;
    assert_eq!(plane.ask("POST", &format!("{rollouts}/current/abort"), None).status, 200);
    eventually("the one before has ended", current, |rollout| rollout["ended"] == true);
    let steps = json!([{"weight": 10, "holdMs": 0, "limitMs": 1, "approval": true}, {"weight": 100}]);
    let plan = json!({"release": "web-2", "plan": {"inconclusive": "promote", "steps": steps}});
    let other = plane.token("web", "production", "operator");
    let started = plane.request("POST", &rollouts).token(&other).json(Some(plan)).send();
    assert_eq!(started.status, 201, "{started:?}");
    eventually("it waits", current, |rollout| rollout["state"] == "waitingForApproval");
}

/// Methods other than GET that change nothing that is audited.
/// Also what there has to be a destination for, which has a test of its own.
const NOT_WRITES: [&str; 9] = [
    "evaluate",
    "ofrepBulk",
    "ofrepSingle",
    "acknowledge",
    "report",
    "takeAlerts",
    "takeInfrastructureUse",
    "takeAppEvents",
    "retryNotification",
];

#[test]
fn every_write_leaves_one_audit_entry_and_a_refused_one_none() {
    let plane = shop();
    let listed = plane.ask("GET", "/api/v1/tokens", None);
    let root = listed.body["items"][0]["id"].clone();
    let scopes = json!([{"app": "web", "environment": "*", "role": "viewer"}]);
    let spare = plane.ask("POST", "/api/v1/tokens", Some(json!({"name": "spare", "scopes": scopes})));
    let spare = spare.body["id"].as_str().expect("an id").to_owned();
    let operations = described(&plane);
    let table = writes(&spare);
    let known: BTreeSet<&str> = table.iter().map(|(id, ..)| *id).chain(NOT_WRITES).collect();
    let there = operations.iter().filter(|operation| operation.method != "GET").map(|operation| operation.id.as_str());
    assert_eq!(known, there.collect(), "every write has a row, and every row is a write");
    let entries = || plane.ask("GET", "/api/v1/audit/verify", None).body["entries"].as_i64().expect("a number");
    for (id, method, path, body, reason) in table {
        let operation = operations.iter().find(|operation| operation.id == id).expect("compared above");
        let path = if reason == Reason::Query { format!("{path}?reason=why") } else { format!("{path}?") };
        let send = |path: &str, body: Value| {
            let request = plane.request(method, path.trim_end_matches('?')).token(plane.root());
            let is_new = matches!(id, "putEnvironment" | "putSegment" | "putRolloutTemplate");
            let request = if method == "POST" || is_new { request } else { request.header("if-match", "*") };
            let request = request.header("x-request-id", &format!("audit-{id}"));
            match id {
                "apply" if body.is_null() => request.body("application/yaml", &with_override()).send(),
                _ => request.json((!body.is_null()).then_some(body)).send(),
            }
        };
        if id == "retryRollout" {
            let current = || plane.ask("GET", &format!("{PRODUCTION}/rollouts/current"), None).body;
            eventually("the one before has ended", current, |rollout| rollout["ended"] == true);
        }
        if id == "approveRollout" {
            waits_for_approval(&plane);
        }
        let before = entries();
        if operation.queries.iter().any(|query| query == "dryRun") {
            let dry = send(&format!("{path}&dryRun=true").replace("?&", "?"), body.clone());
            assert_eq!((dry.status, entries()), (200, before), "{id}: {dry:?}");
            assert_eq!(dry.body["dryRun"], true, "{id}: {dry:?}");
        }
        let refused = send(&format!("{path}&bogus=1").replace("?&", "?"), body.clone());
        assert_eq!((refused.status, entries()), (400, before), "{id}: {refused:?}");
        if operation.has_body {
            let refused = send(&path, json!({"bogus": 1}));
            assert_eq!((refused.status, entries()), (422, before), "{id}: {refused:?}");
        }
        let done = send(&path, body);
        assert!((200..300).contains(&done.status), "{id}: {done:?}");
        let own = plane.ask("GET", &format!("/api/v1/audit?requestId=audit-{id}"), None);
        let own = own.body["items"].as_array().cloned().expect("items");
        assert_eq!((own.len(), entries()), (1, before + 1), "{id}: {own:?}");
        assert_eq!((&own[0]["operation"], &own[0]["actor"]), (&json!(id), &root), "{id}");
        let expected = if reason == Reason::Nowhere { "" } else { "why" };
        assert_eq!(own[0]["reason"], expected, "{id}");
    }
    assert_eq!(plane.ask("GET", "/api/v1/audit/verify", None).body["intact"], true);
}
