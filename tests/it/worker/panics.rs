//! The two ways out when nothing else works: an instance that ends, and a snapshot that cannot be replaced.

use admin_api::edge::{PanicOverride, Scope};
use serde_json::json;
use tests::Origin;

use super::runtime::{HOST, KEY, Setup, TOKEN, Worker, document, json_of, sealed, signature};

fn panic_override(seed: u8, environment: &str, before: u64, release: &str) -> String {
    let scope = Scope { app: "web".into(), environment: environment.into() };
    let given = PanicOverride { scope, before, release: release.into() };
    given.text(&signature(seed, &given.signed_bytes()))
}

#[test]
fn a_program_that_traps_is_replaced_and_its_requests_are_answered_from_the_origin() {
    let (origin, blue, green) = (Origin::named("origin"), Origin::named("blue"), Origin::named("green"));
    let worker = Worker::of(&Setup::new(&origin).trap());
    worker.publish(&document(1, &blue, &green, 100));
    assert_eq!(worker.client().get(HOST, "/", "").text(), "green");
    for _ in 0..3 {
        let answer = worker.client().get(HOST, "/a?b=c", "x-trap: 1\r\nx-bascule-release: forged\r\n");
        assert_eq!((answer.status, answer.text().as_str()), (200, "origin"));
        assert_eq!(origin.last().target(), "/a?b=c");
        assert_eq!(origin.last().field("x-bascule-release"), None);
        // The new instance knows nothing yet, and asks the object.
        assert_eq!(worker.client().get(HOST, "/", "").text(), "green", "the isolate is usable");
    }
    let trapped = "POST / HTTP/1.1\r\nhost: shop.example\r\nx-trap: 1\r\ncontent-length: 4\r\n\r\nbody";
    let answer = worker.client().send(trapped).response();
    assert_eq!((answer.status, origin.last().body), (200, b"body".to_vec()), "a body that nobody has read goes along");
    worker.publish(&document(2, &blue, &green, 0));
    assert_eq!(worker.client().get(HOST, "/", "").text(), "blue", "the object works in the new instance too");
}

#[test]
fn what_a_trap_interrupts_for_others_is_answered_too() {
    let (origin, green) = (
        Origin::named("origin"),
        Origin::scripted(|exchange| {
            if exchange.seen.target() == "/slow" {
                std::thread::sleep(std::time::Duration::from_secs(2));
            }
            exchange.ok("green")
        }),
    );
    let worker = Worker::of(&Setup::new(&origin).trap());
    worker.publish(&document(1, &origin, &green, 100));
    let mut slow = worker.client();
    slow.send(format!("GET /slow HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    while green.seen().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(worker.client().get(HOST, "/", "x-trap: 1\r\n").text(), "origin");
    let answer = slow.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "origin"), "it was at an upstream and had no answer yet");
}

#[test]
fn a_panic_override_gives_everything_to_one_release_without_the_object() {
    let (origin, blue, green) = (Origin::named("origin"), Origin::named("blue"), Origin::named("green"));
    let setup = Setup::new(&origin);
    let mut worker = Worker::of(&setup);
    worker.publish(&document(7, &blue, &green, 100));
    // The copy is written after the answer.
    while worker.copy().is_none_or(|copy| !copy.contains("\"number\":7")) {}
    let panicking = |object: &str, text: &str| setup.clone().object(object).variable("PANIC_OVERRIDE", text);
    let served = |worker: &Worker| worker.client().get(HOST, "/", "x-user-id: u1\r\n").text();

    worker.restart(&panicking("none", &panic_override(1, "production", 8, "web-1")));
    assert_eq!(served(&worker), "blue", "snapshot 7 of the copy is from before 8");
    let decision = worker.client().get(HOST, "/", "x-user-id: u1\r\n");
    assert_eq!(decision.field("x-bascule-decision"), Some("snapshot=7; slot=blue; reason=ACTIVE"));
    worker.restart(&panicking("bound", &panic_override(1, "production", 8, "web-1")));
    assert_eq!(served(&worker), "blue");
    worker.publish(&document(8, &blue, &green, 100));
    assert_eq!(served(&worker), "green", "from 8 on it rests");

    for (why, text) in [
        ("another key signed it", panic_override(2, "production", 9, "web-1")),
        ("another environment", panic_override(1, "staging", 9, "web-1")),
        ("an altered number", panic_override(1, "production", 8, "web-1").replace(" 8 ", " 9 ")),
        ("no override", "web-1".to_owned()),
    ] {
        worker.restart(&panicking("bound", &text));
        assert_eq!(served(&worker), "green", "{why}");
    }
    let unknown = panicking("bound", &panic_override(1, "production", 9, "web-9"));
    worker.restart(&unknown);
    assert_eq!(served(&worker), "origin", "a release that the snapshot lacks cannot serve");
}

#[test]
fn an_override_for_testers_counts_by_its_signature() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let worker = Worker::start(&blue);
    let mut document = document(1, &blue, &green, 0);
    document["traffic"]["override"] = json!({"header": "x-preview", "cookie": "preview", "query": "preview"});
    worker.publish(&document);
    let wire = edge_engine::parse(document.to_string().as_bytes()).unwrap();
    let snapshot = edge_engine::check(wire, &edge_engine::BucketingKey::new(KEY)).unwrap();
    let token = snapshot.override_token(edge_engine::Slot::Green, i64::MAX / 2);
    let expired = snapshot.override_token(edge_engine::Slot::Green, 1_700_000_000);
    let get = |target: &str, fields: &str| worker.client().get(HOST, target, fields).text();
    assert_eq!(get("/", &format!("x-preview: {token}\r\n")), "green");
    assert_eq!(get("/", &format!("cookie: a=b; preview={token}\r\n")), "green");
    assert_eq!(get(&format!("/?preview={token}"), ""), "green");
    assert_eq!(get("/", &format!("x-preview: {expired}\r\n")), "blue");
    assert_eq!(get("/", &format!("x-preview: {}\r\n", token.replace("green", "grey"))), "blue");
    let mut other = document.clone();
    other["bucketingKeyId"] = json!("k2");
    other["number"] = json!(2);
    assert_eq!(worker.push(&sealed(1, &other, &[9; 16])).status, 200);
    assert_eq!(get("/", &format!("x-preview: {token}\r\n")), "blue", "signed with another key");
    assert_eq!(json_of(&worker.own("GET", "state", TOKEN, b""))["snapshot"], 2);
}
