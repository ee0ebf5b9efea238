//! Whom a control plane tells of what happens, over sockets: stand-ins take what Slack, PagerDuty and a webhook would get.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use admin::integrations::{Channel, Destination, Endpoint, Integrations};
use admin::outbound::secret::SecretAt;
use admin::store::Location;
use ring::hmac;
use serde_json::{Value, json};
use tests::Origin;
use tests::admin::ControlPlane;

use crate::api::{PRODUCTION, SHOP};
use crate::rig::{eventually, patiently};

/// 24 bytes, as the secret below has them in base64.
const KEY: [u8; 24] = *b"canary-canary-canary-can";
const SECRET: &str = "whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2Fu";

/// What a receiver got: its path, its fields and its body.
type Got = (String, Vec<(String, String)>, Value);

/// A receiver whose answers a test chooses.
struct Receiver {
    origin: Origin,
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    hangs: Arc<AtomicBool>,
}

impl Receiver {
    /// Each answer is given once, the last one for ever.
    fn start(answers: &[(&'static str, &'static str)]) -> Self {
        let got = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(answers.to_vec()));
        let hangs = Arc::new(AtomicBool::new(false));
        let (own, own_answers, own_hangs) = (Arc::clone(&got), Arc::clone(&answers), Arc::clone(&hangs));
        let origin = Origin::scripted(move |exchange| {
            let seen = exchange.seen.clone();
            let body = serde_json::from_slice(&seen.body).unwrap_or(Value::Null);
            own.lock().unwrap().push((seen.line.clone(), seen.fields.clone(), body));
            while own_hangs.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let mut answers = own_answers.lock().unwrap();
            let (status, fields) = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
            drop(answers);
            exchange.respond(status, fields, "said")
        });
        Self { origin, got, answers, hangs }
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.hangs.store(false, Ordering::Relaxed);
    }
}

const TAKEN: &[(&str, &str)] = &[("200 OK", "")];

struct Scene {
    slack: Receiver,
    pager: Receiver,
    hook: Receiver,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(slack: Receiver) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let scene =
            Self { slack, pager: Receiver::start(&[("202 Accepted", "")]), hook: Receiver::start(TAKEN), folder };
        let write = |name: &str, text: &str| std::fs::write(scene.folder.path().join(name), text).expect("writable");
        write("slack.url", &format!("{}/services/canaryhook\n", scene.slack.origin.url()));
        write("pd.key", "canarypagerkey\n");
        write("hook.secret", &format!("{SECRET}\n"));
        scene
    }

    fn integrations(&self) -> Integrations {
        let at = |name: &str| SecretAt::File(self.folder.path().join(name));
        let url = |receiver: &Receiver, path: &str| format!("{}{path}", receiver.origin.url()).parse().expect("a URL");
        let destination = |name: &str, channel: Channel| Destination {
            name: name.to_owned(),
            events: channel.occasions(),
            channel,
            app: None,
            environment: Some("production".to_owned()),
            link: Some("https://bascule.example".to_owned()),
        };
        let pager = Channel::PagerDuty { url: url(&self.pager, "/v2/enqueue"), routing_key: at("pd.key") };
        let hook = Channel::Webhook { url: Endpoint::Url(url(&self.hook, "/hook")), secret: at("hook.secret") };
        Integrations {
            notify: vec![
                destination("ops", Channel::Slack { url: at("slack.url") }),
                destination("pager", pager),
                destination("audit", hook),
            ],
            ..Integrations::default()
        }
    }

    fn plane(&self) -> ControlPlane {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Location::Sqlite(folder.path().join("bascule.db"));
        let plane = ControlPlane::start_calling(folder, database, self.integrations());
        plane.apply(SHOP);
        plane
    }
}

/// Traffic for a release that can be rolled back.
fn share(plane: &ControlPlane) {
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 50});
    assert_eq!(plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(traffic)).status, 200);
}

fn roll_back(plane: &ControlPlane) {
    let body = json!({"reason": "5xx & <b>", "from": "web-2", "waitMs": 0});
    let done = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(body));
    assert!((200..300).contains(&done.status), "{done:?}");
}

fn listed(plane: &ControlPlane) -> Vec<Value> {
    let list = plane.ask("GET", &format!("{PRODUCTION}/notifications"), None);
    list.body["items"].as_array().cloned().unwrap_or_else(|| panic!("{list:?}"))
}

fn field<'g>(got: &'g Got, name: &str) -> &'g str {
    got.1.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

