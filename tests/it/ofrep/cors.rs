//! Pages of other origins.

use super::*;

const PAGE: &str = "https://app.example";

fn with_origins(origins: Value) -> World {
    with_tokens(builder().snapshot(|snapshot| snapshot["edge"]["cors"] = origins))
}

fn preflight(world: &World, host: &str, origin: &str) -> Response {
    let text = format!(
        "OPTIONS {BULK} HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\naccess-control-request-method: POST\r\n\
         access-control-request-headers: authorization,content-type\r\n\r\n"
    );
    world.client().send(text).response()
}

#[test]
fn a_page_of_a_listed_origin_may_ask_send_and_read() {
    let world = with_origins(json!([PAGE, "http://localhost:5173"]));
    let asked = preflight(&world, HOST, PAGE);
    assert_eq!(asked.status, 204);
    assert_eq!(asked.field("access-control-allow-origin"), Some(PAGE));
    assert_eq!(asked.field("access-control-allow-methods"), Some("GET, POST, OPTIONS"));
    let headers = "Content-Type, Authorization, X-API-Key, If-None-Match";
    assert_eq!(asked.field("access-control-allow-headers"), Some(headers));
    let sent =
        request(&mut world.client(), &format!("POST {BULK}"), &format!("{}origin: {PAGE}\r\n", bearer(CLIENT)), b"");
    assert_eq!(sent.status, 200);
    assert_eq!(sent.field("access-control-allow-origin"), Some(PAGE));
    assert_eq!(sent.field("access-control-expose-headers"), Some("ETag, Retry-After"));
    assert_eq!(sent.field("vary"), Some("Origin"));
}

#[test]
fn errors_can_be_read_by_the_page_too() {
    let world = with_origins(json!([PAGE]));
    for (token, target, status) in [("bsc_unknown", BULK, 401), (CLIENT, "/ofrep/v1/evaluate/flags/nobody", 404)] {
        let fields = format!("{}origin: {PAGE}\r\n", bearer(token));
        let response = request(&mut world.client(), &format!("POST {target}"), &fields, b"");
        assert_eq!(response.status, status);
        assert_eq!(response.field("access-control-allow-origin"), Some(PAGE));
    }
}

#[test]
fn a_page_of_another_origin_is_told_nothing() {
    let world = with_origins(json!([PAGE]));
    for origin in ["https://evil.example", "http://app.example", "https://app.example.evil.example", "null"] {
        let asked = preflight(&world, HOST, origin);
        assert_eq!((asked.status, asked.field("access-control-allow-origin")), (204, None), "{origin}");
        assert_eq!(asked.field("access-control-allow-headers"), None);
        assert_eq!(asked.field("vary"), Some("Origin"));
    }
    let world = world_without_origins();
    assert_eq!(preflight(&world, HOST, PAGE).field("access-control-allow-origin"), None);
}

fn world_without_origins() -> World {
    world()
}

#[test]
fn a_star_lets_every_page_in() {
    let world = with_origins(json!(["*"]));
    for origin in [PAGE, "null"] {
        assert_eq!(preflight(&world, HOST, origin).field("access-control-allow-origin"), Some("*"));
    }
}

#[test]
fn a_host_of_no_environment_asks_all_that_have_tokens() {
    let world = with_origins(json!([PAGE]));
    let asked = preflight(&world, "flags.example", PAGE);
    assert_eq!((asked.status, asked.field("access-control-allow-origin")), (204, Some(PAGE)));
    // A page that nobody knows gets what such a host gets.
    assert_eq!(preflight(&world, "flags.example", "https://evil.example").code(), "host_unknown");
}
