//! Gates and hooks with local stand-ins: whoever passes, refuses, hangs, is not there, or mends.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use admin::integrations::gate::{Check, Gate, Hook, HookKind, Pace, Query, Reach, Webhook};
use admin::integrations::{Endpoint, Integrations};
use admin::outbound::secret::SecretAt;
use admin::service::rollouts::Act;
use admin_api::rollouts::{Rollout, RolloutGate};
use ring::hmac;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tests::{Origin, Seen};

use super::world::{Failing, World, code};

const GOOD: Failing = Failing { candidate: 1000, stable: 1000 };
/// 24 bytes, and the same in base64.
const KEY: &[u8; 24] = b"0123456789abcdef01234567";
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";

fn at(url: &str) -> Endpoint {
    Endpoint::Url(url.parse().expect("a URL"))
}

/// A secret in a file, which is there until the tests have ended.
fn kept(text: &str) -> SecretAt {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("writable");
    let path = file.into_temp_path();
    let place = SecretAt::File(path.to_path_buf());
    KEPT.lock().expect("no holder panics").push(path);
    place
}

static KEPT: Mutex<Vec<tempfile::TempPath>> = Mutex::new(Vec::new());

/// Somebody who answers as one says, and remembers who asked.
struct StandIn {
    origin: Origin,
    status: Arc<AtomicU16>,
    body: Arc<Mutex<String>>,
}

impl StandIn {
    fn new(status: u16, body: &str) -> Self {
        let (status, body) = (Arc::new(AtomicU16::new(status)), Arc::new(Mutex::new(body.to_owned())));
        let (told, text) = (Arc::clone(&status), Arc::clone(&body));
        let origin = Origin::scripted(move |exchange| {
            let body = text.lock().expect("no holder panics").clone();
            exchange.respond(&format!("{} As Told", told.load(Ordering::SeqCst)), "", body)
        });
        Self { origin, status, body }
    }

    fn says(&self, status: u16, body: &str) {
        body.clone_into(&mut self.body.lock().expect("no holder panics"));
        self.status.store(status, Ordering::SeqCst);
    }

    fn url(&self, path: &str) -> Endpoint {
        at(&format!("{}{path}", self.origin.url()))
    }

    fn webhook(&self) -> Webhook {
        let metadata = [("team".to_owned(), "shop".to_owned())].into();
        Webhook { url: self.url("/canary"), secret: Some(kept(SECRET)), metadata }
    }

    /// The bodies that came.
    fn told(&self) -> Vec<Value> {
        self.origin.seen().iter().map(|seen| serde_json::from_slice(&seen.body).expect("JSON")).collect()
    }
}

const fn pace() -> Pace {
    Pace { interval: Duration::from_millis(10), timeout: Duration::from_secs(10) }
}

fn gate(name: &str, check: Check) -> Gate {
    Gate { name: name.into(), reach: Reach::default(), pace: pace(), check }
}

fn hook(kind: HookKind, stand_in: &StandIn) -> Hook {
    let (reach, pace, webhook) = (Reach::default(), pace(), stand_in.webhook());
    Hook { kind, name: "one".into(), reach, pace, threshold: 3, webhook }
}

fn with_gate(check: Check) -> World {
    World::calling(Integrations { gates: vec![gate("asked", check)], ..Integrations::default() })
}

fn with_hooks(hooks: Vec<Hook>) -> World {
    World::calling(Integrations { hooks, ..Integrations::default() })
}

fn plan(gates: &[&str]) -> Value {
    json!({"name": "short", "bakeMs": 10_000, "keepWarmMs": 10_000, "steps": [
        {"weight": 50, "holdMs": 10_000, "gates": gates}, {"weight": 100, "holdMs": 10_000}
    ]})
}

