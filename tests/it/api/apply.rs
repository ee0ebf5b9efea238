//! A whole file, in and out.

use serde_json::json;
use tests::admin::ControlPlane;

use super::{PRODUCTION, SHOP, shop};

#[test]
fn applying_an_export_changes_nothing() {
    let plane = shop();
    // Ranges, history and voided pins are part of what there is.
    let body = json!({"fallthrough": {"split": {"on": 25, "off": 75}}, "rules": []});
    plane.change("PUT", &format!("{PRODUCTION}/flags/checkout"), "*", Some(body));
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 12.5});
    assert_eq!(plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(traffic)).status, 200);
    plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "test"})));
    let exported = plane.ask("GET", "/api/v1/apps/web/export", None);
    assert_eq!(exported.header("content-type"), Some("application/yaml"));
    let again = plane.apply(&exported.text);
    assert_eq!((&again.body["changes"], again.body.get("revision")), (&json!([]), None), "{}", exported.text);
    let other = ControlPlane::start();
    other.apply(&exported.text);
    assert_eq!(other.ask("GET", "/api/v1/apps/web/export", None).text, exported.text);
}

#[test]
fn applying_twice_changes_nothing_and_a_dry_run_says_what_would() {
    let plane = ControlPlane::start();
    let request = |query: &str, text: &str| {
        let request = plane.request("PUT", &format!("/api/v1/apply{query}")).token(plane.root());
        request.body("application/yaml", text).send()
    };
    let dry = request("?dryRun=true", SHOP);
    assert_eq!((dry.status, &dry.body["dryRun"]), (200, &json!(true)), "{dry:?}");
    assert_eq!(plane.ask("GET", "/api/v1/apps/web", None).status, 404);
    let first = request("", SHOP);
    assert_eq!(first.body["changes"], dry.body["changes"], "{first:?}");
    assert_eq!(request("", SHOP).body["changes"], json!([]));
}

#[test]
fn what_a_file_does_not_mention_stays_unless_it_is_pruned() {
    let plane = shop();
    let without = SHOP.replace("web-2: {version", "web-3: {version").replace("  checkout:", "  payment:");
    let request = |query: &str| {
        let request = plane.request("PUT", &format!("/api/v1/apply{query}")).token(plane.root());
        request.body("application/yaml", &without).send()
    };
    let kept = request("");
    assert_eq!(
        kept.body["kept"],
        json!([
            "releases/web-2",
            "flags/checkout",
            "environments/production/flags/checkout",
            "environments/staging/flags/checkout"
        ]),
        "{kept:?}"
    );
    assert_eq!(plane.ask("GET", "/api/v1/apps/web/flags/checkout", None).status, 200);
    let pruned = request("?prune=true");
    assert_eq!(pruned.status, 200, "{pruned:?}");
    assert_eq!(plane.ask("GET", "/api/v1/apps/web/flags/checkout", None).status, 404);
    assert_eq!(request("?prune=true").body["changes"], json!([]));
}

#[test]
fn mistakes_in_a_file_have_their_lines() {
    let plane = ControlPlane::start();
    let text = SHOP.replace("segment: staff", "segment: stff");
    let request = plane.request("PUT", "/api/v1/apply").token(plane.root());
    let refused = request.body("application/yaml", &text).send();
    assert_eq!((refused.status, refused.body["errors"][0]["place"].as_str()), (422, Some("23:45")), "{refused:?}");
    let request = plane.request("PUT", "/api/v1/apply").token(plane.root());
    assert_eq!(request.bytes("application/yaml", &[0xff, 0xfe]).send().status, 400);
}

#[test]
fn a_file_of_before_does_not_bring_back_what_was_rolled_back() {
    let plane = ControlPlane::start();
    let canary = SHOP.replace(
        "traffic: {active: blue, slots: {blue: web-1}}\nreleases",
        "traffic: {active: blue, slots: {blue: web-1, green: web-2}, candidateWeight: 5}\nreleases",
    );
    assert_ne!(canary, SHOP);
    plane.apply(&canary);
    assert_eq!(plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "errors"}))).status, 200);
    let request = |query: &str| {
        let request = plane.request("PUT", &format!("/api/v1/apply{query}")).token(plane.root());
        request.body("application/yaml", &canary).send()
    };
    for query in ["", "?dryRun=true", "?prune=true"] {
        let refused = request(query);
        assert_eq!((refused.status, &refused.body["code"]), (409, &json!("release_rolled_back")), "{refused:?}");
        assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.starts_with("web-2 was rolled back")));
    }
    let slots = || plane.ask("GET", &format!("{PRODUCTION}/traffic"), None).body["slots"].clone();
    assert_eq!(slots(), json!({"blue": "web-1"}));
    assert_eq!(request("?allowRolledBack=true").status, 200);
    assert_eq!(slots(), json!({"blue": "web-1", "green": "web-2"}));
    assert_eq!(request("").body["changes"], json!([]), "it is back, and the file changes nothing");
}
