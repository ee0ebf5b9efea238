//! What a browser carries by itself, or can be made to send from a foreign page, opens nothing; and nobody is sent elsewhere.

use serde_json::json;

use super::authorisation::{described, patient_shop};
use super::shop;

#[test]
fn nothing_that_a_browser_carries_by_itself_is_a_token() {
    let plane = patient_shop();
    let root = plane.root().to_owned();
    let carried = [
        ("cookie", format!("__Host-session={root}; session={root}; token={root}; Authorization=Bearer {root}")),
        ("authorization", format!("Basic {root}")),
        ("authorization", format!("Cookie {root}")),
        ("proxy-authorization", format!("Bearer {root}")),
    ];
    let public = ["livez", "readyz", "health", "metrics", "openapi"];
    for operation in described(&plane).iter().filter(|operation| !public.contains(&operation.id.as_str())) {
        for (name, value) in &carried {
            let request =
                plane.request(&operation.method, &format!("{}?token={root}&access_token={root}", operation.path));
            let request = request.header(name, value).header("origin", "https://evil.example");
            let answer = request.json(operation.has_body.then(|| json!({}))).send();
            // OFREP looks at the query before it looks at the token, which changes nothing about who may.
            assert!(matches!(answer.status, 400 | 401), "{} by {name}: {answer:?}", operation.id);
            assert_eq!(answer.header("set-cookie"), None, "{}", operation.id);
            assert_eq!(answer.header("access-control-allow-origin"), None, "{}", operation.id);
        }
    }
}

#[test]
fn a_form_of_a_foreign_page_is_no_request_even_with_a_token() {
    let plane = shop();
    for media_type in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""] {
        let request =
            plane.request("POST", "/api/v1/apps").token(plane.root()).header("origin", "https://evil.example");
        let answer = request.body(media_type, r#"{"name": "api"}"#).send();
        assert_eq!(answer.status, 415, "{media_type}: {answer:?}");
    }
    let preflight = plane.request("OPTIONS", "/api/v1/apps").header("origin", "https://evil.example");
    let answer = preflight.header("access-control-request-method", "POST").send();
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, None), "{answer:?}");
}

#[test]
fn nobody_is_sent_elsewhere() {
    let plane = patient_shop();
    for path in [
        "/",
        "/api",
        "/api/v1/apps/",
        "/livez/",
        "/login?return=https://evil.example",
        "/?next=//evil.example",
        "/api/v1/apps?return=https://evil.example",
        "/%2f%2fevil.example",
        "/evil.example/..",
        "//evil.example",
    ] {
        let answer = plane.request("GET", path).token(plane.root()).header("x-forwarded-host", "evil.example").send();
        assert!(!(300..400).contains(&answer.status), "{path}: {answer:?}");
        assert_eq!(answer.header("location"), None, "{path}");
    }
    // What is made says where it is, on this server.
    let made = plane.request("POST", "/api/v1/apps").token(plane.root()).header("x-forwarded-host", "evil.example");
    let made = made.json(Some(json!({"name": "api"}))).send();
    assert_eq!(made.header("location"), Some("/api/v1/apps/api"), "{made:?}");
}