/// The driver looks until something is so. Time of rollouts stands still meanwhile.
#[track_caller]
fn seen(world: &mut World, what: &str, is_so: impl Fn(&Rollout) -> bool) -> Rollout {
    let began = Instant::now();
    loop {
        world.look();
        let rollout = world.rollout();
        if is_so(&rollout) {
            return rollout;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: {rollout:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn state(state: &'static str) -> impl Fn(&Rollout) -> bool {
    move |rollout| rollout.head.state == state
}

fn asked(rollout: &Rollout) -> RolloutGate {
    let found = rollout.gates.iter().find(|gate| gate.name.ends_with("asked") || gate.name.ends_with("one"));
    found.unwrap_or_else(|| panic!("{rollout:?}")).clone()
}

fn passed(rollout: &Rollout) -> bool {
    asked(rollout).state == "passed"
}

/// By what every receiver has, not by what we sign with.
fn is_signed(seen: &Seen) -> bool {
    let field = |name: &str| seen.field(name).unwrap_or_default().to_owned();
    let text = field("webhook-signature");
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", text.trim_start_matches("v1,"));
    let Ok(signature) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return false };
    let (id, at) = (field("webhook-id"), field("webhook-timestamp"));
    let signed = [format!("{id}.{at}.").into_bytes(), seen.body.clone()].concat();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, KEY), &signed, &signature).is_ok() && id.starts_with("msg_")
}

#[test]
fn a_webhook_that_says_no_holds_and_passes_when_it_mends() {
    let stand_in = StandIn::new(403, "not on a\r\nFriday\u{7}");
    let mut world = with_gate(Check::Webhook(stand_in.webhook()));
    world.start(plan(&["asked"]));
    let held = seen(&mut world, "it is held", state("held"));
    let sentence = held.transitions.last().map(|last| last.sentence.clone()).unwrap_or_default();
    assert!(sentence.contains("gate asked said no: it answers 403 Forbidden: not on a Friday"), "{sentence}");
    assert_eq!(asked(&held).state, "refused");
    let before = held.transitions.len();
    seen(&mut world, "it is asked again", |rollout| asked(rollout).asked > 3);
    assert_eq!(world.rollout().transitions.len(), before, "and a no is told once");
    stand_in.says(204, "");
    let goes_on = seen(&mut world, "it goes on", state("step"));
    assert!(passed(&goes_on), "{goes_on:?}");
    world.until("promoted", GOOD);
    let request = stand_in.origin.seen().remove(0);
    assert!(is_signed(&request), "{request:?}");
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let expected = json!({
        "name": "web-2", "app": "web", "environment": "production", "phase": "step", "step": 1, "wave": null,
        "weight": 50.0, "rollout": 1, "stable": "web-1", "metadata": {"team": "shop"},
    });
    assert_eq!((request.line.as_str(), body), ("POST /canary HTTP/1.1", expected));
}

#[test]
fn whoever_hangs_delays_nobody_and_is_neither_a_yes_nor_a_no() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = at(&format!("http://{}", listener.local_addr().expect("bound")));
    let webhook = Webhook { url, secret: None, metadata: std::collections::BTreeMap::new() };
    let mut world = with_gate(Check::Webhook(webhook));
    world.start(plan(&["asked"]));
    let began = Instant::now();
    for _ in 0..20 {
        world.beat(GOOD, 1);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "twenty looks took {:?}", began.elapsed());
    let rollout = world.rollout();
    assert_eq!((rollout.head.step, asked(&rollout).state.as_str(), asked(&rollout).asked), (Some(1), "waiting", 1));
    assert_eq!(code(world.act("ada", Act::Promote { full: false })), "four_eyes");
    assert_eq!(world.act("bob", Act::Promote { full: false }).expect("an approver may").head.step, Some(2));
}

#[test]
fn whoever_is_not_there_is_asked_again_and_people_are_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let url = at(&format!("http://{address}/canary"));
    let mut world = with_gate(Check::Webhook(Webhook { url, secret: None, metadata: [].into() }));
    world.start(plan(&["asked"]));
    let told = seen(&mut world, "people are told", |rollout| {
        asked(rollout).detail.is_some_and(|detail| detail.contains("times in a row there was no answer"))
    });
    let detail = asked(&told).detail.unwrap_or_default();
    assert!(detail.contains(&format!("http://{address} cannot be reached: ")), "{detail}");
    assert_eq!((asked(&told).state.as_str(), told.head.state.as_str()), ("unanswered", "step"));
    assert!(!detail.contains("canary"), "a path may be a secret: {detail}");
}