/// The signature by a second reading of the standard.
fn is_signed(got: &Got, body: &[u8]) -> bool {
    let signed = [field(got, "webhook-id").as_bytes(), b".", field(got, "webhook-timestamp").as_bytes(), b".", body];
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &KEY), &signed.concat());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let given = field(got, "webhook-signature").strip_prefix("v1,").unwrap_or_default();
    base64_to_hex(given) == hex
}

fn base64_to_hex(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| ALPHABET.iter().position(|known| *known == byte));
    let (mut bits, mut held, mut hex) = (0, 0_u32, String::new());
    for digit in digits {
        held = (held << 6 | u32::try_from(digit).expect("small")) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            // Writing to a text cannot fail.
            let _ = write!(hex, "{:02x}", held >> bits & 0xff);
        }
    }
    hex
}

#[test]
fn a_rollback_is_told_to_slack_and_signed_to_a_webhook_and_calls_nobody_out_of_bed() {
    let scene = Scene::new(Receiver::start(TAKEN));
    let plane = scene.plane();
    share(&plane);
    roll_back(&plane);
    let slack = eventually("Slack has it", || scene.slack.got(), |got| got.len() == 1);
    let (line, _, message) = &slack[0];
    assert_eq!(line, "POST /services/canaryhook HTTP/1.1");
    assert_eq!(message["text"], "⏪ web production: web-2 → web-1, rolling back");
    let blocks = &message["blocks"];
    assert_eq!(blocks[1]["text"]["text"], "bootstrap took all traffic of web-2 back to web-1: 5xx &amp; &lt;b&gt;");
    let context = blocks[3]["elements"][0]["text"].as_str().unwrap_or_default();
    let link = "<https://bascule.example/api/v1/apps/web/environments/production/traffic|details>";
    assert!(context.contains(link), "{context}");
    let hook = eventually("the webhook has it", || scene.hook.got(), |got| got.len() == 1);
    assert_eq!((&hook[0].2["type"], &hook[0].2["data"]["release"]), (&json!("rollout.rollingBack"), &json!("web-2")));
    assert_eq!(field(&hook[0], "content-type"), "application/json");
    let raw = scene.hook.origin.seen();
    assert!(is_signed(&hook[0], &raw.first().map(|seen| seen.body.clone()).unwrap_or_default()), "{hook:?}");
    let rows =
        eventually("both are taken", || listed(&plane), |rows| rows.iter().all(|row| row["state"] == "delivered"));
    let told: Vec<&Value> = rows.iter().map(|row| &row["destination"]).collect();
    assert_eq!(told, ["audit", "ops"], "newest first, and no page");
    assert_eq!(scene.pager.got().len(), 0);
}

#[test]
fn whoever_is_called_is_told_when_it_is_over() {
    let scene = Scene::new(Receiver::start(TAKEN));
    let plane = scene.plane();
    let plan = json!({"steps": [{"weight": 50, "holdMs": 60_000}, {"weight": 100}]});
    let started = plane.ask("POST", &format!("{PRODUCTION}/rollouts"), Some(json!({"release": "web-2", "plan": plan})));
    assert_eq!(started.status, 201, "{started:?}");
    let alert = |status: &str| {
        let alert = json!({"status": status, "labels": {"alertname": "Down", "release": "web-1"},
            "annotations": {"summary": "web-1 answers nobody"}, "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus", "fingerprint": "c0ffee"});
        let message = json!({"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": status, "receiver": "bascule",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager", "alerts": [alert]});
        plane.ask("POST", &format!("{PRODUCTION}/signals/alertmanager"), Some(message))
    };
    let taken = alert("firing");
    assert_eq!(taken.body["alerts"][0], json!({"name": "Down", "means": "stableFails"}), "{taken:?}");
    let called = eventually("somebody is called", || scene.pager.got(), |got| !got.is_empty());
    let (line, _, event) = &called[0];
    assert_eq!(line, "POST /v2/enqueue HTTP/1.1");
    assert_eq!((&event["event_action"], &event["routing_key"]), (&json!("trigger"), &json!("canarypagerkey")));
    let key = "bascule/web/production/rollout-1";
    assert_eq!((&event["dedup_key"], &event["payload"]["severity"]), (&json!(key), &json!("error")));
    let summary = event["payload"]["summary"].as_str().unwrap_or_default();
    assert!(summary.contains("stable fails too: the alert Down fires: web-1 answers nobody"), "{summary}");
    assert_eq!(alert("resolved").body["alerts"][0]["means"], "resolved");
    let over = patiently("it is told that it is over", || scene.pager.got(), |got| got.len() == 2);
    assert_eq!(over[1].2, json!({"routing_key": "canarypagerkey", "event_action": "resolve", "dedup_key": key}));
    let slack: Vec<Value> = scene.slack.got().into_iter().map(|got| got.2["text"].clone()).collect();
    let expected =
        ["▶️ web production: web-2 rolls out against web-1", "🚨 web production: web-2 is held, web-1 fails too"];
    assert_eq!(slack, expected.map(Value::from), "in order");
}

#[test]
fn what_is_not_taken_is_sent_again_and_what_is_refused_is_given_up() {
    let answers =
        [("503 Service Unavailable", "retry-after: 1\r\n"), ("500 Internal Server Error", ""), ("200 OK", "")];
    let scene = Scene::new(Receiver::start(&answers));
    *scene.hook.answers.lock().unwrap() = vec![("410 Gone", "")];
    let plane = scene.plane();
    share(&plane);
    roll_back(&plane);
    let row = |name: &str| listed(&plane).into_iter().find(|row| row["destination"] == name).unwrap_or_default();
    let ops = patiently("Slack has it", || row("ops"), |row| row["state"] == "delivered");
    assert_eq!((&ops["attempts"], scene.slack.got().len()), (&json!(3), 3), "{ops}");
    let audit = row("audit");
    assert_eq!(
        (&audit["state"], &audit["attempts"], &audit["error"]),
        (&json!("givenUp"), &json!(1), &json!("410 Gone"))
    );
    *scene.hook.answers.lock().unwrap() = vec![("204 No Content", "")];
    let again = plane.ask("POST", &format!("{PRODUCTION}/notifications/{}/retry", audit["id"]), None);
    assert_eq!((again.status, &again.body["state"]), (200, &json!("waiting")), "{again:?}");
    eventually("it is taken now", || row("audit"), |row| row["state"] == "delivered");
    let ids: Vec<String> = scene.hook.got().iter().map(|got| field(got, "webhook-id").to_owned()).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1] && ids[0].starts_with("msg_"), "{ids:?}");
    let entry = plane.ask("GET", "/api/v1/audit?operation=retryNotification", None);
    assert_eq!(entry.body["items"].as_array().map(Vec::len), Some(1), "{entry:?}");
}

