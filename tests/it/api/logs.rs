//! Logs of a busy control plane and of a gateway that follows it, at their most talkative: no secret, nothing of a
//! client, and no field that is not agreed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};
use tests::admin::{Answer, Request};

use super::{PRODUCTION, SHOP};
use crate::live::Origin;
use crate::rig::{eventually, get};
use crate::running::Process;
use crate::running::plane::PlaneProcess;

/// What clients send and no log says. Each is a word of its own, so that finding it is no accident.
const CLIENTS: [&str; 11] = [
    "canary-cookie",
    "canary-unit",
    "canary-user",
    "canary-authorization",
    "canary-query",
    "canary-body",
    "canary-header",
    "canary-targeting",
    "canary-reason",
    "bsc_canarygarbage",
    "203.0.113.77",
];

/// A control plane as a process, asked by clients that tell too much.
struct Plane(PlaneProcess);

impl Plane {
    fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.0.address, method, path)
            .header("cookie", "__Host-session=canary-cookie")
            .header("x-forwarded-for", "203.0.113.77")
            .header("x-canary", "canary-header")
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.request(method, path).token(&self.0.root).json(body).send()
    }

    fn token(&self, app: &str, role: &str) -> String {
        let scopes = json!([{"app": app, "environment": "production", "role": role}]);
        let made = self.ask("POST", "/api/v1/tokens", Some(json!({"name": role, "scopes": scopes})));
        made.body["secret"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned()
    }
}

/// Everything that is refused, and some that is done.
fn keep_busy(plane: &Plane, ofrep: &str) {
    let garbage = format!("{}{}", "bsc_canarygarbage", "0".repeat(36));
    for text in [garbage.as_str(), "canary-authorization"] {
        assert_eq!(plane.request("GET", "/api/v1/apps?cursor=canary-query").token(text).send().status, 401);
        let ofrep = plane.request("POST", "/ofrep/v1/evaluate/flags").token(text).json(Some(json!({})));
        assert_eq!(ofrep.send().status, 401);
    }
    let targeting = format!("{PRODUCTION}/flags/checkout");
    for (method, path, body) in [
        ("GET", "/api/v1/apps?bogus=canary-query".to_owned(), None),
        ("GET", "/ofrep/v1/events?ticket=canary-query".to_owned(), None),
        ("POST", "/api/v1/apps".to_owned(), Some(json!({"name": "api", "description": "canary-body"}))),
        ("POST", "/api/v1/apps".to_owned(), Some(json!({"canary-body": 1}))),
        ("POST", "/api/v1/apps/web/flags".to_owned(), Some(json!({"key": "x", "description": "canary-body"}))),
        ("POST", format!("{PRODUCTION}/evaluate"), Some(json!({"context": {"targetingKey": "canary-targeting"}}))),
        ("PUT", targeting.clone(), Some(json!({"fallthrough": {"serve": "canary-body"}}))),
        ("PATCH", "/api/v1/apps/web?reason=canary-reason".to_owned(), Some(json!({"description": "canary-body"}))),
        ("POST", format!("{PRODUCTION}/rollback"), Some(json!({"reason": "canary-reason", "to": "web-2"}))),
    ] {
        let request = plane.request(method, &path).token(&plane.0.root).header("if-match", "*");
        let answer = request.json(body).send();
        assert!(answer.status < 500, "{answer:?}");
    }
    let body = json!({"context": {"targetingKey": "canary-targeting", "email": "canary-user"}});
    let answer = plane.request("POST", "/ofrep/v1/evaluate/flags").token(ofrep).json(Some(body)).send();
    assert_eq!(answer.status, 200, "{answer:?}");
    // Bytes that are no request at all.
    let mut stream = TcpStream::connect(plane.0.address).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nx canary-header\r\n\r\n").expect("writable");
    let _ = stream.read_to_end(&mut Vec::new());
}