#[test]
fn prometheus_passes_by_a_number_and_by_nothing_else() {
    let vector = |value: &str| {
        let result = json!([{"metric": {}, "value": [1_700_000_000.5, value]}]);
        json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string()
    };
    let nothing = json!({"status": "success", "data": {"resultType": "vector", "result": []}}).to_string();
    let stand_in = StandIn::new(200, &nothing);
    let mut world = with_gate(Check::Prometheus(Query {
        url: stand_in.url("/prefix/"),
        query: "errors{app=\"{{app}}\", release=\"{{release}}\", not=\"{{stable}}\", in=\"{{environment}}\"}".into(),
        above: Some(0.01),
        below: None,
        token: Some(kept("who-asks")),
    }));
    world.start(plan(&["asked"]));
    let unknown = seen(&mut world, "no data", |rollout| asked(rollout).state == "unanswered");
    assert_eq!(asked(&unknown).detail.as_deref(), Some("the query finds no data"));
    stand_in.says(200, &vector("NaN"));
    seen(&mut world, "no number", |rollout| asked(rollout).detail.is_some_and(|detail| detail.contains("no number")));
    assert_eq!(world.state(), "step", "what is not known holds nothing before its time");
    stand_in.says(200, &vector("0.02"));
    let held = seen(&mut world, "it is held", state("held"));
    let sentence = held.transitions.last().map(|last| last.sentence.clone()).unwrap_or_default();
    assert!(sentence.contains("gate asked said no: it is 0.02, above 0.01"), "{sentence}");
    stand_in.says(200, &vector("0.009"));
    seen(&mut world, "it goes on", passed);
    let request = stand_in.origin.seen().remove(0);
    assert_eq!(request.line, "POST /prefix/api/v1/query HTTP/1.1");
    assert_eq!(request.field("authorization"), Some("Bearer who-asks"));
    let body = String::from_utf8(request.body).expect("a form");
    let query = "errors%7Bapp%3D%22web%22%2C+release%3D%22web-2%22%2C+not%3D%22web-1%22%2C+in%3D%22production%22%7D";
    assert_eq!(body, format!("query={query}"));
}

#[test]
fn a_gate_that_nobody_defined_is_refused_also_in_templates_and_elsewhere() {
    let stand_in = StandIn::new(200, "");
    let reach = Reach { app: Some("web".into()), environment: Some("staging".into()) };
    let elsewhere = Gate { reach, ..gate("elsewhere", Check::Webhook(stand_in.webhook())) };
    let gates = vec![gate("asked", Check::Webhook(stand_in.webhook())), elsewhere];
    let world = World::calling(Integrations { gates, ..Integrations::default() });
    for unknown in ["aksed", "elsewhere"] {
        assert_eq!(code(world.try_start("ada", "web-2", plan(&[unknown]))), "gate_unknown", "{unknown}");
        assert_eq!(world.put_template("own", plan(&[unknown])), Err("gate_unknown"));
    }
    assert_eq!(world.put_template("own", plan(&["asked", "acknowledged"])), Ok(()));
}

#[test]
fn hooks_before_the_first_traffic_are_asked_one_after_another() {
    let [confirm, check, raise] = [403, 200, 503].map(|status| StandIn::new(status, ""));
    let mut world = with_hooks(vec![
        hook(HookKind::ConfirmRollout, &confirm),
        hook(HookKind::PreRollout, &check),
        hook(HookKind::ConfirmTrafficIncrease, &raise),
    ]);
    let started = world.start(plan(&[]));
    assert_eq!((started.head.state.as_str(), started.head.weight), ("starting", 0.0));
    seen(&mut world, "it waits", |rollout| asked(rollout).asked > 5);
    assert_eq!((world.state(), world.traffic()["candidateWeight"].clone()), ("starting".into(), json!(0)));
    assert_eq!((check.told().len(), raise.told().len()), (0, 0), "the next one is asked when this one said yes");
    confirm.says(200, "");
    seen(&mut world, "the next is asked", |_| !raise.told().is_empty());
    assert_eq!(world.state(), "starting");
    raise.says(200, "");
    let begun = seen(&mut world, "it begins", state("step"));
    assert_eq!((begun.head.step, begun.head.weight), (Some(1), 50.0));
    let body = confirm.told().remove(0);
    assert_eq!(
        (&body["name"], &body["namespace"], &body["phase"], &body["metadata"]),
        (&json!("web"), &json!("production"), &json!("Waiting"), &json!({"team": "shop"}))
    );
    assert!(body["checksum"].as_str().is_some_and(|checksum| checksum.len() == 10), "{body}");
    assert!(is_signed(&confirm.origin.last()), "{:?}", confirm.origin.last());
    // The raise to 100 % is asked for once the step is done, and no earlier.
    raise.says(403, "");
    let before = raise.told().len();
    world.beat(GOOD, 1);
    assert_eq!(raise.told().len(), before);
    for _ in 0..20 {
        world.beat(GOOD, 1);
    }
    let waiting = seen(&mut world, "it is asked", |_| raise.told().len() > before);
    assert_eq!((waiting.head.step, waiting.head.state.as_str()), (Some(1), "step"));
    raise.says(200, "");
    seen(&mut world, "it is raised", |rollout| rollout.head.step == Some(2));
}

#[test]
fn failed_checks_take_traffic_back() {
    for kind in [HookKind::PreRollout, HookKind::Rollout] {
        let stand_in = StandIn::new(500, "the load test broke");
        let mut world = with_hooks(vec![hook(kind, &stand_in)]);
        world.start(plan(&[]));
        let back = seen(&mut world, "it is taken back", |rollout| rollout.head.ended);
        assert_eq!(back.head.state, "rolledBack", "{back:?}");
        let why = back.transitions.iter().find(|one| one.to == "rollingBack").expect("it was taken back");
        let name = format!("3 checks of hook:{}/one failed, 2 are allowed: it answers 500", kind.name());
        assert!(why.sentence.contains(&name) && why.sentence.contains("the load test broke"), "{}", why.sentence);
    }
}

