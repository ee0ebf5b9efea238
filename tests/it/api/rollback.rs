//! What a rollback does, and when it is refused.

use serde_json::json;

use super::{PRODUCTION, shop};

#[test]
fn a_candidate_goes_first() {
    let plane = shop();
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 5,
        "rules": [{"id": "staff", "when": {"segment": "staff"}, "slot": "green"}]});
    assert_eq!(plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(traffic)).status, 200);
    let wrong = json!({"reason": "errors", "from": "web-1"});
    let refused = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(wrong));
    assert_eq!((refused.status, refused.body["code"].as_str()), (412, Some("release_mismatch")), "{refused:?}");
    let done = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "errors", "from": "web-2"})));
    assert_eq!(
        (done.status, &done.body["from"], &done.body["to"]),
        (200, &json!("web-2"), &json!("web-1")),
        "{done:?}"
    );
    assert_eq!((&done.body["connected"], &done.body["missing"]), (&json!(0), &json!([])));
    let after = plane.ask("GET", &format!("{PRODUCTION}/traffic"), None);
    assert_eq!(after.body["slots"], json!({"blue": "web-1"}));
    assert_eq!((&after.body["candidateWeight"], &after.body["rolledBack"]), (&json!(0), &json!(["web-2"])));
    assert_eq!(after.body["rules"].as_array().map(Vec::len), Some(1), "rules stay, and rest");
    let none = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "again"})));
    assert_eq!((none.status, none.body["code"].as_str()), (409, Some("no_rollback_target")), "{none:?}");
}

#[test]
fn after_a_cut_over_the_release_before_comes_back() {
    let plane = shop();
    let put = |body| plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(body)).status;
    assert_eq!(put(json!({"active": "green", "slots": {"blue": "web-1", "green": "web-2"}})), 200);
    let done = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "slow"})));
    assert_eq!((&done.body["from"], &done.body["to"]), (&json!("web-2"), &json!("web-1")), "{done:?}");
    // Also when its slot was given away in the meantime.
    assert_eq!(put(json!({"slots": {"blue": "web-2"}})), 200);
    let done = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "slow"})));
    assert_eq!((&done.body["from"], &done.body["to"]), (&json!("web-2"), &json!("web-1")), "{done:?}");
    let after = plane.ask("GET", &format!("{PRODUCTION}/traffic"), None);
    assert_eq!((&after.body["active"], &after.body["slots"]), (&json!("green"), &json!({"green": "web-1"})));
    let to = json!({"reason": "other", "to": "web-9"});
    assert_eq!(plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(to)).body["code"], "release_unknown");
    let nameless = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": " "})));
    assert_eq!(nameless.status, 422, "{nameless:?}");
}

#[test]
fn an_old_snapshot_is_published_again_as_a_new_number() {
    let plane = shop();
    plane.change("PUT", &format!("{PRODUCTION}/flags/checkout"), "*", Some(json!({"enabled": false})));
    let again = plane.ask("POST", &format!("{PRODUCTION}/snapshots/1/publish"), Some(json!({"reason": "compare"})));
    assert_eq!((again.status, &again.body["number"]), (201, &json!(3)), "{again:?}");
    let differences = plane.ask("GET", &format!("{PRODUCTION}/snapshots/1/diff/3"), None);
    let pointers: Vec<_> =
        differences.body["differences"].as_array().expect("a list").iter().map(|one| one["pointer"].clone()).collect();
    assert_eq!(pointers, ["/createdAt", "/number"]);
    let differences = plane.ask("GET", &format!("{PRODUCTION}/snapshots/1/diff/2"), None);
    assert!(differences.text.contains("/flags/checkout/enabled"), "{}", differences.text);
}