fn visit(gateway: &Process, ofrep: &str) {
    let visit = |method: &str, path: &str| {
        Request::new(gateway.listen, method, path)
            .header("x-user-id", "canary-unit")
            .header("cookie", "session=canary-cookie; bsc_unit=canary-unit; bsc_pin=canary-cookie")
            .header("x-forwarded-for", "203.0.113.77")
            .header("forwarded", "for=203.0.113.77")
            .header("x-canary", "canary-header")
    };
    for path in ["/?token=canary-query", "/a/../b?x=canary-query", "/%zz?canary-query"] {
        let _ = visit("GET", path).header("authorization", "Bearer canary-authorization").status();
    }
    let _ = visit("POST", "/form").body("text/plain", "canary-body").status();
    for token in [ofrep, "bsc_canarygarbage"] {
        let body = json!({"context": {"targetingKey": "canary-targeting"}});
        let _ = visit("POST", "/ofrep/v1/evaluate/flags").token(token).json(Some(body)).status();
        let _ = visit("POST", "/ofrep/v1/evaluate/flags").token(token).body("text/plain", "canary-body").status();
    }
}

/// Each line has exactly the agreed fields; what is wrong with it otherwise.
fn look(log: &str, canaries: &[String]) -> Vec<String> {
    let required = ["timestamp", "level", "message", "service", "environment"];
    let optional = ["userId", "requestId", "metadata"];
    let mut wrong = Vec::new();
    for line in log.lines() {
        wrong.extend(canaries.iter().filter(|canary| line.contains(*canary)).map(|canary| format!("{canary}: {line}")));
        let Ok(Value::Object(record)) = serde_json::from_str::<Value>(line) else {
            wrong.push(format!("not a record: {line}"));
            continue;
        };
        let known = |name: &String| required.contains(&name.as_str()) || optional.contains(&name.as_str());
        if !record.keys().all(known) || !required.iter().all(|name| record.get(*name).is_some_and(Value::is_string)) {
            wrong.push(format!("other fields: {line}"));
        }
    }
    wrong
}

#[test]
fn no_secret_and_nothing_of_a_client_is_in_any_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let origin = Origin::start("blue");
    let plane = Plane(PlaneProcess::start(folder.path(), "trace"));
    let shop = SHOP.replace("127.0.0.1:7001", &origin.address.to_string()).replace("[shop.example]", "[127.0.0.1]");
    let applied = plane.request("PUT", "/api/v1/apply").token(&plane.0.root).body("application/yaml", &shop).send();
    assert_eq!(applied.status, 200, "{applied:?}");
    let (edge, ofrep) = (plane.token("web", "edge"), plane.token("web", "ofrep"));
    let token = folder.path().join("token");
    std::fs::write(&token, &edge).expect("writable");
    let (token, state) = (token.display().to_string(), folder.path().join("edge").display().to_string());
    let url = format!("http://{}", plane.0.address);
    let source = ["--admin", &url, "--token-file", &token, "--state-dir", &state];
    let access = folder.path().join("access.log").display().to_string();
    let settings = [("LOG_LEVEL", "debug"), ("ACCESS_LOG", access.as_str())];
    let gateway = Process::start_from(&source, "127.0.0.1:0", &settings, |_| ());
    let edges = || plane.ask("GET", "/api/v1/edges", None).body["items"][0]["environments"][0]["number"].clone();
    eventually("the edge runs the snapshot", edges, |number| *number == 1);
    visit(&gateway, &ofrep);
    keep_busy(&plane, &ofrep);
    visit(&gateway, &ofrep);
    let metrics = [plane.request("GET", "/metrics").send().text, get(gateway.ops, "/metrics").body];
    gateway.signal("-TERM");
    let (code, gateway_log) = gateway.end();
    assert_eq!(code, Some(0), "{gateway_log}");
    let mut canaries: Vec<String> = CLIENTS.map(str::to_owned).to_vec();
    canaries.extend([plane.0.root.clone(), edge, ofrep]);
    plane.0.end();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("text");
    let plane_log = read("control-plane.log");
    assert!(plane_log.contains("\"changed\"") && plane_log.contains("\"level\":\"debug\""), "{plane_log}");
    for (text, canary) in metrics.iter().flat_map(|text| canaries.iter().map(move |canary| (text, canary))) {
        assert!(text.contains("bascule_") && !text.contains(canary), "{canary} is in the metrics: {text}");
    }
    for (name, log) in [("control plane", plane_log), ("gateway", gateway_log), ("access", read("access.log"))] {
        let wrong = look(&log, &canaries);
        assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
    }
}
