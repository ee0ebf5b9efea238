//! Tokens: who may do what, and what is left of them.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::admin::{ControlPlane, Stream};

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

/// A token with one role everywhere in `web`, which may end soon; its id and its text.
fn minted(plane: &ControlPlane, role: &str, expires_at: Option<&str>) -> (String, String) {
    let scopes = json!([{"app": "web", "environment": "production", "role": role}]);
    let mut body = json!({"name": role, "scopes": scopes});
    if let Some(at) = expires_at {
        body["expiresAt"] = at.into();
    }
    let request = plane.request("POST", "/api/v1/tokens").token(plane.root());
    let made = request.header("idempotency-key", &format!("{role}-{expires_at:?}")).json(Some(body)).send();
    let text = |name: &str| made.body[name].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned();
    (text("id"), text("secret"))
}

#[test]
fn no_token_text_is_in_the_database() {
    let plane = shop();
    let roles = ["viewer", "editor", "operator", "admin", "edge", "ofrep", "ofrep-client"];
    let mut secrets: Vec<String> = roles.iter().map(|role| minted(&plane, role, None).1).collect();
    for secret in &secrets {
        // Used, so that whatever is kept of a use is there too.
        let _ = plane.request("GET", "/api/v1/apps").token(secret).send();
    }
    secrets.push(plane.root().to_owned());
    // The key that snapshots are signed with is a secret of another place.
    let key = std::fs::read_to_string(plane.path().join("state/signing.key")).expect("the key");
    secrets.push(key.trim().to_owned());
    let folder = plane.path().to_owned();
    let mut read = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("readable");
            read += bytes.len();
            for secret in &secrets {
                assert!(secret.len() > 40, "a secret");
                let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
    }
    assert!(read > 10_000, "the database was looked at");
}

/// What is left of a stream until it ends, and how long that takes.
fn end_of(mut stream: Stream) -> Duration {
    let since = Instant::now();
    while stream.event().is_some() {}
    since.elapsed()
}

#[test]
fn streams_end_when_their_token_is_revoked_or_expires() {
    let plane = shop();
    let hello = "/edge/v1/snapshots?edge=e1&boot=b1&kind=gateway&version=0.1.0&engine=native";
    for (role, path) in [("edge", hello), ("viewer", "/api/v1/events"), ("ofrep", "")] {
        for expires in [false, true] {
            let soon = admin::ids::rfc3339(admin::ids::now_ms() + 2_000);
            let (id, secret) = minted(&plane, role, expires.then_some(soon.as_str()));
            let with = |path: &str| plane.request("GET", path).token(&secret);
            let ticket = || {
                let bulk = plane.request("POST", "/ofrep/v1/evaluate/flags").token(&secret);
                let bulk = bulk.json(Some(json!({"context": {"targetingKey": "u"}}))).send();
                bulk.body["eventStreams"][0]["endpoint"]["requestUri"].as_str().expect("a stream").to_owned()
            };
            let open = if path.is_empty() { plane.request("GET", &ticket()).stream() } else { with(path).stream() };
            if !expires {
                assert_eq!(plane.ask("DELETE", &format!("/api/v1/tokens/{id}"), None).status, 204);
            }
            let after = end_of(open);
            // Milliseconds after a revocation, seconds after an expiry; a stream that does not end is read for 20.
            assert!(after < Duration::from_secs(15), "{role}, expires {expires}: {after:?}");
            assert_eq!(with("/api/v1/apps").send().status, 401);
        }
    }
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

#[test]
fn an_address_is_the_one_of_the_connection_whatever_a_header_says() {
    let plane = shop();
    let wrong = admin::token::TokenText::mint();
    let ask = |n: usize| {
        let request = plane.request("GET", "/api/v1/apps").token(wrong.expose());
        let forged = format!("203.0.113.{n}");
        let request = request.header("x-forwarded-for", &forged).header("x-real-ip", &forged);
        let request = request.header("forwarded", &format!("for={forged}")).header("cf-connecting-ip", &forged);
        request.send().status
    };
    let statuses: Vec<u16> = (0..25).map(ask).collect();
    assert_eq!((statuses[0], statuses[24]), (401, 429), "{statuses:?}");
}

#[test]
fn wrong_tickets_count_like_wrong_tokens() {
    let plane = shop();
    let token = plane.token("web", "production", "ofrep");
    let bulk = || plane.request("POST", "/ofrep/v1/evaluate/flags").token(&token).json(Some(json!({}))).send();
    let uri = bulk().body["eventStreams"][0]["endpoint"]["requestUri"].as_str().expect("a stream").to_owned();
    let (unsigned, _) = uri.rsplit_once('.').expect("a signature");
    let at = uri.find("=e1.").expect("a ticket") + "=e1.".len();
    let flipped = if uri[at..].starts_with('0') { "1" } else { "0" };
    let unknown = format!("{}{flipped}{}", &uri[..at], &uri[at + 1..]);
    let forged = [format!("{unsigned}.{}", "0".repeat(32)), unknown, "/ofrep/v1/events?ticket=e1.x".to_owned()];
    let ask = |path: &str| plane.request("GET", path).send();
    assert_eq!((0..25).map(|_| ask("/ofrep/v1/events").status).max(), Some(401), "no ticket is no wrong one");
    let statuses: Vec<u16> = (0..25).map(|n| ask(&forged[n % 3]).status).collect();
    assert_eq!((statuses[0], statuses[1], statuses[2], statuses[24]), (401, 401, 401, 429), "{statuses:?}");
    assert!(ask(&forged[0]).header("retry-after").is_some());
    // The same count as that of tokens, and nobody is locked out.
    let wrong = admin::token::TokenText::mint();
    assert_eq!(plane.request("GET", "/api/v1/apps").token(wrong.expose()).send().status, 429);
    assert_eq!((bulk().status, plane.request("GET", &uri).status()), (200, 200));
}