#[test]
fn one_that_does_not_answer_delays_no_other() {
    let scene = Scene::new(Receiver::start(TAKEN));
    scene.slack.hangs.store(true, Ordering::Relaxed);
    let plane = scene.plane();
    share(&plane);
    for _ in 0..3 {
        roll_back(&plane);
        share_again(&plane);
    }
    eventually("the webhook has all", || scene.hook.got().len(), |got| *got == 3);
    assert_eq!(scene.slack.got().len(), 1, "the first is still under way");
    scene.slack.hangs.store(false, Ordering::Relaxed);
    patiently("then the others come", || scene.slack.got().len(), |got| *got >= 3);
}

fn share_again(plane: &ControlPlane) {
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 50, "rolledBack": []});
    let put = plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(traffic));
    assert_eq!(put.status, 200, "{put:?}");
}

#[test]
fn a_notification_survives_the_end_of_the_control_plane() {
    let scene = Scene::new(Receiver::start(&[("503 Service Unavailable", "retry-after: 1\r\n")]));
    let plane = scene.plane();
    share(&plane);
    roll_back(&plane);
    eventually("it was tried", || scene.slack.got().len(), |got| *got > 0);
    let database = Location::Sqlite(plane.path().join("bascule.db"));
    let folder = plane.stop();
    let before = scene.slack.got().len();
    *scene.slack.answers.lock().unwrap() = vec![("200 OK", "")];
    let plane = ControlPlane::start_calling(folder, database, scene.integrations());
    patiently("another process sends it", || scene.slack.got().len(), |got| *got > before);
    let rows = eventually("it is taken", || listed(&plane), |rows| rows.iter().all(|row| row["state"] == "delivered"));
    assert_eq!(rows.iter().filter(|row| row["destination"] == "ops").count(), 1, "the same one: {rows:?}");
}

#[test]
fn no_secret_of_a_destination_is_in_the_store_or_the_api() {
    let scene = Scene::new(Receiver::start(&[("500 Internal Server Error", "")]));
    let plane = scene.plane();
    share(&plane);
    roll_back(&plane);
    let rows = eventually("it was tried", || listed(&plane), |rows| rows.iter().any(|row| row["error"].is_string()));
    let shown = format!("{rows:?}");
    for secret in ["canaryhook", "canarypagerkey", "Y2FuYXJ5"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let folder = plane.stop();
    for entry in std::fs::read_dir(folder.path()).expect("a folder").flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).expect("readable");
        for secret in ["canaryhook", "canarypagerkey", "Y2FuYXJ5"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", entry.path().display());
        }
    }
}
