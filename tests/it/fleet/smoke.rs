//! The way to a candidate by override, through a real gateway: a smoke check asks the candidate and nobody else, and links
//! show it to people, at any weight.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use admin::integrations::gate::{Check, Gate, Pace, Path, Reach, Says, Smoke};
use admin::integrations::{Endpoint, Integrations};
use serde_json::{Value, json};
use tests::admin::ControlPlane;
use tests::{Client, Origin};

use super::{Fleet, PRODUCTION};
use crate::rig::eventually;

/// What is between the control plane and the gateways: it sends everything on to one, and says where it came from.
struct Road {
    origin: Origin,
    to: Arc<OnceLock<SocketAddr>>,
}

impl Road {
    fn new() -> Self {
        let to = Arc::new(OnceLock::<SocketAddr>::new());
        let next = Arc::clone(&to);
        let origin = Origin::scripted(move |exchange| {
            let Some(address) = next.get() else { return exchange.respond("502 No Road", "", "") };
            let host = exchange.seen.field("host").unwrap_or_default().to_owned();
            let shown = exchange.seen.field("x-try").map_or_else(String::new, |token| format!("x-try: {token}\r\n"));
            let answer = Client::connect(*address).get(&host, exchange.seen.target(), &shown);
            let release = answer.field("x-bascule-release").map(|release| format!("x-bascule-release: {release}\r\n"));
            exchange.respond(&format!("{} Sent On", answer.status), &release.unwrap_or_default(), answer.body)
        });
        Self { origin, to }
    }

    fn gate(&self) -> Gate {
        let smoke = Smoke {
            urls: vec![Endpoint::Url(format!("{}/health", self.origin.url()).parse().expect("a URL"))],
            host: Some("shop.example".parse().expect("a host")),
            method: http::Method::GET,
            status: vec![200..=299],
            body: Some(Says {
                path: Path::of_jsonpath("$.checks[0].status").expect("a path"),
                shown: "$.checks[0].status".into(),
                equals: Some(json!("healthy")),
            }),
            latency: Some(Duration::from_secs(10)),
            count: 3,
        };
        let pace = Pace { interval: Duration::from_millis(20), timeout: Duration::from_secs(10) };
        Gate { name: "smoke".into(), reach: Reach::default(), pace, check: Check::Http(smoke) }
    }
}

