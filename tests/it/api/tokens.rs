//! Tokens: who may do what, and what is left of them.

use serde_json::json;

use super::{PRODUCTION, shop};

#[test]
fn a_revoked_token_is_refused_at_once() {
    let plane = shop();
    let made = plane.ask(
        "POST",
        "/api/v1/tokens",
        Some(json!({"name": "ci", "scopes": [{"app": "web", "environment": "*", "role": "viewer"}]})),
    );
    let (token, id) =
        (made.body["secret"].as_str().expect("text").to_owned(), made.body["id"].as_str().expect("id").to_owned());
    let ask = || plane.request("GET", "/api/v1/apps/web").token(&token).send().status;
    assert_eq!(ask(), 200);
    assert_eq!(plane.ask("DELETE", &format!("/api/v1/tokens/{id}"), None).status, 204);
    assert_eq!(ask(), 401);
}

#[test]
fn no_token_text_is_in_the_database() {
    let plane = shop();
    let token = plane.token("web", "*", "editor");
    let folder = plane.path().to_owned();
    let mut read = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("readable");
            read += bytes.len();
            for secret in [token.as_str(), plane.root()] {
                let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
    }
    assert!(read > 10_000, "the database was looked at");
}

#[test]
fn nobody_gives_away_more_than_they_have() {
    let plane = shop();
    let own = plane.token("web", "*", "admin");
    let give = |app: &str, environment: &str, role: &str| {
        let scopes = json!([{"app": app, "environment": environment, "role": role}]);
        let request = plane.request("POST", "/api/v1/tokens").token(&own);
        request.json(Some(json!({"name": "x", "scopes": scopes}))).send().status
    };
    assert_eq!(
        (give("web", "production", "edge"), give("*", "*", "viewer"), give("api", "x", "viewer")),
        (201, 403, 403)
    );
}

#[test]
fn a_role_counts_only_in_its_environment() {
    let plane = shop();
    let editor = plane.token("web", "staging", "editor");
    let put = |environment: &str| {
        let path = format!("/api/v1/apps/web/environments/{environment}/flags/checkout");
        plane
            .request("PUT", &path)
            .token(&editor)
            .header("if-match", "*")
            .json(Some(json!({"enabled": false})))
            .send()
            .status
    };
    assert_eq!((put("staging"), put("production")), (200, 403));
    let patch = plane.request("PATCH", "/api/v1/apps/web/flags/checkout").token(&editor).header("if-match", "*");
    assert_eq!(patch.json(Some(json!({"description": "x"}))).send().status, 403, "it concerns production too");
    let traffic = plane.request("GET", &format!("{PRODUCTION}/traffic")).token(&editor).send();
    assert_eq!(traffic.status, 403);
    let audit = plane.request("GET", "/api/v1/audit").token(&editor).send();
    let listed = audit.body["items"].as_array().cloned().expect("items");
    assert!(listed.iter().all(|entry| entry["environment"] == "staging"), "{listed:?}");
}

#[test]
fn the_audit_is_whole() {
    let plane = shop();
    let verdict = plane.ask("GET", "/api/v1/audit/verify", None);
    assert_eq!((&verdict.body["intact"], &verdict.body["entries"]), (&json!(true), &json!(2)), "{verdict:?}");
    let wrong = plane.ask("GET", &format!("/api/v1/audit/verify?sequence=1&hash={}", "0".repeat(64)), None);
    assert_eq!(wrong.body["broken"]["sequence"], 1, "{wrong:?}");
    let cut = plane.ask("GET", &format!("/api/v1/audit/verify?sequence=9&hash={}", "0".repeat(64)), None);
    assert_eq!(cut.body["broken"]["sequence"], 3, "{cut:?}");
}

#[test]
fn wrong_tokens_from_one_address_are_few_and_lock_nobody_out() {
    let plane = shop();
    let token = plane.token("web", "production", "ofrep");
    let ask = |path: &str, token: &str| {
        let request = plane.request("POST", path).token(token).json(Some(json!({"context": {"targetingKey": "u"}})));
        request.send()
    };
    let wrong = admin::token::TokenText::mint();
    for path in ["/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/checkout"] {
        assert_eq!(ask(path, &token).status, 200);
    }
    let statuses: Vec<u16> = (0..25).map(|_| ask("/ofrep/v1/evaluate/flags", wrong.expose()).status).collect();
    assert_eq!((statuses[0], statuses[24]), (401, 429), "{statuses:?}");
    let refused = plane.request("GET", "/api/v1/apps").token(wrong.expose()).send();
    assert_eq!((refused.status, refused.body["code"].as_str()), (429, Some("too_many_failures")));
    assert!(refused.header("retry-after").is_some());
    let right = (ask("/ofrep/v1/evaluate/flags", &token).status, plane.ask("GET", "/api/v1/apps", None).status);
    assert_eq!(right, (200, 200), "nobody is locked out by somebody else's wrong tokens");
}
