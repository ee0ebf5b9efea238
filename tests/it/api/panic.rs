//! Panic overrides: what is signed, for which release and until which snapshot, and what is refused.

use admin_api::edge::PanicOverride;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use tests::admin::{Answer, ControlPlane};

use super::{PRODUCTION, faults, shop};

fn sign(plane: &ControlPlane, body: Value) -> Answer {
    plane.ask("POST", &format!("{PRODUCTION}/panic-override"), Some(body))
}

/// The release and the number of what was signed, after its signature was verified.
#[track_caller]
fn signed(plane: &ControlPlane, body: Value) -> (String, u64) {
    let answer = sign(plane, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let (given, signature) =
        PanicOverride::parse(answer.body["text"].as_str().expect("a text")).expect("a panic override");
    let key = plane.admin().control().signer.public_key().key.clone();
    let [key, signature] = [key.as_str(), signature].map(|digits| {
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
        pairs.map(|pair| u8::from_str_radix(pair, 16).expect("digits")).collect::<Vec<_>>()
    });
    assert!(UnparsedPublicKey::new(&ED25519, key).verify(&given.signed_bytes(), &signature).is_ok());
    assert_eq!((given.scope.app.as_str(), given.scope.environment.as_str()), ("web", "production"));
    assert_eq!((&answer.body["release"], &answer.body["before"]), (&json!(given.release), &json!(given.before)));
    (given.release, given.before)
}

fn move_traffic(plane: &ControlPlane, traffic: Value) {
    let changed = plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(traffic));
    assert_eq!(changed.status, 200, "{changed:?}");
}

fn canary(plane: &ControlPlane) {
    let slots = json!({"blue": "web-1", "green": "web-2"});
    move_traffic(plane, json!({"active": "blue", "slots": slots, "candidateWeight": 5}));
}

#[test]
fn it_overrules_a_candidate_and_rests_from_the_rollback_on() {
    let plane = shop();
    assert_eq!(signed(&plane, json!({})), ("web-1".to_owned(), 1), "there is nothing to overrule");
    canary(&plane);
    assert_eq!(signed(&plane, json!({})), ("web-1".to_owned(), 3), "the newest is overruled, and the next is not");
    let rolled_back = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "x", "waitMs": 0})));
    assert_eq!(rolled_back.body["snapshot"], 3, "{rolled_back:?}");
    assert_eq!(signed(&plane, json!({})), ("web-1".to_owned(), 3), "the rollback says the same");
    assert_eq!(signed(&plane, json!({"release": "web-2"})), ("web-2".to_owned(), 4), "the rollback says another one");
    assert_eq!(signed(&plane, json!({"before": 40})), ("web-1".to_owned(), 40), "as it was asked for");
}

#[test]
fn a_request_without_a_body_takes_what_serves() {
    let plane = shop();
    let answer = plane.ask("POST", &format!("{PRODUCTION}/panic-override"), None);
    assert_eq!((answer.status, &answer.body["release"]), (200, &json!("web-1")), "{answer:?}");
}

#[test]
fn a_rule_that_sends_somebody_to_the_other_slot_is_a_candidate() {
    let plane = shop();
    let rules = json!([{"when": {"segment": "staff"}, "slot": "green"}]);
    move_traffic(&plane, json!({"active": "blue", "slots": {"blue": "web-1"}, "rules": rules}));
    assert_eq!(signed(&plane, json!({})).1, 2, "its slot is empty");
    let slots = json!({"blue": "web-1", "green": "web-2"});
    move_traffic(&plane, json!({"active": "blue", "slots": slots, "rules": rules}));
    assert_eq!(signed(&plane, json!({})).1, 4);
}

#[test]
fn a_release_that_the_overruled_snapshot_does_not_know_is_refused() {
    let plane = shop();
    let refused = |body: Value, code: &str| {
        let answer = sign(&plane, body);
        assert_eq!((answer.status, faults(&answer.body)), (422, vec![("/release".to_owned(), code.to_owned())]));
    };
    refused(json!({"release": "web-9"}), "release_unknown");
    refused(json!({"release": "web-2"}), "release_not_in_snapshot");
    // What was never published together cannot be taken back to by a Worker.
    move_traffic(&plane, json!({"active": "blue", "slots": {"blue": "web-2"}}));
    refused(json!({}), "release_not_in_snapshot");
    assert_eq!(signed(&plane, json!({"release": "web-1", "before": 2})), ("web-1".to_owned(), 2));
}

#[test]
fn an_environment_without_a_snapshot_or_a_release_has_none() {
    let plane = shop();
    let put = |name: &str, body: Value| {
        let path = format!("/api/v1/apps/web/environments/{name}");
        let answer = plane.request("PUT", &path).token(plane.root()).json(Some(body)).send();
        assert!((200..300).contains(&answer.status), "{answer:?}");
        let answer = plane.ask("POST", &format!("{path}/panic-override"), Some(json!({})));
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(put("empty", json!({"hosts": ["empty.example"]})), (404, "snapshot_missing".to_owned()));
    let deleted = plane.change("DELETE", PRODUCTION, "*", None);
    assert!(deleted.status < 300, "{deleted:?}");
    let answer = sign(&plane, json!({}));
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")), "{answer:?}");
}

#[test]
fn what_was_signed_is_in_the_audit_and_nothing_else_is_different() {
    let plane = shop();
    canary(&plane);
    let state = || {
        let paths = [format!("{PRODUCTION}/snapshots"), format!("{PRODUCTION}/traffic")];
        paths.map(|path| plane.ask("GET", &path, None).text)
    };
    let before = state();
    signed(&plane, json!({"reason": "the object is down"}));
    assert_eq!(state(), before);
    let audit = plane.ask("GET", "/api/v1/audit?limit=1", None).body["items"][0].clone();
    assert_eq!((&audit["operation"], &audit["reason"]), (&json!("signPanicOverride"), &json!("the object is down")));
    let place = "environments/production/panic-override";
    assert_eq!((&audit["environment"], &audit["subject"]), (&json!("production"), &json!(place)), "{audit}");
    assert_eq!(audit["changes"], json!([{"object": place, "after": {"release": "web-1", "before": 3}}]), "{audit}");
}
