//! Objects: read, changed under conditions, refused with places.

use serde_json::json;

use sqlx::Connection as _;

use super::{PRODUCTION, faults, shop};

#[test]
fn a_change_needs_the_newest_revision() {
    let plane = shop();
    let path = format!("{PRODUCTION}/flags/checkout");
    let seen = plane.ask("GET", &path, None);
    let body = json!({"enabled": false});
    let without = plane.ask("PUT", &path, Some(body.clone()));
    assert_eq!((without.status, without.body["code"].as_str()), (428, Some("if_match_required")));
    let changed = plane.change("PUT", &path, seen.etag(), Some(body.clone()));
    assert_eq!(changed.status, 200, "{changed:?}");
    let stale = plane.change("PUT", &path, seen.etag(), Some(json!({"enabled": true})));
    assert_eq!((stale.status, stale.body["code"].as_str()), (412, Some("revision_stale")));
    assert_eq!((stale.etag(), &stale.body["current"]["enabled"]), (changed.etag(), &json!(false)));
    assert_eq!(plane.change("PUT", &path, "*", Some(body)).status, 200);
}

#[test]
fn changed_weights_move_the_fewest_units() {
    let plane = shop();
    let path = format!("{PRODUCTION}/flags/checkout");
    let body = json!({"fallthrough": {"split": {"on": 25, "off": 75}}});
    let dry = plane.request("PUT", &format!("{path}?dryRun=true")).token(plane.root()).header("if-match", "*");
    let dry = dry.json(Some(body.clone())).send();
    assert_eq!((dry.status, &dry.body["dryRun"]), (200, &json!(true)), "{dry:?}");
    assert_eq!(dry.body["moves"], json!([{"flag": "checkout", "environment": "production", "percent": 15.0}]));
    assert_eq!(dry.body["snapshots"], json!([{"environment": "production", "number": 2}]));
    let changed = plane.change("PUT", &path, "*", Some(body.clone()));
    assert_eq!(
        changed.body["fallthrough"]["ranges"],
        json!([{"variant": "on", "from": 0, "to": 100_000}, {"variant": "off", "from": 100_000, "to": 850_000},
               {"variant": "on", "from": 850_000, "to": 1_000_000}]),
        "{changed:?}"
    );
    let again = plane.change("PUT", &path, "*", Some(body));
    assert_eq!(again.etag(), changed.etag(), "the same again changes nothing");
}