fn healthy() -> Origin {
    Origin::scripted(|exchange| exchange.ok(r#"{"checks": [{"status": "healthy"}]}"#))
}

fn fleet(road: &Road, green: Origin, (debug, named): (bool, Value)) -> Fleet {
    let integrations = Integrations { gates: vec![road.gate()], ..Integrations::default() };
    let folder = tempfile::tempdir().expect("a folder");
    let database = admin::store::Location::Sqlite(folder.path().join("bascule.db"));
    let plane = ControlPlane::start_calling(folder, database, integrations);
    let fleet = Fleet::on(plane, 1, healthy(), green);
    let environment =
        json!({"hosts": ["shop.example", "*.shop.example"], "unit": ["header:x-user-id"], "debug": debug});
    assert_eq!(fleet.plane.change("PUT", PRODUCTION, "*", Some(environment)).status, 200);
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1"}, "override": named});
    assert_eq!(fleet.plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(traffic)).status, 200);
    assert!(road.to.set(fleet.addresses()[0]).is_ok());
    fleet
}

fn current(fleet: &Fleet) -> Value {
    fleet.plane.ask("GET", &format!("{PRODUCTION}/rollouts/current"), None).body
}

fn start(fleet: &Fleet, plan: &Value) {
    let body = json!({"release": "web-2", "plan": plan});
    let started = fleet.plane.ask("POST", &format!("{PRODUCTION}/rollouts"), Some(body));
    assert_eq!(started.status, 201, "{started:?}");
}

fn gated() -> Value {
    json!({"steps": [{"weight": 1, "gates": ["smoke"]}, {"weight": 100}]})
}

#[test]
fn a_smoke_check_asks_the_candidate_and_holds_until_it_is_well() {
    let (road, status) = (Road::new(), Arc::new(AtomicU16::new(503)));
    let told = Arc::clone(&status);
    let green = Origin::scripted(move |exchange| {
        let status = format!("{} As Told", told.load(Ordering::SeqCst));
        exchange.respond(&status, "", r#"{"checks": [{"status": "healthy"}]}"#)
    });
    let fleet = fleet(&road, green, (true, json!({"header": "x-try"})));
    start(&fleet, &gated());
    let held = eventually("it is held", || current(&fleet), |rollout| rollout["state"] == "held");
    let sentence = held["transitions"].as_array().and_then(|all| all.last()).map(|last| last["sentence"].clone());
    let sentence = sentence.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    assert!(sentence.contains("gate smoke said no") && sentence.contains("answers 503"), "{sentence}");
    assert!(!sentence.contains("o1."), "the token is nobody's to see: {sentence}");
    status.store(200, Ordering::SeqCst);
    let passed = eventually("it passes", || current(&fleet), |rollout| rollout["gates"][0]["state"] == "passed");
    assert_eq!(passed["state"], "step", "{passed}");
    assert!(passed["gates"][0]["detail"].as_str().is_some_and(|it| it.starts_with("web-2 gave 3 good answers")));
    assert_eq!(fleet.blue.seen().len(), 0, "stable was not asked");
}

#[test]
fn what_stable_or_nobody_answers_is_not_the_candidates() {
    // The gateways look for another name: they do not see the override, and stable, which is well, answers.
    let road = Road::new();
    let fleet = fleet(&road, Origin::named("green"), (true, json!({"cookie": "x-try"})));
    start(&fleet, &gated());
    let asked = |rollout: &Value| rollout["gates"][0]["asked"].as_u64().is_some_and(|asked| asked > 4);
    let rollout = eventually("it is asked", || current(&fleet), asked);
    let gate = &rollout["gates"][0];
    assert_eq!((&rollout["state"], &gate["state"]), (&json!("step"), &json!("unanswered")), "{rollout}");
    let detail = gate["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("is answered by web-1, not by web-2"), "{detail}");
}

#[test]
fn an_environment_without_overrides_has_no_way_to_the_candidate() {
    let road = Road::new();
    let fleet = fleet(&road, healthy(), (true, Value::Null));
    start(&fleet, &gated());
    let is_said =
        |rollout: &Value| rollout["gates"][0]["detail"].as_str().is_some_and(|it| it.contains("no overrides"));
    eventually("it is said", || current(&fleet), is_said);
    let links = fleet.plane.ask("POST", &format!("{PRODUCTION}/rollouts/current/preview-links"), None);
    assert_eq!((links.status, &links.body["code"]), (409, &json!("no_override")), "{links:?}");
    assert_eq!(road.origin.seen().len(), 0, "nobody was asked in vain");
}

#[test]
fn links_show_a_candidate_that_has_no_traffic() {
    let road = Road::new();
    let fleet = fleet(&road, Origin::named("green"), (false, json!({"query": "try"})));
    let path = format!("{PRODUCTION}/rollouts/current/preview-links");
    let none = fleet.plane.ask("POST", &path, None);
    assert_eq!((none.status, &none.body["code"]), (409, &json!("rollout_ended")), "{none:?}");
    start(&fleet, &json!({"preview": true, "steps": [{"weight": 100}]}));
    let asked = json!({"seconds": 60, "path": "/cart?step=1", "reason": "for the shop team"});
    let links = fleet.plane.ask("POST", &path, Some(asked));
    assert_eq!((links.status, &links.body["release"]), (200, &json!("web-2")), "{links:?}");
    let listed = links.body["links"].as_array().cloned().unwrap_or_default();
    assert_eq!(listed.len(), 1, "no link leads to a star: {links:?}");
    let url = listed[0]["url"].as_str().unwrap_or_default();
    let target = url.strip_prefix("https://shop.example").expect("the host of the environment");
    assert!(target.starts_with("/cart?step=1&try=o1.green."), "{target}");
    let visit = |target: &str| Client::connect(fleet.addresses()[0]).get("shop.example", target, "").text();
    eventually("it is shown", || visit(target), |body| body == "green");
    assert_ne!(visit("/cart?step=1"), "green", "nobody else sees it");
    for (field, value) in
        [("seconds", json!(86_401)), ("seconds", json!(0)), ("path", json!("//a b")), ("path", json!("x"))]
    {
        let refused = fleet.plane.ask("POST", &path, Some(json!({field: value})));
        assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (422, &json!(format!("/{field}"))));
    }
    let audit = fleet.plane.ask("GET", "/api/v1/audit", None).body.to_string();
    assert!(audit.contains("previewRollout") && audit.contains("for the shop team"), "{audit}");
    assert!(!audit.contains("o1.green"), "a link is not in the audit");
}