#[test]
fn a_check_during_the_rollout_stops_it_while_it_fails() {
    let stand_in = StandIn::new(200, "");
    let patient = Hook { threshold: 1000, ..hook(HookKind::Rollout, &stand_in) };
    let mut world = with_hooks(vec![patient]);
    world.start(plan(&[]));
    seen(&mut world, "it passed once", passed);
    stand_in.says(500, "");
    seen(&mut world, "it fails", |rollout| !passed(rollout));
    for _ in 0..10 {
        world.beat(GOOD, 1);
    }
    let stays = world.rollout();
    assert_eq!((stays.head.step, stays.head.state.as_str()), (Some(1), "step"));
    assert!(asked(&stays).failed_checks.is_some_and(|failed| failed > 0), "{stays:?}");
    stand_in.says(200, "");
    seen(&mut world, "it goes on", |rollout| rollout.head.step == Some(2));
}

#[test]
fn a_promotion_waits_for_its_confirmation_and_everybody_is_told() {
    let [confirm, event, after] = [403, 200, 500].map(|status| StandIn::new(status, ""));
    let mut world = with_hooks(vec![
        hook(HookKind::ConfirmPromotion, &confirm),
        hook(HookKind::Event, &event),
        hook(HookKind::PostRollout, &after),
    ]);
    world.start(plan(&[]));
    world.until("baking", GOOD);
    for _ in 0..20 {
        world.beat(GOOD, 1);
    }
    seen(&mut world, "it is asked", |_| confirm.told().len() > 3);
    assert_eq!((world.state(), after.told().len()), ("baking".into(), 0));
    confirm.says(200, "");
    seen(&mut world, "it is promoted", state("keepingWarm"));
    world.until("promoted", GOOD);
    assert_eq!(confirm.told()[0]["phase"], "WaitingPromotion");
    // A hook after the end moves nothing, whatever it answers.
    seen(&mut world, "it is told of the end", |_| !after.told().is_empty());
    assert_eq!((after.told()[0]["phase"].clone(), world.state()), (json!("Succeeded"), "promoted".into()));
    let reached = |told: &[Value]| told.iter().map(|body| body["metadata"]["to"].clone()).collect::<Vec<_>>();
    let all = ["step", "step", "baking", "keepingWarm", "promoted"];
    seen(&mut world, "all is told", |_| event.told().len() == all.len());
    let mut told = reached(&event.told());
    told.sort_by_key(Value::to_string);
    let mut all = all.map(Value::from).to_vec();
    all.sort_by_key(Value::to_string);
    assert_eq!(told, all);
    let metadata = &event.told()[0]["metadata"];
    assert!(metadata["eventMessage"].as_str().is_some_and(|text| text.contains("web-2")), "{metadata}");
    assert_eq!((&metadata["eventType"], &metadata["team"]), (&json!("Normal"), &json!("shop")));
}

#[test]
fn a_hook_takes_traffic_back_at_once() {
    let stand_in = StandIn::new(404, "");
    let mut world = with_hooks(vec![hook(HookKind::Rollback, &stand_in)]);
    world.start(plan(&[]));
    seen(&mut world, "it is asked", |_| stand_in.told().len() > 3);
    world.act("ada", Act::Pause).expect("she may");
    assert_eq!(world.state(), "paused", "a no is nothing");
    stand_in.says(200, "somebody pressed the button");
    let back = seen(&mut world, "it is taken back", |rollout| rollout.head.ended);
    let why = back.transitions.iter().find(|one| one.to == "rollingBack").expect("it was taken back");
    assert!(
        why.sentence.contains("hook:rollback/one says so: it answers 200 OK: somebody pressed"),
        "{}",
        why.sentence
    );
    assert_eq!((back.head.state.as_str(), &world.traffic()["slots"]), ("rolledBack", &json!({"blue": "web-1"})));
}

#[test]
fn who_leads_next_asks_again() {
    let stand_in = StandIn::new(403, "");
    let mut world = with_hooks(vec![hook(HookKind::ConfirmRollout, &stand_in)]);
    world.start(plan(&[]));
    seen(&mut world, "it is asked", |rollout| asked(rollout).state == "refused");
    world.restart();
    assert_eq!(asked(&world.rollout()).asked, 0, "answers are in memory alone");
    stand_in.says(200, "");
    seen(&mut world, "it goes on", state("step"));
}