#[test]
fn mistakes_have_pointers_and_change_nothing() {
    let plane = shop();
    let path = format!("{PRODUCTION}/flags/checkout");
    let before = plane.ask("GET", &path, None);
    let check = |body: serde_json::Value, expected: &[(&str, &str)]| {
        let refused = plane.change("PUT", &path, "*", Some(body));
        assert_eq!(refused.status, 422, "{refused:?}");
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        let found = faults(&refused.body);
        let found: Vec<_> = found.iter().map(|(pointer, code)| (pointer.as_str(), code.as_str())).collect();
        assert_eq!(found, expected, "{refused:?}");
    };
    check(json!({"enabld": true}), &[("/enabld", "key_unknown")]);
    check(json!({"fallthrough": {"split": {"on": 10, "off": 80}}}), &[("/fallthrough/split", "split_sum")]);
    check(json!({"fallthrough": {"serve": "maybe"}}), &[("/fallthrough/serve", "variant_unknown")]);
    check(
        json!({"rules": [{"when": {"segment": "stff"}, "serve": "on"}, {"when": {"attr": "x", "op": "matches", "values": ["("]}, "serve": "on"}]}),
        &[("/rules/0/when/segment", "segment_unknown")],
    );
    check(
        json!({"rules": [{"when": {"attr": "x", "op": "matches", "values": ["("]}, "serve": "on"}]}),
        &[("/rules/0/when/values/0", "value_invalid")],
    );
    check(json!({"enabled": "yes"}), &[("/enabled", "type_mismatch")]);
    let after = plane.ask("GET", &path, None);
    assert_eq!((after.etag(), &after.body), (before.etag(), &before.body));
    let snapshots = plane.ask("GET", &format!("{PRODUCTION}/snapshots"), None);
    assert_eq!(snapshots.body["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_referred_to_cannot_go() {
    let plane = shop();
    let segment = plane.change("DELETE", "/api/v1/apps/web/segments/staff", "*", None);
    assert_eq!(segment.status, 422, "{segment:?}");
    assert_eq!(faults(&segment.body)[0].1, "segment_unknown");
    let flag = plane.change("DELETE", "/api/v1/apps/web/flags/checkout", "*", None);
    assert_eq!((flag.status, flag.body["code"].as_str()), (409, Some("flag_in_use")), "{flag:?}");
    let archived = plane.change("PATCH", "/api/v1/apps/web/flags/checkout", "*", Some(json!({"archived": true})));
    assert_eq!((archived.status, &archived.body["archived"]), (200, &json!(true)), "{archived:?}");
    let listed = plane.ask("GET", "/api/v1/apps/web/flags", None);
    assert_eq!(listed.body["items"], json!([]));
    let listed = plane.ask("GET", "/api/v1/apps/web/flags?archived=true", None);
    assert_eq!(listed.body["items"][0]["key"], "checkout");
    let environment = plane.change("DELETE", "/api/v1/apps/web/environments/staging", "*", None);
    assert_eq!(environment.body["code"], "environment_in_use", "{environment:?}");
    let release = json!({"id": "web-1", "version": "other", "upstreams": [{"url": "http://127.0.0.1:7001"}]});
    assert_eq!(plane.ask("POST", "/api/v1/apps/web/releases", Some(release)).status, 409);
}

#[test]
fn a_host_selects_one_environment_of_all_apps() {
    let plane = shop();
    plane.ask("POST", "/api/v1/apps", Some(json!({"name": "api"})));
    let taken = plane.ask("PUT", "/api/v1/apps/api/environments/x", Some(json!({"hosts": ["Shop.example"]})));
    assert_eq!(taken.status, 422, "{taken:?}");
    let taken =
        plane.ask("PUT", "/api/v1/apps/api/environments/x", Some(json!({"hosts": ["a.example", "shop.example"]})));
    assert_eq!(faults(&taken.body), [("/hosts/1".to_owned(), "host_duplicate".to_owned())], "{taken:?}");
}

#[test]
fn lists_come_in_parts() {
    let plane = shop();
    for n in 0..7 {
        let made = plane.ask("POST", "/api/v1/apps/web/flags", Some(json!({"key": format!("f{n}")})));
        assert_eq!(made.status, 201);
    }
    let mut keys = Vec::new();
    let mut path = "/api/v1/apps/web/flags?limit=3".to_owned();
    loop {
        let part = plane.ask("GET", &path, None);
        let items = part.body["items"].as_array().cloned().expect("items");
        assert!(items.len() <= 3);
        keys.extend(items.iter().map(|item| item["key"].as_str().unwrap_or_default().to_owned()));
        let Some(next) = part.body["nextCursor"].as_str() else { break };
        path = format!("/api/v1/apps/web/flags?limit=3&cursor={next}");
    }
    assert_eq!(keys, ["checkout", "f0", "f1", "f2", "f3", "f4", "f5", "f6"]);
    for wrong in ["zz", "0", "00", "ff"] {
        let path = format!("/api/v1/apps/web/flags?cursor={wrong}");
        assert_eq!(plane.ask("GET", &path, None).body["code"], "cursor_invalid", "{wrong}");
    }
}

#[test]
fn a_post_under_one_key_is_done_once() {
    let plane = shop();
    let post = |key: &str, body: serde_json::Value| {
        let request = plane.request("POST", "/api/v1/apps/web/flags").token(plane.root());
        request.header("idempotency-key", key).json(Some(body)).send()
    };
    let first = post("k", json!({"key": "f"}));
    let again = post("k", json!({"key": "f"}));
    assert_eq!((first.status, again.status, &first.body), (201, 201, &again.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(post("k", json!({"key": "g"})).body["code"], "idempotency_key_reused");
    assert_eq!(post("other", json!({"key": "f"})).body["code"], "exists");
}

#[test]
fn targeting_is_copied_from_where_releases_come_from() {
    let plane = shop();
    let path = format!("{PRODUCTION}/flags/checkout/copy");
    let dry = plane.ask("POST", &format!("{path}?dryRun=true"), None);
    assert_eq!(dry.body["changes"][0]["object"], "environments/production/flags/checkout", "{dry:?}");
    let copied = plane.ask("POST", &path, Some(json!({"reason": "it works in staging"})));
    assert_eq!(copied.status, 200, "{copied:?}");
    let targeting = plane.ask("GET", &format!("{PRODUCTION}/flags/checkout"), None);
    assert_eq!((&targeting.body["fallthrough"], targeting.body.get("rules")), (&json!({"serve": "on"}), None));
    let audit = plane.ask("GET", "/api/v1/audit?operation=copyTargeting", None);
    assert_eq!(audit.body["items"][0]["reason"], "it works in staging");
}

#[test]
fn what_nobody_could_have_written_is_an_error_of_ours_and_not_one_to_wait_for() {
    let plane = shop();
    let database = plane.path().join("bascule.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("opens");
        sqlx::raw_sql("DELETE FROM audit_head").execute(&mut connection).await.expect("done");
        connection.close().await.expect("closed");
    });
    let refused = plane.ask("POST", "/api/v1/apps", Some(json!({"name": "api"})));
    assert_eq!((refused.status, refused.body["code"].as_str()), (500, Some("internal")), "{refused:?}");
    assert_eq!(refused.header("retry-after"), None, "{refused:?}");
    assert!(!refused.text.contains("audit"), "what is damaged is for the log: {refused:?}");
    assert_eq!(plane.ask("GET", "/api/v1/apps/web", None).status, 200, "reading goes on");
}
